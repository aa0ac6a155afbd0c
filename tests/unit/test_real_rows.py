"""Rows of real images: what they are, what they show, and that nothing takes them for a teacher's."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from harness_world import record

from repro.harness.experiment import Row
from repro.harness.files import ROOT
from repro.harness.plan import steps_of
from repro.harness.schema import RecordSet
from repro.kinds.scores.available import unavailable
from repro.kinds.scores.declare import real_rows
from repro.kinds.scores.given_sources import RealSource
from repro.kinds.scores.options import ScoresOptions
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.tables import NOT_SAMPLED, prompt_set
from repro.metrics.base import pixels
from repro.profiles import load_profile, smoke
from repro.stages.autoencoders import load_vae, reconstructed, vae_digest
from repro.stages.store import StageStore
from repro.table2 import TABLE as TABLE2
from repro.table4 import TABLE as TABLE4
from repro.worlds.mini.scenes import render, sample_scene
from repro.worlds.mini.world import MiniWorld

REAL, DECODED = real_rows("Real scenes", "mini", "smoke")
SHORT = smoke.PROFILE.prompt_sets[0]


def source(row: Row, tmp_path: Path) -> RealSource:
    """Images are handed on as they are made."""
    world = MiniWorld(smoke.PROFILE, ROOT)
    own = SimpleNamespace(world=world, device=torch.device("cpu"), store=StageStore(tmp_path))

    def made(label: str, prompts: Any, inputs: Any, make: Any, *, side: int) -> Any:
        assert side == 64
        return make()(prompts)

    return RealSource(SimpleNamespace(measurement=own, profile=smoke.PROFILE, made=made), row)  # type: ignore[arg-type]


def test_a_real_row_shows_the_scenes_behind_the_captions_and_the_other_what_the_vae_makes_of_them(
    tmp_path: Path,
) -> None:
    prompts = MiniWorld(smoke.PROFILE, ROOT).prompts("short")[:3]
    scenes = np.stack([render(sample_scene(prompt["seed"], prompt["kind"])) for prompt in prompts])
    real, decoded = (source(row, tmp_path).images("short", prompts) for row in (REAL, DECODED))
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in real]), scenes)
    expected = reconstructed(load_vae(smoke.PROFILE, ROOT), torch.from_numpy(scenes).permute(0, 3, 1, 2))
    assert torch.equal(pixels(decoded), expected)


def test_only_images_through_the_vae_follow_from_it(tmp_path: Path) -> None:
    real, decoded = (source(row, tmp_path).inputs() for row in (REAL, DECODED))
    assert "vae" not in real
    assert len(decoded["vae"]) == 64
    assert real["world"] == decoded["world"]


def test_a_vae_is_what_it_is_wherever_it_lies(tmp_path: Path) -> None:
    folder = ROOT / smoke.PROFILE.weights.pipeline / "vae"
    shutil.copytree(folder, tmp_path / "elsewhere" / "vae")
    config = tmp_path / "elsewhere" / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_diffusers_version": "0.1.0"}))
    here, there = load_vae(smoke.PROFILE, ROOT), load_vae(smoke.PROFILE, tmp_path, pipeline="elsewhere")
    assert vae_digest(here) == vae_digest(there)
    there.register_to_config(scaling_factor=2.0)
    assert vae_digest(here) != vae_digest(there)
    with torch.no_grad():
        next(here.parameters()).view(-1)[0] += 1
    assert vae_digest(here) != vae_digest(load_vae(smoke.PROFILE, ROOT))


class OnACard(torch.Tensor):
    """Stands in for a tensor of an accelerator, whose numbers NumPy cannot have."""

    def numpy(self, *, force: bool = False) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self, *_: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_vae_is_what_it_is_on_a_card_too(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = load_vae(smoke.PROFILE, ROOT)
    expected = vae_digest(vae)
    moved = {name: tensor.as_subclass(OnACard) for name, tensor in vae.state_dict().items()}
    monkeypatch.setattr(vae, "state_dict", lambda: moved)
    assert vae_digest(vae) == expected


def test_real_images_are_nobody_s(tmp_path: Path) -> None:
    for row in (REAL, DECODED):
        assert not row.is_teacher
        assert not row.is_student
        assert steps_of(smoke.PROFILE, row) is None
        assert unavailable(smoke.PROFILE, row, ScoresOptions(out=tmp_path, work=tmp_path, command="")) == ""
    with pytest.raises(ValueError, match="row r is a student, a system, a folder of images or the real ones"):
        Row("r", "R", real="real", images=True)


@pytest.mark.parametrize("table", [TABLE2, TABLE4])
def test_they_come_first_where_the_world_has_them_and_no_claim_is_about_them(table: Any) -> None:
    assert [row.key for row in table.rows_in("mini")[:3]] == ["real", "real_decoded", "teacher"]
    assert not any(row.real for row in table.rows_in("sd35-medium"))
    rows = {row for claim in table.claims for row in (claim.check.candidate, claim.check.baseline)}
    assert not rows & {"real", "real_decoded"}
    found = ScoresResult(table, load_profile("mini"), RecordSet.of([]))
    assert not any(row.real for row in found.scored_rows)


def test_a_cost_that_nobody_paid_is_a_dash() -> None:
    made = [record("teacher", "", "tokens", 512), record("real", "short", "scene_score", 0.98)]
    text = "\n".join(prompt_set(ScoresResult(TABLE2, load_profile("mini"), RecordSet.of(made)), SHORT))
    line = next(line for line in text.splitlines() if line.startswith("| Real scenes "))
    assert [cell.strip() for cell in line.split("|")][2:4] == ["\u2014", "\u2014 (a)"]
    assert f"- (a) {NOT_SAMPLED}" in text
