"""Table 1: how x_t is built, its claims, and the table measured on a few images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.harness import render
from repro.harness.claim_words import difference
from repro.harness.claims import Judgement, Verdict, judge
from repro.harness.experiment import ExperimentError
from repro.harness.files import digest_json
from repro.harness.profile import Profile
from repro.harness.records import Record, RecordSet, Series, load
from repro.harness.scope import ClaimKind
from repro.kinds import kind_of
from repro.kinds.upscaling import measure as upscaling
from repro.kinds.upscaling.declare import Cell, Contrast, Order, distance_column
from repro.kinds.upscaling.distances import groups_of
from repro.kinds.upscaling.latents import noisy_latents
from repro.kinds.upscaling.options import UpscalingOptions
from repro.kinds.upscaling.result import tested
from repro.metrics.fid import (
    Reference,
    Sample,
    frechet_distance,
    in_turn,
    jackknife,
    jackknife_replicates,
)
from repro.metrics.jackknife import jackknife_error
from repro.profiles.smoke import PROFILE
from repro.table1 import EXTENDED, TABLE
from swd.growth import keep_low, replace_low
from swd.resize import downscale_area, upscale
from swd.sampler import draw_noise, seed_rngs

TINY = replace(TABLE, images=8, cells=(*TABLE.cells, Cell("D", 16), Cell("E", 16)))
FID_E = distance_column(PROFILE)


def halve(images: torch.Tensor) -> torch.Tensor:
    """Stands in for a VAE of factor 2."""
    return downscale_area(images, (images.shape[-2] // 2, images.shape[-1] // 2))


def build(cell: Cell, sigma: float, seeds: tuple[int, ...] = (3, 4)) -> torch.Tensor:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return noisy_latents(cell, images, halve, factor=2, sigma=sigma, seeds=seeds)


def test_without_noise_the_orders_b_and_c_are_one() -> None:
    torch.testing.assert_close(build(Cell("B", 16), 0.0), build(Cell("C", 16), 0.0))
    assert not torch.allclose(build(Cell("B", 16), 0.5), build(Cell("C", 16), 0.5), atol=0.1)


def test_a_b_and_d_share_noise_and_c_blurs_it() -> None:
    noise = draw_noise(seed_rngs((3, 4)), (3, 32, 32), "cpu")
    for cell in (Cell("A", 32), Cell("B", 16), Cell("D", 16), Cell("D", 8)):
        torch.testing.assert_close(build(cell, 1.0), noise)
    assert build(Cell("C", 16), 1.0).std() < 0.9  # interpolated noise is not white


def test_d_is_the_low_frequencies_of_the_small_latent_at_the_level_of_the_table() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = halve(downscale_area(images, (32, 32)))
    noise = draw_noise(seed_rngs((3, 4)), (3, 32, 32), "cpu")  # A's own
    signal = replace_low(torch.zeros(2, 3, 32, 32), 2 * small)  # twice the side, twice the coefficient
    torch.testing.assert_close(build(Cell("D", 16), 0.6), 0.4 * signal + 0.6 * noise)


def test_e_lifts_the_estimate_and_keeps_the_noise_that_it_implies() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    asked: list[float] = []

    def estimate(x_t: torch.Tensor, sigma: float) -> torch.Tensor:
        asked.append(sigma)
        return 0.9 * x_t

    found = noisy_latents(
        Cell("E", 16), images, halve, factor=2, sigma=0.5, seeds=(3, 4), estimate=estimate
    )  # fmt: skip
    drawn = draw_noise(seed_rngs((3, 4)), (3, 32, 32), "cpu")
    x_t = 0.5 * halve(downscale_area(images, (32, 32))) + 0.5 * keep_low(drawn, (16, 16))
    noise = replace_low(drawn, 2 * (x_t - 0.45 * x_t))
    torch.testing.assert_close(found, 0.5 * upscale(0.9 * x_t, (32, 32), "bicubic") + 0.5 * noise)
    assert asked == [0.5]


def test_with_the_true_small_latent_e_has_the_noise_of_the_full_side() -> None:
    """As A and B have it: then rows differ in the signal alone."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = halve(downscale_area(images, (32, 32)))
    cell, seeds = Cell("E", 16), (3, 4)
    found = noisy_latents(
        cell, images, halve, factor=2, sigma=0.6, seeds=seeds, estimate=lambda *_: small
    )  # fmt: skip
    torch.testing.assert_close(found, build(Cell("B", 16), 0.6), rtol=1e-4, atol=1e-5)


def test_e_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="order E lifts the teacher's estimate, got none"):
        build(Cell("E", 16), 0.5)


@pytest.mark.parametrize("order", ["A", "B", "D"])
def test_pure_noise_is_white_in_every_order_that_draws_it_at_the_full_side(order: Order) -> None:
    noise = build(Cell(order, 32 if order == "A" else 8), 1.0, seeds=tuple(range(2)))
    assert noise.std() == pytest.approx(1.0, abs=4 / (2 * noise.numel()) ** 0.5)


