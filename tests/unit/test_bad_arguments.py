"""Values that no option takes are refused in words, before anything is imported or done."""

import os
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from repro import __main__ as cli
from repro import experiments
from repro.harness import arguments
from repro.harness.experiment import ExperimentError
from repro.kinds import kind_of
from repro.stages.device import torch_device

PARSER = cli._parser()
WITH_DEVICE = [["gallery"], ["queue", "table5"]]
WITH_DEVICE += [one.command for one in experiments().values() if not kind_of(one).profile and one.variant is None]
WRONG_DEVICES = ["", "banana", "meta", "cpu:7", "cuda:-1", "cuda:x", "CUDA", "auto ", "c" * 5000]


@pytest.mark.parametrize("words", WITH_DEVICE, ids=" ".join)
def test_every_command_refuses_what_is_no_device(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        PARSER.parse_args([*words, "--device", "banana"])
    assert leaving.value.code == 2
    assert "argument --device: expected auto, cpu, cuda or cuda:N, got 'banana'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mps", "cuda", "cuda:9", "xpu"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExperimentError, match=rf"^--device {name} was asked for, but torch"):
        torch_device(name)


def test_a_wrong_device_is_told_before_heavy_imports() -> None:
    code = (
        "import sys; from repro.__main__ import main\n"
        "try: main(['figure10', '--device', 'banana'])\n"
        "except SystemExit as leaving: assert leaving.code == 2\n"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100, check=False).returncode == 0


WRONG = {
    arguments.path: ["", "  ", "a\0b"],
    arguments.place: ["", "\0"],
    arguments.whole: ["", "x", "1.5", "nan", "1e999", "\u00b2", "9" * 23, "-" + "9" * 23, "9" * 5000],
    arguments.seed: ["", "x", "1.5", "nan", "9" * 5000],
    arguments.finite: ["", "x", "nan", "inf", "-inf", "1e999"],
    arguments.device: WRONG_DEVICES,
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in WRONG.items() for text in texts], ids=lambda one: str(one)[:20]
)
def test_a_wrong_value_is_named_with_what_was_expected(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^expected .+, got ") as refused:
        kind(text)
    assert len(str(refused.value)) < 200


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentTypeError, match="pipe', which is a pipe"):
        arguments.path(str(tmp_path / "pipe"))
    assert arguments.path("n" * 5000).name == "n" * 5000


def test_right_values_are_taken() -> None:
    assert arguments.whole("-3") == -3
    assert arguments.seed(str(2**70)) == 2**70
    assert arguments.finite("1e-3") == 0.001
    assert str(arguments.path("~/a")).endswith("/a")
    assert "~" not in str(arguments.path("~/a"))
    assert [arguments.device(name) for name in ("auto", "cuda:12", "mps")] == ["auto", "cuda:12", "mps"]


def test_no_option_takes_a_number_or_path_unchecked() -> None:
    found = [PARSER]
    plain = []
    while found:
        for action in found.pop()._actions:
            if isinstance(action.choices, dict):
                found += [one for one in action.choices.values() if isinstance(one, ArgumentParser)]
            elif action.type in (int, float) or getattr(action.type, "__name__", "") in ("Path", "PosixPath"):
                plain.append(action.option_strings)
    assert not plain


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["queue", "table5", "--workers", "5000", "--dry-run"],
            "--workers must be at least 1 and at most 1024, got 5000",
        ),
        (["table2", "--num-prompts", "99999999999", "--dry-run"], "expected at most 10,000,000, got 99999999999"),
        (["table2", "--tflops", "1e999", "--dry-run"], "expected a finite number, got '1e999'"),
        (["gpu", "--minutes", "inf", "--dry-run"], "expected a finite number, got 'inf'"),
        (["render", "--out", ""], "an argument after --out is empty"),
        (["table2", "--pipeline", "", "--dry-run"], "an argument after --pipeline is empty"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = cli.main(words)
    except SystemExit as leaving:
        status = leaving.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_an_option_that_is_given_twice_keeps_both() -> None:
    typed = PARSER.parse_args(["table2", "--images", "a=x", "--images", "b=y", "--rows", "a", "--rows", "b"])
    assert (typed.images, typed.rows) == (["a=x", "b=y"], ["a", "b"])
