"""Which row is the teacher of another: what a student is shown as a share of.

| row | its teacher |
|---|---|
| a student of the profile | the profile's teacher, or where no row is that, the same pipeline as a system |
| a system with weights on a base | the row that samples that base alone |
| all others | none |
"""

from collections.abc import Sequence

from repro.harness.experiment import Row
from repro.harness.profile import Profile


def teacher_of(row: Row, rows: Sequence[Row], profile: Profile) -> Row | None:
    """The row whose model a row was distilled from; None where that is not known or not among the rows."""
    if row.is_student:
        own = next((other for other in rows if other.is_whole_teacher), None)
        return own or _base_alone(profile.weights.pipeline, rows)
    if row.system is None or _is_alone(row):
        return None
    return _base_alone(row.system.base.repo, rows)


def _base_alone(repo: str, rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if _is_alone(row) and row.system and row.system.base.repo == repo), None)


def _is_alone(row: Row) -> bool:
    """Whether a system is its base without further weights."""
    return row.system is not None and len(row.system.sources) == 1
