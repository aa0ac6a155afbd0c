"""One JSON for each model that a run measured, in the schema of Every Eval Ever.

The schema is that of the EvalEval coalition, `eval.schema.json` 0.3.0 in github.com/evaleval/every_eval_ever. It holds
one model in a file, so a run of a table gives a file for each row. Scores are in the unit of the records: fractions are
not multiplied by 100. Times are those of the run, so that the same records give the same bytes.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from repro.harness.agreement import Cell
from repro.harness.exports.models import OURS, Model, model_of
from repro.harness.exports.scale import toy_scale
from repro.harness.exports.scores import RowScores, Score
from repro.harness.files import canonical_json
from repro.harness.schema import Run

SCHEMA_VERSION = "0.3.0"
_RELATIONSHIP = {"published": "third_party", "ours": "first_party", "unknown": "other"}


def every_eval_ever(found: RowScores, organization: str) -> str:
    """The file of a row, as text.

    Args:
        found: the scores of the row.
        organization: who ran the evaluation.
    """
    document = _document(found, model_of(found.row, found.profile, found.run), organization)
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _document(found: RowScores, model: Model, organization: str) -> dict[str, Any]:
    run = found.run
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{OURS}/{found.stem}/{found.row.key}/{run.run}",
        "evaluation_timestamp": run.start,
        "retrieved_timestamp": _end(run),
        "source_metadata": {
            "source_name": OURS,
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": _RELATIONSHIP[model.origin],
            "additional_details": _provenance(found),
        },
        "eval_library": {"name": OURS, "version": run.commit or "unknown"},
        "model_info": _model_info(found, model),
        "evaluation_results": [_result(found, score) for score in found.scores],
    }


def _end(run: Run) -> str:
    """When the records were made, in seconds since 1970."""
    end = datetime.fromisoformat(run.start) + timedelta(seconds=run.wall_seconds)
    return str(int(end.timestamp()))


def _provenance(found: RowScores) -> dict[str, str]:
    run, scale = found.run, toy_scale(found.profile)
    return {
        **({"scale": scale} if scale else {}),
        "profile": found.profile.name,
        "profile_caption": found.profile.caption,
        "run": run.run,
        "command": run.command,
        "commit": run.commit or "unknown",
        "local_changes": _text(run.dirty),
        "config_hash": run.config_hash,
        "data_hash": run.data_hash,
        "weights_hash": run.weights_hash,
        "device": run.device,
        "dtype": run.dtype,
        "wall_seconds": _text(run.wall_seconds),
        "peak_memory_bytes": _text(run.peak_memory_bytes),
        "versions": _text(run.versions),
    }


def _model_info(found: RowScores, model: Model) -> dict[str, Any]:
    engine = found.run.versions.get("diffusers")
    return {
        "name": f"{found.row.label} ({found.row.key})",
        "id": model.id,
        "developer": model.developer,
        **({"inference_engine": {"name": "diffusers", "version": engine}} if engine else {}),
        "additional_details": {
            "deployment_type": "unknown" if model.origin == "unknown" else "self_deployed",
            "model_availability": "open_weights" if model.origin == "published" else "unknown",
            "row": found.row.key,
        },
    }


def _result(found: RowScores, score: Score) -> dict[str, Any]:
    return {
        "evaluation_result_id": score.key,
        "evaluation_name": ".".join([OURS, found.table, *([score.prompts.key] if score.prompts else [])]),
        "source_data": _source_data(found, score),
        "metric_config": _metric(score),
        "score_details": _score(score),
        **_generation(found),
    }


def _source_data(found: RowScores, score: Score) -> dict[str, Any]:
    name = score.prompts.label if score.prompts else "none: a property of the model"
    return {"dataset_name": name, "source_type": "other", "additional_details": {"profile": found.profile.name}}


def _metric(score: Score) -> dict[str, Any]:
    column = score.column
    low, high = (0.0, 1.0) if column.percent else ("-Infinity", "Infinity")
    return {
        "metric_id": f"{OURS}.{column.key}",
        "metric_name": column.label,
        "metric_unit": "proportion" if column.percent else column.unit or "points",
        "lower_is_better": column.better == "lower",
        "score_type": "continuous",
        "min_score": low,
        "max_score": high,
    }


def _score(score: Score) -> dict[str, Any]:
    shown = score.estimate
    uncertainty: dict[str, Any] = {"num_samples": score.n}
    if shown.low is not None and shown.high is not None:
        uncertainty["confidence_interval"] = {"lower": shown.low, "upper": shown.high, "confidence_level": 0.95}
    details = {"by_training_seed": _text({str(record.seed): record.value for record in score.records})}
    if score.published:
        details["published"] = _text([_agreed(cell) for cell in score.published])
    return {"score": shown.value, "uncertainty": uncertainty, "details": details}


def _agreed(cell: Cell) -> dict[str, Any]:
    """A published number in the unit of the score, and whether ours agrees with it."""
    return {
        "publication": cell.publication,
        "value": cell.published,
        "tolerance": cell.tolerance,
        "verdict": str(cell.verdict),
    }


def _generation(found: RowScores) -> dict[str, Any]:
    """How the row was sampled, where its run says so."""
    rows = found.run.config.get("rows")
    plan = rows.get(found.row.key) if isinstance(rows, dict) else None
    return {"generation_config": {"additional_details": {"sampling": _text(plan)}}} if plan else {}


def _text(value: object) -> str:
    """Details are strings in this schema, whatever they are."""
    return canonical_json(value)
