"""A made-up table, profile and records for the tests of the harness: small, fixed, with known numbers."""

from functools import lru_cache

import numpy as np

from repro.harness.experiment import Column, PromptSet, Row
from repro.harness.files import digest_json
from repro.harness.profile import Data, Profile, Weights
from repro.harness.reported import Reported
from repro.harness.schema import Line, PerImage, Record, Run, Series
from repro.kinds.scores.declare import Claim, Table, better, not_worse
from repro.kinds.scores.figure import draw_compute

PROFILE = Profile(
    name="toy",
    title="the toy world",
    caption="Made-up numbers, for tests.",
    presets="mini",
    columns=(
        Column("accuracy", "Accuracy", better="higher", role="prompt_alignment", margin=0.05, digits=1, percent=True),
        Column("distance", "Distance", better="lower", role="distribution", margin=0.5, digits=2),
        Column("accuracy/count", "count", better="higher", digits=0, percent=True, detail=True),
    ),
    prompt_sets=(PromptSet("short", "short captions", reported="COCO 2014"), PromptSet("long", "long captions")),
    images_per_set=40,
    data=Data(resolution=64),
    weights=Weights(pipeline="nowhere"),
    missing={"distance": "Needs a ruler."},
)

TABLE = Table(
    key="table2",
    title="Toy table",
    question="Does it work?",
    rows=(
        Row("teacher", "Teacher"),
        Row("small", "Scale-wise", train={"schedule": "4"}, reported={"setup": "Scale-wise", "steps": "4"}),
        Row(
            "big",
            "Full-scale",
            train={"schedule": "full-2"},
            reported={"setup": "Full-scale", "steps": "2"},
        ),
    ),
    claims=(
        Claim("better", "Small is better than big", better("prompt_alignment", "small", "big"), source="Table 9"),
        Claim("near", "Small is not worse than its teacher", not_worse("prompt_alignment", "small", "teacher")),
        Claim("elsewhere", "Needs a metric of another profile", better("text_similarity", "small", "big")),
    ),
    reported=Reported(
        csv="table2_scalewise_vs_fullscale.csv",
        label="SD3.5 Medium",
        match={"source": "v1", "model": "SD3.5 Medium"},
        columns=(Column("pickscore", "PS", better="higher", digits=3), Column("fid", "FID", better="lower", digits=1)),
        missing="No such row in the paper.",
    ),
)

RUN = Run(
    run="20250324T101500Z-abcdef01",
    table="table2",
    profile="toy",
    commit="0123456789abcdef0123456789abcdef01234567",
    dirty=False,
    config={"steps": 4},
    config_hash=digest_json({"steps": 4}),
    versions={"python": "3.11.7", "torch": "2.9.0"},
    device="cpu (2 threads)",
    dtype="float32",
    data_hash="d",
    weights_hash="w",
    command="python -m repro table2 --profile toy",
    start="2025-03-24T10:15:00Z",
    wall_seconds=90.0,
    peak_memory_bytes=2**31,
)

draw_once = lru_cache(draw_compute)  # the same figure in many tests costs its half second once

ACCURACY = {"teacher": 0.9, "small": 0.8, "big": 0.4}
TOKENS = {"teacher": 57344, "small": 564, "big": 512}


def record(variant: str, prompts: str, metric: str, value: float | None, **changes: object) -> Record:
    fields: dict[str, object] = {
        "table": "table2", "variant": variant, "prompts": prompts, "profile": "toy", "seed": 0, "metric": metric,
        "value": value, "n": 40, "ci_low": None, "ci_high": None, "unit": "", "run": RUN.run,
    }  # fmt: skip
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


def lines() -> list[Line]:
    """One run, accuracy on both prompt sets, distance of the students on the short one only, a clock of one student."""
    made: list[Line] = [RUN]
    for variant, accuracy in ACCURACY.items():
        made.append(record(variant, "", "tokens", TOKENS[variant], n=0))
        made.append(record(variant, "", "relative_flops", TOKENS[variant] / TOKENS["teacher"], n=0))
        for prompts in ("short", "long"):
            values = (np.arange(40) < 40 * accuracy).astype(float)
            made.append(record(variant, prompts, "accuracy", accuracy, ci_low=accuracy - 0.05, ci_high=accuracy + 0.05))
            made.append(PerImage.of(values, variant=variant, prompts=prompts, metric="accuracy", seed=0))
    made.append(record("small", "short", "distance", 1.5, ci_low=1.25, ci_high=1.75))
    made.append(record("big", "short", "distance", None, note="The ruler broke."))
    made.append(record("small", "long", "accuracy/count", 0.5, n=20))
    made.append(Series.of("small", "seconds", (0.25, 1 / 3, 0.5), over="round", unit="s"))
    return made
