"""Which rows of a table can be measured, and why the others cannot: known before any work, and without torch."""

from dataclasses import replace
from pathlib import Path

from repro.harness.experiment import ExperimentError, Row
from repro.harness.plan import pixels_of, resolve, side_of
from repro.harness.profile import Profile
from repro.harness.systems import HubFile, System
from repro.kinds.scores.options import ScoresOptions


def is_published(profile: Profile) -> bool:
    """Whether models and metrics are other people's, sampled through their pipelines; else all ships."""
    return bool(profile.scorers)


def unavailable(profile: Profile, row: Row, options: ScoresOptions) -> str:
    """Why a row cannot be measured; empty if it can."""
    if row.key in options.images:
        return ""
    if row.images:
        return f"sample it elsewhere and name the folder of its images: --images {row.key}=DIR (docs/data.md)."
    if row.system is not None or row.is_teacher or row.real:
        return ""
    try:
        resolve(profile, row)
    except ExperimentError as error:
        return f"{error}."
    if not is_published(profile) or options.retrain or student_of(profile, row, options) is not None:
        return ""
    schedule = f"{profile.presets}-{(row.train or {})['schedule']}"
    return (
        f"no such student was released for {profile.title}; train one (`python -m swd.train`, preset {schedule}) and "
        f"name its folder: --adapters {row.key}=DIR."
    )


def system_of(profile: Profile, row: Row, options: ScoresOptions) -> System:
    """What is sampled for a row of a published profile, as a system.

    Raises:
        ExperimentError: the row has no student.
    """
    if row.system is not None:
        return _as_typed(row.system, profile)
    plan, base = resolve(profile, row).sample, profile.weights.base
    resolution = pixels_of(profile, row) if row.share < 1 else profile.data.resolution
    if row.is_teacher:
        teacher = profile.teacher
        guidance = plan.guidance_scale if teacher.embedded_guidance is None else teacher.embedded_guidance
        return System(
            base=base,
            steps=plan.steps,
            guidance_scale=guidance,
            resolution=resolution,
            architecture=profile.name,
        )
    student = student_of(profile, row, options)
    if student is None:
        raise ExperimentError(f"row {row.key}: {unavailable(profile, row, options)}")
    other = {"schedule": f"{profile.presets}-{row.sample['schedule']}"} if "schedule" in row.sample else {}
    made = System(
        base=base,
        steps=plan.steps,
        resolution=resolution,
        student=student,
        until=side_of(profile, row) if row.share < 1 else None,
        architecture=profile.name,
        call=other,  # of another schedule than its card's
    )
    return made.pinned(profile.weights.revisions)


def _as_typed(system: System, profile: Profile) -> System:
    """A declared system on the base model and at the revisions that the command line names."""
    weights = profile.weights
    if system.base.repo == (weights.published or weights.pipeline):
        system = replace(system, base=weights.base)
        if weights.published and not _has_variant(weights.pipeline, system.variant):
            system = replace(system, variant=None)
    return system.pinned(weights.revisions)


def _has_variant(pipeline: str, variant: str | None) -> bool:
    """Whether a folder holds weights of that variant; of a name on the Hub it is not known, and so not asked for."""
    return any(Path(pipeline).glob(f"*/*.{variant}*.safetensors"))


def student_of(profile: Profile, row: Row, options: ScoresOptions) -> HubFile | None:
    """The student of a row of a published profile, given or released; None where there is none."""
    if row.key in options.adapters:
        return HubFile(str(options.adapters[row.key]))
    return profile.weights.released.get(row.variant)
