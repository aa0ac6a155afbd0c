"""Tables of real profiles as a user types them, on the miniature of everything that he has: the plan, and programs."""

import json
import stat
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmark_world import CAPTIONS, STUDENTS, build_data, build_metrics, profile, write_student
from tiny_pipelines import make, save

from repro import __main__ as cli
from repro.harness.needs import BYTES_PER_PIXEL
from repro.harness.profile import Profile
from repro.harness.records import load
from repro.harness.schema import RecordSet
from repro.harness.systems import HubFile
from repro.kinds.scores import measure
from repro.profiles import PROFILES, load_profile
from repro.worlds import external_scorers
from swd.schedule import preset

NAME = "sd35-medium"
PROGRAM = """
import json, sys
requests, results = sys.argv[FIRST:][:2]
with open(requests) as lines, open(results, "a") as stream:
    for line in map(json.loads, lines):
        assert open(line["image"], "rb").read(4) == b"\\x89PNG"
        print(json.dumps({"id": line["id"], "score": len(line["caption"]) / 8}), file=stream)
"""
Command = Callable[..., int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    save(make(NAME), folder / "models" / "medium")
    for seed, (name, steps) in enumerate(STUDENTS.items()):
        write_student(NAME, preset(steps), folder / "models" / name, seed=seed)
    build_metrics(folder / "models")
    build_data(folder / "data")
    return folder


@pytest.fixture
def medium(folder: Path) -> Profile:
    return profile(folder, NAME)


@pytest.fixture
def command(medium: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m repro table2` in the miniature world, or in a profile of one's own."""

    def run(*words: str, of: Profile = medium) -> int:
        module = types.ModuleType("miniature_profile")
        module.PROFILE = of  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(PROFILES, NAME, module.__name__)
        places = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--device", "cpu"]
        return cli.main(["table2", "--profile", NAME, *places, *words])

    return run


def test_a_plan_names_each_missing_thing_and_what_gets_it(
    command: Command,
    medium: Profile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    published = {scorer.name: scorer for scorer in load_profile(NAME).scorers}
    here = tuple(published[scorer.name] if scorer.name in {"pickscore", "fid"} else scorer for scorer in medium.scorers)
    nowhere = str(tmp_path / "no-reward")
    here = tuple(
        replace(scorer, weights=HubFile(nowhere)) if scorer.name == "image_reward" else scorer for scorer in here
    )
    released = {**medium.weights.released, "scalewise_6": HubFile("someone/swd-6", revision="v1")}
    other = replace(medium, scorers=here, weights=replace(medium.weights, released=released))
    assert command("--dry-run", of=other) == 0  # it did what was asked for: to say what is missing
    said = capsys.readouterr().out
    for name, line in {
        "yuvalkirstain/PickScore_v1": "hf download yuvalkirstain/PickScore_v1",
        "weights/pt_inception-2015-12-05-6726825d.pth": "curl -L --create-dirs -o ",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "hf download laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "someone/swd-6": "hf download someone/swd-6 --revision v1",
        nowhere: f"# {nowhere} is a path of this machine: put it there, or name another",
    }.items():
        assert [found for found in said.splitlines() if found.startswith(name)], name
        assert [found for found in said.splitlines() if found.startswith(line[:90])], line
    assert "- Missing: 5 files and models, listed below." in said
    assert not list(tmp_path.iterdir()), "a plan wrote something"


def test_a_plan_with_all_there_says_so(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--dry-run", "--rows", "teacher", "scalewise_4") == 0
    said = capsys.readouterr().out
    assert "- Missing: nothing." in said
    assert "hf download" not in said
    assert f"{2 * (3 * len(CAPTIONS) + 3 * 4 + 3 * len(CAPTIONS)):,} images" in said  # see the sets below
    assert not list(tmp_path.iterdir())


def test_the_same_command_without_the_plan_ends_before_any_work(
    command: Command, medium: Profile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = next(scorer for scorer in load_profile(NAME).scorers if scorer.name == "pickscore")
    others = tuple(scorer for scorer in medium.scorers if scorer.name != "pickscore")
    assert command(of=replace(medium, scorers=(published, *others))) == 1
    assert "Get it: hf download yuvalkirstain/PickScore_v1" in capsys.readouterr().err
    assert not (tmp_path / "work" / "images").exists()


@pytest.mark.parametrize("broken", ["a real image", "weights"])
def test_what_is_broken_is_known_before_any_image(
    broken: str,
    command: Command,
    medium: Profile,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--rows", "scalewise_4", "--without", "pickscore", "image_reward", "diversity", "geneval"]
    if broken == "weights":  # whole, and of another network
        words += ["--scorer", f"clipscore={folder / 'models' / 'medium' / 'text_encoder'}"]
    else:
        data = tmp_path / "data"
        build_data(data)
        path = data / "coco2014" / "val2014" / "COCO_val2014_000000000003.jpg"
        path.write_bytes(path.read_bytes()[:-200])
        words += ["--data", str(data)]
    assert command(*words) == 1
    said = capsys.readouterr().err
    assert ("000000000003.jpg cannot be read: truncated" if broken == "a real image" else "text_encoder") in said
    assert not (tmp_path / "work" / "images").exists()


def test_all_rows_must_fit_on_the_disk_before_the_first_image(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = round(2 * 2 * 3 * 64**2 * BYTES_PER_PIXEL["png"])  # rows, sets, prompts; one row alone would fit
    monkeypatch.setattr(measure, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    words = ["--without", "fid", "pickscore", "image_reward", "diversity", "geneval", "--num-prompts", "3"]
    assert command("--rows", "scalewise_4", "scalewise_6", *words) == 1
    assert f"the missing images of all rows need about {needed:,} bytes, {needed - 1:,} are" in capsys.readouterr().err
    assert not (tmp_path / "work" / "images").exists()


@pytest.mark.parametrize("other", ["sdxl", "sd35-large"])
def test_an_adapter_for_another_model_is_known_before_any_image(
    other: str, command: Command, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = tmp_path / "theirs" / other
    write_student(other, preset("mini-4"), student, seed=0)
    assert command("--rows", "teacher", "scalewise_4", "--adapters", f"scalewise_4={student}") == 1
    said = capsys.readouterr().err
    assert f"error: row scalewise_4: {student} is no student of {folder / 'models' / 'medium'}: " in said
    assert not (tmp_path / "work" / "images").exists()


def scores(found: RecordSet, metric: str, prompts: str = "coco") -> list[float]:
    (line,) = found.values("scalewise_4", prompts, metric)
    return [value for value in line.values if value is not None]


def captions(work: Path) -> list[str]:
    """Of the four COCO images, in the order of the set."""
    for path in work.glob("images/*/inputs.json"):
        lines = [json.loads(line) for shard in sorted(path.parent.glob("*.jsonl")) for line in shard.open()]
        if len(lines) == 4 and all("-" not in line["id"] and line["id"].isdigit() for line in lines):
            return [line["caption"] for line in lines]
    raise AssertionError("no images of COCO")


@pytest.mark.slow
def test_another_command_in_the_same_folder_loses_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rows", "scalewise_4", "--without", "fid", "pickscore", "image_reward", "diversity", "geneval"]
    path = tmp_path / "out" / "records" / f"table2.{NAME}.jsonl"
    assert command(*words, "--num-prompts", "4") == 0
    records, images = path.read_bytes(), set((tmp_path / "work" / "images").rglob("*"))
    capsys.readouterr()
    assert command(*words, "--num-prompts", "3") == 2
    said = capsys.readouterr().err
    assert f"{path.name} was measured with other settings and would be lost; different: " in said
    assert "profile.data.num_prompts 4, now 3" in said
    assert "Choose another --out, or --replace it" in said
    assert path.read_bytes() == records
    assert set((tmp_path / "work" / "images").rglob("*")) == images
    assert command(*words, "--num-prompts", "4") == 0  # the same settings
    assert path.read_bytes() == records
    assert command(*words, "--num-prompts", "3", "--replace") == 0
    assert len(scores(load(path), "clipscore")) == 3


@pytest.mark.slow
def test_programs_of_other_environments_fill_their_columns(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scorer by the contract of docs/external.md, and in place of ImageReward's package a program by the same."""
    mine, official = tmp_path / "programs" / "score.py", tmp_path / "programs" / "python"
    mine.parent.mkdir()
    mine.write_text(PROGRAM.replace("FIRST", "1"))
    official.write_text(f"#!{sys.executable}\n" + PROGRAM.replace("FIRST", "2"))  # behind the name of the runner
    official.chmod(official.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(external_scorers, "official_python", lambda: official)
    program = f"hpsv3={sys.executable} {mine} {{requests}} {{results}}"
    words = ["--rows", "scalewise_4", "--num-prompts", "4", "--without", "fid", "pickscore", "diversity", "geneval"]
    assert command(*words, "--external", program, "--backend", "official") == 0
    page = capsys.readouterr().out
    found = load(tmp_path / "out" / "records" / f"table2.{NAME}.jsonl")
    expected = [len(caption) / 8 for caption in captions(tmp_path / "work")]
    assert scores(found, "hpsv3") == scores(found, "image_reward") == pytest.approx(expected)
    assert len(scores(found, "clipscore")) == 4  # ours, in the same pass
    assert scores(found, "hpsv3", "mjhq")
    assert "HPSv3" in page
    (run,) = found.runs
    assert "score.py" in json.dumps(run.config)
    mine.write_text("raise SystemExit('not again')")
    assert command(*words, "--external", program, "--backend", "official") == 0  # nothing is left to do
