"""From the texts and embeddings of a call to conditions, one row for each image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from swd.backbones.arguments import Call
from swd.backbones.base import Backbone
from swd.backbones.devices import check_places, known_device
from swd.backbones.encode_prompt import check_encoding
from swd.backbones.lengths import resolve_length
from swd.backbones.numbers import floats
from swd.backbones.prompt_cache import PromptCache
from swd.backbones.snapshots import Snapshot
from swd.backbones.texts import Row, TextArguments, check_negatives, check_rows, encoder_texts, negative_rows, text_rows
from swd.values import typed, whole


class PromptingPipeline:
    """The part of a scale-wise pipeline that reads prompts; see `swd.backbones.scalewise.ScalewisePipeline`."""

    backbone: ClassVar[Backbone]
    text_names: ClassVar[tuple[str, ...]]
    embed_fields: ClassVar[Mapping[str, str]]
    _execution_device: Any
    _prompts: PromptCache[Any] = PromptCache(0)

    def uses_negatives(self, guidance_scale: float) -> bool:
        """Whether guidance of that scale evaluates the network on negative texts too."""
        return guidance_scale > 1

    def condition(self, embeds: Mapping[str, Tensor | None]) -> Any:
        """Condition of embeddings that a caller has, by the names of their arguments."""
        return self.backbone.condition(**{self.embed_fields[name]: value for name, value in embeds.items()})

    def _count(self, text: TextArguments) -> int:
        """Prompts of a call, once they are what they have to be."""
        return len(self._given(text.embeds) if text.has_embeds else text_rows(text.texts))

    def _given(self, embeds: Mapping[str, Tensor | None]) -> Any:
        """Condition of a caller's embeddings.

        Raises:
            TypeError: no tensor.
            ValueError: another width than the network's, or numbers that are not finite.
        """
        shapes = self.backbone.condition_shapes(self.backbone.network(self), 1)
        for name, value in embeds.items():
            width = shapes[self.embed_fields[name]][-1]
            value = floats(name, value)
            if not value.ndim or value.shape[-1] != width:
                raise ValueError(f"{name} must be {width} wide for this network, got shape {tuple(value.shape)}")
            if not value.isfinite().all():
                raise ValueError(f"{name} must be finite, got NaN or infinite numbers")
        return self.condition(embeds)

    def _conditions(self, text: TextArguments, call: Call, guidance_scale: float, device: torch.device) -> Any:
        """Conditions of prompts and negatives, one row for each image; the latter may be one, or None."""
        length, images = resolve_length(self, call.max_sequence_length), call.images_per_prompt
        self._check_skip(text.encoding.get("clip_skip"))
        negatives = self._negatives(text, images, guidance_scale)
        if text.has_embeds:
            cond = self._given(text.embeds).to(device)
        else:
            rows = text_rows(text.texts)
            check_rows(self, rows, length, truncate=call.truncate)
            cond = self._encode(rows, length, device, text.options)
        if isinstance(negatives, list):
            check_negatives(self, negatives, length, truncate=call.truncate)
            negatives = self._encode(negatives, length, device, text.negative_options)
        if negatives is None:
            return cond.repeat(images), None
        spread = images if 1 < len(negatives) == len(cond) else 1
        return cond.repeat(images), negatives.to(device).repeat(spread)

    def _check_skip(self, clip_skip: int | None) -> None:
        """Raise TypeError or ValueError unless every CLIP has layers enough to skip some and use one."""
        t5 = self.backbone.t5[0] if self.backbone.t5 else None
        clips = [getattr(self, name) for name in self.backbone.text_encoders if name != t5]
        if clip_skip is not None and (layers := [clip.config.num_hidden_layers for clip in clips if clip is not None]):
            whole("clip_skip", clip_skip, 0, min(layers) - 1)

    def _negatives(self, text: TextArguments, images: int, guidance_scale: float) -> Any:
        """Rows of texts, or a condition: one for all, for each prompt or each image; None where guidance needs none.

        Raises:
            ValueError: another number of them, or some that no guidance asks for.
        """
        if not self.uses_negatives(guidance_scale):
            if text.has_negatives:
                raise ValueError(
                    f"negative prompts count where guidance_scale is above 1, it is {guidance_scale}; leave them out"
                )
            return None
        found = self._given(text.negative_embeds) if text.has_negative_embeds else negative_rows(text.negatives)
        prompts = self._count(text)
        if len(found) not in (1, prompts, prompts * images):
            raise ValueError(f"negatives come as one, or one for each of {prompts} prompts, got {len(found)}")
        return found

    def encode_prompt(self, *arguments: Any, **options: Any) -> Any:
        """As in diffusers, whose tokenizers cut what is too long; `encode_condition` refuses it.

        Raises:
            TypeError: an unknown argument, texts that are none, or another type than an argument has.
            ValueError: an argument out of range, or texts of another number than the prompts.
        """
        method = super().encode_prompt  # type: ignore[misc]
        self._check_skip(check_encoding(method, arguments, options).get("clip_skip"))
        return method(*arguments, **options)

    def encode_condition(
        self,
        prompts: Sequence[str],
        *,
        max_sequence_length: int | None = None,
        truncate: bool = False,
        batch_size: int = 64,
        device: torch.device | None = None,
    ) -> Any:
        """Condition with one row per prompt; each distinct prompt is encoded once.

        Args:
            prompts: what to draw.
            max_sequence_length: T5 tokens; the pipeline's own by default.
            truncate: cut over-long prompts where the encoders do, rather than refuse them.
            batch_size: prompts per pass.
            device: where the encoders run; found by itself when absent.

        Raises:
            TypeError: prompts that are no texts, numbers that are none, or no device.
            ValueError: for an empty prompt, one that no text encoder can hold unless ``truncate``, a device that is not
                here, and text encoders that are elsewhere.
        """
        batch_size = whole("batch_size", batch_size, 1)
        rows = text_rows({name: prompts if name == self.text_names[0] else None for name in self.text_names})
        length = resolve_length(self, max_sequence_length)
        check_rows(self, rows, length, truncate=truncate)
        return self._encode(rows, length, device, {}, batch_size=batch_size)

    def encode_uncond(
        self,
        negative_prompt: str = "",
        *,
        max_sequence_length: int | None = None,
        truncate: bool = False,
        device: torch.device | None = None,
    ) -> Any:
        """Condition of the empty (or a negative) prompt for guidance, one row.

        Raises:
            TypeError: something else than one text.
            ValueError: half a character, or a text that is longer than the text encoders read, unless ``truncate``.
        """
        if not isinstance(negative_prompt, str):
            raise TypeError(f"negative_prompt must be one string, got {typed(negative_prompt)}")
        ((text,),) = negative_rows({"negative_prompt": negative_prompt})
        row, length = (text,) * len(self.text_names), resolve_length(self, max_sequence_length)
        check_negatives(self, [row], length, truncate=truncate)
        return self._encode([row], length, device, {})

    @torch.no_grad()
    def _encode(
        self,
        rows: Sequence[Row],
        length: int,
        device: torch.device | None,
        options: Mapping[str, Any],
        *,
        batch_size: int = 64,
    ) -> Any:
        """One row of the condition for each row of texts; each distinct one is encoded once."""
        device = self._execution_device if device is None else known_device("device", device)
        check_places({name: getattr(self, name) for name in self.backbone.text_encoders}, device)

        def encode(missing: list[Row]) -> Any:
            texts = encoder_texts(self.text_names, missing)
            prompts = texts.pop(self.text_names[0])
            return self.backbone.encode_prompts(self, prompts, token_length=length, device=device, **texts, **options)

        def encode_chunk(chunk: list[Row]) -> Any:
            if not self._prompts.size:
                return encode(chunk)
            how = (length, device, encoders[0].dtype, *sorted(options.items()))
            return self._prompts.encode(chunk, how, encode)

        encoders = [part for name in self.backbone.text_encoders if (part := getattr(self, name)) is not None]
        if self._prompts.size:
            tokenizers = [getattr(self, name) for name in self.backbone.tokenizers]
            self._prompts.drop_unless([*tokenizers, Snapshot(*encoders)])
        distinct = list(dict.fromkeys(rows))
        chunks = [distinct[start : start + batch_size] for start in range(0, len(distinct), batch_size)]
        encoded = self.backbone.condition.cat([encode_chunk(chunk) for chunk in chunks])
        place = {row: index for index, row in enumerate(distinct)}
        return encoded[[place[row] for row in rows]]
