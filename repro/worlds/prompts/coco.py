"""Captions of COCO 2014's validation images: the CSV files in use, parquet, or a Hugging Face data set.

| file | columns |
|---|---|
| `coco.csv` of the SwD release | unnamed (the annotation), `file_name`, `caption`: 30,000 captions of 22,320 images |
| `uid_caption.csv` of DallEval | `uid` ("346904_mscoco_0"), `caption` |
| others | `caption`, and any of `id`, `image_id`, `file_name` |

An image id alone does not name a caption (an image has five), so the annotation's number is the id where there is one.
Else it is the image and eight digits of a hash of the caption, and without an image the number of the row.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from repro.worlds.prompts.entry import PromptEntry, checked, clean
from repro.worlds.prompts.hub import read_dataset
from repro.worlds.prompts.rows import read_rows

ALIASES: Mapping[str, tuple[str, ...]] = {
    "caption": ("caption", "captions", "prompt", "text"),
    "id": ("id", "uid", "annotation_id", "caption_id", "", "Unnamed: 0"),
    "image": ("file_name", "filename", "image_id", "coco_id"),
}
_UID = re.compile(r"(\d+)_mscoco_\d+")


def read_coco(source: Path | str) -> list[PromptEntry]:
    """Captions of a CSV file, of a folder of parquet files, or of a data set on the hub by its name.

    Raises:
        PromptFileError: the file has no column of captions, or a line is not as expected.
    """
    path = Path(source)
    if path.suffix.lower() in {".csv", ".tsv"}:
        rows = read_rows(path, ALIASES, required=["caption"], tab=path.suffix.lower() == ".tsv")
        return checked(path, _entries(rows))
    return checked(path, _entries(read_dataset(source, ALIASES, required=["caption"])), unit="row")


def image_name(image_id: str) -> str:
    """Name of a validation image without its ending: COCO_val2014_000000246955."""
    return f"COCO_val2014_{int(image_id):012d}"


def _entries(rows: Iterator[tuple[int, Mapping[str, str]]]) -> Iterator[tuple[int, PromptEntry]]:
    for count, (number, row) in enumerate(rows):
        image, caption = row.get("image", "").strip(), clean(row["caption"])
        found = row["id"].strip() if "id" in row else _own_id(image, caption, count)
        if not image and (uid := _UID.fullmatch(found)):
            image = uid[1]
        named = image_name(image) if image.isdecimal() else image
        yield number, PromptEntry(id=found, caption=caption, image=named or None)


def _own_id(image: str, caption: str, count: int) -> str:
    if not image:
        return str(count)
    return f"{Path(image).stem}-{hashlib.sha256(caption.encode()).hexdigest()[:8]}"
