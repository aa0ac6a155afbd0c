"""Figures 13 to 16: what is refused before any image is drawn, and the page."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from harness_world import RUN
from PIL import Image

from repro.figure13 import FIGURE
from repro.figure14 import FIGURE as DEFECTS
from repro.figure15 import FIGURE as AESTHETICS
from repro.figure16 import FIGURE as COMPLEXITY
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.plots import recorded_digest, stamped
from repro.harness.records import RecordSet
from repro.harness.votes.vote import CRITERIA
from repro.kinds.interface import measure
from repro.kinds.interface.page import page
from repro.kinds.interface.result import InterfaceResult
from repro.profiles.mini import PROFILE

SHOWN = {"name": "Relevance", "question": "Which image fits?", "parts": ["Main objects?", "Extra objects?"]}


def test_each_question_has_its_figure() -> None:
    assert sorted(figure.criterion for figure in (FIGURE, DEFECTS, AESTHETICS, COMPLEXITY)) == sorted(CRITERIA)


def test_a_picture_of_something_else_carries_our_digest_and_stays_a_picture(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (10, 200, 30)).save(buffer, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(stamped(buffer.getvalue(), "f" * 64))
    assert recorded_digest(path) == "f" * 64
    with Image.open(path) as image:
        image.load()
        assert (image.size, image.getpixel((2, 1)), image.text["Digest"]) == ((3, 2), (10, 200, 30), "f" * 64)


def test_the_page_says_the_question_and_links_the_pictures_that_are_there(tmp_path: Path) -> None:
    run = replace(RUN, table="figure13", config={"shown": SHOWN})
    result = InterfaceResult(FIGURE, PROFILE, RecordSet.of([run]))
    bare = page(result, tmp_path)
    assert "**Relevance: Which image fits?**" in bare
    assert "- Main objects?\n- Extra objects?" in bare
    assert "![" not in bare
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "figure13_phone.png").touch()
    shown = page(result, tmp_path)
    assert "](figures/figure13_phone.png)" in shown
    assert "figure13_desktop" not in shown


@pytest.mark.parametrize(
    ("name", "message"),
    [("find_spec", "need starlette, jinja2, uvicorn, playwright: pip install"), ("find_browser", "need Chromium")],
)
def test_what_is_not_installed_is_said_before_any_image_is_drawn(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, name, lambda *wanted: None)
    with pytest.raises(ExperimentError, match=message):
        measure.run(FIGURE, PROFILE, RunOptions(out=tmp_path, work=tmp_path / "work"))
    assert list(tmp_path.iterdir()) == []
