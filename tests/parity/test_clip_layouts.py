"""One CLIP model in both layouts: open_clip against transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_checkpoints import (
    clip_config,
    clip_tokenizer,
    open_clip_folder,
    open_clip_model,
    photograph,
    processor_folder,
)
from torch import Tensor
from transformers import CLIPModel

from repro.metrics.clip_vit_h import clip_vit_h_score

CAPTIONS = [
    "a red star",
    "A Photograph of an astronaut, riding a horse; 8k (masterpiece)",
    "caf\u00e9 & \u00e9clair in 1999 -- don't!",
    "star " * 100,
]
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "logit_scale": "logit_scale",
}


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under transformers' names: packed attention split, projections transposed."""
    found = {
        "visual_projection.weight": state.pop("visual.proj").T.contiguous(),
        "text_projection.weight": state.pop("text_projection").T.contiguous(),
    }
    for name, tensor in state.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        _, in_block, rest = name.partition("resblocks.")
        if not in_block:
            stem = name if name in OUTSIDE else name.rpartition(".")[0]
            found[OUTSIDE[stem] + name.removeprefix(stem)] = tensor
            continue
        index, _, inner = rest.partition(".")
        block = f"{tower}.encoder.layers.{index}"
        if inner.startswith("attn.in_proj_"):
            kind = inner.removeprefix("attn.in_proj_")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{block}.self_attn.{part}_proj.{kind}"] = piece.contiguous()
        else:
            module, _, kind = inner.rpartition(".")
            found[f"{block}.{IN_BLOCK[module]}.{kind}"] = tensor
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    theirs = open_clip_folder(tmp_path_factory.mktemp("open_clip"))
    model = CLIPModel(clip_config())
    model.load_state_dict(to_transformers(dict(open_clip_model().state_dict())))
    ours = tmp_path_factory.mktemp("transformers")
    model.save_pretrained(ours)
    return theirs, processor_folder(ours)


def test_both_layouts_score_alike(folders: tuple[Path, Path]) -> None:
    pictures = [photograph(seed, size) for seed, size in enumerate([(32, 32), (128, 128), (96, 64), (64, 96)])]
    prompts = [{"caption": caption} for caption in CAPTIONS]
    first, second = (clip_vit_h_score(str(folder)).measure(pictures, prompts) for folder in folders)
    np.testing.assert_allclose(second["clipscore"], first["clipscore"], atol=2e-6)
    np.testing.assert_array_equal(second["clipscore.cut"], first["clipscore.cut"])
    assert np.ptp(first["clipscore"]) > 0.05


def test_margins_that_cannot_be_equal_are_cut_a_pixel_apart(folders: tuple[Path, Path]) -> None:
    picture, prompt = photograph(0, (32, 43)), [{"caption": "a red star"}]  # 11 rows too many
    for folder, top in zip(folders, (6, 5), strict=True):  # open_clip rounds 5.5 to even, transformers down
        metric = clip_vit_h_score(str(folder))
        whole, cut = (metric.measure([p], prompt)["clipscore"] for p in (picture, picture.crop((0, top, 32, top + 32))))
        np.testing.assert_allclose(whole, cut, atol=1e-6)


def test_both_tokenizers_give_the_same_tokens() -> None:
    import open_clip

    theirs = open_clip.SimpleTokenizer(context_length=77)(CAPTIONS)
    ours = clip_tokenizer()(CAPTIONS, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    mask = ours["attention_mask"].bool()
    assert torch.equal(ours["input_ids"][mask], theirs[mask])
    assert not theirs[~mask].any()  # padding, which nothing attends to
