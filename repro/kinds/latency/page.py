"""The page of Table 3: measured times beside the paper's and beside what the FLOPs allow."""

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import gmean

from repro.harness.cells import DASH, Footnotes, markdown, number
from repro.harness.claim_words import RULE, claims_tables
from repro.harness.page import footer, joined
from repro.harness.plan import resolve
from repro.harness.published import published
from repro.harness.schema import Series
from repro.kinds.latency import keys
from repro.kinds.latency.declare import AUTOENCODERS, LOSSES, TimedRow
from repro.kinds.latency.figure import PICTURE
from repro.kinds.latency.result import LatencyResult

DIFFERENCE = """\
Difference: the ratio of two times, the geometric mean of the ratios within a round, minus the ratio that the claim
asks for, with the 95 % interval of Student's t of the logarithms over rounds. That ratio is a bound, so a claim is
one of *not worse* than it, reproduced, not reproduced or not decided; its margin, in units of the ratio, is 0 but for
"approaches" and "about half", which allow a tenth of it. What the FLOPs allow is no part of the test: it stands beside
each claim."""
LOSS_LABELS = ("full loss", "PDM only")  # of LOSSES, in order
LEGEND = (
    "Left: where the time of one image goes; a bar in outline is what the FLOPs of the row make of the time of "
    "full-scale at 2 steps. Right: seconds of one step against its side, the first step left out (it draws the noise); "
    "lines: the time of the full side, scaled by FLOPs."
)
_TOKENS_UNSAID = 333  # of records that do not say it: 256 tokens of T5


def page(result: LatencyResult, folder: Path) -> str:
    """The Markdown page. The figure is linked if it is in ``folder``; all else comes from the records."""
    name = f"figures/{result.stem}_{PICTURE}.png"
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        _caption(result),
        *(block for batch in result.batch_sizes for block in _images(result, batch)),
        *_training(result),
        "## Claims",
        *claims_tables(result.judgements, ("Verdict", "Claim", "Source", "Difference", "Margin", "p", "Rounds")),
        DIFFERENCE,
        RULE,
        *_published(result),
        f"## Figure\n\n![Times]({name})\n\n*{LEGEND}*" if (folder / name).exists() else "",
        *result.experiment.notes,
        *footer(result),
    ]
    return joined(blocks)


def _caption(result: LatencyResult) -> str:
    protocol, run = result.protocol, result.records.runs[0]
    length = "the pipeline's own" if protocol["text_length"] is None else protocol["text_length"]
    text = f"T5 length {length}" if protocol.get("t5", True) else "no T5"  # records may be older than the option
    vae = {"full": "its VAE", "tiny": "a tiny VAE", "none": "no decoding"}[protocol["vae"]]
    weights = f"weights of {run.config['weights']}" if run.config.get("weights") else "trained weights"
    if run.config["random_weights"]:
        weights = "random weights, which no clock can tell from trained ones"
    peak = result.value(keys.DEVICE, keys.MATMUL_FLOPS) or 0.0
    products = ", products in float32" if protocol.get("float32_products") else ""
    lines = [
        f"> **Profile `{result.profile.name}`.** {result.profile.caption}",
        f"> **here**: {run.device}, {run.dtype}{products}, {weights}, {vae}, {text}, "
        f"{'fast' if protocol['fast'] else 'plain'} sampling path, torch.compile "
        f"{'on' if protocol['compile'] else 'off'}; median of {protocol['rounds']} interleaved rounds, quartiles in "
        f"brackets; speed-ups are geometric means of ratios within a round. Fastest matrix product: {peak / 1e12:.3g} "
        "TFLOP/s.",
        f"> **paper**: {_paper_model(result)}, one A100, float16, torch.compile, tiny VAE, batch size 8, mean of 100 "
        "runs; text encoding and decoding included. Another device: compare ratios, not seconds.",
    ]
    return "\n>\n".join(lines)


def _paper_model(result: LatencyResult) -> str:
    return result.experiment.models.get(result.profile.name, "SD3.5 Medium")


