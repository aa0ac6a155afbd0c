"""The page of a figure of preferences, from its records alone."""

from collections.abc import Iterator
from pathlib import Path

from repro.harness.cells import DASH, markdown, number, signed
from repro.harness.page import footer, joined, session
from repro.harness.schema import Record
from repro.harness.votes.assessors import RULE, quartiles, side
from repro.harness.votes.davidson import davidson
from repro.harness.votes.files import VoteError
from repro.harness.votes.krippendorff import alpha
from repro.harness.votes.shares import sign_test
from repro.kinds.preference import figure, keys
from repro.kinds.preference.declare import Pair
from repro.kinds.preference.result import PreferenceResult

RULES = "Rules, and what was fixed beforehand: [how votes are counted](../docs/decisions/preference.md)."
SHARES = """\
Share of wins of the first system, in per cent, with its 95 % interval over prompts; halves are split, so 50 is no
preference. Sign test: two-sided, over prompts, each for the system with more than half of the points on its images;
prompts with exactly half are dropped."""
MAJORITY = """\
An image is won by the system that more than half of its assessors prefer (two of three); a tie that most see, or no
majority, is half a win for each. Attention checks count in none of these numbers."""


def page(result: PreferenceResult, _: Path) -> str:
    """The Markdown page."""
    body = _proxy(result) if result.is_proxy else _votes(result)
    measure = "" if result.is_proxy else session(result, "--votes", "EXPORT.jsonl")
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        f"> {result.profile.caption}",
        result.experiment.not_recovered,
        *body,
        *_published(result),
        *result.experiment.notes,
        RULES,
        *footer(result, measure),
    ]
    return joined(blocks)


def _proxy(result: PreferenceResult) -> Iterator[str]:
    found, (label,) = result.proxy, result.questions.values()
    source = f"{found['table']}.{result.profile.suffix}" if result.profile.suffix else found["table"]
    yield (
        f"**A proxy: no person saw these images.** Of two images of one prompt that with the better {label} wins; if "
        f"they differ by less than {found['margin']:g}, the margin that the profile fixed for it, it is a tie. How far "
        "such a proxy agrees with people is not known here: `--votes EXPORT.jsonl --scores SCORES.csv` says it for a "
        "study of one's own. Votes and proxy never share a page."
    )
    yield (
        f"Values per image: the records of [{found['table']}]({source}.md) (SHA-256 `{found['records'][:16]}`, run "
        f"`{found['run']}`), training seed {found['seed']} of every student, as a study would show one."
    )
    yield SHARES
    yield from _shares(result, *next(iter(result.questions.items())))
    yield _picture(result, f"Proxy by {label}, no votes: share of wins of the first system, with 95 % intervals.")


def _votes(result: PreferenceResult) -> Iterator[str]:
    careless = [one.name for one in result.assessors if one.is_careless]
    yield _counted(result, careless)
    yield _picture(result, "Share of wins of the first system by votes, with 95 % intervals; hollow: published shares.")
    yield MAJORITY
    yield SHARES
    for criterion, label in result.questions.items():
        yield f"## {label}"
        yield from _shares(result, criterion, label)
        yield _strengths(result, criterion)
        yield _alike(result, criterion)
    yield from _assessors(result)
    yield from _agreement(result)


def _counted(result: PreferenceResult, careless: list[str]) -> str:
    """How many votes there are, and whose do not count."""
    study = result.votes[0].study
    kept = result.config["keep_careless"]
    named = f"{', '.join(careless)} ({'kept, as was asked for' if kept else 'left out'})" if careless else "nobody"
    return (
        f"Study `{study}`: {len(result.used):,} votes count, of {len(result.votes):,} with attention checks and all "
        f"assessors. Careless by the rule (fewer right answers than {100 * RULE.share:.0f} % of at least {RULE.least} "
        f"attention checks): {named}."
    )


def _shares(result: PreferenceResult, question: str, label: str) -> Iterator[str]:
    """A line for each pair."""
    heads = ["Pair", f"Share, % ({label})", "Wins, halves, losses", "Images", "Prompts", "Sign test, p", "Dropped"]
    has_published = not result.is_proxy and any(result.published(pair, question) for pair in result.pairs)
    rows = [_row(result, pair, question, has_published) for pair in result.pairs]
    yield markdown([*heads, *(["Published, %"] if has_published else [])], rows, left=1)


def _row(result: PreferenceResult, pair: Pair, question: str, has_published: bool) -> list[str]:
    found = result.outcomes(pair, question)
    test = sign_test(found)
    cells = [
        result.experiment.label(pair),
        _percent(result.share(pair, question)),
        ", ".join(map(str, found.counts)),
        str(len(found.points)),
        str(len(found.by_prompt[1])),
        "< 0.001" if test.p < 0.001 else number(test.p, 3),
        str(test.dropped),
    ]
    value = result.published(pair, question)
    return [*cells, *([DASH if value is None else number(100 * value, 1)] if has_published else [])]


