"""From what a pass measured of a row to lines of the records, and the reasons where nothing was measured."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro.harness.effects import without_group
from repro.harness.experiment import PromptSet
from repro.harness.profile import Profile
from repro.harness.schema import CAPTIONS, Line, PerImage, Record, Run, Series
from repro.kinds.scores.declare import SKIPPED
from repro.metrics import EvaluationResult
from repro.metrics.base import reasons

NO_IMAGES = "Its folder has no images of these prompts."


def caption_lines(captions: Mapping[str, Sequence[str]]) -> Iterator[PerImage]:
    """Which images share a caption, by prompt set: claims draw captions, not images."""
    for key, of_images in captions.items():
        number = {caption: float(index) for index, caption in enumerate(dict.fromkeys(of_images))}
        values = [number[caption] for caption in of_images]
        yield PerImage.of(values, variant=CAPTIONS, prompts=key, metric=CAPTIONS, seed=0)


def score_records(
    run: Run, key: str, prompt_set: str, seed: int, result: EvaluationResult, *, left_out: Container[str] = ()
) -> Iterator[Line]:
    """Estimates with their replicates, values per image, and how many images were skipped, of one row and set.

    Args:
        run: that measured.
        key: of the row.
        prompt_set: of its images.
        seed: of its training.
        result: what was measured.
        left_out: metrics that are not recorded.
    """
    for metric, found in result.values.items():
        if metric in left_out:
            continue
        bounds = (found.ci_low, found.ci_high)
        made = Record.of(run, key, metric, found.value, prompts=prompt_set, seed=seed, n=found.n, bounds=bounds)
        yield replace(made, note=found.note, value=None if math.isnan(found.value) else found.value)
        if found.replicates:
            name = without_group(metric, prompt_set, seed)
            yield Series.of(key, name, found.replicates, over="replicate", n=found.n)
    for metric, values in result.per_image.items():
        if metric in left_out:
            continue
        yield PerImage.of(values, variant=key, prompts=prompt_set, metric=metric, seed=seed)
    if result.skipped:
        count = Record.of(run, key, SKIPPED, float(len(result.skipped)), prompts=prompt_set, seed=seed, unit="images")
        yield replace(count, note=reasons(result.skipped))


def left_out_records(
    run: Run, profile: Profile, key: str, reason: str, sets: Sequence[PromptSet], *, seed: int = 0
) -> Iterator[Record]:
    """The reason in place of every number of a row in those sets."""
    for prompts in sets:
        for column in profile.columns:
            if column.is_of(prompts.key) and not column.detail:
                empty = Record.of(run, key, column.key, 0.0, prompts=prompts.key, seed=seed, n=0)
                yield replace(empty, value=None, note=reason)


def metrics_of(results: Iterable[tuple[str, EvaluationResult]]) -> dict[str, dict[str, Any]]:
    """What values follow from, by prompt set and metric, as far as it is the same for all rows.

    Args:
        results: prompt set and what one pass measured.
    """
    found: dict[str, dict[str, Any]] = {}
    for prompt_set, result in results:
        of_set = found.setdefault(prompt_set, {})
        for key, inputs in result.inputs.items():
            of_set[key] = {name: value for name, value in of_set.get(key, inputs).items() if inputs.get(name) == value}
    return found
