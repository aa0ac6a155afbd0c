"""Image stage: one image per prompt, in shards on disk, resumable by shard."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from repro.harness.sampling import SamplingPlan
from repro.metrics.base import Prompt, pictures, pixels
from repro.stages.sampling import draw
from repro.stages.store import StageStore
from swd.backbones import backbone_of, denoiser_of, loading
from swd.backbones.base import Condition
from swd.errors import PipelineError
from swd.lora.files import load_adapter
from swd.pipelines import ScalewiseStableDiffusion3Pipeline

STAGE, VERSION = "images", 1
Generate = Callable[[Sequence[Prompt]], Sequence[Image]]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Finished images of one row and prompt set.

    Attributes:
        folder: shards of uint8 images (B, 3, H, W).
        inputs: what they follow from; their identity for later stages.
        prompts: one per image, in order.
    """

    folder: Path
    inputs: Mapping[str, Any]
    prompts: Sequence[Prompt]
    shard_size: int

    def batches(self) -> Iterator[tuple[list[Image], Sequence[Prompt]]]:
        """RGB images and their prompts, shard by shard."""
        for index, prompts in enumerate(_split(self.prompts, self.shard_size)):
            with safe_open(_shard(self.folder, index), framework="pt") as file:
                yield pictures(file.get_tensor("images")), prompts


def load_pipeline(folder: str | Path, dtype: str, device: torch.device) -> ScalewiseStableDiffusion3Pipeline:
    """A pipeline folder or hub name as the scale-wise pipeline, without progress bars.

    Raises:
        PipelineError: a missing folder, or a missing, truncated or foreign weight file.
    """
    pipeline = loading.load_pipeline(str(folder), dtype=getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def generator_of(
    plan: SamplingPlan,
    pipeline: ScalewiseStableDiffusion3Pipeline,
    adapter: Path | None,
    encoded: dict[str, Condition] | None = None,
) -> Generate:
    """The function from prompts to RGB images.

    Args:
        plan: the steps of an image.
        pipeline: the base; changed by an adapter.
        adapter: the student, merged for speed; None for the teacher.
        encoded: captions that the same text encoders have encoded; new ones are added.
    """
    encoded = {} if encoded is None else encoded
    denoiser = denoiser_of(pipeline).eval()
    if adapter is not None:
        load_adapter(denoiser, adapter)
        denoiser.network.fuse_lora()
    uncond = pipeline.encode_uncond()

    @torch.no_grad()
    def generate(prompts: Sequence[Prompt]) -> list[Image]:
        captions = [prompt["caption"] for prompt in prompts]
        if new := [caption for caption in dict.fromkeys(captions) if caption not in encoded]:
            rows = pipeline.encode_condition(new)
            encoded.update({caption: rows[index : index + 1] for index, caption in enumerate(new)})
        cond = uncond.cat([encoded[caption] for caption in captions])
        seeds = [prompt["seed"] for prompt in prompts]
        x0 = draw(plan, denoiser, cond, uncond, seeds, side=denoiser.network.config.sample_size)
        decoded = pipeline.decode(x0, output_type="pt").float().clamp(0, 1)
        return pictures((decoded * 255).round().to(torch.uint8))

    return generate


def make_images(
    store: StageStore, inputs: Mapping[str, Any], prompts: Sequence[Prompt], make: Callable[[], Generate], label: str
) -> ImageSet:
    """Generate what is missing of an image set.

    Args:
        store: where finished stages are.
        inputs: all that the images follow from, apart from the batch size.
        prompts: caption and seed of every image.
        make: builds the generator; only called when something is missing.
        label: for the progress bar.
    """
    shard_size = inputs["shard_size"]
    folder = store.folder(STAGE, inputs)
    result = ImageSet(folder, inputs, prompts, shard_size)
    shards = list(enumerate(_split(prompts, shard_size)))
    missing = [(index, part) for index, part in shards if not _complete(_shard(folder, index), len(part))]
    if store.done(STAGE, inputs) and not missing:
        return result
    generate = make() if missing else None
    for index, part in tqdm(missing, desc=label, initial=len(shards) - len(missing), total=len(shards), leave=False):
        partial = folder / f".{index:05d}.partial"
        save_file({"images": pixels(generate(part))}, partial)
        partial.replace(_shard(folder, index))
    store.finish(STAGE, inputs)
    return result


def check_pipeline(folder: Path) -> None:
    """Refuse a missing pipeline or a truncated weight file before anything long starts.

    Raises:
        PipelineError: no pipeline, or a file that is not a whole safetensors file.
    """
    if not (folder / "model_index.json").is_file():
        raise PipelineError(f"no pipeline in {folder}; build the mini pipeline with: nox -s mini")
    for path in sorted(folder.rglob("*.safetensors")):
        check_whole(path)


def check_whole(path: Path) -> None:
    """Refuse a truncated weight file.

    Raises:
        PipelineError: the file is not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt"):
            return
    except SafetensorError as error:
        raise PipelineError(f"{path} is truncated or not a safetensors file: {error}") from error


def _split(prompts: Sequence[Prompt], size: int) -> list[Sequence[Prompt]]:
    return [prompts[start : start + size] for start in range(0, len(prompts), size)]


def _shard(folder: Path, index: int) -> Path:
    return folder / f"images-{index:05d}.safetensors"


def _complete(path: Path, count: int) -> bool:
    """Whether a shard is there and whole; a torn one is made again."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_slice("images").get_shape()[0] == count
    except (FileNotFoundError, SafetensorError):
        return False


def text_encoders(pipeline: Any) -> list[torch.nn.Module]:
    """Those that a pipeline has."""
    found = (getattr(pipeline, name) for name in backbone_of(pipeline).text_encoders)
    return [encoder for encoder in found if encoder is not None]
