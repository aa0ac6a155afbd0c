"""Fast inference of SDXL: what time, sizes and text do to each block ahead of the loop, see `swd.backbones.lean`.

Residual blocks read time, pooled text and sizes through a linear each, and cross-attention reads the text through two,
keys and values, which are 14 % of the network's weights. Text is the same at every step, so they are made once per
call.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from swd.backbones.fast import FastOptions
from swd.backbones.lean import Columns, FastDenoiser, accept, compiled, merged, side_by_side
from swd.backbones.sdxl.condition import SDXLCondition
from swd.backbones.sdxl.denoiser import SDXLDenoiser
from swd.backbones.shared_weights import substitute


class StepCondition(SDXLCondition):
    """Condition of one evaluation, made by `FastSDXLDenoiser.prepare`.

    ``prompt_embeds`` holds keys and values of all cross-attentions (B, L, W), and ``pooled`` what is added in all
    residual blocks (B, W); what is switched off stays as `SDXLCondition` has it.
    """

    __slots__ = ()


class FastSDXLDenoiser(FastDenoiser, SDXLDenoiser):
    """SDXLDenoiser for inference, same answers; `prepare` computes ahead what does not depend on the latents.

    Args:
        unet: the network; it is not changed.
        options: which parts are on.

    Raises:
        ValueError: when offloading hooks or image prompts are on the UNet, an adapter cannot be merged, or the device
            lacks the attention kernel.
    """

    step_condition = StepCondition

    def __init__(self, unet: UNet2DConditionModel, options: FastOptions | None = None) -> None:
        options = options or FastOptions()
        accept(unet, UNet2DConditionModel, options)
        if unet.encoder_hid_proj is not None:
            raise ValueError("the fast path cannot run with image prompts (IP-Adapter); call disable_fast()")
        network = merged(unet, options)
        super().__init__(_lean(network, options))
        self._times = _Times(network, _resnets(network)) if options.modulation else None
        linears = [linear for block in _text_readers(network) for linear in _keys_and_values(block)]
        self.keys_and_values = nn.ModuleList(linears) if options.text else None
        self.built(unet, options)

    def prepare(self, sigmas: Tensor, cond: SDXLCondition) -> list[StepCondition]:
        """Everything the evaluations need beside the latents, see `FastDenoiser.prepare`."""
        steps, batch = sigmas.shape
        self.starts(batch)
        embeds = cond.prompt_embeds.to(self.dtype)
        if self.keys_and_values is not None:
            embeds = side_by_side(self.keys_and_values, embeds)
        text = SDXLCondition(embeds, cond.pooled.to(self.dtype), cond.time_ids).expand_to(batch)
        rows: Sequence[Tensor] = [text.pooled] * steps
        if self._times is not None:
            pooled, time_ids = text.pooled.repeat(steps, 1), text.time_ids.repeat(steps, 1)
            rows = self._times(self.process.timestep(sigmas.flatten()), pooled, time_ids).chunk(steps)
        embeds = text.prompt_embeds.contiguous()  # a stride of 0 would have the first block compiled again
        return [StepCondition(embeds, row, text.time_ids) for row in rows]


@dataclass(frozen=True, slots=True)
class _Times:
    """What is added in each residual block, (N, W), from timesteps (N,), pooled text (N, D) and sizes (N, 6)."""

    network: Any
    resnets: Sequence[Any]

    def __call__(self, timestep: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
        network = self.network
        embedded = network.time_embedding(network.get_time_embed(pooled, timestep))
        added = {"text_embeds": pooled, "time_ids": time_ids}
        embedded = embedded + network.get_aug_embed(embedded, encoder_hidden_states=None, added_cond_kwargs=added)
        linears = [resnet.time_emb_proj for resnet in self.resnets]
        return side_by_side(linears, self.resnets[0].nonlinearity(embedded))


class _LeanUNet(UNet2DConditionModel):  # type: ignore[misc]  # diffusers is untyped
    """A UNet that is given what time and sizes do to its residual blocks, in place of the pooled text."""

    def get_time_embed(self, sample: Tensor, timestep: Tensor) -> None:
        """Not needed."""

    def get_aug_embed(self, emb: Tensor, encoder_hidden_states: Tensor, added_cond_kwargs: dict[str, Tensor]) -> Tensor:
        """What is given."""
        return added_cond_kwargs["text_embeds"]


class _Nothing(nn.Module):
    """Stands for an embedding that adds nothing."""

    def forward(self, *inputs: Any) -> int:
        return 0


class _GivenTime(nn.Module):
    """A residual block that picks its own columns of what is given."""

    def __init__(self, resnet: nn.Module, columns: Columns) -> None:
        super().__init__()
        self.resnet, self.columns = resnet, columns

    def forward(self, hidden_states: Tensor, given: Tensor) -> Tensor:
        made: Tensor = self.resnet(hidden_states, self.columns(given))
        return made


class _GivenText(nn.Module):
    """A transformer block that picks its own keys and values, so that blocks of one kind are the same code."""

    def __init__(self, block: nn.Module, columns: Columns) -> None:
        super().__init__()
        self.block, self.columns = block, columns

    def forward(self, hidden_states: Tensor, *, encoder_hidden_states: Tensor, **options: Any) -> Tensor:
        text = self.columns(encoder_hidden_states)
        made: Tensor = self.block(hidden_states, encoder_hidden_states=text, **options)
        return made


def _lean(unet: UNet2DConditionModel, options: FastOptions) -> UNet2DConditionModel:
    """The network without what is computed ahead, its blocks compiled where asked for."""
    swaps = _lean_resnets(unet, options) | _lean_text_readers(unet, options)
    if options.modulation:
        swaps[unet.time_embedding] = _Nothing()
    lean = copy.copy(substitute(unet, swaps))
    if options.modulation:
        lean.__class__ = _LeanUNet
    return lean


def _lean_resnets(unet: UNet2DConditionModel, options: FastOptions) -> dict[nn.Module, nn.Module]:
    swaps: dict[nn.Module, nn.Module] = {}
    start = 0
    for resnet in _resnets(unet):
        if not options.modulation:
            swaps[resnet] = compiled(copy.copy(resnet), options)
            continue
        stop = start + resnet.time_emb_proj.out_features
        lean = copy.copy(substitute(resnet, {resnet.time_emb_proj: nn.Identity()}))
        lean.skip_time_act = True
        swaps[resnet] = _GivenTime(compiled(lean, options), Columns(start, stop))
        start = stop
    return swaps


def _lean_text_readers(unet: UNet2DConditionModel, options: FastOptions) -> dict[nn.Module, nn.Module]:
    swaps: dict[nn.Module, nn.Module] = {}
    start = 0
    for block in _text_readers(unet):
        if not options.text:
            swaps[block] = compiled(copy.copy(block), options)
            continue
        keys, values = _keys_and_values(block)
        split, width = keys.out_features, keys.out_features + values.out_features
        lean = copy.copy(substitute(block, {keys: Columns(0, split), values: Columns(split, width)}))
        swaps[block] = _GivenText(compiled(lean, options), Columns(start, start + width))
        start += width
    return swaps


def _resnets(unet: nn.Module) -> list[Any]:
    return [module for module in unet.modules() if isinstance(module, ResnetBlock2D)]


def _text_readers(unet: nn.Module) -> list[Any]:
    return [module for module in unet.modules() if isinstance(module, BasicTransformerBlock)]


def _keys_and_values(block: Any) -> tuple[Any, Any]:
    """The linears that read the text; SDXL's read nothing else, and normalise nothing before."""
    return block.attn2.to_k, block.attn2.to_v
