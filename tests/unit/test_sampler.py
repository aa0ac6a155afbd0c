from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.flow import FlowMatching
from swd.grid import TeacherGrid, sigma_grid
from swd.guidance import Guided
from swd.sampler import draw_noise, finish_teacher, sample, sample_teacher, seed_rngs
from swd.schedule import ScaleSchedule, preset

SCHEDULE = ScaleSchedule((4, 6, 8), (1.0, 0.8, 0.5, 0.0))


class Shrink:
    """x0 = x_t / 2: no network, so that what the sampler itself does can be seen."""

    latent_channels, patch_size, process, grid = 3, 2, FlowMatching(), TeacherGrid()

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], list[float]]] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: object) -> torch.Tensor:
        self.calls.append((tuple(x_t.shape), sigma.tolist()))
        return x_t / 2


def test_image_is_the_same_in_any_batch(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    """Equal up to the order in which a matrix product of another batch size adds up: 1e-5 of values near 1."""
    seeds = list(range(7))
    together = sample(tiny_denoiser, SCHEDULE, tiny_condition, seeds)
    for index in (0, 3, 6):
        alone = sample(tiny_denoiser, SCHEDULE, tiny_condition[index : index + 1], [seeds[index]])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-5, atol=1e-5)


def test_teacher_image_is_the_same_in_any_batch(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    uncond = TextCondition(torch.zeros(1, 5, 32), torch.zeros(1, 16))
    options = {"side": 8, "num_steps": 3, "guidance_scale": 3.0}
    together = sample_teacher(tiny_denoiser, tiny_condition, uncond, range(7), **options)
    alone = sample_teacher(tiny_denoiser, tiny_condition[4:5], uncond, [4], **options)
    torch.testing.assert_close(together[4:5], alone, rtol=1e-5, atol=1e-5)


def without_prepare(denoiser: Any) -> Any:
    """The same denoiser without ``prepare``."""

    class Plain:
        latent_channels, patch_size = denoiser.latent_channels, denoiser.patch_size
        process = denoiser.process

        def __call__(self, *args: Any) -> torch.Tensor:
            return denoiser(*args)

    return Plain()


def test_guidance_joins_its_conditions_once(
    tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncond = TextCondition(torch.zeros(1, 5, 32), torch.zeros(1, 16))
    guided = Guided(tiny_denoiser, uncond, 3.0)
    joined: list[int] = []
    cat = TextCondition.cat

    def counting(parts: list[TextCondition]) -> TextCondition:
        joined.append(sum(map(len, parts)))
        return cat(parts)

    monkeypatch.setattr(TextCondition, "cat", staticmethod(counting))
    latents = sample(guided, SCHEDULE, tiny_condition, range(7))
    assert joined == [14]
    each_step = sample(without_prepare(guided), SCHEDULE, tiny_condition, range(7))
    assert torch.equal(latents, each_step)
    assert joined == [14] * 4


def test_noise_of_an_image_is_its_own_exactly() -> None:
    both = draw_noise(seed_rngs([3, 11]), (4, 6, 6), "cpu")
    assert torch.equal(both[1:], draw_noise(seed_rngs([11]), (4, 6, 6), "cpu"))
    assert not torch.equal(both[0], both[1])


def test_every_step_runs_at_its_scale_and_sigma(tiny_condition: TextCondition) -> None:
    denoiser = Shrink()
    x0 = sample(denoiser, SCHEDULE, tiny_condition[:2], [0, 1])
    shapes, sigmas = zip(*denoiser.calls, strict=True)
    assert shapes == ((2, 3, 4, 4), (2, 3, 6, 6), (2, 3, 8, 8))
    assert [row[0] for row in sigmas] == pytest.approx([1.0, 0.8, 0.5])
    assert x0.shape == (2, 3, 8, 8)


def test_the_last_latent_has_the_size_asked_for(tiny_condition: TextCondition) -> None:
    denoiser, schedule = Shrink(), ScaleSchedule((8, 12, 16), (1.0, 0.7, 0.5, 0.0))
    sample(denoiser, schedule, tiny_condition[:1], [0], size=(10, 22))
    assert [shape for shape, _ in denoiser.calls] == [(1, 3, 6, 12), (1, 3, 8, 16), (1, 3, 10, 22)]
    with pytest.raises(ValueError, match="positive multiples of 2, got 10 x 21"):
        sample(denoiser, schedule, tiny_condition[:1], [0], size=(10, 21))


def test_given_noise_stands_for_the_first_draw(tiny_condition: TextCondition) -> None:
    drawn = draw_noise(seed_rngs([4, 7]), (3, 4, 4), "cpu")
    expected = sample(Shrink(), SCHEDULE, tiny_condition[:2], [4, 7])
    assert torch.equal(sample(Shrink(), SCHEDULE, tiny_condition[:2], [4, 7], noise=drawn), expected)
    assert not torch.equal(sample(Shrink(), SCHEDULE, tiny_condition[:2], [4, 7], noise=-drawn), expected)
    with pytest.raises(ValueError, match=r"is \(2, 3, 4, 4\), got \(1, 3, 4, 4\)"):
        sample(Shrink(), SCHEDULE, tiny_condition[:2], [4, 7], noise=drawn[:1])


def test_what_happens_between_steps_counts(tiny_condition: TextCondition) -> None:
    """Doubling what the last step starts from doubles what it gives; stopping gives what was returned."""
    args = (Shrink(), SCHEDULE, tiny_condition[:1], [0])
    expected = sample(*args)
    doubled = sample(*args, on_step_end=lambda step, x_t: (x_t * (2 if step == 1 else 1), True))
    torch.testing.assert_close(doubled, 2 * expected)
    stopped = sample(*args, on_step_end=lambda step, x_t: (x_t, step < 0))
    (rng,) = seed_rngs([0])
    noises = [torch.randn(3, side, side, generator=rng) for side in (4, 6)]
    upscaled = torch.nn.functional.interpolate(noises[0][None] / 2, (6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(stopped, FlowMatching().add_noise(upscaled, noises[1][None], 0.8))


def test_on_step_sees_every_evaluation(tiny_condition: TextCondition) -> None:
    seen: list[int] = []

    def on_step(step: int, x_t: torch.Tensor, x0: torch.Tensor) -> None:
        assert torch.equal(x0, x_t / 2)
        seen.append(step)

    sample(Shrink(), SCHEDULE, tiny_condition[:1], [0], on_step=on_step)
    assert seen == [0, 1, 2]


def test_generators_are_taken_as_seeds(tiny_condition: TextCondition) -> None:
    rngs = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    by_rng = sample(Shrink(), SCHEDULE, tiny_condition[:2], rngs)
    assert torch.equal(by_rng, sample(Shrink(), SCHEDULE, tiny_condition[:2], [5, 6]))


def test_no_gradients_are_kept(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    assert not sample(tiny_denoiser, SCHEDULE, tiny_condition[:1], [0]).requires_grad


def test_bad_calls_are_refused_before_the_network_runs(tiny_condition: TextCondition) -> None:
    denoiser = Shrink()
    with pytest.raises(ValueError, match=r"patch size 2, got \[5\]"):
        sample(denoiser, ScaleSchedule((5,), (1.0, 0.0)), tiny_condition, [0])
    with pytest.raises(ValueError, match="at least one seed"):
        sample(denoiser, SCHEDULE, tiny_condition, [])
    with pytest.raises(ValueError, match=r"patch size 2, got \[7\]"):
        sample_teacher(denoiser, tiny_condition, None, [0], side=7)
    with pytest.raises(ValueError, match=r"guidance_scale 4\.0 needs the condition of the empty prompt"):
        sample_teacher(denoiser, tiny_condition, None, [0], side=8, guidance_scale=4.0)
    assert denoiser.calls == []


def test_a_constant_schedule_never_resizes(tiny_condition: TextCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "interpolate", lambda *a, **k: pytest.fail("resized"))
    assert sample(Shrink(), preset("mini-full-2"), tiny_condition[:1], [0]).shape[-1] == 32


class NoHostSync(TorchDispatchMode):
    """Fails where the host would wait for a value of the device: item(), float(), bool(), nonzero(), masks."""

    WAITS = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "unique", "_unique2")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        waits = by_mask or func.overloadpacket.__name__ in self.WAITS
        assert not waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("wait", [float, bool, torch.Tensor.item, torch.Tensor.nonzero, lambda x: x[x > 0]])
def test_watch_for_synchronisation_can_fail(wait: Callable[[torch.Tensor], Any]) -> None:
    with NoHostSync(), pytest.raises(AssertionError, match="waits for the device"):
        wait(torch.ones(1))


def test_the_loop_reads_no_value_on_the_host(
    tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on a GPU, by CUDA's own check, is below."""
    expected = sample(tiny_denoiser, SCHEDULE, tiny_condition, range(7))
    for name in ("tolist", "numpy", "cpu"):  # on the CPU these are not dispatched
        monkeypatch.setattr(torch.Tensor, name, lambda *args, name=name: pytest.fail(f"{name} waits for the device"))
    with NoHostSync():
        watched = sample(tiny_denoiser, SCHEDULE, tiny_condition, range(7))
        sample_teacher(tiny_denoiser, tiny_condition, tiny_condition, range(7), side=8, num_steps=2, guidance_scale=2.0)
    assert torch.equal(watched, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_loop_never_waits_for_the_device(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    denoiser, cond = tiny_denoiser.cuda(), tiny_condition.to("cuda")
    on_cpu = sample(tiny_denoiser.cpu(), SCHEDULE, tiny_condition, range(7))
    denoiser.cuda()
    sample(denoiser, SCHEDULE, cond, range(7))  # warm-up: libraries initialise with synchronisation
    modes: list[None] = []

    class Watched:
        latent_channels, patch_size = denoiser.latent_channels, denoiser.patch_size
        process = denoiser.process

        def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: TextCondition) -> torch.Tensor:
            torch.cuda.set_sync_debug_mode("error")
            modes.append(None)
            return denoiser(x_t, sigma, cond)

    try:
        on_gpu = sample(Watched(), SCHEDULE, cond, range(7))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(modes) == SCHEDULE.num_steps
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-2, atol=1e-2)


def test_renoising_uses_fresh_noise_of_the_next_scale(tiny_condition: TextCondition) -> None:
    schedule = ScaleSchedule((4, 4), (1.0, 0.6, 0.0))
    (rng,) = seed_rngs([9])
    first, second = (torch.randn(3, 4, 4, generator=rng) for _ in range(2))
    expected = FlowMatching().add_noise(first / 2, second, 0.6) / 2
    torch.testing.assert_close(sample(Shrink(), schedule, tiny_condition[:1], [9])[0], expected)


def test_finishing_from_pure_noise_is_sampling(tiny_denoiser: SD3Denoiser, tiny_condition: TextCondition) -> None:
    uncond = TextCondition(torch.zeros(1, 5, 32), torch.zeros(1, 16))
    noise = draw_noise(seed_rngs(range(len(tiny_condition))), (4, 8, 8), "cpu")
    options = {"num_steps": 4, "guidance_scale": 3.0}
    whole = sample_teacher(tiny_denoiser, tiny_condition, uncond, range(len(tiny_condition)), side=8, **options)
    torch.testing.assert_close(finish_teacher(tiny_denoiser, noise, 1.0, tiny_condition, uncond, **options), whole)


def test_finishing_walks_the_lower_levels_of_the_grid() -> None:
    denoiser = Shrink()
    finish_teacher(denoiser, torch.ones(2, 3, 4, 4), 0.6, None, None)
    levels = [levels[0] for _, levels in denoiser.calls]
    assert levels == pytest.approx([0.6, *(sigma for sigma in sigma_grid() if 0 < sigma < 0.6)])


@pytest.mark.parametrize("sigma", [0.0, -0.1, 1.1])
def test_finishing_from_nowhere_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=f"got {sigma}"):
        finish_teacher(Shrink(), torch.ones(1, 3, 4, 4), sigma, None, None)
