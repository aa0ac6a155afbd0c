"""A student as a ComfyUI workflow of stock nodes (API format).

A step is one ``SamplerCustomAdvanced`` with the noise levels (sigma_i, 0): it mixes fresh noise into its latent at
sigma_i, and one Euler step from there to 0 ends at the network's x0. Between steps ``LatentUpscale`` (bicubic) grows
the x0. That is all of scale-wise sampling; latents between nodes are not whitened, which bicubic weights do not see, as
they sum to one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swd.errors import AdapterError
from swd.lora.card import StudentCard, model_name

Node = dict[str, Any]
Workflow = dict[str, Node]
Link = tuple[str, int]  # name of a node and one of its outputs
UPSCALING = {"bicubic": "bicubic", "bilinear": "bilinear", "nearest": "nearest-exact"}  # as ComfyUI calls them
PIXELS_PER_LATENT = 8  # of the VAEs of all three families, as ComfyUI has it too


def same_level(sigma: float) -> float:
    """ComfyUI counts the noise of flow models as we do."""
    return sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfyModel:
    """How ComfyUI loads a family, and what differs in its nodes.

    Attributes:
        loaders: nodes by name, (class, inputs); an input ``{base}`` stands for the base's file.
        model, clip, vae: outputs of loaders.
        files: the base's file by the last part of its name on the Hub; the first is the default.
        latent: node that makes the empty latent.
        encode: class and further inputs of the node that encodes the prompt, given the size in pixels.
        texts: its inputs that take the prompt.
        takes_guidance: the network takes guidance as an input.
        level: noise level of ComfyUI by that of a schedule.
    """

    loaders: Mapping[str, tuple[str, Mapping[str, Any]]]
    model: Link
    clip: Link
    vae: Link
    files: Mapping[str, str]
    latent: str
    encode: Callable[[int], tuple[str, Node]] = field(default=lambda side: ("CLIPTextEncode", {}))
    texts: tuple[str, ...] = ("text",)
    takes_guidance: bool = False
    level: Callable[[float], float] = same_level


class _Graph:
    """Nodes under construction: named while they are made, numbered as ComfyUI wants them."""

    def __init__(self) -> None:
        self.nodes: Workflow = {}
        self._numbers: dict[str, str] = {}

    def add(self, name: str, kind: str, **inputs: Any) -> Link:
        """Add a node; inputs that are links refer to earlier nodes by name."""
        number = self._numbers[name] = str(len(self.nodes) + 1)
        plain = {key: self._plain(value) for key, value in inputs.items()}
        self.nodes[number] = {"class_type": kind, "inputs": plain, "_meta": {"title": name}}
        return name, 0

    def _plain(self, value: Any) -> Any:
        return [self._numbers[value[0]], value[1]] if isinstance(value, tuple) else value


def workflow(card: StudentCard, model: ComfyModel, *, lora_file: str, prompt: str, seed: int = 0) -> Workflow:
    """Nodes that draw one image with a student.

    Args:
        card: its schedule, guidance and text length.
        model: its family.
        lora_file: the adapter in ComfyUI's folder of LoRAs.
        prompt: what to draw.
        seed: of the first step; each later step has the next one.

    Raises:
        AdapterError: the card says no schedule, or one whose upscaling ComfyUI does not have.
    """
    schedule = card.schedule()
    if schedule is None:
        raise AdapterError("the adapter does not say its schedule, so that no workflow follows from it")
    if schedule.upscale not in UPSCALING:
        raise AdapterError(f"ComfyUI does not upscale latents as the adapter wants it: {schedule.upscale}")
    sides = [scale * PIXELS_PER_LATENT for scale in schedule.scales]
    graph = _Graph()
    _load(graph, card, model, lora_file)
    guider = _guide(graph, card, model, prompt, sides[-1])
    sampler = graph.add("sampler", "KSamplerSelect", sampler_name="euler")
    latent = graph.add("latent 1", model.latent, width=sides[0], height=sides[0], batch_size=1)
    for step, (side, sigma) in enumerate(zip(sides, schedule.sigmas[:-1], strict=True), start=1):
        if step > 1 and side != sides[step - 2]:
            size = {"width": side, "height": side, "crop": "disabled"}
            method = UPSCALING[schedule.upscale]
            latent = graph.add(f"upscale {step}", "LatentUpscale", samples=latent, upscale_method=method, **size)
        noise = graph.add(f"noise {step}", "RandomNoise", noise_seed=seed + step - 1)
        levels = graph.add(f"levels {step}", "ManualSigmas", sigmas=f"{model.level(sigma):.6f}, 0.0")
        parts = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": levels, "latent_image": latent}
        latent = graph.add(f"step {step}", "SamplerCustomAdvanced", **parts)
    image = graph.add("decode", "VAEDecode", samples=latent, vae=model.vae)
    graph.add("save", "SaveImage", images=image, filename_prefix="swd")
    return graph.nodes


def _load(graph: _Graph, card: StudentCard, model: ComfyModel, lora_file: str) -> None:
    base = model_name(card.base_model or "") or ""
    file = model.files.get(base.rpartition("/")[2], next(iter(model.files.values())))
    for name, (kind, inputs) in model.loaders.items():
        graph.add(name, kind, **{key: file if value == "{base}" else value for key, value in inputs.items()})
    graph.add("student", "LoraLoaderModelOnly", model=model.model, lora_name=lora_file, strength_model=1.0)


def _guide(graph: _Graph, card: StudentCard, model: ComfyModel, prompt: str, side: int) -> Link:
    clip = model.clip
    if card.token_length:
        clip = graph.add("text length", "T5TokenizerOptions", clip=clip, min_padding=0, min_length=card.token_length)

    def encode(name: str, text: str) -> Link:
        kind, inputs = model.encode(side)
        return graph.add(name, kind, clip=clip, **dict.fromkeys(model.texts, text), **inputs)

    positive = encode("prompt", prompt)
    if model.takes_guidance:
        positive = graph.add("guidance", "FluxGuidance", conditioning=positive, guidance=card.guidance_scale)
    elif card.guidance_scale is not None and card.guidance_scale > 1:
        negative = encode("negative prompt", "")
        both = {"positive": positive, "negative": negative, "cfg": card.guidance_scale}
        return graph.add("guider", "CFGGuider", model=("student", 0), **both)
    return graph.add("guider", "BasicGuider", model=("student", 0), conditioning=positive)
