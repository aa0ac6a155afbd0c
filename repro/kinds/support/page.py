"""The page of supported models, from the records alone."""

from pathlib import Path

from repro.harness.cells import markdown, number
from repro.harness.page import footer, joined
from repro.kinds.support import keys
from repro.kinds.support.result import SupportResult

PART_HEADS: dict[keys.Part, str] = {"network": "Network", "text_encoders": "Text encoders", "vae": "VAE"}
USE_HEADS: dict[keys.Use, str] = {
    "sample": "Sample",
    "sample_offloaded": "Sample, model offload",
    "train": "Train",
}


def page(result: SupportResult, _: Path) -> str:
    """The Markdown page."""
    return joined(
        [
            f"# {result.title}",
            result.experiment.question,
            "> Counted on the published architectures without their weights. No GPU ran for this page, and nothing on "
            "it says how well a model draws.",
            "## Memory of each use, GiB",
            _uses(result),
            "## Weights in bfloat16, GiB",
            _weights(result),
            *result.experiment.notes,
            *footer(result),
        ]
    )


def _uses(result: SupportResult) -> str:
    heads = ["Model", "Steps", *(head for use in keys.USES for head in (USE_HEADS[use], "GPU"))]
    heads.append("Cache of 1,000 images")
    rows = []
    for model in result.experiment.models:
        key, steps = model.profile, result.value(model.profile, keys.STEPS) or 0.0
        cells = [model.title, number(steps, 0)]
        for use in keys.USES:
            cells += [number(result.gib(key, keys.peak_bytes(use)), 1), _gpu(result, key, use)]
        rows.append([*cells, number(1000 * result.gib(key, keys.CACHE_BYTES), 1)])
    return markdown(heads, rows, left=1)


def _gpu(result: SupportResult, model: str, use: keys.Use) -> str:
    size = result.gpu(model, use)
    return f"{size} GB" if size else f"> {result.experiment.gpus[-1]} GB"


def _weights(result: SupportResult) -> str:
    heads = ["Model", "Parameters of the network, B", *(PART_HEADS[part] for part in keys.PARTS)]
    rows = []
    for model in result.experiment.models:
        parameters = result.value(model.profile, keys.PARAMETERS) or 0.0
        sizes = [number(result.gib(model.profile, keys.weight_bytes(part)), 2) for part in keys.PARTS]
        rows.append([model.title, number(parameters / 1e9, 2), *sizes])
    return markdown(heads, rows, left=1)
