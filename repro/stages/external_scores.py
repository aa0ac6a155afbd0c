"""Scores of an image set by a program of another environment: asked for once, kept, and looked up in the one pass.

The program reads the files itself. Images that cannot be read are found first and left out, and of one that a bare
reader would take for another picture (turned by EXIF, transparent, 16 bits a channel) it gets a plain copy. Of several
processes one runs it, and the others wait for its results.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image

from repro.metrics.external import ExternalScore, Scorer
from repro.metrics.external_run import Request, scores_of
from repro.stages.image_files import digest_bytes, encode_image, write_once
from repro.stages.image_sets import ImageSet, read_manifest
from repro.stages.store import StageStore
from swd.images import is_plain

PLAIN = "plain"
STAGE, VERSION = "external", 1
BATCH = 8  # images in memory, to see whether they can be read; as many are decoded at once


def external_score(store: StageStore, images: ImageSet, scorer: Scorer, identity: Mapping[str, Any]) -> ExternalScore:
    """The scores of an image set as a metric; the program runs where they are missing.

    Args:
        store: keeps requests, results and what the program printed.
        images: what is scored.
        scorer: the program.
        identity: what scores follow from besides images, as plain data: command, hashes of weights.

    Raises:
        ScorerError: the program failed, or its results are not one finite number for each image.
    """
    inputs = {"version": VERSION, "images": dict(images.inputs), "metric": scorer.key, "scorer": dict(identity)}
    folder = store.folder(STAGE, inputs)
    requests = list(readable(images, folder))
    if not requests:
        return ExternalScore(scorer, {})  # the pass says why no image can be measured

    def ask() -> None:
        for name in store.changed(STAGE, inputs):  # results that were damaged since
            (folder / name).unlink(missing_ok=True)
        scores_of(scorer, requests, folder)

    if not store.done(STAGE, inputs):
        store.once(STAGE, inputs, ask, files=scorer.own_files)
    return ExternalScore(scorer, scores_of(scorer, requests, folder))


def readable(images: ImageSet, folder: Path) -> Iterator[Request]:
    """One request for each image that can be read, by the id of its prompt; plain copies go into the folder."""
    for shard, prompts in images.shards.items():
        files = {row["id"]: row.get("file", "") for row in read_manifest(images.folder, shard, prompts)}
        for batch in images.read(shard, BATCH):
            for image, prompt in zip(batch.images, batch.prompts, strict=True):
                file = _plain(images.folder / files[prompt["id"]], image, folder / PLAIN)
                yield Request(str(prompt["id"]), file, prompt["caption"])


def _plain(file: Path, image: Image, folder: Path) -> Path:
    """The file itself, or a copy of its pixels, named after them."""
    if is_plain(file):
        return file
    data = encode_image(image, "png")
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{digest_bytes(data)}.png"
    write_once(copy, data)
    return copy
