"""The page of benchmarks and its figure, from the records alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from repro.harness import plots
from repro.harness.cells import DASH, Footnotes, markdown, number
from repro.harness.files import digest_json
from repro.harness.page import EDITED, provenance
from repro.harness.result import Measured
from repro.harness.schema import Curve, Run
from repro.kinds.benchmarks.declare import BenchmarkPage

VERSION = 1  # of the drawing code: raise it when the figure should look different
KIND = "providers"
COMMANDS = """\
```sh
nox -s bench   # measure and write this page
nox -s tables  # only writes the pages again, from the records
```"""


class BenchmarkResult(Measured[BenchmarkPage]):
    """Times of the building blocks; the paper says nothing about our code."""

    def providers(self) -> dict[str, dict[str, Curve]]:
        """Case -> provider -> its seconds in every round."""
        found: dict[str, dict[str, Curve]] = {}
        for curve in self.records.curves:
            if curve.metric.startswith("seconds_"):
                found.setdefault(curve.variant, {})[curve.metric.removeprefix("seconds_")] = curve
        return found

    def about(self, variant: str) -> Mapping[str, Any]:
        """Configuration of a benchmark."""
        found: Mapping[str, Any] = self.records.runs[0].config["benchmarks"].get(variant, {})
        return found


def page(result: BenchmarkResult, folder: Path) -> str:
    """The Markdown page. The figure is linked if it is in ``folder``; all else comes from the records."""
    name = f"figures/{result.stem}_{KIND}.png"
    run, baseline = result.records.runs[0], result.experiment.baseline
    figure = f"![Providers]({name})\n\n*Time of one image by that of {baseline}, with quartiles; lines: aims.*"
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        f"> **here**: {_machine(run)}. Medians, quartiles in brackets. Building blocks run on the CPU.",
        "## Sampling, from text to pixels",
        _providers(result),
        figure if (folder / name).exists() else "",
        "## Building blocks",
        _all(result),
        *result.experiment.notes,
        "## Make it again",
        COMMANDS,
        f"Numbers: [records/{result.stem}.jsonl](records/{result.stem}.jsonl). {EDITED}",
        "---",
        "\n".join(f"- {provenance(run)}" for run in result.records.runs),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _machine(run: Run) -> str:
    machine = run.config["machine"]
    card = f", driver {machine['driver']}, CUDA {machine['cuda']}" if machine.get("driver") else ""
    return f"{run.device}, {machine['threads']} threads{card}" if "threads" not in run.device else f"{run.device}{card}"


def _providers(result: BenchmarkResult) -> str:
    heads = ["Model", "Schedule", "Batch size", "Device", "Dtype", "Provider", "ms an image", "Ratio", "Aim"]
    heads += ["of roofline, %", "Peak memory, GiB"]
    rows = []
    for case, curves in result.providers().items():
        about = result.about(case)
        for provider, ratios in _ratios(result, curves):
            per_image = [1000 * seconds / about["batch_size"] for seconds in curves[provider].y]
            aim = result.experiment.targets.get(provider)
            share, memory = (result.value(case, f"{what}_{provider}") for what in ("share_of_roofline", "peak_bytes"))
            cells = [
                about["model"],
                about["schedule"],
                str(about["batch_size"]),
                about["device"],
                about["dtype"],
                provider,
            ]
            cells += [_quartiles(per_image, 1), _quartiles(ratios, 2), number(aim, 2) if aim else ""]
            cells += [number(100 * share, 0) if share else DASH, number(memory / 2**30, 2) if memory else DASH]
            rows.append(cells)
    return markdown(heads, rows, left=6) if rows else "Not measured."


def _ratios(result: BenchmarkResult, curves: Mapping[str, Curve]) -> Iterator[tuple[str, list[float]]]:
    """Each provider's time by the baseline's, within each round."""
    baseline = np.array(curves[result.experiment.baseline].y)
    for provider in (*result.experiment.targets, result.experiment.baseline):
        if provider in curves:
            yield provider, (np.array(curves[provider].y) / baseline).tolist()


def _all(result: BenchmarkResult) -> str:
    notes, rows = Footnotes(), []
    compared = result.providers()
    for curve in result.records.curves:
        if curve.metric == "seconds" and curve.variant not in compared:
            share, memory = (result.value(curve.variant, what) for what in ("share_of_roofline", "peak_bytes"))
            cells = [curve.variant, _quartiles([1000 * seconds for seconds in curve.y], 2), str(curve.n)]
            cells += [number(memory / 2**20, 0) if memory is not None else "", number(100 * share, 0) if share else ""]
            rows.append(cells)
    for record in result.records.records:
        if record.value is None:
            rows.append([record.variant, notes.dash(record.note), "", "", ""])
    table = markdown(["Benchmark", "ms", "Rounds", "Extra memory, MiB", "of roofline, %"], sorted(rows))
    return "\n\n".join(part for part in (table, notes.text()) if part)


def _quartiles(values: list[float], digits: int) -> str:
    low, middle, high = (number(float(q), digits) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return f"{middle} [{low}, {high}]"


def drawing(result: BenchmarkResult) -> plots.Drawing | None:
    """Ratios to the baseline, a group of bars for each case."""
    digest = digest_json({"version": VERSION, "curves": [c for c in result.records.curves if c.metric != "seconds"]})
    return plots.Drawing(KIND, digest, lambda: _draw(result, digest)) if result.providers() else None


def _draw(result: BenchmarkResult, digest: str) -> bytes:
    cases = result.providers()
    with plots.own_style():
        figure = plots.new_figure(7.2, 0.8 + 0.55 * len(cases))
        axis = figure.subplots()
        labels = []
        for place, (case, curves) in enumerate(reversed(cases.items())):
            about = result.about(case)
            labels.append(f"{about['model']}, {about['schedule']}, batch {about['batch_size']}")
            found = [pair for pair in _ratios(result, curves) if pair[0] in result.experiment.targets]
            for index, (provider, ratios) in enumerate(found):
                low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
                axis.barh(
                    place + 0.2 - 0.4 * index,
                    middle,
                    xerr=[[middle - low], [high - middle]],
                    height=0.36,
                    color=plots.colour(index),
                    label=provider if place == 0 else None,
                )
        for index, aim in enumerate(result.experiment.targets.values()):
            axis.axvline(aim, color=plots.colour(index), lw=1, ls="--")
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_xlabel(f"time of one image, {result.experiment.baseline} = 1", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        return plots.png(figure, digest)
