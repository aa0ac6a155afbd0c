"""The converted detector against mmdet 3.3.0, whose outputs on the same weights and image are recorded.

The record was made by loading `geneval_checkpoints.state(version=3)` into mmdet's own Mask2Former with a Swin backbone
(CPU, deformable attention of mmcv in PyTorch), the image through mmcv's resize (OpenCV) and mmdet's instance
post-processing. There, too, `shapes(PUBLISHED, version=3)` were found to be the 649 names and shapes of mmdet's model
of the published configuration, and those of version 2 the names of mmcv's transformer layers as mmdet 2 has them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from geneval_checkpoints import PUBLISHED, TINY, checkpoint, detector_folder, shapes, state
from PIL import Image
from transformers import Mask2FormerForUniversalSegmentation

from repro.metrics.geneval.convert import config_of, convert, load_model
from repro.metrics.geneval.detector import Detector
from repro.metrics.geneval.keys import renamed, unfolded

RECORDED = json.loads((Path(__file__).parent / "golden" / "geneval_mmdet.json").read_text())


def image(height: int = 256) -> Image.Image:
    """Blocks of colour, made of integers; at a height of 256 the detector does not resize it."""
    blocks = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    return Image.fromarray(np.repeat(np.repeat(blocks, 20, 0), 20, 1)[:height])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detector_folder(tmp_path_factory.mktemp("geneval") / "detector")


def test_resizing_is_that_of_opencv_but_for_its_fixed_point(folder: Path) -> None:
    prepare = Detector(folder).prepare
    pixels, inner = prepare(image(260))
    assert (inner, pixels.shape) == ((256, 335), (1, 3, 256, 352))
    assert not pixels[..., 335:].any()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (prepare.mean, prepare.std))
    levels = (pixels[0, :, ::37, :335:41] * std + mean) * 255
    assert np.abs(levels.permute(1, 2, 0).reshape(-1, 3).numpy() - np.array(RECORDED["resized"])).max() < 1.001


def test_logits_are_those_of_mmdet(folder: Path) -> None:
    pixels, _ = Detector(folder).prepare(image())
    assert float(pixels.mean()) == pytest.approx(RECORDED["input_mean"], abs=1e-6)
    said = load_model(folder)(pixel_values=pixels)
    logits, expected = said.class_queries_logits[0, :, :6].numpy(), np.array(RECORDED["class_logits"])
    assert np.abs(logits - expected).max() < 1e-4
    masks, expected = said.masks_queries_logits[0, ::4, ::16, ::24].flatten(1).numpy(), np.array(RECORDED["mask_rows"])
    assert np.abs(masks - expected).max() < 1e-4 * np.abs(expected).max()


def test_objects_are_those_of_mmdet(folder: Path) -> None:
    found = [(label, item) for label, items in Detector(folder)(image(), least=0.05).items() for item in items]
    found.sort(key=lambda pair: -pair[1].score)
    assert len(found) == len(RECORDED["objects"]) > 10
    for (label, item), (theirs, score, box, area) in zip(found, RECORDED["objects"], strict=True):
        assert label == theirs
        assert item.score == pytest.approx(score, abs=1e-5)
        assert item.box.tolist() == box
        assert item.mask is not None
        assert item.mask.shape == (256, 340)
        assert int(item.mask.sum()) == pytest.approx(area, abs=3)


def test_patch_merging_in_both_orders_is_one_function() -> None:
    rng = torch.Generator().manual_seed(0)
    image, weight = torch.randn(1, 5, 8, 6, generator=rng), torch.randn(7, 20, generator=rng)
    theirs = torch.nn.functional.unfold(image, 2, stride=2).transpose(1, 2) @ weight.T  # mmdet: (c, y, x)
    rows = image.permute(0, 2, 3, 1)
    corners = [rows[:, y::2, x::2] for x in (0, 1) for y in (0, 1)]
    ours = torch.cat(corners, -1).flatten(1, 2) @ unfolded(weight).T
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_published_layout_fills_the_published_architecture() -> None:
    weights = renamed({name: torch.empty(shape, device="meta") for name, shape in shapes(PUBLISHED)})
    config = config_of(weights)
    backbone = config.backbone_config
    assert (backbone.embed_dim, backbone.depths, backbone.num_heads) == (96, [2, 2, 18, 2], [3, 6, 12, 24])
    assert (backbone.window_size, backbone.mlp_ratio, config.hidden_dim, config.num_queries) == (7, 4.0, 256, 100)
    assert (config.encoder_layers, config.decoder_layers, config.num_attention_heads) == (6, 10, 8)
    assert (config.encoder_feedforward_dim, config.dim_feedforward, config.num_labels) == (1024, 2048, 80)
    assert config.id2label[19] == "cow"
    with torch.device("meta"):
        model = Mask2FormerForUniversalSegmentation(config)
    unread = sum(value.numel() for name, value in model.named_parameters() if ".swin.layernorm." in name)
    wanted = sum(value.numel() for value in model.state_dict().values())
    assert sum(value.numel() for value in weights.values()) == wanted - unread
    assert len(list(shapes(PUBLISHED))) == 649


def test_mmdet_2_and_3_convert_to_the_same_weights(tmp_path: Path) -> None:
    old, new = renamed(state(version=2)), renamed(state(version=3))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_two_images_do_not_know_of_each_other(folder: Path) -> None:
    detector = Detector(folder)
    alone = detector(image(), least=0.05)
    detector(Image.new("RGB", (300, 280)), least=0.05)
    again = detector(image(), least=0.05)
    assert {label: [item.score for item in items] for label, items in alone.items()} == {
        label: [item.score for item in items] for label, items in again.items()
    }


def test_asking_for_less_leaves_out_the_weak_and_nothing_else(folder: Path) -> None:
    detector = Detector(folder)
    every, strong = detector(image(), least=0.0), detector(image(), least=0.3)
    scores = sorted(item.score for items in every.values() for item in items if item.score > 0.3)
    assert sorted(item.score for items in strong.values() for item in items) == scores
    assert scores


def test_conversion_leaves_a_whole_folder_and_its_source(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "tiny.pth")
    source = convert(path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "source.json").read_text()) == source
    assert source["weights"] == len(list(shapes(TINY)))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out", "tiny.pth"]


def test_the_tiny_record_is_of_the_tiny_sizes() -> None:
    assert len(RECORDED["class_logits"]) == TINY.queries