def test_every_image_has_its_own_noise() -> None:
    both, second = build(Cell("B", 16), 0.6), build(Cell("B", 16), 0.6, seeds=(9, 4))
    torch.testing.assert_close(both[1], second[1])
    assert not torch.allclose(both[0], second[0])


def test_keys_tell_every_row_apart() -> None:
    keys = [cell.key for cell in EXTENDED.cells]
    assert len(set(keys)) == len(keys)
    assert [cell.key for cell in TABLE.cells] == ["A", "B_16", "C_16"]
    known = set(keys)
    for contrast in (*TABLE.contrasts, *EXTENDED.contrasts):
        assert {cell for cell, _ in (*contrast.larger, *contrast.smaller)} <= known


def test_replicates_give_the_interval() -> None:
    rng = torch.Generator().manual_seed(0)
    reference = Reference.of(torch.randn(200, 8, generator=rng))
    sample = reference.sample(torch.randn(100, 8, generator=rng) + 0.3)
    value = frechet_distance(reference, sample)
    estimate = jackknife(sample, lambda part: frechet_distance(reference, part), value)
    replicates = jackknife_replicates(sample, lambda part: frechet_distance(reference, part), in_turn(100))
    assert len(replicates) == 20
    assert estimate.ci_high - value == pytest.approx(2.093 * jackknife_error(replicates), rel=1e-3)


def test_groups_of_captions_have_no_kind_of_their_own() -> None:
    """Kinds of scenes take turns; a group of every 20th image would be of one kind, and far from the others."""
    prompts = [{"caption": f"{'ab'[index % 2]} {index // 4}", "kind": index % 2} for index in range(400)]
    kind, groups = np.array([prompt["kind"] for prompt in prompts]), groups_of(prompts)
    shares = np.array([kind[groups == group].mean() for group in range(20)])
    assert set(np.array([kind[in_turn(400) == group].mean() for group in range(20)])) == {0.0, 1.0}
    assert (shares.min(), shares.max()) > (0.1, 0.5)
    assert shares.max() < 0.9
    for caption in {prompt["caption"] for prompt in prompts}:
        assert len({groups[place] for place, prompt in enumerate(prompts) if prompt["caption"] == caption}) == 1
    assert groups_of([{"caption": "a"}, {"caption": "b"}, {"caption": "a"}]).max() == 1


def test_replicates_do_not_follow_kinds_that_take_turns() -> None:
    """Of a mean over two kinds: random groups give its error, every 20th image one that is several times too large."""
    rng = torch.Generator().manual_seed(1)
    reference = Reference.of(torch.randn(50, 2, generator=rng))
    sample = reference.sample(4.0 * (torch.arange(400) % 2)[:, None] + 0.5 * torch.randn(400, 2, generator=rng))
    groups = groups_of([{"caption": str(index)} for index in range(400)])

    def middle(part: Sample) -> float:
        return float(part.features[:, 0].mean())

    honest, confounded = (
        jackknife_error(jackknife_replicates(sample, middle, found)) for found in (groups, in_turn(400))
    )
    assert honest == pytest.approx(float(sample.features[:, 0].std()) / 20, rel=0.35)
    assert confounded > 3 * honest
    with pytest.raises(ValueError, match="3 images in groups, 400 in the sample"):
        jackknife_replicates(sample, middle, np.zeros(3))


def made(values: dict[str, tuple[float, float]]) -> RecordSet:
    """Records of cells at t = 400, as (value, noise of the cell's own); all share the noise of the blocks."""
    shared = np.random.default_rng(0).normal(size=20)
    lines: list[Record | Series] = []
    for place, (cell, (value, spread)) in enumerate(values.items()):
        own = spread * np.random.default_rng(1 + place).normal(size=20)
        blocks = value + shared + own
        lines.append(Series.of(cell, f"{FID_E.key}_t400_without_block", blocks, over="replicate", n=300, digits=8))
        record = Record(
            table="table1", variant=cell, prompts="", profile="mini", seed=0, metric=f"{FID_E.key}_t400", value=value,
            n=300, ci_low=value - 8, ci_high=value + 8, unit="", run="r",
        )  # fmt: skip
        lines.append(record)
    return RecordSet.of(lines)


def claim(larger: str, smaller: str, kind: ClaimKind = "better") -> Contrast:
    return Contrast(key="k", text="t", larger=((larger, 400),), smaller=((smaller, 400),), kind=kind)


def judge_one(contrast: Contrast, records: RecordSet) -> Judgement:
    (judged,) = judge([contrast], lambda one: tested(one, FID_E, records))
    return judged


