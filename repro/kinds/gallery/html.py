"""The text of the gallery: tables of images that need no script, and a viewer on top of them.

The page is one file beside a folder of images. Its policy allows its own script and style, by their hashes, and images
from where it lies, and nothing else: it makes no request to any network.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

WEB = Path(__file__).parent / "web"


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the page: system, prompt, seed, how it was made, and relative addresses of image and thumbnail."""

    system: str
    caption: str
    seed: int
    source: str
    image: str
    thumbnail: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """One grid of the page: key and title of its figure, set of prompts, rule, prompts in a row, and its images."""

    key: str
    title: str
    prompts: str
    rule: str
    columns: int
    pictures: tuple[Picture, ...]


def document(shelves: Sequence[Shelf], caption: str) -> str:
    """The page. Captions may hold any characters."""
    style, script = ((WEB / name).read_text(encoding="utf-8") for name in ("gallery.css", "gallery.js"))
    policy = f"default-src 'none'; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    sets = list(dict.fromkeys(shelf.prompts for shelf in shelves))
    return Template((WEB / "gallery.html").read_text(encoding="utf-8")).substitute(
        policy=escape(policy),
        style=style,
        script=script,
        caption=escape(caption),
        sets="".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in sets),
        shelves="\n".join(_shelf(shelf) for shelf in shelves),
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _shelf(shelf: Shelf) -> str:
    rows = [shelf.pictures[at : at + shelf.columns] for at in range(0, len(shelf.pictures), shelf.columns)]
    heads = "".join(f'<th scope="col">{escape(picture.caption)}</th>' for picture in rows[0])
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0].system)}</th>'
        + "".join(_cell(shelf, picture, number, column) for column, picture in enumerate(row))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<section id="{escape(shelf.key)}" data-prompts="{escape(shelf.prompts)}">\n<h2>{escape(shelf.title)}</h2>\n'
        f"<p>Prompts: {escape(shelf.rule)} of the set {escape(shelf.prompts)}.</p>\n"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(shelf.title)}">\n<table>\n'
        f"<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n</section>"
    )


def _cell(shelf: Shelf, picture: Picture, row: int, column: int) -> str:
    values = {
        "id": f"{shelf.key}-{row}-{column}",
        "href": picture.image,
        "data-system": picture.system,
        "data-caption": picture.caption,
        "data-seed": str(picture.seed),
        "data-source": picture.source,
        "data-command": f"nox -s {shelf.key}",
    }
    attributes = " ".join(f'{name}="{escape(value)}"' for name, value in values.items())
    alt = escape(f"{picture.caption}, by {picture.system}")
    return f'<td><a {attributes}><img src="{escape(picture.thumbnail)}" alt="{alt}" loading="lazy"></a></td>'
