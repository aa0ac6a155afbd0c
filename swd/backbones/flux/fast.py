"""Fast inference of FLUX.1: modulation of all steps, embedded text and angles ahead of the loop, see `lean`."""

from collections.abc import Sequence

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from swd.backbones.fast import FastOptions
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.denoiser import FluxDenoiser
from swd.backbones.lean import FastDenoiser, Given, Modulation, accept, lean_blocks, merged, picking
from swd.backbones.shared_weights import substitute
from swd.flow import NUM_TIMESTEPS

KEPT_SIZES = 16  # 4.7 MB each for 1024 px


class StepCondition(FluxCondition):
    """Condition of one evaluation, made by `FastFluxDenoiser.prepare`.

    ``prompt_embeds`` holds the embedded text (B, L, D) and ``pooled`` the modulation (B, W) of all blocks, guidance in
    it; what is switched off stays as `FluxCondition` has it.
    """

    __slots__ = ()


class FastFluxDenoiser(FastDenoiser, FluxDenoiser):
    """FluxDenoiser for inference, same answers; `prepare` computes ahead what does not depend on the latents.

    Args:
        transformer: the network; it is not changed.
        options: which parts are on.

    Raises:
        ValueError: when offloading hooks are on the transformer, an adapter cannot be merged, or the device lacks the
            attention kernel.
    """

    step_condition = StepCondition

    def __init__(self, transformer: FluxTransformer2DModel, options: FastOptions | None = None) -> None:
        options = options or FastOptions()
        accept(transformer, FluxTransformer2DModel, options)
        network = merged(transformer, options)
        super().__init__(_lean(network, options))
        self.modulation = Modulation(network) if options.modulation else None
        self.embed_text = network.context_embedder if options.text else nn.Identity()
        self._angles_of = network.pos_embed
        self._angles: dict[tuple[object, ...], Tensor] = {}
        self.built(transformer, options)

    def prepare(self, sigmas: Tensor, cond: FluxCondition) -> list[StepCondition]:
        """Everything the evaluations need beside the latents, see `FastDenoiser.prepare`."""
        steps, batch = sigmas.shape
        self.starts(batch)
        text = FluxCondition(
            self.embed_text(cond.prompt_embeds.to(self.dtype)), cond.pooled.to(self.dtype), cond.guidance
        ).expand_to(batch)
        rows: Sequence[Tensor] = [text.pooled] * steps
        if self.modulation is not None:
            rows = self._modulated(sigmas, text).chunk(steps)
        embeds = text.prompt_embeds.contiguous()  # a stride of 0 would have the first block compiled again
        return [StepCondition(embeds, row, text.guidance) for row in rows]

    def _modulated(self, sigmas: Tensor, text: FluxCondition) -> Tensor:
        """Modulation of all steps, (K B, W), from numbers rounded just as the transformer rounds them."""
        assert self.modulation is not None
        numbers = [sigmas.flatten()]
        if self.network.config.guidance_embeds:
            numbers.append(text.guidance.repeat(len(sigmas)))
        scaled = [number.to(self.dtype) * NUM_TIMESTEPS for number in numbers]
        found: Tensor = self.modulation(*scaled, text.pooled.repeat(len(sigmas), 1))
        return found

    def positions(self, x_t: Tensor, num_text: int) -> tuple[Tensor, Tensor]:
        """Angles travel in place of ids, cosines beside sines; each size is computed once."""
        if not self.options.positions:
            return super().positions(x_t, num_text)
        key = *x_t.shape[-2:], num_text, x_t.device
        if key not in self._angles:
            if len(self._angles) == KEPT_SIZES:
                self._angles.pop(next(iter(self._angles)))
            self._angles[key] = torch.cat(self._angles_of(torch.cat(super().positions(x_t, num_text))), 1)
        angles = self._angles[key]
        return angles[:num_text], angles[num_text:]


class _GivenAngles(nn.Module):
    """Stands for the rotary embedding where angles come in place of ids."""

    def forward(self, angles: Tensor) -> tuple[Tensor, ...]:
        return angles.chunk(2, 1)


def _lean(transformer: FluxTransformer2DModel, options: FastOptions) -> FluxTransformer2DModel:
    """The network without what is computed ahead, its blocks compiled where asked for."""
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    swaps, width = lean_blocks(blocks, options)
    if options.modulation:
        swaps |= {transformer.time_text_embed: Given(), **picking([transformer.norm_out], width)[0]}
    if options.text:
        swaps[transformer.context_embedder] = nn.Identity()
    if options.positions:
        swaps[transformer.pos_embed] = _GivenAngles()
    return substitute(transformer, swaps)
