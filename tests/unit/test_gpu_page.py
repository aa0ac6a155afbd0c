"""From records of a GPU to its page: aims, ratios and shares of numbers that are known."""

from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import RUN

from repro.gpu import PAGE
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import Aim
from repro.kinds.gpu.page import page
from repro.kinds.gpu.result import GpuResult
from repro.profiles.mini import PROFILE

MACHINE = {"device": "toy card", "cuda": "13.0", "versions": {}}
RATE = 500e12  # of the toy card's products
FLOPS = {"sd35-6": 25e12 / 1000, "sd35-full-6": 75e12 / 1000}  # 0.05 and 0.15 ms at that rate


def run(*, smoke: bool = False) -> Run:
    return replace(RUN, table="gpu", profile="mini", device="toy card", config={"smoke": smoke, "machine": MACHINE})


def times(variant: str, *milliseconds: float, metric: str = keys.SECONDS) -> Series:
    return Series.of(variant, metric, [1e-3 * one for one in milliseconds], over="round", unit="s")


def number(variant: str, metric: str, value: float, note: str = "") -> Record:
    return replace(Record.of(run(), variant, metric, value), note=note)


def failed(variant: str, error: str) -> Record:
    return replace(Record.of(run(), variant, keys.FAILED, 0.0, n=0), value=None, note=error)


def lines() -> list[Line]:
    """Eager 60 ms, dynamic 40 ms against 50 of diffusers; full scale at batch 8 in 1,500 ms, scale-wise in 520."""
    case = "sd35-medium", "sd35-6", 1
    found: list[Line] = [
        number(keys.matmul("bfloat16"), keys.RATE, RATE),
        number(keys.COPY, keys.RATE, 4e12),
        times(keys.sampling(*case, "plain"), 60, 61, 59),
        times(keys.sampling(*case, "plain"), 50, 50, 50, metric=keys.BASELINE),
        times(keys.sampling(*case, "dynamic"), 40, 39, 41),
        times(keys.sampling(*case, "dynamic"), 50, 52, 50, metric=keys.BASELINE),
        number(keys.sampling(*case, "dynamic"), keys.ONCE, 30.0),
        times(keys.sampling("sd35-medium", "sd35-6", 8, "dynamic"), 520),
        times(keys.sampling("sd35-medium", "sd35-full-6", 8, "dynamic"), 1500),
        times(keys.sampling("sd35-medium", "sd35-full-6", 8, "plain"), 1600),
        times(keys.sampling("sd35-medium", "sd35-6", 8, "plain"), 530),
    ]
    found += [
        number(keys.work("sampling", "sd35-medium", preset), keys.FLOPS, flops) for preset, flops in FLOPS.items()
    ]
    kernel = "rbf_mmd 8x4096x1536"
    for provider, milliseconds in (("eager", 12.0), ("compile", 8.0), ("triton", 4.0)):
        variant = keys.kernel(kernel, provider)
        found += [times(variant, milliseconds), number(variant, keys.FLOPS, 1e12)]
    gate = keys.kernel("gated_residual 8x4429x1536", "triton")
    found += [times(gate, 2.0), number(gate, keys.BYTES, 4e9)]
    found += [number(keys.kernel("rbf_mmd 1x65536x1536", "chunked"), keys.PEAK_BYTES, 1.2e9)]
    return [*found, times(keys.training("plain"), 4000, 5000), times(keys.training("lean"), 2000, 3000)]


def result(*more: Line, smoke: bool = False) -> GpuResult:
    return GpuResult(PAGE, PROFILE, RecordSet.of([run(smoke=smoke), *lines(), *more]))


def aim(kind: str) -> Aim:
    return next(one for one in PAGE.aims if one.kind == kind)


