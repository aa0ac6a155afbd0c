"""What exports have to be like, written down independently of what writes them."""

from dataclasses import replace
from typing import Any

from harness_world import RUN, record

from repro.harness.schema import RecordSet
from repro.kinds.scores.result import ScoresResult
from repro.profiles import load_profile
from repro.table2 import TABLE as TABLE2

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
BOUND = {"anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity"]}]}


def strict(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these members and no others: a name that the schema does not know is a slip of the writer."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": properties}


# The rules of eval.schema.json 0.3.0 of Every Eval Ever for the members that are written here.
RESULT = strict(
    {
        "evaluation_name": {"type": "string"},
        "source_data": strict(
            {"dataset_name": {"type": "string"}, "source_type": {"const": "other"}}, {"additional_details": STRINGS}
        ),
        "metric_config": strict(
            {
                "lower_is_better": {"type": "boolean"},
                "score_type": {"const": "continuous"},  # which needs both bounds
                "min_score": BOUND,
                "max_score": BOUND,
            },
            {name: {"type": "string"} for name in ("metric_id", "metric_name", "metric_unit")},
        ),
        "score_details": strict(
            {"score": {"type": "number"}},
            {
                "details": STRINGS,
                "uncertainty": strict(
                    {},
                    {
                        "num_samples": {"type": "integer"},
                        "confidence_interval": strict(
                            {"lower": {"type": "number"}, "upper": {"type": "number"}},
                            {"confidence_level": {"type": "number", "minimum": 0, "maximum": 1}},
                        ),
                    },
                ),
            },
        ),
    },
    {
        "evaluation_result_id": {"type": "string"},
        "generation_config": strict({}, {"additional_details": STRINGS}),
    },
)
EVERY_EVAL_EVER = strict(
    {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": {"type": "string"},
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": strict(
            {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "source_organization_name": {"type": "string"},
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
            {"source_name": {"type": "string"}, "additional_details": STRINGS},
        ),
        "model_info": strict(
            {
                "name": {"type": "string"},
                "id": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
                "additional_details": {
                    **STRINGS,
                    "required": ["deployment_type", "model_availability"],
                    "properties": {
                        "deployment_type": {"enum": ["self_deployed", "externally_managed", "unknown"]},
                        "model_availability": {"enum": ["open_weights", "closed_weights", "unknown"]},
                    },
                },
            },
            {
                "developer": {"type": "string"},
                "inference_engine": strict({}, {name: {"type": "string"} for name in ("name", "version")}),
            },
        ),
        "eval_library": strict({"name": {"type": "string"}, "version": {"type": "string"}}),
        "evaluation_results": {"type": "array", "items": RESULT, "minItems": 1},
    },
    {"evaluation_timestamp": {"type": "string"}},
)


def published_result() -> ScoresResult:
    """Table 2 in a profile of the paper's own model: FID of a row agrees with v1 (23.3) and differs from v2 (23.7)."""
    profile = load_profile("sd35-medium")
    made = record("scalewise_4", "coco", "fid", 22.5, ci_low=22.4, ci_high=22.6, n=30_000)
    run = replace(RUN, table="table2", profile=profile.name)
    return ScoresResult(TABLE2, profile, RecordSet.of([run, replace(made, profile=profile.name)]))
