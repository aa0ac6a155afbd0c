"""One kind of result: what declares it, what the command line asks of it, what measures and what shows it.

A kind is one folder below ``repro/kinds``, whose ``__init__`` holds a ``KIND``. The command line and rendering know
kinds by this object alone.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from repro.harness.experiment import Experiment
from repro.harness.options import RunOptions
from repro.harness.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.harness.plots import Drawing
    from repro.harness.result import Measured
    from repro.harness.units import Unit

E = TypeVar("E", bound=Experiment)
FindProfile = Callable[[str], Profile]


class UsageError(Exception):
    """A command line that cannot be carried out as typed."""


def late(place: str) -> Callable[..., Any]:
    """What ``module:name`` calls, imported when it is called: torch and pandas are not for ``--help``."""
    module, _, name = place.partition(":")

    def call(*arguments: Any) -> Any:
        return getattr(import_module(module), name)(*arguments)

    return call


def no_arguments(parser: ArgumentParser) -> None:
    """A kind without arguments of its own."""


def named_profile(experiment: Experiment, typed: Namespace, find: FindProfile) -> Profile:
    """The profile that was asked for."""
    return find(typed.profile)


def profile_with_metrics(experiment: Experiment, typed: Namespace, find: FindProfile) -> Profile:
    """The profile that was asked for, if images can be scored in it.

    Raises:
        UsageError: it has no metrics.
    """
    profile = find(typed.profile)
    if not profile.columns:
        raise UsageError(f"profile {profile.name} has no metrics: it cannot measure {experiment.key}")
    return profile


def student_seeds(profile: Profile, typed: Namespace) -> tuple[int, ...]:
    """Training seeds of the students that were asked for.

    Raises:
        UsageError: seeds that repeat or are negative, or of students that are not shipped.
    """
    seeds = tuple(typed.seeds or profile.seeds)
    shown = " ".join(map(str, seeds))
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds must be different and not negative, got {shown}")
    if not typed.retrain and seeds != tuple(profile.seeds[:1]):
        raise UsageError(f"--seeds {shown} needs --retrain: only seed {profile.seeds[0]} is shipped")
    return seeds


def common_options(experiment: Experiment, profile: Profile, typed: Namespace, common: RunOptions) -> RunOptions:
    """The options of a kind that adds none."""
    return common


def no_drawing(result: "Measured[Any]") -> None:
    """A kind without a figure that follows from its records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a kind beside its experiments.

    Args:
        name: on the command line.
        help: one line.
        add_arguments: adds its arguments to its parser.
        run: does it with what was typed and all experiments by their keys, and gives the exit status.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Mapping[str, Experiment]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[E]):
    """One kind of result.

    Args:
        name: of its folder.
        declaration: class of its experiments: what an experiment is an instance of says its kind.
        run: measures (experiment, profile, options), gives the records file; where the options say ``dry_run``, only
            prints what it would do. Raises ``ExperimentError``.
        result: makes of (experiment, profile, records) what page and figure show.
        page: Markdown of (result, results folder).
        drawing: figure of a result that its records determine; None where there is nothing to draw.
        plan: what would be done of (experiment, profile, options), as names and words, for `repro.harness.brief`; None
            for a kind whose ``run`` makes a plan of its own.
        profile: the only one that its experiments are measured in; empty where the command line asks.
        units: what a queue hands out of (experiment, profile, options); None for a kind that is measured as a whole.
        add_arguments: adds the kind's own arguments to the parser of a command.
        choose_profile: the profile of (experiment, what was typed, how profiles are found). Raises ``UsageError``.
        make_options: options of (experiment, profile, what was typed, the options of every kind). Checks all that can
            be checked before any work. Raises ``UsageError``.
        commands: what else it does.
    """

    name: str
    declaration: type[E]
    run: Callable[..., Path]
    result: Callable[..., "Measured[E]"]
    page: Callable[..., str]
    drawing: Callable[..., "Drawing | None"] = no_drawing
    plan: "Callable[..., Mapping[str, str]] | None" = None
    profile: str = ""
    units: "Callable[..., Iterator[Unit]] | None" = None
    add_arguments: Callable[[ArgumentParser], None] = no_arguments
    choose_profile: Callable[[E, Namespace, FindProfile], Profile] = named_profile
    make_options: Callable[[E, Profile, Namespace, RunOptions], RunOptions] = common_options
    commands: tuple[Command, ...] = ()
