"""What a table of scores is, as data: rows to measure, claims to test, published numbers to show beside."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace

from repro.harness.experiment import ROLES, Experiment, ExperimentError, Role, Row, UnknownNameError
from repro.harness.profile import Profile
from repro.harness.reported import Reported
from repro.harness.scope import ClaimKind, Scope

SKIPPED = "skipped_images"  # metric of the record that counts images which could not be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A comparison of two rows in the metric of a role, paired over prompts.

    Args:
        kind: ``better`` (superiority) or ``not_worse`` (non-inferiority, by the metric's margin).
        role: of the metric; a profile that measures none of that role cannot test the claim.
        prompts: prompt sets whose differences are averaged; None for all.
        slower: a slower row, where the baseline is to have the candidate's measured latency: it is then on the line
            between the two (`repro.kinds.scores.equal_time`); empty for the baseline as it is.
    """

    kind: ClaimKind
    role: Role
    candidate: str
    baseline: str
    prompts: tuple[str, ...] | None = None
    slower: str = ""

    @property
    def rows(self) -> tuple[str, ...]:
        """Of the table, the side that the claim favours first."""
        return (self.candidate, self.baseline, *([self.slower] if self.slower else []))


def better(role: Role, candidate: str, baseline: str, *, prompts: tuple[str, ...] | None = None) -> Check:
    """The candidate row is better than the baseline row."""
    return Check(kind="better", role=role, candidate=candidate, baseline=baseline, prompts=prompts)


def not_worse(role: Role, candidate: str, baseline: str, *, prompts: tuple[str, ...] | None = None) -> Check:
    """The candidate is worse by less than the margin of the metric, as the profile's `Column` declares it."""
    return Check(kind="not_worse", role=role, candidate=candidate, baseline=baseline, prompts=prompts)


