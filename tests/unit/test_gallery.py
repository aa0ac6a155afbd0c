"""Figures 6, 8 and 10 to 12: rules of choice, what is refused, pages of made-up numbers; real images in smoke."""

import re
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from harness_world import RUN
from PIL import Image

from repro import __main__ as cli
from repro.figure6 import FIGURE
from repro.figure8 import FIGURE as OTHERS
from repro.figure11 import FIGURE as SHORT
from repro.figure12 import FIGURE as SEEDS
from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.kind import UsageError
from repro.harness.options import RunOptions
from repro.harness.plots import figure_path, recorded_digest
from repro.harness.records import RecordSet, load
from repro.kinds.gallery import measure
from repro.kinds.gallery.declare import APART, Choice, Gallery
from repro.kinds.gallery.html import Picture, Shelf, document
from repro.kinds.gallery.options import add_arguments, folders, make_options
from repro.kinds.gallery.page import page
from repro.kinds.gallery.result import GalleryResult
from repro.profiles.mini import PROFILE as MINI
from repro.profiles.sd35_medium import PROFILE as SD35
from repro.profiles.smoke import PROFILE as SMOKE

PROMPTS = [{"caption": f"prompt {n}", "seed": 100 + n} for n in range(250)]
STRANGE = 'a <b> & "c" \U0001f600 </script>'


def typed(*words: str) -> Namespace:
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def common(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(out=out, work=out / "work", command="test", **changes)


def test_the_first_prompts_or_a_draw_that_a_longer_one_continues() -> None:
    assert Choice(count=3).places(10) == [0, 1, 2]
    drawn = Choice(count=8, seed=4).places(250)
    assert drawn[:5] == Choice(count=5, seed=4).places(250)
    assert len(set(drawn)) == 8
    assert drawn != Choice(count=8, seed=5).places(250)
    assert Choice(count=8).rule == "the first 8 prompts"
    assert "seed 4" in Choice(count=8, seed=4).rule
    assert "chosen by hand" in Choice(count=2, by_hand=(3, 1)).rule


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"count": 2, "by_hand": (1,)}, {"count": 1, "by_hand": (1,), "seed": 2}]
)
def test_no_choice_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least one prompt|no choice"):
        Choice(**options)


def test_seeds_of_a_prompt_are_columns_of_their_own() -> None:
    columns = SEEDS.columns(PROMPTS)
    assert len(columns) == 12
    assert len({column["id"] for column in columns}) == 12
    assert len({column["caption"] for column in columns}) == 2
    assert [column["seed"] - columns[0]["seed"] for column in columns[:6]] == [APART * n for n in range(6)]


