"""Where prompt files and real images lie below the data folder, and how a user gets each (docs/data.md says more).

The folder is ``data/`` in the checkout, or what the environment variable ``SWD_DATA`` names.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.worlds.prompts.entry import PromptFileError

VARIABLE = "SWD_DATA"


def data_folder(root: Path, named: str = "") -> Path:
    """The data folder: the one that is named, else what the environment says, else that of a checkout."""
    if named:
        return root / named
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else root / "data"


def from_here(folder: Path) -> Path:
    """As a user in the current folder would type it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Files of a benchmark.

    Attributes:
        folder: below the data folder.
        files: patterns of the prompt file, the first that is there is read.
        images: folders of real images, below ``folder``; none where no distance is measured.
        prompts_from: a command that gets the prompt file; ``{folder}`` is filled in.
        images_from: one that gets the images.
        licence: what the user agrees to.
    """

    folder: str
    files: tuple[str, ...]
    prompts_from: str
    licence: str
    images: tuple[str, ...] = ()
    images_from: str = ""

    def prompt_file(self, data: Path) -> Path:
        """The prompt file, or the folder itself where it holds parquet.

        Raises:
            PromptFileError: none is there; the message says how to get it, and the licence.
        """
        folder = data / self.folder
        for pattern in self.files:
            if found := sorted(folder.glob(pattern)):
                return folder if pattern.endswith(".parquet") else found[0]
        names = " or ".join(self.files)
        raise PromptFileError(
            f"no prompts in {folder}: expected {names}. To get them: {self.prompts_from.format(folder=folder)} "
            f"(licence: {self.licence}). Another data folder: --data DIR or {VARIABLE}"
        )


BENCHMARKS: Mapping[str, Benchmark] = {
    "coco": Benchmark(
        folder="coco2014",
        files=("coco.csv", "prompts.csv", "uid_caption.csv", "*.csv", "*.parquet", "data/*.parquet"),
        images=("val2014", "images"),
        prompts_from=(
            "curl -L --create-dirs -o {folder}/coco.csv "
            "https://raw.githubusercontent.com/yandex-research/swd/main/src/prompts/coco.csv"
        ),
        images_from=(
            "curl -L --create-dirs -o {folder}/val2014.zip http://images.cocodataset.org/zips/val2014.zip "
            "&& unzip -q -d {folder} {folder}/val2014.zip"
        ),
        licence="captions CC BY 4.0; images under the terms of Flickr, each its own",
    ),
    "mjhq": Benchmark(
        folder="mjhq30k",
        files=("meta_data.json",),
        images=("mjhq30k_imgs", "."),
        prompts_from="hf download playgroundai/MJHQ-30K meta_data.json --repo-type dataset --local-dir {folder}",
        images_from=(
            "hf download playgroundai/MJHQ-30K mjhq30k_imgs.zip --repo-type dataset --local-dir {folder} "
            "&& unzip -q -d {folder}/mjhq30k_imgs {folder}/mjhq30k_imgs.zip"
        ),
        licence="none stated by the authors: see the page of the data set",
    ),
    "geneval": Benchmark(
        folder="geneval",
        files=("evaluation_metadata.jsonl",),
        prompts_from=(
            "curl -L --create-dirs -o {folder}/evaluation_metadata.jsonl "
            "https://raw.githubusercontent.com/djghosh13/geneval/main/prompts/evaluation_metadata.jsonl"
        ),
        licence="MIT",
    ),
    "parti": Benchmark(
        folder="partiprompts",
        files=("PartiPrompts.tsv",),
        prompts_from=(
            "curl -L --create-dirs -o {folder}/PartiPrompts.tsv "
            "https://raw.githubusercontent.com/google-research/parti/main/PartiPrompts.tsv"
        ),
        licence="Apache-2.0",
    ),
}
