"""What was typed becomes paths: ~ is the home folder wherever one may stand."""

from argparse import Namespace
from pathlib import Path

import pytest

from repro.harness.command_words import check_paths
from repro.harness.kind import UsageError


def test_the_home_folder_is_expanded_in_paths_names_and_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = Namespace(
        out=Path("~/out"),
        pipeline="~/base",
        images=["row=~/images", "other=here"],
        adapters=["row=a=b"],
        scorer=["~x=y"],
    )
    with pytest.raises(UsageError, match="scorer '~x=y' is no path that can be used"):
        check_paths(typed)
    del typed.scorer
    check_paths(typed)
    assert typed.out == tmp_path / "out"
    assert typed.pipeline == f"{tmp_path}/base"
    assert typed.images == [f"row={tmp_path}/images", "other=here"]
    assert typed.adapters == ["row=a=b"]


def test_names_on_the_hub_stay_names() -> None:
    typed = Namespace(pipeline="owner/name", prompts=["parti"])
    check_paths(typed)
    assert (typed.pipeline, typed.prompts) == ("owner/name", ["parti"])
