"""The gallery in Chromium, opened from disk: keys, filter, no request but for its own images, axe-core."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repro.kinds.gallery.site import Cell, Section, write
from repro.study.screenshots import find_browser, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium on the PATH: apt-get install chromium"),
]
SYSTEMS = ("Teacher", "Student,\n6 steps")
CAPTIONS = ("a red star", 'a "blue" <cross> & more')


def section(key: str, prompts: str, folder: Path) -> Section:
    cells = []
    for row, system in enumerate(SYSTEMS):
        for column, caption in enumerate(CAPTIONS):
            file = folder / f"{key}-{row}-{column}.png"
            size = 300 if row else 64
            Image.new("RGB", (size, size), (60 * row, 90 * column, 10 * len(key))).save(file)
            cells.append(Cell(system, caption, 7 + column, "28 steps", file))
    return Section(key, f"Figure {key}", prompts, "the first 2 prompts", len(CAPTIONS), tuple(cells))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files, out = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("site")
    (out / "images").mkdir()
    (out / "images" / "mine.png").touch()
    (out / "images" / "of mine").mkdir()
    (out / "images" / f"{'0' * 16}.png").touch()  # of an earlier page
    found = write(out, [section("six", "short", files), section("eleven", "long", files)], "What this is.")
    shutil.rmtree(files)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(site: Path, browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    opened.asked = []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("pageerror", lambda error: pytest.fail(str(error)))
    opened.goto(site.as_uri())
    yield opened
    opened.close()


def place(page: Any) -> str:
    return str(page.evaluate("location.hash"))


def test_keys_walk_through_prompts_and_systems(page: Any) -> None:
    page.locator("td a").first.click()
    assert place(page) == "#six-0-0"
    steps = {"ArrowRight": "#six-0-1", "ArrowDown": "#six-1-1", "1": "#six-0-1", "2": "#six-1-1"}
    for key, wanted in steps.items():
        page.keyboard.press(key)
        assert place(page) == wanted
    assert page.locator("#viewer-caption").inner_text() == CAPTIONS[1]
    assert "Seed 8; 28 steps" in page.locator("#facts").inner_text()
    assert page.locator('#systems [aria-pressed="true"]').inner_text() == "2 Student, 6 steps"
    page.keyboard.press("ArrowRight")
    assert place(page) == "#eleven-1-0"
    page.keyboard.press("ArrowLeft")
    assert place(page) == "#six-1-1"
    page.keyboard.press("z")
    assert page.locator("#zoom").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('viewer').open")
    page.wait_for_function("document.activeElement.id === 'six-1-1'")


def test_the_filter_leaves_one_set_and_keys_stay_in_it(page: Any) -> None:
    page.keyboard.press("f")
    page.keyboard.press("l")  # the select's own search
    page.locator("#filter").select_option("long")
    assert page.locator("section:visible").evaluate_all("all => all.map(one => one.id)") == ["eleven"]
    page.locator("#eleven-0-1").click()
    page.keyboard.press("ArrowRight")
    assert place(page) == "#eleven-0-0"


def test_nothing_is_asked_of_a_network_and_every_image_is_there(page: Any, site: Path) -> None:
    page.locator("td img").last.scroll_into_view_if_needed()
    page.locator("td a").first.click()
    page.wait_for_load_state("networkidle")
    assert {url.partition(":")[0] for url in page.asked} == {"file"}
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not (site.parent / "images" / f"{'0' * 16}.png").exists()
    assert (site.parent / "images" / "mine.png").exists()
    assert len(list((site.parent / "images").glob("*-small.png"))) == 4


@pytest.mark.parametrize("opened", [False, True])
def test_axe_finds_no_serious_fault(opened: bool, page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    if opened:
        page.locator("td a").first.click()
    found = Axe().run(page).response["violations"]
    assert not [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")]
