"""What is printed fits the terminal and says all that the page says."""

import re
from collections import Counter
from pathlib import Path

import pytest

from repro.harness import terminal
from repro.harness.terminal import compact, fitted
from repro.harness.terminal_table import read

PAGES = sorted((Path(__file__).resolve().parents[2] / "paper_tables").glob("*.md"))
MAIN = [page for page in PAGES if page.name != "README.md"]


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def tables(markdown: str) -> list[str]:
    found, block = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            found.append("\n".join(block))
            block = []
    return found


def words_of_cells(markdown: str) -> Counter[str]:
    cells = [cell for block in tables(markdown) for row in read(block).rows for cell in row]
    plain = re.sub(r"!?\[([^\[\]]*)\]\([^()\s]*\)", r"\1", " ".join(cells))
    return words(plain)


def words(text: str) -> Counter[str]:
    return Counter(word.strip("*:;.") for word in text.replace("*", "").split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_fits_120_columns_and_keeps_every_word_of_its_cells(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = fitted(text, 120)
    assert widest(shown) <= 120
    assert not words_of_cells(text) - words(shown)


@pytest.mark.parametrize("page", MAIN, ids=lambda page: page.stem)
def test_what_is_printed_of_a_page_has_its_first_table_and_all_verdicts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    short = compact(text)
    shown = fitted(short, 120)
    assert widest(shown) <= 120
    assert "Make it again" not in shown
    assert tables(text)[:1] == tables(short)[:1]
    assert text.splitlines()[0] in " ".join(shown.split("\n"))
    assert [line for line in short.splitlines() if line.startswith("| **")] == [
        line for line in text.splitlines() if line.startswith("| **")
    ]
    assert not words_of_cells(short) - words(shown)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrower_terminal_cuts_no_number(width: int) -> None:
    text = next(page for page in PAGES if page.stem == "table2").read_text(encoding="utf-8")
    shown = fitted(compact(text), width)
    assert widest(shown) <= width
    assert not words_of_cells(compact(text)) - words(shown)


def test_columns_that_do_not_fit_stand_below_beside_the_names_of_their_rows() -> None:
    block = (
        "| Setup | Steps | Long head | Other |\n|:--|--:|--:|--:|\n"
        "| wise | 6 | 1.25 [1.10, 1.30] | 1,024 (a) |\n| wise | 4 | 1.40 | \u2014 |"
    )
    first, second = fitted(block, 35).split("\n\n")
    assert first.splitlines()[1:-1] == [
        "Setup  Steps          Long head",
        "-----  -----  -----------------",
        "wise       6  1.25 [1.10, 1.30]",
        "wise       4               1.40",
    ]
    assert second.splitlines()[1:-1] == [
        "Setup  Steps      Other",
        "-----  -----  ---------",
        "wise       6  1,024 (a)",
        "wise       4          \u2014",
    ]


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**Reading.** *One* [of](x.md) them", "Reading. One of them"),
        ("**Of `a*b*`.** `x[0](1)`", "Of `a*b*`. `x[0](1)`"),
        ("`a/*.b c/*.d` *e*", "`a/*.b c/*.d` e"),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("> quoted words that are long\n> and more\n>\n> here", "> quoted words that\n> are long and more\n>\n> here"),
        ("- first point, long enough\n- second", "- first point, long\n  enough\n- second"),
        ("```sh\nnox -s table2 -- --rows 'a b' c\n```", "nox -s table2 -- \\\n    --rows 'a b' c"),
    ],
)
def test_markdown_becomes_plain_text(markdown: str, shown: str) -> None:
    assert fitted(markdown, 20) == shown


@pytest.mark.parametrize(("wide", "most"), [("500", 120), ("80", 80), ("5", 60)])
def test_the_terminal_is_as_wide_as_it_says_within_limits(
    wide: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", wide)
    assert terminal.columns() == most


def test_without_a_terminal_there_are_120_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert terminal.columns() == 120


def test_lines_and_listings_go_on_further_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = " ".join(["word"] * 14)
    terminal.listing({"table2": text, "mini": "short"})
    terminal.say(f"  {text}")
    first, second, third, *said = capsys.readouterr().out.splitlines()
    assert (first[:12], second[:12], third) == ("table2  word", "        word", "mini    short")
    assert [line[:10] for line in said] == ["  word wor", "      word"]


def test_a_page_is_printed_with_the_path_of_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "table9.md"
    page.write_text(
        "# Title\n\nlead\n\n## In detail\n\nno\n\n## Claims\n\nprose\n\n| a |\n|:--|\n| 1 |\n", encoding="utf-8"
    )
    terminal.show_page(page)
    shown = capsys.readouterr().out
    assert shown.endswith(f"The whole page: {page}\n")
    assert "lead" in shown
    assert "1" in shown
    assert "prose" not in shown
    assert "detail" not in shown
