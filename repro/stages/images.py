"""Image stage: one image per prompt, in shards on disk, resumable by shard."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from repro.harness.files import digest_folder, digest_json
from repro.harness.profile import Execution
from repro.harness.provenance import versions
from repro.harness.sampling import SamplingPlan
from repro.metrics.base import Prompt, pictures
from repro.stages.image_sets import ImageSet, ImageSetError, identified, manifest_path
from repro.stages.sampling import draw
from repro.stages.shard_maker import Generate, ShardMaker, Unusable
from repro.stages.store import StageStore, tell
from repro.stages.work import LEASES, Leases, work_through
from swd.backbones import backbone_of, denoiser_of, loading
from swd.backbones.base import Condition
from swd.errors import PipelineError
from swd.lora.files import load_adapter
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.resize import upscale

__all__ = [
    "ENLARGED",
    "Generate",
    "ImageSet",
    "ImageSetError",
    "Unusable",
    "check_network",
    "check_pipeline",
    "check_whole",
    "enlarged",
    "finished",
    "generator_of",
    "image_inputs",
    "load_pipeline",
    "make_images",
    "missing_images",
    "network_inputs",
    "put_network",
    "text_encoders",
]

STAGE, VERSION = "images", 2
LIBRARIES = ("torch", "diffusers", "transformers", "peft")
ENLARGED = "bicubic"
"""How images of a smaller side are brought to the whole one, where metrics and pictures have them."""


def image_inputs(
    own: Mapping[str, Any],
    prompts: Sequence[Prompt],
    execution: Execution,
    device: torch.device,
    *,
    shard_size: int | None = None,
) -> dict[str, Any]:
    """All that the images of a network follow from.

    Args:
        own: network and steps.
        prompts: id, caption and seed of every image.
        execution: batch, dtype and encoding.
        device: where networks run.
        shard_size: images in a shard; the execution's by default.
    """
    inputs = {
        "version": VERSION,
        **own,
        "prompts": digest_json(prompts),
        "count": len(prompts),
        "dtype": execution.dtype,
        "device": device.type,
        "versions": versions(LIBRARIES),
        "shard_size": shard_size or execution.shard_size or execution.batch_size,
    }
    if execution.encoding != "png":  # the default says nothing, so that images of before it are known
        inputs["encoding"] = execution.encoding
    return inputs


def network_inputs(pipeline_digest: str, adapter: Path | None, plan: SamplingPlan) -> dict[str, Any]:
    """What is a network's own in `image_inputs`: its pipeline, its adapter (None for the teacher), its steps."""
    return {
        "pipeline": pipeline_digest,
        "adapter": None if adapter is None else digest_folder(adapter),
        "sampling": plan.as_json(),
    }


