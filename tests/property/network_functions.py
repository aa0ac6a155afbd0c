"""The public functions that take networks, spectra and folders."""

import math
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from asked import HUGE, Entry, May, anything, flag, members, real, tensor, whole
from conftest import make_pipeline, make_transformer
from functions import POSITIVE, SIGMA, number, pair
from hypothesis import strategies as st
from schedule_functions import LEVELS, SCHEDULE

from swd import spectra, spectral_budget
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.cost import inference
from swd.data.build import cache_ladder, plan_cache
from swd.progressive import sample_progressive
from swd.sampler import finish_teacher, sample, sample_teacher
from swd.schedule import ScaleSchedule


@cache
def denoiser() -> SD3Denoiser:
    """Two blocks, latent sides to 32."""
    return SD3Denoiser(make_transformer())


@cache
def condition() -> TextCondition:
    """One prompt."""
    rng = torch.Generator().manual_seed(7)
    return TextCondition(torch.randn(1, 5, 32, generator=rng), torch.randn(1, 16, generator=rng))


@cache
def spectrum() -> spectra.Spectrum:
    """Of noise, 16 to a side."""
    rng = torch.Generator().manual_seed(3)
    return spectra.radial_spectrum(torch.randn(4, 2, 16, 16, generator=rng)).mean()


@cache
def pipeline() -> Any:
    """With a VAE and two text encoders."""
    return make_pipeline()


