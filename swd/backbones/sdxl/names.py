"""Layers of SDXL's UNet in diffusers, and in the code that it was published with, where blocks are numbered through."""

from swd.lora.layouts.naming import LayerNames

_LEVELS, _PER_LEVEL = 3, 2  # resolutions; residual blocks on the way down, one more on the way up
_ATTENTION = tuple(f"{attn}.to_{end}" for attn in ("attn1", "attn2") for end in ("q", "k", "v", "out.0"))
_TRANSFORMER = (
    "proj_in",
    "proj_out",
    *(f"transformer_blocks.{{}}.{layer}" for layer in (*_ATTENTION, "ff.net.0.proj", "ff.net.2")),
)
_RESIDUAL = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _block(ours: str, theirs: str, index: int) -> dict[str, str]:
    """A residual block and the transformer after it, where there is one."""
    residual = {f"{ours}.resnets.{index}.{one}": f"{theirs}.0.{other}" for one, other in _RESIDUAL.items()}
    return residual | {f"{ours}.attentions.{index}.{layer}": f"{theirs}.1.{layer}" for layer in _TRANSFORMER}


def _level(number: int) -> dict[str, str]:
    """One resolution, on the way down and on the way up."""
    down, up = f"down_blocks.{number}", f"up_blocks.{number}"
    first_down, first_up = 1 + number * (_PER_LEVEL + 1), number * (_PER_LEVEL + 1)
    names = {
        f"{down}.downsamplers.0.conv": f"input_blocks.{first_down + _PER_LEVEL}.0.op",
        f"{up}.upsamplers.0.conv": f"output_blocks.{first_up + _PER_LEVEL}.2.conv",
    }
    for index in range(_PER_LEVEL):
        names |= _block(down, f"input_blocks.{first_down + index}", index)
    for index in range(_PER_LEVEL + 1):
        names |= _block(up, f"output_blocks.{first_up + index}", index)
    return names


def _middle() -> dict[str, str]:
    names = {f"mid_block.attentions.0.{layer}": f"middle_block.1.{layer}" for layer in _TRANSFORMER}
    for index in (0, 1):
        names |= {
            f"mid_block.resnets.{index}.{one}": f"middle_block.{2 * index}.{two}" for one, two in _RESIDUAL.items()
        }
    return names


NAMES = LayerNames(
    renamed={
        **{ours: theirs for number in range(_LEVELS) for ours, theirs in _level(number).items()},
        **_middle(),
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
    }
)
