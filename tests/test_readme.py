import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from peft import LoraConfig, get_peft_model

import swd.train
from repro import experiments
from repro.__main__ import _parser
from swd.backbones import backbone_of, backbone_of_folder
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import preset
from swd.training.checks import check_fit

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SHELL = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
COMMANDS = sorted({*SHELL, *re.findall(r"`((?:nox|python -m|pip) [^`]+)`", TEXT)})


@pytest.fixture(scope="module")
def sessions() -> set[str]:
    nox = pytest.importorskip("nox.registry", reason="a machine that only runs the tests needs no nox")
    runpy.run_path(str(ROOT / "noxfile.py"))
    return set(nox.get())


HUB = {  # name on the Hub -> tiny pipeline, or for a student the pipeline that it belongs to
    "stabilityai/stable-diffusion-3.5-large": "sd35-large",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "black-forest-labs/FLUX.1-dev": "flux",
    "yresearch/swd-large-4-steps": "sd35-large",
    "yresearch/swd-sdxl": "sdxl",
    "yresearch/swd_flux": "flux",
}
HERE = {  # the tiny text encoders read 12 tokens, and know few words
    '"cuda"': '"cpu"',
    "torch.float16": "torch.float32",
    "torch.bfloat16": "torch.float32",
    "a lighthouse in a storm": "a red star",
}


def from_hub(name: str, folder: Path) -> Path:
    """What a name on the Hub stands for, in its layout: a pipeline, or a student as PEFT saves it."""
    pipeline, made = tiny_pipelines.make(HUB[name]), folder / name
    if not name.startswith("yresearch"):
        return tiny_pipelines.save(pipeline, made)
    backbone = backbone_of(pipeline)
    options = {"r": 4, "lora_alpha": 4, "target_modules": list(backbone.lora_targets), "init_lora_weights": False}
    get_peft_model(backbone.network(pipeline), LoraConfig(**options)).save_pretrained(made)
    return made


@pytest.mark.parametrize("index", range(len(SNIPPETS)))
def test_snippets_run(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repro").symlink_to(ROOT / "repro")  # what a snippet writes lands outside the checkout
    monkeypatch.chdir(tmp_path)
    text = SNIPPETS[index]
    for there, here in HERE.items():
        text = text.replace(there, here)
    found = [name for name in HUB if name in text]
    for name in found:
        text = text.replace(name, str(from_hub(name, tmp_path)))
    names: dict[str, Any] = {}
    exec(compile(text, f"README snippet {index}", "exec"), names)
    if "plain" in names:
        pipe = ScalewiseStableDiffusion3Pipeline.from_pretrained(f"{names['weights']}/pipeline")
        pipe.load_lora_weights(f"{names['weights']}/adapters/scalewise_4")
        ours = np.asarray(pipe("a red star", seeds=0).images[0]).astype(int)
        assert np.abs(ours - np.asarray(names["image"])).max() <= 1  # of 255
    if found:
        student = np.asarray(names["image"])
        names["pipe"].unload_lora_weights()
        (schedule,) = [preset(key) for key in ("sd35-4", "sdxl-4", "flux-4") if HUB[found[0]][:4] == key[:4]]
        teacher = np.asarray(names["pipe"]("a red star", seeds=0, schedule=schedule).images[0])
        assert student.shape == teacher.shape == (256, 256, 3)
        assert (student != teacher).any()


def test_every_backbone_and_published_model_has_its_lines() -> None:
    shown = {name for snippet in SNIPPETS for name in HUB if name in snippet}
    assert shown == HUB.keys()
    for snippet in SNIPPETS:
        if any(name in snippet for name in HUB):
            statements = [part for part in ast.parse(snippet).body if not isinstance(part, ast.Import | ast.ImportFrom)]
            assert len(statements) == 3  # load the pipeline, load the student, draw


def started(program: str) -> list[list[str]]:
    return [words for words in map(shlex.split, COMMANDS) if " ".join(words).startswith(program)]


def test_nox_sessions_exist(sessions: set[str]) -> None:
    wanted = {name for words in started("nox -s") for name in words[2 : words.index("--") if "--" in words else None]}
    assert {"table2", "tests", "mini"} <= wanted
    assert wanted - {"table7"} <= sessions  # table7 is the example of a new table


def repro_arguments() -> list[list[str]]:
    direct = [words[3:] for words in started("python -m repro ")]
    through_nox = [
        [words[2], *words[words.index("--") + 1 :]]
        for words in started("nox -s table1") + started("nox -s table2") + started("nox -s all")
        if "--" in words
    ]
    return [["table2" if word == "all" else word for word in words] for words in direct + through_nox]


@pytest.mark.parametrize("arguments", repro_arguments(), ids=" ".join)
def test_repro_commands_parse(arguments: list[str]) -> None:
    assert _parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("module", ["swd.train", "swd.cache"])
def test_training_options_exist(module: str) -> None:
    commands = [words for words in map(shlex.split, COMMANDS) if module in words]
    own = [word for words in commands for word in words[words.index(module) + 1 :]]  # those before are a launcher's
    options = {word for word in own if word.startswith("--")} - {"--help"}
    assert len(options) > 2
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    missing = [option for option in options if not re.search(rf"{re.escape(option)}\b", shown)]
    assert not missing


def test_the_mini_training_commands_fit_the_mini_pipeline() -> None:
    commands = [w for w in map(shlex.split, SHELL) if "swd.train" in w and "repro/worlds/mini/weights/pipeline" in w]
    assert len(commands) == 2
    for words in commands:
        command = swd.train.parse(words[words.index("swd.train") + 1 :])
        denoiser = backbone_of_folder(ROOT / command.pipeline).skeleton(ROOT / command.pipeline)
        check_fit(command.distill, denoiser, processes=1, device=torch.device("cpu"))
        command.distill.schedule().check_size(denoiser.max_side)


def test_every_table_has_a_session_and_a_line(sessions: set[str]) -> None:
    names = {experiment.command[0] for experiment in experiments().values()}
    names -= {"benchmarks", "training_cost"}  # both by `bench`, in words of their own
    assert {"bench", *names} <= sessions
    readme = PAGES[0].read_text(encoding="utf-8")
    for name in names:
        assert name.replace("table", "Table ").replace("figure", "Figure ") in readme


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    found = re.findall(
        r"`((?:swd|repro|docs|tests|benchmarks|paper_tables)/[\w./*]*)`", page.read_text(encoding="utf-8")
    )
    examples = {"repro/table7.py", "repro/kinds/errors/declare.py", "swd/backbones/lumina/condition.py"}
    missing = [path for path in found if path not in examples and not any(ROOT.glob(path.rstrip("/")))]
    assert len(found) > 5
    assert not missing
