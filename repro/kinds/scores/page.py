"""The page of one table: measured numbers beside the paper's, claims with verdicts, figures, provenance."""

from pathlib import Path

from repro.harness.agreement import agreement
from repro.harness.cells import glossary, number, signed
from repro.harness.claim_words import RULE, claims_tables, difference, verdict_words
from repro.harness.claims import Verdict
from repro.harness.page import footer, joined, session
from repro.harness.profile import Profile
from repro.harness.words import lower
from repro.kinds.scores.against import against
from repro.kinds.scores.caption import caption
from repro.kinds.scores.declare import Check, Faster
from repro.kinds.scores.how import how
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.tables import costs, details, prompt_set

DIFFERENCE = """\
Difference: the first minus the second, positive where the first is better, with its 95 % interval: the mean over
prompt sets of the differences over the same images, or of numbers of the whole set. All images of a caption belong
together; training seeds, where there are several, and captions are two crossed sources of variance, each with
Student's t; of one seed the interval holds for that seed. The margins of the metrics (MARGINS) were fixed before
these records were measured ([what was known by then](../docs/decisions/verdicts.md)): WHY."""
WHY = (
    "a tenth of the damage that halving the resolution did (of placement: that one scene per caption does), as it was "
    "measured on 26 November 2026 with the decoder of that day; what a tenth is with today's stands on [the page of "
    "metrics](validity.md#margins)"
)
WHY_PUBLISHED = "of the order of what the publications' own numbers of one model are apart, FID's below it"

EQUAL_TIME = """\
*At equal latency* the second row is what it would be with as much time as the first: on the straight line between two
of its rows. Where quality rises fastest with the first steps, the line lies below the curve, which favours the first
row; where the first is faster than both, it is compared with the faster of them, which favours the second. The note
beside the difference says which."""
SPEED_RULE = """\
A speed-up is the ratio of two latencies within a round, the geometric mean over rounds, less the factor that is
claimed; its interval is Student's t of the logarithms. The factor is a bound, so such a claim is one of *not worse*
with margin 0; the rounds stand where others have images."""

SPEED_RULE_ONE_BY_ONE = """\
A speed-up is the ratio of two latencies, the first round of one row over the first of the other and so on, the
geometric mean of them less the factor that is claimed; its interval is Student's t of the logarithms of these pairs,
whose number stands where others have images. The factor is a bound: such a claim is one of *not worse* with margin 0.
All rounds of a row were timed before those of the next, so a machine that drifts in between is not told from a
speed-up. The factors that are claimed are of compiled networks and a tiny VAE: how ours were timed stands above."""

KNOWN = "fewer_full_steps"  # statement
KNOWN_EFFECT = (
    "For scale, what full-scale students gain here from 2 steps to 6, and in brackets how much of it a margin is:"
)

FIGURES = {
    "compute": "Quality against compute. Further left costs less; arrows point to better; bars and bands "
    "are 95 % intervals; points of equal compute stand side by side.",
    "against": "Differences to the first student, with 95 % intervals; right of zero is better. In colour: shown not "
    "to be zero (by Holm's procedure over the rows). Grey band: the metric's margin.",
    "training": "Training. Quality as mean, lowest and highest of the training seeds, against iterations and against "
    "seconds; below, the terms of the first curve's loss in the steps at each latent side, means over training seeds "
    "with their standard errors.",
    "sides": "Quality by side. Each system at the sides of its images; bars are 95 % intervals, arrows point "
    "to better; a dotted line is what real images reach there.",
    "samples": "Samples. In each column every row has the same prompt and the same seed.",
}


def page(result: ScoresResult, folder: Path) -> str:
    """The Markdown page. Figures are linked if they are in ``folder``; all else comes from the records."""
    blocks = [
        f"# {result.experiment.title}",
        result.experiment.question,
        f"**Reading.** {reading(result)}" if result.experiment.claims else "",
        caption(result),
        *costs(result),
        *(block for prompts in result.profile.prompt_sets for block in prompt_set(result, prompts)),
        *against(result),
        *details(result),
        glossary(result.profile.columns),
        *claims(result),
        *agreement(result.agreement),
        *figures(result, folder),
        *how(result),
        *notes(result),
        *footer(result, session(result, "--retrain") if result.experiment.is_distilled else ""),
    ]
    return joined(blocks)


