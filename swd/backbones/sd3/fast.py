"""Fast inference of SD3 and SD3.5: whatever does not depend on the latents is computed once, ahead of the loop.

AdaLN modulates every block by linear(silu(time + text)). Neither part depends on the latents, and the linears hold a
third of SD3.5's weights, so the modulation of all steps is one product per linear ahead of the loop: those weights are
read once per call rather than once per step. So is the text embedded once.

The network that runs is a copy that shares all weights with the user's, which stays as it is. In the copy the linears
of AdaLN only pick columns of a tensor that travels in place of the pooled text, so diffusers' own code runs unchanged
and a compiled block sees plain tensors.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero, RMSNorm, SD35AdaLayerNormZeroX
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from swd.backbones.compiled import many_compilations
from swd.backbones.fast import FastOptions
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.backbones.shared_weights import merged_layers, snapshot, substitute

_GRAPH_MODES = ("reduce-overhead", "max-autotune")  # on CUDA they record CUDA graphs
_KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_CUDA_ONLY = ("cudnn", "efficient")
_ADAPTIVE_NORMS = (AdaLayerNormZero, AdaLayerNormContinuous, SD35AdaLayerNormZeroX)


class StepCondition(TextCondition):
    """Condition of one evaluation, made by `FastSD3Denoiser.prepare`.

    ``prompt_embeds`` holds the embedded text (B, L, D) and ``pooled`` the modulation (B, W) of all blocks; what is
    switched off stays as `TextCondition` has it.
    """

    __slots__ = ()


class FastSD3Denoiser(SD3Denoiser):
    """SD3Denoiser for inference, same answers; `prepare` computes ahead what does not depend on the latents.

    Weights are shared with ``transformer`` and follow it, but for the copies of merged layers: `fits` says whether
    the transformer is still the one that this was built from.

    Args:
        transformer: the network; it is not changed.
        options: which parts are on.

    Raises:
        ValueError: when offloading hooks are on the transformer, an adapter cannot be merged, or the device lacks the
            attention kernel.
    """

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        options: FastOptions | None = None,
    ) -> None:
        options = options or FastOptions()
        _check(transformer, options)
        network = substitute(transformer, merged_layers(transformer)) if options.merge_lora else transformer
        super().__init__(_lean(network, options))
        self.options = options
        self.modulation = Modulation(network) if options.modulation else None
        self.embed_text = network.context_embedder if options.text else nn.Identity()
        self._built_from = snapshot(transformer)

    def fits(self, transformer: nn.Module) -> bool:
        """Whether ``transformer`` is the one this was built from, with the same weights, adapters and device."""
        return snapshot(transformer) == self._built_from

    def prepare(self, sigmas: Tensor, cond: TextCondition) -> list[StepCondition]:
        """Everything the evaluations need beside the latents.

        Args:
            sigmas: noise level of each evaluation and image, (K, B).
            cond: text condition, one row or one per image.

        Returns:
            K conditions of B rows each.
        """
        steps, batch = sigmas.shape
        cond = cond.to(dtype=self.dtype)
        text = TextCondition(self.embed_text(cond.prompt_embeds), cond.pooled).expand_to(batch)
        rows: Sequence[Tensor] = [text.pooled] * steps
        if self.modulation is not None:
            rows = self.modulation(self.process.timestep(sigmas.flatten()), text.pooled.repeat(steps, 1)).chunk(steps)
        embeds = text.prompt_embeds.contiguous()  # a stride of 0 would have the first block compiled again
        return [StepCondition(embeds, row) for row in rows]

    def predict(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        """The velocity, noise - x0, (B, C, H, W); a condition that is not prepared is prepared first."""
        if not isinstance(cond, StepCondition):
            (cond,) = self.prepare(sigma[None], cond)
        with ExitStack() as stack:
            stack.enter_context(_attention(self.options.attention, x_t.device))
            if _compiles(self.network, self.options):
                stack.enter_context(many_compilations())
                if self.options.compile_mode in _GRAPH_MODES:
                    # or a block would count as the next step, and free the output of the one before it
                    torch.compiler.cudagraph_mark_step_begin()
            return super().predict(x_t, sigma, cond)


class Modulation(nn.Module):
    """Modulation (N, W) of all AdaLN layers from timesteps (N,) and pooled text (N, D_pooled)."""

    def __init__(self, transformer: SD3Transformer2DModel) -> None:
        super().__init__()
        self.embed = transformer.time_text_embed
        self.linears = nn.ModuleList([norm.linear for norm in adaptive_norms(transformer)])
        self.widths: list[int] = [norm.linear.out_features for norm in adaptive_norms(transformer)]

    def forward(self, timestep: Tensor, pooled: Tensor) -> Tensor:
        """One product per layer for all rows."""
        embedded = nn.functional.silu(self.embed(timestep, pooled))
        rows = embedded.new_empty(len(embedded), sum(self.widths))
        start = 0
        for linear, width in zip(self.linears, self.widths, strict=True):
            rows[:, start : start + width] = linear(embedded)  # in place: torch.cat would take the memory twice
            start += width
        return rows


class _Columns(nn.Module):
    """Stands for a linear of AdaLN: its output is computed already, and lies in some columns of the input."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, modulation: Tensor) -> Tensor:
        return modulation[:, self.start : self.stop]


