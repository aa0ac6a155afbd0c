"""Fast copies of networks: whatever does not depend on the latents is computed once, ahead of the loop.

Time, text and sizes reach a block through linear layers of their own, AdaLN's of a transformer or those of a UNet's
residual blocks. Nothing that they read depends on the latents, so their products are made for all steps at once ahead
of the loop, and those weights (a third of SD3.5's, a quarter of FLUX's) are read once per call rather than once per
step.

The network that runs is a copy that shares all weights with the user's, which stays as it is. In the copy such a linear
only picks columns of a tensor that travels in place of what it read, so diffusers' own code runs unchanged and a
compiled block sees plain tensors.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from diffusers.models.normalization import (
    AdaLayerNormContinuous,
    AdaLayerNormZero,
    AdaLayerNormZeroSingle,
    RMSNorm,
    SD35AdaLayerNormZeroX,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from swd.backbones.base import Condition
from swd.backbones.compiled import many_compilations
from swd.backbones.fast import FastOptions
from swd.backbones.shared_weights import merged_layers, substitute
from swd.backbones.snapshots import Snapshot

_GRAPH_MODES = ("reduce-overhead", "max-autotune")  # on CUDA they record CUDA graphs
_KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_CUDA_ONLY = ("cudnn", "efficient")
_ADAPTIVE_NORMS = (AdaLayerNormZero, AdaLayerNormZeroSingle, AdaLayerNormContinuous, SD35AdaLayerNormZeroX)


class FastDenoiser:
    """Stands before a family's denoiser, and makes it fast for inference; the answers are the same.

    A family builds its copy (`accept` and `merged` first, `built` last) and gives `prepare`, which computes ahead what
    does not depend on the latents. Weights are shared with the network and follow it, but for the copies of merged
    layers: `fits` says whether the network is still the one that this was built from.

    Attributes:
        step_condition: condition of one evaluation, as `prepare` makes it.
        options: which parts are on.
        wants_largest_first: whether the next evaluation should be one of the largest size of the loop: it is what
            blocks that serve every size are tuned on.
    """

    step_condition: ClassVar[type[Condition]]
    options: FastOptions
    network: Any
    wants_largest_first: bool = False

    def built(self, network: nn.Module, options: FastOptions) -> None:
        """Remember what this was built from."""
        self.options = options
        self._built_from = Snapshot(network)
        self._tuned: set[bool] = set()

    def fits(self, network: nn.Module) -> bool:
        """Whether ``network`` is the one this was built from, with the same weights, adapters and device."""
        return Snapshot(network) == self._built_from

    def starts(self, batch: int) -> None:
        """A loop over ``batch`` rows is about to start; a single row is code of its own to the compiler."""
        tunes = self.options.shapes == "largest" and compiles(self.network, self.options)
        self.wants_largest_first = tunes and (batch == 1) not in self._tuned

    def prepare(self, sigmas: Tensor, cond: Any) -> Sequence[Condition]:
        """Everything the evaluations need beside the latents.

        Args:
            sigmas: noise level of each evaluation and image, (K, B).
            cond: condition of the family, one row or one per image.

        Returns:
            K conditions of B rows each.
        """
        raise NotImplementedError

    def predict(self, x_t: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        """What the network gives, (B, C, H, W); a condition that is not prepared is prepared first."""
        if not isinstance(cond, self.step_condition):
            (cond,) = self.prepare(sigma[None], cond)
        with self._evaluating(x_t):
            found: Tensor = super().predict(x_t, sigma, cond)  # type: ignore[misc]  # of the family
        self._tuned.add(len(x_t) == 1)
        self.wants_largest_first = False
        return found

    @contextmanager
    def _evaluating(self, x_t: Tensor) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(_attention(self.options.attention, x_t.device))
            if compiles(self.network, self.options):
                stack.enter_context(many_compilations())
                if self.options.compile_mode in _GRAPH_MODES:
                    # or a block would count as the next step, and free the output of the one before it
                    torch.compiler.cudagraph_mark_step_begin()
            yield


class Modulation(nn.Module):
    """Modulation (N, W) of all AdaLN layers, from whatever the network embeds beside the latents, N rows each."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.embed = network.time_text_embed
        self.linears = nn.ModuleList([norm.linear for norm in adaptive_norms(network)])

    def forward(self, *embedded: Tensor) -> Tensor:
        """One product per layer for all rows."""
        return side_by_side(self.linears, nn.functional.silu(self.embed(*embedded)))


def side_by_side(linears: Iterable[Any], rows: Tensor) -> Tensor:
    """Outputs of several linears for the same rows (..., D), next to each other: (..., W).

    Written in place: torch.cat would take the memory twice.
    """
    linears = list(linears)
    out = rows.new_empty(*rows.shape[:-1], sum(linear.out_features for linear in linears))
    start = 0
    for linear in linears:
        out[..., start : start + linear.out_features] = linear(rows)
        start += linear.out_features
    return out


