"""Figures of the pages. Their bytes depend on data alone, and each PNG carries the digest of what it shows.

Re-rendering compares digests and draws only what changed, so that matplotlib is not even imported most of the time,
and a check agrees between machines whose font rasterisers differ by a pixel.
"""

import io
import struct
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from repro.harness.cells import estimate, header
from repro.harness.experiment import TOKENS, Column, Profile, Table
from repro.harness.files import digest_file, digest_json, write_atomic
from repro.harness.schema import RecordSet

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 1  # of the drawing code: raise it when a figure should look different
_DIGEST = "Digest"
_COLOURS = {"Teacher": "#555555", "Scale-wise": "#0072B2", "Full-scale": "#D55E00"}  # Okabe and Ito: safe for all eyes
_OTHER = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = {"Scale-wise": "o", "Full-scale": "s"}


class Drawing(NamedTuple):
    """A figure that follows from records: ``figures/<stem>_<kind>.png``, its identity, and how to draw the PNG."""

    kind: str
    digest: str
    draw: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a table in one panel; ``low`` and ``high`` bound the quality. The teacher is drawn as a line."""

    label: str
    teacher: bool
    steps: int
    compute: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric on one prompt set."""

    title: str
    axis: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class ComputeData:
    """All that the quality-against-compute figure shows: panels by prompt set (rows) and metric (columns)."""

    columns: int
    panels: tuple[Panel, ...]

    @property
    def digest(self) -> str:
        """Identity of the figure."""
        return digest_json({"version": VERSION, "data": self})


def compute_data(table: Table, profile: Profile, records: RecordSet) -> ComputeData:
    """Quality against tokens x steps, for every scored column; without panels where compute was not recorded."""
    columns = [column for column in profile.columns if not column.detail and column.better is not None]
    panels = []
    for prompts in profile.prompt_sets:
        for column in columns:
            points = tuple(_points(table, profile, records, prompts.key, column))
            panels.append(Panel(prompts.label, header(column), points))
    return ComputeData(len(columns), tuple(panels) if any(panel.points for panel in panels) else ())


def draw_compute(data: ComputeData) -> bytes:
    """The PNG of the quality-against-compute figure."""
    with own_style():
        return png(_compute_figure(data), data.digest)


def sample_grid(path: Path, images: Sequence[Sequence[Path]], *, rows: Sequence[str], captions: Sequence[str]) -> bool:
    """Draw a grid of image files: a row for each variant, a column for each prompt.

    Args:
        path: PNG to write; ``figures/<stem>_samples.png`` is what a page links.
        images: files by row, then by column, all of one size.
        rows: row labels; line breaks are kept.
        captions: prompts, wrapped over each column.

    Returns:
        Whether the file was written; False if it already shows exactly this.

    Raises:
        ValueError: the grid is empty or not rectangular.
        OutputError: the file cannot be written.
    """
    if not images or len(images) != len(rows) or any(len(row) != len(captions) or not row for row in images):
        raise ValueError(f"{[len(row) for row in images]} images for {len(rows)} rows and {len(captions)} captions")
    shown = [[digest_file(image) for image in row] for row in images]
    digest = digest_json({"version": VERSION, "images": shown, "rows": list(rows), "captions": list(captions)})
    if recorded_digest(path) == digest:
        return False
    with own_style():
        write_atomic(path, _draw_grid(images, rows, captions, digest))
    return True


