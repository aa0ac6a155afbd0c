"""Whole small studies in Chromium, by keyboard on a desktop and by mouse on a phone; axe-core reads every page."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from study_world import tiny_study

from repro.harness.votes.vote import CRITERIA
from repro.study.access import Access
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.screenshots import Window, criterion_pages, find_browser, open_browser, served_copy

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(find_browser() is None, reason="no Chromium on the PATH"),
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = tiny_study(tmp_path_factory.mktemp("browser"), prompts=2, side=64, attention=0.5)
    one_of_each = {(check.criterion, check.use): check for check in made.checks}
    return replace(made, checks=tuple(one_of_each.values()))


@pytest.fixture(scope="module")
def served(study: Study) -> Iterator[tuple[str, Database]]:
    with served_copy(study) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


class Reader:
    """A page that axe reads once for each kind of page."""

    def __init__(self, page: Any) -> None:
        self.page, self.seen = page, set[str]()

    def check(self) -> None:
        kind = self.page.url.split("/")[3]
        question = self.page.locator("h1").inner_text()
        if (key := f"{kind} {question}") not in self.seen:
            self.seen.add(key)
            found = axe.Axe().run(self.page).response["violations"]
            assert not [(key, fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in SERIOUS]


def invite(database: Database, name: str) -> str:
    return Access(database).invite([name], days=1)[name]


def votes(database: Database, name: str) -> int:
    found: int = database.value(
        "SELECT count(*) FROM assignment a JOIN assessor g ON g.id = a.assessor JOIN task t ON t.id = a.task "
        "WHERE choice IS NOT NULL AND kind = 'study' AND name = ?",
        name,
    )
    return found


def by_keyboard(page: Any, number: int) -> None:
    for _ in page.locator("form#vote fieldset").all():
        page.keyboard.press(str(1 + number % 3))
    page.keyboard.press("Enter")


def by_mouse(page: Any, number: int) -> None:
    for answers in page.locator("form#vote .answers").all():
        answers.locator("label").nth(number % 3).click()
    page.locator("[data-confirm]").click()


def test_a_whole_study_by_keyboard_on_a_desktop(browser: Any, served: tuple[str, Database]) -> None:
    url, database = served
    vote_through(browser.new_context(viewport=DESKTOP), f"{url}/enter/{invite(database, 'keys')}", by_keyboard)
    assert votes(database, "keys") == 2 * len(CRITERIA)
    Access(database).revoke(["keys"])


def test_a_whole_study_by_mouse_on_a_phone_in_the_dark(browser: Any, study: Study) -> None:
    two = replace(study, criteria=("relevance", "aesthetics"), language="de", sub_questions="shown")
    two = replace(two, checks=tuple(check for check in study.checks if check.criterion in two.criteria))
    with served_copy(two) as (url, database):
        context = browser.new_context(viewport=PHONE, color_scheme="dark", has_touch=True)
        vote_through(context, f"{url}/enter/{invite(database, 'mouse')}", by_mouse)
        assert votes(database, "mouse") == 4


def vote_through(context: Any, link: str, vote: Callable[[Any, int], None]) -> None:
    """From the link to the last page; axe reads each kind of page on the way."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    reader = Reader(page)
    page.goto(link)
    reader.check()
    page.locator("[data-enter]").click()
    reader.check()
    page.locator("[data-enter]").click()
    number = 0
    while "/finish" not in page.url:
        reader.check()
        before = page.url
        if "/feedback/" not in before:
            vote(page, number)
            number += 1
        elif vote is by_keyboard:
            page.keyboard.press("Enter")
        else:
            page.locator("[data-enter]").click()
        page.wait_for_url(lambda address, before=before: address != before)
    reader.check()
    assert not errors
    context.close()


def test_back_zoom_and_the_size_of_a_pair(browser: Any, served: tuple[str, Database]) -> None:
    url, database = served
    page = browser.new_page(viewport=DESKTOP)
    page.goto(f"{url}/enter/{invite(database, 'back')}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pair/*")
    while " - " in page.locator("p.block").inner_text():
        by_keyboard(page, 0)
        page.wait_for_url("**/feedback/*")
        page.keyboard.press("Enter")
        page.wait_for_url("**/pair/*")
    first = page.url
    page.wait_for_load_state("load")  # of images too
    sizes = [image.bounding_box() for image in page.locator(".frame img").all()]
    assert (sizes[0]["width"], sizes[0]["height"]) == (sizes[1]["width"], sizes[1]["height"])
    page.keyboard.press("z")
    assert page.locator(".frame img").first.bounding_box()["width"] > 2 * sizes[0]["width"]
    page.locator(".frame").first.evaluate("frame => frame.scrollTo(40, 30)")
    page.wait_for_timeout(200)  # an event later; wait_for_function would need eval, which the pages forbid
    assert page.locator(".frame").nth(1).evaluate("frame => frame.scrollLeft") == 40
    page.keyboard.press("Escape")
    assert page.locator(".zoomed").count() == 0
    by_keyboard(page, 0)
    page.wait_for_url(lambda address: address != first)
    page.keyboard.press("Backspace")
    page.wait_for_url(first)
    assert page.locator("input:checked").first.get_attribute("value") == "left"
    page.locator("form#vote fieldset.overall label").nth(2).click()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: address != first)
    row = database.row("SELECT choice, revision FROM assignment WHERE token = ?", first.rpartition("/")[2])
    assert row is not None
    assert tuple(row) == ("right", 2)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(first)
    page.close()
    Access(database).revoke(["back"])


def test_without_scripts_buttons_and_links_do_the_same(browser: Any, served: tuple[str, Database]) -> None:
    url, database = served
    context = browser.new_context(viewport=PHONE, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}/enter/{invite(database, 'plain')}")
    page.locator("[data-enter]").click()
    page.locator("[data-enter]").click()
    by_mouse(page, 0)
    page.wait_for_url("**/feedback/*")
    page.locator("[data-enter]").click()
    assert not page.locator("[data-zoom]").is_visible()
    by_mouse(page, 2)
    page.locator("[data-back]").click()
    assert page.locator("input[name=choice]:checked").get_attribute("value") == "right"
    page.locator("header button").click()
    page.wait_for_url("**/paused")
    context.close()
    Access(database).revoke(["plain"])


def test_pages_of_who_has_no_link_and_who_runs_the_study(browser: Any, served: tuple[str, Database]) -> None:
    url, database = served
    page = browser.new_page(viewport=PHONE)
    reader = Reader(page)
    for path in ("/", "/enter/wrong", "/paused", "/nothing"):
        page.goto(f"{url}{path}")
        reader.check()
    page.goto(f"{url}/enter/{Access(database).invite(['boss'], days=1, role='admin')['boss']}")
    page.locator("[data-enter]").click()
    page.wait_for_url("**/admin")
    reader.check()
    page.close()


def test_the_four_pages_are_taken_as_pictures(browser: Any, study: Study, tmp_path: Path) -> None:
    pictures = criterion_pages(study, tmp_path, window=Window(width=1000, height=800, scheme="dark"), browser=browser)
    assert list(pictures) == list(study.criteria)
    for file in pictures.values():
        with Image.open(file) as image:
            assert image.width == 1000
            corner = image.convert("RGB").getpixel((2, 2))
        assert isinstance(corner, tuple)
        assert max(corner) < 60
    assert len({file.read_bytes() for file in pictures.values()}) == 4
    assert not study.database.exists(), "the study's own database is left alone"
