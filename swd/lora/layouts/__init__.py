"""Layouts of adapter files: a module for each, with what it reads and what it writes.

=============  =======================================================================================
``peft``       a folder: ``adapter_config.json``, ``adapter_model.safetensors``, keys ``base_model.model.``
``diffusers``  one file, keys ``transformer.`` or ``unet.``, options in its header; also the older names
``kohya``      one file, keys ``lora_unet_`` with ``_`` for ``.``, an alpha tensor for each layer
``comfy``      one file, keys ``diffusion_model.`` and published names, an alpha tensor for each layer
=============  =======================================================================================
"""

from typing import Literal, Protocol

from swd.lora.layouts import comfy, diffusers, kohya, peft
from swd.lora.layouts.adapter import Adapter
from swd.lora.layouts.contents import Contents
from swd.lora.layouts.naming import LayerNames

LayoutName = Literal["peft", "diffusers", "kohya", "comfy"]


class Layout(Protocol):
    """What a module of this package has."""

    FILE: str

    def recognises(self, contents: Contents) -> bool:
        """Whether a file has this layout, wholly or in part."""
        ...

    def read(self, contents: Contents, names: LayerNames | None) -> Adapter:
        """The adapter; ``names`` are those of its family, where published names have to be understood."""
        ...

    def write(self, adapter: Adapter, component: str, names: LayerNames | None) -> dict[str, Contents]:
        """Contents of the files, by name."""
        ...


LAYOUTS: dict[LayoutName, Layout] = {"peft": peft, "kohya": kohya, "comfy": comfy, "diffusers": diffusers}


def layout_of(contents: Contents) -> LayoutName:
    """Layout of a file; the last, diffusers', may have keys without any prefix."""
    return next(name for name, layout in LAYOUTS.items() if name == "diffusers" or layout.recognises(contents))


def read(contents: Contents, names: LayerNames | None = None) -> Adapter:
    """The adapter in a file of any layout.

    Raises:
        AdapterError: it holds what LoRA layers of linear maps and convolutions cannot represent, or a layer that its
            family does not have; the message names the first key.
    """
    return LAYOUTS[layout_of(contents)].read(contents, names)