def on_network(call: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    """With the network and the condition of these tests."""
    return lambda **given: call(denoiser(), cond=condition(), **more, **given)


def finite(result: torch.Tensor, given: Mapping[str, Any]) -> None:
    """No image of numbers that are none."""
    assert result.isfinite().all(), result


def counted(result: Any, given: Mapping[str, Any]) -> None:
    """A cost above 0."""
    assert result.flops > 0, result


def choice_of(*numbers: int) -> May:
    """Whole numbers of which some are good."""
    return May(st.sampled_from(numbers), whole(1, HUGE).fits)


RANGE = members(whole(0, 2**63 - 1)).fits
SEEDS = May(
    st.sampled_from(((0, 5), [7, 2**40], np.array([3, 4]), torch.tensor([3, 4]))),
    lambda value: RANGE(value) and (hasattr(value, "send") or len(value) > 0),
)
SPECTRUM = anything(st.builds(spectrum), lambda value: isinstance(value, spectra.Spectrum))
SCHEDULED = anything(st.just(SCHEDULE), lambda value: isinstance(value, ScaleSchedule))
STEPS, SHIFT = (
    whole(1, 1000, good=2, absent=True),
    May(POSITIVE.good, real(0, math.inf, open_low=True, absent=True).fits),
)
GUIDED = {"guidance_scale": May(st.sampled_from((0, 1.0, np.float64(0.5))), real(-math.inf, 1).fits)}
SIDE = whole(2, 32)
SIDED = May(
    st.sampled_from((4, np.int64(6), (4, 8), [8, 4])),
    lambda value: SIDE.fits(value) or pair(SIDE).fits(value),
)
ENDS = May(st.sampled_from((None, (8, 8), [4, 12])), lambda value: value is None or pair(whole(2, 32)).fits(value))
NOISE = May(
    st.one_of(st.none(), tensor(2, 4, 4, 4).good), lambda value: value is None or tensor(2, 4, 4, 4).fits(value)
)
SAMPLERS = [
    Entry(
        "swd.sample",
        on_network(sample),
        {"schedule": SCHEDULED, "seeds": SEEDS, "noise": NOISE, "size": ENDS},
        finite,
        ("seed", "latent sides"),
    ),
    Entry(
        "swd.sample_teacher",
        on_network(sample_teacher, uncond=None),
        {"seeds": SEEDS, "side": SIDED, "num_steps": STEPS, "shift": SHIFT, **GUIDED},
        finite,
        ("seed", "scales", "patch size", "positions"),
    ),
    Entry(
        "swd.sampler.finish_teacher",
        on_network(finish_teacher, uncond=None),
        {
            "x_t": tensor(1, 4, 4, 4),
            "sigma": May(st.just(0.3), real(0, 1, open_low=True).fits),
            "num_steps": STEPS,
            **GUIDED,
        },
        finite,
    ),
    Entry(
        "swd.progressive.sample_progressive",
        on_network(sample_progressive, uncond=None),
        {"schedule": SCHEDULED, "seeds": SEEDS, **GUIDED},
        finite,
        ("seed",),
    ),
]
MARGIN = {"clean": SPECTRUM, "margin": POSITIVE}
RISING = May(st.sampled_from(((8, 16), [4, 12, 16])), members(whole(1, 2**16)).fits)
SPECTRA = [
    Entry("swd.spectra.radial_spectrum", spectra.radial_spectrum, {"x": tensor(2, 2, 8, 6)}),
    Entry("swd.spectra.noisy_spectrum", spectra.noisy_spectrum, {"clean": SPECTRUM, "sigma": SIGMA}),
    Entry("swd.spectra.safe_side", spectra.safe_side, {**MARGIN, "sigma": SIGMA}, number),
    Entry("swd.spectra.safe_sigma", spectra.safe_sigma, {**MARGIN, "side": real(0, 16, open_low=True)}, number),
    Entry(
        "swd.spectra.schedule_from_spectrum",
        spectra.schedule_from_spectrum,
        {**MARGIN, "sigmas": LEVELS, "multiple": choice_of(1, 2, 4), "least": whole(0, 16)},
        lambda result, given: None,
        ("patch size", "either sigmas", "sigmas must"),
        together=True,
    ),
    Entry(
        "swd.spectra.schedule_from_spectrum, of scales",
        spectra.schedule_from_spectrum,
        {**MARGIN, "scales": RISING},
        lambda result, given: None,
        ("either sigmas", "sigmas must"),
        together=True,
    ),
    Entry("swd.spectra.fit_power_law", spectra.fit_power_law, {"clean": SPECTRUM}),
    Entry("swd.spectra.least_octave_fall", spectra.least_octave_fall, {"clean": SPECTRUM}, number),
    Entry(
        "swd.spectral_budget.fill_budget",
        spectral_budget.fill_budget,
        {"clean": SPECTRUM, "sigmas": LEVELS, "num_tokens": whole(200, HUGE), "multiple": choice_of(1, 2)},
        together=True,
        words=("tokens", "patch size", "one scale"),
    ),
]
BATCH, TEXT = whole(1, 2**20), whole(1, 2**20, absent=True)
COSTS = [
    Entry(
        "swd.cost.forward_cost",
        lambda **given: inference.forward_cost(denoiser(), **given),
        {"side": SIDED, "batch": BATCH, "text_tokens": TEXT},
        counted,
        ("scales", "patch size"),
    ),
    Entry(
        "swd.cost.schedule_cost",
        lambda **given: inference.schedule_cost(denoiser(), **given),
        {"schedule": SCHEDULED, "batch": BATCH, "text_tokens": TEXT, "guidance": flag()},
        counted,
    ),
    Entry(
        "swd.cost.text_cost",
        lambda **given: inference.text_cost(pipeline().text_encoder, **given),
        {"tokens": whole(1, 12), "batch": BATCH},
        counted,
    ),
    Entry(
        "swd.cost.prompt_cost",
        lambda **given: inference.prompt_cost(pipeline(), **given),
        {"token_length": whole(0, 2**20), "batch": BATCH},
        counted,
    ),
    Entry(
        "swd.cost.decode_cost",
        lambda **given: inference.decode_cost(pipeline().vae, **given),
        {"side": whole(1, 2**16), "batch": BATCH},
        counted,
    ),
    Entry(
        "swd.cost.encode_cost",
        lambda **given: inference.encode_cost(pipeline().vae, **given),
        {"side": whole(1, 2**16), "batch": BATCH},
        counted,
    ),
]


def planned(**given: Any) -> Any:
    """A plan of a cache in a folder that nothing is written to."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_cache(pipeline=pipeline(), folder=Path(folder), **given)
        assert not list(Path(folder).iterdir())
    return plan


def as_planned(result: Any, given: Mapping[str, Any]) -> None:
    """The index says what was asked for."""
    index = result.index
    assert index.count == len(given["captions"])
    assert (index.shard_size, index.moments, index.online) == (given["shard_size"], given["moments"], given["online"])
    assert set(index.scales) == {int(side) for side in given["scales"]}


def empty(value: Any) -> bool:
    """No schedules at all, whose ladder is empty."""
    return hasattr(value, "__iter__") and not list(value)


CAPTIONS = May(
    st.sampled_from((["a red star"], ["a star", "two circles"], ("a cross",))),
    lambda value: isinstance(value, list | tuple) and all(isinstance(text, str) and text for text in value) and value,
)
CACHES = [
    Entry(
        "swd.data.plan_cache",
        planned,
        {
            "captions": CAPTIONS,
            "scales": May(st.sampled_from(((4, 8), [8], (4, 4, 6))), members(whole(2, 32)).fits),
            "dtype": anything(st.sampled_from((torch.float32, torch.bfloat16)), lambda value: False),
            "moments": flag(),
            "online": flag(),
            "truncate": flag(),
            "batch_size": whole(1, HUGE),
            "shard_size": whole(1, HUGE),
            "max_sequence_length": whole(0, 512, absent=True),
            "source": anything(st.sampled_from(("", "seed 3")), lambda value: isinstance(value, str)),
        },
        as_planned,
        ("caption", "scale"),
    ),
    Entry(
        "swd.data.cache_ladder",
        cache_ladder,
        {"schedules": May(st.sampled_from(([(4, 8), (8, 8)], ((16,),))), empty)},
        words=("schedule", "scale"),
    ),
]