@pytest.mark.parametrize(
    ("gallery", "profile", "words", "error", "message"),
    [
        (FIGURE, MINI, ["--images", "techer=x"], UnknownNameError, "did you mean teacher"),
        (FIGURE, MINI, ["--images", "teacher"], UsageError, "expected ROW=DIR"),
        (FIGURE, MINI, ["--images", "teacher=a", "--images", "teacher=b"], UsageError, "names teacher twice"),
        (FIGURE, replace(MINI, prompt_sets=MINI.prompt_sets[:1]), [], ExperimentError, "has no prompts of MJHQ"),
        (replace(FIGURE, choice=Choice(count=251)), MINI, [], ExperimentError, "251 prompts of a set of 250"),
        (replace(FIGURE, choice=Choice(count=1, by_hand=(250,))), MINI, [], ExperimentError, "places 0 to 249"),
        (replace(OTHERS, rows=OTHERS.rows[:1]), SD35, [], ExperimentError, "sd35-medium has no system of figure8"),
    ],
)
def test_what_does_not_exist_is_refused(
    gallery: Gallery, profile: Any, words: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        make_options(gallery, profile, typed(*words), common(tmp_path))


def test_other_pictures_stay_out_of_the_committed_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--images shows other pictures than figure6 stands for"):
        make_options(FIGURE, MINI, typed("--images", "teacher=x"), common(tmp_path, committed=True))
    assert folders(["a=b=c"]) == {"a": Path("b=c")}


def test_real_models_show_images_that_were_made_before(tmp_path: Path) -> None:
    options = make_options(OTHERS, SD35, typed(), common(tmp_path))
    with pytest.raises(ExperimentError, match="--images ROW=DIR for sd35_medium, sdxl_turbo"):
        measure.run(OTHERS, SD35, options)


def shown(**changes: Any) -> dict[str, Any]:
    columns = [{"id": "0", "caption": "a | b", "seed": 7}]
    rows = [{"key": "teacher", "label": "Teacher", "source": "28 steps"}]
    return {"prompts": "short", "total": 250, "columns": columns, "rows": rows, **changes}


def test_the_page_says_the_rule_and_every_seed(tmp_path: Path) -> None:
    records = RecordSet.of([replace(RUN, table="figure6", config={"shown": shown()})])
    text = page(GalleryResult(FIGURE, MINI, records), tmp_path)
    assert "Prompts: the first 8 prompts of the 250 of the set `short`. Nothing was chosen by its looks." in text
    assert re.search(r"\| 1 +\| a \\\| b +\| +7 \|", text)
    by_hand = replace(FIGURE, choice=Choice(count=1, by_hand=(3,)))
    text = page(GalleryResult(by_hand, MINI, records), tmp_path)
    assert "**chosen by hand**" in text
    assert "by its looks" not in text


def test_a_gallery_escapes_whatever_a_caption_holds() -> None:
    picture = Picture(STRANGE, STRANGE, 3, "28 steps", "images/a.png", "images/a.png")
    text = document([Shelf("figure6", STRANGE, "short", "the first prompt", 1, (picture,))], STRANGE)
    assert STRANGE not in text
    assert text.count("<script>") == text.count("</script>") == 1
    (alt,) = re.findall(r'alt="([^"]+)" loading', text)
    assert unescape(alt) == f"{STRANGE}, by {STRANGE}"
    assert "://" not in text


def test_images_of_folders_make_a_grid_and_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = replace(FIGURE, rows=FIGURE.rows[:2], choice=Choice(count=2))
    for row, level in zip(two.rows, (60, 200), strict=True):
        (tmp_path / row.key).mkdir()
        for name in ("0", "1"):
            Image.new("RGB", (64, 64), (level, int(name), 0)).save(tmp_path / row.key / f"{name}.png")
    words = [word for row in two.rows for word in ("--images", f"{row.key}={tmp_path / row.key}")]
    options = make_options(two, SMOKE, typed(*words), common(tmp_path))
    found = load(measure.run(two, SMOKE, options)).runs[0]
    picture = figure_path(tmp_path, SMOKE.stem("figure6"), "samples")
    assert recorded_digest(picture) == found.figures["samples"]
    with Image.open(picture) as image:
        levels = {image.convert("RGB").getpixel((110, y)) for y in (70, 200)}
    assert levels == {(60, 0, 0), (200, 0, 0)}
    monkeypatch.setattr(measure, "MOST_BYTES", 100)
    with pytest.raises(ExperimentError, match="at most 100: too many images"):
        measure.run(replace(two, key="figure66"), SMOKE, options)
    Image.new("RGB", (32, 64)).save(tmp_path / "teacher" / "1.png")
    with pytest.raises(ExperimentError, match="one size, found 32x64, 64x64"):
        measure.run(replace(two, key="figure67"), SMOKE, options)


@pytest.mark.parametrize("made", ["", "text", "one image"])
def test_a_folder_without_the_images_is_refused_by_the_name_of_its_row(tmp_path: Path, made: str) -> None:
    place = tmp_path / "place"
    if made == "text":
        place.write_text("no folder")
    elif made:
        place.mkdir()
        Image.new("RGB", (64, 64)).save(place / "0.png")
    options = make_options(FIGURE, SMOKE, typed("--images", f"teacher={place}"), common(tmp_path))
    with pytest.raises(
        ExperimentError, match=f"row teacher: --images .*{'have no image' if made == 'one image' else 'no such folder'}"
    ):
        measure.run(FIGURE, SMOKE, options)
    assert not (tmp_path / "figures").exists()


def test_every_grid_says_what_it_shows_in_every_profile() -> None:
    assert {FIGURE.prompt_set(profile) for profile in (MINI, SMOKE)} == {"compositional"}
    assert SHORT.prompt_set(MINI) == "short"
    found = {gallery.key: gallery.prompt_set(SD35) for gallery in (FIGURE, SHORT)}
    assert [prompts.reported for prompts in SD35.prompt_sets if prompts.key == found["figure6"]] == ["MJHQ"]
    assert [prompts.reported for prompts in SD35.prompt_sets if prompts.key == found["figure11"]] == ["COCO 2014"]


def test_a_gallery_refuses_rows_that_no_grid_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gallery", "--out", str(tmp_path), "--images", "techer=/nowhere"]) == 2
    assert "unknown row of the gallery 'techer'; did you mean teacher" in capsys.readouterr().err


def test_the_command_is_found_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["gallery", "--help"])
    assert "folder of the page" in capsys.readouterr().out
