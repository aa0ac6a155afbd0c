"""What measuring a table would do, before anything is done: models, images, GPU-hours, disk, and what is missing.

GPU-hours are FLOPs over the speed of a GPU that the command line names; the default is what an A100 reaches in half
precision without compilation. Metrics, and reading and writing, come on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.harness.cells import DASH, markdown, number
from repro.harness.needs import BYTES_PER_PIXEL, Need, PromptPlan
from repro.harness.page import joined
from repro.harness.profile import Encoding

GIB, TERA = 2**30, 1e12
GPUS = 8  # that a distillation is planned for
TRAIN = "accelerate launch --multi_gpu --num_processes {gpus} -m swd.train --pipeline PATH --data CACHE --output DIR"
UNKNOWN = "not recorded here: see the page of the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """One row.

    Args:
        key: on the command line.
        label: in the table.
        model: what is sampled.
        steps: network evaluations of an image; None for images of others.
        images: over all prompt sets and seeds; those that are there already are not counted off.
        flops: of one image; None where nothing is sampled.
        memory_bytes: of a GPU.
        side: of an image in pixels.
        skipped: why it will not be measured; empty if it will.
        encoding: of the image files.
        training: options of `python -m swd.train` for a student that is to be trained first; empty for what is there.
        training_flops: of that.
    """

    key: str
    label: str
    model: str
    steps: int | None
    images: int
    flops: int | None
    memory_bytes: int | None
    side: int
    skipped: str = ""
    encoding: Encoding = "png"
    training: str = ""
    training_flops: int = 0

    def gpu_hours(self, tflops: float) -> float:
        """At so many TFLOP/s."""
        return (self.flops or 0) * self.images / (tflops * TERA) / 3600

    @property
    def disk_bytes(self) -> float:
        """Of its images."""
        return 0.0 if self.flops is None else self.images * self.side**2 * BYTES_PER_PIXEL[self.encoding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it.

    Args:
        title: of the table.
        profile: in which it is measured, as a sentence.
        command: that does it.
        rows: in table order.
        prompts: every set of prompts.
        needs: what has to be on this machine.
        tflops: speed of a GPU.
        free_bytes: on the disk that takes the images.
    """

    title: str
    profile: str
    command: str
    rows: Sequence[RowPlan]
    prompts: Sequence[PromptPlan]
    needs: Sequence[Need]
    tflops: float
    free_bytes: int

    @property
    def measured(self) -> list[RowPlan]:
        """Rows that will be."""
        return [row for row in self.rows if not row.skipped]


def text(plan: Plan) -> str:
    """The plan as Markdown."""
    return joined(
        [
            f"# Plan: {plan.title}",
            f"{plan.profile} Nothing was done; this does it: `{plan.command}`",
            _summary(plan),
            "## Rows",
            _rows(plan),
            *_students(plan),
            "## Prompts",
            _prompts(plan.prompts),
            "## Weights and data",
            needs_text(plan.needs),
        ]
    )


def _summary(plan: Plan) -> str:
    hours = sum(row.gpu_hours(plan.tflops) for row in plan.measured)
    disk = sum(row.disk_bytes for row in plan.measured)
    memory = max((row.memory_bytes or 0 for row in plan.measured), default=0)
    lines = [
        f"- **Work**: {sum(row.images for row in plan.measured):,} images, {number(hours, 1)} GPU-hours of sampling at "
        f"{plan.tflops:g} TFLOP/s (`--tflops`); metrics come on top. Any number of processes share it: start the "
        "command once for each GPU.",
        f"- **Memory**: up to {number(memory / GIB, 1)} GiB on a GPU at this batch size (`--batch-size`).",
        f"- **Disk**: about {number(disk / GIB, 0)} GiB of images, {number(plan.free_bytes / GIB, 0)} GiB are free"
        + (": **too little**." if disk > plan.free_bytes else "."),
        missing_text(plan.needs),
    ]
    return "\n".join(lines)


def missing_text(needs: Sequence[Need]) -> str:
    """How much is missing, as a line of a list."""
    names = {need.name for need in needs if need.missing}
    what = "file or model" if len(names) == 1 else "files and models"
    return f"- **Missing**: {f'{len(names)} {what}, listed below' if names else 'nothing'}."


def _rows(plan: Plan) -> str:
    heads = ("Row", "Setup", "Model", "Steps", "TFLOP an image", "Images", "GPU-hours", "Memory, GiB", "Disk, GiB")
    lines, notes = [], []
    for row in plan.rows:
        if row.skipped:
            notes.append(f"- `{row.key}` is left out: {row.skipped}")
            continue
        lines.append(
            [
                f"`{row.key}`",
                row.label,
                row.model,
                DASH if row.steps is None else str(row.steps),
                DASH if row.flops is None else number(row.flops / TERA, 1),
                f"{row.images:,}",
                DASH if row.flops is None else number(row.gpu_hours(plan.tflops), 1),
                DASH if row.memory_bytes is None else number(row.memory_bytes / GIB, 1),
                number(row.disk_bytes / GIB, 0),
            ]
        )
    return "\n\n".join(part for part in (markdown(heads, lines, left=3), "\n".join(notes)) if part)


def _students(plan: Plan) -> list[str]:
    """Students that nobody gave: how to train each, and how long it takes."""
    rows = [row for row in plan.rows if row.training]
    if not rows:
        return []
    hours = {row.key: row.training_flops / (plan.tflops * TERA) / 3600 for row in rows}
    total = sum(hours.values())
    lines = [
        [f"`{row.key}`", row.label, f"`{row.training}`", number(hours[row.key], 1), number(hours[row.key] / GPUS, 1)]
        for row in rows
    ]
    count = "a student" if len(rows) == 1 else f"{len(rows)} students"
    text = (
        f"{count[0].upper()}{count[1:]} to be trained first, one training seed each: {number(total, 0)} GPU-hours, "
        f"**{number(total / GPUS, 1)} hours on {GPUS} GPUs** at {plan.tflops:g} TFLOP/s (`--tflops`). It is "
        f"`{TRAIN.format(gpus=GPUS)}` with the options of the row; the result is named with `--adapters ROW=DIR`."
    )
    return ["## Students to train", text, markdown(("Row", "Setup", "Options", "GPU-hours", "Hours"), lines, left=3)]


def _prompts(prompts: Sequence[PromptPlan]) -> str:
    lines = [(found.key, f"{found.images:,}", found.source, found.reference) for found in prompts]
    return markdown(("Set", "Images a row", "Read from", "Compared with"), lines)


def _merged(needs: Sequence[Need]) -> list[Need]:
    """One line for what several need."""
    found: dict[str, Need] = {}
    for need in needs:
        known = found.setdefault(need.name, need)
        if known is not need:
            why, terms, missing = f"{known.why}; {need.why}", known.terms or need.terms, known.missing or need.missing
            found[need.name] = replace(known, why=why, terms=terms, missing=missing)
    return list(found.values())


def needs_text(needs: Sequence[Need]) -> str:
    """What is missing, with its terms and the commands that get it, and what is there."""
    needs = _merged(needs)
    there = [need for need in needs if not need.missing]
    blocks = []
    if missing := [need for need in needs if need.missing]:
        commands = "\n".join(dict.fromkeys(need.command for need in missing))
        table = [(need.name, need.why, need.terms or UNKNOWN) for need in missing]
        blocks += ["Missing:", markdown(("What", "For", "Terms"), table, left=3), f"```sh\n{commands}\n```"]
    if there:
        blocks.append("On this machine: " + ", ".join(dict.fromkeys(need.name for need in there)) + ".")
    return "\n\n".join(blocks)