def _percent(record: Record | None) -> str:
    if record is None or record.value is None:
        return DASH
    bounds = [number(100 * bound, 1) for bound in (record.ci_low, record.ci_high) if bound is not None]
    return number(100 * record.value, 1) + (f" [{', '.join(bounds)}]" if bounds else "")


def _strengths(result: PreferenceResult, criterion: str) -> str:
    """Davidson's model, or why it has no maximum."""
    try:
        fitted = davidson(result.used, criterion)
    except VoteError as error:
        return f"Davidson's model has no strengths: {error}."
    labels = result.experiment.systems
    rows = [
        [labels.get(one.system, one.system), f"{signed(one.value, 2)} [{signed(one.low, 2)}, {signed(one.high, 2)}]"]
        for one in fitted.strengths
    ]
    table = markdown(["System", "Strength (log odds)"], rows, left=1)
    return (
        f"Davidson's model of all {fitted.votes:,} votes, ties included (odds of a tie between equals "
        f"{number(fitted.tie, 2)}); the mean strength is 0, intervals are over {fitted.prompts} prompts:\n\n{table}"
    )


def _alike(result: PreferenceResult, criterion: str) -> str:
    found = alpha(result.units(criterion))
    if found is None:
        return "Krippendorff's alpha is not defined: no image has two answers that could differ."
    return f"Krippendorff's alpha among assessors (first system, second, tie): {number(found, 3)}."


def _assessors(result: PreferenceResult) -> Iterator[str]:
    rows = [
        [
            one.name,
            str(one.votes),
            f"{one.right} of {one.checks}",
            "careless" if one.is_careless else DASH,
            f"{100 * one.left / one.sided:.0f}" if one.sided else DASH,
            _seconds(one.seconds) if one.votes else DASH,
        ]
        for one in result.assessors
    ]
    left, sided = side(result.used)
    both = f"{100 * left / sided:.1f} % of the {sided:,} votes for one of the two" if sided else "no votes"
    yield "## Assessors"
    heads = ["Assessor", "Votes", "Checks right", "By the rule", "Left, %", "Seconds of a vote"]
    yield markdown(heads, rows, left=1)
    yield (
        f"For the left image were {both}; sides were drawn, so a preferred side adds noise and no preference. A vote "
        f"took {_seconds(quartiles(result.used))} s (median, quartiles in brackets)."
    )


def _seconds(found: tuple[float, float, float]) -> str:
    low, middle, high = (number(value, 1) for value in found)
    return f"{middle} [{low}, {high}]"


def _agreement(result: PreferenceResult) -> Iterator[str]:
    """How far a metric agrees with the votes, where its scores were given."""
    rows = []
    for criterion, label in result.questions.items():
        found = result.records.find(keys.ALL_PAIRS, "", keys.proxy_agreement(criterion))
        kappa = result.value(keys.ALL_PAIRS, keys.proxy_kappa(criterion))
        if found:
            rows.append([label, _percent(found[0]), DASH if kappa is None else number(kappa, 2), str(found[0].n)])
    if rows:
        judge = result.config["scores"]
        yield "## How far a metric agrees with these votes"
        yield (
            f"Images of all pairs where the choice by the given scores, taken to be `{judge['metric']}` (win, loss, or "
            f"tie by less than its margin {judge['margin']:g}), is that of the majority, with the 95 % interval over "
            "prompts, and Cohen's kappa, which is 0 for agreement by chance."
        )
        yield markdown(["Criterion", "Agreement, %", "Kappa", "Images"], rows, left=1)


def _published(result: PreferenceResult) -> Iterator[str]:
    """Shares of the paper, as they are printed: never ours."""
    shown = [pair for pair in result.experiment.pairs if pair.reported is not None]
    if not shown:
        return
    criteria = result.experiment.criteria
    rows = [
        [
            " against ".join((pair.reported or {}).values()),  # the paper's own names
            *(DASH if (v := result.published(pair, key)) is None else number(100 * v, 1) for key in criteria),
        ]
        for pair in shown
    ]
    yield "## Published"
    own = " Votes of people on other systems: nothing that a proxy in this world compares with."
    own = own if result.is_proxy else " Other people, other prompts: beside ours, not among them."
    yield f"Shares of wins in per cent by {result.experiment.reported_label}.{own}"
    yield markdown(["Pair", *criteria.values()], rows, left=1)


def _picture(result: PreferenceResult, caption: str) -> str:
    return f"![{caption}](figures/{result.stem}_{figure.PICTURE}.png)\n\n*{caption}*"
