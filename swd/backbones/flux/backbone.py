"""FLUX.1 as a family: CLIP for the pooled text and T5 for the tokens, a rectified flow, double and single blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swd.backbones.base import Backbone, Denoiser
from swd.backbones.flux.comfy import COMFY
from swd.backbones.flux.condition import FluxCondition
from swd.backbones.flux.names import NAMES
from swd.backbones.lengths import own_length
from swd.backbones.texts import refuse_empty
from swd.errors import PromptError
from swd.flow import FlowMatching
from swd.grid import FLUX_SAMPLING
from swd.lora.released import T5_TOKENS

SINGLE_BLOCKS = 38  # of every published FLUX.1


class FluxBackbone(Backbone):
    """FLUX.1-dev, and FLUX.1-schnell, which takes no guidance.

    The length that can be chosen is that of T5, whose tokens are all that the blocks read of the text; CLIP's pooled
    embedding joins the time. Guidance is an input of the network, so the batch is never doubled.

    Adapters sit on attention and MLP of both kinds of blocks, in single ones on the two layers that hold the MLP and
    the attention's output. Single blocks are counted out because the network's own last layer, which is no part of a
    block, ends in ``proj_out`` too.
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
    t5 = ("text_encoder_2", "tokenizer_2")
    comfy, layer_names = COMFY, NAMES
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
        """Of T5; see `swd.backbones.lengths`."""
        return own_length(pipeline, "tokenizer_2")

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
        if pipeline.text_encoder_2 is None or pipeline.tokenizer_2 is None:
            raise ValueError("FLUX reads its text from T5, and this pipeline has no text_encoder_2: give prompt_embeds")
        if not 1 <= token_length <= T5_TOKENS:
            raise ValueError(f"FLUX takes 1 to {T5_TOKENS} tokens of T5, got max_sequence_length={token_length}")
        refuse_empty(prompts)
        rows = pipeline.tokenizer_2(list(prompts), verbose=False).input_ids if prompts and not truncate else []
        for number, (prompt, row) in enumerate(zip(prompts, rows, strict=False)):
            if len(row) > token_length:
                raise PromptError(
                    number,
                    f"prompt has {len(row)} tokens, T5 takes {token_length}; shorten it, or pass "
                    f"truncate=True: {prompt[:80]!r}",
                )

    @torch.no_grad()
    def encode_prompts(
        self,
        pipeline: Any,
        prompts: Sequence[str],
        *,
        token_length: int,
        device: torch.device | None = None,
        **options: Any,
    ) -> FluxCondition:
        """By diffusers' own ``encode_prompt``, under the guidance of published students."""
        embeds, pooled, _ = pipeline.encode_prompt(
            prompt=list(prompts), device=device, max_sequence_length=token_length, **{"prompt_2": None, **options}
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
