"""What the command line adds to the page of a GPU."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from repro.harness import arguments
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.gpu.declare import PARTS, GpuPage, PartKey


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOptions(RunOptions):
    """Options of the page of a GPU.

    Args:
        minutes: of this call; the next one goes on from there.
        smoke: whether all parts run tiny, on the CPU.
        parts: those that are measured in this call.
    """

    minutes: float
    smoke: bool = False
    parts: tuple[PartKey, ...] = PARTS

    @property
    def state(self) -> Path:
        """Folder of the journal: beside the records, since that is what comes back from a machine; else with stages."""
        return self.work / "gpu" if self.committed else self.out


def add_arguments(parser: ArgumentParser) -> None:
    """How long, how large, and which parts."""
    parser.add_argument(
        "--minutes", type=arguments.finite, default=25.0, metavar="M", help="of this call (default: 25)"
    )
    parser.add_argument("--smoke", action="store_true", help="every part on the CPU with tiny networks: no measurement")
    parser.add_argument(
        "--parts",
        nargs="+",
        action="extend",
        metavar="PART",
        help=f"these alone (default: all, in order: {', '.join(PARTS)})",
    )


def make_options(page: GpuPage, profile: Profile, typed: Namespace, common: RunOptions) -> GpuOptions:
    """Checked as far as it can be without torch.

    Raises:
        UsageError: no time, or an unknown part.
    """
    if not typed.minutes > 0:
        raise UsageError(f"--minutes must be above 0, got {typed.minutes:g}")
    chosen = typed.parts or PARTS
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise UsageError(f"--parts are {', '.join(PARTS)}, got {unknown[0]!r}")
    parts = tuple(part for part in PARTS if part in chosen)
    return GpuOptions.extending(common, minutes=typed.minutes, smoke=typed.smoke, parts=parts)
