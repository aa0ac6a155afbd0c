"""Loading of students into pipelines: every layout, whole or not at all, through diffusers' own way of loading."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.utils import get_adapter_name
from torch import Tensor, nn

from swd.backbones import backbone_of
from swd.backbones.known import known, remember
from swd.errors import AdapterError
from swd.lora.card import StudentCard
from swd.lora.files import open_adapter, put_on
from swd.lora.fitting import adaptable_layers, check_fits
from swd.lora.layouts.adapter import Adapter, Layers, peft_config, peft_state
from swd.lora.released import released_card
from swd.lora.source import Location
from swd.values import flag, typed

_PREFIX = "text_model."  # transformers flattened some text encoders; files have either name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How diffusers puts adapters on."""

    low_cpu_mem_usage: bool
    hotswap: bool


class StudentLoading:
    """Mixin that stands before a pipeline class of diffusers."""

    @property
    def student(self) -> StudentCard | None:
        """What the loaded student says of itself, or what is known of a released one.

        None where there is no student, or nothing is known. It goes with the network, as the adapter does: pipelines
        that share one share its student.
        """
        return known(backbone_of(self).network(self)).student

    @student.setter
    def student(self, card: StudentCard | None) -> None:
        remember(backbone_of(self).network(self), student=card)

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | Mapping[str, Tensor],
        adapter_name: str | None = None,
        hotswap: bool = False,
        *,
        weight_name: str | None = None,
        subfolder: str | None = None,
        low_cpu_mem_usage: bool = True,
        use_safetensors: bool = True,
        partial: bool = False,
        **hub: Any,
    ) -> None:
        """Load an adapter of any layout, wholly or not at all; what it says of itself becomes `student`.

        PEFT's folder, diffusers' file, kohya's and ComfyUI's are read, with all their options. Afterwards everything of
        diffusers works on it: ``set_adapters``, ``fuse_lora``, ``delete_adapters``, ``unload_lora_weights``.

        Args:
            pretrained_model_name_or_path_or_dict: file, folder, name on the Hub, or the tensors themselves.
            adapter_name: name to give it; the next ``default_0``, ``default_1``, ... when absent.
            hotswap: exchange the weights of an adapter of that name in place (see diffusers).
            weight_name: file name, where there are several.
            subfolder: inside the folder or repository.
            low_cpu_mem_usage: make no random weights first.
            use_safetensors: nothing else is ever read.
            partial: whether a part of its layers will do, of an adapter that does not say which it was made for (some
                published ones adapt a few blocks by intent).
            hub: options of ``huggingface_hub.hf_hub_download``: revision, token, cache_dir, force_download,
                local_files_only.

        Raises:
            FileNotFoundError: nothing is there.
            AdapterError: a pickle, a broken file, an adapter of another network, or one that LoRA cannot represent;
                the message names the first key. The pipeline is as it was.
            ValueError: there is an adapter of that name.
        """
        if not use_safetensors:
            raise AdapterError("use_safetensors=False would read a pickle, which runs code when it is opened")
        named = isinstance(adapter_name, str) and adapter_name and "." not in adapter_name
        if adapter_name is not None and not named:
            raise AdapterError(f"adapter_name must be a name without dots, got {typed(adapter_name)}")
        flag("hotswap", hotswap)
        source = pretrained_model_name_or_path_or_dict
        backbone = backbone_of(self)
        network = backbone.network(self)
        location = Location(weight_name=weight_name, subfolder=subfolder, hub=hub)
        adapter = open_adapter(source, backbone.layer_names, location)
        card = StudentCard.from_header(adapter.header)
        if card is None and not isinstance(source, Mapping):
            card = released_card(source)
        if card is not None and card.backbone not in (None, backbone.name):
            raise AdapterError(
                f"{adapter.source} is a student of {card.backbone}, and this pipeline is {backbone.name}"
            )
        check_fits(network, adapter.layers, targets=adapter.targets, source=adapter.source, partial=partial)
        encoders = {
            part: self._encoder_layers(part, layers, adapter, partial=partial)
            for part, layers in adapter.text_encoders.items()
        }

        name = adapter_name or get_adapter_name(network)
        options = _Options(low_cpu_mem_usage=low_cpu_mem_usage, hotswap=hotswap)
        if adapter.layers:
            swap = {"low_cpu_mem_usage": low_cpu_mem_usage, "hotswap": hotswap}
            put_on(network, adapter, name, partial=partial, _pipeline=self, **swap)
        try:
            for part, layers in encoders.items():
                self._put_on_encoder(part, layers, name, options)
        except BaseException:
            if adapter.layers:
                network.delete_adapters(name)
            raise
        if card is not None:
            remember(network, student=card, adapter=name)

    def unload_lora_weights(self, *arguments: Any, **options: Any) -> None:
        """As in diffusers; there is no student afterwards."""
        super().unload_lora_weights(*arguments, **options)  # type: ignore[misc]  # of the pipeline class
        remember(backbone_of(self).network(self), student=None, adapter=None)

    def delete_adapters(self, adapter_names: list[str] | str) -> None:
        """As in diffusers; there is no student afterwards if it was one of them."""
        super().delete_adapters(adapter_names)  # type: ignore[misc]  # of the pipeline class
        network = backbone_of(self).network(self)
        if known(network).adapter in ([adapter_names] if isinstance(adapter_names, str) else adapter_names):
            remember(network, student=None, adapter=None)

    def _encoder_layers(self, part: str, layers: Layers, adapter: Adapter, *, partial: bool) -> Layers:
        """Layers of a text encoder as it calls them, once they are known to fit."""
        encoder = getattr(self, part, None)
        if part not in self._lora_loadable_modules or not isinstance(encoder, nn.Module):  # type: ignore[attr-defined]
            key = next(iter(peft_state(layers)))
            raise AdapterError(f"{adapter.source}: {part}.{key} adapts {part}, which this pipeline cannot adapt")
        known = adaptable_layers(encoder)
        found = {}
        for name, weights in layers.items():
            bare = name.removeprefix(_PREFIX)
            found[next((one for one in (name, bare, _PREFIX + bare) if one in known), name)] = weights
        check_fits(encoder, found, source=f"{adapter.source}: {part}", partial=partial)
        return found

    def _put_on_encoder(self, part: str, layers: Layers, name: str, options: _Options) -> None:
        config = peft_config(layers, rslora=False)
        self.load_lora_into_text_encoder(  # type: ignore[attr-defined]
            peft_state(layers, f"{part}."),
            network_alphas=None,
            text_encoder=getattr(self, part),
            prefix=part,
            lora_scale=self.lora_scale,  # type: ignore[attr-defined]
            adapter_name=name,
            _pipeline=self,
            low_cpu_mem_usage=options.low_cpu_mem_usage,
            hotswap=options.hotswap,
            metadata={f"{part}.{option}": value for option, value in config.items()},
        )
