"""Load a pipeline with an error that a user can act on."""

from typing import Any

from safetensors import SafetensorError

from swd.backbones import backbone_of_folder
from swd.errors import PipelineError


def load_pipeline(name: str, **options: Any) -> Any:
    """The scale-wise pipeline of any family, from a folder or a name on the Hub; options of ``from_pretrained``.

    Raises:
        PipelineError: a missing folder, a pipeline of no known family, or a missing, truncated or foreign weight file.
    """
    backbone = backbone_of_folder(name)
    try:
        return backbone.load_pipeline(name, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PipelineError(f"cannot load the pipeline {name}: {error}") from error
