"""What was measured for Table 1, and its claims tested by a paired jackknife."""

from collections.abc import Iterator
from functools import cached_property, partial

import numpy as np

from repro.harness.agreement import Cell as Agreed
from repro.harness.cells import estimate
from repro.harness.claims import Compared, Comparison, Judgement, NoComparison, Verdict, fixed_margin, judge
from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.inference import of_replicates
from repro.harness.published import published
from repro.harness.result import Measured
from repro.harness.schema import RecordSet
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.declare import Cell, Contrast, UpscalingTable, distance_column

PAPER_SIDE = 128
FEWEST_BLOCKS = 3  # for a verdict


class UpscalingResult(Measured[UpscalingTable]):
    """The distances of Table 1, and the verdicts."""

    @cached_property
    def column(self) -> Column:
        """The distance that is compared."""
        return distance_column(self.profile)

    @cached_property
    def measured(self) -> tuple[Cell, ...]:
        """Rows that were."""
        first = keys.distance(self.column.key, self.experiment.timesteps[0])
        return tuple(cell for cell in self.experiment.cells if self.records.find(cell.key, "", first))

    def published(self, cell: Cell, source: str, column: str) -> float | None:
        """A number of the paper; None where it has no such row."""
        table = self.experiment
        wanted = (source, str(cell.side * PAPER_SIDE // table.cells[0].side))
        for line in published(table.reported.csv):
            found = (line["source"], line["from_latent"]) == wanted
            if found and line["configuration"].startswith(f"{cell.order}:") and cell.mode == "bicubic":
                return float(line[column])
        return None

    @cached_property
    def agreement(self) -> tuple[Agreed, ...]:
        """Every published number that was measured again, where model, data and metric are the paper's."""
        reported = self.experiment.reported
        if self.profile.name not in reported.profiles:
            return ()
        return tuple(
            agreed
            for source in self.experiment.sources
            for cell in self.measured
            for name in reported.agreement
            for agreed in self._agreed(cell, source, name)
        )

    def _agreed(self, cell: Cell, source: str, name: str) -> Iterator[Agreed]:
        table, wanted = self.experiment, self.experiment.reported.agreement[name]
        value, found = self.published(cell, source, name), self.records.find(cell.key, "", wanted.metric)
        if value is None or (ours := estimate(found)) is None:
            return
        yield Agreed(
            publication=f"arXiv 2503.16397{source}",
            prompts=self._prompts,
            row=Row(cell.key, f"{cell.order} from {table.in_profile(cell, self.profile).side}"),
            column=next(found for found in self._columns if found.key == wanted.metric),
            published=value,
            ours=ours,
            tolerance=max(wanted.tolerance, table.relative_tolerance * value),
            n=found[0].n,
            published_images=table.reported.images,
        )

    @property
    def _prompts(self) -> PromptSet:
        name = self.profile.data.finished_set
        return next((prompts for prompts in self.profile.prompt_sets if prompts.key == name), PromptSet(name, name))

    @property
    def _columns(self) -> tuple[Column, ...]:
        return tuple(self.experiment.column(self.column, timestep) for timestep in self.experiment.timesteps)

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every claim with its verdict."""
        compare = partial(tested, column=self.column, records=self.records)
        return judge(self.experiment.contrasts, compare)


def tested(contrast: Contrast, column: Column, records: RecordSet) -> Compared:
    """Compare the two sides of a claim by the jackknife that leaves the same images out of every row.

    Raises:
        ExperimentError: a claim of *not worse* in a metric without a margin.
    """
    margin = fixed_margin(contrast.kind, column, f"claim {contrast.key!r} of Table 1")
    terms = [(1.0, term) for term in contrast.larger] + [(-1.0, term) for term in contrast.smaller]
    total, replicates, counts = 0.0, np.zeros(1), []
    for sign, (cell, timestep) in terms:
        found = estimate(records.find(cell, "", keys.distance(column.key, timestep)))
        blocks = records.find_series(cell, keys.without_block(keys.distance(column.key, timestep)))
        if found is None or blocks is None:
            return column, NoComparison(Verdict.NOT_MEASURED, f"{cell} was not measured at t = {timestep}")
        if len(blocks.values) < FEWEST_BLOCKS or len(replicates) not in {1, len(blocks.values)}:
            return column, NoComparison(Verdict.NOT_MEASURED, f"{cell} at t = {timestep} has too few images to pair")
        total += sign * found.value
        replicates = replicates + sign * np.array(blocks.values)
        counts.append(blocks.n)
    effects = of_replicates(np.array([total]), replicates[None, :], (0,), min(counts))
    differs = total != 0 or effects.spread().error > 0
    return column, Comparison(
        difference=total, spread=effects.spread(), kind=contrast.kind, margin=margin, n=min(counts), differs=differs
    )
