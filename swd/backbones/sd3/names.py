"""Layers of SD3 and SD3.5 in diffusers, and in the code that they were published with.

Left out are the modulations whose halves diffusers swapped: ``norm_out``, and ``norm1_context`` of the last block.
"""

from swd.lora.layouts.naming import LayerNames, qkv

_OURS, _THEIRS = "transformer_blocks.{}", "joint_blocks.{}"
_IN_BLOCKS = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "norm1.linear": "x_block.adaLN_modulation.1",
}

NAMES = LayerNames(
    renamed={
        **{f"{_OURS}.{ours}": f"{_THEIRS}.{theirs}" for ours, theirs in _IN_BLOCKS.items()},
        "pos_embed.proj": "x_embedder.proj",
        "context_embedder": "context_embedder",
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
        "proj_out": "final_layer.linear",
    },
    fused={
        f"{_THEIRS}.x_block.attn.qkv": qkv(*(f"{_OURS}.attn.to_{name}" for name in "qkv")),
        f"{_THEIRS}.x_block.attn2.qkv": qkv(*(f"{_OURS}.attn2.to_{name}" for name in "qkv")),
        f"{_THEIRS}.context_block.attn.qkv": qkv(*(f"{_OURS}.attn.add_{name}_proj" for name in "qkv")),
    },
)
