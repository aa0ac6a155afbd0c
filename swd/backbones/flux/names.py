"""Layers of FLUX.1 in diffusers, and in the code that it was published with.

Left out is ``norm_out``, whose halves diffusers swapped.
"""

from swd.lora.layouts.naming import LayerNames, Part, qkv

_OURS, _THEIRS = "transformer_blocks.{}", "double_blocks.{}"
_OUR_SINGLE, _THEIR_SINGLE = "single_transformer_blocks.{}", "single_blocks.{}"
_IN_BLOCKS = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
}
_EMBEDDERS = {"timestep_embedder": "time_in", "text_embedder": "vector_in", "guidance_embedder": "guidance_in"}
_MLP_RATIO = 4  # hidden features of a single block's MLP, in widths of its attention

NAMES = LayerNames(
    renamed={
        **{f"{_OURS}.{ours}": f"{_THEIRS}.{theirs}" for ours, theirs in _IN_BLOCKS.items()},
        f"{_OUR_SINGLE}.proj_out": f"{_THEIR_SINGLE}.linear2",
        f"{_OUR_SINGLE}.norm.linear": f"{_THEIR_SINGLE}.modulation.lin",
        "x_embedder": "img_in",
        "context_embedder": "txt_in",
        **{f"time_text_embed.{ours}.linear_1": f"{theirs}.in_layer" for ours, theirs in _EMBEDDERS.items()},
        **{f"time_text_embed.{ours}.linear_2": f"{theirs}.out_layer" for ours, theirs in _EMBEDDERS.items()},
        "proj_out": "final_layer.linear",
    },
    fused={
        f"{_THEIRS}.img_attn.qkv": qkv(*(f"{_OURS}.attn.to_{name}" for name in "qkv")),
        f"{_THEIRS}.txt_attn.qkv": qkv(*(f"{_OURS}.attn.add_{name}_proj" for name in "qkv")),
        f"{_THEIR_SINGLE}.linear1": (
            *qkv(*(f"{_OUR_SINGLE}.attn.to_{name}" for name in "qkv")),
            Part(f"{_OUR_SINGLE}.proj_mlp", _MLP_RATIO),
        ),
    },
)
