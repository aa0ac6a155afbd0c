from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import TARGETS, make_adapter
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import save_file
from tiny_pipelines import make, save

from repro.harness.experiment import ExperimentError
from repro.harness.provenance import start_run
from repro.harness.schema import Record
from repro.harness.systems import HubFile, System
from repro.kinds.scores.declare import SKIPPED
from repro.kinds.scores.lines import score_records
from repro.metrics import Prompt, WeightsError, weights
from repro.metrics.base import Estimate, Measured, Skipped, mean_estimate
from repro.stages import hub
from repro.stages.images import Unusable, make_images
from repro.stages.scores import score_images
from repro.stages.store import StageStore
from repro.stages.systems import check_student, load_system, system_generator, system_inputs
from swd.lora.files import write_adapter

CPU = torch.device("cpu")
PROMPTS = [{"caption": "a red star", "seed": 3}, {"caption": "two circles", "seed": 4}, {"caption": "a", "seed": 5}]
CARD = {"scales": [8, 16], "sigmas": [1.0, 0.6, 0.0], "process": "flow", "backbone": "sd3", "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make("sdxl"), tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make("sd35-medium"), tmp_path_factory.mktemp("medium"))


def system(folder: Path, **options: Any) -> System:
    return System(**{"base": HubFile(str(folder)), "steps": 3, "guidance_scale": 5.0, "resolution": 32, **options})


class Level:
    """A metric: mean level of each image."""

    key = "level"

    def inputs(self) -> dict[str, Any]:
        return {}

    def measure(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Mapping[str, np.ndarray]:
        return {self.key: np.array([np.asarray(image).mean() for image in images])}

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        return {self.key: mean_estimate(measured.column(self.key))}


def written_student(folder: Path) -> HubFile:
    adapter = make_adapter(make("sd35-medium").transformer, TARGETS["sd35-medium"])
    write_adapter(replace(adapter, header=CARD), "peft", folder, component="transformer")
    return HubFile(str(folder))


def draw(made: System, prompts: list[dict[str, Any]] = PROMPTS) -> np.ndarray:
    pipeline = load_system(made, Path("/"), torch.float32, CPU)
    return np.stack([np.asarray(image) for image in system_generator(made, pipeline)(prompts)])


def test_an_image_follows_from_its_own_seed_alone(sdxl: Path) -> None:
    made = system(sdxl)
    together, alone = draw(made), np.concatenate([draw(made, [prompt]) for prompt in PROMPTS])
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together.astype(int) - alone).max() <= 1


@pytest.mark.parametrize("name", ["sdxl", "sd35-medium", "flux"])
def test_images_are_bit_for_bit_what_diffusers_gives_as_pil(name: str, tmp_path: Path) -> None:
    made = system(save(make(name), tmp_path), guidance_scale=2.0)
    pipeline = load_system(made, Path("/"), torch.bfloat16, CPU)
    rngs = [torch.Generator().manual_seed(prompt["seed"]) for prompt in PROMPTS]
    captions = [prompt["caption"] for prompt in PROMPTS]
    sizes = {"height": 32, "width": 32, "num_inference_steps": 3, "guidance_scale": 2.0}
    expected = pipeline(prompt=captions, generator=rngs, output_type="pil", **sizes).images
    found = system_generator(made, pipeline)(PROMPTS)
    for image, other in zip(found, expected, strict=True):
        assert isinstance(image, Image.Image)
        assert (image.mode, image.size) == (other.mode, other.size) == ("RGB", (32, 32))
        assert image.tobytes() == other.tobytes()


@pytest.mark.parametrize("kind", ["pipeline", "student"])
def test_nan_is_no_black_image(kind: str, medium: Path, tmp_path: Path) -> None:
    made = system(medium)
    if kind == "student":
        made = system(medium, student=written_student(tmp_path), steps=2, guidance_scale=None)
    pipeline = load_system(made, Path("/"), torch.float32, CPU)
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.bias[1] = torch.nan
    assert system_generator(made, pipeline)(PROMPTS) == [Unusable("NaN pixels")] * 3


def test_a_nan_image_is_counted_in_the_table_and_in_none_of_its_numbers(sdxl: Path, tmp_path: Path) -> None:
    made, prompts = system(sdxl), [{"id": f"p{place}", **prompt} for place, prompt in enumerate(PROMPTS)]
    pipeline = load_system(made, Path("/"), torch.float32, CPU)

    def spoil(_: Any, __: Any, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.index_fill(0, torch.tensor(1), torch.nan)

    pipeline.vae.decoder.register_forward_hook(spoil)
    store, generate = StageStore(tmp_path), system_generator(made, pipeline)
    images = make_images(store, {"shard_size": 3}, prompts, lambda: generate, "images")
    result = score_images(store, images, {}, lambda: [Level()])
    assert result.skipped == (Skipped("p1", "NaN pixels"),)
    opened = start_run(table="table4", profile="sdxl", config={}, command="", folder=tmp_path)
    run = opened.close(device="cpu", dtype="float32", data_hash="", weights_hash="")
    lines = score_records(run, "sdxl", "coco", 0, result)
    found = {line.metric: line for line in lines if isinstance(line, Record)}
    assert (found[SKIPPED].value, found[SKIPPED].note) == (1, "p1: NaN pixels")
    assert found["level"].n == 2


def test_the_published_scheduler_takes_the_place_of_the_pipeline_s(sdxl: Path) -> None:
    plain = system(sdxl, guidance_scale=0.0)
    few = replace(plain, scheduler="LCMScheduler", call={"timesteps": [999, 749, 499]})
    other = replace(plain, scheduler="DDIMScheduler", scheduler_options={"timestep_spacing": "trailing"})
    pipeline = load_system(few, Path("/"), torch.float32, CPU)
    assert type(pipeline.scheduler).__name__ == "LCMScheduler"
    system_generator(few, pipeline)(PROMPTS[:1])
    assert pipeline.scheduler.timesteps.tolist() == [999, 749, 499]
    assert not np.array_equal(draw(few), draw(other))


def test_weights_of_another_file_are_those_of_the_network(sdxl: Path, tmp_path: Path) -> None:
    other = make("sdxl", seed=1)
    torch.save(other.unet.state_dict(), tmp_path / "unet.bin")
    save_file(other.unet.state_dict(), tmp_path / "unet.safetensors")
    pipeline = make("sdxl")
    pipeline.unet = other.unet
    expected = draw(system(save(pipeline, tmp_path / "swapped")))
    for name in ("unet.bin", "unet.safetensors"):
        assert np.array_equal(draw(system(sdxl, network=HubFile(str(tmp_path), name))), expected)


def test_a_pickle_of_more_than_tensors_is_refused(sdxl: Path, tmp_path: Path) -> None:
    torch.save({"weights": Path("a")}, tmp_path / "unet.bin")
    with pytest.raises(ExperimentError, match=r"cannot load .* as this row wants it"):
        draw(system(sdxl, network=HubFile(str(tmp_path), "unet.bin")))


def test_a_lora_is_merged_at_its_scale(sdxl: Path, tmp_path: Path) -> None:
    base = make("sdxl")
    adapter = make_adapter(base.unet, TARGETS["sdxl"], strength=0.05)
    write_adapter(adapter, "diffusers", tmp_path, component="unet")
    (file,) = tmp_path.glob("*.safetensors")
    lora = HubFile(str(tmp_path), file.name)
    none, half, whole = (draw(system(sdxl, lora=lora, lora_scale=scale)) for scale in (0.0, 0.5, 1.0))
    assert np.array_equal(none, draw(system(sdxl)))
    assert not np.array_equal(half, whole)
    assert np.abs(half.astype(int) - none).mean() < np.abs(whole.astype(int) - none).mean()


def test_a_student_brings_its_schedule(medium: Path, tmp_path: Path) -> None:
    student = system(medium, student=written_student(tmp_path), steps=2, guidance_scale=None)
    assert draw(student).shape == (3, 32, 32, 3)
    with pytest.raises(ExperimentError, match="brings 2 steps, this row has 4"):
        draw(replace(student, steps=4))


def test_a_student_fits_or_both_are_named(medium: Path, sdxl: Path, tmp_path: Path) -> None:
    student = written_student(tmp_path / "medium")
    check_student(system(medium, student=student), Path("/"))
    check_student(system(medium), Path("/"))
    with pytest.raises(ExperimentError, match=rf"{student} is no student of {sdxl}: .* of sd3, expected sdxl"):
        check_student(system(sdxl, student=student), Path("/"))
    large = save(make("sd35-large"), tmp_path / "large")
    with pytest.raises(ExperimentError, match=rf"{student} is no student of {large}: .* does not fit: .*attn2"):
        check_student(system(large, student=student), Path("/"))
    (tmp_path / "medium" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=rf"{student}/adapter_model.safetensors is truncated"):
        check_student(system(medium, student=student), Path("/"))


def test_a_student_takes_no_other_weights() -> None:
    with pytest.raises(ValueError, match="takes no other weights"):
        System(base=HubFile("a/b"), steps=4, student=HubFile("c/d"), scheduler="LCMScheduler")


def test_images_follow_from_files_and_settings(sdxl: Path, tmp_path: Path) -> None:
    made = system(sdxl)
    inputs = system_inputs(made, Path("/"))
    assert inputs == system_inputs(made, Path("/"))
    assert inputs != system_inputs(replace(made, steps=4), Path("/"))
    changed = system_inputs(system(save(make("sdxl", seed=1), tmp_path)), Path("/"))
    assert list(inputs["files"].values()) != list(changed["files"].values())


def clutter(folder: Path) -> None:
    """What published repositories hold beside a pipeline."""
    for name in (
        "sd_xl_base_1.0.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
        "text_encoder/openvino_model.bin",
        "vae_1_0/diffusion_pytorch_model.safetensors",
        "unet_lcm/config.json",
        "workflow.json",
        "README.md",
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())


def test_one_more_download_into_the_same_folder_changes_no_image_s_identity(tmp_path: Path) -> None:
    folder = save(make("sdxl"), tmp_path)
    before, files = hub.digest(folder), hub.loaded_files(folder)
    clutter(folder)
    assert hub.loaded_files(folder) == files
    assert hub.digest(folder) == before


@pytest.mark.parametrize("shards", [False, True])
def test_what_is_loaded_is_in_the_identity(shards: bool, tmp_path: Path) -> None:
    folder = save(make("sd35-medium"), tmp_path, shards=shards)
    weights = {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}
    assert len(weights) > 5 if shards else len(weights) == 5
    seen = {hub.digest(folder)}
    clutter(folder)
    for name in sorted({*weights, "transformer/config.json", "tokenizer_3/tokenizer.json", "model_index.json"}):
        path = folder / name
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(hub.digest(folder))
    assert len(seen) == len(weights) + 4


def test_a_variant_is_hashed_where_it_is_what_is_loaded(tmp_path: Path) -> None:
    folder = save(make("sdxl"), tmp_path, variant="fp16")
    half = {file.name for file in hub.loaded_files(folder, variant="fp16") if file.suffix == ".safetensors"}
    assert half == {"diffusion_pytorch_model.fp16.safetensors", "model.fp16.safetensors"}
    for file in hub.loaded_files(folder, variant="fp16"):
        if file.suffix == ".safetensors":  # in full precision, beside it
            file.with_name(file.name.replace(".fp16", "")).write_bytes(b"whole")
    whole = {file.name for file in hub.loaded_files(folder) if file.suffix == ".safetensors"}
    assert whole == {"diffusion_pytorch_model.safetensors", "model.safetensors"}
    assert {file.name for file in hub.loaded_files(folder, variant="fp16") if file.suffix == ".safetensors"} == half
    assert hub.digest(folder, variant="fp16") != hub.digest(folder)


def test_a_network_alone_and_an_adapter_are_hashed_too(medium: Path, tmp_path: Path) -> None:
    vae = hub.loaded_files(medium / "vae")
    assert [file.name for file in vae] == ["config.json", "diffusion_pytorch_model.safetensors"]
    written_student(tmp_path)
    (tmp_path / "README.md").write_text("not loaded")
    assert {file.name for file in hub.loaded_files(tmp_path)} == {"adapter_config.json", "adapter_model.safetensors"}


def test_what_is_missing_is_named_with_the_command_that_gets_it(sdxl: Path) -> None:
    lora = HubFile("somebody/lora", "four.safetensors")
    assert hub.find(lora, Path("/")) is None
    assert hub.command(lora) == "hf download somebody/lora --include four.safetensors"
    with pytest.raises(WeightsError, match=r"hf download somebody/lora --include four\.safetensors"):
        system_inputs(system(sdxl, lora=lora), Path("/"))


def test_the_hub_s_cache_is_not_read_again(tmp_path: Path) -> None:
    content = b"weights"
    sha256 = "0" * 64  # not the true one: the name is believed
    blob, link = tmp_path / "blobs" / sha256, tmp_path / "snapshots" / "x" / "model.safetensors"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    named = hub.digest(link.parent)
    link.unlink()
    link.write_bytes(content)
    assert hub.digest(link.parent) != named


REPOSITORY = (  # as SDXL and SD3.5 are published: beside what diffusers reads, copies in one file and of other programs
    "model_index.json", "README.md", "sd_xl_base_1.0.safetensors", "text_encoders/t5xxl_fp16.safetensors",
    "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx", "tokenizer/merges.txt", "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors", "text_encoder_3/model-00001-of-00002.safetensors",
    "text_encoder_3/model.fp16-00001-of-00002.safetensors", "text_encoder_3/model.safetensors.index.json",
)  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        (None, ("text_encoder/model.safetensors", "text_encoder_3/model-00001-of-00002.safetensors",
                "unet/diffusion_pytorch_model.safetensors")),
        ("fp16", ("text_encoder/model.fp16.safetensors", "text_encoder_3/model.fp16-00001-of-00002.safetensors",
                  "unet/diffusion_pytorch_model.fp16.safetensors")),
    ],
)  # fmt: skip
def test_of_a_pipeline_s_repository_one_variant_of_its_folders_is_downloaded(
    variant: str | None, wanted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(name: str, *, local_files_only: bool = False, **kwargs: Any) -> str:
        asked.extend(kwargs.get("allow_patterns") or [])
        raise LocalEntryNotFoundError("no network in a test")

    for module in (hub, weights):
        monkeypatch.setattr(module, "snapshot_download", download)
    monkeypatch.setattr(weights, "list_repo_files", lambda name, revision: list(REPOSITORY))
    made = System(base=HubFile("someone/base"), steps=4, variant=variant)
    with pytest.raises(WeightsError, match="cannot get someone/base"):
        system_inputs(made, Path("/"))
    described = {name for name in REPOSITORY if name.startswith("t") and name.endswith((".json", ".txt"))}
    assert set(asked) == {"model_index.json", *described, *wanted}
