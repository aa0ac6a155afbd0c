"""Seconds of an image of several rows, in interleaved rounds: what Table 3 and tables of scores with a clock share."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from tqdm import tqdm

from repro.harness.files import write_atomic
from repro.harness.sampling import SamplingPlan
from repro.stages.sampling import draw
from repro.stages.store import StageStore
from repro.stages.timing import Clock, is_out_of_memory

STAGE, VERSION = "row-times", 1


@torch.no_grad()
def image_spans(
    plan: SamplingPlan,
    pipeline: Any,
    captions: Sequence[str],
    *,
    device: torch.device,
    text_length: int,
    decode: bool = True,
) -> list[float]:
    """One batch from text to pixels, every prompt encoded anew.

    A student is timed as it is deployed: an adapter that is merged costs nothing, so the base network runs.

    Args:
        plan: the steps of an image.
        pipeline: scale-wise pipeline of the base network.
        captions: of the batch, one image each.
        device: where it is.
        text_length: tokens of the text encoder whose length can be chosen.
        decode: whether latents become pixels.

    Returns:
        Seconds of the whole batch: of text, of each student step or of all teacher steps, and of decoding.
    """
    clock, how = Clock(device), {"max_sequence_length": text_length, "device": device}
    denoiser = pipeline.denoiser()
    side = int(denoiser.network.config.sample_size)
    clock.mark()
    cond = pipeline.encode_condition(captions, truncate=True, **how)
    uncond = pipeline.encode_uncond(**how) if plan.is_guided else None
    clock.mark()
    seeds = range(len(captions))
    x0 = draw(plan, denoiser, cond, uncond, seeds, side=side, on_step=lambda step, x_t, x0: clock.mark())
    if plan.schedule is None:
        clock.mark()
    if decode:
        pipeline.decode(x0, output_type="pt")
    clock.mark()
    return clock.spans()


def interleaved(
    calls: Mapping[str, Callable[[], float]], *, rounds: int, warmup: int, label: str = "rounds"
) -> dict[str, list[float]]:
    """What each call gives, round after round, so that a machine that drifts harms all rows alike.

    A call that the device has no memory for gives nothing, and is not made again.

    Args:
        calls: row -> a call that says its seconds.
        rounds: calls of every row that count.
        warmup: calls of every row before them.
        label: for the progress bar.
    """
    found: dict[str, list[float]] = {key: [] for key in calls}
    fitting = dict(calls)
    for number in tqdm(range(-warmup, rounds), desc=label, leave=False):
        for key, call in list(fitting.items()):
            if (seconds := _unless_out_of_memory(call)) is None:
                del fitting[key]
                found[key] = []
            elif number >= 0:
                found[key].append(seconds)
    return found


def _unless_out_of_memory(call: Callable[[], float]) -> float | None:
    try:
        return call()
    except (RuntimeError, MemoryError) as error:  # torch's out-of-memory errors are RuntimeErrors
        if not is_out_of_memory(error):
            raise
    clear_device_cache(garbage_collection=True)  # here nothing holds the frames of the call any more
    return None


def row_times(
    store: StageStore, inputs: Mapping[str, Any], measure: Callable[[], dict[str, list[float]]]
) -> dict[str, list[float]]:
    """Times that were measured once stand: a clock never gives the same number twice, and records must.

    Where memory was short for a row, nothing stands: another time it may not be.

    Args:
        store: where finished stages are.
        inputs: all that the times follow from, the device among it.
        measure: `interleaved`; only called when they are missing. A row without seconds did not fit in memory.
    """
    inputs = {"version": VERSION, **inputs}
    path = store.folder(STAGE, inputs) / "seconds.json"
    if store.done(STAGE, inputs) and path.exists():
        kept: dict[str, list[float]] = json.loads(path.read_text())
        return kept
    found = measure()
    if all(found.values()):
        write_atomic(path, json.dumps(found))
        store.finish(STAGE, inputs, files=(path.name,))
    return found
