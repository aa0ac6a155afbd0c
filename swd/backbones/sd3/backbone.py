"""SD3 and SD3.5 as a family: two CLIPs and a T5, a rectified flow, a transformer of joint blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from swd.backbones.base import Backbone, Denoiser
from swd.backbones.lengths import own_length
from swd.backbones.sd3.comfy import COMFY
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.names import NAMES
from swd.backbones.texts import refuse_empty
from swd.errors import PromptError
from swd.flow import FlowMatching
from swd.grid import GRIDS
from swd.lora.released import T5_TOKENS


class SD3Backbone(Backbone):
    """Stable Diffusion 3 and 3.5, with or without T5.

    The length that can be chosen is that of T5 (or of the zeros in its place). Its embeddings are appended to those of
    the CLIPs, which lie side by side along the features.
    """

    name = "sd3"
    pipelines = ("StableDiffusion3Pipeline", "ScalewiseStableDiffusion3Pipeline")
    component = "transformer"
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
    condition = TextCondition
    text_encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    process = FlowMatching()
    grid = GRIDS["sd35"]
    comfy, layer_names = COMFY, NAMES
    t5 = ("text_encoder_3", "tokenizer_3")
    text_tokens = 77 + T5_TOKENS  # of CLIP, and of T5

    def load_pipeline(self, name: str, **options: Any) -> Any:
        """Any StableDiffusion3Pipeline as the scale-wise one, with or without T5."""
        from swd.backbones.sd3.pipeline import ScalewiseStableDiffusion3Pipeline

        return ScalewiseStableDiffusion3Pipeline.from_pretrained(name, **options)

    def denoiser(self, network: Any) -> Denoiser:
        """SD3Transformer2DModel behind the interface."""
        from swd.backbones.sd3.denoiser import SD3Denoiser

        return SD3Denoiser(network)

    def skeleton(self, folder: Path | str) -> Denoiser:
        """From the config of the transformer alone."""
        from diffusers import SD3Transformer2DModel

        config = SD3Transformer2DModel.load_config(folder, subfolder=self.component)
        with torch.device("meta"):
            return self.denoiser(SD3Transformer2DModel.from_config(config))

    def token_length(self, pipeline: Any) -> int:
        """Of T5; see `swd.backbones.lengths`."""
        return own_length(pipeline, "tokenizer_3")

    def encoder_lengths(self, pipeline: Any, token_length: int) -> dict[str, int]:
        """The CLIPs read their own length, T5 as much as is asked for."""
        clip = int(pipeline.tokenizer_max_length)
        lengths = dict(zip(self.text_encoders, (clip, clip, token_length), strict=True))
        return {part: length for part, length in lengths.items() if getattr(pipeline, part) is not None}

    def count_text_tokens(self, pipeline: Any, token_length: int) -> int:
        """Zeros stand for T5 where there is none, as in diffusers."""
        return int(pipeline.tokenizer_max_length) + token_length

    def check_prompts(
        self, pipeline: Any, prompts: Sequence[str], token_length: int, *, truncate: bool = False
    ) -> None:
        """Refuse empty prompts, and those that neither the CLIPs nor T5 read to their end."""
        refuse_empty(prompts)
        if truncate:
            return
        clip = pipeline.tokenizer_max_length
        limits = [(pipeline.tokenizer, clip), (pipeline.tokenizer_2, clip)]
        if pipeline.text_encoder_3 is not None:
            limits.append((pipeline.tokenizer_3, token_length))
        beyond = [(number, 0) for number in range(len(prompts))]
        for tokenizer, limit in limits:  # CLIP's loss is no loss where T5 reads the rest
            if not beyond:
                return
            left = [number for number, _ in beyond]
            rows = tokenizer([prompts[number] for number in left], verbose=False).input_ids
            beyond = [(number, len(row)) for number, row in zip(left, rows, strict=True) if len(row) > limit]
        if beyond:
            number, count = beyond[0]
            raise PromptError(
                number,
                f"prompt has {count} tokens, the text encoders take {limit}; shorten it, or pass "
                f"truncate=True: {prompts[number][:80]!r}",
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
    ) -> TextCondition:
        """By diffusers' own ``encode_prompt``."""
        embeds, _, pooled, _ = pipeline.encode_prompt(
            prompt=list(prompts),
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=token_length,
            **{"prompt_2": None, "prompt_3": None, **options},
        )
        return TextCondition(embeds, pooled)

    def condition_shapes(self, network: Any, text_tokens: int) -> dict[str, tuple[int, ...]]:
        """As the transformer's config says."""
        config = network.config
        return {"prompt_embeds": (text_tokens, config.joint_attention_dim), "pooled": (config.pooled_projection_dim,)}


BACKBONE = SD3Backbone()
