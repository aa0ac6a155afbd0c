"""The pipelines that users import; each lives with its backbone."""

from swd.backbones.sd3.pipeline import ScalewiseStableDiffusion3Pipeline

__all__ = ["ScalewiseStableDiffusion3Pipeline"]
