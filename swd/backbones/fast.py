"""The fast path of any family: its parts, and the switch of a pipeline."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from swd.backbones.base import Backbone
from swd.backbones.devices import is_hooked
from swd.backbones.prompt_cache import PromptCache
from swd.values import flag, shown, typed, whole

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
SHAPES = ("static", "dynamic", "largest")
ATTENTION = ("auto", "native", "cudnn", "flash", "efficient", "math")


@dataclass(frozen=True, slots=True, kw_only=True)
class FastOptions:
    """Parts of the fast path. Each can be switched off alone; none changes the images beyond rounding.

    Attributes:
        merge_lora: run active adapters as part of the weights that they adapt, rather than beside them. Takes the
            memory of those weights again (our targets of SD3.5 Large in bfloat16: 9 GB), since the transformer keeps
            its own; ``pipe.fuse_lora()`` beforehand merges in place instead.
        modulation: compute what time, pooled text and sizes do to the blocks ahead of the loop, for all steps. SD3.5
            Large and FLUX in bfloat16 take 2.2 MB per step and image, SD3.5 Medium 1 MB, SDXL 0.04 MB; twice as much
            with guidance.
        text: embed the text once per call rather than once per step; of SDXL, the keys and values of its
            cross-attention (27 MB per image in float16).
        positions: compute the angles of FLUX's tokens once for each size.
        fused_norm: torch's RMSNorm in place of diffusers' chain of operators, for queries and keys of SD3.5.
        channels_last: decode with channels innermost, which convolutions prefer.
        compile: compile the blocks, each kind once. None is on for CUDA and off elsewhere: it needs a compiler (on the
            CPU for C++), and the first call takes up to minutes.
        compile_mode: mode of ``torch.compile``, one of ``COMPILE_MODES``.
        shapes: how compiled blocks serve several sizes, one of ``SHAPES``. "dynamic": one code for all, tuned on the
            first that comes, the smallest. "largest": the same, tuned on the largest, which is evaluated once more
            ahead of the first loop. "static": a code for each size and batch, each compiled when it first comes.
        attention: kernel, one of ``ATTENTION``. "native" is torch's own choice; "auto" is too, except that it prefers
            cuDNN's kernel on Hopper and later GPUs. Compiled code keeps the kernel of its first compilation, and torch
            caches it on disk.
        prompt_cache: encoded prompts that the pipeline keeps (SD3.5: 4.8 MB each); 0 keeps none.

    Raises:
        TypeError: switches that are not True or False, or a size of the cache that is no whole number.
        ValueError: for an unknown mode, kind of shapes or kernel, or a negative cache.
    """

    merge_lora: bool = True
    modulation: bool = True
    text: bool = True
    positions: bool = True
    fused_norm: bool = True
    channels_last: bool = True
    compile: bool | None = None
    compile_mode: str = "default"
    shapes: str = "dynamic"
    attention: str = "auto"
    prompt_cache: int = 32

    def __post_init__(self) -> None:
        for name, choices in (("compile_mode", COMPILE_MODES), ("shapes", SHAPES), ("attention", ATTENTION)):
            if not isinstance(value := getattr(self, name), str) or value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")
        for name in ("merge_lora", "modulation", "text", "positions", "fused_norm", "channels_last"):
            flag(name, getattr(self, name))
        if self.compile is not None:
            flag("compile", self.compile)
        if whole("prompt_cache", self.prompt_cache) < 0:
            raise ValueError(f"prompt_cache must be at least 0, got {self.prompt_cache}")


class FastSwitch:
    """The part of a scale-wise pipeline that runs its network as it is, or a fast copy of it."""

    backbone: ClassVar[Backbone]
    _fast: Any = None
    _fast_options: FastOptions | None = None
    _prompts: PromptCache[Any]
    components: dict[str, Any]

    def make_fast(self, options: FastOptions) -> Any:
        """The fast copy of the network.

        Raises:
            ValueError: the family has none, or it cannot run here.
        """
        raise ValueError(f"{type(self).__name__} has no fast path")

    def enable_fast(self, options: FastOptions | None = None) -> None:
        """Draw the same images in less time from now on; all parts of `FastOptions` are on unless told otherwise.

        Components stay as they are and may change afterwards: the next call sees other adapters, weights or devices,
        and prepares again. Text encoders that change empty the prompt cache. Numbers written through ``parameter.data``
        (EMA copies, optimisers of other libraries) are noticed by 16 of each weight (`Snapshot`); after a write that
        spares those, such as one of a few rows, call `refresh_fast`.

        Raises:
            ValueError: what the fast path refuses (offloading, above all), here or, after a change, in the next call.
        """
        options = FastOptions() if options is None else options
        if not isinstance(options, FastOptions):
            raise TypeError(f"options must be FastOptions, got {typed(options)}")
        self._fast = self.make_fast(options)
        self._fast_options = options
        self._prompts = PromptCache(options.prompt_cache)

    def refresh_fast(self) -> None:
        """Prepare again from the weights as they are now, and drop cached prompts; see `enable_fast`."""
        if self._fast_options is not None:
            self.enable_fast(self._fast_options)

    def disable_fast(self) -> None:
        """Back to the network itself; cached prompts are dropped."""
        self._fast = None
        self._fast_options = None
        self._prompts = PromptCache(0)

    def denoiser(self) -> Any:
        """What a call evaluates at every step: the network, or its fast copy where `enable_fast` was called.

        Raises:
            ValueError: what the fast path refuses.
        """
        network = self.backbone.network(self)
        if self._fast_options is None:
            return self.backbone.denoiser(network)
        if self._fast is None or not self._fast.fits(network):
            self._fast = None  # first, so that its merged weights make room
            self._fast = self.make_fast(self._fast_options)
        return self._fast

    @property
    def _execution_device(self) -> torch.device:
        """As diffusers has it, found at once where nothing is offloaded: its own search takes 16 ms for SD3.5 Large."""
        parts = [part for part in self.components.values() if isinstance(part, nn.Module)]
        if any(is_hooked(part) for part in parts):
            device: torch.device = super()._execution_device  # type: ignore[misc]
            return device
        device = next(self.backbone.network(self).parameters()).device
        return device
