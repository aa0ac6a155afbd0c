"""Makes the plan of a table: counts costs, looks for what is missing, and does nothing."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT
from repro.harness.needs import Need
from repro.harness.plan import network_folder, resolve, steps_of
from repro.harness.profile import Profile
from repro.harness.work_plan import Plan, RowPlan
from repro.kinds.scores.available import is_published, student_of, system_of, unavailable
from repro.kinds.scores.counts import Skeleton, network_cost, published_skeleton, row_cost, training_flops
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions
from repro.metrics import weights
from repro.stages import hub
from repro.worlds.base import World, load_world
from swd.train import as_arguments
from swd.training import DistillConfig


def planned(table: Table, rows: tuple[Row, ...], profile: Profile, options: ScoresOptions) -> Plan:
    """The plan of a table in a profile.

    Args:
        table: gives the title.
        rows: that were asked for.
        profile: with what was typed.
        options: rows, adapters, folders of images.
    """
    world = load_world(profile, ROOT)
    prompts = tuple(world.prompt_plans())
    images = sum(found.images for found in prompts)
    counted = tqdm(rows, desc="rows counted", unit="row", leave=False)
    made = tuple(_row(table, profile, row, options, images * _seeds(table, row, options)) for row in counted)
    sampled = [row for row, plan in zip(rows, made, strict=True) if not plan.skipped]
    return Plan(
        title=table.title,
        profile=f"In profile `{profile.name}`: {profile.caption}",
        command=options.command.replace(" --dry-run", ""),
        rows=made,
        prompts=prompts,
        needs=tuple(_needs(sampled, profile, options, world)),
        tflops=options.tflops,
        free_bytes=shutil.disk_usage(_existing(options.work)).free,
    )


def _seeds(table: Table, row: Row, options: ScoresOptions) -> int:
    """How often a row is sampled: a student once for each training seed, all else once."""
    is_trained = row.is_student and row.key not in options.images
    return len(table.seeds_of(row, options.seeds)) if is_trained else 1


def _row(table: Table, profile: Profile, row: Row, options: ScoresOptions, images: int) -> RowPlan:
    skipped = unavailable(profile, row, options)
    cost = model = None
    side = profile.data.resolution
    if row.key in options.images:
        model = str(options.images[row.key])
    elif row.real:
        model = "real images"
    elif not skipped and (row.system is not None or is_published(profile)):
        system = system_of(profile, row, options)
        model, side, cost = str(system.student or system.base), system.resolution, row_cost(profile, row, options)
    elif not skipped:
        skeleton = Skeleton.of_folder(ROOT / profile.weights.pipeline)
        model = network_folder(profile, row) or profile.weights.pipeline
        cost = network_cost(resolve(profile, row).sample, skeleton)
    return RowPlan(
        key=row.key,
        label=row.label,
        model=model or "",
        steps=steps_of(profile, row),
        images=images,
        flops=None if cost is None else cost.flops or cost.network_flops,
        memory_bytes=None if cost is None else cost.memory_bytes,
        side=side,
        skipped=skipped,
        encoding=profile.execution.encoding if profile.execution else "png",
        **(_training(profile, row, options) if table.is_distilled else {}),
    )


def _training(profile: Profile, row: Row, options: ScoresOptions) -> dict[str, Any]:
    """Of a student of a published model that is not given; nothing for one whose options are not those of the model."""
    if not row.is_student or not is_published(profile) or student_of(profile, row, options) is not None:
        return {}
    if row.key in options.images:
        return {}
    try:
        config = resolve(profile, row).training
    except ExperimentError:
        return {}
    plain = DistillConfig(preset=config.preset).as_json()
    different = {name: value for name, value in config.as_json().items() if value != plain[name]}
    words = as_arguments({"preset": config.preset, **different})
    return {"training": shlex.join(words), "training_flops": training_flops(config, published_skeleton(profile.name))}


def _needs(rows: list[Row], profile: Profile, options: ScoresOptions, world: World) -> Iterator[Need]:
    found: dict[str, tuple[Need, list[str]]] = {}
    for row in rows:
        if row.key in options.images or not (row.system is not None or is_published(profile)):
            continue
        system = system_of(profile, row, options)
        for source in system.sources:
            terms = weights.TERMS.get(source.repo)
            need = Need(
                name=str(source),
                why="",
                command=hub.command(source, hub.files_of(system, source)),
                terms=str(terms or (system.licence if source in (system.base, system.network) else "")),
                missing=hub.find(source, ROOT) is None,
            )
            found.setdefault(str(source), (need, []))[1].append(row.key)
    for need, keys in found.values():
        rows_text = f"rows {', '.join(keys)}" if len(keys) > 1 else f"row {keys[0]}"
        yield Need(name=need.name, why=rows_text, command=need.command, terms=need.terms, missing=need.missing)
    yield from world.needs()


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)
