"""The sample grid of a table of scores: the same prompts and seeds for all rows, side by side."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL.Image import Image
from PIL.Image import new as new_image
from PIL.ImageOps import fit

from repro.harness.experiment import Row
from repro.harness.plan import steps_of
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.sides_figure import rows_by_side
from repro.metrics.base import pixels
from repro.stages.images import ImageSet
from repro.stages.measurement import Measurement
from repro.stages.sample_grid import image_grid

COLUMNS = 12  # shared by the prompt sets
LABEL_WIDTH = 12  # characters of a row label, in a line
THUMBNAIL = 256  # largest side of a picture

Images = Mapping[tuple[str, str, int], ImageSet]
Measured = Measurement[Table, ScoresOptions]


def draw_grid(measurement: Measured, rows: Sequence[Row], images: Images) -> None:
    """Draw the first prompts of every set: a line for each row, or in a table by side for each of its curves.

    Args:
        measurement: table, profile, world, and where the picture goes.
        rows: that were measured.
        images: by row, prompt set and training seed.
    """
    if measurement.table.side_curves:
        _draw_sides(measurement, images)
    else:
        _draw_rows(measurement, rows, images)


def _draw_rows(measurement: Measured, rows: Sequence[Row], images: Images) -> None:
    """The same prompts and seeds in every row."""
    captions = _captions(measurement, 1)
    grid = [
        pixels([image for name in captions for image in _first(measurement, images, row, name, len(captions[name]))])
        for row in rows
    ]
    labels = [_label(row.label, steps_of(measurement.profile, row)) for row in rows]
    columns = [caption for found in captions.values() for caption in found]
    image_grid(measurement.grid_path, grid, rows=labels, captions=columns)


def _draw_sides(measurement: Measured, images: Images) -> None:
    """A line for each curve; of every prompt all sides, the smallest first."""
    curves = rows_by_side(measurement.table, measurement.profile)
    sides = sorted({side for rows in curves.values() for side in rows})
    captions = _captions(measurement, len(sides))

    def line(rows: Mapping[int, Row]) -> list[Image]:
        shown = []
        for name, found in captions.items():
            by_side = [_first(measurement, images, rows.get(side), name, len(found)) for side in sides]
            shown += [image for images_of_prompt in zip(*by_side, strict=True) for image in images_of_prompt]
        return shown

    grid = [pixels(line(rows)) for rows in curves.values()]
    columns = [f"{side} px: {caption}" for found in captions.values() for caption in found for side in sides]
    image_grid(measurement.grid_path, grid, rows=[_label(label, None) for label in curves], captions=columns)


def _captions(measurement: Measured, pictures: int) -> dict[str, list[str]]:
    """The first of every prompt set, as many as fit where each takes so many pictures of a line."""
    sets = [prompts.key for prompts in measurement.profile.prompt_sets]
    count = max(1, COLUMNS // (pictures * len(sets)))
    return {name: [prompt["caption"] for prompt in measurement.world.prompts(name)[:count]] for name in sets}


def _first(measurement: Measured, images: Images, row: Row | None, prompt_set: str, count: int) -> list[Image]:
    """The first images of a set as squares of one side; grey where there is no such row, or it has none of the set."""
    found = images.get((row.key, prompt_set, measurement.options.seeds[0])) if row is not None else None
    side = min(measurement.profile.data.resolution, THUMBNAIL)
    if found is None:
        return [new_image("RGB", (side, side), "grey")] * count
    return [image if image.size == (side, side) else fit(image, (side, side)) for image in found.shown(count)]


def _label(label: str, steps: int | None) -> str:
    lines = textwrap.wrap(label, LABEL_WIDTH)
    return "\n".join(lines if steps is None else [*lines, f"{steps} steps"])
