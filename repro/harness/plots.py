"""Figures of the pages. Their bytes depend on data alone, and each PNG or SVG carries the digest of what it shows.

Re-rendering compares digests and draws only what changed, so that matplotlib is not even imported most of the time,
and a check agrees between machines whose font rasterisers differ by a pixel.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGEST = "Digest"
_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito: safe for all eyes
NUM_COLOURS = len(_COLOURS)


class Drawing(NamedTuple):
    """A figure that follows from records: ``figures/<stem>_<kind>.png``, its identity, and how to draw the PNG."""

    kind: str
    digest: str
    draw: Callable[[], bytes]


def figure_path(out: Path, stem: str, kind: str) -> Path:
    """Where a figure of a page lies: ``figures/<stem>_<kind>``, a PNG if its kind has no ending."""
    return out / "figures" / f"{stem}_{kind}{'' if Path(kind).suffix else '.png'}"


def recorded_digest(path: Path) -> str | None:
    """The digest that a PNG or SVG of ours carries; None for a missing, torn or foreign file."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if path.suffix == ".svg":
        found = re.search(rb"<dc:identifier>([0-9a-f]{64})</dc:identifier>", data)
        return found[1].decode() if found and data.rstrip().endswith(b"</svg>") else None
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


def stamped(picture: bytes, digest: str) -> bytes:
    """A PNG that something else drew, with the digest of what it shows."""
    text = b"tEXt" + _DIGEST.encode() + b"\0" + digest.encode("latin-1")
    end = len(picture) - 12  # of a length, a name, and a checksum
    return picture[:end] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + picture[end:]


def colour(place: int) -> str:
    """A colour of the house for what has none of its own."""
    return _COLOURS[place % len(_COLOURS)]


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


def png(figure: "Figure", digest: str, *, dpi: int = 100) -> bytes:
    """The PNG of a figure, with the digest of what it shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None, _DIGEST: digest})
    return buffer.getvalue()


def svg(figure: "Figure", digest: str) -> bytes:
    """The SVG of a figure, likewise: no date, names of parts that follow from what is drawn, letters as outlines."""
    import matplotlib

    metadata = {"Date": None, "Creator": None, "Identifier": digest}
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "swd", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()
