"""What the options of a run may be: choices, ranges, and what goes together."""

import math
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from swd.errors import ConfigError
from swd.schedule import UpscaleMode
from swd.training.option_types import in_words, plain
from swd.values import typed

if TYPE_CHECKING:
    from swd.training.config import DistillConfig

Checkpointing = Literal["auto", "off", "selective", "half", "full"]
Method = Literal["auto", "eager", "chunked", "triton"]  # as swd.kernels.rbf has them; torch stays out of here
Precision = Literal["no", "bf16", "fp16"]
Objective = Literal["distribution", "consistency"]
Kernel = Literal["linear", "rbf", "naive"]
Features = Literal["teacher", "fake"]
Tracker = Literal["trackio", "tensorboard", "wandb"]
BandwidthRule = Literal["fixed", "median"]
Downscale = Literal["pixels", "latents"]
Distance = Literal["huber", "l2"]  # as swd.losses.consistency has it
SEEDS = 2**32
OWN: dict[str, tuple[str, ...]] = {  # options that say what is learned, by the objective that reads them
    "distribution": (
        "weight_pdm",
        "weight_dmd",
        "weight_gan",
        "weight_gan_discriminator",
        "pdm_kernel",
        "pdm_huber_c",
        "pdm_bandwidth",
        "pdm_bandwidth_rule",
        "pdm_pool_batch",
        "pdm_noise",
        "pdm_features",
        "pdm_indices",
        "dmd_indices",
    ),
    "consistency": ("consistency_skip", "consistency_distance", "consistency_huber_c", "consistency_decay"),
}


