"""The public functions of the library that take numbers and tensors, one line each or few."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from asked import HUGE, Entry, May, choice, flag, members, real, tensor, whole
from hypothesis import strategies as st
from torch import Tensor

from swd import growth, resize
from swd.flow import FlowMatching, VariancePreserving, guide, signal_and_noise
from swd.kernels import rbf
from swd.losses import consistency, dmd, gan, patch
from swd.schedule import UpscaleMode

B, N, D, SIDE = 2, 3, 4, 4
MAPS, TOKENS, LOGITS = (B, 2, SIDE, SIDE), (B, N, D), (B,)
Same = Callable[[Any, Mapping[str, Any]], None]


def shaped(*shape: int | str, carries: str = "") -> Same:
    """A finite result of a shape (texts are arguments whose length counts), with a gradient where one is carried.

    Without a shape it is a scalar; of a pooled batch it is (1,).
    """

    def check(result: Any, given: Mapping[str, Any]) -> None:
        tensors = [value for value in given.values() if isinstance(value, Tensor)]
        sizes = (1,) if given.get("pool_batch") else shape
        expected = tuple(len(given[part]) if isinstance(part, str) else part for part in sizes)
        if all(value.isfinite().all() for value in tensors):
            usual = given[carries or next(name for name, v in given.items() if isinstance(v, Tensor))].ndim in (1, 3, 4)
            assert not usual or tuple(result.shape) == expected, (tuple(result.shape), expected)
        if not all(value.isfinite().all() for value in tensors):
            return  # NaN goes through, or was refused: it is never hidden by anything but a shape
        assert result.isfinite().all(), result
        if carries and given[carries].requires_grad:
            (found,) = torch.autograd.grad(result.sum(), given[carries], allow_unused=True)
            assert found is not None, carries
            assert found.isfinite().all(), found

    return check


def like(name: str) -> Same:
    """A result of the shape of an argument, finite where that is."""

    def check(result: Any, given: Mapping[str, Any]) -> None:
        assert result.shape == given[name].shape, (result.shape, given[name].shape)
        assert result.isfinite().all() or not all(v.isfinite().all() for v in given.values() if isinstance(v, Tensor))

    return check


def sized(result: Any, given: Mapping[str, Any]) -> None:
    if hasattr(given["size"], "send"):
        return  # read through by now
    assert tuple(result.shape[-2:]) == tuple(int(side) for side in given["size"]), result.shape


def number(result: Any, given: Mapping[str, Any]) -> None:
    assert math.isfinite(result), result


def all_finite(result: Any, given: Mapping[str, Any]) -> None:
    assert all(math.isfinite(value) for value in result), result


SIGMA, OPEN = real(0, 1), real(1e-6, 1, open_low=True)
HUBER = May(real(1e-3, 10.0).good, real(0, math.inf, open_low=True).fits)
POSITIVE = HUBER
LEVELS = May(SIGMA.good, lambda value: SIGMA.fits(value) or (isinstance(value, Tensor) and value.is_floating_point()))
NOISY = May(real(0.01, 1).good, lambda value: LEVELS.fits(value) and (isinstance(value, Tensor) or float(value) > 0))


def pair(side: May) -> May:
    """Height and width."""
    both = members(side, 2, 2)
    return May(both.good, lambda value: both.fits(value) and (hasattr(value, "send") or len(value) == 2))


def absent(may: May) -> May:
    """The same, or nothing."""
    return May(st.one_of(st.none(), may.good), lambda value: value is None or may.fits(value))


LARGER, SMALLER = pair(whole(SIDE, 2**16, good=9)), pair(whole(1, SIDE))
SIZE = pair(whole(1, 2**16, good=9))


def of_process(name: str, process: Any) -> list[Entry]:
    """The methods of a noise process."""
    two = {"x0": tensor(*MAPS), "noise": tensor(*MAPS), "sigma": LEVELS}
    steps = {"x_t": tensor(*MAPS), "x0": tensor(*MAPS), "sigma": NOISY}
    guess = "velocity" if name == "FlowMatching" else "noise"
    rest = {"x_t": tensor(*MAPS), guess: tensor(*MAPS), "sigma": LEVELS}
    back = process.velocity_from_x0 if name == "FlowMatching" else process.noise_from_x0
    return [
        Entry(f"swd.flow.{name}.add_noise", process.add_noise, two, like("x0")),
        Entry(f"swd.flow.{name}.x0_from", process.x0_from_prediction, rest, like("x_t")),
        Entry(f"swd.flow.{name}.from_x0", back, steps, like("x_t")),
        Entry(f"swd.flow.{name}.lower_noise", process.lower_noise, {**steps, "lower": LEVELS}, like("x_t")),
        Entry(f"swd.flow.{name}.timestep", process.timestep, {"sigma": tensor(B)}, like("sigma")),
        Entry(f"swd.flow.{name}.weigh_x0", process.weigh_x0, {"x0": tensor(*MAPS), "sigma": LEVELS}, like("x0")),
    ]


FAKE_REAL = {"fake": tensor(*TOKENS), "real": tensor(*TOKENS)}
LOSSES = [
    Entry(
        "swd.losses.consistency_loss",
        consistency.consistency_loss,
        {"prediction": tensor(*MAPS), "target": tensor(*MAPS), "distance": choice("huber", "l2"), "huber_c": HUBER},
        shaped(carries="prediction"),
    ),
    Entry(
        "swd.losses.dmd_gradient",
        dmd.dmd_gradient,
        {"x0": tensor(*MAPS), "teacher_x0": tensor(*MAPS), "fake_x0": tensor(*MAPS)},
        like("x0"),
    ),
    Entry("swd.losses.dmd_loss", dmd.dmd_loss, {"x0": tensor(*MAPS), "gradient": tensor(*MAPS)}, shaped(carries="x0")),
    Entry(
        "swd.losses.gan_student_loss", gan.gan_student_loss, {"fake_logits": tensor(B)}, shaped(carries="fake_logits")
    ),
    Entry(
        "swd.losses.gan_discriminator_loss",
        gan.gan_discriminator_loss,
        {"fake_logits": tensor(B), "real_logits": tensor(B)},
        shaped(carries="real_logits"),
    ),
    Entry(
        "swd.losses.naive_patch", patch.naive_patch, FAKE_REAL, shaped("fake", carries="fake"), ("naive_patch needs",)
    ),
    Entry(
        "swd.losses.pdm_linear",
        patch.pdm_linear,
        {**FAKE_REAL, "huber_c": HUBER, "pool_batch": flag()},
        shaped("fake", carries="fake"),
        ("features",),
    ),
    Entry(
        "swd.losses.pdm_rbf",
        patch.pdm_rbf,
        {
            **FAKE_REAL,
            "bandwidth": POSITIVE,
            "pool_batch": flag(),
            "check_finite": flag(),
            "method": choice("auto", "eager", "chunked"),
        },
        shaped("fake", carries="fake"),
        ("features", "tokens"),
    ),
    Entry(
        "swd.losses.median_distance",
        patch.median_distance,
        {"tokens": tensor(*TOKENS), "most": whole(2, HUGE)},
        number,
    ),
    Entry(
        "swd.kernels.rbf_mmd",
        rbf.rbf_mmd,
        {**FAKE_REAL, "bandwidth": POSITIVE, "method": choice("auto", "eager", "chunked")},
        shaped("fake", carries="fake"),
        ("tokens",),
    ),
]
SIZES = [
    Entry(
        "swd.resize.downscale_area", resize.downscale_area, {"x": tensor(*MAPS), "size": SMALLER}, sized, ("enlarge",)
    ),
    Entry("swd.resize.upscale_bicubic", resize.upscale_bicubic, {"x": tensor(*MAPS), "size": LARGER}, sized),
    Entry(
        "swd.resize.upscale",
        resize.upscale,
        {"x": tensor(*MAPS), "size": LARGER, "mode": choice(*get_args(UpscaleMode))},
        sized,
    ),
    Entry("swd.growth.side_ratio", growth.side_ratio, {"small": SIZE, "large": SIZE}, number),
    Entry("swd.growth.grown_sigma", growth.grown_sigma, {"sigma": SIGMA, "ratio": POSITIVE}, number),
    Entry(
        "swd.growth.expand_noisy",
        growth.expand_noisy,
        {"x_t": tensor(*MAPS), "noise": tensor(B, 2, 6, 5), "sigma": OPEN},
    ),
    Entry(
        "swd.growth.lift_estimate",
        growth.lift_estimate,
        {
            "x_t": tensor(*MAPS),
            "x0": tensor(*MAPS),
            "noise": tensor(B, 2, 6, 5),
            "sigma": OPEN,
            "mode": choice(*get_args(UpscaleMode)),
        },
        like("noise"),
    ),
    Entry(
        "swd.growth.replace_low",
        growth.replace_low,
        {"large": tensor(B, 2, 6, 5), "small": tensor(*MAPS)},
        like("large"),
        ("images and channels",),
    ),
    Entry("swd.growth.keep_low", growth.keep_low, {"large": tensor(*MAPS), "size": SMALLER}, sized),
    Entry(
        "swd.flow.guide",
        guide,
        {"cond_x0": tensor(*MAPS), "uncond_x0": tensor(*MAPS), "guidance_scale": real(-1e300, 1e300)},
        lambda result, given: None,
    ),
    Entry(
        "swd.flow.signal_and_noise",
        lambda sigma: signal_and_noise(sigma, FlowMatching()),
        {"sigma": SIGMA},
        all_finite,
    ),
    *of_process("FlowMatching", FlowMatching()),
    *of_process("VariancePreserving", VariancePreserving()),
]
