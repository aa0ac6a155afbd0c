"""Tests claims about scores: differences of two rows over captions, and over training seeds where several.

A claim compares a candidate row with a baseline row in the profile's metric of a role, set by set of the prompts;
what is judged is the mean of the sets' differences, oriented so that positive favours the candidate. Metrics with a
value per image are compared on the images that have one in both rows, metrics of a whole set by the replicates of a
jackknife over groups of captions. How sure a difference is: `repro.harness.inference`.

Students are compared seed by seed, with the training seeds that both have; a row that is no student (the teacher, a
published system) is the same for every seed. Students that share no seed are independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.harness.claims import Compared, Comparison, NoComparison, Verdict, fixed_margin
from repro.harness.clock import compared_times
from repro.harness.effects import captions_of, effects_of_sets, effects_of_values, image_values
from repro.harness.experiment import ROLES, Column
from repro.harness.inference import Effects, averaged, difference
from repro.harness.profile import Profile
from repro.harness.schema import PerImage, Record, RecordError, RecordSet
from repro.kinds.scores.costs import SECONDS
from repro.kinds.scores.declare import Check, Claim, Faster, Table
from repro.kinds.scores.equal_time import against_blend, blended, share_of_slower, words


def tested(claim: Claim, table: Table, profile: Profile, records: RecordSet) -> Compared:
    """Compare the two rows of a claim in the profile's metric of its role.

    Raises:
        ExperimentError: a claim of *not worse* in a metric without a margin.
        RecordError: the two rows have per-image values of different prompts.
    """
    if isinstance(claim.check, Faster):
        return _timed(claim.check, records)
    role = claim.check.role
    column = next((column for column in profile.columns if column.role == role), None)
    if column is None:
        reason = f"{profile.title} has no metric of this"
        return Column(role, ROLES[role]), NoComparison(Verdict.NOT_TESTED, reason)
    margin = fixed_margin(claim.check.kind, column, f"claim {claim.key!r} of {table.key} in profile {profile.name}")
    if not claim.check.slower:
        return column, _Pair(claim.check, column, table, profile, records).compared(margin)
    share = share_of_slower(claim.check, records)
    if isinstance(share, str):
        return column, NoComparison(Verdict.NOT_MEASURED, share)
    check, wider = against_blend(claim.check, table)
    found = _Pair(check, column, wider, profile, blended(claim.check, column.key, share, records)).compared(margin)
    return column, replace(found, note=words(claim.check, share)) if isinstance(found, Comparison) else found


def _timed(check: Faster, records: RecordSet) -> Compared:
    """The mean log ratio of the two rows' seconds in rounds of the same number, less that of the factor.

    Rows of one network take turns, so a round is one moment; published pipelines are timed one after the other, and
    then it is not: the page says so.
    """
    slow, fast = (records.find_series(row, SECONDS) for row in (check.baseline, check.candidate))
    missing = f"{check.candidate} and {check.baseline} were not both timed"
    return compared_times(slow, fast, missing=missing, ratio=check.factor)


Sides = tuple[Effects, Effects | None]
"""Candidate and baseline, or their paired difference alone."""


@dataclass(frozen=True)
class _Pair:
    """The two rows of a check in one metric."""

    check: Check
    column: Column
    table: Table
    profile: Profile
    records: RecordSet

    def compared(self, margin: float | None) -> Comparison | NoComparison:
        """The mean of the sets' differences; why there is none where a set lacks one."""
        if reason := self._apart():
            return NoComparison(Verdict.NOT_MEASURED, reason)
        declared = (prompts.key for prompts in self.profile.prompt_sets)
        sets = self.check.prompts or tuple(prompts for prompts in declared if self.column.is_of(prompts))
        found = [self._of_images(prompts) or self._of_sets(prompts) for prompts in sets]
        sides = [one for one in found if one is not None]
        if not sides or len(sides) < len(found):
            return NoComparison(Verdict.NOT_MEASURED, self._missing(sets))
        try:
            first = averaged([side for side, _ in sides])
            second = averaged([side for _, side in sides if side is not None]) if sides[0][1] else None
            gap, spread = (first.value, first.spread()) if second is None else difference(first, second)
        except ValueError as error:
            raise RecordError(f"{self.check.candidate} and {self.check.baseline}, {self.column.key}: {error}") from None
        rows = [self.table.row(row) for row in self._rows]
        trained = any(row.is_student or row.system is not None for row in rows)  # a published system: once
        return Comparison(
            difference=self.column.sign * gap,
            spread=spread,
            kind=self.check.kind,
            margin=margin,
            n=first.n,
            captions=first.groups if second is None else None,
            seeds=max(len(side.seeds) for side in (first, second or first)) if trained else None,
            differs=gap != 0 or spread.error > 0,
        )

    @property
    def _rows(self) -> tuple[str, str]:
        return self.check.candidate, self.check.baseline

    def _of_images(self, prompts: str) -> Sides | None:
        lines = [self.records.values(row, prompts, self.column.key) for row in self._rows]
        if not all(lines):
            return None
        first, second = self._matched(*([line.seed for line in side] for side in lines))
        values = [
            image_values([line for line in side if line.seed in kept])
            for side, kept in zip(lines, (first, second), strict=True)
        ]
        if len({side.shape[1] for side in values}) > 1:
            counts = f"{values[0].shape[1]} and {values[1].shape[1]}"
            rows = f"{self.check.candidate} and {self.check.baseline}"
            raise RecordError(f"{rows}: {counts} per-image values of {self.column.key} cannot be paired")
        captions = captions_of(self.records, prompts)
        if first == second or 1 in {len(first), len(second)}:
            paired = effects_of_values(values[0] - values[1], captions, max(first, second, key=len))
            return None if paired is None else (paired, None)
        sides = [effects_of_values(side, captions, kept) for side, kept in zip(values, (first, second), strict=True)]
        return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])

    def _of_sets(self, prompts: str) -> Sides | None:
        sides = [effects_of_sets(self.records, row, prompts, self.column.key) for row in self._rows]
        if sides[0] is None or sides[1] is None:
            return None
        first, second = self._matched(sides[0].seeds, sides[1].seeds)
        return sides[0].among(first), sides[1].among(second)

    def _matched(self, first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Seeds that are compared: of two students those that both have, if they have any."""
        shared = tuple(seed for seed in first if seed in set(second))
        if shared and all(self.table.row(row).is_student for row in self._rows):
            return shared, shared
        return tuple(first), tuple(second)

    def _apart(self) -> str:
        """Why two students cannot be compared whose seeds differ: of a single one nobody knows how seeds vary."""
        if not all(self.table.row(row).is_student for row in self._rows):
            return ""
        # records of costs carry no training seed
        lines: list[Record | PerImage] = [*self.records.records, *self.records.per_image]
        scores = [line for line in lines if line.metric == self.column.key and line.prompts and not _is_empty(line)]
        seeds = [{line.seed for line in scores if line.variant == row} for row in self._rows]
        if any(len(side) == 1 for side in seeds) and not seeds[0] & seeds[1] and all(seeds):
            return f"{self.check.candidate} and {self.check.baseline} share no training seed, and one has one alone"
        asked = {line.seed for line in lines if line.metric == self.column.key and line.variant in self._rows}
        if len(seeds[0] & seeds[1]) == 1 < len(asked):
            return f"{self.check.candidate} and {self.check.baseline} share one of {len(asked)} training seeds alone"
        return ""

    def _missing(self, sets: Sequence[str]) -> str:
        """Which row has nothing to compare."""
        for row in self._rows:
            for prompts in sets:
                has_values = self.records.values(row, prompts, self.column.key)
                if not has_values and effects_of_sets(self.records, row, prompts, self.column.key) is None:
                    return f"{row} has no {self.column.label} of single images or groups of them"
        return f"{self.check.candidate} and {self.check.baseline} have too few captions to be compared"


def _is_empty(line: Record | PerImage) -> bool:
    """A record of a number that there is none of, such as those of a student that diverged."""
    return isinstance(line, Record) and line.value is None
