"""The margin of Figure 1's rule: closed form against swd.spectra, halves, the fit, and its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.figure1 import CALIBRATION, FIGURE
from repro.harness import records
from repro.harness.experiment import Column
from repro.harness.files import ROOT
from repro.harness.schema import Curve, Line, Record, RecordSet, Run, Series
from repro.kinds.spectra import keys
from repro.kinds.spectra.calibration import calibrate, critical_margin, safe_side
from repro.kinds.spectra.declare import Calibration
from repro.kinds.spectra.page import page
from repro.kinds.spectra.result import SpectraResult
from repro.kinds.upscaling import keys as upscaling
from repro.profiles.mini import PROFILE
from repro.table1 import EXTENDED
from swd import spectra

RINGS = np.arange(17) / 32
POWER = 20.0 * (1 + np.arange(17.0)) ** -2
CLEAN = Curve(
    variant="scenes", metric=keys.CLEAN, x=tuple(RINGS.tolist()), y=tuple(POWER.tolist()), error=(0.0,) * 17, n=100
)
SPECTRUM = spectra.Spectrum(torch.tensor(POWER), torch.tensor(RINGS), torch.ones(17), (32, 32))
METRIC = Column("d", "D", better="lower", role="distribution", margin=3.0, digits=1)
TINY = Calibration(
    table="other", panel="scenes", full="A", cells=(("B_8", 0.25), ("B_16", 0.5)), timesteps=(400, 600),
    margins=(1.0, 2.0, 4.0, 8.0, 16.0),
)  # fmt: skip


def line(cell: str, metric: str, value: float) -> Record:
    return Record(
        table="other", variant=cell, prompts="", profile="mini", seed=0, metric=metric, value=value, n=300,
        ci_low=None, ci_high=None, unit="", run="r",
    )  # fmt: skip


def measured(losses: dict[tuple[str, int], tuple[float, float]], metric: str = "d") -> list[Line]:
    """Records of a mean over 20 groups: group g of A has g, a cell adds its loss on either half."""
    lines: list[Line] = []
    full = np.arange(20.0)
    cells = {("A", t): (0.0, 0.0) for _, t in losses} | losses
    for (cell, timestep), (first, second) in cells.items():
        groups = full + np.repeat((first, second), 10)
        without = (groups.sum() - groups) / 19
        key = f"{metric}_t{timestep}"
        lines.append(line(cell, key, float(groups.mean())))
        lines.append(Series.of(cell, f"{key}_without_block", without, over="replicate", n=300, digits=9))
    return lines


@pytest.mark.parametrize("side", [2, 8, 16, 30])
@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.8])
def test_the_critical_margin_is_where_the_rule_turns(side: int, sigma: float) -> None:
    margin = critical_margin(CLEAN, side, sigma)
    assert spectra.safe_sigma(SPECTRUM, side, margin=margin) == pytest.approx(sigma, abs=1e-6)
    assert spectra.safe_side(SPECTRUM, sigma, margin=margin * 0.999) <= side
    assert spectra.safe_side(SPECTRUM, sigma, margin=margin * 1.001) > side


@pytest.mark.parametrize("sigma", [0.1, 0.45, 0.6, 0.95])
@pytest.mark.parametrize("margin", [1.0, 3.0, 40.0])
def test_safe_sides_are_those_of_the_library(sigma: float, margin: float) -> None:
    assert safe_side(CLEAN, sigma, margin) == pytest.approx(spectra.safe_side(SPECTRUM, sigma, margin=margin))


def test_the_full_side_never_loses() -> None:
    assert critical_margin(CLEAN, 32, 0.3) == float("inf")
    with pytest.raises(ValueError, match=r"sigma lies in \(0, 1\), got 1\.0"):
        critical_margin(CLEAN, 8, 1.0)


def test_of_a_mean_pseudo_values_are_the_groups_themselves() -> None:
    found = calibrate(TINY, CLEAN, RecordSet.of(measured({("B_8", 400): (5.0, -2.0)})), METRIC)
    assert found is not None
    (trial,) = found.trials
    assert trial.losses == pytest.approx((5.0, -2.0), abs=1e-4)
    assert (trial.side, trial.timestep) == (8, 400)


def test_the_smallest_margin_with_most_hits_is_chosen_on_the_first_half_alone() -> None:
    criticals = {
        (c, t): critical_margin(CLEAN, 8 if c == "B_8" else 16, t / 1000) for c in ("B_8", "B_16") for t in (400, 600)
    }
    by_margin = sorted(criticals, key=lambda name: criticals[name])
    planted = {name: (10.0, 0.0) for name in by_margin[:2]} | {name: (0.0, 10.0) for name in by_margin[2:]}
    found = calibrate(TINY, CLEAN, RecordSet.of(measured(planted)), METRIC)
    assert found is not None
    fitting = [m for m in TINY.margins if criticals[by_margin[1]] < m <= criticals[by_margin[2]]]
    assert fitting
    assert found.margin == fitting[0]
    assert (found.hits(found.margin, 0), found.hits(found.margin, 1)) == (4, 0)  # the second half says the opposite


def test_a_loss_is_more_than_the_margin_of_the_metric() -> None:
    for loss, expected in ((2.9, 1.0), (3.1, 2.0)):
        lines = measured({("B_8", 400): (loss, loss)})
        found = calibrate(replace(TINY, margins=(1.0, 2.0, 4.0)), _scaled(1.5), RecordSet.of(lines), METRIC)
        assert found is not None
        assert found.margin == expected


def _scaled(critical: float) -> Curve:
    """A spectrum by which side 8 at t = 400 loses beyond this margin."""
    factor = critical_margin(CLEAN, 8, 0.4) / critical
    return replace(CLEAN, y=tuple(factor * power for power in CLEAN.y))


@pytest.mark.parametrize(
    ("metric", "lines"),
    [
        (replace(METRIC, margin=None), measured({("B_8", 400): (5.0, 5.0)})),
        (replace(METRIC, key="other"), measured({("B_8", 400): (5.0, 5.0)})),
        (METRIC, [line("A", "d_t400", 1.0), line("B_8", "d_t400", 2.0)]),
    ],
    ids=["no margin", "another metric", "no replicates"],
)
def test_what_cannot_be_calibrated_is_not(metric: Column, lines: list[Line]) -> None:
    assert calibrate(TINY, CLEAN, RecordSet.of(lines), metric) is None


def test_the_declaration_names_cells_and_keys_of_table_1_extended() -> None:
    cells = {cell.key: cell for cell in EXTENDED.cells}
    assert CALIBRATION.table == EXTENDED.key
    assert CALIBRATION.timesteps == EXTENDED.timesteps
    assert {name: cells[name].side / cells["A"].side for name, _ in CALIBRATION.cells} == dict(CALIBRATION.cells)
    distance = upscaling.distance("fid_e", 400)
    assert CALIBRATION.distance.format(metric="fid_e", timestep=400) == distance
    assert CALIBRATION.replicates.format(distance=distance) == upscaling.without_block(distance)


def shown(tmp_path: Path, lines: list[Line]) -> str:
    profile = replace(PROFILE, columns=(METRIC,))
    if lines:
        own = run()
        lines = [replace(it, run=own.run, table=own.table) if isinstance(it, Record) else it for it in lines]
        records.save(tmp_path / "records" / "table1_extended.jsonl", RecordSet.of([own, *lines]))
    return page(SpectraResult(FIGURE, profile, RecordSet.of([CLEAN, replace(CLEAN, variant="pixels")])), tmp_path)


def run() -> Run:
    return next(iter(records.load(ROOT / "paper_tables/records/table1_extended.jsonl").runs))


def test_the_page_prints_the_margin_and_its_held_out_hits(tmp_path: Path) -> None:
    losing = {(f"B_{side}", t): (9.0, 8.0) for side in (8, 16) for t in (400, 600)}
    safe = {(f"B_{side}", 800): (0.2, -0.3) for side in (8, 16)}
    text = shown(tmp_path, measured(losing | safe))
    assert "**The calibrated margin is " in text
    assert "of 6 on the half that was held out" in text
    assert "| Safe by margin" in text
    sides = text[text.index("| Safe by margin") :].split("\n\n")[0].splitlines()
    assert len(sides) == 3  # the latents that the margin is fitted to, and no others
    assert "is not untouched" in text
    assert text.count(" hit |") + text.count(" miss |") == 6


def test_the_page_says_where_nothing_was_calibrated(tmp_path: Path) -> None:
    assert "Not calibrated: table1_extended has not been measured" in shown(tmp_path, [])
