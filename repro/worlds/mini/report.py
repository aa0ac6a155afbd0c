"""The training report of the mini pipeline: how long every stage took and how its losses fell."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

POINTS = 60  # of each curve
_NO_LOSS = ("name", "iteration", "seconds", "step", "total", "grad_norm", "fake_grad_norm")

Rows = list[dict[str, Any]]


def read_log(path: Path) -> Rows:
    """Rows of a training log (JSON lines), in order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def summarise(rows: Rows) -> dict[str, Any]:
    """Iterations, training seconds and loss curves of a log; a point of a curve is the mean of neighbouring rows."""
    names = [name for name in rows[-1] if name not in _NO_LOSS]
    width = max(1, len(rows) // POINTS)
    groups = [rows[start : start + width] for start in range(0, len(rows), width)]
    return {
        "iterations": rows[-1]["iteration"] + 1,
        "seconds": total_seconds(rows),
        "curves": {name: [[group[0]["iteration"], _mean(group, name)] for group in groups] for name in names},
    }


def _mean(rows: Rows, name: str) -> float:
    return round(float(sum(row[name] for row in rows) / len(rows)), 6)


def total_seconds(rows: Rows) -> float:
    """Seconds over all sessions of a run.

    The students' logs (those with a ``step``) give the seconds of each iteration; the others a clock, which starts anew
    with each session.
    """
    if "step" in rows[-1]:
        return round(float(sum(row["seconds"] for row in rows)), 1)
    ends = [row["seconds"] for row, later in pairwise(rows) if later["seconds"] < row["seconds"]]
    return round(float(sum(ends) + rows[-1]["seconds"]), 1)


def write_report(path: Path, logs: dict[str, Path], facts: dict[str, Any]) -> None:
    """Write the report beside the weights, as JSON.

    Args:
        path: JSON file.
        logs: stage -> its log.
        facts: what else is worth knowing (versions, PSNR).
    """
    stages = {name: summarise(read_log(log)) for name, log in logs.items() if log.exists()}
    path.write_text(json.dumps({**facts, "stages": stages}, indent=1) + "\n")


def extend_report(path: Path, logs: dict[str, Path], facts: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Put further stages and facts into a report, or newer ones of those that it has."""
    known = json.loads(path.read_text())
    stages = {name: summarise(read_log(log)) for name, log in logs.items()}
    path.write_text(json.dumps({**known, **facts, "stages": {**known["stages"], **stages}}, indent=1) + "\n")


def draw_curves(report: Path, figure: Path) -> None:
    """Loss curves of every stage in a report, one panel each."""
    import matplotlib.pyplot as plt

    stages = json.loads(report.read_text())["stages"]
    columns = 3
    rows = -(-len(stages) // columns)
    drawing, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, 2.4 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(stages) :]:
        axis.set_visible(False)
    for axis, (name, stage) in zip(axes.flat, stages.items(), strict=False):
        for term, points in stage["curves"].items():
            axis.plot(*zip(*points, strict=True), label=term, lw=1)
        axis.set_title(f"{name}: {stage['iterations']} iterations, {stage['seconds'] / 60:.1f} min", fontsize=9)
        axis.set_yscale("log")
        axis.tick_params(which="both", labelsize=7)
        axis.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5)
        axis.spines[["top", "right"]].set_visible(False)
    drawing.savefig(figure, dpi=100, metadata={"Software": None})
    plt.close(drawing)
