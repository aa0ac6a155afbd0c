"""External scorers in tables: what is typed, what is declared, and scores of an image set by a program."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repro.harness import overrides
from repro.harness.kind import UsageError
from repro.harness.profile import Profile, Scorer
from repro.metrics import external
from repro.metrics.base import WeightsError, finite
from repro.metrics.external import ScorerError
from repro.profiles import load_profile
from repro.stages.external_scores import external_score
from repro.stages.images import ImageSet, Unusable, make_images
from repro.stages.store import StageStore
from repro.worlds import external_scorers, scorers

MEDIUM = load_profile("sd35-medium")
PROMPTS = [{"id": f"p{index}", "caption": "a" * (index + 1), "seed": index} for index in range(5)]
PROGRAM = """
import json, sys
from PIL import Image
with open(sys.argv[2], "a") as stream:
    for line in map(json.loads, open(sys.argv[1])):
        assert Image.open(line["image"]).size == (8, 8)
        print(json.dumps({"id": line["id"], "score": len(line["caption"])}), file=stream, flush=True)
        STOP
"""


def changed(*words: str, profile: Profile = MEDIUM) -> dict[str, Scorer]:
    parser = ArgumentParser()
    overrides.add_arguments(parser)
    return {scorer.name: scorer for scorer in overrides.changed(profile, parser.parse_args(words)).scorers}


def test_a_program_replaces_a_metric_of_ours_and_adds_one_that_we_have_not() -> None:
    found = changed(
        "--external", "hpsv3=run {requests} {results}", "--external", "image_reward='my run' {requests} {results}"
    )
    own = {scorer.name: scorer for scorer in MEDIUM.scorers}
    assert found.keys() == {*own, "hpsv3"}
    assert found["hpsv3"].settings == {"command": ["run", "{requests}", "{results}"]}
    assert found["image_reward"].settings["command"][0] == "my run"
    assert found["hpsv3"].prompts == found["image_reward"].prompts == ("coco", "mjhq")
    assert {name for name, scorer in found.items() if scorers.is_external(scorer)} == {"hpsv3", "image_reward"}
    assert changed("--external", "hpsv3")["hpsv3"].settings == {"command": None}


def test_the_official_package_keeps_the_weights_of_the_profile() -> None:
    found = changed("--backend", "official", "--scorer", "image_reward=/w/ir")["image_reward"]
    assert found.weights is not None
    assert (found.weights.repo, found.settings["backend"]) == ("/w/ir", "official")
    assert (
        found.settings["tokenizer"] == next(s for s in MEDIUM.scorers if s.name == "image_reward").settings["tokenizer"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--external", "hpsv4=a"], "unknown metric of single images for --external 'hpsv4'; did you mean hpsv3?"),
        (["--external", "fid=run {requests} {results}"], "unknown metric of single images for --external 'fid'"),
        (["--external", "geneval=run {requests} {results}"], "for --external 'geneval'"),
        (["--external", "hpsv3=run {requests}"], "--external hpsv3: the command has no {results}"),
        (["--external", "hpsv3=run '{requests} {results}"], "--external hpsv3: No closing quotation"),
        (["--external", "hpsv3", "--external", "hpsv3"], "--external names hpsv3 twice"),
        (["--external", "image_reward", "--backend", "official"], "both score image_reward: name one"),
        (["--without", "image_reward", "--backend", "official"], "does not measure here"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(*words)
    assert message in str(caught.value)


def test_a_world_with_metrics_of_its_own_takes_no_program() -> None:
    with pytest.raises(UsageError, match="profile mini has metrics of its own"):
        changed("--external", "hpsv3", profile=load_profile("mini"))


def test_a_missing_program_is_named_with_what_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_scorers, "official_python", lambda: tmp_path / "python")
    official = changed("--backend", "official")["image_reward"]
    with pytest.raises(WeightsError, match=r"image_reward runs \.venv-imagereward.* Get it: nox -s imagereward"):
        external_scorers.build(official, tmp_path, torch.device("cpu"))
    mine = changed("--external", "hpsv3=no-such-program {requests} {results}")["hpsv3"]
    with pytest.raises(WeightsError, match="hpsv3 runs no-such-program, which is not here"):
        external_scorers.check(mine)
    (need,) = external_scorers.program(replace(mine, settings={"command": [sys.executable]}))
    assert not need.missing
    assert list(external_scorers.program(changed("--external", "hpsv3")["hpsv3"])) == []


def images(store: StageStore) -> ImageSet:
    """Five images, the second of which could not be made."""

    def paint(prompts: list[dict[str, int]]) -> list[Image.Image | Unusable]:
        return [Unusable("NaN pixels") if p["seed"] == 1 else Image.new("RGB", (8, 8)) for p in prompts]

    return make_images(store, {"shard_size": 2}, PROMPTS, lambda: paint, "test")  # type: ignore[arg-type, return-value]


def program(path: Path, stop: str = "") -> external.Scorer:
    path.write_text(PROGRAM.replace("STOP", stop))
    return external.Scorer(key="mine", command=(sys.executable, str(path), "{requests}", "{results}"))


def test_only_readable_images_are_scored_and_only_once(tmp_path: Path) -> None:
    store = StageStore(tmp_path / "store")
    made = images(store)
    metric = external_score(store, made, program(tmp_path / "a.py"), {"command": "a"})
    left = [prompt for prompt in PROMPTS if prompt["id"] != "p1"]
    np.testing.assert_array_equal(metric.measure([], left)["mine"], [1, 3, 4, 5])
    again = external_score(store, made, program(tmp_path / "a.py", "raise SystemExit(1)"), {"command": "a"})
    assert again.inputs() == metric.inputs()
    with pytest.raises(ScorerError, match="exit status 1"):  # another identity is another stage
        external_score(store, made, program(tmp_path / "a.py", "raise SystemExit(1)"), {"command": "b"})


def test_a_run_that_failed_says_its_last_lines_and_goes_on_where_it_was(tmp_path: Path) -> None:
    store = StageStore(tmp_path / "store")
    made = images(store)
    broken = program(tmp_path / "a.py", "if line['id'] == 'p2': raise MemoryError('no room on the GPU')")
    with pytest.raises(ScorerError, match=r"(?s)exit status 1.*scorer\.log:.*MemoryError: no room on the GPU"):
        external_score(store, made, broken, {})
    metric = external_score(store, made, program(tmp_path / "a.py"), {})
    (folder,) = (tmp_path / "store" / "external").iterdir()
    asked = [json.loads(line)["id"] for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert asked == ["p3", "p4"]
    np.testing.assert_array_equal(metric.measure([], [PROMPTS[0], PROMPTS[2]])["mine"], [1, 3])


@pytest.mark.parametrize("changed", ['{"id": "p0", "score": 7}\n', '{"id": "p'])
def test_results_that_were_edited_or_torn_are_taken_from_the_program_again(changed: str, tmp_path: Path) -> None:
    made = images(StageStore(tmp_path / "store"))
    external_score(StageStore(tmp_path / "store"), made, program(tmp_path / "a.py"), {})
    (path,) = (tmp_path / "store" / "external").glob("*/results.jsonl")
    whole = path.read_bytes()
    path.write_bytes(changed.encode() + whole.split(b"\n", 1)[1])
    metric = external_score(StageStore(tmp_path / "store"), made, program(tmp_path / "a.py"), {})
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(metric.measure([], [PROMPTS[0], PROMPTS[2]])["mine"], [1, 3])


def test_scores_that_are_no_numbers_name_metric_and_image() -> None:
    with pytest.raises(WeightsError, match="pickscore: the score of image p1 is nan, expected a number"):
        finite("pickscore", np.array([0.2, np.nan]), PROMPTS)
    assert finite("pickscore", np.array([0.2, 0.3]), PROMPTS).tolist() == [0.2, 0.3]
