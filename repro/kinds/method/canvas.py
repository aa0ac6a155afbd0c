"""A sheet for a diagram: pictures, arrows and words at places in inches, from the upper left corner.

Black on white: what differs, differs by words, numbers and lines, so that nothing is lost in print or on a dark screen.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from repro.harness import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)
INK, FAINT = "#000000", "#F1F1F1"


class Box(NamedTuple):
    """A square picture on the sheet: its left upper corner and its side."""

    x: float
    y: float
    side: float

    @property
    def left(self) -> tuple[float, float]:
        """Middle of the left edge."""
        return self.x, self.y + self.side / 2

    @property
    def right(self) -> tuple[float, float]:
        """Middle of the right edge."""
        return self.x + self.side, self.y + self.side / 2

    @property
    def top(self) -> tuple[float, float]:
        """Middle of the upper edge."""
        return self.x + self.side / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """Middle of the lower edge."""
        return self.x + self.side / 2, self.y + self.side


class Canvas:
    """An empty white sheet of that many inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure: Figure = plots.new_figure(width, height, layout="none")
        self.figure.suppressComposite = True  # each picture by itself, pixel by pixel, in the SVG too
        self._axes: Any = self.figure.add_axes((0, 0, 1, 1))
        self._frame()

    def picture(self, box: Box, pixels: Pixels) -> Box:
        """A picture with a thin frame, each of its pixels a sharp square."""
        from matplotlib.patches import Rectangle

        extent = (box.x, box.x + box.side, box.y + box.side, box.y)
        self._axes.imshow(pixels, extent=extent, interpolation="none", zorder=2)
        frame = Rectangle((box.x, box.y), box.side, box.side, fill=False, edgecolor=INK, linewidth=0.7, zorder=3)
        self._axes.add_patch(frame)
        self._frame()
        return box

    def words(self, place: tuple[float, float], text: str, *, size: float = 8.5, **style: Any) -> None:
        """Text whose place is its middle, if not said otherwise (``ha``, ``va``)."""
        style = {"ha": "center", "va": "center", "linespacing": 1.25, "zorder": 5, **style}
        self._axes.text(*place, text, fontsize=size, color=INK, **style)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through all points with a head at the last."""
        style = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 2)) if dashed else "-", "zorder": 4}
        if len(points) > 2:
            self._axes.plot(*zip(*points[:-1], strict=True), solid_joinstyle="miter", **style)
        head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 1.5, "mutation_scale": 10, **style}
        self._axes.annotate("", points[-1], points[-2], arrowprops=head)

    def panel(self, corner: tuple[float, float], width: float, height: float) -> None:
        """A pale rectangle behind what belongs together."""
        from matplotlib.patches import Rectangle

        self._axes.add_patch(Rectangle(corner, width, height, facecolor=FAINT, edgecolor=INK, linewidth=0.7, zorder=0))

    def _frame(self) -> None:
        self._axes.set(xlim=(0, self.width), ylim=(self.height, 0), aspect="auto")
        self._axes.set_axis_off()


def number_mark(canvas: Canvas, box: Box, number: int) -> None:
    """The number of a picture in its upper left corner, black on white: what the text refers to."""
    style = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
    place = (box.x + 0.02, box.y + 0.02)
    canvas.words(place, str(number), size=7.5, ha="left", va="top", weight="bold", bbox=style)


def checked(pictures: Mapping[str, Pixels], names: Sequence[str]) -> None:
    """Refuse pictures that are not those that a figure shows.

    Raises:
        ValueError: names those that are missing.
    """
    if missing := [name for name in names if name not in pictures]:
        raise ValueError(f"the figure shows {', '.join(names)}; not there: {', '.join(missing)}")
