"""What pipelines and adapters are loaded from, and with which options: refused by name before a file is opened."""

from typing import Any

import pytest
import torch
from tiny_pipelines import SCALEWISE, make

MATRIX = torch.ones(2, 2)


@pytest.fixture(scope="module", params=SCALEWISE)
def pipeline(request: pytest.FixtureRequest) -> Any:
    return SCALEWISE[request.param](**make(request.param).components)


LOADING: dict[str, tuple[Any, ...]] = {
    "torch_dtype": ("float16", 16, torch.int64, {"transformer": "float16"}),
    "dtype": ("auto", torch.bool),
    "variant": (16, "", ["fp16"]),
    "revision": (1, ""),
    "use_safetensors": (1, "yes"),
    "local_files_only": (0, "no"),
}


@pytest.mark.parametrize("option", LOADING)
def test_options_of_loading_are_of_their_types(pipeline: Any, option: str) -> None:
    for wrong in LOADING[option]:
        with pytest.raises(TypeError, match=rf"^{option} must be"):
            type(pipeline).from_pretrained("nowhere", **{option: wrong})


def test_an_unknown_option_of_loading_is_refused_with_the_nearest(pipeline: Any) -> None:
    kind = type(pipeline)
    with pytest.raises(TypeError, match=r"does not take torch_dytpe=torch.float16; nearest options: torch_dtype"):
        kind.from_pretrained("nowhere", torch_dytpe=torch.float16)
    with pytest.raises(TypeError, match=r"does not take text_encoder_9=None; nearest options: text_encoder"):
        kind.from_pretrained("nowhere", text_encoder_9=None)


@pytest.mark.parametrize("wrong", [None, 5, 0.5, True, b"x", ["x"], (), object(), MATRIX])
def test_an_adapter_is_a_path_a_name_or_tensors(pipeline: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^an adapter is a file, a folder, a name on the Hub or a mapping of tensors"):
        pipeline.load_lora_weights(wrong)
    for name in ("weight_name", "subfolder"):
        if wrong is not None:
            with pytest.raises(ValueError, match=rf"^{name} must be a name, got an object of type"):
                pipeline.load_lora_weights("nowhere", **{name: wrong})


@pytest.mark.parametrize("wrong", [5, "", "a.b", True, ["student"]])
def test_the_name_of_an_adapter_is_one(pipeline: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^adapter_name must be a name without dots, got"):
        pipeline.load_lora_weights("nowhere", wrong)


@pytest.mark.parametrize("wrong", [None, 5, [], {}, b"folder", MATRIX])
def test_a_pipeline_is_loaded_from_a_folder_or_a_name(pipeline: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^a pipeline is a folder or a name, got"):
        type(pipeline).from_pretrained(wrong)
