"""What the page of Table 1 says of how FID was measured, and of images that are in no distance."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import RUN

from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.upscaling import keys
from repro.kinds.upscaling.distances import Distance, _read, _write
from repro.kinds.upscaling.measure import _lines
from repro.kinds.upscaling.page import page
from repro.kinds.upscaling.result import UpscalingResult
from repro.metrics import Estimate
from repro.metrics.base import Skipped
from repro.profiles import load_profile
from repro.table1 import TABLE

MEDIUM = load_profile("sd35-medium")
COLUMN = TABLE.column(next(column for column in MEDIUM.columns if column.key == "fid"), TABLE.timesteps[0])
LOST = (Skipped("7", "NaN pixels"), Skipped("9", "empty file"))
RECIPE = {"name": "swd", "shrink": 512, "crop": 256, "resize": "bilinear", "scaling": "2 x / 255 - 1"}
INPUTS = {
    "features": {"network": "Inception", "recipe": RECIPE, "published_weights": True},
    "distances": {
        "fid": {
            "formula": "Frechet distance",
            "reference": {"sha256": "0123456789ab", "images": 5_000, "recipe_known": True},
        }
    },
}


def run(**changes: object) -> Run:
    plain = {"table": TABLE.key, "profile": MEDIUM.name, "metrics": {"coco": {"fid": INPUTS}}}
    return replace(RUN, **{**plain, **changes})  # type: ignore[arg-type]


def made(skipped: Sequence[Skipped] = (), note: str = "") -> list[Line]:
    estimate = Estimate(12.5, 12.0, 13.0, 5_000 - len(skipped), note)
    return list(_lines(run(), TABLE.cells[0], COLUMN, Distance(estimate, [12.4, 12.6], skipped)))


def shown(*lines: Line, by: Run | None = None) -> str:
    return page(UpscalingResult(TABLE, MEDIUM, RecordSet.of([by or run(), *lines])), Path("nowhere"))


def test_skipped_images_are_a_record_with_their_reasons() -> None:
    distance, lost, series = made(LOST)
    assert isinstance(distance, Record)
    assert isinstance(series, Series)
    assert isinstance(lost, Record)
    assert (lost.metric, lost.value, lost.note) == (keys.skipped(COLUMN.key), 2, "7: NaN pixels; 9: empty file")
    assert len(made()) == 2


def test_the_page_counts_skipped_images_in_the_caption_and_at_their_number() -> None:
    text = shown(*made(LOST))
    assert "> **Skipped images: 2**, which are in no distance." in text
    assert "12.5 [12.0, 13.0] (a)" in text
    assert "- (a) Skipped images: 2; by id: 7: NaN pixels; 9: empty file." in text
    assert "4,998 images for each row" in text
    assert "kipped" not in shown(*made())
    assert "5,000 images for each row" in shown(*made())


def test_a_remark_on_a_distance_stands_below_the_table() -> None:
    assert "- (a) 30 images for 2048 features: rank." in shown(*made(note="30 images for 2048 features: rank"))


def test_the_caption_says_how_fid_is_measured_where_the_records_do() -> None:
    text = shown(*made())
    assert "> **FID**: Frechet distance. Features: Inception; recipe `swd`: shorter side to 512" in text
    assert "Real images: COCO 2014 5,000 (01234567)." in text
    assert "> **FID**" not in shown(*made(), by=run(metrics={}))


@pytest.mark.parametrize("skipped", [(), LOST])
def test_a_distance_is_kept_with_what_was_skipped(skipped: tuple[Skipped, ...], tmp_path: Path) -> None:
    distance = Distance(Estimate(1.0, 0.5, 1.5, 9, "few"), [1.0, 2.0], skipped)
    _write(tmp_path / "distance.json", distance)
    assert _read(tmp_path / "distance.json") == distance
