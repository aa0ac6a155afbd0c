"""ComfyUI: one file, ``diffusion_model.`` and published names, an alpha tensor for each layer.

ComfyUI reads kohya's and diffusers' names too, but no options in a header: a scale other than 1 needs alpha tensors.
"""

from collections.abc import Sequence

from swd.lora.layouts.adapter import Adapter
from swd.lora.layouts.contents import Contents
from swd.lora.layouts.naming import LayerNames, Part
from swd.lora.layouts.published import Spelling

FILE = "comfyui_lora.safetensors"


def _parts(names: LayerNames | None, layer: str) -> Sequence[Part]:
    """Diffusers' own names pass as they are."""
    known = () if names is None else names.parts(layer)
    return known or (Part(layer),)


_SPELLING = Spelling(
    networks=("diffusion_model.", "model.diffusion_model."),
    text_encoders={
        "text_encoders.clip_l.transformer.": "text_encoder",
        "text_encoders.clip_g.transformer.": "text_encoder_2",
        "text_encoders.t5xxl.transformer.": "text_encoder_3",
    },
    parts=_parts,
    spell=str,
)


def recognises(contents: Contents) -> bool:
    """By the prefix of its keys."""
    return _SPELLING.recognises(contents)


def read(contents: Contents, names: LayerNames | None) -> Adapter:
    """Published names are understood by those of the family."""
    return _SPELLING.read(contents, names)


def write(adapter: Adapter, component: str, names: LayerNames | None) -> dict[str, Contents]:
    """Under published names."""
    return {FILE: _SPELLING.write(adapter, names)}
