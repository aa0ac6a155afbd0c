"""The mini-CLIP: a small open_clip model of scenes and captions, for measuring only.

It is trained on scenes that the pipeline never sees, and nothing of it enters the training of the pipeline.
"""

import json
from dataclasses import asdict
from pathlib import Path

import open_clip
import torch
from open_clip import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from repro.worlds.mini.data import IMAGE_SIZE, SAMPLE, Scenes
from repro.worlds.mini.fit import FitConfig, fit
from repro.worlds.mini.precision import mixed_precision
from repro.worlds.mini.text import TEXT_LENGTH, tokenize

CLIP_FIT = FitConfig(iterations=900, batch_size=128, lr=2e-3, ema_decay=0.99, weight_decay=0.05, seed=20)
EMBED_DIM = 64
VISION = CLIPVisionCfg(layers=4, width=96, head_width=32, mlp_ratio=4.0, patch_size=8, image_size=IMAGE_SIZE)
PIXEL_MEAN, PIXEL_STD = (0.5,) * 3, (0.5,) * 3


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextCfg:
    """Text tower; its tokenizer lies in the same folder, as open_clip's `local-dir:` layout wants it."""
    return CLIPTextCfg(
        context_length=TEXT_LENGTH,
        vocab_size=len(tokenizer),
        hf_tokenizer_name="tokenizer",
        width=64,
        heads=2,
        layers=3,
        pool_type="eos",
        eos_id=tokenizer.eos_token_id,
    )


def contrastive_loss(images: Tensor, texts: Tensor, same: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy; images that share a caption are all positives of each other.

    Args:
        images: unit vectors (B, D).
        texts: unit vectors (B, D).
        same: (B, B), True where two captions are equal.
        logit_scale: inverse temperature.
    """
    target = same.float() / same.sum(1, keepdim=True)
    logits = logit_scale * images @ texts.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train_clip(
    scenes: Scenes, tokenizer: CLIPTokenizer, folder: Path, device: torch.device, config: FitConfig = CLIP_FIT
) -> open_clip.CLIP:
    """Train the mini-CLIP on captioned scenes; a little pixel noise keeps it from reading single pixels."""
    torch.manual_seed(config.seed)
    model = open_clip.CLIP(EMBED_DIM, VISION, text_config(tokenizer)).to(device)
    ids = tokenize(tokenizer, scenes.captions)
    name_of = {caption: index for index, caption in enumerate(dict.fromkeys(scenes.captions))}
    labels = torch.tensor([name_of[caption] for caption in scenes.captions])

    def step(_: int, rng: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(scenes), (config.batch_size,), generator=rng)
        pixels = scenes.batch(index)
        pixels = (pixels + 0.05 * torch.randn(pixels.shape, generator=rng)).to(device)
        with mixed_precision(device):
            seen = model.encode_image(pixels, normalize=True)
            said = model.encode_text(ids[index].to(device), normalize=True)
        same = (labels[index][:, None] == labels[index]).to(device)
        return {"loss": contrastive_loss(seen.float(), said.float(), same, model.logit_scale.exp().clamp(max=100))}

    return fit("mini-CLIP", model, step, config, folder, [scenes.images[:SAMPLE]])


def save_clip(model: open_clip.CLIP, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the folder that `open_clip.create_model("local-dir:...")` and `open_clip.get_tokenizer` read."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "vision_cfg": _given(VISION),
            "text_cfg": _given(text_config(tokenizer)),
        },
        "preprocess_cfg": {"mean": PIXEL_MEAN, "std": PIXEL_STD},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)


def _given(config: CLIPVisionCfg | CLIPTextCfg) -> dict[str, object]:
    """The settings that differ from open_clip's defaults."""
    default = asdict(type(config)())
    return {key: value for key, value in asdict(config).items() if value != default[key]}
