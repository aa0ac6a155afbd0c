r"""The official package `image-reward`, in the environment that `nox -s imagereward` makes.

.venv-imagereward/bin/python repro/metrics/runners/image_reward_official.py requests.jsonl results.jsonl \
        --weights FOLDER [--tokenizer FOLDER] [--device cpu]
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from file_contract import add_scores, arguments, unscored  # type: ignore[import-not-found]  # beside this file


def main() -> None:
    """Read requests, write a result for each."""
    parser = arguments("Score images with the official image-reward package.", device="cpu")
    parser.add_argument("--weights", type=Path, required=True, help="folder with ImageReward.pt and med_config.json")
    parser.add_argument("--tokenizer", type=Path, help="folder of bert-base-uncased; else the hub's cache is asked")
    given = parser.parse_args()
    if todo := unscored(given.requests, given.results):
        model = load(given.weights.resolve(), given.tokenizer, given.device)
        add_scores(todo, given.results, lambda part: [model.score(line["caption"], line["image"]) for line in part])


def load(weights: Path, tokenizer: Path | None, device: str) -> Any:
    """The package's model; it asks for its tokenizer by a name, which a folder of that name here answers."""
    import ImageReward  # type: ignore[import-not-found]  # of the other environment

    options = {"device": device, "med_config": str(weights / "med_config.json")}
    if tokenizer is None:
        return ImageReward.load(str(weights / "ImageReward.pt"), **options)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bert-base-uncased").symlink_to(tokenizer.resolve())
        os.chdir(folder)
        try:
            return ImageReward.load(str(weights / "ImageReward.pt"), **options)
        finally:
            os.chdir(here)


if __name__ == "__main__":
    main()