def real_rows(label: str, *profiles: str) -> tuple[Row, Row]:
    """The real images behind the prompts, and the same through the VAE, beyond which no sampled image gets.

    Args:
        label: what they are called.
        profiles: whose worlds have them.
    """
    return (
        Row("real", label, real="real", profiles=profiles),
        Row("real_decoded", f"{label} through the VAE", real="decoded", profiles=profiles),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faster:
    """The candidate row is at least ``factor`` times as fast as the baseline row, in the seconds of an image."""

    candidate: str
    baseline: str
    factor: float = 1.0

    @property
    def rows(self) -> tuple[str, ...]:
        """Of the table, the side that the claim favours first."""
        return self.candidate, self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How the rows of a table are timed: Table 3's protocol, text encoding and decoding included.

    Args:
        batch_size: images of a call.
        rounds: timed calls of every row, in turn: A B C A B C.
        warmup: calls of every row before them.

    Raises:
        ValueError: no image or no round.
    """

    batch_size: int = 8
    rounds: int = 15
    warmup: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.rounds < 1 or self.warmup < 0:
            counts = f"batch size {self.batch_size}, {self.rounds} rounds, warm-up {self.warmup}"
            raise ValueError(f"a clock takes at least 1 image and 1 round, and no negative warm-up, got {counts}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedUnder:
    """What the seconds of a row depend on besides the row.

    Args:
        device: name of the card, or a part of it.
        dtype: of the networks.
        batch_size: images of a call.
        compiled: whether the networks went through torch.compile.
        tiny_vae: whether a tiny autoencoder decoded.
    """

    device: str
    dtype: str
    batch_size: int
    compiled: bool
    tiny_vae: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the paper as a check over records.

    Args:
        key: name among the claims of the table.
        text: the statement.
        check: what it compares.
        source: where the paper makes it.
        published_text: in place of ``text`` where models and metrics are the published ones; empty for the same.
        primary: whether its p is adjusted over the table's other primary claims; others are told apart.
        statement: key of the sentence of the paper that it asks (`repro.harness.statements`).
    """

    key: str
    text: str
    check: Check | Faster
    _: KW_ONLY
    source: str = ""
    published_text: str = ""
    primary: bool = True
    statement: str = ""

    @property
    def scope(self) -> Scope:
        """The two rows, on the prompt sets of the check or on the clock."""
        if isinstance(self.check, Faster):
            clock = "seconds of an image, in rounds of the table's clock"
            return Scope(rows=self.check.rows, conditions=clock, kind="not_worse", factor=self.check.factor)
        equal = "equal seconds of an image, by the table's clock" if self.check.slower else ""
        return Scope(rows=self.check.rows, prompts=self.check.prompts, conditions=equal, kind=self.check.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """Rows that are one training after more and more iterations.

    Args:
        label: in the legend.
        rows: their keys by rising iterations; one that is not trained stands at 0.
    """

    label: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideCurve:
    """Rows that are one system at several sides, in the figure and in the picture of samples.

    Args:
        label: in the legend.
        rows: their keys; each has a share of the side of its own.
    """

    label: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Experiment):
    """A table of the paper: rows to measure, claims to test, published numbers to show beside.

    Args:
        rows: of all profiles; ``rows_in`` gives those of one.
        claims: of the paper.
        reported: the publication whose numbers stand beside ours, unless another names the profile.
        also_reported: other publications of these numbers.
        clock: how rows are timed, which gives the columns of latency and parameters; None for a table without them.
        published_clock: under what the published latencies were measured: elsewhere they cannot be compared.
        published_notes: in place of ``notes`` where models and metrics are the published ones; None for the same.
        seeds: training seeds with which every student is distilled again, whatever ships; empty for what ships.
        few_seeds: those of students that no primary claim is about; empty for all of ``seeds``.
        distils: whether it is about what training seeds change, so that a profile whose students are given, one for
            each row, cannot have it.
        prompts: the set of the paper's prompts that it is about; empty for every set of a profile.
        against: key of the row that all others are compared with on the page; empty for none.
        details: whether the detail columns of a profile are recorded: of many students they are many numbers.
        training_curves: rows that its figure shows against the iterations and seconds of their training, in place of
            quality against compute; that of the first one's losses is drawn too.
        side_curves: rows that its figure shows against the side of their images, in place of quality against compute,
            and whose samples stand side by side.
        images: profile -> images for each row and prompt set, where the table takes fewer than the profile.

    Raises:
        ValueError: two rows or claims share a key, a claim or a curve names a row or a role that is not there, the few
            seeds are not among the seeds, or a profile has no image.
    """

    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    reported: Reported | None = None
    also_reported: tuple[Reported, ...] = ()
    clock: Clock | None = None
    published_clock: TimedUnder | None = None
    published_notes: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = ()
    few_seeds: tuple[int, ...] = ()
    distils: bool = False
    prompts: str = ""
    against: str = ""
    details: bool = True
    training_curves: tuple[TrainingCurve, ...] = ()
    side_curves: tuple[SideCurve, ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = [row.key for row in self.rows]
        for kind, names in (("row", keys), ("claim", [claim.key for claim in self.claims])):
            if len(set(names)) < len(names):
                raise ValueError(f"{self.key}: {kind} keys repeat: {sorted(names)}")
        if not set(self.few_seeds) <= set(self.seeds):
            raise ValueError(f"{self.key}: the few seeds {self.few_seeds} are not among the seeds {self.seeds}")
        if self.against and self.against not in keys:
            raise ValueError(f"{self.key}: rows are compared with an unknown row {self.against!r}")
        if few := {profile: count for profile, count in self.images.items() if count < 1}:
            raise ValueError(f"{self.key}: a set takes at least 1 image, got {few}")
        curves: tuple[TrainingCurve | SideCurve, ...] = (*self.training_curves, *self.side_curves)
        for curve in curves:
            if strangers := set(curve.rows) - set(keys):
                raise ValueError(f"{self.key}: curve {curve.label!r} names unknown rows {sorted(strangers)}")
        for claim in self.claims:
            if strangers := set(claim.check.rows) - set(keys):
                raise ValueError(f"{self.key}: claim {claim.key!r} names unknown rows {sorted(strangers)}")
            if (isinstance(claim.check, Faster) or claim.check.slower) and self.clock is None:
                raise ValueError(f"{self.key}: claim {claim.key!r} is about time, but the table has no clock")
            if isinstance(claim.check, Check) and claim.check.role not in ROLES:
                raise ValueError(f"{self.key}: claim {claim.key!r} names unknown role {claim.check.role!r}")

    @property
    def is_distilled(self) -> bool:
        """Whether it is about students of several training seeds."""
        return bool(self.seeds)

    @property
    def publications(self) -> tuple[Reported, ...]:
        """All of them, the first first."""
        return (*([self.reported] if self.reported else []), *self.also_reported)

    def reported_in(self, profile: str) -> Reported | None:
        """The publication that stands beside ours: the first that has the profile's model and data, else the first."""
        return next((found for found in self.publications if profile in found.profiles), self.reported)

    def rows_in(self, profile: str) -> tuple[Row, ...]:
        """The rows of a profile, in table order."""
        return tuple(row for row in self.rows if not row.profiles or profile in row.profiles)

    def seeds_of(self, row: Row, asked: tuple[int, ...]) -> tuple[int, ...]:
        """Training seeds of a row, of those that are asked for: the few where no primary claim is about it."""
        if not self.few_seeds or asked != self.seeds:
            return asked
        about = {key for claim in self.claims if claim.primary for key in claim.check.rows}
        return asked if row.key in about | {self.against} else self.few_seeds

    def in_profile(self, profile: Profile) -> Profile:
        """A profile with the prompts that the table is about, and as many images as it takes.

        Raises:
            ExperimentError: it has no such set.
        """
        if profile.name in self.images:
            profile = replace(profile, images_per_set=min(profile.images_per_set, self.images[profile.name]))
        if not self.prompts:
            return profile
        sets = tuple(found for found in profile.prompt_sets if found.reported == self.prompts)
        if not sets:
            raise ExperimentError(f"{self.key} is about {self.prompts}: profile {profile.name} has no such prompts")
        return replace(profile, prompt_sets=sets)

    def row(self, key: str) -> Row:
        """The row of that key.

        Raises:
            UnknownNameError: no such row.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise UnknownNameError(f"row of {self.key}", key, [row.key for row in self.rows])
