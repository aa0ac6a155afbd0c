import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import accelerate.tracking
import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file
from training_world import World, assert_same, cache, config, fresh_accelerate, interrupted_at, losses, tensors

from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import CacheError, ConfigError, OutputFolderError, StateError
from swd.lora.files import ADAPTER_FILE, read_adapter
from swd.losses.patch import NoMedianError
from swd.training import NonFiniteLossError, patch_loss, train
from swd.training import step as training_step
from swd.training.draws import Drawn
from swd.training.memory import awaited_bytes
from swd.training.trainer import Trainer


@pytest.fixture
def world(tiny_denoiser: SD3Denoiser, tmp_path: Path) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_denoiser, tmp_path)


def test_run_leaves_adapter_log_and_states(world: World) -> None:
    result = world.train("run", iterations=3, keep_last=2)
    assert sorted(path.name for path in result.adapter.parent.iterdir()) == [
        "final",
        "log.jsonl",
        "state-000002",
        "state-000003",
    ]
    lines = losses(result)
    assert [line["step"] for line in lines] == [0, 1, 0]
    names = {"pdm", "dmd", "gan", "total", "grad_norm", "fake", "discriminator", "fake_grad_norm"}
    assert all(line.keys() == names | {"iteration", "step"} for line in lines)
    state, metadata = read_adapter(result.adapter)
    assert metadata["scales"] == [4, 6]
    assert metadata["config"]["lr"] == 0.01
    assert any(weight.abs().sum() > 0 for key, weight in state.items() if "lora_B" in key)


@pytest.mark.parametrize(
    "changes", [{}, {"ema_decay": 0.5, "warmup": 3, "sample_latents": True}, {"mixed_precision": "bf16"}]
)
def test_resumed_run_is_bit_equal(world: World, changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = world.train("whole", iterations=4, **changes)
    with interrupted_at(3):
        world.train("parts", iterations=4, checkpoint_every=2, **changes)
    parts = world.train("parts", iterations=4, checkpoint_every=2, **changes)
    assert losses(whole) == losses(parts)
    newest = [folder / "state-000004" for folder in (world.folder / "whole", world.folder / "parts")]
    assert_same(*map(tensors, newest))
    assert (whole.adapter / ADAPTER_FILE).stat().st_size == (parts.adapter / ADAPTER_FILE).stat().st_size
    assert_same(tensors(whole.adapter), tensors(parts.adapter))


def test_reading_ahead_changes_nothing(world: World) -> None:
    ahead, plain = (world.train(str(prefetch), prefetch=prefetch) for prefetch in (True, False))
    assert losses(ahead) == losses(plain)
    assert_same(tensors(ahead.adapter), tensors(plain.adapter))


def test_drawn_latents_are_not_the_modes(world: World) -> None:
    modes, drawn = (world.train(f"{switch}", iterations=1, sample_latents=switch) for switch in (False, True))
    assert losses(modes)[0]["pdm"] != losses(drawn)[0]["pdm"]


def test_compiled_run_trains_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    active: list[bool] = []

    @contextmanager
    def watched(transformer: object, *, active: bool, seen: list[bool] = active) -> Iterator[None]:
        seen.append(active)
        yield

    monkeypatch.setattr("swd.training.trainer.compiled_blocks", watched)
    world.train("run", iterations=1, compile=True)
    assert active == [True]


def test_not_a_number_in_features_stops_as_any_other_does(world: World) -> None:
    data = cache()
    for shard in data._latents:
        shard["side_4"][:] = math.nan
    options = config(pdm_kernel="rbf", weight_dmd=0.0, weight_gan=0.0)
    with pytest.raises(NonFiniteLossError, match="pdm is not finite at iteration 0"):
        train(options, world.denoiser, data, world.folder / "run")


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(math.nan, NonFiniteLossError, "pdm is not finite at iteration 0"), (0.5, NoMedianError, "are all alike")],
)
@pytest.mark.parametrize("pooled", [True, False])
def test_features_without_a_median_distance_stop_in_our_words(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    number: float,
    error: type[Exception],
    message: str,
    pooled: bool,
) -> None:
    distances = patch_loss.median_distance
    monkeypatch.setattr(patch_loss, "median_distance", lambda real: distances(torch.full_like(real, number)))
    options = config(
        pdm_kernel="rbf", pdm_bandwidth_rule="median", pdm_pool_batch=pooled, weight_dmd=0.0, weight_gan=0.0
    )
    with pytest.raises(error, match=message):
        train(options, world.denoiser, cache(), world.folder / "run")


