"""Devices of pipelines: those that are not here, or hold no numbers, are refused in one line before work."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from tiny_pipelines import SCALEWISE, make

from swd.backbones.devices import _same, check_places, known_device

ABSENT = (
    "meta",
    "banana",
    "cuda:99",
    "cpu:3",
    "xla",
    "",
    "cpu:banana",
    99,
    torch.device("meta"),
    torch.device("mps", 7),
)
NO_DEVICES: tuple[Any, ...] = (3.5, ["cpu"], True, {})
WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "to": lambda pipeline, device: pipeline.to(device),
    "to device=": lambda pipeline, device: pipeline.to(device=device),
    "to with a dtype": lambda pipeline, device: pipeline.to(device, torch.float32),
    "model offload": lambda pipeline, device: pipeline.enable_model_cpu_offload(device=device),
    "sequential offload": lambda pipeline, device: pipeline.enable_sequential_cpu_offload(device=device),
    "group onload": lambda pipeline, device: pipeline.enable_group_offload(device, offload_type="leaf_level"),
    "group offload": lambda pipeline, device: pipeline.enable_group_offload("cpu", device, offload_type="leaf_level"),
    "encode_condition": lambda pipeline, device: pipeline.encode_condition(["a star"], device=device),
    "encode_uncond": lambda pipeline, device: pipeline.encode_uncond("", device=device),
    "encode_prompt": lambda pipeline, device: pipeline.encode_prompt(
        "a star", prompt_2=None, device=device, **pipeline.more
    ),
}
SHORT: dict[str, Any] = {"scales": (8, 16), "sigmas": (1.0, 0.5, 0.0), "seeds": 3, "output_type": "pt"}


@pytest.fixture(scope="module", params=SCALEWISE)
def pipeline(request: pytest.FixtureRequest) -> Any:
    pipeline = SCALEWISE[request.param](**make(request.param).components)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.more = {"prompt_3": None} if request.param == "sd35-medium" else {}
    return pipeline


@pytest.mark.parametrize("way", WAYS)
def test_a_device_that_is_not_here_is_refused_and_nothing_has_moved(pipeline: Any, way: str) -> None:
    for device in ABSENT:
        with pytest.raises(ValueError, match=r"there is no device '.*' here that can compute; expected cpu") as caught:
            WAYS[way](pipeline, device)
        assert "\n" not in str(caught.value)
    for wrong in NO_DEVICES:
        with pytest.raises(TypeError, match="must be a device, its name or its number, got"):
            WAYS[way](pipeline, wrong)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.backbone.network(pipeline)):
        assert {weight.device.type for weight in part.parameters()} == {"cpu"}
        assert not any("_hf_hook" in vars(module) for module in part.modules())


def test_devices_that_are_here_are_taken(pipeline: Any) -> None:
    assert known_device("device", "cpu") == known_device("device", torch.device("cpu")) == torch.device("cpu")
    expected = pipeline("a red star", **SHORT).images
    moved = pipeline.to("cpu").to(device="cpu", dtype=torch.float32).to(torch.float32)
    torch.testing.assert_close(moved("a red star", **SHORT).images, expected)
    here = pipeline.encode_condition(["a red star"], device="cpu")
    torch.testing.assert_close(here.pooled, pipeline.encode_condition(["a red star"]).pooled)


@pytest.mark.parametrize("wrong", [torch.int64, torch.bool])
def test_a_pipeline_is_of_floating_point_numbers(pipeline: Any, wrong: torch.dtype) -> None:
    for way in ({"dtype": wrong}, {"dtype": "float16"}):
        with pytest.raises(TypeError, match="dtype must be a"):
            pipeline.to(**way)
    with pytest.raises(TypeError, match=r"argument 1 of to\(\) must be a dtype of floating-point numbers"):
        pipeline.to(wrong)


@pytest.mark.parametrize("number", [-1, "0", 1.5])
def test_the_number_of_an_accelerator_is_a_whole_number(pipeline: Any, number: Any) -> None:
    for way in (pipeline.enable_model_cpu_offload, pipeline.enable_sequential_cpu_offload):
        with pytest.raises((TypeError, ValueError), match="gpu_id must be"):
            way(gpu_id=number)


@pytest.mark.parametrize("name", SCALEWISE)
def test_parts_without_numbers_are_named_before_work(name: str) -> None:
    for part in ("vae", "text_encoder", SCALEWISE[name].backbone.component):
        pipeline = SCALEWISE[name](**make(name).components)
        pipeline.set_progress_bar_config(disable=True)
        cond = pipeline.encode_condition(["a red star"]).tensors()
        getattr(pipeline, part).to("meta")
        with pytest.raises(ValueError, match=f"^{part} is on the meta device, which holds no numbers"):
            pipeline("a red star", **SHORT)
        embeds = {argument: cond[field] for argument, field in pipeline.embed_fields.items() if field in cond}
        if part == "vae":
            assert pipeline("a red star", **{**SHORT, "output_type": "latent"}).images.isfinite().all()
        if part == "text_encoder":
            assert pipeline(**embeds, **SHORT).images.isfinite().all()


def test_parts_that_are_elsewhere_are_named_unless_offloading_moves_them() -> None:
    part = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"^vae is on cpu and has to compute on cuda:0: pipe.to\('cuda:0'\) moves it$"):
        check_places({"vae": part}, torch.device("cuda:0"))
    check_places({"vae": part, "tokenizer": None}, torch.device("cpu"))
    add_hook_to_module(part, AlignDevicesHook(execution_device="cpu"))
    check_places({"vae": part.to("meta")}, torch.device("cpu"))


@pytest.mark.parametrize(("asked", "same"), [("cuda", True), ("cuda:0", True), ("cuda:1", False), ("cpu", False)])
def test_a_device_without_a_number_is_any_of_its_kind(asked: str, same: bool) -> None:
    assert _same(torch.device("cuda:0"), torch.device(asked)) is same
