"""Diversity of a prompt's images: their mean pairwise cosine distance, 1 - cos, over images of different seeds.

Distillation may cost it (a student can be right for each prompt and draw the same image every time), and neither FID
nor the scores of single images show it within a prompt. The paper does not report it, so there is no published
number: the measure is read beside the teacher's, on the same prompts and seeds. Any features serve:
Inception's, whose file FID needs anyway, are non-negative, so all their cosines are near 1; DINOv2's class token was
trained to tell images apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repro.metrics.base import Estimate, Measured, Prompt, mean_estimate


@dataclass(frozen=True, slots=True)
class PromptDiversity:
    """Mean pairwise distance of each prompt with at least two images, by prompt id, and the prompts without."""

    values: Mapping[str, float]
    alone: tuple[str, ...]


class Diversity:
    """Mean over prompts of the pairwise distance of their images, from features that a pass left.

    Args:
        key: record key.
    """

    def __init__(self, *, key: str = "diversity") -> None:
        self.key = key

    def inputs(self) -> Mapping[str, Any]:
        """What the measure follows from besides the features."""
        return {"formula": "mean pairwise 1 - cosine over seeds of a prompt"}

    def estimates(self, measured: Measured, name: str) -> dict[str, Estimate]:
        """Mean over prompts, with Student's t interval over prompts; ``n`` counts prompts.

        Raises:
            ValueError: no prompt has two images, or two images of a prompt have one seed.
        """
        found = self.by_prompt(measured, name)
        if not found.values:
            raise ValueError(f"{self.key} needs two images of a prompt, all {len(found.alone)} prompts have one")
        return {self.key: mean_estimate(np.array(list(found.values.values())))}

    def by_prompt(self, measured: Measured, name: str) -> PromptDiversity:
        """The value of each prompt; an image that was skipped leaves its prompt with fewer pairs."""
        sums, sizes = unit_sums(groups_of(measured.prompts), measured.blocks(name))
        values = {
            group: float((size**2 - total @ total) / (size * (size - 1)))
            for (group, total), size in zip(sums.items(), sizes.values(), strict=True)
            if size > 1
        }
        return PromptDiversity(values, tuple(group for group, size in sizes.items() if size == 1))


def groups_of(prompts: Sequence[Prompt]) -> list[str]:
    """The prompt that each image belongs to.

    Raises:
        ValueError: an entry has no ``prompt_id``, or two entries of one prompt have the same seed.
    """
    if missing := [index for index, prompt in enumerate(prompts) if "prompt_id" not in prompt]:
        raise ValueError(
            f"{len(missing)} images have no prompt_id, the first is {missing[0]}; it tells which share one"
        )
    drawn = [(str(prompt["prompt_id"]), int(prompt["seed"])) for prompt in prompts]
    seen: set[tuple[str, int]] = set()
    for group, seed in drawn:
        if (group, seed) in seen:
            raise ValueError(f"two images of prompt {group} have seed {seed}: they are one image, not diversity")
        seen.add((group, seed))
    return [group for group, _ in drawn]


def unit_sums(groups: Sequence[str], blocks: Iterable[np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Sum of the unit features of each group, (D,), and its size; the sum of all cosines is its square.

    Raises:
        ValueError: a feature is not finite, or zero.
    """
    sums: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    start = 0
    for block in blocks:
        lengths = np.linalg.norm(block.astype(np.float64), axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise ValueError(f"{int((~(lengths > 0) | ~np.isfinite(lengths)).sum())} features are zero or not finite")
        for group, unit in zip(groups[start : start + len(block)], block / lengths, strict=True):
            sums[group] = sums[group] + unit if group in sums else unit
            sizes[group] = sizes.get(group, 0) + 1
        start += len(block)
    return sums, sizes
