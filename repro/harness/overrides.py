"""What the command line changes in a profile: whose weights, whose data, how many prompts, how images are made."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repro.harness import arguments, external, prompt_sets
from repro.harness.experiment import PromptSet, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.profile import Execution, Profile, Scorer, Weights
from repro.harness.systems import HubFile

DTYPES = ("float32", "bfloat16", "float16")
ENCODINGS = ("png", "webp")
RECIPES = ("swd", "pytorch-fid", "clean-fid", "torchmetrics", "torch-fidelity")  # of FID: repro.metrics.inception


def add_arguments(parser: ArgumentParser) -> None:
    """Every setting of a profile that a user may need to change."""
    group = parser.add_argument_group("what the profile leaves to you (default: the profile's)")
    group.add_argument("--pipeline", type=arguments.place, metavar="PATH", help="folder or hub name of the base model")
    group.add_argument(
        "--revision",
        nargs="+",
        action="extend",
        default=[],
        metavar="REV|NAME=REV",
        help="pin the base model, or another model by its name on the hub",
    )
    group.add_argument(
        "--data", type=arguments.place, metavar="DIR", help="folder of prompt files and reference images (docs/data.md)"
    )
    group.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        default=[],
        metavar="SET|SET=FILE",
        help="further sets of prompts, or other files of them",
    )
    group.add_argument(
        "--num-prompts", type=arguments.whole, metavar="N", help="prompts of each set, drawn by their ids"
    )
    group.add_argument("--batch-size", type=arguments.whole, metavar="N", help="images at once")
    group.add_argument("--dtype", help=f"of all networks: {', '.join(DTYPES)}")
    group.add_argument("--vae", choices=("full", "tiny"), help="what decodes")
    group.add_argument(
        "--scorer",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PATH",
        help="weights of a metric: folder, file or hub name",
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
    group.add_argument("--recipe", choices=RECIPES, help="how FID prepares images (docs/decisions/fid-recipes.md)")
    group.add_argument("--encoding", choices=ENCODINGS, help="of the image files, both without loss (default: png)")
    group.add_argument(
        "--with",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        dest="added",
        help="further metrics to measure",
    )
    group.add_argument("--without", nargs="+", action="extend", default=[], metavar="NAME", help="metrics to leave out")


def changed(profile: Profile, typed: Namespace, models: Iterable[HubFile] = ()) -> Profile:
    """The profile with what was typed.

    Args:
        profile: as it is declared.
        typed: the command line.
        models: that rows of the table name by themselves: what ``--revision`` may pin, besides the profile's own.

    Raises:
        UsageError: a value out of range, or a metric or model that there is not.
    """
    execution = profile.execution
    if execution is not None:
        execution = _execution(execution, typed)
    weights = _pinned(_weights(profile.weights, typed), typed.revision, [*models, *_models(profile)])
    count, data = profile.images_per_set, profile.data
    if typed.num_prompts is not None:
        count = _at_least("--num-prompts", typed.num_prompts, 2)  # one image has no interval and no distance
        data = replace(data, num_prompts=count)
    if typed.data is not None:
        data = replace(data, folder=str(Path(typed.data).expanduser().resolve()))
    profile = replace(profile, scorers=(*profile.scorers, *_asked_for(profile, typed.added)))
    scorers = _scorers(profile, named_paths("--scorer", typed.scorer), typed.without)
    scorers = _by_recipe(profile, scorers, typed.recipe)
    scorers = external.changed(profile, scorers, typed.external, official=typed.backend == "official")
    scorers = tuple(_pinned_scorer(scorer, weights.revisions) for scorer in scorers)
    profile = replace(
        profile,
        weights=weights,
        execution=execution,
        images_per_set=count,
        data=data,
        scorers=scorers,
        prompt_sets=_measured(profile, scorers),
    )
    return prompt_sets.changed(profile, typed.prompts)


def named_paths(option: str, words: Sequence[str], form: str = "NAME=PATH") -> dict[str, str]:
    """``NAME=PATH`` for each word; ``form`` is what a message calls that.

    Raises:
        UsageError: a word without a name or a path, or a name that comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UsageError(f"{option} takes {form}, got {word!r}")
        if name in found:
            raise UsageError(f"{option} names {name} twice: {found[name]} and {path}")
        found[name] = path
    return found


