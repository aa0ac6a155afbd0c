"""The picture of samples: a grid of image files, drawn again only when something of it changed."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from repro.harness.files import digest_file, digest_json, write_atomic
from repro.harness.plots import new_figure, own_style, png, recorded_digest

VERSION = 1  # of the drawing code: raise it when the picture should look different


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


def _draw_grid(images: Sequence[Sequence[Path]], rows: Sequence[str], captions: Sequence[str], digest: str) -> bytes:
    from matplotlib.image import imread

    # Inches at 100 dpi: all edges fall on whole pixels, and a 64-pixel image is drawn at exactly twice its size.
    wrapped = [textwrap.wrap(caption, 19) for caption in captions]
    side, cell, left = 1.28, 1.32, 1.0
    top = 0.55 + 0.12 * max(0, max(map(len, wrapped)) - 3)  # room for three lines, or for as many as there are
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
    for j, lines in enumerate(wrapped):
        centre = (left + cell * j + side / 2) / width
        figure.text(centre, 1 - (top - 0.05) / height, "\n".join(lines), ha="center", va="bottom", fontsize=7)
    return png(figure, digest)
