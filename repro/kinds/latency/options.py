"""What the command line adds to a table of times: the protocol of the clock."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from repro.harness import arguments
from repro.harness.kind import FindProfile, UsageError
from repro.harness.options import COMMITTED, RunOptions
from repro.harness.profile import Profile
from repro.kinds.latency.declare import AUTOENCODERS, DTYPES, LatencyTable, Protocol, changed

CLOCK = (
    "batch_sizes",
    "dtype",
    "rows",
    "text_length",
    "t5",
    "vae",
    "fast",
    "compile",
    "float32_products",
    "warmup",
    "rounds",
    "train_rounds",
    "train_steps",
    "train_batch",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyOptions(RunOptions):
    """Options of a table of times.

    Args:
        protocol: how images are timed.
        pipeline: folder or hub name whose weights are timed; empty for the profile's pipeline or architecture.
    """

    protocol: Protocol
    pipeline: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    """Every setting of the protocol, and whose weights are timed."""
    clock = parser.add_argument_group("how images are timed (default: the profile's)")
    clock.add_argument(
        "--batch-sizes",
        type=arguments.whole,
        nargs="+",
        action="extend",
        metavar="N",
        help="images in a batch, each by itself",
    )
    clock.add_argument("--dtype", help=f"of all networks: {', '.join(DTYPES)}")
    clock.add_argument("--rows", nargs="+", action="extend", metavar="ROW", help="time these rows alone")
    clock.add_argument("--text-length", type=arguments.whole, metavar="N", help="T5 tokens")
    clock.add_argument("--no-t5", dest="t5", action="store_false", default=None, help="draw no weights for a T5")
    clock.add_argument("--vae", help=f"what decodes: {', '.join(AUTOENCODERS)}")
    clock.add_argument("--fast", action="store_true", default=None, help="the fast sampling path")
    clock.add_argument("--compile", action="store_true", default=None, help="torch.compile on all networks")
    clock.add_argument(
        "--float32-products",
        action="store_true",
        default=None,
        help="products in float32, for a CPU that only emulates the dtype",
    )
    clock.add_argument("--warmup", type=arguments.whole, metavar="N", help="calls before the timed ones")
    clock.add_argument("--rounds", type=arguments.whole, metavar="N", help="timed calls of every row, in turn")
    clock.add_argument(
        "--train-rounds", type=arguments.whole, metavar="N", help="timed cycles of training; 0 leaves it out"
    )
    clock.add_argument(
        "--train-steps", type=arguments.whole, metavar="N", help="first steps of the schedule, in training alone"
    )
    clock.add_argument("--train-batch", type=arguments.whole, metavar="N", help="images of a training iteration")
    clock.add_argument(
        "--pipeline",
        type=arguments.place,
        metavar="PATH",
        help="folder or hub name to load; else random weights for SD3.5",
    )


def choose_profile(table: LatencyTable, typed: Namespace, find: FindProfile) -> Profile:
    """The profile that was asked for.

    Raises:
        UsageError: the table does not say how it is timed.
    """
    profile = find(typed.profile)
    if profile.name not in table.protocols:
        raise UsageError(f"{table.key} is timed in profiles {', '.join(table.protocols)}, not {profile.name}")
    return profile


def make_options(table: LatencyTable, profile: Profile, typed: Namespace, common: RunOptions) -> LatencyOptions:
    """The profile's protocol with the settings that were typed.

    Raises:
        UsageError: settings that are none, or that do not belong into the committed folder.
    """
    own = table.protocols[profile.name]
    settings = {name: getattr(typed, name) for name in CLOCK}
    for name in ("batch_sizes", "rows"):
        settings[name] = settings[name] and tuple(settings[name])
    _check_rows(table, typed.rows or ())
    try:
        asked = changed(own, **settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not asked.t5 and (typed.pipeline or profile.weights.architecture is None):
        raise UsageError("--no-t5 leaves a T5 out of random weights, but a pipeline is loaded as it is")
    if common.committed and asked != own:
        raise UsageError(f"times of another protocol do not belong into {COMMITTED}; choose another --out")
    if common.committed and typed.pipeline and profile.weights.architecture is None:
        raise UsageError(
            f"weights of {typed.pipeline} are not those of profile {profile.name}, which belong into "
            f"{COMMITTED}; choose another --profile or --out"
        )
    return LatencyOptions.extending(common, protocol=asked, pipeline=typed.pipeline or "")


def _check_rows(table: LatencyTable, rows: Sequence[str]) -> None:
    known = [timed.key for timed in table.rows]
    unknown = [row for row in rows if row not in known]
    if unknown:
        raise UsageError(f"{table.key} has no row {unknown[0]!r}, its rows are {', '.join(known)}")
