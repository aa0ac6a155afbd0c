"""Names of the published detector's weights (mmdet 2 and 3) and what they are called in a hub folder of transformers.

mmdet 3 renamed the layers of the two transformers; a checkpoint of mmdet 2, such as GenEval's, is renamed first. Three
things differ in more than name:

- queries, keys and values of a Swin block are one matrix in mmdet and three here;
- Swin's patch merging flattens four neighbours by `unfold`, channel by channel and row by row: (c, 2 y + x). Here the
neighbours
  follow one another whole, column by column: (2 x + y, c). The columns of the reduction and the norm before it change
  places;
- the same holds for the self-attention of the decoder, whose in-projection is cut in three.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.metrics.base import WeightsError

ENCODER = "model.pixel_level_module.encoder"
PIXELS = "model.pixel_level_module.decoder"
QUERIES = "model.transformer_module"

_OF_MMDET_2 = (
    (r"(pixel_decoder\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.0\.", r"\1.cross_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.1\.", r"\1.self_attn."),
    (r"((?:pixel_decoder\.encoder|transformer_decoder)\.layers\.\d+)\.ffns\.0\.", r"\1.ffn."),
)


def unfolded(weight: Tensor) -> Tensor:
    """Last axis of size 4 C from the order of `unfold`, (c, 2 y + x), to (2 x + y, c)."""
    parts: Tensor = weight.unflatten(-1, (-1, 2, 2))  # (..., c, y, x)
    return parts.movedim(-3, -1).transpose(-3, -2).flatten(-3).contiguous()


@dataclass(frozen=True, slots=True)
class Rule:
    """Where weights of a pattern go: one name, or three of equal parts, and what is done to them; none drops them."""

    pattern: str
    names: tuple[str, ...] = ()
    change: Callable[[Tensor], Tensor] | None = None

    def __call__(self, name: str, value: Tensor) -> dict[str, Tensor] | None:
        """The weights under their new names, or None where the pattern is another."""
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        changed = value if self.change is None else self.change(value)
        parts = changed.chunk(len(self.names)) if self.names else ()
        return {match.expand(new): part.clone() for new, part in zip(self.names, parts, strict=True)}


_KIND = r"(weight|bias)"
_BLOCK = r"backbone\.stages\.(\d+)\.blocks\.(\d+)"
_TO_BLOCK = rf"{ENCODER}.encoder.layers.\1.blocks.\2"
_PIXEL_LAYER = r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)"
_TO_PIXEL_LAYER = rf"{PIXELS}.encoder.layers.\1"
_QUERY_LAYER = r"panoptic_head\.transformer_decoder\.layers\.(\d+)"
_TO_QUERY_LAYER = rf"{QUERIES}.decoder.layers.\1"

BACKBONE = (
    Rule(rf"backbone\.patch_embed\.projection\.{_KIND}", (rf"{ENCODER}.embeddings.patch_embeddings.projection.\1",)),
    Rule(rf"backbone\.patch_embed\.norm\.{_KIND}", (rf"{ENCODER}.embeddings.norm.\1",)),
    Rule(rf"{_BLOCK}\.norm1\.{_KIND}", (rf"{_TO_BLOCK}.layernorm_before.\3",)),
    Rule(rf"{_BLOCK}\.norm2\.{_KIND}", (rf"{_TO_BLOCK}.layernorm_after.\3",)),
    Rule(
        rf"{_BLOCK}\.attn\.w_msa\.qkv\.{_KIND}",
        tuple(rf"{_TO_BLOCK}.attention.self.{part}.\3" for part in ("query", "key", "value")),
    ),
    Rule(
        rf"{_BLOCK}\.attn\.w_msa\.(relative_position_bias_table)",
        (rf"{_TO_BLOCK}.attention.self.relative_position_bias_table",),
    ),
    Rule(rf"{_BLOCK}\.attn\.w_msa\.relative_position_index"),  # follows from the size of the window, here as there
    Rule(rf"{_BLOCK}\.attn\.w_msa\.proj\.{_KIND}", (rf"{_TO_BLOCK}.attention.output.dense.\3",)),
    Rule(rf"{_BLOCK}\.ffn\.layers\.0\.0\.{_KIND}", (rf"{_TO_BLOCK}.intermediate.dense.\3",)),
    Rule(rf"{_BLOCK}\.ffn\.layers\.1\.{_KIND}", (rf"{_TO_BLOCK}.output.dense.\3",)),
    Rule(
        r"backbone\.stages\.(\d+)\.downsample\.(norm\.weight|norm\.bias|reduction\.weight)",
        (rf"{ENCODER}.encoder.layers.\1.downsample.\2",),
        unfolded,
    ),
    *(
        Rule(rf"backbone\.norm{stage}\.{_KIND}", (rf"{ENCODER}.hidden_states_norms.stage{stage + 1}.\1",))
        for stage in range(4)
    ),
)
PIXEL_DECODER = (
    Rule(r"panoptic_head\.pixel_decoder\.level_encoding\.weight", (f"{PIXELS}.level_embed",)),
    Rule(
        rf"panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.conv\.{_KIND}", (rf"{PIXELS}.input_projections.\1.0.\2",)
    ),
    Rule(rf"panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.gn\.{_KIND}", (rf"{PIXELS}.input_projections.\1.1.\2",)),
    Rule(r"panoptic_head\.pixel_decoder\.lateral_convs\.0\.conv\.weight", (f"{PIXELS}.adapter_1.0.weight",)),
    Rule(rf"panoptic_head\.pixel_decoder\.lateral_convs\.0\.gn\.{_KIND}", (rf"{PIXELS}.adapter_1.1.\1",)),
    Rule(r"panoptic_head\.pixel_decoder\.output_convs\.0\.conv\.weight", (f"{PIXELS}.layer_1.0.weight",)),
    Rule(rf"panoptic_head\.pixel_decoder\.output_convs\.0\.gn\.{_KIND}", (rf"{PIXELS}.layer_1.1.\1",)),
    Rule(rf"panoptic_head\.pixel_decoder\.mask_feature\.{_KIND}", (rf"{PIXELS}.mask_projection.\1",)),
    Rule(
        rf"{_PIXEL_LAYER}\.self_attn\.(sampling_offsets|attention_weights|value_proj|output_proj)\.{_KIND}",
        (rf"{_TO_PIXEL_LAYER}.self_attn.\2.\3",),
    ),
    Rule(rf"{_PIXEL_LAYER}\.norms\.0\.{_KIND}", (rf"{_TO_PIXEL_LAYER}.self_attn_layer_norm.\2",)),
    Rule(rf"{_PIXEL_LAYER}\.norms\.1\.{_KIND}", (rf"{_TO_PIXEL_LAYER}.final_layer_norm.\2",)),
    Rule(rf"{_PIXEL_LAYER}\.ffn\.layers\.0\.0\.{_KIND}", (rf"{_TO_PIXEL_LAYER}.fc1.\2",)),
    Rule(rf"{_PIXEL_LAYER}\.ffn\.layers\.1\.{_KIND}", (rf"{_TO_PIXEL_LAYER}.fc2.\2",)),
)
QUERY_DECODER = (
    Rule(
        rf"{_QUERY_LAYER}\.self_attn\.attn\.in_proj_{_KIND}",
        tuple(rf"{_TO_QUERY_LAYER}.self_attn.{part}_proj.\2" for part in "qkv"),
    ),
    Rule(rf"{_QUERY_LAYER}\.(self|cross)_attn\.attn\.out_proj\.{_KIND}", (rf"{_TO_QUERY_LAYER}.\2_attn.out_proj.\3",)),
    Rule(rf"{_QUERY_LAYER}\.cross_attn\.attn\.in_proj_{_KIND}", (rf"{_TO_QUERY_LAYER}.cross_attn.in_proj_\2",)),
    Rule(rf"{_QUERY_LAYER}\.norms\.0\.{_KIND}", (rf"{_TO_QUERY_LAYER}.cross_attn_layer_norm.\2",)),
    Rule(rf"{_QUERY_LAYER}\.norms\.1\.{_KIND}", (rf"{_TO_QUERY_LAYER}.self_attn_layer_norm.\2",)),
    Rule(rf"{_QUERY_LAYER}\.norms\.2\.{_KIND}", (rf"{_TO_QUERY_LAYER}.final_layer_norm.\2",)),
    Rule(rf"{_QUERY_LAYER}\.ffn\.layers\.0\.0\.{_KIND}", (rf"{_TO_QUERY_LAYER}.fc1.\2",)),
    Rule(rf"{_QUERY_LAYER}\.ffn\.layers\.1\.{_KIND}", (rf"{_TO_QUERY_LAYER}.fc2.\2",)),
    Rule(rf"panoptic_head\.transformer_decoder\.post_norm\.{_KIND}", (rf"{QUERIES}.decoder.layernorm.\1",)),
    Rule(r"panoptic_head\.query_embed\.weight", (f"{QUERIES}.queries_embedder.weight",)),
    Rule(r"panoptic_head\.query_feat\.weight", (f"{QUERIES}.queries_features.weight",)),
    Rule(r"panoptic_head\.level_embed\.weight", (f"{QUERIES}.level_embed.weight",)),
    Rule(rf"panoptic_head\.cls_embed\.{_KIND}", (r"class_predictor.\1",)),
    *(
        Rule(
            rf"panoptic_head\.mask_embed\.{2 * layer}\.{_KIND}",
            (rf"{QUERIES}.decoder.mask_predictor.mask_embedder.{layer}.0.\1",),
        )
        for layer in range(3)
    ),
)
RULES = (*BACKBONE, *PIXEL_DECODER, *QUERY_DECODER)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights under the names of transformers.

    Raises:
        WeightsError: a weight has no counterpart; the message names the first.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _OF_MMDET_2:
            new = re.sub(pattern, replacement, new)
        moved = next((moved for rule in RULES if (moved := rule(new, value)) is not None), None)
        if moved is None:
            raise WeightsError(
                f"{name} {tuple(value.shape)} has no place in a Mask2Former with a Swin backbone; expected the weights "
                "of mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
            )
        found.update(moved)
    classes = found.get("class_predictor.bias")
    if classes is None:
        raise WeightsError("panoptic_head.cls_embed.bias is missing; expected the weights of a Mask2Former of mmdet")
    weights = torch.ones_like(classes)  # of a loss: mmdet has them in its configuration
    weights[-1] = 0.1  # of "no object"
    return {**found, "criterion.empty_weight": weights}