def _images(result: LatencyResult, batch: int) -> list[str]:
    heads = ["Setup", "Steps", "s (v1)", "s (v2)", "ms an image (here)", "Speed-up", "Ideal", "Share, %"]
    heads += ["TFLOP/s", "of peak, %", "Peak memory, GiB"]
    notes, rows = Footnotes(), []
    peak = result.value(keys.DEVICE, keys.MATMUL_FLOPS)
    for timed in result.experiment.rows:
        cells = [timed.row.label, str(resolve(result.profile, timed.row).sample.steps)]
        cells += [_paper_time(result, timed, source, "latency_s_per_image", notes) for source in ("v1", "v2")]
        seconds = result.series(timed.key, keys.seconds(batch))
        if seconds is None:
            rows.append([*cells, notes.dash(result.note(timed.key, keys.seconds(batch))), *[""] * 6])
            continue
        rate = result.flops(timed.key, batch) / median(seconds.values)
        memory = result.value(timed.key, keys.peak_bytes(batch)) or 0.0
        cells += [_quartiles(seconds, 1000), *_speedup(result, timed, batch)]
        cells += [number(rate / 1e12, 3), number(100 * rate / peak, 0) if peak else DASH, number(memory / 2**30, 2)]
        rows.append(cells)
    heading = f"## Time of an image, batch size {batch}"
    return [heading, markdown(heads, rows), notes.text()]


def _speedup(result: LatencyResult, timed: TimedRow, batch: int) -> list[str]:
    """Over full-scale at the same steps: measured, ideal, and the share reached."""
    ratios = result.ratios(timed.baseline, timed.key, batch) if timed.baseline else None
    if ratios is None:
        return ["", "", ""]
    measured = float(gmean(ratios))
    ideal = result.ideal(timed.baseline, timed.key, batch) or math.nan
    return [number(measured, 2), number(ideal, 2), number(100 * measured / ideal, 0)]


def _quartiles(seconds: Series, factor: float) -> str:
    low, middle, high = (factor * float(q) for q in np.quantile(seconds.values, (0.25, 0.5, 0.75)))
    digits = max(0, 2 - math.floor(math.log10(middle)))
    return f"{number(middle, digits)} [{number(low, digits)}, {number(high, digits)}]"


def _paper_time(result: LatencyResult, timed: TimedRow, source: str, column: str, notes: Footnotes) -> str:
    wanted = {"source": source, "model": _paper_model(result), **(timed.row.reported or {"setup": DASH})}
    for line in published(result.experiment.times):
        if all(line[key] == cell for key, cell in wanted.items()) and line[column]:
            return line[column]
    return notes.dash("Not published.")


def _training(result: LatencyResult) -> list[str]:
    if not result.protocol["train_rounds"]:
        return ["## Time of a training iteration", "Not measured in this run."]
    heads = ["Setup", "Steps", "s (v1)", "s (v2)", "MMD only, s (v2)"]
    for label in LOSS_LABELS:
        heads += [f"{label}, s (here)", "Speed-up", "Ideal", "Share, %"]
    notes, rows = Footnotes(), []
    for timed in result.experiment.rows:
        if timed.row.is_teacher:
            continue
        cells = [timed.row.label, str(resolve(result.profile, timed.row).sample.steps)]
        cells += [_paper_time(result, timed, source, "train_s_per_iter", notes) for source in ("v1", "v2")]
        cells.append(_paper_mmd(result, timed, notes))
        for loss in LOSSES:
            cells += _train_cells(result, timed, loss, notes)
        rows.append(cells)
    return ["## Time of a training iteration", markdown(heads, rows), notes.text(), *_how_trained(result)]


def _how_trained(result: LatencyResult) -> list[str]:
    protocol = result.protocol
    batch = protocol.get("train_batch") or result.records.runs[0].config["distil"]["distil"]["batch_size"]
    steps = protocol.get("train_steps")  # records may be older than the option
    cycle = "a cycle of the schedule" if steps is None else f"the first {steps} steps of the schedule"
    text = (
        f"Batch of {batch}, mean over {cycle}, lowest and highest of the rounds in brackets. The "
        "speed-up is over full-scale at the same steps."
    )
    peaks = [
        f"{timed.row.label} {resolve(result.profile, timed.row).sample.steps} ({label}) {number(peak / 2**30, 2)} GiB"
        for timed in result.experiment.rows
        for loss, label in zip(LOSSES, LOSS_LABELS, strict=True)
        if (peak := result.value(timed.key, keys.train_peak_bytes(loss))) is not None
    ]
    return [text, f"Peak memory in training: {', '.join(peaks)}."] if peaks else [text]


