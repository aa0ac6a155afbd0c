"""The figure of benchmarks, from the records alone."""

import numpy as np

from repro.harness import plots
from repro.harness.files import digest_json
from repro.kinds.benchmarks.result import BenchmarkResult

VERSION = 1  # of the drawing code: raise it when the figure should look different
PICTURE = "providers"


def drawing(result: BenchmarkResult) -> plots.Drawing | None:
    """Ratios to the baseline, a group of bars for each case."""
    cases = result.providers()
    digest = digest_json({"version": VERSION, "cases": cases})
    return plots.Drawing(PICTURE, digest, lambda: _draw(result, digest)) if cases else None


def _draw(result: BenchmarkResult, digest: str) -> bytes:
    cases = result.providers()
    with plots.own_style():
        figure = plots.new_figure(7.2, 0.8 + 0.55 * len(cases))
        axis = figure.subplots()
        labels = []
        for place, (case, timed) in enumerate(reversed(cases.items())):
            about = result.about(case)
            labels.append(f"{about['model']}, {about['schedule']}, batch {about['batch_size']}")
            found = [pair for pair in result.ratios(timed) if pair[0] in result.experiment.targets]
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
