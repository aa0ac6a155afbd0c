"""What a run reads: the teacher's network, and its data; nothing else of a pipeline is loaded."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from swd.backbones import backbone_of_folder
from swd.backbones.base import Denoiser
from swd.backbones.fingerprint import pipeline_fingerprint
from swd.backbones.loading import load_parts, local_folder
from swd.data.cache import LatentCache
from swd.data.encoding import prompt_encoder
from swd.data.layout import CacheIndex
from swd.training.checks import check_schedule, check_sizes
from swd.training.config import DistillConfig

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def open_inputs(
    pipeline: str,
    cache: Path,
    config: DistillConfig,
    accelerator: Any,
    *,
    variant: str | None = None,
    in_memory: bool = False,
    verify: bool = True,
) -> tuple[Denoiser, LatentCache]:
    """The teacher in the precision of the run, and the cache after a check that it is of this pipeline.

    The weights of VAE and text encoders, which the check needs, are looked at in their files by the main process. The
    text encoders are loaded where the cache keeps captions alone, beside the network in every process.

    Args:
        pipeline: a folder, or a name on the Hub.
        cache: folder of the cache.
        config: of the run.
        accelerator: processes and device.
        variant: of the pipeline's files, such as fp16.
        in_memory: read the whole cache now.
        verify: compare the cache with its checksums, in the main process.

    Raises:
        PipelineError: the pipeline is missing, of no known family, or broken.
        CacheError: the cache is missing, broken, or of another pipeline.
    """
    backbone = backbone_of_folder(pipeline)
    index = CacheIndex.read(cache)
    with accelerator.main_process_first():
        folder = local_folder(pipeline, variant=variant)
    encoders = ("vae", *backbone.text_encoders) if index.online else ()  # the VAE says how large images are
    dtypes = {backbone.component: DTYPES[config.precision], "default": getattr(torch, index.dtype)}
    opened = load_parts(folder, backbone.component, *encoders, dtype=dtypes, variant=variant)
    fingerprint = _from_main(accelerator, partial(pipeline_fingerprint, opened, folder=folder, variant=variant))
    encoder = None
    if index.online:
        for part in backbone.text_encoders:
            if getattr(opened, part) is not None:
                getattr(opened, part).requires_grad_(False).to(accelerator.device)
        length = index.token_length
        assert length is not None  # every cache without embeddings says it
        encoder = prompt_encoder(opened, index, length, accelerator.device)
    verify = verify and accelerator.is_main_process
    data = LatentCache.open(cache, pipeline=fingerprint, in_memory=in_memory, encoder=encoder, verify=verify)
    return backbone.denoiser(backbone.network(opened)), data


def check_network(config: DistillConfig, pipeline: str) -> None:
    """Compare the options with the architecture of a pipeline, before any weights are read.

    Raises:
        PipelineError: the pipeline is missing, or of no known family.
        ConfigError: the schedule, the rank or the feature block do not fit its network.
    """
    network = backbone_of_folder(pipeline).skeleton(pipeline)
    check_schedule(config.schedule(), network)
    check_sizes(config, network)


def _from_main(accelerator: Any, compute: Callable[[], str]) -> str:
    """What the main process finds, told to all; ASCII."""
    found = compute().encode() if accelerator.is_main_process else bytes(16)
    if accelerator.num_processes == 1:
        return found.decode()
    told = torch.tensor(list(found) if accelerator.is_main_process else [0] * 16, device=accelerator.device)
    total: Any = accelerator.reduce(told, "sum")  # the others add nothing
    return bytes(total.tolist()).decode()
