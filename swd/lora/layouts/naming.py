"""Names of layers: diffusers renamed, and split, those of the code in which a network was published.

kohya's trainer and ComfyUI write the published names. A family of networks states both as templates, in which ``{}``
stands for a block's number, and everything else follows, in both directions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a published layer.

    Attributes:
        layer: the layer in diffusers that has them.
        share: how many, in proportion to the other parts.
    """

    layer: str
    share: int = 1


def qkv(query: str, key: str, value: str) -> tuple[Part, ...]:
    """The usual fusion."""
    return Part(query), Part(key), Part(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNames:
    """Layers of a family of networks by both names.

    Attributes:
        renamed: published name of a layer by its name in diffusers.
        fused: parts of a published layer, in the order of their rows.
    """

    renamed: Mapping[str, str]
    fused: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)

    def published(self, layer: str) -> tuple[str, int] | None:
        """Published name of a layer in diffusers, and which part of it that is; None for one it does not know."""
        for template, original in self.renamed.items():
            if (numbers := _match(template, layer)) is not None:
                return original.format(*numbers), 0
        for original, parts in self.fused.items():
            for index, part in enumerate(parts):
                if (numbers := _match(part.layer, layer)) is not None:
                    return original.format(*numbers), index
        return None

    def parts(self, published: str) -> tuple[Part, ...]:
        """Layers in diffusers that a published one became; none for one it does not know."""
        for template, original in self.renamed.items():
            if (numbers := _match(original, published)) is not None:
                return (Part(template.format(*numbers)),)
        for original, parts in self.fused.items():
            if (numbers := _match(original, published)) is not None:
                return tuple(Part(part.layer.format(*numbers), part.share) for part in parts)
        return ()

    def parts_of_flat(self, flat: str) -> tuple[Part, ...]:
        """Layers in diffusers by a name in which kohya put ``_`` for ``.``, published or diffusers' own."""
        for original in (*self.renamed.values(), *self.fused):
            if (numbers := _match(original.replace(".", "_"), flat)) is not None:
                return self.parts(original.format(*numbers))
        own = [*self.renamed, *(part.layer for parts in self.fused.values() for part in parts)]
        for template in own:
            if (numbers := _match(template.replace(".", "_"), flat)) is not None:
                return (Part(template.format(*numbers)),)
        return ()


def _match(template: str, name: str) -> tuple[str, ...] | None:
    found = _pattern(template).fullmatch(name)
    return None if found is None else found.groups()


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{\}", r"(\d+)"))


_CLIP = "text_model.encoder.layers.{}"
_CLIP_LAYERS = (*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
CLIP_NAMES = LayerNames(
    renamed={
        **{f"{_CLIP}.{layer}": f"{_CLIP}.{layer}" for layer in _CLIP_LAYERS},
        "text_projection": "text_projection",
    }
)
