"""Subclasses of diffusers pipelines that sample scale by scale."""

from swd.pipelines.sd3 import ScalewiseStableDiffusion3Pipeline

__all__ = ["ScalewiseStableDiffusion3Pipeline"]
