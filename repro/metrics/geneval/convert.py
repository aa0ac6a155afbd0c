"""Turns GenEval's detector, a checkpoint of mmdet, into a folder that transformers loads.

    python -m repro.metrics.geneval.convert CHECKPOINT OUT

All sizes follow from the weights, so that a Mask2Former of any Swin converts. The folder is loaded once before it is
given its name: a weight that is missing, has no place or another shape is refused, and nothing is left behind.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from transformers.utils import logging

from repro.harness.files import digest_file
from repro.metrics.base import WeightsError
from repro.metrics.geneval.keys import ENCODER, PIXELS, QUERIES, renamed
from repro.metrics.geneval.names import OBJECTS
from swd.interrupts import ended_by_ctrl_c

PUBLISHED = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth"
SHA256 = "743b7d99"  # begins with it: mmdet puts the first digits into the name
URL = f"https://download.openmmlab.com/mmdetection/v2.0/mask2former/{PUBLISHED.partition('_2022')[0]}/{PUBLISHED}"
UNREAD = re.compile(rf"{ENCODER}\.(swin\.)?layernorm\.(weight|bias)")  # of transformers alone
_CORES = ("core", "_core")  # of numpy 1 and 2
POINTS, LEVELS = 4, 3  # of the deformable attention: they cannot be told from the shapes
PREPROCESSING = {  # of mmdet's test pipeline
    "image_processor_type": "Mask2FormerImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 800, "longest_edge": 1333},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [123.675 / 255, 116.28 / 255, 103.53 / 255],
    "image_std": [58.395 / 255, 57.12 / 255, 57.375 / 255],
    "size_divisor": 32,
    "ignore_index": 255,
    "do_reduce_labels": False,
}


class _HistoryBuffer:
    """In place of mmengine's, which keeps the losses of a training: what it holds is never looked at."""