def reading(result: ScoresResult) -> str:
    """One sentence: how many claims hold, and how the first one came out in every metric that it is asked in."""
    tested = [judgement for judgement in result.judgements if judgement.is_tested]
    primary = [judgement for judgement in tested if judgement.is_primary] or tested
    if not primary:
        return f"No claim of this table can be tested in {result.profile.title}."
    judged = [judgement for judgement in primary if judgement.is_measured]
    if not judged:
        return f"None of {len(primary)} claims that can be tested in {result.profile.title} was measured yet."
    counts = [(verdict, sum(j.verdict is verdict for j in judged)) for verdict in Verdict]
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    rest = f" ({len(primary) - len(judged)} more were not measured)" if len(judged) < len(primary) else ""
    sentence = f"Of {len(judged)} claims tested in {result.profile.title}, {parts}{rest}"
    first = judged[0]
    asked = [judgement for judgement in judged if judgement.claim.text == first.claim.text]
    found = " and ".join(f"{verdict_words(one)} in {one.column.label} ({difference(one)})" for one in asked)
    return f'{sentence}; the first, "{lower(first.claim.text)}", is {found}.'


def claims(result: ScoresResult) -> list[str]:
    """Every claim with verdict, difference and interval, or why it is not tested."""
    if not result.judgements:
        return []
    heads = ("Verdict", "Claim", "Source", "Kind", "Metric", "Difference", "Margin", "p", "Images", "Captions", "Seeds")
    rules = [claim_rule(result.profile), known_effect(result), RULE, *_rules_of_time(result)]
    return ["## Claims", *claims_tables(result.judgements, heads), *rules]


def _rules_of_time(result: ScoresResult) -> list[str]:
    """How claims about speed, and those at equal latency, are judged, where a page has such."""
    checks = [claim.check for claim in result.experiment.claims]
    speed = SPEED_RULE_ONE_BY_ONE if result.is_published else SPEED_RULE
    is_speed = any(isinstance(check, Faster) for check in checks)
    at_equal_latency = any(isinstance(check, Check) and check.slower for check in checks)
    return [*([speed] if is_speed else []), *([EQUAL_TIME] if at_equal_latency else [])]


def claim_rule(profile: Profile) -> str:
    """What a difference is, and which margins the metrics of a profile have."""
    fixed = [column for column in profile.columns if column.margin is not None and column.role is not None]
    margins = ", ".join(f"{column.label} {(column.margin or 0.0) * column.factor:g}" for column in fixed)
    return DIFFERENCE.replace("MARGINS", margins).replace("WHY", WHY_PUBLISHED if profile.scorers else WHY)


def known_effect(result: ScoresResult) -> str:
    """How large the margins are beside an effect that nobody doubts: what full-scale loses from 6 steps to 2."""
    parts = [
        f"{judged.column.label} {signed(found.difference * judged.column.factor, judged.column.digits)} "
        f"({number(found.margin / abs(found.difference), 2)} of it)"
        for judged in result.judgements
        if judged.claim.statement == KNOWN and (found := judged.comparison) and found.margin and found.difference
    ]
    return f"{KNOWN_EFFECT} {'; '.join(parts)}." if parts else ""


def figures(result: ScoresResult, folder: Path) -> list[str]:
    """Links to the figures of this table that exist."""
    found = [(f"figures/{result.stem}_{kind}.png", text) for kind, text in FIGURES.items()]
    links = [f"![{text.split('.')[0]}]({name})\n\n*{text}*" for name, text in found if (folder / name).exists()]
    return ["## Figures", *links] if links else []


def notes(result: ScoresResult) -> tuple[str, ...]:
    """Paragraphs of the declaration, those for published models where these are."""
    table = result.experiment
    published = result.is_published and table.published_notes is not None
    return table.published_notes or () if published else table.notes
