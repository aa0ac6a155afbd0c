"""What can be known to fail before anything is trained."""

import torch

from swd.backbones.base import Denoiser
from swd.data.cache import LatentCache
from swd.errors import CacheError, ConfigError
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig


def check_data(config: DistillConfig, schedule: ScaleSchedule, denoiser: Denoiser, data: LatentCache) -> None:
    """Make sure that the network can work at every scale and that the cache holds what the run reads.

    Raises:
        ConfigError: see `check_schedule`.
        CacheError: the data belong to another backbone, lack a scale, or deviations to draw latents with, or are of
            larger images where the network is told their size.
    """
    check_schedule(schedule, denoiser)
    if data.index.backbone != denoiser.backbone.name:
        raise CacheError(
            f"the cache was made for the backbone {data.index.backbone}, training is of {denoiser.backbone.name}: "
            "build a cache with the pipeline that is to be distilled"
        )
    data.check(schedule, moments=config.sample_latents)
    largest = max(data.index.scales)
    if denoiser.backbone.condition.knows_size and largest != schedule.scales[-1]:
        raise CacheError(
            f"the cache tells the network images of its largest scale {largest}, the schedule ends at "
            f"{schedule.scales[-1]}: build a cache of the schedule's own scales"
        )


def check_schedule(schedule: ScaleSchedule, denoiser: Denoiser) -> None:
    """Make sure that the network can work at every scale.

    Raises:
        ConfigError: a scale is not a multiple of the patch size, or beyond the network's positions, or the schedule is
            one of another noise process.
    """
    try:
        schedule.check_process(denoiser.process.name)
        schedule.check_patch(denoiser.patch_size)
        schedule.check_size(denoiser.max_side)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_sizes(config: DistillConfig, denoiser: Denoiser) -> None:
    """Make sure that the network has the block and the width that are asked for.

    Raises:
        ConfigError: it has not.
    """
    if config.objective == "distribution" and config.feature_block >= denoiser.num_blocks:
        last = denoiser.num_blocks - 1
        raise ConfigError(f"feature_block {config.feature_block} is past the last block of the network, {last}")
    layers = [module for module in denoiser.network.modules() if isinstance(module, torch.nn.Linear)]
    widest = max((max(layer.in_features, layer.out_features) for layer in layers), default=config.rank)
    if config.rank > widest:
        raise ConfigError(f"rank must be at most {widest}, the width of the network's widest layer, got {config.rank}")


def check_fit(config: DistillConfig, denoiser: Denoiser, processes: int, device: torch.device) -> None:
    """Make sure that the options fit the network, the number of processes and the device.

    Raises:
        ConfigError: they do not.
    """
    check_sizes(config, denoiser)
    if config.pdm_method == "triton" and device.type != "cuda":
        raise ConfigError(f"pdm_method triton needs a CUDA device, training runs on {device.type}")
    if config.batch_size % processes:
        raise ConfigError(f"batch_size {config.batch_size} does not divide over {processes} processes")
