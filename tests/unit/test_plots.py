from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from harness_world import PROFILE, TABLE, lines
from matplotlib.image import imread, imsave

from repro.harness.plots import recorded_digest
from repro.harness.sample_grid import sample_grid
from repro.harness.schema import Record, RecordSet
from repro.kinds.scores.figure import compute_data, draw_compute

CAPTIONS = ["a red star", "three green circles"]
LABELS = ["Teacher\n28 steps", "Scale-wise\n4 steps"]


@pytest.fixture
def images(tmp_path: Path) -> list[list[Path]]:
    rng = np.random.default_rng(0)
    grid = [[tmp_path / f"{i}_{j}.png" for j in range(2)] for i in range(2)]
    for path in (path for row in grid for path in row):
        imsave(path, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    return grid


def test_points_are_in_the_unit_of_the_page() -> None:
    panel = compute_data(TABLE, PROFILE, RecordSet.of(lines())).panels[0]
    assert panel.axis == "Accuracy, % \u2191"
    teacher, small, _ = panel.points
    assert (teacher.teacher, teacher.steps, small.teacher) == (True, 28, False)
    assert (small.compute, small.quality) == (564, 80.0)
    assert (small.low, small.high) == (pytest.approx(75.0), pytest.approx(85.0))


def test_panels_are_prompt_sets_by_scored_columns() -> None:
    data = compute_data(TABLE, PROFILE, RecordSet.of(lines()))
    assert data.columns == 2
    assert [panel.title for panel in data.panels] == ["short captions"] * 2 + ["long captions"] * 2
    assert data.panels[-1].points == ()


def test_without_compute_there_is_no_figure() -> None:
    kept = [line for line in lines() if not (isinstance(line, Record) and line.metric == "tokens")]
    assert compute_data(TABLE, PROFILE, RecordSet.of(kept)).panels == ()


def test_the_same_data_give_the_same_bytes_whatever_the_users_style() -> None:
    data = compute_data(TABLE, PROFILE, RecordSet.of(lines()))
    first = draw_compute(data)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "yellow"}):
        assert draw_compute(data) == first
        assert mpl.rcParams["font.size"] == 20


def test_the_digest_follows_the_data() -> None:
    data = compute_data(TABLE, PROFILE, RecordSet.of(lines()))
    assert replace(data, columns=1).digest != data.digest


def test_an_interval_that_misses_its_value_is_drawn() -> None:
    data = compute_data(TABLE, PROFILE, RecordSet.of(lines()))
    odd = replace(data.panels[0], points=tuple(replace(p, low=p.quality + 1) for p in data.panels[0].points))
    assert draw_compute(replace(data, columns=1, panels=(odd,)))[:4] == b"\x89PNG"


def test_the_grid_shows_each_image_pixel_by_pixel(tmp_path: Path, images: list[list[Path]]) -> None:
    path = tmp_path / "grid.png"
    assert sample_grid(path, images, rows=LABELS, captions=CAPTIONS)
    drawn = np.round(imread(path)[:, :, :3] * 255)
    for i, row in enumerate(images):
        for j, file in enumerate(row):
            top, left = 55 + 132 * i, 100 + 132 * j
            shown = np.round(imread(file)[:, :, :3] * 255).repeat(2, axis=0).repeat(2, axis=1)
            assert np.array_equal(drawn[top : top + 128, left : left + 128], shown)


def test_the_grid_is_drawn_again_only_when_something_changed(tmp_path: Path, images: list[list[Path]]) -> None:
    path = tmp_path / "grid.png"
    sample_grid(path, images, rows=LABELS, captions=CAPTIONS)
    first = path.read_bytes()
    assert not sample_grid(path, images, rows=LABELS, captions=CAPTIONS)
    assert sample_grid(path, images[::-1], rows=LABELS, captions=CAPTIONS)
    assert path.read_bytes() != first


def test_a_ragged_grid_is_refused(tmp_path: Path, images: list[list[Path]]) -> None:
    for grid in ([images[0], images[1][:1]], images[:1], []):
        with pytest.raises(ValueError, match="images for 2 rows and 2 captions"):
            sample_grid(tmp_path / "grid.png", grid, rows=LABELS, captions=CAPTIONS)


def test_digests_of_torn_or_foreign_files(tmp_path: Path, images: list[list[Path]]) -> None:
    path = tmp_path / "grid.png"
    sample_grid(path, images, rows=LABELS, captions=CAPTIONS)
    assert recorded_digest(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert recorded_digest(path) is None
    assert recorded_digest(images[0][0]) is None
    assert recorded_digest(tmp_path / "missing.png") is None
