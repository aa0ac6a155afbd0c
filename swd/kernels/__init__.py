"""Computations that torch does with too much memory or too many passes, each beside a plain reference in torch."""

from swd.kernels.modulate import gated_residual, layer_norm_modulate
from swd.kernels.rbf import rbf_mmd
from swd.kernels.renoise import upscale_renoise

__all__ = ["gated_residual", "layer_norm_modulate", "rbf_mmd", "upscale_renoise"]
