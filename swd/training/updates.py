"""From the losses of a batch to new weights; a number that is not finite ends the run, in all processes at once."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from swd.errors import LossScaleError, NonFiniteLossError
from swd.training.draws import Drawn
from swd.training.optim import MAX_SKIPPED, Descent
from swd.training.step import FakeStepResult, StudentStepResult

LossFunction = Callable[..., StudentStepResult | FakeStepResult]  # of a batch, the step, and random numbers


@dataclass(frozen=True, slots=True)
class Updates:
    """How the updates of a run are made.

    Attributes:
        accelerator: of the run.
        autocast: the context that losses are computed in.
        micro_batch_size: images in a pass; None for whole batches.
        newest: gives the folder of the newest state, which an error names.
    """

    accelerator: Accelerator
    autocast: Callable[[], AbstractContextManager[None]]
    micro_batch_size: int | None
    newest: Callable[[], Path | None]

    def make(
        self, descent: Descent, losses: LossFunction, drawn: Drawn, *per_image: Tensor, norm: str
    ) -> dict[str, float]:
        """One update: the terms of its loss, their ``total``, and the gradient's norm.

        Args:
            descent: takes the gradients, and the step.
            losses: of a batch at a step.
            drawn: the batch.
            per_image: more of each image, of a batch in one piece.
            norm: what the norm is called.

        Raises:
            NonFiniteLossError: a term, or the norm without loss scaling, is not finite.
            LossScaleError: under loss scaling, so many updates in a row overflowed that none can be expected to fit.
        """
        found = self._backward(descent, losses, drawn, *per_image)
        return {**found, norm: self._descend(descent, norm, iteration_of(drawn))}

    def _backward(self, descent: Descent, losses: LossFunction, drawn: Drawn, *per_image: Tensor) -> dict[str, float]:
        """Gradients and terms of a batch, in pieces: every term is a mean over images, so shares of them add up."""
        count = sum(map(len, drawn))
        terms: dict[str, Tensor] = {}
        for whole in drawn:
            size = self.micro_batch_size or len(whole)
            for start in range(0, len(whole), size):
                rows = slice(start, start + size)
                piece = whole[rows]
                share = len(piece) / count
                with self.autocast():
                    more = (values[rows] for values in per_image)
                    result = losses(piece.batch, piece.step, piece.random, *more)
                descent.backward(share * result.total)
                for name, value in {**result.terms, "total": result.total}.items():
                    terms[name] = terms.get(name, 0.0) + share * value.detach()
        return self._finite(terms, iteration_of(drawn))

    def _finite(self, terms: Mapping[str, Tensor], iteration: int) -> dict[str, float]:
        """Values of the terms, averaged over processes, so that all of them stop together."""
        stacked = torch.stack([value.detach().float() for value in terms.values()])
        mean: Any = self.accelerator.reduce(stacked, "mean")
        values = dict(zip(terms, mean.tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(name, iteration, self.newest())
        return values

    def _descend(self, descent: Descent, name: str, iteration: int) -> float:
        norm = descent.step()
        if not math.isfinite(norm) and not descent.scaled:
            raise NonFiniteLossError(name, iteration, self.newest())
        if descent.skipped == MAX_SKIPPED:
            raise LossScaleError(name, iteration, self.accelerator.scaler.get_scale(), self.newest())
        return norm


def iteration_of(drawn: Drawn) -> int:
    """The iteration that a batch was drawn for."""
    return drawn[0].random.iteration
