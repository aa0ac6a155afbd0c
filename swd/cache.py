"""Make a latent cache: ``python -m swd.cache --images DIR --pipeline PATH --presets sd35-6 --output CACHE``.

``DIR`` holds images and ``metadata.jsonl`` with one ``{"file_name": ..., "text": ...}`` per line, the layout of an
image folder of the datasets library. Images are PNG, JPEG or WebP, read as `swd.images` says (turned as EXIF says; CMYK
and transparent ones are refused by name), and cropped to a centred square. A cache that was interrupted is continued
by the same command, and torn files are made again. Several processes share the work under a launcher:

    torchrun --nproc_per_node 8 -m swd.cache --images DIR --pipeline PATH --presets sd35-6 --output CACHE

`--estimate` says what a cache will take and ends there. Most of it are the embeddings of prompts: 200,000 of SD3.5 are
0.96 TB in bfloat16. `--prompts online` keeps captions alone, and training encodes them, with the text encoders beside
the network in every process.
"""

import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from swd.data.metadata import read_metadata
from swd.errors import INTERRUPTED, USER_ERRORS, CacheError, ConfigError
from swd.images import ImageFileError, image_size, read_image
from swd.locks import holding

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from swd.data.build import CachePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCommand:
    """Encode images at every scale of some schedules, and their captions, once for all training runs."""

    images: Path
    """Folder of images with metadata.jsonl."""
    pipeline: str
    """Pipeline whose VAE and text encoders are used: a folder, or a name on the Hub."""
    output: Path
    """Folder of the cache."""
    presets: tuple[str, ...] = ()
    """Schedules that the cache is to serve."""
    scales: tuple[int, ...] = ()
    """Latent sides, one per step, of a schedule of your own that the cache is to serve beside them."""
    limit: int | None = None
    """Encode so many of the images, drawn at random: a run reads iterations x batch_size x (fake_updates + 1) of them,
    and prompt embeddings are large (SD3.5: 4.8 MB each in bfloat16 for 589 tokens)."""
    seed: int = 0
    """Of that draw."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of the stored tensors and of the text encoders; the VAE runs in float32."""
    moments: bool = False
    """Store the deviation of every latent too, for training with sample_latents."""
    prompts: Literal["cached", "online"] = "cached"
    """Store the embeddings of prompts, or captions alone, which training then encodes for every batch."""
    estimate: bool = False
    """Only say what there is to write."""
    variant: str | None = None
    """Of the pipeline's files, such as fp16."""
    batch_size: int = 16
    """Images, and prompts, per pass."""
    shard_size: int = 1024
    """Images per file."""
    max_sequence_length: int | None = None
    """Tokens per prompt of the text encoder whose length can be chosen (T5); the pipeline's own number when absent,
    512 for published models."""
    truncate: bool = False
    """Cut over-long captions where the text encoders do, rather than refuse them."""
    device: str | None = None
    """Where to encode; an accelerator when there is one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: parse, load the pipeline, encode; user errors end with one line."""
    command = tyro.cli(CacheCommand, args=arguments, prog="python -m swd.cache")
    try:
        run(command)
    except USER_ERRORS as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        print("interrupted: the same command makes the shards that are missing", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def run(command: CacheCommand) -> None:
    """Load the pipeline and build; the slow imports wait until here."""
    import torch

    from swd.backbones import backbone_of_folder
    from swd.backbones.lengths import resolve_length
    from swd.backbones.loading import load_parts
    from swd.data import cache_ladder, plan_cache

    scales, pairs = cache_ladder(ladders(command))
    records, digest = read_metadata(command.images)
    records, digest = drawn(records, digest, command.limit, command.seed)
    process, processes, local = process_of()
    device = command.device or _device(local)
    dtype = getattr(torch, command.dtype)
    parts = ("vae", *backbone_of_folder(command.pipeline).text_encoders)
    dtypes = {"vae": torch.float32, "default": dtype}
    pipeline = load_parts(command.pipeline, *parts, dtype=dtypes, variant=command.variant)
    for part in parts:
        if getattr(pipeline, part) is not None:
            getattr(pipeline, part).to(device)
    plan = plan_cache(
        [text for _, text in records],
        pipeline,
        scales,
        command.output,
        pairs=pairs,
        source=digest,
        dtype=dtype,
        moments=command.moments,
        online=command.prompts == "online",
        batch_size=command.batch_size,
        shard_size=command.shard_size,
        max_sequence_length=resolve_length(pipeline, command.max_sequence_length),
        truncate=command.truncate,
    )
    if command.estimate:
        print(f"{command.output}: {plan.estimate()}")
        return
    images = ImageFiles([command.images / name for name, _ in records], side=max(scales) * pipeline.vae_scale_factor)
    images.check(number for rows in plan.missing_images(process, processes) for number in rows)
    with holding(command.output, process):
        plan.check_room(progress=process == 0)
        plan.build(images, process=process, processes=processes, progress=process == 0)
    _report(plan, scales)


def _report(plan: "CachePlan", scales: tuple[int, ...]) -> None:
    index = plan.index
    if missing := plan.unfinished():
        print(f"{plan.folder}: this process is done; {missing} shards are left to the others, or to the same command")
    else:
        print(f"{plan.folder}: {index.count} images, {index.num_prompts} prompts, scales {scales}")


def process_of(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """Which process of how many this is, and which on its machine, as torchrun and `accelerate launch` say it."""
    process, processes = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    return process, processes, int(environment.get("LOCAL_RANK", 0))


def _device(local: int) -> str:
    """The accelerator of a process, where there is one that it may use."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes"):
        return "cpu"
    return f"{found.type}:{local % torch.accelerator.device_count()}"


def ladders(command: CacheCommand) -> list[tuple[int, ...]]:
    """Scales of every schedule that the cache is to serve.

    Raises:
        ConfigError: there is none, a preset is unknown, or the own scales are not those of a schedule.
    """
    from swd.schedule import preset

    own = command.scales
    if not command.presets and not own:
        raise ConfigError("name at least one schedule with --presets, or give the sides of your own with --scales")
    if any(side < 1 for side in own) or any(low > high for low, high in pairwise(own)):
        raise ConfigError(f"scales must be positive and must not shrink, got {own}")
    try:
        return [preset(name).scales for name in command.presets] + ([own] if own else [])
    except ValueError as error:
        raise ConfigError(str(error)) from error


def drawn(
    records: list[tuple[str, str]], digest: str, limit: int | None, seed: int
) -> tuple[list[tuple[str, str]], str]:
    """``limit`` of the records in their order, the same for the same seed, and a hash that says so.

    Raises:
        ConfigError: the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, got {limit}")
    if limit is None or limit >= len(records):
        return records, digest
    chosen = sorted(random.Random(seed).sample(range(len(records)), limit))
    return [records[place] for place in chosen], f"{digest}, {limit} drawn with seed {seed}"


class ImageFiles(Sequence["Tensor"]):
    """Image files as (3, side, side) tensors in [-1, 1], decoded when asked for; larger ones are area-downscaled."""

    def __init__(self, files: Sequence[Path], side: int) -> None:
        self._files, self._side = files, side

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def __iter__(self) -> Iterator["Tensor"]:
        """Images in order."""
        return (self[index] for index in range(len(self)))

    def check(self, numbers: Iterable[int]) -> None:
        """Look at the headers of some files, so that a bad one is found before the first is encoded.

        Raises:
            CacheError: one is unreadable, or smaller than the largest scale; the first is named.
        """
        for number in numbers:
            path = self._files[number]
            try:
                size = image_size(path)
            except ImageFileError as error:
                raise CacheError(f"{path} cannot be read as an image: {error}") from error
            if min(size) < self._side:
                need = f"{self._side} x {self._side}"
                raise CacheError(f"{path} is {size[0]} x {size[1]} pixels, the largest scale needs {need}")

    def __getitem__(self, index: int) -> "Tensor":  # type: ignore[override]
        """One image.

        Raises:
            CacheError: unreadable.
        """
        from torchvision.transforms.functional import pil_to_tensor

        from swd.resize import downscale_area

        path = self._files[index]
        try:
            image = _centre_square(read_image(path))
        except ImageFileError as error:
            raise CacheError(f"{path} cannot be read as an image: {error}") from error
        pixels = pil_to_tensor(image)[None] / 127.5 - 1
        return downscale_area(pixels, (self._side, self._side))[0]


def _centre_square(image: "Image") -> "Image":
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    main(sys.argv[1:])
