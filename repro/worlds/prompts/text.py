"""Text of a file in the encodings that prompt files come in: UTF-8, with or without a mark, and UTF-16 with one."""

import codecs
from pathlib import Path

from repro.harness.files import input_file
from repro.worlds.prompts.entry import PromptFileError

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_text(path: Path) -> str:
    """The text without its byte order mark; line ends are left as they are.

    Raises:
        PromptFileError: the file is missing, empty, or in another encoding.
    """
    try:
        data = input_file(path).read_bytes()
    except OSError as error:
        raise PromptFileError(f"cannot read {path}: {error.strerror or error}") from error
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    text = _decode(path, data[len(mark) :], encoding)
    if not text.strip():
        raise PromptFileError(f"{path} is empty; expected prompts")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PromptFileError(
            f"{path}, line {line}: a zero byte; expected text in UTF-8, or in UTF-16 with a byte order mark"
        )
    return text


def _decode(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        raise PromptFileError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.upper()}; if the file is Latin-1, "
            f"convert it: iconv -f LATIN1 -t UTF-8 {path.name} > converted; mv converted {path.name}"
        ) from error