def _train_cells(result: LatencyResult, timed: TimedRow, loss: str, notes: Footnotes) -> list[str]:
    seconds = result.series(timed.key, keys.train_seconds(loss))
    if seconds is None:
        return [notes.dash(result.note(timed.key, keys.train_seconds(loss))), "", "", ""]
    shown = f"{number(median(seconds.values), 2)} [{number(min(seconds.values), 2)}, {number(max(seconds.values), 2)}]"
    slow = result.series(timed.baseline, keys.train_seconds(loss)) if timed.baseline else None
    if slow is None:
        return [shown, "", "", ""]
    measured = float(gmean(np.array(slow.values) / np.array(seconds.values)))
    flops = [result.value(key, keys.train_flops(loss)) or math.nan for key in (timed.baseline, timed.key)]
    ideal = flops[0] / flops[1]
    return [shown, number(measured, 2), number(ideal, 2), number(100 * measured / ideal, 0)]


def _paper_mmd(result: LatencyResult, timed: TimedRow, notes: Footnotes) -> str:
    wanted = {"model": _paper_model(result), **(timed.row.reported or {})}
    for line in published(result.experiment.train_times):
        if all(line[key] == cell for key, cell in wanted.items()):
            return line["train_s_per_iter"]
    return notes.dash("Not published.")


def _published(result: LatencyResult) -> list[str]:
    """What the arithmetic says of the published times."""
    heads = ["Model", "Steps", "Published speed-up (v1)", "(v2)"]
    heads += ["Ideal, transformer alone", "with text and tiny VAE", "with text and full VAE"]
    rows, remarks = [], []
    tokens = result.value(keys.DEVICE, keys.TEXT_TOKENS) or _TOKENS_UNSAID
    for key, model in result.experiment.models.items():
        times = {(line["source"], line["setup"], line["steps"]): line for line in _times(result, model)}
        for steps in ("6", "4"):
            cells = [model, steps]
            for source in ("v1", "v2"):
                pair = [times.get((source, setup, steps)) for setup in ("Full-scale", "Scale-wise")]
                seconds = [float(line["latency_s_per_image"]) for line in pair if line]
                cells.append(number(seconds[0] / seconds[1], 2) if len(seconds) == 2 else DASH)
            ideals = [result.value(key, keys.ideal(int(steps), vae)) for vae in reversed(AUTOENCODERS)]
            rows.append(cells + [number(ideal, 2) if ideal else DASH for ideal in ideals])
        remarks.append(_teacher_remark(model, times))
    text = (
        f"An image of SD3.5 at 1024 px with {tokens:.0f} text tokens, by FLOPs. A published ratio above the ideal one "
        "says that the two rows did not reach the same share of the device: smaller batches of work were done more "
        "efficiently, or the rows were not timed alike."
    )
    return ["## What the arithmetic says of the published times", text, markdown(heads, rows), *remarks]


def _times(result: LatencyResult, model: str) -> list[Mapping[str, str]]:
    return [
        line for line in published(result.experiment.times) if line["model"] == model and line["latency_s_per_image"]
    ]


def _teacher_remark(model: str, times: Mapping[tuple[str, str, str], Mapping[str, str]]) -> str:
    six, two, teacher = (
        float(times[key]["latency_s_per_image"])
        for key in (("v1", "Full-scale", "6"), ("v1", "Full-scale", "2"), ("v1", "Teacher", "28"))
    )
    step = (six - two) / 4
    return (
        f"{model}: four more full-scale steps cost {six - two:.2f} s in v1, {step:.4f} s each; 28 of them make "
        f"{28 * step:.2f} s, and with guidance {56 * step:.2f} s. The published teacher takes {teacher:.2f} s, so it "
        f"was timed {'without' if abs(teacher - 28 * step) < abs(teacher - 56 * step) else 'with'} guidance."
    )
