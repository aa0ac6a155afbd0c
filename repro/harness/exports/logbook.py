"""A Trackio logbook of the paper's claims, offline: an index, a page for each claim and the records behind them.

A result with published numbers that were measured again has one more page, on which of them it agrees with.

Trackio keeps a logbook in the folder `.trackio/logbook` of a workspace as Markdown, and shows it in a viewer that it
copies beside. Pages are written here; Trackio is asked for the viewer and its table of contents alone, for its own
functions stamp pages with the time and with random ids. Pages that somebody adds by `trackio logbook page` stay.
"""

import shutil
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from repro.harness.cells import markdown
from repro.harness.claim_words import cells
from repro.harness.experiment import ExperimentError
from repro.harness.exports.agreement_page import AgreementPage
from repro.harness.exports.book_page import WRITTEN, BookPage, cell, warnings
from repro.harness.exports.claim_page import ClaimPage
from repro.harness.exports.scale import toy_scale
from repro.harness.files import canonical_json, digest_file, write_atomic
from repro.harness.records import path_of
from repro.harness.result import Measured

TITLE = "Claims of the scale-wise distillation paper, measured again"
OLDEST = "0.40"  # before, it does not import beside today's huggingface_hub
INSTALL = "pip install -e '.[tracking]'"
SUMMARY, _SUMMARY_SLUG = "Summary", "summary"
HEADS = ("Verdict", "Claim", "Metric", "Difference [95 % interval]", "Scale")
INTRODUCTION = (
    "Each claim of the paper has a page: what was compared, on which machine, when and for how long, and what came of "
    "it. A page says so where a result is of toy scale."
)

AGREEMENT = "Numbers of the paper that were measured again on its own models and data have a page for each table:"


def write_logbook(results: Sequence[Measured[Any]], folder: Path, workspace: Path) -> list[Path]:
    """Write the logbook of a results folder into a workspace; gives the pages, the index first.

    Args:
        results: of the folder.
        folder: with ``records/``.
        workspace: gets ``.trackio``.

    Raises:
        ExperimentError: Trackio is not installed or has no logbooks, or none of the results tests a claim.
        OutputError: the workspace cannot be written.
    """
    trackio = _trackio()
    pages = _pages(results, folder)
    if not pages:
        raise ExperimentError(f"no claims are tested by the records in {folder}: a logbook has a page for each")
    project = workspace / ".trackio"
    book = project / "logbook"
    texts = {
        book / "pages" / "index.md": _index(pages),
        book / "pages" / _SUMMARY_SLUG / "page.md": _summary(pages),
    }
    texts |= {book / "pages" / page.slug / "page.md": page.text() for page in pages}
    for path, text in texts.items():
        write_atomic(path, text)
    for stem in dict.fromkeys(page.result.stem for page in pages):
        write_atomic(path_of(book, stem), path_of(folder, stem).read_bytes())
    _remove_others(book / "pages", {_SUMMARY_SLUG, *(page.slug for page in pages)})
    if not (project / "metadata.json").exists():  # Trackio's own: where it is published
        write_atomic(project / "metadata.json", canonical_json({"space_id": None, "created_at": _newest(pages)}))
    trackio.write_site_files(project)
    return list(texts)


def _trackio() -> Any:
    """Trackio's logbook module.

    Raises:
        ExperimentError: it is not installed, or cannot be imported.
    """
    try:
        found = version("trackio")
    except PackageNotFoundError:
        raise ExperimentError(
            f"a logbook needs trackio, which is not installed; the extra `tracking` has it: {INSTALL}"
        ) from None
    try:
        return import_module("trackio.logbook")
    except ImportError as error:
        reason = f"trackio {found} has no logbooks that work here ({error}), expected {OLDEST} or newer"
        raise ExperimentError(f"{reason}: {INSTALL}") from error


def _pages(results: Iterable[Measured[Any]], folder: Path) -> list[BookPage]:
    pages: list[BookPage] = []
    for result in results:
        digest = digest_file(path_of(folder, result.stem))
        pages += [ClaimPage(result, digest, judgement) for judgement in result.judgements]
        pages += [AgreementPage(result, digest)] if result.agreement else []
    return pages


def _index(pages: Sequence[BookPage]) -> str:
    """Title and links. Trackio's viewer takes its list of pages from it and shows nothing else of it."""
    rows = [[f"[{SUMMARY}](#/{_SUMMARY_SLUG})", ""]]
    rows += [[f"[{page.title}](#/{page.slug})", page.status] for page in pages]
    return "\n\n".join([f"# {TITLE}", "## Pages", markdown(("Page", "Status"), rows, left=2), WRITTEN]) + "\n"


def _summary(pages: Sequence[BookPage]) -> str:
    """The first page: every claim with its verdict, and how many published numbers agree."""
    claims = [page for page in pages if isinstance(page, ClaimPage)]
    others = [f"- [{page.title}](#/{page.slug}): {page.status}." for page in pages if page not in claims]
    blocks = [*warnings(page.result.profile for page in pages), INTRODUCTION]
    blocks += [markdown(HEADS, map(_line, claims), left=len(HEADS))] if claims else []
    blocks += [AGREEMENT, "\n".join(others)] if others else []
    blocks.append(WRITTEN)
    return f"# {SUMMARY}\n" + cell(_SUMMARY_SLUG, "Verdicts", "\n\n".join(blocks), _newest(pages))


def _line(page: ClaimPage) -> list[str]:
    verdict, claim, metric, difference = cells(page.judgement, ("Verdict", "Claim", "Metric", "Difference"))
    scale = "toy" if toy_scale(page.result.profile) else page.result.profile.title
    return [verdict, f"[{claim}](#/{page.slug})", metric, difference, scale]


def _newest(pages: Sequence[BookPage]) -> str:
    return max(run.start for page in pages for run in page.result.records.runs)


def _remove_others(pages: Path, slugs: set[str]) -> None:
    """Pages that this module wrote for claims that are gone."""
    for page in pages.glob("*/page.md"):
        if page.parent.name not in slugs and WRITTEN in page.read_text(encoding="utf-8"):
            shutil.rmtree(page.parent)
