"""The real images behind captions, as a network wants them: centre squares of one side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.harness.experiment import ExperimentError
from repro.metrics import Prompt
from repro.worlds.prompts.entry import PromptEntry, PromptFileError
from repro.worlds.references import ENDINGS, images_below

ReadImage = Callable[[Path], Image.Image]
"""Gives the RGB image of a file, or raises an `ExperimentError` that names it."""
READERS = 8  # threads: decoding lets go of Python's lock


@dataclass(frozen=True, slots=True)
class ImagesOfPrompts:
    """Files by the id of the prompt that each belongs to.

    Attributes:
        files: of every prompt that has one.
        missing: name of the image of every prompt whose file is not there; empty where a prompt names no image.
        folder: that was searched, for messages.
    """

    files: Mapping[str, Path]
    missing: Mapping[str, str]
    folder: Path

    @classmethod
    def of(cls, entries: Iterable[PromptEntry], folder: Path) -> "ImagesOfPrompts":
        """Look for the images of prompts below a folder, by name, whatever the ending."""
        there = {_stem(path.relative_to(folder).as_posix()): path for path in images_below(folder)}
        files, missing = {}, {}
        for entry in entries:
            if (found := there.get(_stem(entry.image or ""))) is not None:
                files[entry.id] = found
            else:
                missing[entry.id] = entry.image or ""
        return cls(files, missing, folder)

    def of_prompts(self, prompts: Sequence[Prompt]) -> list[Path]:
        """The file of each prompt.

        Raises:
            PromptFileError: one has none; the first is named, and how many there are.
        """
        lost = list(dict.fromkeys(prompt["prompt_id"] for prompt in prompts if prompt["prompt_id"] not in self.files))
        if lost:
            name = self.missing.get(lost[0], "")
            what = f"the first is {name} (of prompt {lost[0]})" if name else f"prompt {lost[0]} names none"
            raise PromptFileError(
                f"{len(lost)} of {len(prompts)} prompts have no real image in {self.folder}: {what}; expected a file "
                f"that ends in {', '.join(ENDINGS)}"
            )
        return [self.files[prompt["prompt_id"]] for prompt in prompts]


def check_readable(files: Iterable[Path], read: ReadImage) -> None:
    """Read every file once, several at a time, and keep none.

    Raises:
        PromptFileError: some cannot be read; the first is named, and how many there are.
    """

    def problem(file: Path) -> str:
        try:
            read(file)
        except ExperimentError as error:
            return str(error)
        return ""

    files = list(dict.fromkeys(files))
    with ThreadPoolExecutor(READERS) as readers:
        problems = list(filter(None, readers.map(problem, files)))
    if problems:
        raise PromptFileError(f"{len(problems)} of {len(files)} real images cannot be read, the first: {problems[0]}")


def centre_square(image: Image.Image, side: int) -> Tensor:
    """The largest centre square of an RGB image, by Lanczos' filter to ``side``: (3, side, side) in [-1, 1]."""
    width, height = image.size
    own = min(width, height)
    left, top = (width - own) // 2, (height - own) // 2
    square = image.crop((left, top, left + own, top + own)).resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1) / 127.5 - 1


def _stem(name: str) -> str:
    return name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in ENDINGS else name
