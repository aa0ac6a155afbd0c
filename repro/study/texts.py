"""What the pages say: one TOML file for each language, in which every text stands once.

English and German ship. Another language is a copy of ``texts/en.toml`` with other words, named in STUDY.toml
(``language = "texts/fr.toml"``). The parts of *relevance*, *defects* and *aesthetics* are those of the paper's
interfaces; the wording is ours throughout, and so are the parts of *complexity*.
"""

import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.harness.files import digest_json, input_file
from repro.harness.votes.vote import Criterion
from repro.study.errors import StudyError

SHIPPED = Path(__file__).parent / "texts"
MASTER = SHIPPED / "en.toml"


class Texts:
    """The texts of one language.

    Args:
        texts: by dotted key, such as ``criteria.defects.question``.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with its placeholders filled."""
        return self._texts[key].format(**values) if values else self._texts[key]

    def parts(self, criterion: Criterion) -> list[str]:
        """Names of the parts of a question, in order."""
        start = f"criteria.{criterion}.parts."
        return [key.removeprefix(start) for key in self._texts if key.startswith(start)]

    @property
    def questions(self) -> str:
        """What identifies what is asked: words around it, such as a button's, change no vote's meaning."""
        return digest_json({key: text for key, text in self._texts.items() if key.startswith("criteria.")})


def shipped_languages() -> dict[str, Path]:
    """Languages of this version and their files."""
    return {path.stem: path for path in SHIPPED.glob("*.toml")}


def load_texts(language: str, folder: Path) -> Texts:
    """The texts of a shipped language or of a file.

    Args:
        language: such as ``de``, or a path relative to ``folder``.
        folder: of the study.

    Raises:
        StudyError: no such file, no TOML, a key that is missing or unknown, an empty text, or other placeholders than
            the English text has.
    """
    shipped = shipped_languages()
    path = shipped.get(language, folder / language)
    if not path.is_file():
        raise StudyError(f"no texts for language {language!r}; expected {', '.join(sorted(shipped))}, or a TOML file")
    texts, master = _read(path), _read(MASTER)
    for keys, said in ((set(master) - set(texts), "lacks the key"), (set(texts) - set(master), "has the unknown key")):
        if keys:
            raise StudyError(f"{path} {said} {min(keys)!r}; expected the keys of {MASTER.name}")
    for key, text in texts.items():
        if not text.strip():
            raise StudyError(f"{path}: the text of {key!r} is empty")
        if (found := _placeholders(path, key, text)) != (wanted := _placeholders(MASTER, key, master[key])):
            raise StudyError(f"{path}: {key!r} has the placeholders {sorted(found)}; expected {sorted(wanted)}")
    return Texts({key: texts[key] for key in master})


def _read(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(input_file(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise StudyError(f"cannot read the texts {path}: {error}") from error
    return dict(_flat(path, "", table))


def _flat(path: Path, start: str, table: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _flat(path, f"{start}{key}.", value)
        elif isinstance(value, str):
            found.append((f"{start}{key}", value))
        else:
            raise StudyError(f"{path}: {start}{key} is {value!r}; expected text")
    return found


def _placeholders(path: Path, key: str, text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise StudyError(f"{path}: {key!r}: {error}") from error
