"""Distil a student: ``python -m swd.train --preset sd35-6 --pipeline PATH --data CACHE --output DIR``.

Works by itself on one device, and on several under a launcher (`configs/accelerate` has one, eight and twice eight):

    accelerate launch --config_file configs/accelerate/ddp-8.yaml -m swd.train ...
    accelerate launch --config_file configs/accelerate/fsdp2-8.yaml -m swd.train ...
    ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m swd.train ...

On CPUs `accelerate launch` starts one process, however many it is asked for. Processes share each batch, and with FSDP2
the frozen network's blocks; precision is taken from the launcher, and what training does not do (gradient accumulation,
DeepSpeed, fp8) is refused. A run may go on with another number of processes. A signal to the launcher reaches all of
them, and they save and end with 0; the launcher's own status after a signal is 1, whatever theirs is.

Every option of ``DistillConfig`` is an option here; ``--study FILE.toml`` fills the same dataclasses, and options on
the command line win over the file:

    pipeline = "stabilityai/stable-diffusion-3.5-medium"
    data = "cache/medium"
    output = "runs/scalewise-6"
    [distill]
    preset = "sd35-6"
    weight_gan = 0.0

The same command again goes on where an interrupted run stopped.
"""

import argparse
import difflib
import logging
import signal
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from swd.command_words import check_words, usable_path, with_usable_paths
from swd.errors import INTERRUPTED, USER_ERRORS, ConfigError, StudyError, TrainingStopped, no_cache, reason
from swd.training.config import DistillConfig
from swd.training.option_types import in_words, is_a
from swd.training.stopping import StopSignals


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainCommand:
    """Distil a few-step student from a diffusion pipeline (SwD)."""

    pipeline: str
    """Pipeline of a known backbone: a folder, or a name on the Hub. Its network is the teacher."""
    data: Path
    """Latent cache made by `python -m swd.cache`, or where `images` puts one."""
    output: Path
    """Folder for states, log.jsonl and the final adapter."""
    images: Path | None = None
    """Folder of images with metadata.jsonl: first make the cache of as many of them as this run reads, or what is
    missing of it. Leave it out to go on with more iterations, and on several processes."""
    prompts: Literal["cached", "online"] = "cached"
    """Whether the cache that is made of `images` holds the embeddings of prompts, or captions that are encoded anew for
    every batch, with the text encoders beside the network. A cache that is there says by itself which it is."""
    variant: str | None = None
    """Of the pipeline's files, such as fp16."""
    student: str | None = None
    """Adapter that the student starts from, a released one for instance, of the same rank and layers: file, folder, or
    name on the Hub, in any layout. It starts as the teacher when absent."""
    resume: bool = True
    """Go on from the newest state in the output folder; otherwise start over there."""
    state_minutes: float = 5.0
    """Save a state also when the last one is so many minutes old; `checkpoint_every` counts iterations."""
    truncate: bool = False
    """Cut over-long captions of `images` where the text encoders do, rather than refuse them."""
    verify: bool = True
    """First read the cache once and compare it with its checksums."""
    in_memory: bool = False
    """Read the whole cache into memory in place of mapping its files."""
    study: Path | None = None
    """TOML file with any of these options, those of the distillation under [distill]."""
    distill: Annotated[DistillConfig, tyro.conf.arg(name="")]
    """Options of the distillation itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: parse, load the pipeline, train; user errors end with one line.

    SIGTERM and the first Ctrl-C let the iteration end, save a state and exit, with status 0 and 130; a second Ctrl-C
    stops at once, with 130 too.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("swd").setLevel(logging.INFO)
    signals, command = StopSignals(), None
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        run(command, signals)
    except TrainingStopped as stopped:
        print(stopped)
        # of several processes, those that no signal reached stop with the others, and have nothing to complain about
        raise SystemExit(INTERRUPTED if signals.received is signal.SIGINT else 0) from None
    except (*USER_ERRORS, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        saved = command is not None and any(command.output.glob("state-*/state.json"))
        whence = "goes on from the last saved state" if saved else "begins anew, no state had been saved yet"
        print(f"interrupted: the same command {whence}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def parse(arguments: Sequence[str]) -> TrainCommand:
    """Command from arguments, on top of a study file when they name one.

    Raises:
        ConfigError: an empty word, or a path that cannot be used.
        StudyError: the file cannot be read, or has an unknown key or a value of the wrong type.
    """
    check_words(arguments)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--study", type=Path)
    study = finder.parse_known_args(arguments)[0].study
    given = [*(read_study(usable_path("study", study)) if study else []), *arguments]
    return with_usable_paths(tyro.cli(TrainCommand, args=given, prog="python -m swd.train"))


def read_study(path: Path) -> list[str]:
    """Options of a study file as arguments, to stand before those of the command line, which win.

    Raises:
        StudyError: unreadable file, or unknown key (with the nearest known ones).
    """
    if path.exists() and not path.is_file():
        raise StudyError(f"cannot read study file {path}: it is a folder, a pipe or a device")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"cannot read study file {path}: {reason(error)}") from error
    distill = values.get("distill", {})
    if not isinstance(distill, dict):
        raise StudyError(f"{path}: distill must be a table, [distill]")
    own = {key: value for key, value in values.items() if key != "distill"}
    _check_values(path, own, TrainCommand)
    _check_values(path, distill, DistillConfig)
    return as_arguments({**own, **distill})


def _check_values(path: Path, values: Mapping[str, Any], options: type) -> None:
    types = {key: kind for key, kind in get_type_hints(options).items() if key not in ("distill", "study")}
    for key, value in values.items():
        if key not in types:
            near = ", ".join(difflib.get_close_matches(key, types, n=3, cutoff=0.4)) or "none"
            raise StudyError(f"{path}: {options.__name__} has no option {key!r}; nearest: {near}")
        if value == "None":  # which the command line takes for nothing
            raise StudyError(f"{path}: {key} is the text 'None': leave the option out for nothing")
        if not is_a(value, types[key]):
            raise StudyError(f"{path}: {key} must be {in_words(types[key])}, got {value!r}")


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Options by their names as words of the command line."""
    return [word for key, value in values.items() for word in _words(key.replace("_", "-"), value)]


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, str) and value.startswith("-"):
        return [f"--{name}={value}"]  # a text, whatever it looks like
    return [f"--{name}", *(str(item) for item in (value if isinstance(value, list | tuple) else [value]))]


