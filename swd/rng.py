"""Random numbers of training, derived and never stored: (seed, iteration, purpose, sample) -> numbers.

Sample ``i`` of iteration ``n`` sees the same noise whatever the number of processes, whichever losses are on, and
whether or not the run was interrupted. There is no generator state that could be lost.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


def derived_rng(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of ``key``; CPU, so that devices agree."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


@dataclass(frozen=True, slots=True)
class StepRandom:
    """Random numbers of one update: ``samples`` are the places in the global batch that this process holds."""

    seed: int
    iteration: int
    update: str
    samples: Sequence[int]

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Standard normal, shaped as ``like`` (B, ...), one generator per sample."""
        shape, rngs = like.shape[1:], [self._rng(purpose, sample) for sample in self.samples]
        rows = [torch.randn(shape, generator=rng, dtype=torch.float32) for rng in rngs]
        return torch.stack(rows).to(device=like.device, dtype=like.dtype)

    def indices(self, purpose: str, low: int, high: int) -> Tensor:
        """Uniform integers in ``low <= i < high``, (B,) on the CPU."""
        draws = [torch.randint(low, high, (), generator=self._rng(purpose, sample)) for sample in self.samples]
        return torch.stack(draws)

    def __getitem__(self, rows: slice) -> "StepRandom":
        """The random numbers of some of the samples."""
        return replace(self, samples=self.samples[rows])

    def _rng(self, purpose: str, sample: int) -> torch.Generator:
        return derived_rng(self.seed, self.iteration, self.update, purpose, sample)
