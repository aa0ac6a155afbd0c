"""What a launcher asks for, and what of it a run takes: processes and precision, and nothing else without a word.

`accelerate launch` speaks through the environment, and `Accelerator` reads it whatever its caller says. A setting that
training does not honour is refused by its name: silently overridden, it would be a run other than the one asked for.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from swd.errors import ConfigError
from swd.training.config import DistillConfig
from swd.training.options import Precision

PRECISION = "ACCELERATE_MIXED_PRECISION"  # set by every `accelerate launch`, to "no" where nobody asked for more
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
COMPILER = "ACCELERATE_DYNAMO_BACKEND"
WHOLE = "training keeps the frozen network whole in every process and shares the batch alone: launch it without"
SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
KINDS = {
    "FSDP": "FSDP",
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "XLA": "TPUs",
    "TP": "tensor parallelism",
}
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # of a process among several


def launched(config: DistillConfig, environment: Mapping[str, str] = os.environ) -> DistillConfig:
    """The config with the precision that the run will have, after everything that it does not do is refused.

    The launcher's precision stands where the config has none. Its "no" is also what it says when nobody asked, so the
    config's own precision wins over it.

    Raises:
        ConfigError: the launcher asks for something that training does not do, or for another precision.
    """
    for variable, name in SHARDED.items():
        if environment.get(variable, "").lower() in ("1", "true", "yes"):
            raise ConfigError(f"the launcher asks for {name} ({variable}): {WHOLE}")
    _check_accumulation(environment.get(ACCUMULATION, "1"), ACCUMULATION)
    _check_compiler(environment.get(COMPILER, "NO"), COMPILER)
    return _with_precision(config, environment.get(PRECISION, "no").lower(), PRECISION)


def agreed(config: DistillConfig, accelerator: Any) -> DistillConfig:
    """The config with the precision of an accelerator that is there already.

    Raises:
        ConfigError: the accelerator does something that training does not, or has another precision than the config.
    """
    kind = str(accelerator.distributed_type).rpartition(".")[2]
    if kind in KINDS:
        raise ConfigError(f"the accelerator is one of {KINDS[kind]}: {WHOLE}")
    _check_accumulation(accelerator.gradient_accumulation_steps, "accelerator")
    _check_compiler(str(accelerator.state.dynamo_plugin.backend).rpartition(".")[2], "accelerator")
    made = accelerator.mixed_precision
    if config.mixed_precision not in (None, made):
        raise ConfigError(f"mixed_precision is {config.mixed_precision}, but that of the accelerator is {made}")
    return _with_precision(config, made, "accelerator")


def _check_accumulation(steps: str | int, where: str) -> None:
    if str(steps) not in ("1", "auto", ""):
        raise ConfigError(
            f"gradient accumulation over {steps} steps ({where}) would divide every gradient by {steps}: use "
            "micro_batch_size, which goes over the same batch in pieces and gives the same gradients"
        )


def _check_compiler(backend: str, where: str) -> None:
    if backend.upper() not in ("NO", ""):
        raise ConfigError(f"dynamo backend {backend} ({where}) is not used in training: give compile in place of it")


def _with_precision(config: DistillConfig, asked: str, where: str) -> DistillConfig:
    if asked not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ConfigError(f"mixed_precision {asked} ({where}) is not one of those that training knows: {known}")
    if config.mixed_precision is None:
        return replace(config, mixed_precision=cast(Precision, asked))
    if asked not in ("no", config.mixed_precision):
        raise ConfigError(
            f"mixed_precision is {config.mixed_precision}, but the launcher asks for {asked} ({where}): give one only"
        )
    return config


def unstarted(environment: Mapping[str, str] = os.environ) -> str | None:
    """What to say where a launcher was asked for several processes and started one; None where it was not.

    `accelerate launch --cpu --num_processes 2` does this: it names a meeting point, and starts nobody to meet there.
    """
    alone = not any(variable in environment for variable in RANKS)
    if PRECISION in environment and "MASTER_ADDR" in environment and alone:
        return (
            "accelerate launch was asked for several processes, but started one: on CPUs, launch them with "
            "`torchrun --nproc_per_node 2 -m swd.train` and ACCELERATE_USE_CPU=true"
        )
    return None
