"""A study of noise images, small enough to be made in a test, and a client that votes as a browser without scripts."""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from repro.harness.votes.vote import CRITERIA, Criterion
from repro.study.definition import Study
from repro.study.making import Request, make_study

CAPTIONS = ("a red star", "two blue circles", "a green cat on a <b>mat</b>", "one small house")
ORIGIN = "http://testserver"


def make_images(folder: Path, *, prompts: int, images: int, side: int, seed: int) -> Path:
    """Noise of a few large squares: one file for each image of each prompt."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    for prompt in range(prompts):
        for image in range(images):
            noise = Image.frombytes("RGB", (8, 8), rng.randbytes(8 * 8 * 3))
            noise.resize((side, side)).save(folder / f"{prompt}-{image}.png")
    return folder


def tiny_study(folder: Path, *, criteria: Sequence[Criterion] = CRITERIA, side: int = 16, **changes: Any) -> Study:
    """Two systems; `changes` are fields of `Request`, `prompts` a number."""
    prompts, images = changes.pop("prompts", len(CAPTIONS)), changes.get("images", 1)
    file = folder / "captions.txt"
    file.write_text("".join(f"{CAPTIONS[index % len(CAPTIONS)]}\n" for index in range(prompts)))
    systems = {
        name: make_images(folder / name, prompts=prompts, images=images, side=side, seed=seed)
        for seed, name in enumerate(("ours", "theirs"))
    }
    request = {"images": images, "num_prompts": prompts, "name": "tiny", "criteria": criteria, **changes}
    return make_study(Request(systems=systems, prompts=file, out=folder / "study", **request))


def edit(study: Study, old: str, new: str) -> None:
    """Change the text of a study file."""
    text = study.file.read_text()
    assert old in text
    study.file.write_text(text.replace(old, new, 1))


def hidden(page: str) -> dict[str, str]:
    """Hidden fields of the form of votes, or of the last form of a page."""
    form = page.rpartition("<form")[2] if 'id="vote"' not in page else page.partition('id="vote"')[2]
    return dict(re.findall(r'type="hidden" name="([\w.]+)" value="([^"]*)"', form))


def filled(page: str, choice: str) -> dict[str, str]:
    """A form of votes with one answer to everything."""
    questions = set(re.findall(r'type="radio" name="([\w.]+)"', page))
    return {**hidden(page), **dict.fromkeys(questions, choice)}


class Browser:
    """One assessor with a cookie.

    Args:
        client: of httpx, or Starlette's.
        origin: what a browser says it is at.
    """

    def __init__(self, client: Any, origin: str = ORIGIN) -> None:
        self.client, self.headers = client, {"origin": origin}

    def enter(self, token: str) -> Any:
        """Open the link and press the button."""
        return self.client.post("/enter", data={"token": token}, headers=self.headers)

    def next(self) -> Any:
        """The next page with a pair, past the feedback of training pairs."""
        return self.client.get("/next")

    def vote(self, page: Any, choice: str, **changes: str) -> Any:
        """Send the form of a page."""
        fields = {**filled(page.text, choice), **changes}
        return self.client.post(page.url.path, data=fields, headers=self.headers)

    def vote_all(self, choose: Callable[[str], str] = lambda _: "left") -> int:
        """Vote until nothing is left; returns how many forms were sent."""
        page, sent = self.next(), 0
        while not page.url.path.startswith("/finish"):
            assert page.url.path.startswith("/pair/"), page.text
            page = self.vote(page, choose(page.text))
            sent += 1
            if page.url.path.startswith("/feedback"):
                page = self.next()
        return sent