def test_longer_run_goes_on_from_a_finished_one(world: World) -> None:
    whole = world.train("whole", iterations=3)
    world.train("parts", iterations=1)
    assert_same(tensors(whole.adapter), tensors(world.train("parts", iterations=3).adapter))


def test_finished_run_is_not_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.train("run")
    before = tensors(first.adapter)
    monkeypatch.setattr(Trainer, "_iterate", lambda *args: pytest.fail("trained again"))
    again = world.train("run")
    assert again.seconds == first.seconds
    assert_same(before, tensors(again.adapter))


def test_without_resume_it_starts_over(world: World) -> None:
    world.train("run", seed=1)
    result = world.train("run", resume=False)
    assert [line["iteration"] for line in losses(result)] == [0, 1, 2]
    assert_same(tensors(result.adapter), tensors(world.train("fresh").adapter))


def test_update_moves_its_own_model_and_nothing_else(world: World) -> None:
    made = world.trainer(lr_fake=1e-2)

    def weights() -> dict[str, dict[str, torch.Tensor]]:
        own = {name: made.bank.state_dict(name) for name in made.bank.names}
        rest = {k: v for k, v in made.bank.denoiser.state_dict().items() if "lora_" not in k}
        parts = {**own, "head": made.discriminator.state_dict(), "teacher": rest}
        return {part: {key: value.clone() for key, value in values.items()} for part, values in parts.items()}

    def changed(before: dict, after: dict) -> set[str]:
        return {part for part in before if any(not torch.equal(before[part][k], after[part][k]) for k in before[part])}

    start = weights()
    made._update_fake(made.draws.one(1, 0, "fake 0"), None)
    after_fake = weights()
    made._update_student(made.draws.one(1, 1, "student"))
    assert changed(start, after_fake) == {"fake", "head"}
    assert changed(after_fake, weights()) == {"student"}


def test_fake_updates_are_skipped_when_nothing_reads_the_fake_model(world: World) -> None:
    result = world.train("run", weight_dmd=0.0, weight_gan=0.0)
    assert all(line.keys() == {"iteration", "step", "pdm", "total", "grad_norm"} for line in losses(result))


def test_first_losses_of_the_other_terms_do_not_depend_on_a_switched_off_one(world: World) -> None:
    full, less = losses(world.train("full"))[0], losses(world.train("less", weight_pdm=0.0))[0]
    assert {name: full[name] for name in ("dmd", "gan", "fake", "discriminator")} == {
        name: less[name] for name in ("dmd", "gan", "fake", "discriminator")
    }


LOSSES = {  # term -> model that it trains, function that gives it
    "pdm": ("student", "patch_loss"),
    "dmd": ("student", "dmd_loss"),
    "gan": ("student", "gan_student_loss"),
    "fake": ("fake", "F.mse_loss"),
    "discriminator": ("fake", "gan_discriminator_loss"),
}


