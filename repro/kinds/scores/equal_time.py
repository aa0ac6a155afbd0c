"""Two students at equal measured latency: a candidate against what its baseline would be with as much time.

Latencies of few-step students are far apart, so the baseline at the candidate's latency t is on the line between two
of its rows, t_0 <= t <= t_1 in mean seconds of the table's clock (`clock.mean_time`): with
w = (t - t_0) / (t_1 - t_0), every value q of an image or of a whole set is

    q = (1 - w) q_0 + w q_1,

as if a share w of the images were drawn by the slower row. A candidate that is faster than both is compared with the
faster one, w = 0, which favours the baseline by the time that it has in addition. The uncertainty of w, a few percent
of a small difference, is left out.
"""

from dataclasses import replace

from repro.harness.clock import FEWEST_ROUNDS, mean_time
from repro.harness.effects import without_group
from repro.harness.experiment import Row
from repro.harness.schema import Line, PerImage, RecordSet, Series
from repro.kinds.scores.costs import SECONDS
from repro.kinds.scores.declare import Check, Table

BLEND = "baseline at equal latency"
"""Key of the row that is made."""


def share_of_slower(check: Check, records: RecordSet) -> float | str:
    """The share w of the slower row, 0 for a candidate that is faster than both; why there is none else."""
    rows = (check.baseline, check.candidate, check.slower)
    series = [records.find_series(row, SECONDS) for row in rows]
    timed = [one for one in series if one is not None and len(one.values) >= FEWEST_ROUNDS]
    seconds = [mean_time(one.values)[0] for one in timed]
    if len(seconds) < len(rows):
        return f"{', '.join(rows)} were not all timed"
    first, own, last = seconds
    if own > last or first >= last:
        between = f"{check.baseline} ({first:.4f}) and {check.slower} ({last:.4f})"
        return f"{check.candidate} takes {own:.4f} s, not between {between}"
    return max(own - first, 0.0) / (last - first)


def words(check: Check, share: float) -> str:
    """What a page says beside the difference: with which mixture the candidate was compared."""
    if share == 0:
        return f"no slower than {check.baseline}, so compared with that"
    return f"against {1 - share:.0%} {check.baseline} and {share:.0%} {check.slower}"


def blended(check: Check, metric: str, share: float, records: RecordSet) -> RecordSet:
    """The records with the row ``BLEND`` added in one metric, of the training seeds that both rows have."""
    lines: list[Line] = [*records.lines, *_images(check, metric, share, records), *_sets(check, metric, share, records)]
    return RecordSet.of(lines)


def against_blend(check: Check, table: Table) -> tuple[Check, Table]:
    """The check with ``BLEND`` for its baseline, and the table that has such a row."""
    row = Row(BLEND, "Full-scale at equal latency", train=table.row(check.baseline).train)
    return replace(check, baseline=BLEND, slower=""), replace(table, rows=(*table.rows, row))


def _images(check: Check, metric: str, share: float, records: RecordSet) -> list[Line]:
    """Values per image; none for an image that either row has none of."""
    found: dict[tuple[str, int], dict[str, PerImage]] = {}
    for line in records.per_image:
        if line.metric == metric:
            found.setdefault((line.prompts, line.seed), {})[line.variant] = line
    made: list[Line] = []
    for (prompts, seed), by_row in found.items():
        if {check.baseline, check.slower} <= by_row.keys():
            pairs = zip(by_row[check.baseline].values, by_row[check.slower].values, strict=True)
            values = tuple(None if a is None or b is None else (1 - share) * a + share * b for a, b in pairs)
            made.append(PerImage(variant=BLEND, prompts=prompts, metric=metric, seed=seed, values=values))
    return made


def _sets(check: Check, metric: str, share: float, records: RecordSet) -> list[Line]:
    """Numbers of whole sets with their replicates."""
    made: list[Line] = []
    for first in records.records:
        if (first.variant, first.metric) != (check.baseline, metric) or first.value is None:
            continue
        others = records.find(check.slower, first.prompts, metric)
        last = next((one for one in others if one.seed == first.seed and one.value is not None), None)
        if last is None or last.value is None:
            continue
        value = (1 - share) * first.value + share * last.value
        made.append(replace(first, variant=BLEND, value=value, ci_low=None, ci_high=None, n=min(first.n, last.n)))
        name = without_group(metric, first.prompts, first.seed)
        a, b = (records.find_series(row, name) for row in (check.baseline, check.slower))
        if a is not None and b is not None:
            values = tuple((1 - share) * x + share * y for x, y in zip(a.values, b.values, strict=True))
            made.append(Series(variant=BLEND, metric=name, over=a.over, values=values, n=min(a.n, b.n)))
    return made
