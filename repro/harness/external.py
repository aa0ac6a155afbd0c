"""Which metrics of a profile are scored by programs of other environments, as the command line says it.

    --external hpsv3="ENV/bin/python repro/metrics/runners/hpsv3_official.py {requests} {results}"
    --external image_reward           results that were made elsewhere are read
    --backend official                ImageReward by its own package

What is typed becomes data of the profile (``Scorer.settings``), so that the config of a run holds it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from repro.harness.experiment import UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.profile import Profile, Scorer
from repro.harness.prompt_sets import captioned, quality_sets

OFFICIAL = "image_reward"  # the metric whose official package has an environment here
PLACEHOLDERS = ("{requests}", "{results}")
EXAMPLE = '"ENV/bin/python score.py {requests} {results}"'


def changed(profile: Profile, scorers: Sequence[Scorer], typed: Sequence[str], *, official: bool) -> tuple[Scorer, ...]:
    """Scorers with the external ones in place of ours of the same name, others behind them.

    Args:
        profile: whose columns name what can be scored.
        scorers: of the profile, those that are left out already gone.
        typed: ``NAME=COMMAND`` each, or ``NAME``.
        official: whether ImageReward's own package scores.

    Raises:
        UsageError: a metric that the profile does not show or that is none of single images, a name that comes twice,
            or a command without its placeholders.
    """
    found = {scorer.name: scorer for scorer in scorers}
    commands = _commands(profile, typed)
    if official:
        if OFFICIAL in commands:
            raise UsageError(f"--backend official and --external {OFFICIAL} both score {OFFICIAL}: name one")
        if OFFICIAL not in found:
            raise UsageError(
                f"--backend official scores {OFFICIAL}, which profile {profile.name} does not measure here"
            )
        own = found[OFFICIAL]
        found[OFFICIAL] = replace(own, settings={**own.settings, "backend": "official"})
    for name, command in commands.items():
        found[name] = Scorer(name, None, quality_sets(profile), settings={"command": command})
    return tuple(found.values())


def _commands(profile: Profile, typed: Sequence[str]) -> dict[str, list[str] | None]:
    known = captioned(profile)
    found: dict[str, list[str] | None] = {}
    for text in typed:
        name, _, command = text.partition("=")
        name = name.strip()
        if not profile.scorers:
            raise UsageError(f"profile {profile.name} has metrics of its own: no program can score in their place")
        if name not in known:
            raise UsageError(str(UnknownNameError("metric of single images for --external", name, known)))
        if name in found:
            raise UsageError(f"--external names {name} twice")
        found[name] = _words(name, command)
    return found


def _words(name: str, command: str) -> list[str] | None:
    if not command.strip():
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--external {name}: {error} in {command!r}") from error
    if missing := [held for held in PLACEHOLDERS if held not in " ".join(words)]:
        raise UsageError(
            f"--external {name}: the command has no {' and no '.join(missing)}, got {command!r}; "
            f"expected such as --external {name}={EXAMPLE}"
        )
    return words
