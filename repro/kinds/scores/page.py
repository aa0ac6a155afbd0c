"""The page of one table: measured numbers beside the paper's, claims with verdicts, figures, provenance."""

from pathlib import Path

from repro.harness.agreement import agreement
from repro.harness.claims import Verdict, claims_table, difference
from repro.harness.page import footer, joined, lower
from repro.harness.profile import Profile
from repro.kinds.scores.caption import caption
from repro.kinds.scores.how import how
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.tables import costs, details, prompt_set

CLAIM_RULE = """\
Difference: the first minus the second, positive where the first is better, with the 95 % interval of a paired
bootstrap over captions, all images of a caption together (and over training seeds where there are several). *At least
as good* is reproduced if the whole interval is at or above zero and not reproduced if it is below; *not worse* takes
minus the margin in place of zero, and MARGIN. All else is
inconclusive, and so are two rows that agree on every image. FID has no value per image, so no claim is tested on it."""
OWN_MARGIN = "the margin is the half-width of the second's own 95 % interval"
FIXED_MARGIN = """\
the margin of a metric was fixed before anything was
measured (MARGINS), as far apart as the publications' own numbers of one model are: the half-width of an interval would
near zero at so many images"""

SPEED_RULE = """\
A speed-up is the median ratio of two latencies within a round, less the factor that is claimed; its interval is a
bootstrap over the rounds, whose number stands where others have images."""

SPEED_RULE_ONE_BY_ONE = """\
A speed-up is the median ratio of two latencies, the first round of one row over the first of the other and so on, less
the factor that is claimed; its interval is a bootstrap over these pairs, whose number stands where others have images.
All rounds of a row were timed before those of the next, so a machine that drifts in between is not told from a
speed-up. The factors that are claimed are of compiled networks and a tiny VAE: how ours were timed stands above."""

FIGURES = {
    "compute": "Quality against compute. Further left costs less; arrows point to better; bars and bands "
    "are 95 % intervals; points of equal compute stand side by side.",
    "samples": "Samples. In each column every row has the same prompt and the same seed.",
}


def page(result: ScoresResult, folder: Path) -> str:
    """The Markdown page. Figures are linked if they are in ``folder``; all else comes from the records."""
    blocks = [
        f"# {result.experiment.title}",
        result.experiment.question,
        f"**Reading.** {reading(result)}",
        caption(result),
        *costs(result),
        *(block for prompts in result.profile.prompt_sets for block in prompt_set(result, prompts)),
        *details(result),
        *claims(result),
        *agreement(result.agreement),
        *figures(result, folder),
        *how(result),
        *notes(result),
        *footer(result),
    ]
    return joined(blocks)


def reading(result: ScoresResult) -> str:
    """One sentence: how many claims hold, and how the first one came out."""
    judged = [judgement for judgement in result.judgements if judgement.is_tested]
    if not judged:
        return f"No claim of this table can be tested in {result.profile.title}."
    counts = [(verdict, sum(j.verdict is verdict for j in judged)) for verdict in Verdict]
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    sentence = f"Of {len(judged)} claims tested in {result.profile.title}, {parts}"
    first = judged[0]
    if first.comparison is None:
        return f"{sentence}."
    gap = f"{first.column.label} {difference(first)}"
    return f'{sentence}; the first, "{lower(first.claim.text)}", is {first.verdict}: {gap}.'


def claims(result: ScoresResult) -> list[str]:
    """Every claim with verdict, difference and interval, or why it is not tested."""
    if not result.judgements:
        return []
    heads = ("Verdict", "Claim", "Source", "Metric", "Difference", "Margin", "Images", "Captions")
    speed = SPEED_RULE_ONE_BY_ONE if result.is_published else SPEED_RULE
    rules = [claim_rule(result.profile), *([speed] if result.experiment.clock else [])]
    return ["## Claims", claims_table(result.judgements, heads), *rules]


def claim_rule(profile: Profile) -> str:
    """How a claim is decided, and which margin *not worse* has in a profile."""
    fixed = [column for column in profile.columns if column.margin is not None]
    shown = [f"{column.label} {(column.margin or 0.0) * column.factor:g}" for column in fixed]
    margin = FIXED_MARGIN.replace("MARGINS", ", ".join(shown)) if fixed else OWN_MARGIN
    return CLAIM_RULE.replace("MARGIN", margin)


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
