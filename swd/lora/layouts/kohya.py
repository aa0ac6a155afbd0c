"""kohya's trainer: one file, published names with ``_`` for ``.``, an alpha tensor for each layer.

Also read: diffusers' names in this spelling (``lora_unet_down_blocks_1_...``), and the prefix ``lora_transformer_`` of
OneTrainer.
"""

from collections.abc import Sequence

from swd.lora.layouts.adapter import Adapter
from swd.lora.layouts.contents import Contents
from swd.lora.layouts.naming import LayerNames, Part
from swd.lora.layouts.published import Spelling

FILE = "kohya_lora.safetensors"


def _parts(names: LayerNames | None, flat: str) -> Sequence[Part]:
    return () if names is None else names.parts_of_flat(flat)


_SPELLING = Spelling(
    networks=("lora_unet_", "lora_transformer_"),
    text_encoders={
        "lora_te1_": "text_encoder",
        "lora_te2_": "text_encoder_2",
        "lora_te3_": "text_encoder_3",
        "lora_te_": "text_encoder",
    },
    parts=_parts,
    spell=lambda name: name.replace(".", "_"),
)


def recognises(contents: Contents) -> bool:
    """By the prefix of its keys."""
    return _SPELLING.recognises(contents)


def read(contents: Contents, names: LayerNames | None) -> Adapter:
    """Published names are understood by those of the family."""
    return _SPELLING.read(contents, names)


def write(adapter: Adapter, component: str, names: LayerNames | None) -> dict[str, Contents]:
    """Under published names, whatever the family's network is called in diffusers."""
    return {FILE: _SPELLING.write(adapter, names)}
