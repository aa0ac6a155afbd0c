"""The picture of a table: the same prompts and seeds in every row."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from repro.harness.sample_grid import sample_grid


def image_grid(path: Path, images: Sequence[Tensor], *, rows: Sequence[str], captions: Sequence[str]) -> bool:
    """Draw images as `repro.harness.sample_grid` does.

    Args:
        path: PNG to write.
        images: uint8 (N, 3, H, W) for each row.
        rows: row labels.
        captions: one for each of the N columns.

    Returns:
        Whether the file was written; False if it already shows exactly this.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, row in enumerate(images):
            files.append([Path(folder) / f"{i}-{j}.png" for j in range(len(row))])
            for file, image in zip(files[-1], row, strict=True):
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
        return sample_grid(path, files, rows=rows, captions=captions)
