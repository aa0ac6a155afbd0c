"""One optimiser and what surrounds its step: averaging over processes, loss scaling, clipping, learning rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from swd.lora.bank import AdapterBank
from swd.training.config import DistillConfig

MAX_SKIPPED = 20  # updates in a row; the scale has then fallen from 65536, where it starts, to below 0.1


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    lr: float


def descents(
    config: DistillConfig, bank: AdapterBank[Any], discriminator: nn.Module | None, accelerator: Accelerator
) -> dict[str, "Descent"]:
    """By adapter: the student's optimiser, and one for the fake adapter with the head, which share a backward pass."""
    lr_fake = config.lr if config.lr_fake is None else config.lr_fake
    lr_head = lr_fake if config.lr_discriminator is None else config.lr_discriminator
    rates = {"student": config.lr, "fake": lr_fake}
    groups = {name: [ParameterGroup(bank.parameters(name), rates[name])] for name in bank.names if name in rates}
    if discriminator is not None:
        groups["fake"].append(ParameterGroup(list(discriminator.parameters()), lr_head))
    return {name: Descent(own, config, accelerator) for name, own in groups.items()}


class Descent:
    """AdamW over ``groups``: ``backward`` adds up gradients, ``step`` is the way from those to new weights.

    Attributes:
        skipped: last updates in a row that overflowed in fp16 and moved nothing.
    """

    def __init__(self, groups: Sequence[ParameterGroup], config: DistillConfig, accelerator: Accelerator) -> None:
        self._groups, self._accelerator, self.skipped = groups, accelerator, 0
        self._clip_norm, self._warmup = config.clip_norm, config.warmup
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        optimizer = torch.optim.AdamW(
            [{"params": group.parameters, "lr": group.lr} for group in groups],
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.optimizer: Any = accelerator.prepare_optimizer(optimizer)

    def set_rates(self, iteration: int) -> None:
        """Linear warm-up, a function of the iteration alone."""
        factor = min(1.0, (iteration + 1) / (self._warmup + 1))
        for values, group in zip(self.optimizer.param_groups, self._groups, strict=True):
            values["lr"] = group.lr * factor

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to what there is since the last ``step``."""
        self._accelerator.backward(loss)

    def step(self) -> float:
        """Average over processes, clip, update.

        Returns:
            Gradient norm before clipping. When it is not finite nothing moves: the caller stops the run (in fp16 it
            can be a mere overflow, which the gradient scaler answers by skipping the update and lowering its scale).
        """
        self._average()
        self._accelerator.unscale_gradients(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._clip_norm))
        self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
        if math.isfinite(norm) or self.scaled:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    @property
    def scaled(self) -> bool:
        """Whether losses are scaled against fp16 underflow."""
        return self._accelerator.scaler is not None

    def _average(self) -> None:
        """Mean gradient over processes by one reduce of everything.

        Not DistributedDataParallel: one network is run as teacher, student and fake model within a step, by switching
        adapters, and DDP's hooks expect one forward with one set of used parameters per backward.
        """
        if self._accelerator.num_processes == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters]
        flat: Any = self._accelerator.reduce(torch.cat([grad.flatten() for grad in grads]), "mean")
        for parameter, grad in zip(self._parameters, flat.split([g.numel() for g in grads]), strict=True):
            parameter.grad = grad.view_as(parameter).clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts as flat tensors, ``<parameter number>/<name>``."""
        state = self.optimizer.state_dict()["state"]
        return {f"{number}/{name}": value for number, values in state.items() for name, value in values.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state_dict`` gave; learning rates and the like come from the config."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, name = key.split("/")
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