@pytest.mark.parametrize(
    ("gap", "spread", "verdict"),
    [
        (3.0, 0.01, Verdict.REPRODUCED),
        (-3.0, 0.01, Verdict.WORSE),
        (0.5, 0.5, Verdict.NOT_DECIDED),
    ],
)
def test_noise_that_rows_share_drops_out(gap: float, spread: float, verdict: Verdict) -> None:
    records = made({"C_16": (20 + gap, spread), "B_16": (20.0, spread)})
    judged = judge_one(claim("C_16", "B_16"), records)
    assert judged.comparison is not None
    assert judged.comparison.difference == pytest.approx(gap)
    assert judged.verdict is verdict


def test_a_margin_allows_a_small_loss() -> None:
    records = made({"A": (20.0, 0.01), "B_16": (23.0, 0.01)})
    assert judge_one(claim("A", "B_16"), records).verdict is Verdict.WORSE
    assert judge_one(claim("A", "B_16", "not_worse"), records).verdict is Verdict.REPRODUCED
    assert judge_one(claim("B_16", "A", "not_worse"), records).verdict is Verdict.REPRODUCED
    lost = made({"A": (20.0, 0.01), "B_16": (24.0, 0.01)})
    assert judge_one(claim("A", "B_16", "not_worse"), lost).verdict is Verdict.NOT_REPRODUCED
    with pytest.raises(ExperimentError, match="claim 'k' of Table 1 says not worse in FID-E"):
        tested(claim("A", "B_16", "not_worse"), replace(FID_E, margin=None), lost)


def test_what_was_not_measured_is_said() -> None:
    judged = judge_one(claim("C_16", "B_16"), made({"C_16": (1.0, 0.1)}))
    assert judged.verdict is Verdict.NOT_MEASURED
    assert difference(judged) == "B_16 was not measured at t = 400"


def test_all_that_distances_follow_from_is_in_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = UpscalingOptions(out=tmp_path, work=tmp_path, device="cpu")
    raw = tuple(replace(column, key="fid_e") if column == FID_E else column for column in PROFILE.columns)
    profiles = (
        PROFILE,
        replace(PROFILE, data=replace(PROFILE.data, reference_images=17)),
        replace(PROFILE, columns=raw),
        replace(PROFILE, execution=replace(PROFILE.execution, dtype="float64")),
    )
    runners = [upscaling._Runner(TINY, profile, options) for profile in profiles]
    found = [digest_json(runner._config()) for runner in runners]
    monkeypatch.setattr(upscaling, "DISTANCE_VERSION", -1)
    assert len({*found, digest_json(runners[0]._config())}) == 5


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table, measured on eight scenes with four steps."""
    folder = tmp_path_factory.mktemp("table1")
    upscaling.run(
        TINY, PROFILE, UpscalingOptions(out=folder / "out", work=folder / "work", device="cpu", command="test")
    )
    render.render(folder / "out", found(folder / "out"))
    return folder / "out"


def found(out: Path) -> list[render.Entry]:
    def profile(name: str) -> Profile:
        assert name == "smoke"
        return PROFILE

    return render.results(out, lambda _: TINY, profile, kind_of)


def test_the_table_holds_every_row_and_level(out: Path) -> None:
    records = load(out / "records" / "table1.jsonl")
    assert {(r.variant, r.metric) for r in records.records} == {
        (cell.key, TABLE.column(FID_E, t).key) for cell in TINY.cells for t in TABLE.timesteps
    }
    assert all(record.n == 8 for record in records.records)
    page = (out / "table1.md").read_text(encoding="utf-8")
    assert "| C       | 16 of 32 | bicubic     |" in page
    assert "340.2" in page  # the paper's C at t = 800
    assert "figures/table1_samples.png" in page
    assert render.check(out, found(out)) == []
    assert "At t = 400, upscaling x0" in (out / "README.md").read_text(encoding="utf-8")


def test_a_second_run_draws_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upscaling, "load_pipeline", lambda *_: pytest.fail("loaded again"))
    upscaling.run(TINY, PROFILE, UpscalingOptions(out=out, work=out.parent / "work", device="cpu"))
    assert "nothing to do" in capsys.readouterr().err


def test_a_torn_image_is_drawn_again_and_nothing_else(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = next((out.parent / "work" / "images").glob("*/000000.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    (out / "records" / "table1.jsonl").rename(out / "records" / "kept")
    made = []
    original = upscaling.noisy_latents
    monkeypatch.setattr(upscaling, "noisy_latents", lambda *a, **k: made.append(1) or original(*a, **k))
    upscaling.run(TINY, PROFILE, UpscalingOptions(out=out, work=out.parent / "work", device="cpu", command="test"))
    assert made == [1]
    assert image.read_bytes() == whole
    assert load(out / "records" / "kept").series == load(out / "records" / "table1.jsonl").series


def test_a_missing_pipeline_is_named_first(tmp_path: Path) -> None:
    profile = replace(PROFILE, weights=replace(PROFILE.weights, pipeline="nowhere"))
    with pytest.raises(ExperimentError, match="nowhere"):
        upscaling.run(TINY, profile, UpscalingOptions(out=tmp_path, work=tmp_path, device="cpu"))
