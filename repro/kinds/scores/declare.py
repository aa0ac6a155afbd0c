"""What a table of scores is, as data: rows to measure, claims to test, published numbers to show beside."""

from dataclasses import dataclass

from repro.harness.experiment import Claim, Experiment, Reported, Row, UnknownNameError


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Experiment):
    """A table of the paper: rows to measure, claims to test, published numbers to show beside.

    Raises:
        ValueError: two rows or claims share a key, or a claim names a row that is not there.
    """

    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    reported: Reported | None = None

    def __post_init__(self) -> None:
        keys = [row.key for row in self.rows]
        for kind, names in (("row", keys), ("claim", [claim.key for claim in self.claims])):
            if len(set(names)) < len(names):
                raise ValueError(f"{self.key}: {kind} keys repeat: {sorted(names)}")
        for claim in self.claims:
            if strangers := {claim.check.candidate, claim.check.baseline} - set(keys):
                raise ValueError(f"{self.key}: claim {claim.key!r} names unknown rows {sorted(strangers)}")

    def row(self, key: str) -> Row:
        """The row of that key.

        Raises:
            UnknownNameError: no such row.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise UnknownNameError(f"row of {self.key}", key, [row.key for row in self.rows])