def _plain_types() -> list[Any]:
    """What checkpoints of mmdet hold beside tensors: arrays and numbers of numpy, by old and new names, and losses."""
    makers = {"_reconstruct": np.zeros(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
    named = [(made, f"numpy.{core}.multiarray.{name}") for name, made in makers.items() for core in _CORES]
    numbers = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [*named, np.ndarray, np.dtype, *numbers, (_HistoryBuffer, "mmengine.logging.history_buffer.HistoryBuffer")]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, read as data: no code of it is run.

    Raises:
        WeightsError: it is missing, truncated, not the file that its name says, holds objects, or no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"no such file: {path}. To get it: curl -L -O {URL}")
    if (stated := re.search(r"-([0-9a-f]{8})\.pth$", path.name)) and not digest_file(path).startswith(stated[1]):
        raise WeightsError(f"{path} is not the file of that name: its SHA-256 begins with {digest_file(path)[:8]}")
    try:
        with torch.serialization.safe_globals(_plain_types()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise WeightsError(
            f"{path} holds more than tensors, arrays and plain data, and nothing of it is run: "
            f"{asked[1] if asked else 'a pickle of another kind'}. Expected the published file, {URL}, or a checkpoint "
            "saved as a state dict alone by whoever trained it"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {_first_line(error)}; is it truncated?") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict; expected tensors by name, or those below 'state_dict'")
    return dict(state)


def config_of(state: Mapping[str, Tensor]) -> Mask2FormerConfig:
    """The architecture that renamed weights have the shapes of.

    Raises:
        WeightsError: a weight that says a size is missing.
    """

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise WeightsError(f"{name} is missing after renaming; expected the weights of a Mask2Former of mmdet")
        return state[name].shape

    depths = [_count(state, rf"{ENCODER}.encoder.layers.{stage}.blocks.") for stage in range(4)]
    tables = [
        shape(f"{ENCODER}.encoder.layers.{stage}.blocks.0.attention.self.relative_position_bias_table")
        for stage in range(4)
    ]
    embeddings = shape(f"{ENCODER}.embeddings.patch_embeddings.projection.weight")
    hidden, channels = shape(f"{ENCODER}.encoder.layers.0.blocks.0.intermediate.dense.weight")
    backbone = SwinConfig(
        embed_dim=embeddings[0],
        patch_size=embeddings[-1],
        depths=depths,
        num_heads=[table[1] for table in tables],
        window_size=(int(tables[0][0] ** 0.5) + 1) // 2,
        mlp_ratio=hidden / channels,
        drop_path_rate=0.3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    width = shape(f"{PIXELS}.mask_projection.weight")[1]
    labels = shape("class_predictor.bias")[0] - 1
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=width,
        hidden_dim=width,
        mask_feature_size=shape(f"{PIXELS}.mask_projection.weight")[0],
        encoder_layers=_count(state, rf"{PIXELS}.encoder.layers."),
        encoder_feedforward_dim=shape(f"{PIXELS}.encoder.layers.0.fc1.bias")[0],
        decoder_layers=_count(state, rf"{QUERIES}.decoder.layers.") + 1,  # transformers counts the queries before them
        dim_feedforward=shape(f"{QUERIES}.decoder.layers.0.fc1.bias")[0],
        num_attention_heads=shape(f"{PIXELS}.encoder.layers.0.self_attn.attention_weights.bias")[0] // POINTS // LEVELS,
        num_queries=shape(f"{QUERIES}.queries_features.weight")[0],
        id2label=dict(enumerate(OBJECTS if labels == len(OBJECTS) else map(str, range(labels)))),
    )


def convert(checkpoint: Path, out: Path) -> dict[str, Any]:
    """Write the folder of a checkpoint.

    Returns:
        What was converted: file, SHA-256, number of weights and parameters. It is left in ``source.json`` too.

    Raises:
        WeightsError: the checkpoint cannot be read or is another model; the folder is there already.
    """
    if out.exists():
        raise WeightsError(f"{out} is there already; expected a new folder")
    state = read_checkpoint(checkpoint)
    weights = renamed(state)
    source = {
        "checkpoint": checkpoint.name,
        "sha256": digest_file(checkpoint),
        "weights": len(state),
        "parameters": sum(value.numel() for value in weights.values()),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "model"
        config = config_of(weights)
        config.architectures = ["Mask2FormerForUniversalSegmentation"]
        config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        _write_json(folder / "preprocessor_config.json", PREPROCESSING)
        _write_json(folder / "source.json", source)
        load_model(folder)
        folder.rename(out)
    return source


def load_model(folder: Path) -> Any:
    """The detector of a folder, in evaluation mode, every weight of it from the file.

    Raises:
        WeightsError: a weight is missing, has no place or another shape; transformers alone would go on with random
        ones.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what it reports is refused below
    try:
        model, said = Mask2FormerForUniversalSegmentation.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True
        )
    except Exception as error:  # safetensors, json, torch and transformers each have their own
        raise WeightsError(f"cannot load the detector in {folder}: {_first_line(error)}") from error
    finally:
        logging.set_verbosity(level)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(name for name in map(str, said[problem]) if not UNREAD.fullmatch(name)):
            raise WeightsError(
                f"{folder}: {len(names)} {problem.replace('_', ' ')}, the first is {names[0]}; expected the weights "
                "that config.json describes"
            )
    return model.requires_grad_(False).eval()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 1 with one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        print("usage: python -m repro.metrics.geneval.convert CHECKPOINT OUT", file=sys.stderr)
        return 2
    try:
        source = convert(Path(given[0]), Path(given[1]))
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    millions = source["parameters"] / 1e6
    print(f"{given[1]}: {source['weights']} weights of {source['checkpoint']}, {millions:.1f} M parameters")
    if not source["sha256"].startswith(SHA256):
        print(f"note: not GenEval's own detector: SHA-256 begins with {source['sha256'][:8]}, expected {SHA256}")
    return 0


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    with ended_by_ctrl_c():
        sys.exit(main())
