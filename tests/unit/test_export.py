"""Students written for other programs, and the ComfyUI workflow that draws with them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import HEADER, TARGETS, evaluate, make_adapter, merged
from peft import PeftModel
from tiny_pipelines import make

from swd.backbones.flux.comfy import COMFY as FLUX
from swd.backbones.sd3.comfy import COMFY as SD35
from swd.backbones.sd3.names import NAMES
from swd.backbones.sdxl.comfy import COMFY as SDXL
from swd.errors import AdapterError
from swd.export import WORKFLOW_FILE, main
from swd.lora.card import StudentCard
from swd.lora.files import open_adapter, write_adapter
from swd.lora.layouts.adapter import Adapter
from swd.lora.released import RELEASED
from swd.lora.workflow import ComfyModel, workflow

# Nodes of ComfyUI (nodes.py and comfy_extras) with the inputs that they require.
STOCK = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "UNETLoader": {"unet_name", "weight_dtype"},
    "TripleCLIPLoader": {"clip_name1", "clip_name2", "clip_name3"},
    "DualCLIPLoader": {"clip_name1", "clip_name2", "type"},
    "VAELoader": {"vae_name"},
    "LoraLoaderModelOnly": {"model", "lora_name", "strength_model"},
    "T5TokenizerOptions": {"clip", "min_padding", "min_length"},
    "CLIPTextEncode": {"clip", "text"},
    "CLIPTextEncodeSDXL": {
        *("clip", "width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"),
    },
    "FluxGuidance": {"conditioning", "guidance"},
    "BasicGuider": {"model", "conditioning"},
    "CFGGuider": {"model", "positive", "negative", "cfg"},
    "KSamplerSelect": {"sampler_name"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "EmptySD3LatentImage": {"width", "height", "batch_size"},
    "LatentUpscale": {"samples", "upscale_method", "width", "height", "crop"},
    "RandomNoise": {"noise_seed"},
    "ManualSigmas": {"sigmas"},
    "SamplerCustomAdvanced": {"noise", "guider", "sampler", "sigmas", "latent_image"},
    "VAEDecode": {"samples", "vae"},
    "SaveImage": {"images", "filename_prefix"},
}
MODELS = {
    "yresearch/swd-medium-6-steps": SD35,
    "yresearch/swd-large-4-steps": SD35,
    "yresearch/swd-sdxl": SDXL,
    "yresearch/swd_flux": FLUX,
}


@pytest.fixture(scope="module")
def network() -> Any:
    return make("sd35-medium").transformer


@pytest.fixture(scope="module")
def adapter(network: Any) -> Adapter:
    header = {**HEADER, "backbone": "sd3"}
    plain = make_adapter(network, TARGETS["sd35-medium"])
    return Adapter(layers=plain.layers, targets=plain.targets, header=header)


@pytest.fixture
def student(adapter: Adapter, tmp_path: Path) -> Path:
    write_adapter(adapter, "diffusers", tmp_path / "student", component="transformer", names=NAMES)
    return tmp_path / "student"


@pytest.mark.parametrize("layout", ["peft", "diffusers", "kohya", "comfy"])
def test_it_writes_every_layout_and_comes_back_byte_for_byte(
    student: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(student), "--format", layout, "--output", str(tmp_path / "there")])
    (written,) = capsys.readouterr().out.split()
    assert Path(written).parent == tmp_path / "there"
    main([written, "--output", str(tmp_path / "back")])
    (original,), (back,) = student.iterdir(), (tmp_path / "back").iterdir()
    assert back.read_bytes() == original.read_bytes()


def test_peft_loads_its_own_layout(student: Path, tmp_path: Path, network: Any, adapter: Adapter) -> None:
    main([str(student), "--format", "peft", "--output", str(tmp_path / "peft")])
    loaded = PeftModel.from_pretrained(make("sd35-medium").transformer, tmp_path / "peft")
    torch.testing.assert_close(evaluate(loaded.get_base_model()), evaluate(merged(network, adapter)), rtol=0, atol=1e-5)


def test_plain_diffusers_loads_its_own_layout(student: Path, tmp_path: Path, network: Any, adapter: Adapter) -> None:
    main([str(student), "--format", "diffusers", "--output", str(tmp_path / "plain")])
    plain = make("sd35-medium")
    plain.load_lora_weights(tmp_path / "plain")
    torch.testing.assert_close(evaluate(plain.transformer), evaluate(merged(network, adapter)), rtol=0, atol=1e-5)


def test_the_header_goes_along(student: Path, tmp_path: Path, adapter: Adapter) -> None:
    main([str(student), "--format", "kohya", "--output", str(tmp_path / "there")])
    assert open_adapter(tmp_path / "there", NAMES).header == adapter.header


def test_user_errors_end_with_one_line(student: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: no adapter at .*nowhere"):
        main([str(tmp_path / "nowhere"), "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="error: no backbone 'x'"):
        main([str(student), "--output", str(tmp_path), "--backbone", "x"])
    with pytest.raises(SystemExit, match="error: comfy_workflow needs a layout"):
        main([str(student), "--output", str(tmp_path), "--comfy-workflow"])
    (tmp_path / "adapter.bin").write_bytes(b"\x80\x02")
    with pytest.raises(SystemExit, match="is a pickle"):
        main([str(tmp_path / "adapter.bin"), "--output", str(tmp_path)])


def test_a_workflow_lies_beside_the_adapter(student: Path, tmp_path: Path) -> None:
    main([str(student), "--format", "comfy", "--comfy-workflow", "--prompt", "a star", "--output", str(tmp_path / "c")])
    nodes = json.loads((tmp_path / "c" / WORKFLOW_FILE).read_text())
    names = {node["inputs"].get("lora_name") for node in nodes.values()} - {None}
    assert {name for name in names if (tmp_path / "c" / name).is_file()} == names
    assert [node["inputs"]["text"] for node in nodes.values() if node["class_type"] == "CLIPTextEncode"] == ["a star"]
    assert sizes(nodes) == [64, 128]


def of_kind(nodes: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in nodes.values() if node["class_type"] == kind]


def sizes(nodes: dict[str, Any]) -> list[int]:
    """Width of the latent of every step, followed back along the links."""
    widths = []
    for step in of_kind(nodes, "SamplerCustomAdvanced"):
        node = nodes[step["latent_image"][0]]
        while "width" not in node["inputs"]:
            node = nodes[node["inputs"]["latent_image"][0]]
        widths.append(node["inputs"]["width"])
    return widths


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_a_workflow_has_stock_nodes_and_the_steps_of_its_student(name: str, model: ComfyModel) -> None:
    card = RELEASED[name]
    nodes = workflow(card, model, lora_file="lora.safetensors", prompt="a star", seed=7)
    for number, node in nodes.items():
        assert node["inputs"].keys() == STOCK[node["class_type"]], node
        for value in node["inputs"].values():
            if isinstance(value, list):
                assert int(value[0]) < int(number)
    assert card.scales is not None
    assert sizes(nodes) == [8 * scale for scale in card.scales]
    assert [step["noise_seed"] for step in of_kind(nodes, "RandomNoise")] == [7 + i for i in range(len(card.scales))]
    lengths = [options["min_length"] for options in of_kind(nodes, "T5TokenizerOptions")]
    assert lengths == ([card.token_length] if card.token_length else [])
    assert len(of_kind(nodes, "BasicGuider")) == 1
    assert [one["guidance"] for one in of_kind(nodes, "FluxGuidance")] == ([4.5] if model is FLUX else [])
    assert {upscale["upscale_method"] for upscale in of_kind(nodes, "LatentUpscale")} == {"bicubic"}


def test_the_noise_levels_are_the_student_s() -> None:
    card = RELEASED["yresearch/swd-medium-6-steps"]
    levels = [one["sigmas"] for one in of_kind(workflow(card, SD35, lora_file="x", prompt="x"), "ManualSigmas")]
    assert card.sigmas is not None
    pairs = [[float(level) for level in one.split(", ")] for one in levels]
    assert [end for _, end in pairs] == [0.0] * 6
    torch.testing.assert_close(torch.tensor([start for start, _ in pairs]), torch.tensor(card.sigmas[:-1]))


def test_noise_levels_of_sdxl_are_noise_over_signal() -> None:
    card = RELEASED["yresearch/swd-sdxl"]
    levels = [one["sigmas"] for one in of_kind(workflow(card, SDXL, lora_file="x", prompt="x"), "ManualSigmas")]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    power = torch.cumprod(1 - betas, 0)[[999, 799, 599, 399]]
    expected = ((1 - power) / power).sqrt()
    torch.testing.assert_close(
        torch.tensor([float(one.split(",")[0]) for one in levels]), expected.float(), rtol=1e-5, atol=1e-5
    )
    assert levels[0].startswith("14.6146")  # where ComfyUI starts from pure noise


def test_guidance_brings_a_negative_prompt_and_equal_sides_no_upscaling() -> None:
    card = StudentCard(scales=(16, 16), sigmas=(1.0, 0.5, 0.0), guidance_scale=3.0)
    nodes = workflow(card, SD35, lora_file="x", prompt="a star")
    assert [guider["cfg"] for guider in of_kind(nodes, "CFGGuider")] == [3.0]
    assert [one["text"] for one in of_kind(nodes, "CLIPTextEncode")] == ["a star", ""]
    assert not of_kind(nodes, "LatentUpscale")
    with pytest.raises(AdapterError, match="does not say its schedule"):
        workflow(StudentCard(token_length=4), SD35, lora_file="x", prompt="x")
