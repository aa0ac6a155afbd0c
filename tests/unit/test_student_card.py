"""What students say of themselves, in files that are equal when the adapters are."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_transformer
from safetensors import safe_open
from safetensors.torch import load_file

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.files import save_tensors
from swd.lora.bank import AdapterBank
from swd.lora.card import StudentCard, model_name
from swd.lora.files import read_adapter, save_adapter
from swd.lora.released import RELEASED, released_card
from swd.schedule import ScaleSchedule, preset
from swd.training.student import student_card

SHIPPED = Path(__file__).parents[2] / "repro" / "worlds" / "mini" / "weights" / "adapters"
CARD = StudentCard(
    base_model="owner/model", backbone="x", scales=(4, 6), sigmas=(1.0, 0.5, 0.0), token_length=7, guidance_scale=4.5
)


def test_a_card_survives_a_header() -> None:
    header = json.loads(json.dumps({**CARD.as_json(), "iterations": 3, "config": {"guidance_scale": 7.0}}))
    assert StudentCard.from_header(header) == CARD
    assert CARD.schedule() == ScaleSchedule((4, 6), (1.0, 0.5, 0.0))


def test_a_card_may_say_little_or_nothing() -> None:
    assert StudentCard.from_header({}) is None
    assert StudentCard.from_header({"preset": "mini-4", "config": {}, "token_length": None}) is None
    short = StudentCard.from_header({"token_length": 0})
    assert short == StudentCard(token_length=0)
    assert short.schedule() is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"scales": [4, 6]}, "scales and sigmas go together"),
        ({"scales": [4, 6], "sigmas": [1.0, 0.0]}, "2 scales need 3 sigmas"),
        ({"scales": 4, "sigmas": [1.0, 0.0]}, "scales must be a list"),
        ({"scales": [4.5], "sigmas": [1.0, 0.0]}, "whole numbers were expected"),
        ({"scales": [4], "sigmas": ["1.0", 0.0]}, "numbers were expected"),
        ({"token_length": True}, "whole numbers were expected"),
        ({"token_length": -1}, "token_length must not be negative"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be finite and not negative"),
        ({"backbone": 3}, "backbone must be a string"),
        ({"process": "x"}, "process must be one of"),
    ],
)
def test_a_card_that_makes_no_sense_is_named(header: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"makes no sense: {message}"):
        StudentCard.from_header(header)


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("stabilityai/stable-diffusion-3.5-medium", "stabilityai/stable-diffusion-3.5-medium"),
        ("/data/models/my-model", "my-model"),
        ("./my-model", "my-model"),
        ("/x/hub/models--owner--some-model/snapshots/0123", "owner/some-model"),
        ("", None),
    ],
)  # fmt: skip
def test_a_model_is_called_by_name_and_not_by_place(location: str, name: str | None) -> None:
    assert model_name(location) == name


def test_released_students_are_known_by_name_wherever_they_lie() -> None:
    assert len(RELEASED) == 6
    for name, card in RELEASED.items():
        folder = name.partition("/")[2]
        cached = Path("/x/hub") / f"models--yresearch--{folder}" / "snapshots" / "0123"
        for source in (name, Path("/x") / folder, Path("./") / folder, cached):
            assert released_card(source) == card
        assert card.schedule() is not None
    assert released_card("somebody/else") is None
    assert released_card("/x/swd-medium-6-steps-finetuned") is None
    medium, flux = RELEASED["yresearch/swd-medium-6-steps"], RELEASED["yresearch/swd_flux"]
    assert medium.schedule() == preset("sd35-6")
    assert (medium.token_length, medium.guidance_scale) == (512, 1.0)
    assert flux.sigmas is not None
    assert [round(sigma, 4) for sigma in flux.sigmas] == [1.0, 0.8956, 0.7363, 0.6007, 0.0]
    assert flux.guidance_scale == 4.5


@pytest.mark.parametrize("folder", sorted(SHIPPED.iterdir()), ids=lambda folder: folder.name)
def test_shipped_adapters_give_a_card(folder: Path) -> None:
    _, metadata = read_adapter(folder)
    card = StudentCard.from_header(metadata)
    assert card is not None
    published = preset(metadata["preset"])
    assert (card.scales, card.sigmas) == (published.scales, published.sigmas)


def test_a_trained_student_names_its_teacher(tmp_path: Path) -> None:
    make_transformer().save_pretrained(tmp_path / "my-teacher" / "transformer")
    network = type(make_transformer()).from_pretrained(tmp_path / "my-teacher" / "transformer")
    card = student_card(SD3Denoiser(network), preset("mini-4"))
    assert card == StudentCard(
        base_model="my-teacher",
        backbone="sd3",
        scales=preset("mini-4").scales,
        sigmas=preset("mini-4").sigmas,
        process="flow",
        guidance_scale=1.0,
    )
    assert student_card(SD3Denoiser(make_transformer()), preset("mini-4")).base_model is None


def test_equal_tensors_make_equal_files(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.float16)}
    metadata = {f"key {index}": f'"quoted" \\ \n \x01 \x7f {chr(0x2028)} {index}' for index in range(8)}
    contents = set()
    for number in range(8):
        shuffled = dict(sorted(metadata.items(), key=lambda item, number=number: hash((number, item))))
        save_tensors(tmp_path / "file", tensors, shuffled)
        contents.add((tmp_path / "file").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == metadata
    loaded = load_file(tmp_path / "file")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


SAVE = """
import sys
from conftest import make_transformer
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.lora.bank import AdapterBank
from swd.lora.files import save_adapter
bank = AdapterBank(SD3Denoiser(make_transformer()), rank=4, alpha=2, seed=0)
save_adapter(bank, "student", sys.argv[1], {"preset": "mini-4", "config": {"b": 1, "a": 2}})
"""


def test_equal_adapters_are_equal_files_in_every_process(tmp_path: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", SAVE, tmp_path / seed], env=environment, check=True, cwd=tmp_path)
        (file,) = (tmp_path / seed).iterdir()
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    bank = AdapterBank(SD3Denoiser(make_transformer()), rank=4, alpha=2, seed=0)
    here = save_adapter(bank, "student", tmp_path / "here", {"config": {"a": 2, "b": 1}, "preset": "mini-4"})
    digests.add(hashlib.sha256(here.read_bytes()).hexdigest())
    assert len(digests) == 1
