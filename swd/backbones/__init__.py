"""Networks behind one interface: each folder is a family of models, `base.py` what the method may ask of any.

Which family a pipeline belongs to says the name of its class, as ``model_index.json`` holds it. Families are imported
when one is first asked for, so that importing this package costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swd.errors import PipelineError

if TYPE_CHECKING:
    from swd.backbones.base import Backbone, Denoiser

# The registry: one line for each family, the module that holds its BACKBONE.
FAMILIES = {
    "flux": "swd.backbones.flux.backbone",
    "sd3": "swd.backbones.sd3.backbone",
    "sdxl": "swd.backbones.sdxl.backbone",
}

_registered: "dict[str, Backbone]" = {}


def register(backbone: "Backbone") -> None:
    """Make a family known that is not in this package; one of the same name is replaced."""
    _registered[backbone.name] = backbone


def backbone_named(name: str) -> "Backbone":
    """The family of that name.

    Raises:
        PipelineError: there is none.
    """
    if name not in _registered and name in FAMILIES:
        register(import_module(FAMILIES[name]).BACKBONE)
    if name not in _registered:
        raise PipelineError(f"no backbone {name!r}, known are {', '.join(sorted({*FAMILIES, *_registered}))}")
    return _registered[name]


def backbone_of_class(*names: str) -> "Backbone":
    """The family that serves pipelines of a class; with several names, the first that any family knows.

    Raises:
        PipelineError: none does.
    """
    families = [backbone_named(name) for name in sorted({*FAMILIES, *_registered})]
    known = {pipeline: family for family in families for pipeline in family.pipelines}
    for name in names:
        if name in known:
            return known[name]
    raise PipelineError(f"no backbone serves pipelines of class {names[0]}, known are {', '.join(sorted(known))}")


def backbone_of(pipeline: Any) -> "Backbone":
    """The family of a loaded pipeline, by its class or one that this derives from.

    Raises:
        PipelineError: it belongs to none.
    """
    return backbone_of_class(*(kind.__name__ for kind in type(pipeline).__mro__))


def backbone_of_folder(name: str | Path) -> "Backbone":
    """The family of a pipeline folder, or of a name on the Hub.

    Raises:
        PipelineError: no pipeline is there, or it belongs to none.
    """
    from diffusers import DiffusionPipeline

    try:
        config = DiffusionPipeline.load_config(str(name))
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())  # of several lines
        raise PipelineError(f"cannot load the pipeline {name}: {said}") from error
    return backbone_of_class(str(config.get("_class_name")))


def denoiser_of(pipeline: Any) -> "Denoiser":
    """The network of a loaded pipeline as the method sees it.

    Raises:
        PipelineError: the pipeline belongs to no family.
    """
    backbone = backbone_of(pipeline)
    return backbone.denoiser(backbone.network(pipeline))
