"""Make a latent cache: ``python -m swd.cache --images DIR --pipeline PATH --presets sd35-6 --output CACHE``.

``DIR`` holds images and ``metadata.jsonl`` with a line for each, the layout of an image folder of the datasets library:

    {"file_name": "0001.png", "text": "a red star"}

Images are PNG, JPEG or WebP, read as `swd.images` says, and cropped to a centred square. The cache knows every
image by the SHA-256 of its file (read again where its size or times have changed), so the same command continues a
cache that was interrupted, makes torn and damaged shards again, and brings one up to date after images or captions were
repaired, removed or added: only those are encoded. Several processes share the work under a launcher:

    torchrun --nproc_per_node 8 -m swd.cache --images DIR --pipeline PATH --presets sd35-6 --output CACHE

`--estimate` says what a cache will take and ends there. Most of it are the embeddings of prompts: 200,000 of SD3.5 are
0.96 TB in bfloat16. `--prompts online` keeps captions alone, and training encodes them, with the text encoders beside
the network in every process.
"""

import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from swd.command_words import check_words, with_usable_paths
from swd.data.metadata import NAME, Caption, read_metadata
from swd.errors import USER_ERRORS, CacheError, CaptionError, ConfigError
from swd.interrupts import ended_by_ctrl_c
from swd.locks import holding
from swd.training.options import check_seed

