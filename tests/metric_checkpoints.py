"""Checkpoints of metrics as they are published, small enough to build in a test: true layouts, random weights.

Widths and depths are tiny. Names of files and tensors, tokenizers and preprocessing are those of the originals; CLIP's
vocabulary is the real one, which open_clip ships.
"""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

SIDE, PATCH, CONTEXT = 32, 16, 77
START, END = "<|startoftext|>", "<|endoftext|>"
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": PATCH},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}


def photograph(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    """A picture with large shapes and fine grain, RGB, of a size (width, height)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with its whole vocabulary."""
    simple = open_clip.SimpleTokenizer()
    vocab = dict(simple.encoder)
    for ours, theirs in ((START, "<start_of_text>"), (END, "<end_of_text>")):
        vocab[ours] = vocab.pop(theirs)
    return CLIPTokenizer(vocab=vocab, merges=list(simple.bpe_ranks), model_max_length=CONTEXT)


def clip_config() -> CLIPConfig:
    """ViT-H-14 of laion in miniature: GELU, a text tower of another width than the image tower."""
    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu", "projection_dim": 16}
    text = {"hidden_size": 24, "intermediate_size": 96, "bos_token_id": 49406, "eos_token_id": 49407}
    return CLIPConfig(
        projection_dim=16,
        text_config={**common, **text},
        vision_config={**common, "hidden_size": 32, "intermediate_size": 128, "image_size": SIDE, "patch_size": PATCH},
    )


def clip_model(*, seed: int = 0) -> CLIPModel:
    """Random weights, spread enough that scores differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(clip_config()).eval()
        shake(model)
    return model


def shake(model: torch.nn.Module) -> None:
    """Replace weights by draws of unit gain, biases and norms included: fresh ones would hide a mistake in either."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)


def clip_folder(folder: Path, *, seed: int = 0) -> Path:
    """CLIP in transformers' layout: model, image processor, tokenizer."""
    clip_model(seed=seed).save_pretrained(folder)
    return processor_folder(folder)


def processor_folder(folder: Path) -> Path:
    """Image processor and tokenizer alone, as PickScore takes them from another model."""
    sides = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    CLIPImageProcessorPil(**sides).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    return folder


def pickscore_folder(folder: Path, *, seed: int = 1) -> Path:
    """PickScore_v1: a CLIPModel without a processor."""
    clip_model(seed=seed).save_pretrained(folder)
    return folder


def open_clip_model(*, seed: int = 0) -> open_clip.model.CLIP:
    """Random weights, spread enough that scores differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vision, text = (
            open_clip.CLIPVisionCfg(**OPEN_CLIP["vision_cfg"]),
            open_clip.CLIPTextCfg(**OPEN_CLIP["text_cfg"]),
        )
        model = open_clip.model.CLIP(OPEN_CLIP["embed_dim"], vision, text).eval()
        shake(model)
    return model


def open_clip_folder(folder: Path, *, seed: int = 0) -> Path:
    """CLIP in open_clip's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in open_clip_model(seed=seed).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    preprocess = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    config = {"model_cfg": OPEN_CLIP, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder
