"""A kind of result from outside `repro/kinds`: found, asked, measured, shown and judged by nothing but its `Kind`."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import repro
from repro import __main__ as cli
from repro import experiments, figure1, kinds, table1, validity
from repro.harness.experiment import Experiment, Variant
from repro.kinds import kind_of

DICE = """
from dataclasses import dataclass, replace

from harness_world import RUN, record
from repro.harness.claim_words import claims_table
from repro.harness.claims import Comparison, NoComparison, Verdict, judge
from repro.harness.inference import Part, Spread
from repro.harness.experiment import Column, Experiment, Variant
from repro.harness.kind import Kind, UsageError
from repro.harness.options import RunOptions
from repro.harness.page import footer, joined
from repro.harness.records import RecordSet, save
from repro.harness.result import Measured
from repro.harness.scope import Scope

FACE = Column("face", "Face", digits=1)


@dataclass(frozen=True)
class Guess:
    key: str
    text: str
    at_least: float
    source: str = "nowhere"
    primary: bool = True
    statement: str = ""

    @property
    def scope(self):
        return Scope(rows=("die", self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dice(Experiment):
    sides: int
    claims: tuple = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiceOptions(RunOptions):
    throws: int


class Thrown(Measured):
    @property
    def judgements(self):
        return judge(self.experiment.claims, self.compare)

    def compare(self, claim):
        mean = self.value("die", "face")
        if claim.at_least > self.experiment.sides:
            return FACE, NoComparison(Verdict.NOT_TESTED, "no die has such a face")
        gap = mean - claim.at_least
        spread = Spread((Part(0.05**2, 50.0),))
        return FACE, Comparison(difference=gap, spread=spread, kind="better", n=self.records.records[0].n)


def add_arguments(parser):
    parser.add_argument("--throws", type=int, default=6)


def make_options(dice, profile, typed, common):
    if typed.throws < 1:
        raise UsageError(f"--throws must be at least 1, got {typed.throws}")
    return DiceOptions.extending(common, throws=typed.throws)


def run(dice, profile, options):
    mean = sum(1 + throw % dice.sides for throw in range(options.throws)) / options.throws
    opened = replace(RUN, table=dice.key, profile=profile.name, command=options.command)
    lines = [opened, record("die", "", "face", mean, table=dice.key, profile=profile.name, n=options.throws)]
    return save(options.out / "records" / f"{profile.stem(dice.key)}.jsonl", RecordSet.of(lines))


def page(result, folder):
    table = claims_table(result.judgements, ("Verdict", "Claim", "Difference", "Rounds"))
    return joined([f"# {result.title}", result.experiment.question, table, *footer(result)])


KIND = Kind(
    name="dice",
    declaration=Dice,
    run=run,
    result=Thrown,
    page=page,
    add_arguments=add_arguments,
    make_options=make_options,
)
CLAIMS = (Guess("high", "A die shows 3 on the average", 3.0), Guess("higher", "A die shows 9 on the average", 9.0))
CUBE = Dice(key="dice", title="Dice", question="What does a die show?", sides=6, claims=CLAIMS)
COIN = replace(CUBE, key="dice_coin", title="Coins", sides=2, variant=Variant("dice", "coin", "two sides instead"))
"""


@pytest.fixture
def dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of a stranger, in a folder of their own; results go below `tmp_path`."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "dice.py").write_text(DICE)
    monkeypatch.setattr(repro, "__path__", [*repro.__path__, str(folder)])
    monkeypatch.setattr(kinds, "_registered", [])
    monkeypatch.setattr(cli, "_root", lambda: tmp_path)
    module = import_module("repro.dice")
    kinds.register(module.KIND)
    yield module
    del sys.modules["repro.dice"], repro.dice  # type: ignore[attr-defined]


def unpadded(page: str) -> str:
    return "\n".join(" ".join(line.split()) for line in page.splitlines())


def test_it_is_listed_and_helped(dice: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert re.search("^dice +Dice$", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "measure and render dice" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["dice", "--help"])
    told = capsys.readouterr().out
    assert "--throws" in told
    assert "two sides instead" in told


def test_it_measures_renders_and_is_judged(
    dice: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["dice", "--throws", "12"]) == 0
    told = capsys.readouterr().out
    assert "reproduced: A die shows 3 on the average. Difference: +0.5 [+0.4, +0.6]; Rounds: 12\n" in told
    assert "not tested: A die shows 9 on the average. Difference: no die has such a face\n" in told
    index = unpadded((tmp_path / "paper_tables" / "README.md").read_text(encoding="utf-8"))
    assert "| **reproduced** | A die shows 3 on the average | nowhere | better | Face | [dice](dice.md) |" in index
    assert "| [Dice](dice.md) | `mini` | 2025-03-24 | 1 of 1 |" in index
    assert cli.main(["render", "--check"]) == 0


def test_a_variant_is_an_option_of_the_command(dice: ModuleType, tmp_path: Path) -> None:
    assert cli.main(["dice", "--coin"]) == 0
    page = (tmp_path / "paper_tables" / "dice_coin.md").read_text(encoding="utf-8")
    assert "nox -s dice -- --coin\n" in page
    assert "no die has such a face" in page


def test_its_options_are_checked_before_any_work(
    dice: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dice", "--throws", "0"]) == 2
    assert "--throws must be at least 1, got 0" in capsys.readouterr().err
    assert not (tmp_path / "paper_tables").exists()


def test_two_kinds_share_neither_name_nor_declaration(dice: ModuleType) -> None:
    for twin in (replace(dice.KIND, name="other"), replace(dice.KIND, declaration=Experiment)):
        with pytest.raises(ValueError, match="kind 'dice'"):
            kinds.register(twin)


def test_an_experiment_of_no_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="Experiment is no declaration of a kind"):
        kind_of(Experiment(key="lost", title="Lost", question="Whose?"))


def test_two_experiments_never_share_a_key(dice: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dice, "COIN", replace(dice.COIN, key="table2"))
    with pytest.raises(ValueError, match="another experiment has the key 'table2'"):
        experiments()


def test_every_folder_of_kinds_is_one() -> None:
    names = {path.parent.name for path in Path(kinds.__file__).parent.glob("*/__init__.py")}
    assert {kind.name for kind in kinds.kinds()} >= names
    assert {kind_of(experiment).name for experiment in experiments().values()} == names


def test_words_of_a_variant_are_not_what_is_measured() -> None:
    lone = Experiment(key="a_b", title="t", question="q")
    variant = replace(lone, variant=Variant("a", "b", "help"))
    assert (lone.command, variant.command) == (("a_b",), ("a", "--b"))
    assert lone.content == variant.content


@pytest.mark.parametrize(
    "changed",
    [
        replace(table1.EXTENDED, contrasts=(), notes=("n",), title="t", published_notes=("p",)),
        replace(figure1.FIGURE, calibration=None, derived=(), reading="r", question="q"),
        replace(validity.PAGE, separation=4.0, primary=("scene_score",), notes=()),
    ],
    ids=lambda changed: changed.key,
)
def test_nothing_is_measured_again_for_what_only_the_page_reads(changed: Experiment) -> None:
    declared = experiments()[changed.key]
    assert changed != declared
    assert changed.content == declared.content


def test_what_is_measured_is_part_of_what_numbers_follow_from() -> None:
    fewer = (
        replace(table1.TABLE, cells=table1.TABLE.cells[:2]),
        replace(figure1.FIGURE, timesteps=(250,)),
        replace(validity.PAGE, candidates=validity.PAGE.candidates[:-1], kept_of="fid_e"),
        replace(validity.PAGE, references=validity.PAGE.references + 1),
    )
    assert all(changed.content != experiments()[changed.key].content for changed in fewer)