class _BlockColumns(nn.Module):
    """Hands a block its own columns, so that blocks of one kind are the same code to the compiler."""

    def __init__(self, block: nn.Module, columns: _Columns) -> None:
        super().__init__()
        self.block, self.columns = block, columns

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, *args: Any, **kw: Any) -> Any:
        return self.block(hidden_states, encoder_hidden_states, self.columns(temb), *args, **kw)


class _Given(nn.Module):
    """Stands for the embedding of time and text where the modulation comes in place of the pooled text."""

    def forward(self, timestep: Tensor, pooled: Tensor) -> Tensor:
        return pooled


def adaptive_norms(module: nn.Module) -> list[Any]:
    """AdaLN layers, in the order in which a network lists its modules."""
    return [part for part in module.modules() if isinstance(part, _ADAPTIVE_NORMS)]


def _lean(transformer: SD3Transformer2DModel, options: FastOptions) -> SD3Transformer2DModel:
    """The network without what is computed ahead, its blocks compiled where asked for."""
    swaps: dict[nn.Module, nn.Module] = {}
    start = 0
    for block in transformer.transformer_blocks:
        inside, width = _picking(adaptive_norms(block), 0) if options.modulation else ({}, 0)
        if options.fused_norm:
            inside |= {norm: _fused(norm) for norm in block.modules() if isinstance(norm, RMSNorm)}
        swaps[block] = _compiled(copy.copy(substitute(block, inside)), options)
        if options.modulation:
            swaps[block] = _BlockColumns(swaps[block], _Columns(start, start + width))
        start += width
    if options.modulation:
        swaps |= {transformer.time_text_embed: _Given(), **_picking([transformer.norm_out], start)[0]}
    if options.text:
        swaps[transformer.context_embedder] = nn.Identity()
    return substitute(transformer, swaps)


def _picking(norms: Sequence[Any], start: int) -> tuple[dict[nn.Module, nn.Module], int]:
    """Swaps after which AdaLN layers pick their columns from ``start`` on, and the column after the last."""
    swaps: dict[nn.Module, nn.Module] = {}
    for norm in norms:
        stop = start + norm.linear.out_features
        swaps |= {norm.silu: nn.Identity(), norm.linear: _Columns(start, stop)}
        start = stop
    return swaps, start


def _fused(norm: Any) -> Any:
    """The same normalisation as one operator, on the same weight."""
    if getattr(norm, "bias", None) is not None:
        return norm
    fused = nn.RMSNorm(norm.dim, eps=norm.eps, elementwise_affine=False)
    fused.weight = norm.weight
    return fused


def _compiles(module: nn.Module, options: FastOptions) -> bool:
    on_cuda = next(module.parameters()).device.type == "cuda"
    return on_cuda if options.compile is None else options.compile


def _compiled(block: nn.Module, options: FastOptions) -> nn.Module:
    if _compiles(block, options):
        block.compile(fullgraph=True, dynamic=True, mode=options.compile_mode)  # dynamic: one code for all scales
    return block


def _check(transformer: nn.Module, options: FastOptions) -> None:
    if not isinstance(transformer, SD3Transformer2DModel):
        raise ValueError(f"the fast path needs an SD3Transformer2DModel, got {type(transformer).__name__}")
    hooked = [name or "itself" for name, module in transformer.named_modules() if "forward" in vars(module)]
    if hooked:
        raise ValueError(
            f"the fast path cannot run with offloading or other hooks that replace forward, found on {len(hooked)} "
            f"modules of the transformer (first: {hooked[0]}); remove them or call disable_fast()"
        )
    if options.attention in _CUDA_ONLY and transformer.device.type != "cuda":
        raise ValueError(f"attention {options.attention!r} needs a CUDA device, got {transformer.device}")


def _attention(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """Choice of kernels for the calls inside; SD3's attention processor calls torch and not diffusers' backends."""
    if name in _KERNELS:
        return sdpa_kernel(_KERNELS[name])
    if name == "auto" and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0):
        return sdpa_kernel(list(_KERNELS.values()), set_priority=True)
    return nullcontext()
