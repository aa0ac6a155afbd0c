"""How the numbers of published models came about, as their page tells it."""

from dataclasses import asdict, replace
from typing import Any

from harness_world import PROFILE, RUN, TABLE, record

from repro.harness.records import RecordSet, dumps, parse
from repro.harness.schema import Record, Run
from repro.kinds.scores import keys
from repro.kinds.scores.how import RULE, how
from repro.kinds.scores.lines import metrics_of
from repro.kinds.scores.result import ScoresResult
from repro.metrics import EvaluationResult
from repro.metrics.cosine import FORMULA, CosineScore
from repro.metrics.inception import RECIPES
from repro.profiles import load_profile
from repro.table2 import TABLE as TABLE2

MEDIUM = load_profile("sd35-medium")
REFERENCE = {"sha256": "fedcba9876543210", "images": 30_000, "recipe_known": True}
FID = {
    "features": {"network": "Inception", "recipe": asdict(RECIPES["swd"]), "published_weights": True},
    "distances": {
        "fid": {"formula": "Frechet distance", "cells": 12, "reference": REFERENCE},
        "kid": {"formula": "polynomial MMD", "subsets": 100, "size": 1000, "seed": 0, "reference": REFERENCE},
    },
}
PICKSCORE = {"formula": FORMULA, "towers": {"context_length": 77}}
SYSTEM = {
    "files": {
        "stabilityai/stable-diffusion-3.5-medium": "0123456789ab",
        "yresearch/swd-medium-6-steps": "ba9876543210",
    },
    "steps": 6,
    "guidance": None,
    "resolution": 1024,
}


def run(**changes: Any) -> Run:
    config = {
        "profile": asdict(replace(MEDIUM, weights=replace(MEDIUM.weights, revision="r3v1s10n"))),
        "rows": {
            "scalewise_6 seed 0": {"system": SYSTEM, "own_dtype": "bfloat16"},
            "switti seed 0": {"folder": "f01de4000000"},
        },
        "metrics": {"pickscore": {"weights": {"weights": {"model.safetensors": "abcdef0123"}, "processor": {}}}},
    }
    metrics = {"coco": {"pickscore": PICKSCORE, "fid": FID}, "mjhq": {"pickscore": PICKSCORE, "fid": FID}}
    plain = {"table": "table2", "profile": MEDIUM.name, "config": config, "metrics": metrics}
    return replace(RUN, **{**plain, **changes})


def told(made: Run | None = None, *records: Record) -> str:
    lines = [made or run(), *(replace(found, profile=MEDIUM.name) for found in records)]
    return "\n\n".join(how(ScoresResult(TABLE2, MEDIUM, RecordSet.of(lines))))


def said(text: str, metric: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(f"- **{metric}**: "))
    return line


def test_a_revision_that_was_typed_stands_by_its_model() -> None:
    student = "yresearch/swd-medium-6-steps"
    weights = replace(MEDIUM.weights, revisions={student: "c0ffee"})
    made = run()
    told_of = told(replace(made, config={**made.config, "profile": asdict(replace(MEDIUM, weights=weights))}))
    assert f"`{student}` (" in told_of
    assert ", revision c0ffee)" in told_of
    assert "c0ffee" not in told()


def test_every_row_says_what_it_was_sampled_with() -> None:
    row = "| `stabilityai/stable-diffusion-3.5-medium` (01234567, revision r3v1s10n), `yresearch/swd-medium-6-steps`"
    (line,) = (line for line in told().splitlines() if row in line)
    cells = [cell.strip() for cell in line.split("|")][3:-1]
    assert cells == ["6", "its own", "1,024", "bfloat16"]


def test_a_folder_of_images_goes_by_its_hash() -> None:
    assert "a folder of images (f01de400)" in told(None, record("switti", "coco", "fid", 1.0))


def test_fid_says_recipe_network_and_real_images_of_every_set() -> None:
    fid = said(told(), "FID")
    recipe = "shorter side to 512 (bicubic), to 256 (Lanczos), central square, to 299 x 299 (bilinear)"
    assert f"recipe `swd`: {recipe}, values 2 x / 255 - 1." in fid
    assert "Frechet distance; KID polynomial MMD (subsets 100, size 1000)." in fid
    assert "Real images: COCO 2014 30,000 (fedcba98); MJHQ-30K 30,000 (fedcba98)." in fid
    assert "pt_inception-2015-12-05-6726825d.pth" in fid
    assert "not" not in fid.split("Real images")[0]


