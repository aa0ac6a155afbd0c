"""Load a pipeline, or some parts of one, with an error that a user can act on."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from swd.backbones import backbone_of_folder
from swd.errors import PipelineError

_BROKEN = (OSError, ValueError, RuntimeError, SafetensorError)  # what reading a bad folder raises


def load_pipeline(name: str | Path, **options: Any) -> Any:
    """The scale-wise pipeline of any family, from a folder or a name on the Hub; options of ``from_pretrained``.

    Raises:
        PipelineError: a missing folder, a pipeline of no known family, or a missing, truncated or foreign weight file.
    """
    backbone = backbone_of_folder(name)
    try:
        return backbone.load_pipeline(str(name), **options)
    except _BROKEN as error:
        raise PipelineError(f"cannot load the pipeline {name}: {error}") from error


def load_parts(name: str | Path, *parts: str, **options: Any) -> Any:
    """The pipeline with some of its networks alone; its tokenizers are always there.

    In place of the others stands None, and in place of the network itself one without weights: text encoding asks it
    how wide the text is where there is no T5.

    Args:
        name: a folder, or a name on the Hub.
        parts: of the network, ``vae`` and the text encoders, those to load.
        options: of ``from_pretrained``.

    Raises:
        PipelineError: as `load_pipeline`.
    """
    backbone = backbone_of_folder(name)
    absent: dict[str, Any] = {part: None for part in ("vae", *backbone.text_encoders) if part not in parts}
    if backbone.component not in parts:
        absent[backbone.component] = backbone.skeleton(name).network
    return load_pipeline(name, **absent, **options)


def local_folder(name: str | Path, *, variant: str | None = None) -> Path:
    """The folder of a pipeline on this machine; one on the Hub is downloaded first.

    Raises:
        PipelineError: it is neither here nor there.
    """
    if Path(name).is_dir():
        return Path(name)
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(str(name), variant=variant))
    except _BROKEN as error:
        raise PipelineError(f"cannot load the pipeline {name}: {error}") from error
