"""The delete-a-group jackknife of a number of a whole set (Shao and Tu, 1995).

With theta_(g), the number without the g-th of G groups of images,

    var(theta) = (G - 1) / G sum_g (theta_(g) - mean)^2

with G - 1 degrees of freedom. Why no bootstrap: docs/decisions/fid-e.md.
"""

from collections.abc import Sequence

import numpy as np

from repro.harness.inference import of_replicates
from repro.metrics.base import Estimate, Prompt, t_quantile

GROUPS = 20


def jackknife(value: float, replicates: Sequence[float] | np.ndarray, n: int) -> Estimate:
    """A number with its 95 % interval and its replicates.

    Args:
        value: of all images.
        replicates: without each group in turn.
        n: images.

    Raises:
        ValueError: fewer than two replicates, which have no spread.
    """
    groups = len(replicates)
    if groups < 2:
        raise ValueError(f"a jackknife needs at least 2 replicates, got {groups}")
    half = t_quantile(groups - 1) * jackknife_error(replicates)
    return Estimate(value, value - half, value + half, n, replicates=tuple(map(float, replicates)))


def jackknife_error(replicates: Sequence[float] | np.ndarray) -> float:
    """Standard error from replicates, also from those of a difference."""
    found = np.asarray(replicates, dtype=np.float64)
    return of_replicates(found[:1], found[None, :], (0,), 0).spread().error


def groups_of_captions(captions: Sequence[str], groups: int = GROUPS) -> np.ndarray:
    """The group of each image, (N,): captions in a fixed random order, frequent ones first, each to the smallest group.

    Raises:
        ValueError: fewer different captions than groups.
    """
    names, counts = np.unique(np.array(captions), return_counts=True)
    if len(names) < groups:
        raise ValueError(f"{len(names)} different captions, {groups} groups need as many")
    sizes, group = np.zeros(groups, int), {}
    order = np.random.default_rng(0).permutation(len(names))
    for index in order[np.argsort(-counts[order], kind="stable")]:
        smallest = int(sizes.argmin())
        group[str(names[index])] = smallest
        sizes[smallest] += counts[index]
    return np.array([group[caption] for caption in captions])


def caption_groups(prompts: Sequence[Prompt]) -> np.ndarray | None:
    """`groups_of_captions` of prompts, (N,); None where there are too few captions, or a prompt has none."""
    captions = [str(prompt["caption"]) for prompt in prompts if "caption" in prompt]
    enough = len(captions) == len(prompts) and len(set(captions)) >= GROUPS
    return groups_of_captions(captions) if enough else None
