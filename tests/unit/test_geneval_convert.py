import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from geneval_checkpoints import checkpoint, detector_folder, state

from repro.metrics.base import WeightsError
from repro.metrics.geneval.convert import convert, main, read_checkpoint
from repro.metrics.geneval.detector import Detector, Preprocessing

OFFSETS = "panoptic_head.pixel_decoder.encoder.layers.1.attentions.0.sampling_offsets.weight"


class Thing:
    """Not data."""


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("backbone.layer1.0.conv1.weight", torch.zeros(2, 3), r"backbone.layer1.0.conv1.weight \(2, 3\) has no place"),
        (OFFSETS, None, r"1 missing keys, the first is .*layers.1.self_attn.sampling_offsets.weight"),
        (OFFSETS, torch.zeros(3, 4), r"1 mismatched keys, .*layers.1.self_attn.sampling_offsets.weight"),
        ("backbone.norm3.weight", None, r"missing keys, the first is .*hidden_states_norms.stage4.weight"),
        ("panoptic_head.cls_embed.bias", None, "panoptic_head.cls_embed.bias is missing"),
        ("panoptic_head.query_feat.weight", None, "queries_features.weight is missing after renaming"),
    ],
)
def test_another_model_is_refused_by_its_first_name(
    tmp_path: Path, name: str, value: torch.Tensor | None, message: str
) -> None:
    weights = state()
    weights.pop(name, None)
    path = saved(tmp_path / "c.pth", {"state_dict": weights if value is None else {**weights, name: value}})
    with pytest.raises(WeightsError, match=message):
        convert(path, tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["c.pth"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such file: .*curl -L -O https://download.openmmlab.com/.*743b7d99.pth"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"holds no state dict; expected tensors by name"):
        read_checkpoint(saved(tmp_path / "a.pth", {"epoch": 3}))
    with pytest.raises(WeightsError, match=r"nothing of it is run: .*Thing\. Expected the published file") as refused:
        read_checkpoint(saved(tmp_path / "b.pth", {"state_dict": {}, "hook": Thing()}))
    assert "weights_only" not in str(refused.value)
    whole = checkpoint(tmp_path / "c.pth").read_bytes()
    (tmp_path / "torn.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cannot read .*torn.pth: .*is it truncated"):
        read_checkpoint(tmp_path / "torn.pth")
    renamed = (tmp_path / "c.pth").rename(tmp_path / "mask2former-743b7d99.pth")
    with pytest.raises(WeightsError, match=r"is not the file of that name: its SHA-256 begins with"):
        read_checkpoint(renamed)


def test_what_mmdet_keeps_beside_the_weights_is_read_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    losses = module.HistoryBuffer()
    losses.values = np.array([3.0, 2.0])
    extra = {
        "seed": np.int64(3),
        "mean": np.float32(0.5),
        "palette": np.zeros((2, 3), np.uint8),
        "best": np.bool_(True),
    }
    weights, meta = {"w": torch.arange(3.0)}, {"CLASSES": ("a", "b"), "losses": losses, **extra}
    with monkeypatch.context() as there:
        for name in ("mmengine", "mmengine.logging"):
            there.setitem(sys.modules, name, types.ModuleType(name))
        there.setitem(sys.modules, module.__name__, module)
        path = saved(tmp_path / "a.pth", {"state_dict": weights, "meta": meta})
    assert torch.equal(read_checkpoint(path)["w"], weights["w"])


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    path = saved(tmp_path / "a.pth", {"state_dict": {}, "meta": Runs()})
    with pytest.raises(WeightsError, match="nothing of it is run"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(tmp_path / "c.pth")
    assert main([str(path), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "weights of c.pth" in said
    assert "not GenEval's own detector" in said
    assert main([str(path), str(tmp_path / "out")]) == 1
    assert "is there already; expected a new folder" in capsys.readouterr().err
    assert main([str(path)]) == 2


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = detector_folder(tmp_path / "detector")
    preprocessing = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"it lacks 'size'; expected size, size_divisor, image_mean and image_std"):
        Detector(folder)
    (folder / "preprocessor_config.json").write_text(preprocessing)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(WeightsError, match=r"model.safetensors is truncated"):
        Detector(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"missing in .*model.safetensors.*python -m repro.metrics.geneval.convert"):
        Detector(folder)


@pytest.mark.parametrize(
    ("size", "resized"),
    [((1024, 1024), (800, 800)), ((512, 512), (800, 800)), ((480, 640), (800, 1067)), ((300, 900), (444, 1333))],
)
def test_sizes_are_those_of_mmcv(size: tuple[int, int], resized: tuple[int, int]) -> None:
    prepare = Preprocessing(shorter=800, longer=1333, multiple=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert prepare.size(*size) == resized
