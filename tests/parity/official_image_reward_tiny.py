"""Scores of the official image-reward package in tiny sizes: those of tests/parity/golden/image_reward.json.

Runs in the package's own environment. The package builds ViT-L only, so its own vision, text and head classes are put
together here in the sizes of a checkpoint; its scoring code is called as it is.

    .venv-imagereward/bin/python tests/parity/official_image_reward_tiny.py FOLDER REQUESTS
"""

import json
import os
import sys
from pathlib import Path

import torch


def build(folder: Path) -> torch.nn.Module:
    """The package's ImageReward, its parts in the sizes of the checkpoint."""
    from ImageReward.ImageReward import MLP, ImageReward, _transform
    from ImageReward.models.BLIP.blip import init_tokenizer
    from ImageReward.models.BLIP.med import BertConfig, BertModel
    from ImageReward.models.BLIP.vit import VisionTransformer

    state = torch.load(folder / "ImageReward.pt", weights_only=True)
    width = state["blip.visual_encoder.cls_token"].shape[-1]
    depth = len([name for name in state if name.endswith("attn.qkv.weight")])
    side = 16 * round((state["blip.visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    config = BertConfig.from_json_file(folder / "med_config.json")
    config.encoder_width = width
    model = ImageReward.__new__(ImageReward)
    torch.nn.Module.__init__(model)
    model.device, model.preprocess = "cpu", _transform(side)
    model.mean, model.std = 0.16717362830052426, 1.0333394966054072
    model.blip = torch.nn.Module()
    model.blip.visual_encoder = VisionTransformer(side, 16, embed_dim=width, depth=depth, num_heads=width // 64)
    model.blip.text_encoder = BertModel(config=config, add_pooling_layer=False)
    model.blip.tokenizer = init_tokenizer()
    model.mlp = MLP(config.hidden_size)
    for number in (0, 2, 4, 6, 7):
        out, inner = state[f"mlp.layers.{number}.weight"].shape
        model.mlp.layers[number] = torch.nn.Linear(inner, out)
    extra = model.load_state_dict(state, strict=False)
    assert not extra.missing_keys, extra
    assert {name.split(".")[1] for name in extra.unexpected_keys} <= {"vision_proj", "text_proj"}, extra
    return model.eval()


def main() -> None:
    """Print a score for each request, by id."""
    folder, requests = (Path(argument).resolve() for argument in sys.argv[1:])
    os.chdir(folder)
    if not Path("bert-base-uncased").exists():
        Path("bert-base-uncased").symlink_to(folder)  # the name that the package asks for
    model = build(folder)
    lines = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    print(json.dumps({line["id"]: model.score(line["caption"], line["image"]) for line in lines}))


if __name__ == "__main__":
    main()
