"""ImageReward in transformers' towers against the official package `image-reward` 1.5.

The package needs an environment of its own (`nox -s imagereward`); what it said about the tiny checkpoint is recorded,
so that parity is tested where that environment is missing too.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from metric_checkpoints import image_reward_folder, photograph
from PIL import Image

from repro.metrics.external import official_image_reward
from repro.metrics.external_run import Request, scores_of, write_requests
from repro.metrics.image_reward import ImageReward

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-imagereward" / "bin" / "python"
GOLDEN = HERE / "golden" / "image_reward.json"
CAPTIONS = ["a red star", "Two dogs, and a cat on the square!", "a caf\u00e9 [ENC] star", "a red star " * 20]
SIZES = [(224, 224), (512, 512), (512, 384), (301, 517)]
PROMPTS = [{"id": str(index), "caption": caption} for index, caption in enumerate(CAPTIONS)]
TOLERANCE = 1e-4
official = pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: `nox -s imagereward` makes it")


def ask(folder: Path) -> list[Request]:
    """Pictures on disk, and what to score about them."""
    pairs = list(zip(PROMPTS, SIZES, strict=True))
    for index, (_, size) in enumerate(pairs):
        photograph(index, size).save(folder / f"{index}.png")
    return [Request(prompt["id"], folder / f"{prompt['id']}.png", prompt["caption"]) for prompt, _ in pairs]


def ours(folder: Path, requests: list[Request]) -> np.ndarray:
    pictures = [Image.open(request.image) for request in requests]
    return ImageReward(str(folder), tokenizer=str(folder)).measure(pictures, PROMPTS)["image_reward"]


def test_rewards_are_those_that_the_official_package_gave(tmp_path: Path) -> None:
    recorded = json.loads(GOLDEN.read_text())["scores"]
    found = ours(image_reward_folder(tmp_path), ask(tmp_path))
    np.testing.assert_allclose(found, [recorded[prompt["id"]] for prompt in PROMPTS], atol=TOLERANCE)
    assert np.ptp(found) > 0.5


@official
@pytest.mark.slow
def test_the_record_is_what_the_official_package_gives_today(tmp_path: Path) -> None:
    folder = image_reward_folder(tmp_path)
    write_requests(ask(folder), folder / "requests.jsonl")
    words = [PYTHON, HERE / "official_image_reward_tiny.py", folder, folder / "requests.jsonl"]
    environment = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    recorded = json.loads(GOLDEN.read_text())["scores"]
    assert theirs == pytest.approx(recorded, abs=1e-5)


@official
@pytest.mark.slow
def test_rewards_of_a_full_checkpoint_are_the_official_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_reward_folder(tmp_path, full=True)  # random weights in the published sizes: 1.8 GB
    requests = ask(folder)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    scorer = official_image_reward(str(PYTHON), folder, tokenizer=folder)
    theirs = scores_of(scorer, requests, tmp_path / "official")
    found = ours(folder, requests)
    np.testing.assert_allclose(found, [theirs[prompt["id"]] for prompt in PROMPTS], atol=TOLERANCE)
    assert np.ptp(found) > 0.1
