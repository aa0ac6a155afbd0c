"""What a launcher asks for, and what of it a run takes: processes, precision and FSDP2, and nothing else unsaid.

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
FSDP = "ACCELERATE_USE_FSDP"
WHOLE = "training shares the batch, and with FSDP2 the frozen network, among its processes: launch it without"
OTHERS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
KINDS = {
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "XLA": "TPUs",
    "TP": "tensor parallelism",
}
SHARDING = {  # of the launcher's options for FSDP: the values that are taken, and what to do in place of others
    "FSDP_VERSION": (("2",), "launch it with fsdp_version 2"),
    "FSDP_RESHARD_AFTER_FORWARD": (("true",), "a frozen network that is never let go of is whole: launch without FSDP"),
    "FSDP_OFFLOAD_PARAMS": (("false",), "shares stay on their GPUs: leave it false"),
    "FSDP_ACTIVATION_CHECKPOINTING": (("false",), "leave it false and use gradient_checkpointing"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (("false",), "every process reads the weights by itself: set it to false"),
    "FSDP_AUTO_WRAP_POLICY": (("transformer_based_wrap",), "the network's blocks are what is shared: leave it out"),
    "FSDP_TRANSFORMER_CLS_TO_WRAP": ((), "the network's blocks are what is shared: leave it out"),
    "FSDP_IGNORED_MODULES": ((), "adapters are what is not shared: leave it out"),
}
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # how many a launcher started
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # of a process among several


def launched(config: DistillConfig, environment: Mapping[str, str] = os.environ) -> DistillConfig:
    """The config with the precision that the run will have, after everything that it does not do is refused.

    The launcher's precision stands where the config has none. Its "no" is also what it says when nobody asked, so the
    config's own precision wins over it.

    Raises:
        ConfigError: the launcher asks for something that training does not do, or for another precision.
    """
    for variable, name in OTHERS.items():
        if _is_on(environment, variable):
            raise ConfigError(f"the launcher asks for {name} ({variable}): {WHOLE}")
    _check_accumulation(environment.get(ACCUMULATION, "1"), ACCUMULATION)
    _check_compiler(environment.get(COMPILER, "NO"), COMPILER)
    config = _with_precision(config, environment.get(PRECISION, "no").lower(), PRECISION)
    if _is_on(environment, FSDP):
        _check_sharding(config, environment)
    return config


def is_sharded(accelerator: Any, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the frozen network is to be shared; accelerate itself does not know FSDP on CPUs, training does."""
    return accelerator.num_processes > 1 and _is_on(environment, FSDP)


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
    config = _with_precision(config, made, "accelerator")
    if kind == "FSDP":
        _check_sharding(config, _options(accelerator.state.fsdp_plugin))
    return config


def check_group(processes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to train alone as one of several processes: each would do all of it, and write one folder.

    Args:
        processes: that the accelerator knows of.
        environment: of this process.

    Raises:
        ConfigError: a launcher says that there are more.
    """
    for variable in SIZES:
        if processes == 1 and (size := environment.get(variable, "")).isdecimal() and int(size) > 1:
            rank = next((environment[name] for name in RANKS if name in environment), "?")
            raise ConfigError(
                f"this is process {rank} of {size} ({variable}), and they do not know of each other: start them "
                "with `torchrun --nproc_per_node N -m swd.train` or `accelerate launch`, or clear it to train alone"
            )


def _is_on(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "").lower() in ("1", "true", "yes")


def _options(plugin: Any) -> dict[str, str]:
    """What an accelerator was given of ``SHARDING``, as a launcher would say it."""
    return {
        "FSDP_VERSION": str(plugin.fsdp_version),
        "FSDP_RESHARD_AFTER_FORWARD": str(plugin.reshard_after_forward),
        "FSDP_OFFLOAD_PARAMS": str(type(plugin.cpu_offload).__name__ != "OffloadPolicy"),  # torch's word for none
        "FSDP_ACTIVATION_CHECKPOINTING": str(plugin.activation_checkpointing),
        "FSDP_CPU_RAM_EFFICIENT_LOADING": str(plugin.cpu_ram_efficient_loading),
    }


def _check_sharding(config: DistillConfig, options: Mapping[str, str]) -> None:
    """Refuse what would differ between processes, and what is not done."""
    for variable, (taken, instead) in SHARDING.items():
        given = options.get(variable, "")
        if given and given.lower() not in taken:
            raise ConfigError(f"FSDP with {variable} {given} is not done: {instead}")
    if "FSDP_VERSION" not in options:  # as accelerate has it
        raise ConfigError(f"FSDP of version 1 is not done: {SHARDING['FSDP_VERSION'][1]}")
    if config.mixed_steps:
        raise ConfigError("mixed_steps gives each process passes of its own, and FSDP gathers weights for all together")
    if config.precision == "fp16" or config.compile:
        asked = "compile" if config.compile else "mixed_precision fp16"
        raise ConfigError(f"{asked} does not go with FSDP: leave one of them out")


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
