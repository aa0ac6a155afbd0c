"""Pictures of the pages of the four questions, as an assessor sees them: Figures 13 to 16."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repro.harness.votes.vote import Criterion
from repro.study.access import Access
from repro.study.database import Database
from repro.study.definition import Study
from repro.study.errors import StudyError

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from starlette.applications import Starlette

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu")
MOST_EXAMPLES = 100  # training pairs before a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A browser's window.

    Args:
        width, height: CSS pixels.
        scheme: what the reader prefers.
        scale: device pixels to a CSS pixel.
    """

    width: int = 1100
    height: int = 900
    scheme: Literal["light", "dark"] = "light"
    scale: float = 1.0


def find_browser() -> str | None:
    """Chromium or Chrome of this machine."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def criterion_pages(
    study: Study, out: Path, *, window: Window | None = None, browser: "Browser | None" = None
) -> dict[Criterion, Path]:
    """Serve a study beside its own database and take a picture of the first pair of each question.

    Args:
        study: its database is neither read nor written.
        out: folder of the pictures, ``<criterion>.png``.
        window: size and colours.
        browser: one that is open already, of Playwright.

    Raises:
        StudyError: the study cannot be served, or this machine has no Chromium or Playwright.
    """
    out.mkdir(parents=True, exist_ok=True)
    with served_copy(study) as (url, database), nullcontext(browser) if browser else open_browser() as opened:
        links = _links(study, database)
        return {
            criterion: _take(opened, window or Window(), f"{url}/enter/{token}", out / f"{criterion}.png")
            for criterion, token in links.items()
        }


@contextmanager
def open_browser() -> "Iterator[Browser]":
    """Chromium without a window.

    Raises:
        StudyError: this machine has no Chromium or Playwright.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise StudyError("a browser is driven by Playwright: pip install playwright") from error
    if (path := find_browser()) is None:
        raise StudyError(f"no browser: expected one of {', '.join(BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def served_copy(study: Study) -> Iterator[tuple[str, Database]]:
    """The address of a server in a thread, and the database of its own."""
    from repro.study.app import Settings
    from repro.study.serving import Where, build_app, listen

    with tempfile.TemporaryDirectory() as folder, closing(listen(Where(port=0))) as listener:
        own = study.folder / study.language  # a file of texts stays where it is
        language = str(own) if own.is_file() else study.language
        copy = replace(study, file=Path(folder) / study.file.name, language=language)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = build_app(copy, Settings(origins=(url,), rate=1000, guesses=1000))
        with closing(Database(copy.database)) as database, _running(app, listener):
            yield url, database


@contextmanager
def _running(app: "Starlette", listener: socket.socket) -> Iterator[None]:
    """A server in a thread."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _links(study: Study, database: Database) -> dict[Criterion, str]:
    """A link for each question, of whoever begins with it: blocks rotate from one assessor to the next."""
    names = [f"A{number}" for number, _ in enumerate(study.criteria, 1)]
    tokens = Access(database).invite(names, days=1)
    return {criterion: tokens[name] for criterion, name in zip(study.criteria, names, strict=True)}


def _take(browser: "Browser", window: Window, link: str, path: Path) -> Path:
    page = browser.new_page(
        viewport={"width": window.width, "height": window.height},
        color_scheme=window.scheme,
        device_scale_factor=window.scale,
    )
    page.goto(link)
    page.locator("[data-enter]").click()
    page.locator("[data-enter]").click()
    for _ in range(MOST_EXAMPLES):
        if not page.locator("[data-training]").count():
            break
        for answers in page.locator("form#vote .answers").all():
            answers.locator("input").first.check()
        page.locator("[data-confirm]").click()
        page.locator("[data-enter]").click()
    page.wait_for_load_state("load")  # of images too
    page.screenshot(path=path, full_page=True)
    page.close()
    return path
