"""SDXL and FLUX, as `sampling` has SD3.5; diffusers has no scale-wise sampling of theirs to compare with."""

from functools import partial

from repro.gpu_parts.networks import pipeline
from repro.gpu_parts.sampling import Cases, provider_items, work_items
from repro.gpu_parts.task import Items, Lazy, Task
from repro.kinds.gpu import keys

PROVIDERS = ("plain", "dynamic")


def items(task: Task) -> Items:
    """Each family by its network as it is and by its fast copy."""
    scope = task.scope
    for model, preset in scope.families.items():
        made = Lazy(partial(pipeline, task, model))
        yield from work_items(task, "families", model, (preset,))
        for key in PROVIDERS:
            yield from provider_items(task, model, key, made, Cases(keys.family, (preset,), scope.family_batches))
        made.drop()
