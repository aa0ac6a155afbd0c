"""The page of metrics: images made worse on purpose, verdicts in every direction, a small page from start to end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_world import RUN

from repro.harness.experiment import Column, ExperimentError, Row
from repro.harness.options import RunOptions
from repro.harness.records import load
from repro.harness.schema import Record, RecordError, RecordSet, Series
from repro.kinds.validity import keys, measure
from repro.kinds.validity.declare import Candidate, Condition, ValidityPage
from repro.kinds.validity.measure import run
from repro.kinds.validity.page import page
from repro.kinds.validity.result import Held, ValidityResult
from repro.kinds.validity.sources import blurred, compressed, others, shown_for, worsened
from repro.metrics.trials import UNDETERMINED
from repro.profiles import load_profile, mini
from repro.stages.images import image_inputs
from repro.validity import PAGE

CONDITIONS = (
    Condition("real", "Real", "real"),
    Condition("decoded", "Through the VAE", "decoded"),
    Condition("half", "Half resolution", "blur", 2),
    Condition("same", "One scene", "repeat"),
)
SCORE = Candidate(
    column=Column("score", "Score", better="higher"), orders=(("real", "half"), ("decoded", "half")), ceiling="real"
)
DISTANCE = Candidate(
    column=Column("distance", "Distance", better="lower"), orders=(("real", "half"),), ceiling="real", transparent=True
)
POWER = Candidate(column=Column("power", "Power"), orders=(), barred="its best value lies in the middle")
SPREAD = Candidate(
    column=Column("spread", "Spread", better="higher"), orders=(("real", "same"),), steady=("half",), against="same"
)
VALUES = {
    "score": {"real": 1.0, "decoded": 0.9, "half": 0.5, "same": 1.0},
    "distance": {"real": 5.0, "decoded": 9.0, "half": 20.0, "same": 5.0},
    "power": {"real": 1.0, "decoded": 0.5, "half": 0.1, "same": 1.0},
    "spread": {"real": 1.0, "decoded": 1.0, "half": 0.97, "same": 0.0},
}
SMALL = replace(
    PAGE,
    conditions=CONDITIONS,
    candidates=(SCORE, DISTANCE, POWER, SPREAD),
    floor_of="distance",
    kept_of="power",
    primary=("score", "distance", "spread"),
    worse=("real", "half"),
)
SAMPLED = replace(
    SMALL,
    conditions=(*CONDITIONS[:2], Condition("half", "Network", "sampled", row=Row("half", "Network")), CONDITIONS[3]),
)


def result(error: float = 0.01, *, experiment: ValidityPage = SMALL, **changes: float | None) -> ValidityResult:
    """Independent conditions, each with that standard error; ``score_half=0.9`` changes a value."""
    lines: list[Any] = [replace(RUN, table="validity", config={})]
    rng = np.random.default_rng(0)
    for metric, values in VALUES.items():
        for condition, usual in values.items():
            value = changes.get(f"{metric}_{condition}", usual)
            record = Record.of(RUN, condition, metric, value or 0.0)
            if value is None:
                lines.append(replace(record, value=None, note=UNDETERMINED))
                continue
            noise = rng.normal(size=20)
            noise = (noise - noise.mean()) / np.sqrt(19 / 20 * np.square(noise - noise.mean()).sum())
            lines.append(record)
            replicates = value + error * noise
            name = keys.without_group(metric)
            lines.append(Series.of(condition, name, replicates, over="replicate", digits=12))
    return ValidityResult(experiment, mini.PROFILE, RecordSet.of(lines))


def test_a_metric_that_orders_is_fit() -> None:
    found = result()
    assert [len(found.faults(candidate)) for candidate in SMALL.candidates] == [0, 0, 1, 0]
    real = found.number("real", "score")
    assert real is not None
    assert real.error == pytest.approx(0.01)
    contrast = found.contrast(DISTANCE, "real", "half")
    assert contrast is not None
    assert contrast.difference == 15  # lower is better
    assert contrast.errors == pytest.approx(15 / (0.01 * 2**0.5), rel=0.5)


@pytest.mark.parametrize(
    ("change", "candidate", "fault"),
    [
        ({"score_half": 0.9}, SCORE, "does not tell through the VAE from half resolution"),
        ({"score_half": 0.95}, SCORE, "calls through the VAE worse than half resolution"),
        ({"score_decoded": 1.1}, SCORE, "calls through the VAE better than its ceiling, real"),
        ({"score_half": None}, SCORE, "does not say how real compares with half resolution"),
        ({"distance_decoded": 11.0}, DISTANCE, "the VAE alone makes it 2.2 times its floor"),
        ({"spread_half": 0.8}, SPREAD, "is moved by half resolution 20 % as much as by one scene"),
        ({}, POWER, "its best value lies in the middle"),
    ],
)
def test_what_a_metric_must_not_do(change: dict[str, float | None], candidate: Candidate, fault: str) -> None:
    faults = result(**change).faults(candidate)
    assert faults
    assert faults[0].startswith(fault)


def test_noise_alone_moves_no_steady_metric() -> None:
    assert not result(error=0.2, spread_half=0.8).faults(replace(SPREAD, orders=()))


def test_bars_are_held_missed_or_open() -> None:
    assert result().distance_bar.held is Held.YES
    assert result().power_bar.held is Held.NO
    assert result(power_decoded=0.79).power_bar.held is Held.OPEN
    assert result(power_decoded=0.95).power_bar.held is Held.YES
    assert result(distance_decoded=11.0).distance_bar.held is Held.NO
    assert result().distance_bar.ratio == pytest.approx(1.8)


def test_a_changed_caption_has_no_ceiling() -> None:
    """Contours are measured on captioned objects: with one object less there are fewer to get wrong."""
    counted = Condition("decoded", "Other count", "real", change="count")
    changed = replace(SMALL, conditions=(CONDITIONS[0], counted, *CONDITIONS[2:]))
    assert result(experiment=SMALL, score_decoded=1.1).faults(SCORE)
    assert not result(experiment=changed, score_decoded=1.1).faults(SCORE)


def test_conditions_that_older_records_do_not_have_are_named() -> None:
    """A page of such records can be shown, and no metric passes on what was not measured."""
    colour = Condition("colour", "Other colour", "real", change="colour")
    asked = replace(SCORE, orders=(*SCORE.orders, ("real", "colour")))
    more = replace(SMALL, conditions=(*CONDITIONS, colour), candidates=(asked, DISTANCE, POWER, SPREAD))
    found = result(experiment=more)
    assert found.number("colour", "score") is None
    assert found.faults(asked) == ["was not tried on other colour"]
    assert found.unfit == ["score"]


def test_a_bar_without_its_numbers_is_an_error() -> None:
    with pytest.raises(RecordError, match="power of real images is not determined"):
        _ = result(power_real=None).power_bar


def test_bars_of_the_metrics_and_of_the_world() -> None:
    """Half resolution stands for the network that must be worse: 0.5 and 5 in the first two, 0.03 in the last."""
    found = result(experiment=SAMPLED, distance_decoded=5.0)
    assert found.unfit == []
    assert found.told_apart == ["score", "distance"]  # a spread of 0.03 is 2.1 standard errors
    room = found.room
    assert room is not None
    assert (room.metric, room.condition) == ("spread", "half")
    assert room.errors == pytest.approx(0.03 / (0.01 * 2**0.5), rel=0.5)
    assert result().room is None
    text = page(found, Path("nowhere"))
    bars = [line for line in text[text.index("## Bars") :].splitlines() if line.startswith("|")][2:]
    verdicts = [[cell.strip() for cell in line.split("|")][-2] for line in bars]
    assert verdicts == ["held", "held", "missed", "held", "missed"]
    assert "2 of 3 (score, distance)" in text


def test_a_world_whose_networks_were_not_measured() -> None:
    lost = result(experiment=SAMPLED, score_half=None)
    assert lost.told_apart is None
    line = next(line for line in page(lost, Path("nowhere")).splitlines() if line.startswith("| Of these"))
    assert [cell.strip() for cell in line.split("|")][-3:-1] == ["not measured", ""]


def test_whoever_samples_is_named() -> None:
    with pytest.raises(ValueError, match="condition t: a row samples the images of source 'sampled'"):
        Condition("t", "Teacher", "sampled")
    with pytest.raises(ValueError, match="condition r: a row samples"):
        Condition("r", "Real", "real", row=Row("teacher", "Teacher"))


def test_the_page_says_it_all(tmp_path: Path) -> None:
    text = page(result(score_decoded=1.1, spread_same=None), tmp_path)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    verdicts = text[: text.index("## Values")]
    row = next(line for line in verdicts.splitlines() if line.startswith("| Score"))
    assert "| no " in row
    assert "Calls through the VAE better than its ceiling, real" in row
    assert "| **yes** " in next(line for line in verdicts.splitlines() if line.startswith("| Distance"))
    assert "1.80 \u00b1 " in lines["Distance, real through the VAE by real"]
    assert lines["Distance, real through the VAE by real"].rstrip("| ").endswith("held")
    assert "\u2014" in next(line for line in text.splitlines() if line.startswith("| Spread \u2191"))


def test_margins_stand_beside_a_tenth_of_what_they_come_from(tmp_path: Path) -> None:
    column = mini.PROFILE.columns[0]
    candidate = replace(SCORE, column=replace(SCORE.column, key="score", digits=3), cost=("real", "half"))
    small = replace(SMALL, candidates=(candidate, *(one for one in SMALL.candidates if one is not SCORE)))
    found = result(experiment=small)
    profile = replace(mini.PROFILE, columns=(replace(column, key="score", margin=0.017), *mini.PROFILE.columns[1:]))
    text = page(ValidityResult(small, profile, found.records), tmp_path)
    real, half = found.number("real", "score"), found.number("half", "score")
    assert real is not None
    assert half is not None
    row = next(line for line in text.split("## Margins")[1].splitlines() if "half resolution against real" in line)
    assert [cell.strip() for cell in row.split("|")][3:5] == ["0.0170", f"{(real.value - half.value) / 10:.4f}"]
    assert "## Margins" not in page(result(), tmp_path)


def test_unknown_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="asks for conditions quarter, which it does not declare"):
        replace(SMALL, candidates=(replace(SCORE, orders=(("half", "quarter"),)),))


def gradient() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))


def test_blur_keeps_means_and_takes_the_highest_frequency() -> None:
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    assert (blurred(stripes, 2).float() - 127.5).abs().max() <= 0.5
    flat = torch.full((1, 3, 64, 64), 77, dtype=torch.uint8)
    assert torch.equal(blurred(flat, 4), flat)
    images = gradient()
    powers = [float(blurred(images, factor).float().var()) for factor in (2, 4)]
    assert float(images.float().var()) > 3 * powers[0] > 6 * powers[1]


def test_jpeg_loses_more_at_a_lower_quality() -> None:
    images = gradient()
    losses = [float((compressed(images, quality).float() - images.float()).square().mean()) for quality in (95, 50, 10)]
    assert losses[0] < losses[1] < losses[2]
    assert compressed(images, 95).shape == images.shape


def test_conditions_that_change_nothing_change_nothing() -> None:
    images = gradient()
    for condition in (CONDITIONS[0], CONDITIONS[3]):
        assert worsened(condition, images, lambda _: pytest.fail("no VAE asked for")) is images
    assert torch.equal(worsened(CONDITIONS[1], images, lambda levels: 255 - levels), 255 - images)


def test_whose_scene_is_shown() -> None:
    prompts = [{"caption": caption, "kind": kind} for caption, kind in zip("aabcdd", "xxyxyx", strict=True)]
    assert [prompt["caption"] for prompt in others(prompts)] == ["c", "c", "d", "d", "b", "a"]
    assert all(p["kind"] == o["kind"] for p, o in zip(prompts, others(prompts), strict=True))
    assert shown_for(CONDITIONS[3], prompts)[1] is prompts[0]
    assert shown_for(CONDITIONS[0], prompts) == prompts
    with pytest.raises(ValueError, match="no prompt of kind x has another caption than 'a'"):
        others(prompts[:2])


def test_sampled_images_follow_from_all_that_those_of_a_table_do(tmp_path: Path) -> None:
    options = RunOptions(out=tmp_path, work=tmp_path, command="test", device="cpu")
    own = ("pipeline", "adapter", "sampling")
    execution = replace(mini.EXECUTION, dtype="float64", encoding="webp")
    runners = [
        measure._Runner(SAMPLED, profile, options)
        for profile in (mini.PROFILE, replace(mini.PROFILE, execution=execution))
    ]
    prompts = runners[0].prompts
    expected = image_inputs({key: "" for key in own}, prompts, mini.EXECUTION, torch.device("cpu"), shard_size=50)
    found, other = (runner._config() for runner in runners)
    sampled = found["sampled"]["half"]
    assert {key: value for key, value in sampled.items() if key not in own} == {
        key: value for key, value in expected.items() if key not in own
    }
    assert (other["sampled"]["half"]["dtype"], other["sampled"]["half"]["encoding"]) == ("float64", "webp")
    assert found["device"] == "cpu"


@pytest.mark.slow
def test_a_small_page_from_start_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conditions = tuple(condition for condition in PAGE.conditions if condition.key not in ("teacher", "fullscale_6"))
    candidates = tuple(
        replace(candidate, orders=tuple(pair for pair in candidate.orders if "teacher" not in pair))
        for candidate in PAGE.candidates
    )
    sets, shared = (("short", 24), ("compositional", 12)), {"conditions": conditions, "candidates": candidates}
    shared["worse"] = ("real", "fullscale_2")
    small = replace(PAGE, images=sets, references=12, **shared)
    options = RunOptions(out=tmp_path / "out", work=tmp_path / "work", command="test", device="cpu")
    path = run(small, mini.PROFILE, options)
    found = ValidityResult(small, mini.PROFILE, load(path))
    value = {key: found.number(key, "scene_score") for key in ("real", "quarter", "wrong")}
    assert value["real"].value > 0.97 > 0.85 > value["quarter"].value > 0.5 > value["wrong"].value
    assert not found.faults(small.candidate("scene_score"))
    for change in ("colour", "shape", "relation", "count"):
        assert found.number(change, "scene_score").value < value["real"].value - 0.02
        assert found.number(change, "fid_e").value == pytest.approx(found.number("real", "fid_e").value)
    assert found.number("decoded", "detail").value == pytest.approx(0, abs=1e-6)
    assert found.number("same", "fid_e").value == pytest.approx(found.number("real", "fid_e").value, rel=0.1)
    assert "## Bars\n" in page(found, tmp_path / "out")
    before = path.read_bytes()
    run(small, mini.PROFILE, options)
    assert "nothing to do" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_world_without_metrics_to_try(tmp_path: Path) -> None:
    options = RunOptions(out=tmp_path, work=tmp_path, command="test")
    with pytest.raises(ExperimentError, match="the world of profile sd35-medium has no metrics to try"):
        run(PAGE, load_profile("sd35-medium"), options)
