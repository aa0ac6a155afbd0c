"""A training of seconds, to be disturbed: tiny networks, random latents, two steps of the schedule."""

import json
import math
import os
import random
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file

from repro.kinds.reliability.faults import LOG, beside, pause
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.data import LatentCache
from swd.data.layout import SCHEMA, CacheIndex, growing_pairs, lower_key
from swd.errors import NonFiniteLossError, OutputFolderError, TrainingStopped
from swd.training import DistillConfig, train
from swd.training.state import LossLog
from swd.training.step import DistillationStep
from swd.training.stopping import StopSignals

MARK = "mark"  # of a line of the log
NOT_FINITE, NO_OUTPUT = 3, 4  # exit statuses of a run that said why it cannot go on
CONFIG = DistillConfig(
    preset="tiny",
    scales=(4, 6),
    boundaries=(0, 14, 28),
    iterations=8,
    batch_size=2,
    lr=1e-2,
    fake_updates=1,
    rank=2,
    alpha=2.0,
    feature_block=1,
    checkpoint_every=1,
    keep_last=2,
    progress=False,
)


def run(
    folder: Path,
    *,
    pause_after: int | None = None,
    nan_at: int | None = None,
    jumps: int | None = None,
    place: tuple[int, int] | None = None,
) -> None:
    """Train to the end, or from where the folder's states leave off.

    Args:
        folder: of the run; what it prints goes beside it.
        pause_after: iterations of this process after which to wait.
        nan_at: call of the student's loss that gives NaN.
        jumps: seed of the jumps of the system's clock, at every look at it.
        place: rank in a group of two processes on the CPU, and the port of its store.
    """
    prepare(folder, jumps)
    _mark_lines()
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if place is not None:
        rank, port = map(str, place)
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ.update(group, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    if nan_at is not None:
        _inject_nan(nan_at)
    signals, asked = StopSignals(), iter(range(1, 1 << 30))

    def stop() -> bool:
        if next(asked) == pause_after:
            pause(folder)
        return signals()

    try:
        with signals:
            train(CONFIG, _denoiser(), _cache(), folder, accelerator=Accelerator(cpu=True), stop=stop)
    except TrainingStopped as stopped:
        print(stopped)
    except NonFiniteLossError as error:
        print(error)
        sys.exit(NOT_FINITE)
    except OutputFolderError as error:
        print(error)
        sys.exit(NO_OUTPUT)


def left(folder: Path) -> dict[str, Any]:
    """What a finished run leaves: adapter, last state and losses, all of which must be those of an undisturbed one."""
    tensors = {
        f"{path.parent.name}/{key}": (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
        for path in sorted(folder.glob(f"state-{CONFIG.iterations:06d}/*.safetensors"))
        + sorted(folder.glob("final/*.safetensors"))
        for key, value in load_file(path).items()
    }
    lines = [{key: value for key, value in line.items() if key not in ("seconds", MARK)} for line in _lines(folder)]
    return {**tensors, "losses": lines}


def saved(folder: Path) -> dict[Any, Any]:
    """Log lines, each with its mark, of the iterations before the newest saved state."""
    newest = max((int(path.name[6:]) for path in folder.glob("state-*") if path.name[6:].isdigit()), default=0)
    return {line["iteration"]: line for line in _lines(folder) if line["iteration"] < newest}


def log_of(folder: Path) -> Path:
    """The file of a run's losses."""
    return LossLog.in_folder(folder).path


def newest_state(folder: Path) -> Path:
    """The folder of the newest state."""
    return max(path for path in folder.glob("state-*") if path.name[6:].isdigit())


def prepare(folder: Path, jumps: int | None) -> None:
    """Have this process, which works on a folder, print beside it, on one thread, and by a clock that may jump."""
    with beside(folder, LOG).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    if jumps is not None:
        _jump_clock(jumps)


def _jump_clock(seed: int) -> None:
    """Have the system's clock, of this process, jump by up to ten days at every look, either way."""
    now, chance = time.time, random.Random(seed)
    time.time = lambda: now() + chance.uniform(-864_000, 864_000)


def _mark_lines() -> None:
    """Have every line of the log bear a mark of its own: an iteration that is done again gets another."""
    append = LossLog.append

    def marked(self: LossLog, values: Mapping[str, Any]) -> None:
        append(self, {**values, MARK: secrets.token_hex(8)})

    LossLog.append = marked  # type: ignore[method-assign]  # in this process alone


def _inject_nan(call: int) -> None:
    loss, calls = DistillationStep.student, iter(range(1 << 30))

    def broken(self: DistillationStep, *arguments: Any) -> Any:
        result = loss(self, *arguments)
        return replace(result, total=result.total * math.nan) if next(calls) == call else result

    DistillationStep.student = broken  # type: ignore[method-assign, assignment]  # the fault, in this process alone


def _lines(folder: Path) -> list[dict[str, Any]]:
    path = log_of(folder)
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]  # half a line, where it was killed, is none


def _denoiser() -> SD3Denoiser:
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    return SD3Denoiser(network.eval())


def _cache(count: int = 6, tokens: int = 5) -> LatentCache:
    rng, scales, prompts = torch.Generator().manual_seed(1), (4, 6), ["", "a red star", "a blue cross"]
    pairs = growing_pairs(scales)
    index = CacheIndex(
        SCHEMA, "print", "pipeline", "sd3", scales, pairs, "float32", count, count, len(prompts), 8, "random", False
    )
    sides = {f"side_{side}": side for side in scales} | {lower_key(low, side): low for low, side in pairs}
    shard = {key: torch.randn(count, 4, side, side, generator=rng) for key, side in sides.items()}
    shard["prompt"] = torch.arange(count) % 2 + 1
    shapes = {"prompt_embeds": (tokens, 32), "pooled": (16,)}
    rows = {key: torch.randn(len(prompts), *shape, generator=rng) for key, shape in shapes.items()}
    return LatentCache(index, [shard], [rows], prompts)