def test_what_a_file_of_statistics_does_not_say_is_said() -> None:
    unknown = {**REFERENCE, "images": None, "recipe_known": False}
    distances = {"fid": {"formula": "Frechet distance", "reference": unknown}}
    features = {**FID["features"], "published_weights": False}
    fid = said(told(run(metrics={"coco": {"fid": {"features": features, "distances": distances}}})), "FID")
    assert "COCO 2014 a number that their file does not say (fedcba98, made in a way that their file does not" in fid
    assert "Inception, **not** with the published weights" in fid


def test_other_recipes_leave_their_steps_out() -> None:
    features = {**FID["features"], "recipe": asdict(RECIPES["clean-fid"])}
    fid = said(told(run(metrics={"coco": {"fid": {**FID, "features": features}}})), "FID")
    assert "recipe `clean-fid`: to 299 x 299 (bicubic of PIL in float), values (x - 128) / 128." in fid


def test_scores_say_formula_weights_and_hashes() -> None:
    line = said(told(), "PS")
    assert f"{FORMULA}. Weights `yuvalkirstain/PickScore_v1` (model.safetensors abcdef01); processor `laion/" in line


def test_the_share_of_captions_that_were_cut_is_told_set_by_set() -> None:
    shares = [
        record("scalewise_6", prompts, "pickscore_cut", share) for prompts, share in (("coco", 0), ("mjhq", 0.125))
    ]
    assert said(told(None, *shares), "PS").endswith(
        "Captions longer than 77 tokens are cut there: 0.0 % of COCO 2014, 12.5 % of MJHQ-30K."
    )
    assert said(told(None, shares[0]), "PS").endswith("No caption is longer than 77 tokens.")
    assert "aption" not in said(told(), "PS").partition("image and caption")[2]


def test_cut_shares_go_by_the_key_that_metrics_give_them() -> None:
    class Left:
        def column(self, name: str) -> Any:
            return [0.5, 0.5]

    score = CosineScore(None, key="pickscore")  # type: ignore[arg-type]
    assert set(score.estimates(Left())) == {"pickscore", keys.cut("pickscore")}  # type: ignore[arg-type]


def test_a_program_of_another_environment_is_named() -> None:
    profile = asdict(MEDIUM)
    profile["scorers"] = [{"name": "hpsv3", "weights": None, "settings": {"command": ["python", "score.py"]}}]
    metrics = {"coco": {"hpsv3": {"scorer": "hpsv3", "command": ["python", "score.py"]}}}
    made = told(run(config={"profile": profile}, metrics=metrics))
    assert said(made, "HPSv3").endswith("scored by a program of another environment, `python score.py`.")


def test_records_without_metrics_say_less_and_mini_ones_nothing() -> None:
    assert said(told(run(metrics={})), "FID").startswith("- **FID**: Weights `weights/pt_inception")
    assert told().endswith(RULE)
    assert how(ScoresResult(TABLE, PROFILE, RecordSet.of([RUN]))) == []
    assert how(ScoresResult(TABLE, PROFILE, RecordSet())) == []


def test_records_keep_what_is_the_same_for_all_rows(tmp_path: Any) -> None:
    shared = EvaluationResult({}, {}, (), {"fid": FID, "hpsv3": {"command": ["x"], "scores": "1"}})
    other = EvaluationResult({}, {}, (), {"fid": FID, "hpsv3": {"command": ["x"], "scores": "2"}})
    found = metrics_of([("coco", shared), ("coco", other), ("mjhq", shared)])
    assert found["coco"] == {"fid": FID, "hpsv3": {"command": ["x"]}}
    assert found["mjhq"]["hpsv3"]["scores"] == "1"
    kept = parse(dumps(RecordSet.of([replace(RUN, metrics=found)])), tmp_path)
    assert kept.runs[0].metrics == found
