"""The caption of a page of scores: profile, images, what was skipped, and what the groups of columns are."""

from repro.harness.cells import TIMES
from repro.harness.experiment import RELATIVE_FLOPS, TOKENS
from repro.harness.page import comparable
from repro.kinds.scores.clocked import clock_of, has_tiny_vae
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.skipped import summary

PUBLISHED_CLOCK = "The paper's are of one A100, in float16 with everything compiled and a tiny VAE."


def caption(result: ScoresResult) -> str:
    """Profile, number of images, what was skipped, and what the two groups of columns are."""
    profile, reported = result.profile, result.reported
    lines = [
        f"> **Profile `{profile.name}`.** {profile.caption}",
        f"> **here**: measured, {_images(result)}, {_seeds(result)}95 % interval in brackets.",
        summary(result),
    ]
    if reported is not None:
        lines.append(f"> **paper**: {reported.label}. {comparable(profile, reported)}")
    return "\n>\n".join(filter(None, [*lines, _compute(result), _clock(result)]))


def _seeds(result: ScoresResult) -> str:
    """Over how many training seeds the numbers of the students are means, if over several."""
    students = {row.key for row in result.rows if row.is_student}
    seeds: dict[str, set[int]] = {}
    for record in result.records.records:
        if record.prompts and record.variant in students:
            seeds.setdefault(record.variant, set()).add(record.seed)
    counts = sorted({len(found) for found in seeds.values()})
    if not counts or counts[-1] == 1:
        return ""
    shown = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return f"means over {shown} training seeds, "


def _compute(result: ScoresResult) -> str:
    """What the columns of compute are."""
    if TOKENS not in result.costs:
        return ""
    text = f"> **Compute**: image tokens {TIMES} steps"
    if RELATIVE_FLOPS not in result.costs:
        return f"{text}, those of guidance included."
    steps, guidance = result.profile.teacher.steps, result.profile.teacher.guidance_scale
    pays = f" with guidance {guidance:g} and pays twice for each" if guidance > 1 else ""
    return f"{text}, and FLOPs relative to the teacher, which takes {steps} steps{pays}."


def _clock(result: ScoresResult) -> str:
    """What the columns of time are."""
    declared, clock = result.experiment.clock, clock_of(result.experiment, result.records)
    if declared is None or clock is None:
        return ""
    batches = f"batches of {clock.batch_size}"
    if clock.batch_size != declared.batch_size:
        batches += f" (this was typed: the table declares {declared.batch_size})"
    rounds = (
        f"{clock.rounds} rounds{_one_by_one(result)}" if result.is_published else f"{clock.rounds} interleaved rounds"
    )
    elsewhere = f" {PUBLISHED_CLOCK}" if result.published_costs else ""
    return (
        f"> **Latency**: seconds of an image from text to pixels in {batches}, the geometric mean of "
        f"{rounds}; **parameters**: of the network, without text encoders and VAE.{elsewhere}"
    )


def _one_by_one(result: ScoresResult) -> str:
    """How published models are timed: each pipeline is loaded, timed and let go."""
    vae = "tiny" if has_tiny_vae(result.profile, result.records) else "full"
    return f", all of a row before those of the next, without `torch.compile` and with the {vae} VAE"


def _images(result: ScoresResult) -> str:
    """Images behind the numbers of a row: of every set, or set by set where they differ."""
    sets = result.profile.prompt_sets
    counts = {prompts.label: (result.num_images(prompts), result.num_captions(prompts)) for prompts in sets}
    if len({images for images, _ in counts.values()}) == 1 and all(images for images, _ in counts.values()):
        return f"{next(iter(counts.values()))[0]:,} images for each row and prompt set"
    if not all(images for images, _ in counts.values()):
        return _recorded_images(result)
    parts = (f"{label}: {images:,}{_repeated(images, captions)}" for label, (images, captions) in counts.items())
    return f"images for each row by prompt set ({'; '.join(parts)})"


def _repeated(images: int, captions: int) -> str:
    return "" if images == captions else f" of {captions:,} captions"


def _recorded_images(result: ScoresResult) -> str:
    keys = {column.key for column in result.profile.columns if not column.detail}
    counts = sorted({record.n for record in result.records.records if record.metric in keys and record.n})
    if not counts:
        return "no images"
    shown = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"{shown} images for each row and prompt set"
