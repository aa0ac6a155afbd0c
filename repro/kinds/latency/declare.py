"""What Table 3 is, as data: who is timed, how, and what the paper reports."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from repro.harness.experiment import Experiment, Row
from repro.harness.scope import Scope

Autoencoder = Literal["full", "tiny", "none"]
AUTOENCODERS: tuple[Autoencoder, ...] = ("full", "tiny", "none")
DTYPES = ("float32", "bfloat16", "float16")
LOSSES: dict[str, Mapping[str, Any]] = {  # key in the records -> options of a distillation run
    "full": {},
    "pdm": {"weight_dmd": 0.0, "weight_gan": 0.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How images are timed; all of it is recorded.

    Args:
        batch_sizes: images in a batch, each timed by itself.
        dtype: of all networks.
        rows: keys of the rows that are timed; all when empty.
        text_length: T5 tokens; the pipeline's own number when None.
        t5: whether random weights are drawn for a T5 too; without, the text is that of the CLIPs alone.
        vae: the profile's VAE, its tiny one, or none (latents are not decoded).
        fast: the fast sampling path in place of the plain one (`swd.backbones.lean`); every prompt is encoded anew.
        compile: torch.compile on the transformer's blocks, the decoder and the text encoders.
        float32_products: matrix products and convolutions in float32 whatever the dtype, for CPUs that only emulate
            half precision.
        rounds: timed calls of every row and batch size, in turn: A B C A B C.
        warmup: calls before them; with 0, training has no iteration before its timed ones either.
        train_rounds: timed cycles of the schedule for every student and loss; 0 leaves training out.
        train_steps: steps of the schedule that a cycle has, its first ones; all when None.
        train_batch: images of a training iteration; the profile's own number when None.
    """

    batch_sizes: tuple[int, ...] = (1, 8)
    dtype: str = "float32"
    rows: tuple[str, ...] = ()
    text_length: int | None = None
    t5: bool = True
    vae: Autoencoder = "full"
    fast: bool = False
    compile: bool = False
    float32_products: bool = False
    rounds: int = 15
    warmup: int = 1
    train_rounds: int = 3
    train_steps: int | None = None
    train_batch: int | None = None

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1 or len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise ValueError(f"batch sizes must be different and at least 1, got {list(self.batch_sizes)}")
        for name, value, known in (("dtype", self.dtype, DTYPES), ("vae", self.vae, AUTOENCODERS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.rounds < 1 or self.warmup < 0 or self.train_rounds < 0:
            counts = f"rounds {self.rounds}, warm-up {self.warmup}, training rounds {self.train_rounds}"
            raise ValueError(f"at least 1 round is needed and no count may be negative, got {counts}")
        for name, count in (("steps", self.train_steps), ("batch", self.train_batch)):
            if count is not None and count < 1:
                raise ValueError(f"training {name} must be at least 1, got {count}")
        if self.text_length is not None and self.text_length < 0:
            raise ValueError(f"the text length must not be negative, got {self.text_length}")


@dataclass(frozen=True, slots=True)
class TimedRow:
    """One line: what samples, and against which row its speed-up counts.

    Args:
        row: what samples; ``reported`` picks its line in the CSV of times.
        baseline: key of the full-scale row of the same steps; empty for those that have none.
    """

    row: Row
    baseline: str = ""

    @property
    def key(self) -> str:
        """Variant in the records."""
        return self.row.key


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedClaim:
    """A claim that one row is at least so many times as fast as another, at one batch size, or in a training iteration.

    Args:
        training: losses of the training iteration that is compared (``full`` or ``pdm``) in place of an image.
        factor: how many times.
        margin: share of the factor that may be missing, which the text names.
        primary: whether its p is adjusted over the table's other primary claims.
        statement: key of the sentence of the paper that it asks (`repro.harness.statements`).
    """

    key: str
    text: str
    fast: str
    slow: str
    factor: float
    margin: float = 0.0
    batch_size: int = 8
    source: str = "v1, Table 3"
    primary: bool = True
    statement: str = ""
    training: str = ""

    @property
    def scope(self) -> Scope:
        """The two rows, in batches of one size, or in training."""
        conditions = (
            f"training iterations, losses: {self.training}" if self.training else f"batches of {self.batch_size}"
        )
        return Scope(rows=(self.fast, self.slow), conditions=conditions, kind="not_worse", factor=self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable(Experiment):
    """Seconds per image and per training iteration, beside what the arithmetic allows.

    Args:
        rows: in table order.
        claims: about speed.
        times, train_times: CSV files of published times, full loss and PDM only.
        models: profile -> model in those files, for the notes on published times.
        protocols: profile -> how it is timed; other profiles cannot be.
    """

    rows: tuple[TimedRow, ...]
    claims: tuple[SpeedClaim, ...]
    times: str
    train_times: str
    models: Mapping[str, str]
    protocols: Mapping[str, Protocol]

    def row(self, key: str) -> TimedRow:
        """The row of that key."""
        return next(timed for timed in self.rows if timed.key == key)


def changed(protocol: Protocol, **options: Any) -> Protocol:
    """The protocol with those options that are not None.

    Raises:
        ValueError: an option that is none; the message names it and what was expected.
    """
    return replace(protocol, **{name: value for name, value in options.items() if value is not None})
