"""Ctrl-C ends every command with one line and status 130."""

from importlib import import_module

import pytest

from swd.interrupts import ended_by_ctrl_c


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_block_ends_with_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving, ended_by_ctrl_c("interrupted: half is there"):
        interrupted()
    assert leaving.value.code == 130
    assert capsys.readouterr().err == "interrupted: half is there\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("swd.export", ["adapter", "--output", "out", "--format", "diffusers"]),
        ("swd.cache", ["--images", "i", "--pipeline", "p", "--output", "o"]),
        ("swd.train", ["--pipeline", "p", "--data", "d", "--output", "o", "--preset", "mini-4"]),
    ],
)
def test_each_command_does(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(name)
    monkeypatch.setattr(module, "run", interrupted)
    with pytest.raises(SystemExit) as leaving:
        module.main(words)
    assert leaving.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted")
    assert said.count("\n") == 1
