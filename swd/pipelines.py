"""The pipelines that users import; each lives with its backbone."""

from swd.backbones.flux.pipeline import ScalewiseFluxPipeline
from swd.backbones.sd3.pipeline import ScalewiseStableDiffusion3Pipeline
from swd.backbones.sdxl.pipeline import ScalewiseStableDiffusionXLPipeline

__all__ = ["ScalewiseFluxPipeline", "ScalewiseStableDiffusion3Pipeline", "ScalewiseStableDiffusionXLPipeline"]
