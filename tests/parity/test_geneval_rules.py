"""Our rules against GenEval's own functions, whose outcomes on generated detections are recorded (commit af4902f)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.metrics.geneval.rules import Found, Thresholds, iou, judge, relations, select

RECORDED = json.loads((Path(__file__).parent / "golden" / "geneval_rules.json").read_text())


def normal(reason: str) -> str:
    """Two relations of a position stand in any order in GenEval's text: it joins a set."""
    return "\n".join(" ".join(sorted(line.split())) for line in reason.split("\n"))


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["wanted"]["prompt"])
def test_verdict_reasons_and_objects_are_those_of_geneval(case: dict[str, Any]) -> None:
    wanted, thresholds = case["wanted"], Thresholds(overlap=case["overlap"])
    colors = {(name, tuple(box)): color for name, boxes in case["found"].items() for *box, _, color in boxes}
    seen = {}
    for name, boxes in case["found"].items():
        objects = [Found(np.array(box, dtype=float), score) for *box, score, _ in boxes]
        if kept := select(objects, wanted["tag"], thresholds):
            seen[name] = kept
    verdict = judge(
        seen, wanted, lambda items, name: [colors[name, tuple(item.box.tolist())] for item in items], margin=0.1
    )
    assert {name: len(objects) for name, objects in seen.items()} == case["kept"]
    assert verdict.correct == case["correct"]
    assert normal("\n".join(verdict.reasons)) == normal(case["reason"])


def test_relations_and_overlaps_are_those_of_geneval() -> None:
    for pair in RECORDED["pairs"]:
        box, other = np.array(pair["a"], dtype=float), np.array(pair["b"], dtype=float)
        assert sorted(relations(box, other, 0.1)) == pair["relations"], pair
        assert iou(box, other) == pytest.approx(pair["iou"], abs=1e-12)


def test_the_record_has_both_outcomes_of_every_tag() -> None:
    outcomes = {(case["wanted"]["tag"], case["correct"]) for case in RECORDED["cases"]}
    assert len(outcomes) == 12
