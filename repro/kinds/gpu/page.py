"""The page of a GPU, from the records alone."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from repro.harness.cells import DASH, markdown, number, sentence
from repro.harness.page import footer, joined
from repro.kinds.gpu import keys
from repro.kinds.gpu.declare import Aim, PartKey
from repro.kinds.gpu.result import GpuResult

MEASURE = (
    "python -m repro gpu --minutes 25 --out DIR   # again until nothing is left; then records/gpu.jsonl comes here"
)
SMOKE = "python -m repro gpu --smoke"
TESTED = (keys.PASSED, keys.FAILED, keys.SKIPPED)


def page(result: GpuResult, _: Path) -> str:
    """The Markdown page."""
    sections = {
        "tests": _tests,
        "peaks": _peaks,
        "sampling": _sampling,
        "kernels": _kernels,
        "training": _training,
        "table3": _table3,
        "families": _families,
    }
    blocks = [f"# {result.title}", result.experiment.question, _where(result), "## Aims", _aims(result)]
    for part, title in result.experiment.parts.items():
        blocks += [f"## {title}", *sections[part](result), _failed(result, part)]
    blocks += [*result.experiment.notes, *footer(result, SMOKE if result.is_smoke else MEASURE)]
    return joined(blocks)


def _where(result: GpuResult) -> str:
    run = result.records.runs[0]
    if result.is_smoke:
        return (
            "> **A smoke run: no GPU has measured this page yet.** Every part ran on a CPU with tiny networks of the "
            f"same structure ({run.device}); compiled code was traced, not compiled. The numbers show that the parts "
            "run and are written down, nothing else."
        )
    cuda = run.config["machine"].get("cuda")
    return f"> **here**: {run.device}, CUDA {cuda}, torch {run.versions.get('torch')}. Medians over rounds."


def _aims(result: GpuResult) -> str:
    rows = [
        [aim.text, _bound(aim), _shown(aim.limit, aim.digits), *_measured(result, aim)]
        for aim in result.experiment.aims
    ]
    return markdown(["What", "Aim", "Limit", "Measured", ""], rows)


def _bound(aim: Aim) -> str:
    sign, value = ("\u2264", aim.most) if aim.most is not None else ("\u2265", aim.least)
    return f"{sign} {_shown(value, aim.digits)}"


def _measured(result: GpuResult, aim: Aim) -> tuple[str, str]:
    value = result.aimed(aim)
    if value is None:
        return DASH, "not measured"
    return _shown(value, aim.digits), "met" if aim.is_met(value) else "**missed**"


def _tests(result: GpuResult) -> Iterator[str]:
    rows, broken = [], []
    for record in result.records.records:
        if record.metric == keys.PASSED and keys.of_part(record.variant, "tests"):
            counts = [result.value(record.variant, metric) or 0 for metric in TESTED]
            rows.append([record.variant.partition(": ")[2], *(number(count, 0) for count in counts)])
            broken += [r.note for r in result.records.find(record.variant, "", keys.FAILED) if r.note]
    if rows:
        yield markdown(["File", "Passed", "Failed", "Skipped"], rows)
        yield "Without those marked `slow`, which compile for minutes: `pytest -m 'gpu and slow'`."
    if broken:
        yield f"Failed: {', '.join(broken)}."


def _peaks(result: GpuResult) -> Iterator[str]:
    rows = []
    for dtype in result.scope.peaks:
        rate = result.value(keys.matmul(dtype), keys.RATE)
        rows.append([f"Matrix product, {dtype}", _shown(rate and rate / 1e12, 1), "TFLOP/s"])
    copied = result.value(keys.COPY, keys.RATE)
    rows.append(["Copy, read and written", _shown(copied and copied / 1e12, 2), "TB/s"])
    yield markdown(["What", "Rate", ""], rows)


def _sampling(result: GpuResult) -> Iterator[str]:
    for model in result.scope.models:
        for batch in result.scope.batches:
            rows = [_provider_row(result, model, batch, key) for key in result.scope.providers]
            presets = [f"`{preset}`" for preset in result.scope.presets]
            heads = ["Provider", *(head for preset in presets for head in (f"{preset}, ms", "of diffusers"))]
            heads += ["of roofline, %", "Speed-up", "of ideal, %"]
            yield f"**{model}, batch size {batch}**"
            yield markdown(heads, [row for row in rows if any(cell != DASH for cell in row[1:])])
        yield _ideal(result, model)
    yield _once(result)


def _provider_row(result: GpuResult, model: str, batch: int, key: str) -> list[str]:
    cells = [result.experiment.provider(key).label]
    for preset in result.scope.presets:
        variant = keys.sampling(model, preset, batch, key)
        cells += [_milliseconds(result, variant), _shown(result.ratio(variant), 2)]
    first = result.experiment.ratio[0]
    work = result.steps_flops("sampling", model, first)
    flops = None if work is None else batch * work
    share = result.roofline(keys.sampling(model, first, batch, key), flops, result.scope.dtype)
    speedup, ideal = result.speedup(model, batch, key), result.ideal(model)
    return [*cells, _percent(share), _shown(speedup, 2), _percent(speedup / ideal if speedup and ideal else None)]


def _ideal(result: GpuResult, model: str) -> str:
    fast, slow = result.experiment.ratio
    ideal = result.ideal(model)
    return (
        f"*Of roofline*: of `{fast}`. *Speed-up*: time of `{slow}` by that of `{fast}`; FLOPs allow {_shown(ideal, 2)}."
    )


def _once(result: GpuResult) -> str:
    """What compiling costs each provider, over all presets and batches of a model."""
    scope, rows = result.scope, []
    for key in scope.providers:
        spent = []
        for model in scope.models:
            variants = [keys.sampling(model, p, b, key) for b in scope.batches for p in scope.presets]
            spent.append(_shown(result.once(variants), 1))
        rows.append([result.experiment.provider(key).label, *spent])
    heads = ["Done once, s", *scope.models]
    return markdown(heads, rows)


def _kernels(result: GpuResult) -> Iterator[str]:
    rows = []
    for case in result.scope.kernels:
        compiled = result.seconds(keys.kernel(case.name, "compile"))
        for provider in case.providers:
            variant = keys.kernel(case.name, provider)
            seconds, peak = result.seconds(variant), result.value(variant, keys.PEAK_BYTES)
            if seconds is None:
                continue
            cells = [case.name, provider, _shown(1e3 * seconds, 3), _shown(seconds / compiled if compiled else None, 2)]
            cells.insert(2, _shown(result.value(variant, keys.CALLS), 0))
            cells += [_percent(result.kernel_roofline(case, provider)), _shown(peak and peak / 2**20, 0)]
            rows.append([*cells, _shown(result.once([variant]), 1)])
    heads = [
        "Case",
        "Provider",
        "Calls",
        "ms",
        "of torch.compile",
        "of roofline, %",
        "Memory beside inputs, MiB",
        "Done once, s",
    ]
    if rows:
        yield markdown(heads, rows, left=2)


def _training(result: GpuResult) -> Iterator[str]:
    plain = result.seconds(keys.training("plain"))
    rows = []
    for order in ("plain", "lean"):
        variant = keys.training(order)
        seconds, peak = result.seconds(variant), result.value(variant, keys.PEAK_BYTES)
        flops = result.value(keys.training("work"), keys.FLOPS) if order == "lean" else None
        ratio = seconds / plain if seconds and plain else None
        share = result.roofline(variant, flops, result.scope.dtype)
        rows.append([order, _shown(seconds, 3), _shown(ratio, 2), _percent(share), _shown(peak and peak / 2**30, 1)])
    scope = result.scope
    about = f"{scope.train_model}, `{scope.train_preset}`, {scope.train_batch} samples an update"
    yield f"{about}, 5 updates of the fake model."
    yield markdown(["Order", "Seconds an iteration", "of plain", "of roofline, %", "Peak memory, GiB"], rows)


def _table3(result: GpuResult) -> Iterator[str]:
    scope, rows = result.scope, []
    for model in scope.table_models:
        for row in scope.table_rows:
            variant = keys.table(model, row)
            seconds, parts = result.seconds(variant), result.series(variant, keys.PARTS)
            share = result.roofline(variant, result.value(variant, keys.FLOPS), scope.table_dtype)
            ends = [1e3 * parts.values[place] for place in (0, -1)] if parts else [None, None]
            paper = result.published(model, row)
            cells = [
                model,
                row,
                _shown(paper and 1e3 * paper, 0),
                _shown(seconds and 1e3 * seconds, 1),
                *(_shown(end, 1) for end in ends),
            ]
            rows.append([*cells, _percent(share), _shown(result.once([variant]), 1)])
    protocol = f"{scope.table_dtype}, compiled, tiny VAE, batch size {scope.table_batch}"
    yield f"{protocol}; for one image, from text to pixels."
    heads = ["Model", "Row", "paper, ms", "ms an image", "text, ms", "decoding, ms", "of roofline, %", "Done once, s"]
    yield markdown(heads, rows, left=2)


def _families(result: GpuResult) -> Iterator[str]:
    rows = []
    for model, preset in result.scope.families.items():
        for batch in result.scope.family_batches:
            plain = result.seconds(keys.family(model, preset, batch, "plain"))
            for key in ("plain", "dynamic"):
                variant = keys.family(model, preset, batch, key)
                seconds, work = result.seconds(variant), result.steps_flops("families", model, preset)
                share = result.roofline(variant, work and batch * work, result.scope.dtype)
                cells = [f"{model}, `{preset}`", str(batch), result.experiment.provider(key).label]
                cells += [_milliseconds(result, variant), _shown(seconds / plain if seconds and plain else None, 2)]
                rows.append([*cells, _percent(share), _shown(result.once([variant]), 1)])
    yield markdown(["Network", "Batch", "Provider", "ms", "of eager", "of roofline, %", "Done once, s"], rows, left=3)


def _failed(result: GpuResult, part: PartKey) -> str:
    """Errors by name, the same ones together."""
    by_error: dict[str, list[str]] = {}
    for item, error in result.failures(part):
        by_error.setdefault(error, []).append(item or "the part")
    return "\n".join(f"- Failed: {'; '.join(items)}: {_one_line(error)}" for error, items in by_error.items())


def _one_line(error: str) -> str:
    return sentence(" ".join(error.split())[:300])


def _milliseconds(result: GpuResult, variant: str) -> str:
    found = result.series(variant, keys.SECONDS)
    return _shown(1e3 * median(found.values), 1) if found else DASH


def _percent(share: float | None) -> str:
    return DASH if share is None else number(100 * share, 0)


def _shown(value: float | None, digits: int) -> str:
    return DASH if value is None else number(value, digits)
