import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"`([\w./]+\.py):([\w.]+)`")
ENTRIES = sorted(set(ENTRY.findall(PAGE)))


def defined(body: list[ast.stmt], name: str) -> list[ast.stmt] | None:
    """The body of what ``name`` is bound to, empty for a plain value, None if it is not bound at all."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node.body
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return []
    return None


def exists(file: str, symbol: str) -> bool:
    if not (ROOT / file).is_file():
        return False
    body: list[ast.stmt] | None = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for name in symbol.split("."):
        body = defined(body, name) if body is not None else None
    return body is not None


@pytest.mark.parametrize(("file", "symbol"), ENTRIES, ids=[f"{file}:{symbol}" for file, symbol in ENTRIES])
def test_symbol_exists(file: str, symbol: str) -> None:
    assert exists(file, symbol)


def test_every_row_leads_somewhere() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("|---", "| in the paper"))
    ]
    assert len(rows) > 20
    assert not [row for row in rows if not ENTRY.search(row)]


def test_every_loss_is_on_the_map() -> None:
    exported = re.findall(
        r'^    "(\w+)",$', (ROOT / "swd/losses/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert exported
    assert set(exported) <= {symbol for _, symbol in ENTRIES}


def test_a_wrong_entry_would_be_found() -> None:
    assert exists("swd/losses/patch.py", "pdm_linear")
    assert not exists("swd/losses/patch.py", "pdm_cubic")
    assert not exists("swd/losses/nowhere.py", "pdm_linear")
    assert not exists("swd/schedule.py", "ScaleSchedule.no_such_method")
