"""docs/scaling.md against what it counts: sizes of caches, and of a base that GPUs share."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import scaling
from repro.harness.files import ROOT
from swd.data import cache_ladder
from swd.schedule import preset

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def cache_gib(name: str, channels: int) -> float:
    """Latents in bfloat16 of 1,000 images: one for every side, and one for the lower side of every pair."""
    sides, pairs = cache_ladder([preset(name).scales])
    numbers = channels * (sum(side**2 for side in sides) + sum(low**2 for low, _ in pairs))
    return 1000 * 2 * numbers / 2**30


def test_a_cache_without_embeddings_is_as_large_as_its_latents() -> None:
    sizes = [cache_gib(*case) for case in (("sd35-6", 16), ("sd35-4", 16), ("sdxl-4", 4))]
    assert f"| {', '.join(f'{size:.2f}' for size in sizes)} GiB; with `--moments` twice that |" in PAGE
    assert cache_gib("flux-4", 16) == cache_gib("sd35-4", 16)


def test_what_lies_outside_the_blocks_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.ModuleDict({"head": nn.Linear(10, 10, bias=False), "one": nn.Linear(40, 2, bias=False)})
    network["two"] = nn.Linear(40, 4, bias=False)
    found = SimpleNamespace(network=network.to(torch.float32), units=[network["one"], network["two"]])
    monkeypatch.setattr(scaling, "denoiser_of", lambda _: found)
    monkeypatch.setattr(scaling.Distilled, "_pipeline", None)
    assert scaling.Distilled("sd35-medium").sharded == 4 * (240 / scaling.GPUS + 100 + 2 * 160)


def test_no_page_says_that_a_gpu_is_still_to_run_what_one_has_run() -> None:
    told = [PAGE, *(path.read_text(encoding="utf-8") for path in (ROOT / "swd" / "kernels").glob("*.py"))]
    for text in (" ".join(one.split()) for one in told):
        assert "No GPU has run" not in text
        assert "waits for its first measurement" not in text
