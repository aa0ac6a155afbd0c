"""What is measured on a GPU, as data: parts in their order, what each goes through, and what we aim at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from repro.harness.experiment import Experiment

PartKey = Literal["tests", "peaks", "sampling", "kernels", "training", "table3", "families"]
PARTS: tuple[PartKey, ...] = get_args(PartKey)
Operator = Literal["rbf_mmd", "layer_norm_modulate", "gated_residual", "upscale_renoise"]
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Provider:
    """Who samples.

    Args:
        key: in the records.
        label: on the page.
        fast: options of `swd.backbones.fast.FastOptions`; None for the network as it is.
    """

    key: str
    label: str
    fast: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class KernelCase:
    """One computation of `swd.kernels` at one size.

    Args:
        operator: which.
        shape: (images, tokens, width); for the renoising (images, latent side, the next side).
        providers: who computes it; the last is our kernel, or what stands in for it.
    """

    operator: Operator
    shape: Shape
    providers: tuple[str, ...]

    @property
    def name(self) -> str:
        """In the records."""
        return f"{self.operator} {'x'.join(map(str, self.shape))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How large everything is: whole on a GPU, tiny on a CPU.

    Args:
        models: SD3.5 whose transformer samples, by their profiles.
        presets: schedules.
        shrink: what the scales of schedules are divided by.
        batches: images in a batch.
        turns: keys of those who sample; every model goes through the first turn before any comes to the second. The
            baseline takes turns with each.
        families: network -> preset of the other families.
        family_batches: of those.
        dtype: of all networks but Table 3's, which are in ``table_dtype``.
        peaks: dtypes of the matrix products.
        peak_sides: of those matrices, rising.
        rounds: fewest and most timed calls; between them, as many as fit into ``seconds``.
        seconds: of timed calls of a case.
        kernels: computations and sizes.
        train_model: whose iterations are timed.
        train_preset: schedule of the training.
        train_steps: steps of a cycle that are timed; None for all.
        train_batch: samples of an update.
        train: further options of the training.
        table_models: profiles of Table 3, with their names in the paper.
        table_dtype: of its networks.
        table_batch: images in a batch.
        table_rows: rows of it, with their setup and steps as the paper has them.
        test_files: how many files of tests run; None for all that have GPU tests.
    """

    models: tuple[str, ...]
    presets: tuple[str, ...]
    shrink: int
    batches: tuple[int, ...]
    turns: tuple[tuple[str, ...], ...]
    families: Mapping[str, str]
    family_batches: tuple[int, ...]
    dtype: str
    peaks: tuple[str, ...]
    peak_sides: tuple[int, ...]
    rounds: tuple[int, int]
    seconds: float
    kernels: tuple[KernelCase, ...]
    train_model: str
    train_preset: str
    train_steps: int | None
    train_batch: int
    train: Mapping[str, object]
    table_models: Mapping[str, str]
    table_dtype: str
    table_batch: int
    table_rows: Mapping[str, tuple[str, str]]
    test_files: int | None

    @property
    def providers(self) -> tuple[str, ...]:
        """All who sample."""
        return tuple(key for turn in self.turns for key in turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a number should be.

    Args:
        text: what is measured, with its unit.
        kind: which computation over the records gives it, see `repro.kinds.gpu.result`.
        of: what that computation is asked about.
        most: the largest value that meets it; None where ``least`` is set.
        least: the smallest one.
        limit: what FLOPs allow at ``GpuPage.reference_flops``; None where there is no such limit.
        unit: that records are multiplied by.
        digits: decimals shown.
    """

    text: str
    kind: Literal["sampling", "scalewise", "kernel", "memory", "training"]
    of: tuple[str | int, ...]
    most: float | None = None
    least: float | None = None
    limit: float | None = None
    unit: float = 1.0
    digits: int = 1

    def __post_init__(self) -> None:
        if (self.most is None) == (self.least is None):
            raise ValueError(f"an aim is either a most or a least, got {self.most} and {self.least}: {self.text}")

    def is_met(self, value: float) -> bool:
        """Whether a value, in the unit shown, meets it."""
        return value <= self.most if self.most is not None else value >= (self.least or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPage(Experiment):
    """What a GPU does with everything that only it can do.

    Args:
        parts: key -> title, in their order.
        whole: sizes on a GPU.
        smoke: sizes on a CPU.
        providers: all who sample, by their keys.
        baseline: label of diffusers' own pipeline, which takes turns with every provider.
        ratio: presets of the scale-wise speed-up: scale-wise and full-scale.
        aims: as set before the first measurement.
        reference_flops: FLOP/s that the limits of the aims are counted with.
        part_seconds: longest time of a part in a call.
        times: CSV file of the paper's times.
    """

    parts: Mapping[PartKey, str]
    whole: Scope
    smoke: Scope
    providers: tuple[Provider, ...]
    baseline: str
    ratio: tuple[str, str]
    aims: tuple[Aim, ...]
    reference_flops: float
    part_seconds: float
    times: str

    def scope(self, smoke: bool) -> Scope:
        """Whole or tiny."""
        return self.smoke if smoke else self.whole

    def provider(self, key: str) -> Provider:
        """Of that key."""
        return next(one for one in self.providers if one.key == key)