def _weights(weights: Weights, typed: Namespace) -> Weights:
    if not typed.pipeline:
        return weights
    published = weights.published or weights.pipeline
    return replace(weights, pipeline=_place(typed.pipeline).repo, revision=None, published=published)


def _models(profile: Profile) -> Iterator[HubFile]:
    """All of the Hub that a profile names, but for its base model."""
    weights = profile.weights
    yield from weights.released.values()
    if weights.tiny_pipeline:
        yield HubFile(weights.tiny_pipeline)
    for scorer in profile.scorers:
        if not scorer.get:  # else its weights are no download from the Hub
            yield from (scorer.weights,) if scorer.weights is not None else ()
        yield from (value for value in scorer.settings.values() if isinstance(value, HubFile))


def _pinned(weights: Weights, words: Sequence[str], models: Sequence[HubFile]) -> Weights:
    """A word without a name is of the base model."""
    plain = [word for word in words if "=" not in word]
    if len(plain) > 1:
        raise UsageError(f"--revision takes one of the base model, got {' and '.join(plain)}")
    revisions = named_paths("--revision", [word for word in words if "=" in word], form="NAME=REV")
    known = dict.fromkeys([weights.pipeline, *(model.repo for model in models)])
    for name in revisions:
        if name not in known:
            raise UsageError(f"--revision: {name} is no model of this table; known are {', '.join(known)}")
    own = revisions.pop(weights.pipeline, None)
    if plain and own:
        raise UsageError(f"--revision names {weights.pipeline} twice: {plain[0]} and {own}")
    return replace(weights, revision=own or next(iter(plain), weights.revision), revisions=revisions)


def _pinned_scorer(scorer: Scorer, revisions: Mapping[str, str]) -> Scorer:
    settings = {
        name: value.pinned(revisions) if isinstance(value, HubFile) else value
        for name, value in scorer.settings.items()
    }
    own = scorer.weights and scorer.weights.pinned(revisions)
    return replace(scorer, weights=own, settings=settings)


def _execution(execution: Execution, typed: Namespace) -> Execution:
    if typed.batch_size is not None:
        execution = replace(execution, batch_size=_at_least("--batch-size", typed.batch_size))
    if typed.dtype is not None:
        if typed.dtype not in DTYPES:
            raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {typed.dtype}")
        execution = replace(execution, dtype=typed.dtype)
    if typed.encoding is not None:
        execution = replace(execution, encoding=typed.encoding)
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


def _asked_for(profile: Profile, names: Sequence[str]) -> list[Scorer]:
    """Optional metrics by their names, each once."""
    optional = {scorer.name: scorer for scorer in profile.optional}
    for name in names:
        if name not in optional:
            if not optional:
                raise UsageError(f"--with {name}: profile {profile.name} has no further metrics")
            raise UsageError(str(UnknownNameError(f"further metric of profile {profile.name}", name, optional)))
    return [optional[name] for name in dict.fromkeys(names)]


def _by_recipe(profile: Profile, scorers: tuple[Scorer, ...], recipe: str | None) -> tuple[Scorer, ...]:
    """With another recipe in place of that of every metric that has one."""
    if recipe is None:
        return scorers
    if not any("recipe" in scorer.settings for scorer in scorers):
        raise UsageError(f"--recipe {recipe} is of FID, which is not measured in profile {profile.name}")
    return tuple(
        replace(scorer, settings={**scorer.settings, "recipe": recipe}) if "recipe" in scorer.settings else scorer
        for scorer in scorers
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


def _at_least(option: str, value: int, least: int = 1) -> int:
    if value < least:
        raise UsageError(f"{option} must be at least {least}, got {value}")
    return value
