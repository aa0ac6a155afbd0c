"""Fast inference of SD3 and SD3.5: modulation of all steps and embedded text ahead of the loop, see `lean`."""

from collections.abc import Sequence

from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from swd.backbones.fast import FastOptions
from swd.backbones.lean import FastDenoiser, Given, Modulation, accept, lean_blocks, merged, picking
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.backbones.shared_weights import substitute


class StepCondition(TextCondition):
    """Condition of one evaluation, made by `FastSD3Denoiser.prepare`.

    ``prompt_embeds`` holds the embedded text (B, L, D) and ``pooled`` the modulation (B, W) of all blocks; what is
    switched off stays as `TextCondition` has it.
    """

    __slots__ = ()


class FastSD3Denoiser(FastDenoiser, SD3Denoiser):
    """SD3Denoiser for inference, same answers; `prepare` computes ahead what does not depend on the latents.

    Args:
        transformer: the network; it is not changed.
        options: which parts are on.

    Raises:
        ValueError: when offloading hooks are on the transformer, an adapter cannot be merged, or the device lacks the
            attention kernel.
    """

    step_condition = StepCondition

    def __init__(self, transformer: SD3Transformer2DModel, options: FastOptions | None = None) -> None:
        options = options or FastOptions()
        accept(transformer, SD3Transformer2DModel, options)
        network = merged(transformer, options)
        super().__init__(_lean(network, options))
        self.modulation = Modulation(network) if options.modulation else None
        self.embed_text = network.context_embedder if options.text else nn.Identity()
        self.built(transformer, options)

    def prepare(self, sigmas: Tensor, cond: TextCondition) -> list[StepCondition]:
        """Everything the evaluations need beside the latents, see `FastDenoiser.prepare`."""
        steps, batch = sigmas.shape
        self.starts(batch)
        cond = cond.to(dtype=self.dtype)
        text = TextCondition(self.embed_text(cond.prompt_embeds), cond.pooled).expand_to(batch)
        rows: Sequence[Tensor] = [text.pooled] * steps
        if self.modulation is not None:
            rows = self.modulation(self.process.timestep(sigmas.flatten()), text.pooled.repeat(steps, 1)).chunk(steps)
        embeds = text.prompt_embeds.contiguous()  # a stride of 0 would have the first block compiled again
        return [StepCondition(embeds, row) for row in rows]


def _lean(transformer: SD3Transformer2DModel, options: FastOptions) -> SD3Transformer2DModel:
    """The network without what is computed ahead, its blocks compiled where asked for."""
    swaps, width = lean_blocks(transformer.transformer_blocks, options)
    if options.modulation:
        swaps |= {transformer.time_text_embed: Given(), **picking([transformer.norm_out], width)[0]}
    if options.text:
        swaps[transformer.context_embedder] = nn.Identity()
    return substitute(transformer, swaps)
