"""Preprocessing by several threads is that of one, to the last bit and in order."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from metric_checkpoints import photograph, processor_folder
from PIL.Image import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil

from repro.metrics import dino, image_reward, preprocess
from repro.metrics.inception import recipe_named
from repro.metrics.preprocess import stacked

PICTURES = [photograph(seed, (60 + 7 * seed, 90)) for seed in range(9)]
TRANSFORMS: dict[str, Callable[[Image], Tensor]] = {
    "inception": recipe_named("swd"),
    "dino": dino.preprocess,
    "image_reward": image_reward.preprocessing(32),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_threads_give_what_one_gives(name: str) -> None:
    transform = TRANSFORMS[name]
    assert torch.equal(stacked(transform, PICTURES), torch.stack([transform(image) for image in PICTURES]))
    assert torch.equal(stacked(transform, PICTURES[3:4]), transform(PICTURES[3])[None])


def test_clip_s_processor_gives_each_image_what_it_gives_all(tmp_path: Path) -> None:
    processor = CLIPImageProcessorPil.from_pretrained(processor_folder(tmp_path))
    whole = processor(PICTURES, return_tensors="pt")["pixel_values"]
    found = stacked(lambda image: processor(image, return_tensors="pt")["pixel_values"][0], PICTURES)
    assert torch.equal(found, whole)


def test_several_work_at_once() -> None:
    together = threading.Barrier(preprocess.WORKERS, timeout=60)

    def transform(image: Image) -> Tensor:
        together.wait()  # broken, unless as many threads as there should be are here
        return torch.tensor(image.size)

    assert stacked(transform, PICTURES[: preprocess.WORKERS])[:, 0].tolist() == [60 + 7 * i for i in range(8)]


def test_an_error_passes_through() -> None:
    def transform(image: Image) -> Tensor:
        raise ValueError(f"no {image.size}")

    with pytest.raises(ValueError, match=r"no \(60, 90\)"):
        stacked(transform, PICTURES)