if TYPE_CHECKING:
    from swd.data.image_files import Memory
    from swd.data.plan import CachePlan


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
    """Cut over-long captions where the text encoders do, rather than refuse them. The CLIPs of published models read 77
    tokens, their T5 as many as it is asked for; the mini pipeline, which has no T5, reads 12."""
    device: str | None = None
    """Where to encode; an accelerator when there is one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: parse, load the pipeline, encode; user errors end with one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with ended_by_ctrl_c("interrupted: the same command makes the shards that are missing"):
        try:
            check_words(arguments)
            run(with_usable_paths(tyro.cli(CacheCommand, args=arguments, prog="python -m swd.cache")))
        except USER_ERRORS as error:
            raise SystemExit(f"error: {error}") from None


def run(command: CacheCommand) -> None:
    """Load the pipeline and build; the slow imports wait until here."""
    check_options(command)
    records = drawn(read_metadata(command.images), command.limit, command.seed)
    process, processes, local = process_of()
    device = _device(command.device, local)

    from swd.backbones import backbone_of_folder
    from swd.data import cache_ladder
    from swd.data.checks import check_scales
    from swd.data.image_files import ImageFiles, keep_memory
    from swd.files import sweep

    backbone = backbone_of_folder(command.pipeline)
    scales, pairs = cache_ladder(ladders(command))
    check_scales(ladders(command), backbone.skeleton(command.pipeline))
    pipeline = _loaded(command, ("vae", *backbone.text_encoders), device)
    plan, memory = _planned(command, records, pipeline, scales, pairs)
    if command.estimate:
        print(f"{command.output}: {plan.estimate()}")
        return
    files = [command.images / record.file_name for record in records]
    keys = [memory[record.file_name][1] for record in records]
    images = ImageFiles(files, max(scales) * pipeline.vae_scale_factor, keys=keys)
    images.check(plan.missing_images(process, processes))
    with holding(command.output, process):
        if process == 0:
            sweep(command.output)
        plan.check_room(progress=process == 0)
        if process == 0:
            keep_memory(command.output, memory)
        plan.build(images, process=process, processes=processes, progress=process == 0)
    _report(plan, scales)


def _loaded(command: CacheCommand, parts: Sequence[str], device: str) -> Any:
    """The parts of the pipeline that encode, on their device."""
    import torch

    from swd.backbones.loading import load_parts

    dtypes = {"vae": torch.float32, "default": getattr(torch, command.dtype)}
    pipeline = load_parts(command.pipeline, *parts, dtype=dtypes, variant=command.variant)
    for part in parts:
        if getattr(pipeline, part) is not None:
            getattr(pipeline, part).to(device)
    return pipeline


def _planned(
    command: CacheCommand, records: Sequence[Caption], pipeline: Any, scales: Sequence[int], pairs: Any
) -> tuple["CachePlan", "Memory"]:
    """The plan, and what is to be remembered of the image files."""
    import torch

    from swd.data import plan_cache
    from swd.data.image_files import file_keys, read_memory

    length = _token_length(pipeline, command.max_sequence_length)
    names = [record.file_name for record in records]
    new = command.estimate and not (command.output / "index.json").exists()  # all is missing, whatever the files hold
    memory = {} if new else file_keys(command.images, names, read_memory(command.output))
    try:
        plan = plan_cache(
            [record.text for record in records],
            pipeline,
            scales,
            command.output,
            pairs=pairs,
            dtype=getattr(torch, command.dtype),
            moments=command.moments,
            online=command.prompts == "online",
            batch_size=command.batch_size,
            shard_size=command.shard_size,
            max_sequence_length=length,
            truncate=command.truncate,
            keys=[memory[name][1] if name in memory else "new" for name in names],
        )
    except CaptionError as error:
        place = f"{command.images / NAME}, line {records[error.number].line}"
        hint = "; --truncate cuts captions where the text encoders do" if records[error.number].text.strip() else ""
        raise CacheError(f"{place}: {error.reason}{hint}") from error
    return plan, memory


def _token_length(pipeline: Any, asked: int | None) -> int:
    from swd.backbones import backbone_of
    from swd.backbones.lengths import resolve_length

    t5 = backbone_of(pipeline).t5
    if asked == 0 and t5 is not None and getattr(pipeline, t5[0], None) is not None:
        raise ConfigError("max_sequence_length must be at least 1 for a pipeline with T5, got 0")
    try:
        return resolve_length(pipeline, asked)
    except ValueError as error:  # one that the text encoders do not have
        raise ConfigError(str(error)) from error


def check_options(command: CacheCommand) -> None:
    """Find what cannot be meant before anything is read.

    Raises:
        ConfigError: a size or a limit below 1, a negative length, a seed out of range, or no schedule; the message
            names the option.
    """
    for name in ("batch_size", "shard_size", "limit"):
        if (value := getattr(command, name)) is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if command.max_sequence_length is not None and command.max_sequence_length < 0:
        raise ConfigError(f"max_sequence_length must not be negative, got {command.max_sequence_length}")
    check_seed(command.seed)
    ladders(command)


def _report(plan: "CachePlan", scales: tuple[int, ...]) -> None:
    index = plan.index
    if missing := plan.unfinished():
        print(f"{plan.folder}: this process is done; {missing} shards are left to the others, or to the same command")
    else:
        print(f"{plan.folder}: {index.count} images, {index.num_prompts} prompts, scales {scales}")


def process_of(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """Which process of how many this is, and which on its machine, as torchrun and `accelerate launch` say it.

    Raises:
        ConfigError: they say no such thing: the process would do another's share, or all of them the same.
    """
    said = {name: environment.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))}
    said["LOCAL_RANK"] = environment.get("LOCAL_RANK", "0")
    shown = ", ".join(f"{name}={value}" for name, value in said.items())
    if not all(value.isdecimal() for value in said.values()):
        raise ConfigError(f"the environment says {shown}: expected whole numbers, as torchrun sets them")
    process, processes, local = (int(value) for value in said.values())
    if process >= processes or (processes > 1 and "RANK" not in environment):
        raise ConfigError(
            f"the environment says {shown}, which is no process of several: start them with torchrun, or clear these "
            "variables to do all of it in one process"
        )
    return process, processes, local


def _device(asked: str | None, local: int) -> str:
    """Where to encode: what was asked for, or the accelerator of a process, where there is one that it may use.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    from swd.backbones.devices import known_device

    if asked is not None:
        try:
            known_device("device", asked)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"there is no device {asked!r} here that can encode; expected cpu, or an accelerator that torch finds, "
                "such as cuda or cuda:0"
            ) from error
        return asked
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


def drawn(records: Sequence[Caption], limit: int | None, seed: int) -> list[Caption]:
    """``limit`` of the records in their order, the same for the same seed."""
    if limit is None or limit >= len(records):
        return list(records)
    return [records[place] for place in sorted(random.Random(seed).sample(range(len(records)), limit))]


if __name__ == "__main__":
    main(sys.argv[1:])