@pytest.mark.parametrize(
    ("kind", "value", "met"),
    [
        ("sampling", 40.0, True),  # of the fastest provider
        ("scalewise", 100 * (1500 / 520) / 3, True),  # of the one that is fastest at full scale
        ("kernel", 4.0, True),
        ("memory", 1.2, False),
        ("training", 0.55, True),  # the median of 0.5 and 0.6
    ],
)
def test_an_aim_is_held_against_its_number(kind: str, value: float, met: bool) -> None:
    found = result().aimed(aim(kind))
    assert found == pytest.approx(value)
    assert found is not None
    assert aim(kind).is_met(found) is met


def test_a_smoke_run_is_held_against_no_aim() -> None:
    found = result(smoke=True)
    assert [found.aimed(one) for one in PAGE.aims] == [None] * len(PAGE.aims)


def test_the_ratio_is_the_median_of_those_within_a_round() -> None:
    assert result().ratio(keys.sampling("sd35-medium", "sd35-6", 1, "dynamic")) == pytest.approx(40 / 50)
    assert result().ratio(keys.sampling("sd35-medium", "sd35-6", 8, "dynamic")) is None


def test_shares_of_the_roofline_are_by_flops_or_by_bytes() -> None:
    found, cases = result(), {case.name: case for case in PAGE.whole.kernels}
    assert found.roofline("peaks: copy", 1e12, "bfloat16") is None
    dynamic = keys.sampling("sd35-medium", "sd35-6", 1, "dynamic")
    assert found.roofline(dynamic, 10e12, "bfloat16") == pytest.approx(10e12 / RATE / 0.040)
    assert found.kernel_roofline(cases["rbf_mmd 8x4096x1536"], "triton") == pytest.approx(1e12 / RATE / 0.004)
    assert found.kernel_roofline(cases["gated_residual 8x4429x1536"], "triton") == pytest.approx(0.5)


def test_the_papers_times_stand_beside_those_of_table_3() -> None:
    found = result(times(keys.table("sd35-large", "teacher"), 4000.0))
    assert found.published("sd35-large", "teacher") == 4.42
    assert cells(page(found, Path()), "sd35-large | teacher")[2:4] == ["4,420", "4,000.0"]
    assert result(smoke=True).published("sd35-medium", "scalewise_6") is None


def test_compiling_costs_what_is_done_once_in_all_cases() -> None:
    dynamic = keys.sampling("sd35-medium", "sd35-6", 1, "dynamic")
    assert result().once([dynamic, keys.sampling("sd35-medium", "sd35-6", 1, "plain")]) == pytest.approx(30.0)


def cells(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if " ".join(line.split()).startswith(f"| {start}")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_page_shows_aim_limit_and_measured_side_by_side() -> None:
    text = page(result(), Path())
    assert cells(text, "SD3.5 Medium, `sd35-6`")[1:] == ["\u2264 48.0", "32.0", "40.0", "met"]
    assert cells(text, "SD3.5 Large, `sd35-6`")[1:] == ["\u2264 133.0", "96.0", "\u2014", "not measured"]
    assert cells(text, "RBF-MMD of 65,536")[1:] == ["\u2264 1.00", "\u2014", "1.20", "**missed**"]
    assert "**here**: toy card, CUDA 13.0" in text
    assert "smoke" not in text


def test_the_page_names_what_failed_and_why() -> None:
    errors = [
        failed(f"kernels: rbf_mmd, {provider}", "OutOfMemoryError: too\nlarge") for provider in ("eager", "compile")
    ]
    text = page(result(*errors, failed("training: ", "the part could not start")), Path())
    assert "- Failed: rbf_mmd, compile; rbf_mmd, eager: OutOfMemoryError: too large." in text
    assert "- Failed: the part: The part could not start." in text


def test_an_aim_is_a_most_or_a_least() -> None:
    with pytest.raises(ValueError, match="either a most or a least"):
        Aim(text="t", kind="training", of=(), most=1.0, least=1.0)
    assert Aim(text="t", kind="scalewise", of=(), least=95.0).is_met(95.0)
    assert not Aim(text="t", kind="scalewise", of=(), least=95.0).is_met(94.9)
