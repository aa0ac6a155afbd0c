"""The pictures of a run with its numbers, as PNG and SVG."""

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from repro.harness import plots
from repro.harness.files import digest_json
from repro.kinds.method.canvas import Canvas, Pixels
from repro.kinds.method.declare import Part
from repro.kinds.method.result import MethodResult
from repro.kinds.method.sampling_figure import draw_sampling
from repro.kinds.method.training_figure import draw_training

VERSION = 1  # of the drawing code: raise it when the figures should look different
DPI = 160  # of the PNG
_DRAWN: Mapping[Part, Callable[[MethodResult, Mapping[str, Pixels]], Canvas]] = {
    "training": draw_training,
    "sampling": draw_sampling,
}


class Drawn(NamedTuple):
    """A figure: what it shows, and its PNG and SVG."""

    digest: str
    files: tuple[bytes, bytes]


def draw(result: MethodResult, pictures: Mapping[str, Pixels]) -> Drawn:
    """The figure of a run: the same pictures and numbers give the same bytes.

    Args:
        result: the numbers, and which part of the method is shown.
        pictures: by their names.

    Raises:
        ValueError: a picture is missing.
    """
    digest = _digest(result, pictures)
    with plots.own_style():
        figure = _DRAWN[result.experiment.part](result, pictures).figure
        return Drawn(digest, (plots.png(figure, digest, dpi=DPI), plots.svg(figure, digest)))


def _digest(result: MethodResult, pictures: Mapping[str, Pixels]) -> str:
    seen = {name: [list(p.shape), hashlib.sha256(p.tobytes()).hexdigest()] for name, p in sorted(pictures.items())}
    steps = [[series.metric, series.values] for series in result.records.series]
    return digest_json(
        {
            "version": VERSION,
            "part": result.experiment.part,
            "shown": result.shown,
            "pictures": seen,
            "numbers": result.numbers,
            "steps": steps,
        }
    )
