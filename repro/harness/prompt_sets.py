"""Sets of prompts that the command line names: ``--prompts``.

    --prompts coco=prompts.csv        another file, or a data set of the Hub, for a set that is measured anyway
    --prompts parti                   a further set that the profile knows
    --prompts mine=prompts.txt        prompts of one's own

A set that is added has no real images, so it is measured by whatever compares an image with its caption alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repro.harness.experiment import Column, PromptSet, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.profile import Profile


def changed(profile: Profile, words: Sequence[str]) -> Profile:
    """The profile with other prompt files, and with further sets behind its own.

    Args:
        profile: its metrics are those that are left of what was typed.
        words: ``SET`` or ``SET=FILE``.

    Raises:
        UsageError: the profile has prompts of its own, a name comes twice or is not known, or no metric measures it.
    """
    if not words:
        return profile
    if not profile.scorers:
        raise UsageError(f"profile {profile.name} has prompts of its own: --prompts cannot change them")
    files = _files(words)
    added = _added(profile, files)
    names = tuple(prompts.key for prompts in added)
    keys = captioned(profile)
    if added and not keys & {scorer.name for scorer in profile.scorers}:
        raise UsageError(
            f"--prompts {names[0]}: no metric of an image and its caption is left; expected {_listed(keys)}"
        )
    return replace(
        profile,
        prompt_sets=(*profile.prompt_sets, *added),
        columns=tuple(_longer(column, names) if column.key in keys else column for column in profile.columns),
        scorers=tuple(
            replace(each, prompts=(*each.prompts, *names)) if each.name in keys else each for each in profile.scorers
        ),
        data=replace(profile.data, prompt_files={name: file for name, file in files.items() if file}),
    )


def quality_sets(profile: Profile) -> tuple[str, ...]:
    """Prompts on which quality is measured: those of the distance to real images."""
    return next((column.prompts for column in profile.columns if column.role == "distribution"), ())


def captioned(profile: Profile) -> set[str]:
    """Metrics that compare an image with its caption alone."""
    sets = quality_sets(profile)
    return {column.key for column in profile.columns if column.better == "higher" and column.prompts == sets}


def _files(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not name or (equals and not file):
            raise UsageError(f"--prompts takes SET or SET=FILE, got {word!r}")
        if name in found:
            raise UsageError(f"--prompts names {name} twice")
        path = Path(file).expanduser()
        found[name] = str(path.resolve()) if file and path.exists() else file
    return found


def _added(profile: Profile, files: Mapping[str, str]) -> list[PromptSet]:
    own = {prompts.key for prompts in profile.prompt_sets}
    further = {prompts.key: prompts for prompts in profile.optional_sets}
    for name, file in files.items():
        if name in own and not file:
            raise UsageError(f"--prompts {name}: it is measured anyway; another file of it: --prompts {name}=FILE")
        if name not in own and name not in further and not file:
            known = UnknownNameError(f"further set of prompts of profile {profile.name}", name, further)
            raise UsageError(f"{known}; a file of your own: --prompts {name}=FILE")
    return [further.get(name) or PromptSet(name, name) for name in files if name not in own]


def _longer(column: Column, names: tuple[str, ...]) -> Column:
    return replace(column, prompts=(*column.prompts, *names))


def _listed(keys: set[str]) -> str:
    return ", ".join(sorted(keys))