class Columns(nn.Module):
    """Stands for a linear whose output is computed already, and lies in some columns of the input."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, computed: Tensor) -> Tensor:
        """The columns, (..., stop - start), not copied."""
        return computed[..., self.start : self.stop]


class Given(nn.Module):
    """Stands for an embedding where what follows from it comes in place of its last input."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """The last input."""
        return inputs[-1]


class _BlockColumns(nn.Module):
    """Hands a block its own columns, so that blocks of one kind are the same code to the compiler."""

    def __init__(self, block: nn.Module, columns: Columns) -> None:
        super().__init__()
        self.block, self.columns = block, columns

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, *args: Any, **kw: Any) -> Any:
        return self.block(hidden_states, encoder_hidden_states, self.columns(temb), *args, **kw)


def lean_blocks(blocks: Iterable[nn.Module], options: FastOptions) -> tuple[dict[nn.Module, nn.Module], int]:
    """What to put in place of a transformer's blocks, and how many columns of the modulation they take."""
    swaps: dict[nn.Module, nn.Module] = {}
    start = 0
    for block in blocks:
        inside, width = picking(adaptive_norms(block), 0) if options.modulation else ({}, 0)
        if options.fused_norm:
            inside |= {norm: _fused(norm) for norm in block.modules() if isinstance(norm, RMSNorm)}
        swaps[block] = compiled(copy.copy(substitute(block, inside)), options)
        if options.modulation:
            swaps[block] = _BlockColumns(swaps[block], Columns(start, start + width))
        start += width
    return swaps, start


def adaptive_norms(module: nn.Module) -> list[Any]:
    """AdaLN layers, in the order in which a network lists its modules."""
    return [part for part in module.modules() if isinstance(part, _ADAPTIVE_NORMS)]


def picking(norms: Sequence[Any], start: int) -> tuple[dict[nn.Module, nn.Module], int]:
    """Swaps after which AdaLN layers pick their columns from ``start`` on, and the column after the last."""
    swaps: dict[nn.Module, nn.Module] = {}
    for norm in norms:
        stop = start + norm.linear.out_features
        swaps |= {norm.silu: nn.Identity(), norm.linear: Columns(start, stop)}
        start = stop
    return swaps, start


def _fused(norm: Any) -> Any:
    """The same normalisation as one operator, on the same weight."""
    if getattr(norm, "bias", None) is not None:
        return norm
    fused = nn.RMSNorm(norm.dim, eps=norm.eps, elementwise_affine=False)
    fused.weight = norm.weight
    return fused


def merged(network: nn.Module, options: FastOptions) -> Any:
    """The network with its active adapters in the weights, where asked for.

    Raises:
        ValueError: an adapter cannot be merged.
    """
    return substitute(network, merged_layers(network)) if options.merge_lora else network


def compiles(module: nn.Module, options: FastOptions) -> bool:
    """Whether blocks are compiled where this module is."""
    on_cuda = next(module.parameters()).device.type == "cuda"
    return on_cuda if options.compile is None else options.compile


def compiled(block: nn.Module, options: FastOptions) -> nn.Module:
    """A block of one's own, compiled where asked for."""
    if compiles(block, options):
        block.compile(fullgraph=True, dynamic=options.shapes != "static", mode=options.compile_mode)
    return block


def accept(network: Any, kind: type[nn.Module], options: FastOptions) -> None:
    """Refuse what the fast path cannot run.

    Raises:
        ValueError: another network, one with hooks that replace ``forward`` (offloading), or an attention kernel that
            its device does not have.
    """
    if not isinstance(network, kind):
        raise ValueError(f"the fast path needs an {kind.__name__}, got {type(network).__name__}")
    hooked = [name or "itself" for name, module in network.named_modules() if "forward" in vars(module)]
    if hooked:
        raise ValueError(
            f"the fast path cannot run with offloading or other hooks that replace forward, found on {len(hooked)} "
            f"modules of the network (first: {hooked[0]}); remove them or call disable_fast()"
        )
    device = next(network.parameters()).device
    if options.attention in _CUDA_ONLY and device.type != "cuda":
        raise ValueError(f"attention {options.attention!r} needs a CUDA device, got {device}")


def _attention(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """Choice of kernels for the calls inside: the networks call torch's attention, by way of diffusers or not."""
    if name in _KERNELS:
        return sdpa_kernel(_KERNELS[name])
    if name == "auto" and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0):
        return sdpa_kernel(list(_KERNELS.values()), set_priority=True)
    return nullcontext()
