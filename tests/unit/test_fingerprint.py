"""Fingerprints from files are those of the loaded networks."""

from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from swd.backbones import backbone_of_folder
from swd.backbones.fingerprint import pipeline_fingerprint, weights_fingerprint
from swd.backbones.loading import load_parts, load_pipeline
from swd.backbones.stored import StoredNetwork, read_header
from swd.errors import PipelineError

SD3 = "sd35-medium"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write into it."""
    return tiny_pipelines.save(tiny_pipelines.make(SD3), tmp_path_factory.mktemp("sd35"))


def networks(folder: Path, variant: str | None = None) -> dict[str, StoredNetwork | None]:
    parts = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "unet")
    return {part: StoredNetwork.find(folder, part, variant) for part in parts}


def loaded(folder: Path, variant: str | None = None) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(folder, variant=variant)


def assert_as_loaded(folder: Path, variant: str | None = None) -> None:
    stored = {part: network for part, network in networks(folder, variant).items() if network}
    assert len(stored) >= 3
    pipeline = loaded(folder, variant)
    for part, network in stored.items():
        assert weights_fingerprint({part: network}) == weights_fingerprint({part: getattr(pipeline, part)}), part


@pytest.mark.parametrize("name", tiny_pipelines.NETWORK)
@pytest.mark.parametrize("layout", [{}, {"variant": "fp16"}, {"shards": True}, {"variant": "fp16", "shards": True}])
def test_files_and_networks_have_the_same_fingerprint(
    name: str, layout: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_pipelines.save(tiny_pipelines.make(name), tmp_path, **layout)
    monkeypatch.setattr(StoredNetwork, "load", lambda network: pytest.fail(f"{network.kind} was loaded"))
    assert_as_loaded(folder, layout.get("variant"))


def test_pipeline_of_the_network_alone_has_the_fingerprint_of_the_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredNetwork, "load", lambda network: pytest.fail(f"{network.kind} was loaded"))
    without_t5 = tiny_pipelines.save(tiny_pipelines.make(SD3, t5=False), tmp_path)
    prints = []
    for path in (folder, without_t5):
        part = load_parts(path, backbone_of_folder(path).component, dtype=torch.bfloat16)
        assert part.transformer.dtype == torch.bfloat16
        assert [part.vae, part.text_encoder, part.text_encoder_3] == [None] * 3
        prints.append(pipeline_fingerprint(part, folder=path))
        assert prints[-1] == pipeline_fingerprint(load_pipeline(path)) != pipeline_fingerprint(part)
    assert len(set(prints)) == 2


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_3"])
def test_other_weights_in_a_file_are_other_weights(part: str, tmp_path: Path) -> None:
    folder = tiny_pipelines.save(tiny_pipelines.make(SD3), tmp_path)
    other = tiny_pipelines.save(tiny_pipelines.make(SD3, seed=1), tmp_path / "other")
    prints = {weights_fingerprint({part: networks(path)[part]}) for path in (folder, other)}
    assert len(prints) == 2


def rewrite(part: Path, change: Any) -> None:
    (file,) = part.glob("*.safetensors")
    tensors = {key: value.clone() for key, value in change(load_file(file)).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def test_published_names_are_those_of_any_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL's and FLUX's CLIP as published: keys under text_model, and a buffer that nobody loads any more."""
    folder = tiny_pipelines.save(tiny_pipelines.make("sdxl"), tmp_path)
    before = weights_fingerprint({"text_encoder": loaded(folder).text_encoder})

    def publish(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        moved = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in tensors.items()}
        return {**moved, "text_model.embeddings.position_ids": torch.arange(12)[None]}

    rewrite(folder / "text_encoder", publish)
    monkeypatch.setattr(StoredNetwork, "load", lambda network: pytest.fail("loaded"))
    assert weights_fingerprint({"text_encoder": networks(folder)["text_encoder"]}) == before


def test_tied_weights_may_be_stored_once_or_twice_under_any_name(folder: Path, tmp_path: Path) -> None:
    before = weights_fingerprint({"t5": loaded(folder).text_encoder_3})
    for number, names in enumerate((("shared",), ("encoder.embed_tokens",), ("shared", "encoder.embed_tokens"))):
        other = tiny_pipelines.save(tiny_pipelines.make(SD3), tmp_path / str(number))

        def tie(tensors: dict[str, torch.Tensor], names: tuple[str, ...] = names) -> dict[str, torch.Tensor]:
            words = tensors.pop("shared.weight")
            return {**tensors, **{f"{name}.weight": words for name in names}}

        rewrite(other / "text_encoder_3", tie)
        assert weights_fingerprint({"t5": networks(other)["text_encoder_3"]}) == before


def test_names_that_only_the_library_translates_are_left_to_it(tmp_path: Path) -> None:
    """Attention of a VAE saved by diffusers before 0.17."""
    folder = tiny_pipelines.save(tiny_pipelines.make(SD3), tmp_path)
    before = weights_fingerprint({"vae": loaded(folder).vae})
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def age(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for new, name in old.items():
            tensors = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): t for key, t in tensors.items()}
        return tensors

    rewrite(folder / "vae", age)
    stored = networks(folder)["vae"]
    assert stored.tensors() is None
    assert weights_fingerprint({"vae": stored}) == before


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (3, 5, 2), (101, 97)])
def test_signs_are_those_of_the_values(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = (40 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    save_file({"before": torch.zeros(3, dtype=torch.uint8), "x": values}, tmp_path / "model.safetensors")
    tensor = dict(read_header(tmp_path / "model.safetensors"))["x"]
    flat = values.flatten()
    for count in (1, 5, 4096):
        expected = torch.signbit(flat[:: -(-flat.numel() // count) or 1].float()).numpy().tobytes()
        assert tensor.signs(count) == expected


def test_torn_and_missing_files_are_named(tmp_path: Path) -> None:
    folder = tiny_pipelines.save(tiny_pipelines.make(SD3), tmp_path)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PipelineError, match=r"diffusion_pytorch_model\.safetensors is missing or torn: .*ends behind"):
        weights_fingerprint({"vae": networks(folder)["vae"]})
    file.unlink()
    with pytest.raises(PipelineError, match="vae holds no diffusion_pytorch_model"):
        weights_fingerprint({"vae": networks(folder)["vae"]})