def check_seed(seed: int) -> None:
    """Raise ConfigError for a seed that torch's generators do not tell from another: they keep 32 bits."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed must be at least 0 and below {SEEDS}, got {seed}")


def plain_options(config: "DistillConfig") -> dict[str, Any]:
    """The options as Python's own types, by their names.

    Raises:
        ConfigError: one is of another type.
    """
    kinds: Any = type(config)  # to mypy, a type is not hashable
    return {name: _checked(name, getattr(config, name), kind) for name, kind in _types(kinds).items()}


@cache
def _types(options: type) -> dict[str, Any]:
    return get_type_hints(options)


def _checked(name: str, value: Any, kind: Any) -> Any:
    try:
        return plain(value, kind)
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"{name} must be {in_words(kind)}, got {typed(value)}") from error


def check_options(config: "DistillConfig") -> None:
    """Raise ConfigError, naming the option, for a value that cannot be meant.

    Numbers of numpy and torch become Python's on the way, and lists tuples.
    """
    for name, value in plain_options(config).items():
        object.__setattr__(config, name, value)
    check_seed(config.seed)
    _check_counts(config)
    _check_rates(config)
    _check_ranges(config)
    _check_choices(config)
    _check_terms(config)
    _check_pdm(config)
    _check_objective(config)


def _check_objective(config: "DistillConfig") -> None:
    """An option of the other objective, set to anything, was meant to do something that it does not."""
    defaults = {field.name: field.default for field in fields(config)}
    for objective, names in OWN.items():
        changed = [name for name in names if getattr(config, name) != defaults[name]]
        if objective != config.objective and changed:
            raise ConfigError(
                f"{changed[0]} belongs to objective {objective} and is not read under {config.objective}: leave it out"
            )
    if config.consistency_skip >= config.teacher_grid.num_steps:
        last = config.teacher_grid.num_steps - 1
        raise ConfigError(f"consistency_skip must be at most {last} of this grid, got {config.consistency_skip}")


def _check_counts(config: "DistillConfig") -> None:
    for name in ("iterations", "batch_size", "rank", "checkpoint_every", "keep_last", "consistency_skip"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.micro_batch_size is not None and config.micro_batch_size < 1:
        raise ConfigError(f"micro_batch_size must be at least 1, got {config.micro_batch_size}")
    for name in ("fake_updates", "feature_block", "warmup"):
        if getattr(config, name) < 0:
            raise ConfigError(f"{name} must not be negative, got {getattr(config, name)}")


def _check_rates(config: "DistillConfig") -> None:
    for name in ("weight_pdm", "weight_dmd", "weight_gan", "weight_gan_discriminator", "weight_decay"):
        if not 0 <= getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be finite and not negative, got {getattr(config, name)}")
    for name in ("lr_fake", "lr_discriminator"):
        if getattr(config, name) is not None and not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be finite and positive, got {getattr(config, name)}")
    for name in ("lr", "clip_norm", "alpha", "pdm_bandwidth", "pdm_huber_c", "consistency_huber_c"):
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be finite and positive, got {getattr(config, name)}")
    if not config.diverged_above > 1:
        raise ConfigError(f"diverged_above must be more than 1, got {config.diverged_above}")
    if not math.isfinite(config.guidance_scale):
        raise ConfigError(f"guidance_scale must be finite, got {config.guidance_scale}")


def _check_ranges(config: "DistillConfig") -> None:
    if not all(0 <= beta < 1 for beta in config.betas):
        raise ConfigError(f"betas must be at least 0 and below 1, got {config.betas}")
    for name in ("ema_decay", "consistency_decay"):
        if getattr(config, name) is not None and not 0 < getattr(config, name) < 1:
            raise ConfigError(f"{name} must be between 0 and 1, got {getattr(config, name)}")
    _check_grid(config)


def _check_grid(config: "DistillConfig") -> None:
    from swd.grid import GRIDS, MOST_STEPS

    if config.grid is not None and config.grid not in GRIDS:
        raise ConfigError(f"grid must be one of {', '.join(GRIDS)}, got {config.grid!r}")
    if config.grid_steps is not None and not 1 <= config.grid_steps <= MOST_STEPS:
        raise ConfigError(f"grid_steps must be from 1 to {MOST_STEPS}, got {config.grid_steps}")
    try:
        grid = config.teacher_grid
        grid.levels()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for name, (low, high) in (("dmd_indices", grid.dmd_indices), ("pdm_indices", grid.pdm_indices)):
        if not 0 <= low < high <= grid.num_steps:
            raise ConfigError(f"{name} must be a range inside 0..{grid.num_steps}, got {low}..{high}")


def _check_choices(config: "DistillConfig") -> None:
    """Choices from a list, which only the command line checks otherwise."""
    defaults = {field.name: field.default for field in fields(config)}
    listed = {
        "gradient_checkpointing": Checkpointing,
        "pdm_method": Method,
        "pdm_kernel": Kernel,
        "pdm_features": Features,
        "pdm_bandwidth_rule": BandwidthRule,
        "downscale": Downscale,
        "upscale": UpscaleMode,
        "objective": Objective,
        "consistency_distance": Distance,
        "mixed_precision": Precision,
        "log_with": Tracker,
    }
    for name, choices in listed.items():
        if getattr(config, name) not in (*get_args(choices), defaults[name]):
            known = ", ".join(get_args(choices))
            raise ConfigError(f"{name} must be one of {known}, got {getattr(config, name)!r}")


def _check_terms(config: "DistillConfig") -> None:
    """Options that are each fine alone: blocks, steps, and what the terms of the loss need."""
    if config.compile and config.gradient_checkpointing == "selective":
        raise ConfigError("gradient_checkpointing selective does not see into compiled blocks: use off, half or full")
    if (config.scales is None) != (config.boundaries is None):
        raise ConfigError("scales and boundaries replace the preset's together: give both or neither")
    if not (config.weight_pdm or config.weight_dmd or config.weight_gan):
        raise ConfigError("all loss weights are 0: there is nothing to train the student with")
    if config.uses_fake and not config.fake_updates:
        raise ConfigError("fake_updates is 0, but DMD, GAN and fake features need a fake model that is trained")
    if config.uses_gan and not config.weight_gan_discriminator:
        raise ConfigError("weight_gan_discriminator is 0, but weight_gan needs a discriminator that is trained")


def _check_pdm(config: "DistillConfig") -> None:
    """Options of PDM that are each fine alone."""
    if config.pdm_pool_batch and config.pdm_kernel == "naive":
        raise ConfigError("pdm_pool_batch pools sets of tokens, but pdm_kernel naive compares place by place")
    if config.pdm_bandwidth_rule == "median" and config.pdm_kernel != "rbf":
        raise ConfigError(f"pdm_bandwidth_rule median is of pdm_kernel rbf and is not read by {config.pdm_kernel}")
    if not config.pdm_noise and config.pdm_indices is not None:
        raise ConfigError("pdm_indices are noise levels, which without pdm_noise nothing is noised to: leave them out")
    if config.pdm_pool_batch and config.mixed_steps:
        raise ConfigError("pdm_pool_batch needs the whole batch in one pass, and mixed_steps gives each step its own")
    if config.pdm_bandwidth_rule == "median" and (config.mixed_steps or config.micro_batch_size is not None):
        raise ConfigError(
            "pdm_bandwidth_rule median takes the tokens of a whole batch of one step: leave mixed_steps and "
            "micro_batch_size out"
        )
    if config.pdm_pool_batch and config.micro_batch_size is not None:
        raise ConfigError("pdm_pool_batch needs the whole batch in one pass: leave micro_batch_size out")
