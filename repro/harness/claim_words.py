"""From a verdict to the words of a page: one path for the claims of every kind of result."""

from collections.abc import Callable, Iterable, Sequence

from repro.harness.cells import markdown, number, signed
from repro.harness.claims import Comparison, Judgement, NoComparison, Verdict
from repro.harness.words import lower

RULE = """\
| Kind | Reproduced | Not reproduced | Worse by so much |
|:-----|:-----------|:---------------|:-----------------|
| better | d > 0 | \u2212m < d < m | d < 0 |
| not worse | d > \u2212m | d < \u2212m | d < 0 |

The first of these that is shown of the difference d, with margin m, is the verdict (of *better* reproduced, then worse,
of *not worse* from left to right), else the claim is *not decided*, as are two rows that agree on every image. A
*better* of which |d| < m is shown too is reproduced *by less than the margin*; a *not worse* of which d < 0 is shown
too is so *though worse*, and one that is not reproduced is *not reproduced: worse*. A speed is never *worse* only.
Each is shown by a one-sided test at 2.5 % (p \u2264 0.025), adjusted by Holm's procedure over the primary claims of a
page, the paper's and our own apart, so an interval beside zero may not suffice. *p* is that of the verdict, or of the
claim where nothing is decided."""


def difference(judgement: Judgement) -> str:
    """The signed difference with its interval, or the reason why there is none."""
    compared, column = judgement.outcome, judgement.column
    if isinstance(compared, NoComparison):
        return compared.reason
    value, low, high = (signed(shown * column.factor, column.digits) for shown in compared.shown)
    note = f" ({compared.note})" if compared.note else ""
    return f"{value}{' points' if column.percent else ''} [{low}, {high}]{note}"


def verdict_words(judgement: Judgement) -> str:
    """The verdict as a page prints it: what is worse with by how much, what is hardly better as such."""
    compared, verdict = judgement.comparison, judgement.verdict
    if compared is None or verdict is Verdict.NOT_DECIDED:
        return str(verdict)
    if verdict is Verdict.REPRODUCED:
        tolerated = f", though {_worse(judgement, compared)}, less than the margin" if judgement.is_tolerated else ""
        return f"{verdict}{', by less than the margin' if judgement.is_slight else tolerated}"
    if verdict is Verdict.WORSE:
        return _worse(judgement, compared)
    inferior = compared.kind == "not_worse" and compared.ratio is None
    return f"{verdict}: {_worse(judgement, compared)}" if inferior else str(verdict)


def _worse(judgement: Judgement, compared: Comparison) -> str:
    column = judgement.column
    amount = number(abs(compared.shown[0]) * column.factor, column.digits)
    return f"worse by {amount}{' points' if column.percent else ''}"


def _margin(judgement: Judgement) -> str:
    compared, column = judgement.comparison, judgement.column
    if compared is None or compared.shown_margin is None:
        return ""
    return number(compared.shown_margin * column.factor, column.digits)


def _p(judgement: Judgement) -> str:
    """That of the verdict; where nothing is decided, of the claim itself."""
    if judgement.comparison is None:
        return ""
    p = judgement.p.get(judgement.verdict, judgement.p[Verdict.REPRODUCED])
    return "< 0.001" if p < 0.001 else number(p, 3)


def _kind(judgement: Judgement) -> str:
    compared = judgement.comparison
    return "" if compared is None else compared.kind.replace("_", " ")


def _count(judgement: Judgement) -> str:
    return str(judgement.comparison.n) if judgement.comparison else ""


def _captions(judgement: Judgement) -> str:
    found = judgement.comparison and judgement.comparison.captions
    return "" if found is None else str(found)


def _seeds(judgement: Judgement) -> str:
    found = judgement.comparison and judgement.comparison.seeds
    return "" if found is None else str(found)


CELLS: dict[str, Callable[[Judgement], str]] = {
    "Verdict": lambda judgement: f"**{verdict_words(judgement)}**",
    "Claim": lambda judgement: judgement.claim.text,
    "Source": lambda judgement: judgement.claim.source,
    "Kind": _kind,
    "Metric": lambda judgement: judgement.column.label,
    "Difference": difference,
    "Margin": _margin,
    "p": _p,
    "Images": _count,
    "Rounds": _count,
    "Captions": _captions,
    "Seeds": _seeds,
}
ADJUSTED = "p, Holm"
SECONDARY = "### Secondary claims, not adjusted"


def cells(judgement: Judgement, heads: Sequence[str]) -> list[str]:
    """The cells of a claim below those heads of ``CELLS``."""
    return [CELLS[head](judgement) for head in heads]


def claims_table(judgements: Iterable[Judgement], heads: Sequence[str]) -> str:
    """The table of claims below those heads of ``CELLS``; words stand left, numbers right."""
    found = list(judgements)
    rows = [cells(judgement, heads) for judgement in found]
    adjusted = bool(found) and all(judgement.is_primary for judgement in found)
    shown = [ADJUSTED if head == "p" and adjusted else head for head in heads]
    return markdown(shown, rows, left=list(heads).index("Difference"))


def claims_tables(judgements: Sequence[Judgement], heads: Sequence[str]) -> list[str]:
    """A table of the primary claims, where there are others one of those, and a line on those that are not tested."""
    tested = [judgement for judgement in judgements if judgement.is_tested]
    primary = [judgement for judgement in tested if judgement.is_primary]
    others = [judgement for judgement in tested if not judgement.is_primary]
    blocks = [claims_table(primary, heads)] if primary else []
    blocks += [SECONDARY, claims_table(others, heads)] if others else []
    return [*blocks, *_untested(judgements)]


def _untested(judgements: Sequence[Judgement]) -> list[str]:
    """How many claims a profile cannot test, by reason, and in which metrics they are."""
    reasons: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if not judgement.is_tested:
            reasons.setdefault(difference(judgement), []).append(judgement)
    lines = []
    for reason, found in reasons.items():
        metrics = ", ".join(dict.fromkeys(lower(judgement.column.label) for judgement in found))
        count = "One more claim is" if len(found) == 1 else f"{len(found)} more claims are"
        lines.append(f"*{count} not tested: {reason} ({metrics}).*")
    return lines
