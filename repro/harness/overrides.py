"""What the command line changes in a profile: whose weights, whose data, how many prompts, how images are made."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repro.harness import external
from repro.harness.experiment import PromptSet, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.profile import Execution, Profile, Scorer
from repro.harness.systems import HubFile

DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: ArgumentParser) -> None:
    """Every setting of a profile that a user may need to change."""
    group = parser.add_argument_group("what the profile leaves to you (default: the profile's)")
    group.add_argument("--pipeline", metavar="PATH", help="folder or hub name of the base model")
    group.add_argument("--revision", metavar="REV", help="of the base model on the hub, to pin it")
    group.add_argument("--data", metavar="DIR", help="folder of prompt files and reference images (docs/data.md)")
    group.add_argument("--num-prompts", type=int, metavar="N", help="prompts of each set, drawn by their ids")
    group.add_argument("--batch-size", type=int, metavar="N", help="images at once")
    group.add_argument("--dtype", help=f"of all networks: {', '.join(DTYPES)}")
    group.add_argument("--vae", choices=("full", "tiny"), help="what decodes")
    group.add_argument(
        "--scorer", nargs="+", default=[], metavar="NAME=PATH", help="weights of a metric: folder, file or hub name"
    )
    group.add_argument(
        "--external",
        action="append",
        default=[],
        metavar='NAME="COMMAND"',
        help="a program scores the images for a metric: COMMAND with {requests} and {results} (docs/external.md)",
    )
    group.add_argument(
        "--backend",
        choices=("own", "official"),
        default="own",
        help="official: ImageReward by its own package, in the environment of `nox -s imagereward`",
    )
    group.add_argument("--without", nargs="+", default=[], metavar="NAME", help="metrics to leave out")


def changed(profile: Profile, typed: Namespace) -> Profile:
    """The profile with what was typed.

    Raises:
        UsageError: a value out of range, or a metric that the profile does not have.
    """
    execution = profile.execution
    if execution is not None:
        execution = _execution(execution, typed)
    weights = profile.weights
    if typed.pipeline:
        weights = replace(weights, pipeline=typed.pipeline, revision=None)
    if typed.revision:
        weights = replace(weights, revision=typed.revision)
    count, data = profile.images_per_set, profile.data
    if typed.num_prompts is not None:
        count = _positive("--num-prompts", typed.num_prompts)
        data = replace(data, num_prompts=count)
    if typed.data is not None:
        data = replace(data, folder=str(Path(typed.data).expanduser().resolve()))
    scorers = _scorers(profile, named_paths("--scorer", typed.scorer), typed.without)
    scorers = external.changed(profile, scorers, typed.external, official=typed.backend == "official")
    return replace(
        profile,
        weights=weights,
        execution=execution,
        images_per_set=count,
        data=data,
        scorers=scorers,
        prompt_sets=_measured(profile, scorers),
    )


def named_paths(option: str, words: Sequence[str]) -> dict[str, str]:
    """``NAME=PATH`` for each word.

    Raises:
        UsageError: a word without a name or a path, or a name that comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UsageError(f"{option} takes NAME=PATH, got {word!r}")
        if name in found:
            raise UsageError(f"{option} names {name} twice: {found[name]} and {path}")
        found[name] = path
    return found


def _execution(execution: Execution, typed: Namespace) -> Execution:
    if typed.batch_size is not None:
        execution = replace(execution, batch_size=_positive("--batch-size", typed.batch_size))
    if typed.dtype is not None:
        if typed.dtype not in DTYPES:
            raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {typed.dtype}")
        execution = replace(execution, dtype=typed.dtype)
    return execution if typed.vae is None else replace(execution, tiny_vae=typed.vae == "tiny")


def _scorers(profile: Profile, places: Mapping[str, str], without: Sequence[str]) -> tuple[Scorer, ...]:
    known = [scorer.name for scorer in profile.scorers]
    for name in (*places, *without):
        if name not in known:
            if not known:
                raise UsageError(f"profile {profile.name} has metrics of its own: none can be changed or left out")
            raise UsageError(str(UnknownNameError(f"metric of profile {profile.name}", name, known)))
    kept = [scorer for scorer in profile.scorers if scorer.name not in without]
    return tuple(
        # terms and command are those of the profile's own weights
        replace(scorer, weights=_place(places[scorer.name]), licence="", get="") if scorer.name in places else scorer
        for scorer in kept
    )


def _measured(profile: Profile, scorers: Sequence[Scorer]) -> tuple[PromptSet, ...]:
    """Sets that some metric measures: no image is made for nothing."""
    if not profile.scorers:
        return profile.prompt_sets
    found = tuple(prompts for prompts in profile.prompt_sets if any(prompts.key in each.prompts for each in scorers))
    if not found:
        raise UsageError(f"no metric of profile {profile.name} is left: --without names all")
    return found


def _place(named: str) -> HubFile:
    """A path from here, or a name on the Hub."""
    path = Path(named).expanduser()
    return HubFile(str(path.resolve()) if path.exists() else named)


def _positive(option: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{option} must be at least 1, got {value}")
    return value
