"""Carries out a table in a profile: students, images, scores, records, sample grid. Finished stages are not redone."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from itertools import count, repeat
from pathlib import Path
from shutil import disk_usage
from typing import Any

from repro.harness import plots, records, terminal
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import digest_json
from repro.harness.plan import resolve
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Line, RecordSet
from repro.harness.work_plan import text
from repro.kinds.scores.ahead import ahead
from repro.kinds.scores.available import is_published, unavailable
from repro.kinds.scores.counts import RowCost, Skeleton, compute_records, network_cost, row_cost
from repro.kinds.scores.declare import Table
from repro.kinds.scores.given_sources import FolderSource
from repro.kinds.scores.grids import draw_grid
from repro.kinds.scores.lines import NO_IMAGES, caption_lines, left_out_records, metrics_of, score_records
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.planned import planned
from repro.kinds.scores.row_source import RowSource
from repro.kinds.scores.scoring import Scoring
from repro.kinds.scores.sources import Studio
from repro.kinds.scores.timed_rows import cost_lines
from repro.kinds.scores.timed_sources import as_timed
from repro.kinds.scores.training_lines import training_lines
from repro.metrics import EvaluationResult
from repro.stages.failures import told
from repro.stages.images import VERSION as IMAGES_VERSION
from repro.stages.images import ImageSet, check_pipeline
from repro.stages.measurement import Measurement
from repro.stages.scores import VERSION as SCORES_VERSION
from repro.stages.students import StudentDiverged, check_trainings, training_log
from repro.stages.timing import device_name

STAGE = "tables"
NO_PLACES = repeat("")


def run(table: Table, profile: Profile, options: ScoresOptions) -> Path:
    """Measure a table and write its records and sample grid.

    Returns:
        The records file, which is left alone where it already holds exactly these numbers, or any and students would
        have to be distilled again that nobody asked for. A dry run prints a plan and does nothing.

    Raises:
        ExperimentError: weights are missing or truncated, or the device is not there. Finished stages stay.
        UsageError: the folder holds the records of other settings.
    """
    if table.clock is not None and options.clock_batch is not None:
        table = replace(table, clock=replace(table.clock, batch_size=options.clock_batch))
    runner = Runner(table, profile, options)
    if options.keep and not options.dry_run and runner.records_path.exists():
        print(f"{runner.records_path} stands; --retrain distils its students again and measures", file=sys.stderr)
        return runner.records_path
    with told(options.work):
        return runner.run()


class Runner(Measurement[Table, ScoresOptions]):
    """One measurement of a table."""

    def run(self) -> Path:
        """Measure what is missing and write it; gives the records file."""
        if self.options.dry_run:
            terminal.show(text(planned(self.table, self._asked, self.profile, self.options)))
            return self.records_path
        self._check()
        opened = self.open({})
        opened = replace(opened, config=self._config())
        return self.once(STAGE, opened, self._measure)

    def _measure(self, opened: OpenRun) -> Callable[[], None]:
        """Make and score what is missing of all images; gives what writes the records and draws the grid."""
        self._check_room()
        total = sum(len(self._sets(source)) for source in self.sources.values())
        print(ahead(self.records_path, total, self.profile), file=sys.stderr)
        self.scoring.prepare()
        places = (f"set {number} of {total}, " for number in count(1))
        images = {
            (key, name, seed): found
            for (key, seed), source in self.sources.items()
            for name, found in self.images(source, places).items()
        }
        scores = {key: self.scoring.scores(key[1], images[key]) for key in sorted(images, key=lambda key: key[1])}

        def write() -> None:
            draw_grid(self, self.rows, images)
            self._write(opened, images, scores)

        return write

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Rows that cannot be measured, and why."""
        found = {row.key: unavailable(self.profile, row, self.options) for row in self._asked}
        return {key: reason for key, reason in found.items() if reason}

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Rows that are measured."""
        return tuple(row for row in self._asked if row.key not in self.left_out)

    @cached_property
    def _found(self) -> tuple[dict[tuple[str, int], RowSource], dict[tuple[str, int], str]]:
        """Sources by row and training seed, and what became of the students that there are none of."""
        studio, sources, diverged = Studio(self, self.options, self.rows), {}, {}
        for row, seed in self.asked:
            try:
                sources[row.key, seed] = studio.source(row, seed)
            except StudentDiverged as error:
                diverged[row.key, seed] = str(error)
        return sources, diverged

    @property
    def asked(self) -> list[tuple[Row, int]]:
        """Every row with every training seed of it."""
        seeds = {row.key: set(self.table.seeds_of(row, self.options.seeds)) for row in self.rows}
        return [(row, seed) for seed in self.options.seeds for row in self.rows if seed in seeds[row.key]]

    @property
    def sources(self) -> dict[tuple[str, int], RowSource]:
        """Where the images of each row and training seed come from; none of a student that diverged."""
        return self._found[0]

    @property
    def _asked(self) -> tuple[Row, ...]:
        declared = {row.key: row for row in self.table.rows_in(self.profile.name)}
        asked = self.options.rows or (*declared, *(name for name in self.options.images if name not in declared))
        return tuple(declared.get(key) or Row(key, key, images=True) for key in asked)

    def images(self, source: RowSource, places: Iterator[str] = NO_PLACES) -> dict[str, ImageSet]:
        """By prompt set, each with its place among all sets in its bar; the networks that make them are let go."""
        try:
            names = self._sets(source)
            return {name: source.images(name, self.world.prompts(name), next(places)) for name in names}
        finally:
            source.close()

    @property
    def _set_keys(self) -> list[str]:
        return [prompts.key for prompts in self.profile.prompt_sets]

    def _sets(self, source: RowSource) -> list[str]:
        return [key for key in self._set_keys if source.has(key)]

    def _check(self) -> None:
        """Whatever can be known to be missing or broken is, before any work."""
        _ = self.device, self.execution
        if not self.rows:
            reasons = "; ".join(f"{key}: {reason}" for key, reason in self.left_out.items())
            raise ExperimentError(
                f"no row of {self.table.key} can be measured in profile {self.profile.name}: {reasons}"
            )
        if not is_published(self.profile):
            check_pipeline(self.pipeline_folder)
        self.world.check()
        self.check_trainings()
        for source in self.sources.values():
            if isinstance(source, FolderSource):
                for key in self._sets(source):
                    source.check(key, self.world.prompts(key))

    def check_trainings(self) -> None:
        """Whether every student that is to be distilled can be.

        Raises:
            ExperimentError: options of a row do not fit each other or the network.
        """
        if self.options.retrain:
            students = [row for row in self.rows if row.is_student and row.key not in self.options.images]
            check_trainings(self.profile, students, self.skeleton.denoiser, self.device)

    def _check_room(self) -> None:
        """Whether the images of all rows fit on the disk, before the first one; rows may share theirs."""
        sampled = [source for source in self.sources.values() if not isinstance(source, FolderSource)]
        different = {digest_json(source.inputs()): source for source in sampled}.values()
        prompts = {key: self.world.prompts(key) for key in self._set_keys}
        needed = sum(source.missing_bytes(prompts[key]) for source in different for key in self._sets(source))
        self.options.work.mkdir(parents=True, exist_ok=True)
        if needed > (free := disk_usage(self.options.work).free):
            raise ExperimentError(
                f"{self.options.work}: the missing images of all rows need about {needed:,.0f} bytes, {free:,} are free"
            )

    def _config(self) -> dict[str, Any]:
        """All that the numbers follow from: the identity of the measurement."""
        diverged = self._found[1]
        return {
            "profile": asdict(self.profile),
            "rows": {f"{key} seed {seed}": source.inputs() for (key, seed), source in self.sources.items()},
            "left out": self.left_out,
            **({"diverged": {f"{key} seed {seed}": why for (key, seed), why in diverged.items()}} if diverged else {}),
            "metrics": self.world.metric_inputs(),
            "world": self.world.fingerprint(),
            "stages": {"images": IMAGES_VERSION, "scores": SCORES_VERSION},
            "versions": versions(),
            "retrain": self.options.retrain,
            "device": self.device.type,
            **self._clock_config(),
        }

    def _clock_config(self) -> dict[str, Any]:
        """What times follow from besides: the clock, and the very machine."""
        clock = self.table.clock
        return {} if clock is None else {"clock": asdict(clock), "clocked_on": device_name(self.device)}

    @cached_property
    def scoring(self) -> Scoring:
        """What scores images."""
        return Scoring(self)

    def _write(
        self,
        opened: OpenRun,
        images: Mapping[tuple[str, str, int], ImageSet],
        scores: Mapping[tuple[str, str, int], EvaluationResult],
    ) -> None:
        config = opened.config
        closed = opened.close(
            device=device_name(self.device),
            dtype=self.execution.dtype,
            data_hash=digest_json([config["world"], [dict(found.inputs) for found in images.values()]]),
            weights_hash=digest_json([config["rows"], config["metrics"]]),
            reused=self.store.reused,
            figures={"samples": plots.recorded_digest(self.grid_path) or ""},
            metrics=metrics_of((name, found) for (_, name, _), found in scores.items()),
        )
        captions = {key: [prompt["caption"] for prompt in self.world.prompts(key)] for key in self._set_keys}
        costs = [(row, self._cost(row)) for row in self.rows]
        lines: list[Line] = [closed, *compute_records(closed, costs), *caption_lines(captions)]
        if self.table.clock is not None:
            for timed in as_timed(self, self.rows, self.sources):
                lines += cost_lines(closed, self.table, timed)
        lines += training_lines(closed, self.table, self.profile, self._logs())
        left_out = set() if self.table.details else {column.key for column in self.profile.columns if column.detail}
        for (key, prompt_set, seed), result in scores.items():
            lines += score_records(closed, key, prompt_set, seed, result, left_out=left_out)
        for key, reason in self.left_out.items():
            lines += left_out_records(closed, self.profile, key, reason, self.profile.prompt_sets)
        for (key, seed), reason in self._found[1].items():
            lines += left_out_records(closed, self.profile, key, reason, self.profile.prompt_sets, seed=seed)
        for (key, seed), source in self.sources.items():
            absent = [prompts for prompts in self.profile.prompt_sets if not source.has(prompts.key)]
            lines += left_out_records(closed, self.profile, key, NO_IMAGES, absent, seed=seed)
        records.save(self.records_path, RecordSet.of(lines))

    def _logs(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """Of the trainings that the table's curves are about, by row and training seed."""
        if not self.options.retrain:
            return {}
        keys = {key for curve in self.table.training_curves for key in curve.rows}
        trained = [(row, seed) for row, seed in self.asked if row.key in keys and row.is_student]
        return {
            (row.key, seed): training_log(self.store, self.world, row, seed, self.device)
            for row, seed in trained
            if (row.key, seed) in self.sources
        }

    def _cost(self, row: Row) -> RowCost | None:
        if row.key in self.options.images or row.real:
            return None
        if row.system is None and not is_published(self.profile):
            return network_cost(resolve(self.profile, row).sample, self.skeleton)
        return row_cost(self.profile, row, self.options)

    @cached_property
    def skeleton(self) -> Skeleton:
        """The network of the profile without its weights, to count on."""
        return Skeleton.of_folder(self.pipeline_folder)
