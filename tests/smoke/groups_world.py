"""Runs by groups of processes of several sizes, one after another: ``python groups_world.py FOLDER``.

The processes of a group are forked from this one, which has imported everything already, and find each other as those
of a launcher do, by their environment. What they leave under FOLDER is judged by `test_process_groups`.
"""

import json
import multiprocessing
import os
import shlex
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a script, not by pytest, which finds these by itself
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch
import training_world
from processes_world import FAMILIES, STOPPED, WAYS
from torch.distributed.tensor import DTensor

from swd import train
from swd.backbones.base import Denoiser
from swd.errors import ConfigError, StateError
from swd.training import inputs
from swd.training import state as states
from swd.training.sharding import gathered_bytes
from swd.training.trainer import Trainer

WHOLE = WAYS["whole"]
POOLED = {**WHOLE, "iterations": 2, "fake_updates": 1, "weight_dmd": 0.0, "weight_gan": 0.0, "pdm_kernel": "rbf"}
POOLED |= {"pdm_pool_batch": True, "pdm_bandwidth_rule": "median"}
MEDIAN = {**POOLED, "pdm_pool_batch": False}


def group(count: int, work: Callable[[int], None], **environment: str) -> None:
    """Run ``work`` of its rank in each of ``count`` processes with gloo between them; all have to succeed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": port, "ACCELERATE_USE_CPU": "true", **environment}
    fork = multiprocessing.get_context("fork")
    members = [fork.Process(target=_member, args=(rank, work, common)) for rank in range(count)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert not any(member.exitcode for member in members), [member.exitcode for member in members]


def _member(rank: int, work: Callable[[int], None], environment: dict[str, str]) -> None:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    work(rank)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def noted(path: Path, run: Callable[[], Any]) -> None:
    """Run, and write down every warning about a state, and the error of a user that ended it."""
    found: dict[str, Any] = {"error": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run()
        except (StateError, ConfigError) as error:
            found["error"] = str(error)
    found["warnings"] = [str(one.message) for one in caught if "torn" in str(one.message)]
    path.write_text(json.dumps(found))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def four(folder: Path) -> Callable[[int], None]:
    def work(rank: int) -> None:
        FAMILIES["sd3"].train(folder / "four", **WHOLE)
        FAMILIES["sd3"].train(folder / "stopped", **WHOLE, iterations=STOPPED)

    return work


def two(folder: Path) -> Callable[[int], None]:
    """Two go on where four stopped, from the newest state and, when it is damaged, from the one before."""

    def work(rank: int) -> None:
        sd3 = FAMILIES["sd3"]
        sd3.train(folder / "two", **WHOLE)
        sd3.train(folder / "pooled", **POOLED)
        sd3.train(folder / "median", **MEDIAN)
        sd3.train(folder / "resumed", **WHOLE)
        noted(folder / f"flipped.{rank}", lambda: sd3.train(folder / "flipped", **WHOLE))
        read = states._read

        def blind(found: Path) -> states.TrainState:
            if rank == 1:
                raise FileNotFoundError(f"no {found.name} on this machine")
            return read(found)

        states._read = blind
        noted(folder / f"apart.{rank}", lambda: sd3.train(folder / "apart", **WHOLE))

    return work


SHARDED = {  # family, and options of the run
    "sd3": ("sd3", {"gradient_checkpointing": "full", "ema_decay": 0.9}),
    "sd3-bf16": ("sd3", {"gradient_checkpointing": "selective", "mixed_precision": "bf16", "iterations": 1}),
    "flux": ("flux", {"gradient_checkpointing": "half", "micro_batch_size": 1, "iterations": 1}),
}
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}


def shared(folder: Path, kind: str) -> Callable[[int], None]:
    """The same runs, with and without sharing the frozen network's weights, and what of those a process has."""

    def work(rank: int) -> None:
        for name, (family, options) in SHARDED.items():
            denoiser = FAMILIES[family].denoiser()
            common = {"denoiser": denoiser, "lr": 1e-2, "iterations": 2, "fake_updates": 1}
            with training_world.fresh_accelerate():
                FAMILIES[family].train(folder / kind / name, **{**common, **options})
            (folder / f"{kind}-{name}.{rank}").write_text(json.dumps(held(denoiser)))
        with training_world.fresh_accelerate():
            noted(folder / f"{kind}-again.{rank}", lambda: again(denoiser, folder / kind / "again"))
        if kind == "sharded":
            with training_world.fresh_accelerate():
                FAMILIES["sd3"].train(folder / "resumed-sharded", **WHOLE)

    return work