def recorded_digest(path: Path) -> str | None:
    """The digest that a PNG of ours carries; None for a missing, torn or foreign file."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[-8:-4] != b"IEND":
        return None
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        key, _, text = data[place + 8 : place + 8 + length].partition(b"\0")
        if kind == b"tEXt" and key == _DIGEST.encode():
            return text.decode("latin-1")
        place += 12 + length
    return None


def _points(table: Table, profile: Profile, records: RecordSet, prompts: str, column: Column) -> Iterator[Point]:
    for row in table.rows:
        tokens = estimate(records.find(row.variant, prompts, TOKENS.key))
        found = estimate(records.find(row.variant, prompts, column.key))
        if tokens is None or found is None:
            continue
        bounds = [found.value if bound is None else bound for bound in (found.low, found.high)]
        value, low, high = (column.factor * number for number in (found.value, *bounds))
        yield Point(row.label, row.is_teacher, profile.steps(row), tokens.value, value, low, high)


def _compute_figure(data: ComputeData) -> "Figure":
    rows = len(data.panels) // data.columns
    figure = new_figure(3.1 * data.columns, 2.5 * rows + 0.4)
    axes = figure.subplots(rows, data.columns, squeeze=False, sharex=True)
    labels = list(dict.fromkeys(point.label for panel in data.panels for point in panel.points))
    handles: dict[str, Artist] = {}
    for axis, panel in zip(axes.flat, data.panels, strict=True):
        _draw_panel(axis, panel, labels)
        handles |= {name: handle for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    for axis in axes[-1]:
        axis.set_xlabel("image tokens \u00d7 steps", fontsize=8)
    figure.legend(
        list(handles.values()), list(handles), loc="upper center", ncols=len(handles), frameon=False, fontsize=9
    )
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))  # type: ignore[union-attr, call-arg]
    return figure


def _draw_panel(axis: "Axes", panel: Panel, labels: Sequence[str]) -> None:
    for place, label in enumerate(labels):
        points = sorted((p for p in panel.points if p.label == label), key=lambda point: point.compute)
        colour = _COLOURS.get(label, _OTHER[place % len(_OTHER)])
        for point in points:
            if point.teacher:  # far to the right of all students: as a point it would squeeze them together
                name = f"{label}: {point.steps} steps, {point.compute:,.0f} tokens"
                axis.axhline(point.quality, color=colour, lw=1, ls="--", label=name)
                axis.axhspan(point.low, point.high, color=colour, alpha=0.12, lw=0)
        _draw_students(axis, [point for point in points if not point.teacher], colour, _MARKERS.get(label, "D"))
    if not panel.points:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", fontsize=8, color="#888888")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_title(panel.title, fontsize=9)
    axis.set_ylabel(panel.axis, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_students(axis: "Axes", points: Sequence[Point], colour: str, marker: str) -> None:
    if not points:
        return
    # An interval need not hold its value (FID at infinite n), and matplotlib refuses negative bars.
    bars = [[max(p.quality - p.low, 0) for p in points], [max(p.high - p.quality, 0) for p in points]]
    axis.errorbar(
        [p.compute for p in points],
        [p.quality for p in points],
        yerr=bars,
        color=colour,
        marker=marker,
        markersize=5,
        capsize=2,
        lw=1,
        label=points[0].label,
    )
    for point in points:
        place, text = (point.compute, point.quality), f"{point.steps}"
        axis.annotate(text, place, (5, 4), textcoords="offset points", fontsize=7, color=colour)


def _draw_grid(images: Sequence[Sequence[Path]], rows: Sequence[str], captions: Sequence[str], digest: str) -> bytes:
    from matplotlib.image import imread

    # Inches at 100 dpi: all edges fall on whole pixels, and a 64-pixel image is drawn at exactly twice its size.
    side, cell, left, top = 1.28, 1.32, 1.0, 0.55
    width, height = left + cell * len(captions), top + cell * len(rows)
    figure = new_figure(width, height, layout="none")
    for i, (label, files) in enumerate(zip(rows, images, strict=True)):
        bottom = height - top - cell * i - side
        middle = (bottom + side / 2) / height
        figure.text((left - 0.08) / width, middle, label, ha="right", va="center", fontsize=9)
        for j, file in enumerate(files):
            place = ((left + cell * j) / width, bottom / height, side / width, side / height)
            axis = figure.add_axes(place)
            axis.imshow(imread(file), interpolation="nearest", cmap="gray")
            axis.set_axis_off()
    for j, caption in enumerate(captions):
        text = "\n".join(textwrap.wrap(caption, 19)[:3])
        centre = (left + cell * j + side / 2) / width
        figure.text(centre, 1 - (top - 0.05) / height, text, ha="center", va="bottom", fontsize=7)
    return png(figure, digest)


def colour(place: int) -> str:
    """A colour of the house for what has none of its own."""
    return _OTHER[place % len(_OTHER)]


def new_figure(width: float, height: float, layout: Any = "constrained") -> "Figure":
    """An empty figure of that many inches, 100 dots each, that no window system knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's matplotlibrc says: it must not change the bytes."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def png(figure: "Figure", digest: str) -> bytes:
    """The PNG of a figure, with the digest of what it shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None, _DIGEST: digest})
    return buffer.getvalue()
