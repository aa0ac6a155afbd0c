"""A training iteration in several orders of passes, on the same images, captions and networks.

From the published order, which `repro.stages.published_order` holds, to the lean one of `swd.training`, a saving at a
time.
"""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from torch import Tensor

from repro.stages.images import text_encoders
from repro.stages.one_process import lone_accelerator
from repro.stages.published_order import PlainStep
from swd.backbones import backbone_of
from swd.cost import weight_bytes
from swd.data import LatentCache, build_cache
from swd.data.cache import Batch, data_rows
from swd.training import DistillConfig
from swd.training.prefetch import ReadAhead
from swd.training.trainer import Trainer

Iterate = Callable[[int], dict[str, float]]
ORDERS = ("plain", "cached", "one_network", "fake_pass", "student_pass", "half", "memory", "lean")
# the published losses, number of fake updates and optimiser
PUBLISHED: dict[str, Any] = {
    "fake_updates": 5,
    "lr": 5e-6,
    "lr_fake": None,
    "lr_discriminator": None,
    "warmup": 0,
    "ema_decay": None,
    "progress": False,
}
_OFF = {
    "share_fake_pass": False,
    "share_student_pass": False,
    "gradient_checkpointing": "full",
    "prefetch": False,
}
SWITCHES: dict[str, dict[str, Any]] = {
    "one_network": _OFF,
    "fake_pass": {**_OFF, "share_fake_pass": True},
    "student_pass": {**_OFF, "share_fake_pass": True, "share_student_pass": True},
    "half": {"prefetch": False, "gradient_checkpointing": "half"},
    "memory": {"prefetch": False, "gradient_checkpointing": "off"},
    "lean": {"gradient_checkpointing": "off"},
}


class TrainingOrders:
    """What every order starts from.

    Args:
        config: of the training, see ``PUBLISHED``.
        pipeline: SD3 or SD3.5, on its device.
        images: (N, 3, H, W) in [-1, 1] on the CPU, of the largest scale's pixels.
        captions: one for each image.
        folder: for the cache.
    """

    def __init__(
        self, config: DistillConfig, pipeline: Any, images: Tensor, captions: Sequence[str], folder: Path
    ) -> None:
        self.folder, self.config, self.pipeline = folder, config, pipeline
        self.images, self.captions = images, list(captions)
        self.schedule, self.device = config.schedule(), pipeline.transformer.device
        AcceleratorState._reset_state(reset_partial_state=True)  # it outlives the orders before
        self.accelerator = lone_accelerator(self.device, config.mixed_precision)

    @cached_property
    def data(self) -> LatentCache:
        """Latents and embeddings, as the plain order encodes them."""
        scales = self.schedule.scales
        return build_cache(self.images, self.captions, self.pipeline, scales, self.folder / "cache", progress=False)

    def order(self, name: str) -> Iterate:
        """An iteration of one of ``ORDERS``, from the same adapters and head."""
        trainer = self._trainer(SWITCHES.get(name, {}))
        if name in SWITCHES:
            return self._lean(trainer)
        kind = _Cached if name == "cached" else PlainStep
        plain = kind(self.config, self.pipeline, self.accelerator.autocast)
        plain.adopt(trainer.bank, trainer.discriminator)
        return self._plain(plain)

    def network_bytes(self, name: str) -> int:
        """Weights that an order needs: one transformer or three, and what encodes, unless that is done."""
        encoders = (self.pipeline.vae, *text_encoders(self.pipeline)) if name == "plain" else ()
        return (1 if name in SWITCHES else 3) * weight_bytes(self.pipeline.transformer) + weight_bytes(*encoders)

    def _trainer(self, switches: dict[str, Any]) -> Trainer:
        denoiser = backbone_of(self.pipeline).denoiser(copy.deepcopy(self.pipeline.transformer))
        return Trainer(replace(self.config, **switches), denoiser, self.data, self.folder, self.accelerator)

    def _lean(self, trainer: Trainer) -> Iterate:
        read = ReadAhead(trainer.draws.read, sys.maxsize, active=trainer.config.prefetch)
        read.__enter__()  # its thread ends with the process
        return lambda iteration: trainer._iterate(iteration, read(iteration))

    def _plain(self, plain: PlainStep) -> Iterate:
        def iterate(iteration: int) -> dict[str, float]:
            step, updates = iteration % self.schedule.num_steps, self.config.fake_updates + 1
            drawn = [self._draw(plain, iteration * updates + update, step) for update in range(updates)]
            return plain.iterate(iteration, step, drawn)

        return iterate

    def _draw(self, plain: PlainStep, position: int, step: int) -> Any:
        rows = data_rows(self.config.seed, position, self.config.batch_size, len(self.captions))
        if isinstance(plain, _Cached):
            return self.data.batch(rows, self.schedule, step).to(self.device)
        return self.images[rows].to(self.device), [self.captions[row] for row in rows]


class _Cached(PlainStep):
    """Finds its batches encoded."""

    def encode(self, draw: Any, step: int) -> Batch:
        found: Batch = draw
        return found