def again(denoiser: Denoiser, folder: Path) -> None:
    FAMILIES["flux"].train(folder, denoiser=denoiser, iterations=1, fake_updates=1)


RUN = shlex.split(
    "--preset tiny --scales 4 6 --boundaries 0 14 28 --batch-size 2 --fake-updates 1 --rank 2 --alpha 2 "
    "--feature-block 1 --no-progress --iterations 4 --checkpoint-every 100 --pipeline p --output"
)
SIGNALS = {  # what each of two processes gets at the second iteration
    "one": ((), (signal.SIGTERM,)),
    "both": ((signal.SIGTERM, signal.SIGTERM),) * 2,  # of the launcher, and of whoever told the launcher
    "ctrl-c": ((signal.SIGINT,),) * 2,
    "ctrl-c-twice": ((signal.SIGINT, signal.SIGINT),) * 2,
}


def signalled(folder: Path) -> Callable[[int], None]:
    """`python -m swd.train` in two processes, signals, and the same command once more."""

    def work(rank: int) -> None:
        denoiser = FAMILIES["sd3"].denoiser()
        inputs.open_inputs = lambda *given, **more: (denoiser, training_world.cache())
        inputs.check_network = lambda *given: None
        (folder / "index.json").touch()  # what says that a cache is there
        update = Trainer._update_student
        for name, numbers in SIGNALS.items():

            def stopped(self: Trainer, drawn: Any, own: tuple[int, ...] = numbers[rank]) -> dict[str, float]:
                if drawn[0].random.iteration == 1:
                    for number in own:
                        os.kill(os.getpid(), number)
                return update(self, drawn)

            Trainer._update_student = stopped
            ends = [commanded(folder / name)]
            Trainer._update_student = update
            if name != "ctrl-c-twice":  # which ends in the middle of an exchange
                ends.append(commanded(folder / name))
            (folder / f"{name}.{rank}").write_text(json.dumps(ends))

    return work


def commanded(output: Path) -> list[Any]:
    """Exit status, and states that are there then."""
    status: Any = 0
    with training_world.fresh_accelerate():
        try:
            train.main([*RUN, str(output), "--data", str(output.parent)])
        except SystemExit as ended:
            status = ended.code
    return [status, sorted(path.name for path in output.glob("state-*"))]


def held(denoiser: Denoiser) -> dict[str, int]:
    """Numbers that blocks consist of, those of them and of adapters that lie in this process; bytes of blocks."""
    found = {"blocks": 0, "here": 0, "adapters": 0, "gathered": gathered_bytes(denoiser)}
    found["largest"] = max(
        sum(4 * weight.numel() for name, weight in unit.named_parameters() if ".lora_" not in name)
        for unit in denoiser.units
    )
    for name, weight in denoiser.network.named_parameters():
        if ".lora_" in name:
            found["adapters"] += weight.numel() if type(weight) is torch.nn.Parameter else 0
        elif any(weight is own for unit in denoiser.units for own in unit.parameters()):
            found["blocks"] += weight.numel()
            found["here"] += (weight.to_local() if isinstance(weight, DTensor) else weight).numel()
    return found


def main(folder: Path) -> None:
    group(4, four(folder))
    for name in ("resumed", "resumed-sharded", "flipped", "apart"):
        shutil.copytree(folder / "stopped", folder / name)
    flip_a_bit(folder / "flipped" / f"state-{STOPPED:06d}" / "tensors.safetensors")
    group(2, two(folder))
    group(2, signalled(folder))
    group(2, shared(folder, "replicated"))
    group(2, shared(folder, "sharded"), **FSDP2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
