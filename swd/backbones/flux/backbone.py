"""FLUX.1 as a family: CLIP for the pooled text and T5 for the tokens, a rectified flow, double and single blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swd.backbones.base import Backbone, Denoiser
from swd.backbones.flux.condition import FluxCondition
from swd.flow import FlowMatching
from swd.grid import FLUX_SAMPLING

SINGLE_BLOCKS = 38  # of every published FLUX.1
T5_TOKENS = 512


class FluxBackbone(Backbone):
    """FLUX.1-dev, and FLUX.1-schnell, which takes no guidance.

    The length that can be chosen is that of T5, whose tokens are all that the blocks read of the text; CLIP's pooled
    embedding joins the time. Guidance is an input of the network, so the batch is never doubled.

    Adapters sit on attention and MLP of both kinds of blocks, in single ones on the two layers that hold the MLP, joined
    with the attention's output. Single blocks are counted out because the network's own last layer, which is no part of
    a block, ends in ``proj_out`` too.
    """

    name = "flux"
    pipelines = ("FluxPipeline", "ScalewiseFluxPipeline")
    component = "transformer"
    lora_targets = (
        *("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_mlp"),
        *(f"{block}.proj_out" for block in range(SINGLE_BLOCKS)),
    )
    condition = FluxCondition
    text_encoders = ("text_encoder", "text_encoder_2")
    tokenizers = ("tokenizer", "tokenizer_2")
    process = FlowMatching()
    grid = FLUX_SAMPLING  # of -dev; -schnell samples without a time shift, shift=1
    text_tokens = T5_TOKENS
    student_guidance, embeds_guidance = 4.5, True

    def load_pipeline(self, name: str, **options: Any) -> Any:
        """Any FluxPipeline as the scale-wise one."""
        from swd.backbones.flux.pipeline import ScalewiseFluxPipeline

        return ScalewiseFluxPipeline.from_pretrained(name, **options)

    def denoiser(self, network: Any) -> Denoiser:
        """FluxTransformer2DModel behind the interface."""
        from swd.backbones.flux.denoiser import FluxDenoiser

        return FluxDenoiser(network)

    def skeleton(self, folder: Path | str) -> Denoiser:
        """From the config of the transformer alone."""
        from diffusers import FluxTransformer2DModel

        config = FluxTransformer2DModel.load_config(folder, subfolder=self.component)
        with torch.device("meta"):
            return self.denoiser(FluxTransformer2DModel.from_config(config))

    def token_length(self, pipeline: Any) -> int:
        """The folder's own ``max_sequence_length`` where it names one."""
        return int(getattr(pipeline.config, "max_sequence_length", T5_TOKENS))

    def encoder_lengths(self, pipeline: Any, token_length: int) -> dict[str, int]:
        """CLIP reads its own length, T5 as much as is asked for."""
        return {"text_encoder": int(pipeline.tokenizer_max_length), "text_encoder_2": token_length}

    def count_text_tokens(self, pipeline: Any, token_length: int) -> int:
        """Those of T5."""
        return token_length

    def check_prompts(
        self, pipeline: Any, prompts: Sequence[str], token_length: int, *, truncate: bool = False
    ) -> None:
        """Refuse empty prompts, and those that T5 does not read to their end; what CLIP cuts off, T5 reads."""
        for prompt in prompts:
            if not prompt.strip():
                raise ValueError(f"prompts must not be empty, got {prompt!r}")
        if truncate:
            return
        for prompt, row in zip(prompts, pipeline.tokenizer_2(list(prompts), verbose=False).input_ids, strict=True):
            if len(row) > token_length:
                raise ValueError(
                    f"prompt has {len(row)} tokens, the text encoders take {token_length}; shorten it, or ask for it "
                    f"to be truncated: {prompt[:80]!r}"
                )

    @torch.no_grad()
    def encode_prompts(
        self, pipeline: Any, prompts: Sequence[str], *, token_length: int, device: torch.device | None = None
    ) -> FluxCondition:
        """By diffusers' own ``encode_prompt``, under the guidance of published students."""
        embeds, pooled, _ = pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, device=device, max_sequence_length=token_length
        )
        return FluxCondition.of(embeds, pooled, self.student_guidance)

    def condition_shapes(self, network: Any, text_tokens: int) -> dict[str, tuple[int, ...]]:
        """As the transformer's config says."""
        config = network.config
        return {
            "prompt_embeds": (text_tokens, config.joint_attention_dim),
            "pooled": (config.pooled_projection_dim,),
            "guidance": (),
        }


BACKBONE = FluxBackbone()
