"""Whatever a study file says of a training: each value is in the options as it stands there, or the file is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from asked import check_clear, examples, outcome
from hypothesis import given
from hypothesis import strategies as st

from swd.errors import ConfigError
from swd.train import TrainCommand, parse, read_study
from swd.training.config import DistillConfig
from swd.training.options import _types as types_of

OWN = {name: kind for name, kind in types_of(TrainCommand).items() if name not in ("distill", "study")}
OPTIONS = types_of(DistillConfig)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((True, False, 0, 1, 2, 3, -1, 7, 2**31, 2**63 - 1, 0.5, 1.0, 1e-4, 1e300, math.inf, math.nan)),
    st.sampled_from(("", "mini-4", "sd35", "--resume", "-x", "a b", "rbf", "'", '"', "\u2603", "None", "~/x", "1")),
    st.lists(st.sampled_from((0, 1, 7, 8, 16, 28, 0.5, "8", True)), max_size=3),
)


def toml(value: Any) -> str:
    """A value as TOML; JSON's texts and lists are TOML's."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def written(own: dict[str, Any], options: dict[str, Any]) -> str:
    """A study file."""
    lines = [f"{name} = {toml(value)}" for name, value in own.items()]
    return "\n".join([*lines, "[distill]", *(f"{name} = {toml(value)}" for name, value in options.items())]) + "\n"


def same(name: str, value: Any, found: Any) -> bool:
    """Whether an option holds what a file says; a path in the home folder is written with its sign."""
    if isinstance(value, bool) or isinstance(found, bool):
        return found is value
    if isinstance(value, float) and math.isnan(value):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(found, Path) or name in ("pipeline", "student"):
        return str(found) == str(Path(value).expanduser() if isinstance(found, Path) or value[:1] == "~" else value)
    return list(found) == value if isinstance(value, list) else found == value


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "training.toml"


def test_values_of_a_study_file_arrive_as_they_are(file: Path) -> None:
    needed = {"pipeline": "p", "data": "d", "output": "o"}

    @examples(60)
    @given(
        st.dictionaries(st.sampled_from(sorted(OWN)), VALUES, max_size=2),
        st.dictionaries(st.sampled_from(sorted(OPTIONS)), VALUES, max_size=2),
    )
    def search(own: dict[str, Any], options: dict[str, Any]) -> None:
        own, options = {**needed, **own}, {"preset": "mini-4", **options}
        file.write_text(written(own, options), encoding="utf-8")
        refusal, command = outcome(parse, {"arguments": ["--study", str(file)]})
        if refusal is not None:
            assert isinstance(refusal, ConfigError)
            check_clear(refusal, ())
            return
        for name, value in (*own.items(), *options.items()):
            found = getattr(command if name in own else command.distill, name)
            assert same(name, value, found), (name, value, found)

    search()


def test_a_text_that_looks_like_an_option_is_none(file: Path) -> None:
    own = {"pipeline": "p", "data": "d", "output": "o", "variant": "--no-resume"}
    file.write_text(written(own, {"preset": "mini-4"}))
    command = parse(["--study", str(file)])
    assert (command.variant, command.resume) == ("--no-resume", True)
    assert read_study(file).count("--no-resume") == 0
