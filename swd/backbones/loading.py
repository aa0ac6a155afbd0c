"""Load a pipeline with an error that a user can act on."""

from typing import Any

from safetensors import SafetensorError

from swd.errors import PipelineError
from swd.pipelines import ScalewiseStableDiffusion3Pipeline


def load_pipeline(name: str, **options: Any) -> ScalewiseStableDiffusion3Pipeline:
    """``from_pretrained`` of any StableDiffusion3Pipeline, with or without T5.

    Raises:
        PipelineError: a missing folder, or a missing, truncated or foreign weight file.
    """
    try:
        return ScalewiseStableDiffusion3Pipeline.from_pretrained(name, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PipelineError(f"cannot load the pipeline {name}: {error}") from error
