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
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, Dinov2Config, Dinov2Model

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


def dino_folder(folder: Path, *, seed: int = 0) -> Path:
    """DINOv2 in transformers' layout: patches of 14 on 37 x 37 positions, as the published ones have."""
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14, layerscale_value=0.5
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Dinov2Model(config)
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
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


MED_CONFIG = {  # as published, for BERT-base beside ViT-L
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30524,
    "encoder_width": 768,
    "add_cross_attention": True,
}
FULL_VISION = {"width": 1024, "depth": 24, "image": 224}
TINY_VISION = {"width": 128, "depth": 2, "image": 32}
TINY_MED = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
FULL_HEAD, TINY_HEAD = (1024, 128, 64, 16, 1), (32, 16, 8, 4, 1)
WORDS = (
    "a",
    "red",
    "blue",
    "green",
    "star",
    "cross",
    "square",
    "circle",
    "of",
    "two",
    "and",
    "on",
    "dog",
    "cat",
    "##s",
    "##ing",
)


def bert_folder(folder: Path, *, size: int) -> Path:
    """A BERT vocabulary of ``size`` tokens: special ones where BERT has them, words, letters, the rest unused."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    signs = list("0123456789,.;:!?'()-")
    known = [*WORDS, *letters, *signs, *(f"##{sign}" for sign in (*letters, *"0123456789"))]
    start = ["[PAD]", *(f"[unused{index}]" for index in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = list(dict.fromkeys([*start, *known]))
    tokens += [f"[unused{index}]" for index in range(99, 99 + size - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


def image_reward_folder(folder: Path, *, full: bool = False, seed: int = 0) -> Path:
    """ImageReward.pt, med_config.json and BERT's vocabulary; ``full``: in the published sizes, 1.8 GB.

    Weights come from numpy's generator, so a score recorded under one version of torch holds under the next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = MED_CONFIG if full else {**MED_CONFIG, **TINY_MED, "vocab_size": 300}
    vision, head = (FULL_VISION, FULL_HEAD) if full else (TINY_VISION, TINY_HEAD)
    rng = np.random.default_rng(seed)
    shapes = {**vision_shapes(**vision), **text_shapes(config, vision["width"]), **head_shapes(config, head)}
    state = {name: torch.from_numpy(draw(rng, name, shape)) for name, shape in shapes.items()}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(config["max_position_embeddings"])[None]
    torch.save(state, folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(config))
    return bert_folder(folder, size=config["vocab_size"] - 2)


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices of unit gain, embeddings of half a unit, norms about 1, biases about 0."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if ("embed" in name and "patch" not in name and "LayerNorm" not in name) or name.endswith("cls_token"):
        return values / 2
    if len(shape) > 1:
        return values / np.float32(np.prod(shape[1:])) ** np.float32(0.5)
    return values * np.float32(0.2) + np.float32("norm" in name.lower() and name.endswith("weight"))


def linear(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vision_shapes(*, width: int, depth: int, image: int) -> dict[str, tuple[int, ...]]:
    """BLIP's vision tower, patch 16, and the projection beside it."""
    root = "blip.visual_encoder"
    shapes = {f"{root}.cls_token": (1, 1, width), f"{root}.pos_embed": (1, (image // 16) ** 2 + 1, width)}
    shapes |= {f"{root}.patch_embed.proj.weight": (width, 3, 16, 16), f"{root}.patch_embed.proj.bias": (width,)}
    for block in (f"{root}.blocks.{index}" for index in range(depth)):
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.qkv", 3 * width, width) | linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.fc1", 4 * width, width) | linear(f"{block}.mlp.fc2", width, 4 * width)
    return shapes | norm(f"{root}.norm", width) | linear("blip.vision_proj", 256, width)


def text_shapes(config: dict, vision_width: int) -> dict[str, tuple[int, ...]]:
    """BERT with cross-attention, and the projection beside it."""
    root, width, inner = "blip.text_encoder", config["hidden_size"], config["intermediate_size"]
    shapes = {f"{root}.embeddings.word_embeddings.weight": (config["vocab_size"], width)}
    shapes |= {f"{root}.embeddings.position_embeddings.weight": (config["max_position_embeddings"], width)}
    shapes |= norm(f"{root}.embeddings.LayerNorm", width)
    for layer in (f"{root}.encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        for attention, source in (("attention", width), ("crossattention", vision_width)):
            shapes |= linear(f"{layer}.{attention}.self.query", width, width)
            shapes |= linear(f"{layer}.{attention}.self.key", width, source)
            shapes |= linear(f"{layer}.{attention}.self.value", width, source)
            shapes |= linear(f"{layer}.{attention}.output.dense", width, width)
            shapes |= norm(f"{layer}.{attention}.output.LayerNorm", width)
        shapes |= linear(f"{layer}.intermediate.dense", inner, width) | linear(f"{layer}.output.dense", width, inner)
        shapes |= norm(f"{layer}.output.LayerNorm", width)
    return shapes | linear("blip.text_proj", 256, width)


def head_shapes(config: dict, widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Five linear layers; dropouts take the numbers between the first four."""
    shapes, width = {}, config["hidden_size"]
    for number, out in zip((0, 2, 4, 6, 7), widths, strict=True):
        shapes |= linear(f"mlp.layers.{number}", out, width)
        width = out
    return shapes