def run(command: TrainCommand, signals: StopSignals | None = None) -> None:
    """Load what the command names and train; the slow imports wait until here.

    Args:
        command: what to do.
        signals: which end the training after an iteration; before it, when nothing is to be saved, they end at once.
    """
    command.distill.schedule()  # an unknown preset is found before gigabytes are read
    if command.images is None and not (command.data / "index.json").exists():
        raise no_cache(command.data)

    from swd.training import train
    from swd.training.inputs import check_network, open_inputs
    from swd.training.launch import launched, unstarted
    from swd.training.run import new_accelerator
    from swd.training.together import check_minutes

    config = launched(command.distill)
    check_minutes(command.state_minutes)
    accelerator = new_accelerator(config, command.output)
    check_network(config, command.pipeline)
    if (warning := unstarted()) is not None:
        logging.getLogger(__name__).warning(warning)
    if command.images is not None:
        _make_cache(command, config, accelerator.num_processes)
    denoiser, data = open_inputs(
        command.pipeline,
        command.data,
        config,
        accelerator,
        variant=command.variant,
        in_memory=command.in_memory,
        verify=command.verify,
    )
    options = {"resume": command.resume, "student": command.student, "state_minutes": command.state_minutes}
    how: dict[str, Any] = {"accelerator": accelerator, "stop": signals, **options}
    with signals or nullcontext():
        result = train(config, denoiser, data, command.output, **how)
    if accelerator.is_main_process:
        peaks = ", ".join(f"{peak / 2**30:.2f}" for peak in result.peak_bytes)
        print(f"student: {result.adapter}\nlosses: {result.log}\ntraining time: {result.seconds:.0f} s")
        print(f"peak memory: {peaks} GiB, of each process")


def _make_cache(command: TrainCommand, config: DistillConfig, processes: int) -> None:
    """The cache of this run alone."""
    import gc

    import torch

    from swd import cache

    if processes > 1:
        raise ConfigError(
            "several processes share a cache that is there: make it with -m swd.cache under torchrun first"
        )
    assert command.images is not None
    own = config.schedule().scales if config.scales is not None else ()
    cache.run(
        cache.CacheCommand(
            images=command.images,
            pipeline=command.pipeline,
            output=command.data,
            presets=() if own else (config.preset,),
            scales=own,
            limit=config.images_read,
            seed=config.seed,
            dtype="float32" if config.precision == "no" else "bfloat16",
            moments=config.sample_latents,
            prompts=command.prompts,
            truncate=command.truncate,
            variant=command.variant,
        )
    )
    gc.collect()  # text encoders and VAE
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