def finished(decoded: Tensor) -> list[Image | Unusable]:
    """Decoded pixels (B, 3, H, W), clamped to [0, 1], as images; those with a NaN are not usable."""
    broken = decoded.isnan().flatten(1).any(1).tolist()
    levels = (decoded.float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Unusable("NaN pixels") if bad else image for bad, image in zip(broken, pictures(levels), strict=True)]


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, h, w) in [0, 1] at the side that metrics compare at, by the one filter for that."""
    return upscale(images, (side, side), ENLARGED)


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
    *,
    side: int | None = None,
) -> Generate:
    """The function from prompts to RGB images.

    Args:
        plan: the steps of an image.
        pipeline: the base; changed by an adapter.
        adapter: the student, merged for speed; None for the teacher.
        encoded: captions that the same text encoders have encoded; new ones are added.
        side: in pixels, to which images are enlarged; None leaves them as they are.
    """
    encoded = {} if encoded is None else encoded
    denoiser = denoiser_of(pipeline).eval()
    if adapter is not None:
        load_adapter(denoiser, adapter)
        denoiser.network.fuse_lora()
    uncond = pipeline.encode_uncond()

    @torch.no_grad()
    def generate(prompts: Sequence[Prompt]) -> list[Image | Unusable]:
        captions = [prompt["caption"] for prompt in prompts]
        if new := [caption for caption in dict.fromkeys(captions) if caption not in encoded]:
            rows = pipeline.encode_condition(new)
            encoded.update({caption: rows[index : index + 1] for index, caption in enumerate(new)})
        cond = uncond.cat([encoded[caption] for caption in captions])
        seeds = [prompt["seed"] for prompt in prompts]
        x0 = draw(plan, denoiser, cond, uncond, seeds, side=denoiser.network.config.sample_size)
        decoded = pipeline.decode(x0, output_type="pt")
        return finished(decoded if side is None else enlarged(decoded, side))

    return generate


def make_images(
    store: StageStore,
    inputs: Mapping[str, Any],
    prompts: Sequence[Prompt],
    make: Callable[[], Generate],
    label: str,
    *,
    batch_size: int | None = None,
    side: int | None = None,
) -> ImageSet:
    """Generate what is missing of an image set, together with every other process that is asked for it.

    Args:
        store: where finished stages are.
        inputs: all that the images follow from, with ``shard_size``, and without the batch size.
        prompts: id, caption and seed of every image; the place is the id where there is none.
        make: builds the generator; only called when something is missing.
        label: for the progress bar.
        batch_size: images at once; a whole shard by default.
        side: of an image in pixels, to know of a full disk before the first one; of the first batch where it is None.

    Raises:
        ImageSetError: the folder holds foreign files or those of other settings, or there is no room on the disk.
    """
    folder, encoding = store.folder(STAGE, inputs), inputs.get("encoding", "png")

    def remake(shard: str) -> None:  # with a generator of its own: the set outlives the one that makes it here
        other = ShardMaker(result, make, batch_size or result.shard_size, encoding, side)
        leases = Leases(folder / f"{LEASES}-{shard}")  # whoever is done first removes them
        work_through({shard: len(result.shards[shard])}, leases, done=other.is_sound, do=other.make_shard)
        store.finish(STAGE, inputs, files=manifests)

    result = ImageSet(folder, inputs, identified(prompts), inputs["shard_size"], remake)
    manifests = [manifest_path(folder, shard).name for shard in result.shards]
    maker = ShardMaker(result, make, batch_size or result.shard_size, encoding, side)
    maker.check_folder()
    finished_before = store.done(STAGE, inputs)
    for name in store.changed(STAGE, inputs):  # a manifest; its images are kept where they are whole
        (folder / name).unlink(missing_ok=True)
    sizes = {shard: len(part) for shard, part in result.shards.items()}
    if finished_before and (lost := [shard for shard in sizes if not maker.done(shard)]):
        tell(f"{folder}: files of {', '.join(lost[:3])} are missing or cut: they are made again")
    work_through(sizes, Leases(folder / LEASES), done=maker.done, do=maker.make_shard, label=label)
    if not finished_before or lost:
        maker.sweep()
        store.finish(STAGE, inputs, files=manifests)
    return result


def missing_images(store: StageStore, inputs: Mapping[str, Any], count: int) -> int:
    """How many images of a set are still to be made; asks the disk and makes nothing."""
    if store.finished(STAGE, inputs):
        return 0
    ending = inputs.get("encoding", "png")
    return max(0, count - sum(1 for _ in store.place(STAGE, inputs).glob(f"[!.]*.{ending}")))


def check_pipeline(folder: Path) -> None:
    """Refuse a missing pipeline or a truncated weight file before anything long starts.

    Raises:
        PipelineError: no pipeline, or a file that is not a whole safetensors file.
    """
    if not (folder / "model_index.json").is_file():
        raise PipelineError(f"no pipeline in {folder}; build the mini pipeline with: nox -s mini")
    for path in sorted(folder.rglob("*.safetensors")):
        check_whole(path)


def check_network(folder: Path) -> None:
    """Refuse a missing network of a folder of its own, or a truncated one.

    Raises:
        PipelineError: no network, or a file that is not a whole safetensors file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        raise PipelineError(f"no network in {folder}: expected config.json and its weights; nox -s mini builds it")
    for path in files:
        check_whole(path)


def put_network(pipeline: ScalewiseStableDiffusion3Pipeline, folder: Path) -> None:
    """Have a network of the same class take the place of a pipeline's own, on its device and in its dtype."""
    backbone = backbone_of(pipeline)
    own = backbone.network(pipeline)
    other = type(own).from_pretrained(folder, dtype=own.dtype).to(own.device)
    setattr(pipeline, backbone.component, other)


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


def text_encoders(pipeline: Any) -> list[torch.nn.Module]:
    """Those that a pipeline has."""
    found = (getattr(pipeline, name) for name in backbone_of(pipeline).text_encoders)
    return [encoder for encoder in found if encoder is not None]
