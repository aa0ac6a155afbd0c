"""Adapters as users have them go into pipelines, wholly or not at all."""

import json
import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import HEADER, TARGETS, evaluate, make_adapter, merged
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_pipelines import NETWORK, make, save

from swd.backbones import backbone_of, denoiser_of
from swd.backbones.loading import load_pipeline
from swd.errors import AdapterError
from swd.lora.card import StudentCard
from swd.lora.files import load_adapter, open_adapter, write_adapter
from swd.lora.layouts import LAYOUTS
from swd.lora.layouts.adapter import Adapter, LoraWeights
from swd.lora.released import RELEASED

FAMILIES = ("sd35-medium", "sd35-large", "sdxl", "flux")
STEPS = {"scales": (8, 16), "sigmas": (1.0, 0.5, 0.0)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(make(name), tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture
def pipeline(folders: dict[str, Path]) -> Any:
    return opened(folders["sd35-medium"])


def opened(folder: Path) -> Any:
    pipeline = load_pipeline(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, **options: Any) -> np.ndarray:
    images: np.ndarray = pipeline("a red star", seeds=[3], output_type="np", **{**STEPS, **options}).images
    return images


def network_of(pipeline: Any) -> Any:
    return backbone_of(pipeline).network(pipeline)


def medium_adapter(**options: Any) -> Adapter:
    return make_adapter(make("sd35-medium").transformer, TARGETS["sd35-medium"], **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_draws_what_its_merged_weights_draw(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    plain = opened(folders[family])
    backbone, teacher = backbone_of(plain), draw(plain)
    adapter = make_adapter(
        network_of(plain), TARGETS[family], rank=lambda index: 2 + index % 2, rslora=True, strength=0.05
    )
    setattr(plain, backbone.component, merged(network_of(plain), adapter))
    expected = draw(plain)
    assert np.abs(expected - teacher).max() > 1e-3
    pipeline = opened(folders[family])
    for layout in LAYOUTS:
        write_adapter(adapter, layout, tmp_path / layout, component=backbone.component, names=backbone.layer_names)
        pipeline.load_lora_weights(tmp_path / layout)
        np.testing.assert_allclose(draw(pipeline), expected, rtol=0, atol=1e-5)
        pipeline.unload_lora_weights()
        assert np.array_equal(draw(pipeline), teacher)


def test_the_student_s_card_is_the_default_and_goes_with_it(pipeline: Any, tmp_path: Path) -> None:
    header = {**HEADER, "token_length": 4}
    student = Adapter(layers=medium_adapter().layers, header=header)
    write_adapter(student, "peft", tmp_path, component="transformer")
    pipeline.load_lora_weights(tmp_path, adapter_name="student")
    assert pipeline.student == StudentCard.from_header(header)
    own = pipeline("a red star", seeds=[3], output_type="np").images
    assert np.array_equal(own, draw(pipeline, max_sequence_length=4))
    assert not np.array_equal(own, draw(pipeline, scales=(8, 8)))
    pipeline.load_lora_weights(medium_adapter(seed=1).state(), adapter_name="style")
    assert pipeline.student is not None
    pipeline.delete_adapters("style")
    assert pipeline.student is not None
    pipeline.delete_adapters(["student"])
    assert pipeline.student is None
    pipeline.load_lora_weights(tmp_path)
    pipeline.unload_lora_weights()
    assert pipeline.student is None
    with pytest.raises(ValueError, match="no schedule"):
        pipeline("a red star")


def test_diffusers_own_switches_go_on_working(pipeline: Any) -> None:
    teacher, adapter = draw(pipeline), medium_adapter(alpha=lambda index: 3.0)
    pipeline.load_lora_weights(adapter.state(), adapter_name="one")  # tensors alone: their scale is 1
    one = draw(pipeline)
    assert pipeline.get_active_adapters() == ["one"]
    pipeline.load_lora_weights(medium_adapter(seed=1).state(), adapter_name="two")
    pipeline.set_adapters(["one", "two"], [0.5, 2.0])
    both = draw(pipeline)
    assert pipeline.get_list_adapters() == {"transformer": ["one", "two"]}
    pipeline.set_adapters("one")
    np.testing.assert_allclose(draw(pipeline), one, rtol=0, atol=1e-6)
    pipeline.set_adapters("one", 0.0)
    np.testing.assert_allclose(draw(pipeline), teacher, rtol=0, atol=1e-6)
    pipeline.set_adapters(["one", "two"], [0.5, 2.0])
    pipeline.enable_fast()
    np.testing.assert_allclose(draw(pipeline), both, rtol=0, atol=1e-5)
    pipeline.disable_fast()
    pipeline.fuse_lora()
    np.testing.assert_allclose(draw(pipeline), both, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="already in use"):
        pipeline.load_lora_weights(adapter.state(), adapter_name="one")


def peft_folder(folder: Path, seed: int = 0, **options: Any) -> tuple[Path, SD3Transformer2DModel]:
    """An adapter trained and saved by peft itself, and what the network with it gives."""
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": ["to_q", "to_k", "net.2"], "init_lora_weights": False}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(make("sd35-medium").transformer, LoraConfig(**{**chosen, **options}))
    model.save_pretrained(folder)
    return folder, model.get_base_model()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"transformer_blocks.1.attn.to_q": 2}, "alpha_pattern": {"to_k": 1.5}},
        {"target_modules": r"transformer_blocks\.[02]\.(attn|attn2)\.to_(q|v)"},
        {"target_modules": ["to_q", "to_v"], "layers_to_transform": [1], "layers_pattern": "transformer_blocks"},
        {"target_modules": ["to_q", "to_v"], "exclude_modules": ["attn2.to_q"], "use_rslora": True},
    ],
)
def test_a_folder_saved_by_peft_changes_the_images_as_peft_does(
    pipeline: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder, expected = peft_folder(tmp_path, **options)
    teacher = draw(pipeline)
    pipeline.load_lora_weights(folder)
    torch.testing.assert_close(evaluate(pipeline.transformer), evaluate(expected), rtol=0, atol=1e-5)
    loaded = draw(pipeline)
    assert np.abs(loaded - teacher).max() > 1e-4
    bare = make("sd35-medium").transformer
    load_adapter(denoiser_of(make("sd35-medium")).backbone.denoiser(bare), folder)
    torch.testing.assert_close(evaluate(bare), evaluate(expected), rtol=0, atol=1e-5)


def test_with_one_key_renamed_it_raises_and_nothing_has_changed(pipeline: Any, tmp_path: Path) -> None:
    folder, _ = peft_folder(tmp_path)
    file = folder / "adapter_model.safetensors"
    teacher, tensors = draw(pipeline), load_file(file)
    for old, new in (
        ("1.attn.to_q", "1.attn.to_x"),
        ("1.attn.to_q", "7.attn.to_q"),
        ("1.attn.to_q.lora_A", "y.lora_A"),
    ):
        save_file({key.replace(old, new): weight for key, weight in tensors.items()}, file)
        with pytest.raises(AdapterError, match=r"to_x|to_q|blocks\.y"):
            pipeline.load_lora_weights(folder)
        assert np.array_equal(draw(pipeline), teacher)
        assert not pipeline.get_list_adapters()


def test_peft_s_own_wrapper_draws_the_same_plainly_and_fast(pipeline: Any, tmp_path: Path) -> None:
    folder, _ = peft_folder(tmp_path, use_rslora=True)
    plain = draw(pipeline)
    pipeline.load_lora_weights(folder)
    expected = draw(pipeline)
    pipeline.unload_lora_weights()
    pipeline.transformer = PeftModel.from_pretrained(pipeline.transformer, folder)
    np.testing.assert_allclose(draw(pipeline), expected, rtol=0, atol=1e-6)
    pipeline.enable_fast()
    np.testing.assert_allclose(draw(pipeline), expected, rtol=0, atol=1e-5)
    with pipeline.transformer.disable_adapter():
        np.testing.assert_allclose(draw(pipeline), plain, rtol=0, atol=1e-5)


def scaled(adapter: Adapter, alpha: float) -> dict[str, torch.Tensor]:
    """Tensors with an alpha beside each, in diffusers' names."""
    state = adapter.state("transformer.")
    return state | {f"transformer.{name}.alpha": torch.tensor(alpha) for name in adapter.layers}


def test_old_names_and_alpha_tensors_are_read(tmp_path: Path) -> None:
    adapter = medium_adapter()
    expected = {name: adapter.layers[name].up for name in adapter.layers}

    def check(tensors: dict[str, torch.Tensor], alpha: float, names: Any = None) -> None:
        save_file(tensors, tmp_path / "file.safetensors")
        found = open_adapter(tmp_path / "file.safetensors", names)
        assert found.layers.keys() == expected.keys()
        assert all(torch.equal(found.layers[name].up, up) for name, up in expected.items())
        assert {weights.alpha for weights in found.layers.values()} == {alpha}

    names = denoiser_of(make("sd35-medium")).backbone.layer_names
    check(adapter.state(), 3.0)
    check(scaled(adapter, 2.0), 2.0)
    for down, up in (("lora.down", "lora.up"), ("lora_linear_layer.down", "lora_linear_layer.up")):
        old = {key.replace("lora_A", down).replace("lora_B", up): w for key, w in adapter.state("transformer.").items()}
        check(old, 3.0)
    kohya = {}
    for name, weights in adapter.layers.items():
        flat = f"lora_transformer_{name.replace('.', '_')}"
        kohya |= {f"{flat}.lora_down.weight": weights.down, f"{flat}.lora_up.weight": weights.up}
        kohya[f"{flat}.alpha"] = torch.tensor(5.0)
    check(kohya, 5.0, names)


def test_attention_processors_names_of_old_are_read() -> None:
    unet = make("sdxl").unet
    adapter = make_adapter(unet, ("to_q", "to_out.0"))
    old = {}
    for name, weights in adapter.layers.items():
        parent, _, layer = name.replace(".to_out.0", ".to_out").rpartition(".")
        old |= {f"unet.{parent}.processor.{layer}_lora.down.weight": weights.down}
        old |= {f"unet.{parent}.processor.{layer}_lora.up.weight": weights.up}
    assert open_adapter(old).layers.keys() == adapter.layers.keys()


@pytest.mark.parametrize("family", ["sd35-medium", "sdxl"])
@pytest.mark.parametrize("layout", ["diffusers", "kohya", "comfy"])
def test_text_encoders_are_adapted_too(folders: dict[str, Path], tmp_path: Path, family: str, layout: Any) -> None:
    pipeline = opened(folders[family])
    backbone, network = backbone_of(pipeline), network_of(pipeline)
    teacher = draw(pipeline)
    prefix, rng = "text_model.encoder.layers.1", torch.Generator().manual_seed(1)

    def layers(seed: int) -> dict[str, LoraWeights]:
        shapes = {f"{prefix}.self_attn.q_proj": (16, 16), f"{prefix}.mlp.fc1": (32, 16)}
        return {
            name: LoraWeights(torch.randn(2, into, generator=rng), 0.1 * torch.randn(out, 2, generator=rng), 1.0)
            for name, (out, into) in shapes.items()
        }

    encoders = {part: layers(index) for index, part in enumerate(("text_encoder", "text_encoder_2"))}
    adapter = make_adapter(network, TARGETS[family], strength=0.05)
    whole = Adapter(layers=adapter.layers, text_encoders=encoders, targets=adapter.targets)
    write_adapter(whole, layout, tmp_path, component=backbone.component, names=backbone.layer_names)
    with pytest.raises(AdapterError, match=r"text_encoder(_2)? adapts 2 of 4 layers of its kinds .*partial=True"):
        pipeline.load_lora_weights(tmp_path)
    pipeline.load_lora_weights(tmp_path, partial=True)
    actual = draw(pipeline)

    plain = opened(folders[family])
    setattr(plain, backbone.component, merged(network_of(plain), adapter))
    without = draw(plain)
    for part, adapted in encoders.items():
        modules = dict(getattr(plain, part).named_modules())
        for name, weights in adapted.items():
            module = modules.get(name) or modules[name.removeprefix("text_model.")]
            module.weight.data += weights.up @ weights.down / 2
    expected = draw(plain)
    assert np.abs(expected - without).max() > 1e-4
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    pipeline.unload_lora_weights()
    np.testing.assert_allclose(draw(pipeline), teacher, rtol=0, atol=1e-6)
    with pytest.raises(AdapterError, match="adapts text_encoder too"):
        load_adapter(backbone.denoiser(network), tmp_path)


def test_text_encoders_that_the_pipeline_cannot_adapt_are_named(pipeline: Any) -> None:
    weights = {"lora_A.weight": torch.ones(1, 32), "lora_B.weight": torch.ones(16, 1)}
    t5 = {f"text_encoder_3.encoder.block.0.layer.0.SelfAttention.q.{side}": one for side, one in weights.items()}
    with pytest.raises(AdapterError, match=r"text_encoder_3\.encoder\.block\.0.* cannot adapt"):
        pipeline.load_lora_weights({**medium_adapter().state("transformer."), **t5})
    clip = {f"text_encoder.text_model.encoder.layers.9.mlp.fc1.{side}": one for side, one in weights.items()}
    with pytest.raises(AdapterError, match=r"text_encoder does not fit: .*layers\.9\.mlp\.fc1"):
        pipeline.load_lora_weights({**medium_adapter().state("transformer."), **clip}, partial=True)
    assert not pipeline.get_list_adapters()


def test_what_belongs_elsewhere_is_named(pipeline: Any, tmp_path: Path) -> None:
    large = make("sd35-large").transformer
    for family in ("sdxl", "flux"):
        other = make(family)
        adapter = make_adapter(getattr(other, NETWORK[family]), TARGETS[family])
        with pytest.raises(AdapterError, match=r"unknown keys \(first"):
            pipeline.load_lora_weights(adapter.state(f"{NETWORK[family]}."))
    adapter = make_adapter(large, TARGETS["sd35-large"])
    write_adapter(adapter, "diffusers", tmp_path / "large", component="transformer")
    with pytest.raises(AdapterError, match=r"[1-9]\d* missing keys \(first transformer_blocks\.0\.attn2"):
        pipeline.load_lora_weights(tmp_path / "large")
    for layout in LAYOUTS:
        names = backbone_of(pipeline).layer_names
        path = write_adapter(medium_adapter(), layout, tmp_path / layout, component="transformer", names=names)
        tensors = load_file(path)
        with_header = dict(open_header(path))
        half = dict(list(tensors.items())[: len(tensors) // 2])
        save_file(half, path, metadata=with_header)
        with pytest.raises(AdapterError, match=r"missing keys \(first transformer_blocks|has no (down|up) beside it"):
            pipeline.load_lora_weights(tmp_path / layout)
    assert not pipeline.get_list_adapters()


def open_header(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    header: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return header


def changed_config(folder: Path, **options: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"bias": "all"}, "bias = 'all' is not supported"),
        ({"lora_bias": True}, "lora_bias = True is not supported"),
        ({"modules_to_save": ["proj_out"]}, r"modules_to_save = \['proj_out'\] is not supported"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out = True is not supported"),
        ({"peft_type": "LOHA"}, "peft_type LOHA is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base"),
        ({"something_new": {"x": 1}}, "something_new = .* is not supported"),
        ({"r": 8}, "has rank 4, its options say 8"),
        (
            {"target_modules": ["to_q", "to_k", "net.2", "to_v"]},
            r"missing keys .first transformer_blocks\.0\.attn\.to_v",
        ),
    ],
)
def test_options_that_lora_cannot_represent_are_named(
    pipeline: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    folder, _ = peft_folder(tmp_path)
    changed_config(folder, **options)
    with pytest.raises(AdapterError, match=message):
        pipeline.load_lora_weights(folder)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("dora_scale", "dora_scale is DoRA, which is not supported"),
        ("lora_magnitude_vector.weight", "is DoRA"),
        ("lora_mid.weight", "is a Tucker decomposition"),
        ("hada_w1_a", "is LoHa"),
        ("lokr_w1", "is LoKr"),
        ("lora_B.bias", "is a bias beside LoRA"),
        ("diff", "is whole weights"),
        ("weight", "is no LoRA"),
    ],
)
def test_parts_that_are_no_lora_are_named(end: str, message: str) -> None:
    state = medium_adapter().state("transformer.")
    key = f"transformer.transformer_blocks.0.attn.to_q.{end}"
    with pytest.raises(AdapterError, match=message) as error:
        open_adapter({**state, key: torch.ones(1)})
    assert key in str(error.value)


class Opened(Exception):
    pass


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_lora_weights.bin", "x.pt", "x.ckpt", "x.pkl"])
def test_a_pickle_is_refused_and_never_opened(pipeline: Any, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    code = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()  # runs when unpickled
    (tmp_path / name).write_bytes(code)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(AdapterError, match="is a pickle, which runs code"):
            pipeline.load_lora_weights(source)
    with pytest.raises(AdapterError, match="is a pickle"):
        pipeline.load_lora_weights(tmp_path, weight_name=name)
    (tmp_path / "renamed.safetensors").write_bytes(code)
    with pytest.raises(AdapterError, match="truncated or not a safetensors file"):
        pipeline.load_lora_weights(tmp_path / "renamed.safetensors")
    with pytest.raises(AdapterError, match="would read a pickle"):
        pipeline.load_lora_weights(tmp_path, use_safetensors=False)
    assert not marker.exists()


def test_peft_keys_need_their_options(tmp_path: Path) -> None:
    folder, _ = peft_folder(tmp_path)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(AdapterError, match=r"needs its adapter_config\.json beside it"):
        open_adapter(folder)


def test_several_files_want_a_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file(medium_adapter().state(), tmp_path / f"{name}.safetensors")
    with pytest.raises(AdapterError, match=r"several files, give weight_name, one of: a\.safetensors, b\.safetensors"):
        open_adapter(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert open_adapter(tmp_path).layers
    with pytest.raises(FileNotFoundError, match="no adapter at"):
        open_adapter(tmp_path / "empty" / "nothing" / "here")


def test_a_name_on_the_hub_is_downloaded_and_released_students_are_known(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = peft_folder(tmp_path)
    asked = []

    def download(name: str, file: str, *, subfolder: str | None = None, **options: Any) -> str:
        asked.append((name, file, options))
        if not (folder / file).is_file():
            raise LocalEntryNotFoundError(file)
        return str(folder / file)

    monkeypatch.setattr("swd.lora.source.hf_hub_download", download)
    pipeline.load_lora_weights("yresearch/swd-medium-6-steps", revision="main", token=None)
    torch.testing.assert_close(evaluate(pipeline.transformer), evaluate(expected), rtol=0, atol=1e-5)
    assert pipeline.student == RELEASED["yresearch/swd-medium-6-steps"]
    assert asked == [
        ("yresearch/swd-medium-6-steps", file, {"revision": "main", "token": None})
        for file in ("adapter_config.json", "adapter_model.safetensors")
    ]


def test_the_hub_s_cache_is_read_offline(tmp_path: Path) -> None:
    commit = tmp_path / "models--owner--student" / "snapshots" / ("0" * 40)
    peft_folder(commit)
    refs = commit.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    from swd.lora.source import Location

    cached = Location(hub={"cache_dir": tmp_path})
    assert open_adapter("owner/student", location=cached).layers
    with pytest.raises(FileNotFoundError, match="no adapter at owner/other"):
        open_adapter("owner/other", location=cached)


def test_half_an_adapter_that_does_not_say_what_it_was_made_for_is_refused_unless_asked_for(pipeline: Any) -> None:
    state = medium_adapter().state("transformer.")
    pipeline.load_lora_weights(state)
    pipeline.unload_lora_weights()
    half = {key: value for key, value in state.items() if ".blocks.1." not in key.replace("transformer_", "")}
    assert 0 < len(half) < len(state)
    told = rf"adapts {len(half) // 2} of {len(state) // 2} layers of its kinds .*partial=True"
    with pytest.raises(AdapterError, match=told):
        pipeline.load_lora_weights(half)
    with pytest.raises(AdapterError, match=told):
        load_adapter(denoiser_of(pipeline), half)
    assert not pipeline.get_list_adapters()
    pipeline.load_lora_weights(half, partial=True)
    assert pipeline.get_list_adapters() == {"transformer": ["default_0"]}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_weights_that_are_no_numbers_are_refused_by_name(
    pipeline: Any, tmp_path: Path, layout: Any, value: float
) -> None:
    names = backbone_of(pipeline).layer_names
    path = write_adapter(medium_adapter(), layout, tmp_path, component="transformer", names=names)
    header, tensors = open_header(path), load_file(path)
    key = next(key for key, weight in tensors.items() if weight.ndim == 2)
    tensors[key][0, -1] = value
    save_file(tensors, path, metadata=header)
    with pytest.raises(AdapterError, match=f"{re.escape(key)} holds NaN or infinite numbers"):
        pipeline.load_lora_weights(tmp_path)
    assert not pipeline.get_list_adapters()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lora_A.weight": torch.ones(0, 24), "lora_B.weight": torch.ones(24, 0)}, "are of rank 0"),
        ({"lora_A.weight": torch.ones(2, 24, dtype=torch.int64)}, r"lora_A.weight holds torch.int64"),
        ({"alpha": torch.tensor(math.nan)}, "alpha holds NaN"),
        ({"alpha": torch.ones(2)}, r"alpha must be one number, got shape \(2,\)"),
    ],
)
def test_matrices_that_make_no_product_of_numbers_are_named(changed: dict[str, torch.Tensor], message: str) -> None:
    layer = "transformer.transformer_blocks.0.attn.to_q"
    weights = {"lora_A.weight": torch.ones(2, 24), "lora_B.weight": torch.ones(24, 2), **changed}
    with pytest.raises(AdapterError, match=message) as error:
        open_adapter({f"{layer}.{name}": weight for name, weight in weights.items()})
    assert layer in str(error.value)


def test_a_student_of_another_family_is_refused_by_what_it_says(pipeline: Any, tmp_path: Path) -> None:
    adapter = replace(medium_adapter(), header={"backbone": "sdxl"})
    write_adapter(adapter, "diffusers", tmp_path, component="transformer")
    with pytest.raises(AdapterError, match="is a student of sdxl, and this pipeline is sd3"):
        pipeline.load_lora_weights(tmp_path)


def test_a_pair_without_its_other_half_is_refused(pipeline: Any) -> None:
    state = medium_adapter().state("transformer.")
    downs = {key: value for key, value in state.items() if "lora_A" in key}
    with pytest.raises(AdapterError, match="has no up beside it"):
        pipeline.load_lora_weights(downs)


def test_only_plain_diffusers_warns_of_missing_keys_where_all_is_well(
    pipeline: Any, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "student"
    write_adapter(medium_adapter(), "diffusers", folder, component="transformer")
    logger = logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    try:
        pipeline.load_lora_weights(folder)
        assert "No LoRA keys" not in caplog.text
        StableDiffusion3Pipeline.from_pretrained(folders["sd35-medium"]).load_lora_weights(folder)
        assert "No LoRA keys" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
