"""The page of benchmarks, from the records alone."""

from pathlib import Path

import numpy as np

from repro.harness.cells import DASH, Footnotes, markdown, number
from repro.harness.page import footer, joined
from repro.harness.schema import Run
from repro.kinds.benchmarks import keys
from repro.kinds.benchmarks.figure import PICTURE
from repro.kinds.benchmarks.result import BenchmarkResult

MEASURE = "nox -s bench   # measure and write this page"


def page(result: BenchmarkResult, folder: Path) -> str:
    """The Markdown page. The figure is linked if it is in ``folder``; all else comes from the records."""
    name = f"figures/{result.stem}_{PICTURE}.png"
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
        *footer(result, MEASURE),
    ]
    return joined(blocks)


def _machine(run: Run) -> str:
    machine = run.config["machine"]
    card = f", driver {machine['driver']}, CUDA {machine['cuda']}" if machine.get("driver") else ""
    return f"{run.device}, {machine['threads']} threads{card}" if "thread" not in run.device else f"{run.device}{card}"


def _providers(result: BenchmarkResult) -> str:
    heads = ["Model", "Schedule", "Batch size", "Device", "Dtype", "Provider", "ms an image", "Ratio", "Aim"]
    heads += ["of roofline, %", "Peak memory, GiB"]
    rows = []
    for case, timed in result.providers().items():
        about = result.about(case)
        for provider, ratios in result.ratios(timed):
            per_image = [1000 * seconds / about["batch_size"] for seconds in timed[provider].values]
            aim = result.experiment.targets.get(provider)
            share, memory = (result.value(case, key(provider)) for key in (keys.share_of_roofline, keys.peak_bytes))
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


def _all(result: BenchmarkResult) -> str:
    notes, rows = Footnotes(), []
    compared = result.providers()
    for rounds in result.records.series:
        if rounds.metric == keys.seconds() and rounds.variant not in compared:
            share, memory = (result.value(rounds.variant, key()) for key in (keys.share_of_roofline, keys.peak_bytes))
            cells = [rounds.variant, _quartiles([1000 * seconds for seconds in rounds.values], 2), str(rounds.n)]
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