@pytest.mark.parametrize("term", LOSSES)
def test_not_a_number_stops_at_once_and_names_term_iteration_and_state(
    world: World, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name = LOSSES[term]
    made = world.trainer(iterations=5)
    loss, iterate = operator.attrgetter(name)(training_step), made._iterate

    def spoil(iteration: int, drawn: list[Drawn]) -> dict[str, float]:
        if iteration == 2:
            monkeypatch.setattr(f"swd.training.step.{name}", lambda *given, **named: loss(*given, **named) * math.nan)
        return iterate(iteration, drawn)

    monkeypatch.setattr(made, "_iterate", spoil)
    with pytest.raises(NonFiniteLossError, match=rf"{term} is not finite at iteration 2.*state-000002") as caught:
        made.run(resume=False)
    assert (caught.value.term, caught.value.iteration) == (term, 2)
    assert caught.value.last_good == world.folder / "run" / "state-000002"
    saved = load_file(caught.value.last_good / "tensors.safetensors")
    assert all(torch.equal(saved[f"{model}/{key}"], value) for key, value in made.bank.state_dict(model).items())
    assert not (world.folder / "run" / "final").exists()


def test_infinite_data_stop_the_first_iteration(world: World) -> None:
    data = cache()
    data._latents[0]["side_4"][:] = math.inf
    for shard in data._latents[1:]:
        shard["side_4"][:] = math.inf
    with pytest.raises(NonFiniteLossError, match="at iteration 0: training stopped; no state had been saved"):
        train(config(), world.denoiser, data, world.folder / "run")


def test_exported_average_is_the_recursion_over_iterations(world: World) -> None:
    made = world.trainer(ema_decay=0.75, checkpoint_every=9)
    key = next(key for key in made.ema if "lora_B" in key)
    expected, seen = made.ema[key].clone(), []
    for iteration in range(3):
        made._iterate(iteration, made.draws.read(iteration))
        seen.append(made.bank.state_dict("student")[key].clone())
        expected = 0.75 * expected + 0.25 * seen[-1]
    assert not any(torch.equal(left, right) for left, right in pairwise(seen))
    made._prepare_folder(resume=True)
    state, _ = read_adapter(made._export())
    torch.testing.assert_close(state[key], expected)


@pytest.mark.parametrize("changes", [{"lr": 0.5}, {"seed": 4}, {"weight_gan": 0.0}, {"rank": 3}])
def test_folder_of_another_run_is_refused(world: World, changes: dict) -> None:
    world.train("run", iterations=1)
    with pytest.raises(StateError, match=f"another run .*{next(iter(changes))}"):
        world.train("run", **changes)


def test_state_of_another_teacher_or_data_is_refused(world: World) -> None:
    world.train("run", iterations=1)
    other = cache()
    object.__setattr__(other.index, "source", "else")
    with pytest.raises(StateError, match=f"data: {cache().index.content} -> {other.index.content}"):
        train(config(), world.denoiser, other, world.folder / "run")
    with torch.no_grad():
        world.denoiser.network.proj_out.bias.add_(1)
    with pytest.raises(StateError, match="teacher weights"):
        world.train("run")


def test_a_cache_of_more_sides_goes_on_with_a_run(world: World) -> None:
    world.train("run", iterations=1)
    wider = cache(scales=(4, 6, 8))
    assert wider.index.content == cache().index.content
    result = train(config(iterations=2), world.denoiser, wider, world.folder / "run")
    assert len(losses(result)) == 2


def test_fewer_iterations_than_done_are_refused(world: World) -> None:
    world.train("run", iterations=2)
    with pytest.raises(StateError, match="is at iteration 2, past 1"):
        world.train("run", iterations=1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"feature_block": 3}, ValueError, "past the last block of the network, 2"),
        ({"scales": (4, 5)}, ValueError, "multiples of the patch size"),
        ({"scales": (6, 4)}, ValueError, "must not shrink"),
        ({"boundaries": (0, 18, 14)}, ValueError, "must rise strictly"),
        ({"scales": (4, 8)}, CacheError, "build a cache with all scales"),
        ({"scales": (4, 34)}, ValueError, "largest latent side 32"),
        ({"mixed_precision": "fp16"}, ValueError, "fp16 needs an accelerator"),
        ({"log_with": "wandb"}, ValueError, "needs the package wandb, which is not installed"),
    ],
)
def test_what_cannot_work_is_said_before_training(world: World, changes: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        world.train("run", **changes)
    assert not (world.folder / "run").exists()


def test_a_missing_tracker_of_an_extra_names_the_extra(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [])
    with pytest.raises(ConfigError, match="trackio, which is not installed; the extra `tracking` brings it"):
        world.train("run", log_with="trackio")
    assert not (world.folder / "run").exists()


class Tracker(GeneralTracker):
    """An accelerate tracker that keeps what it is given."""

    name = "kept"
    requires_logging_directory = False

    def __init__(self) -> None:
        self.config, self.rows = {}, []
        super().__init__()

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict) -> None:
        self.config = values

    def log(self, values: dict, step: int | None = None, **_: object) -> None:
        self.rows.append({"iteration": step, **values})


def test_trackers_get_the_options_and_every_named_loss(world: World) -> None:
    tracker = Tracker()
    options = config(log_with="trackio")  # any tracker's name: the accelerator below brings its own
    result = train(options, world.denoiser, cache(), world.folder / "run", accelerator=Accelerator(log_with=[tracker]))
    assert tracker.config["lr"] == options.lr
    assert tracker.rows == [{key: line[key] for key in line if key != "step"} for line in losses(result)]


def test_data_and_optimisers_are_left_room_for(world: World) -> None:
    trainer = world.trainer()
    image = 4 * (4 * 6 * 6 + 4 * 4 * 4 + 5 * 32 + 16)  # target, the scale before, text
    one, two = (awaited_bytes(trainer.config, trainer.bank, cache(), images) for images in (1, 2))
    assert two - one == 2 * 2 * image  # the fake update's and the student's, now and read ahead
    assert one > 2 * 2 * image


def test_unwritable_output_is_said_before_training(world: World) -> None:
    (world.folder / "file").touch()
    with pytest.raises(OutputFolderError, match="cannot write to"):
        world.train("file/run")


def test_one_network_serves_one_run_after_another(world: World) -> None:
    first, _ = world.train("first"), world.train("other", rank=4, alpha=4.0, seed=9)
    assert_same(tensors(first.adapter), tensors(world.train("again").adapter))
