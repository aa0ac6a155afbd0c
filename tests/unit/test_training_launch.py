import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from training_world import World, cache, config, fresh_accelerate, losses, steps

from repro.stages.one_process import lone_accelerator
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.errors import ConfigError, LossScaleError, StateError
from swd.training import train
from swd.training.config import DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.launch import agreed, check_group, is_sharded, launched, unstarted
from swd.training.optim import MAX_SKIPPED, Descent, ParameterGroup
from swd.training.run import new_accelerator
from swd.training.summary import start_line


@pytest.fixture
def world(tiny_denoiser: SD3Denoiser, tmp_path: Path) -> Iterator[World]:
    with fresh_accelerate():
        yield World(tiny_denoiser, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ACCELERATE_USE_FSDP", "true", "FSDP of version 1 is not done: launch it with fsdp_version 2"),
        ("ACCELERATE_USE_DEEPSPEED", "true", r"DeepSpeed \(ACCELERATE_USE_DEEPSPEED\): training shares the batch"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "parallelism configuration"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "accumulation over 4 steps .*use micro_batch_size"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "dynamo backend INDUCTOR .*give compile"),
        ("ACCELERATE_MIXED_PRECISION", "fp8", "mixed_precision fp8 .*knows: no, bf16, fp16"),
    ],
)
def test_what_training_does_not_do_is_refused_by_name(
    world: World, variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=message):
        world.train("run")
    assert not (world.folder / "run").exists()


def test_what_every_launch_sets_is_taken() -> None:
    plain = {
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
        "ACCELERATE_USE_FSDP": "false",
    }
    assert launched(config(), plain).mixed_precision == "no"


@pytest.mark.parametrize(
    ("ours", "theirs", "precision"),
    [
        (None, None, "no"),
        (None, "bf16", "bf16"),
        ("bf16", None, "bf16"),
        ("bf16", "bf16", "bf16"),
        ("bf16", "no", "bf16"),
    ],
)
def test_precision_is_the_configs_or_else_the_launchers(ours: Any, theirs: str | None, precision: str) -> None:
    environment = {} if theirs is None else {"ACCELERATE_MIXED_PRECISION": theirs}
    assert launched(config(mixed_precision=ours), environment).precision == precision


@pytest.mark.parametrize(("ours", "theirs"), [("no", "bf16"), ("fp16", "bf16"), ("bf16", "fp16")])
def test_two_precisions_are_an_error_that_names_both(ours: Any, theirs: str) -> None:
    with pytest.raises(ConfigError, match=f"mixed_precision is {ours}, but the launcher asks for {theirs}"):
        launched(config(mixed_precision=ours), {"ACCELERATE_MIXED_PRECISION": theirs})


def test_run_has_the_launchers_precision_and_its_states_say_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = world.train("plain")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with fresh_accelerate():
        asked, followed = world.train("asked", mixed_precision="bf16"), world.train("followed")
        assert losses(followed) == losses(asked) != losses(plain)
        with pytest.raises(StateError, match="mixed_precision: no -> bf16"):
            world.train("plain", iterations=4)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with fresh_accelerate(), pytest.raises(StateError, match="mixed_precision: bf16 -> no"):
        world.train("followed", iterations=4)
    with fresh_accelerate():
        assert len(losses(world.train("followed", iterations=4, mixed_precision="bf16"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixed_precision": "no"}, "mixed_precision is bf16, but that of the accelerator is no"),
        ({"gradient_accumulation_steps": 2, "mixed_precision": "bf16"}, "accumulation over 2 steps"),
    ],
)
def test_accelerator_that_is_given_is_asked_too(world: World, options: dict, message: str) -> None:
    made, output = config(mixed_precision="bf16"), world.folder / "run"
    with pytest.raises(ConfigError, match=message):
        train(made, world.denoiser, cache(), output, accelerator=Accelerator(**options))


FSDP2 = {  # what `accelerate launch --use_fsdp --fsdp_version 2` says, but for the efficient loading
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"FSDP_VERSION": "1"}, {}, "FSDP_VERSION 1 is not done: launch it with fsdp_version 2"),
        ({"FSDP_RESHARD_AFTER_FORWARD": "false"}, {}, "never let go of is whole: launch without FSDP"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "shares stay on their GPUs"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, {}, "use gradient_checkpointing"),
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, "reads the weights by itself: set it to false"),
        ({"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, {}, "blocks are what is shared"),
        ({"FSDP_TRANSFORMER_CLS_TO_WRAP": "Block"}, {}, "blocks are what is shared"),
        ({}, {"mixed_steps": True}, "mixed_steps gives each process passes of its own"),
        ({}, {"mixed_precision": "fp16"}, "mixed_precision fp16 does not go with FSDP"),
        ({}, {"compile": True}, "compile does not go with FSDP"),
    ],
)
def test_what_is_not_done_with_fsdp_is_refused_by_name(changes: dict, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launched(config(**options), {**FSDP2, **changes})


def test_fsdp2_is_taken_where_there_are_several_processes() -> None:
    assert launched(config(), FSDP2) == config(mixed_precision="no")
    assert is_sharded(SimpleNamespace(num_processes=2), FSDP2)
    assert not is_sharded(SimpleNamespace(num_processes=1), FSDP2)
    assert not is_sharded(SimpleNamespace(num_processes=2), {"ACCELERATE_USE_FSDP": "false"})


def accelerator_of(plugin: FullyShardedDataParallelPlugin) -> SimpleNamespace:
    """As one is on several GPUs."""
    state = SimpleNamespace(dynamo_plugin=SimpleNamespace(backend="DynamoBackend.NO"), fsdp_plugin=plugin)
    return SimpleNamespace(
        distributed_type="DistributedType.FSDP", gradient_accumulation_steps=1, mixed_precision="bf16", state=state
    )


def test_options_of_an_accelerator_of_fsdp_are_looked_at() -> None:
    plain = {"fsdp_version": 2, "cpu_ram_efficient_loading": False}
    plugin = FullyShardedDataParallelPlugin(**plain)
    assert agreed(config(), accelerator_of(plugin)).precision == "bf16"
    for changes, message in (
        ({"fsdp_version": 1}, "fsdp_version 2"),
        ({"cpu_offload": True}, "shares stay on their GPUs"),
        ({"activation_checkpointing": True}, "use gradient_checkpointing"),
        ({"reshard_after_forward": False}, "launch without FSDP"),
    ):
        plugin = FullyShardedDataParallelPlugin(**{**plain, **changes})
        with pytest.raises(ConfigError, match=message):
            agreed(config(), accelerator_of(plugin))


@pytest.mark.parametrize(("kind", "name"), [("DEEPSPEED", "DeepSpeed"), ("XLA", "TPUs")])
def test_other_ways_of_sharing_are_refused(kind: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"one of {name}: training shares the batch"):
        agreed(config(), SimpleNamespace(distributed_type=f"DistributedType.{kind}"))


@pytest.mark.parametrize("mode", ["selective", "half", "full"])
def test_every_checkpointing_goes_with_bf16(world: World, mode: str) -> None:
    """The cast of a weight that autocast keeps from one pass for the next is not there when a block runs again."""
    options = {"mixed_precision": "bf16", "iterations": 1}
    plain, found = world.train("plain", **options), world.train("found", **options, gradient_checkpointing=mode)
    (ours,), (theirs,) = losses(found), losses(plain)
    assert ours == pytest.approx(theirs, rel=1e-3)  # casts that are kept add up their gradients in bfloat16


def test_one_process_where_several_were_asked_for_is_said() -> None:
    silent = {
        "ACCELERATE_MIXED_PRECISION": "no",
        "MASTER_ADDR": "127.0.0.1",
    }  # accelerate launch --cpu --num_processes 2
    assert "started one" in str(unstarted(silent))
    assert unstarted({**silent, "RANK": "0"}) is None
    assert unstarted({"MASTER_ADDR": "127.0.0.1"}) is None
    assert unstarted({"ACCELERATE_MIXED_PRECISION": "no"}) is None


def test_run_says_how_it_runs_and_what_it_took(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="swd"):
        result = world.train("run", mixed_precision="bf16", micro_batch_size=1, gradient_checkpointing="half")
    (line,) = [record.message for record in caplog.records if record.name == "swd.training.trainer"]
    assert line == (
        "training: 1 process on cpu; precision bf16; batch of 2, 2 in each process, 1 in a pass; "
        "gradient checkpointing half"
    )
    (peak,) = result.peak_bytes
    assert 1 << 26 < peak < 1 << 36  # torch alone is more than 64 MiB


def test_a_run_that_shares_the_network_says_so() -> None:
    eight = SimpleNamespace(num_processes=8, device=torch.device("cuda"))
    line = start_line(config(batch_size=64, mixed_precision="bf16"), eight, "half", sharded=True)
    assert line == (
        "training: 8 processes on cuda; precision bf16; batch of 64, 8 in each process, 8 in a pass; gradient "
        "checkpointing half; blocks of the frozen network shared by the processes of a machine"
    )


def test_head_judges_in_float32_under_autocast() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head, features = Discriminator(32), torch.randn(6, 5, 32)
    expected = head(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert head[2](features).dtype == torch.bfloat16  # what autocast would make of a layer
        logits = head(features.bfloat16())
        assert torch.equal(head(features), expected)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    torch.testing.assert_close(logits, head(features.bfloat16().float()), rtol=0, atol=0)


def test_head_of_a_bf16_step_is_trained_in_float32(tiny_denoiser: SD3Denoiser) -> None:
    made, seen = steps(tiny_denoiser), []
    for layer in made.discriminator:
        layer.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        logits = made._logits(torch.randn(3, 5, tiny_denoiser.inner_dim).bfloat16())
    assert set(seen) == {torch.float32}
    logits.sum().backward()
    assert {weight.grad.dtype for weight in made.discriminator.parameters()} == {torch.float32}


class Overflowing:
    """A gradient scaler whose every step finds an overflow, as accelerate holds it on a GPU."""

    def __init__(self) -> None:
        self.scale = 65536.0

    def get_scale(self) -> float:
        return self.scale


def test_updates_that_all_overflow_stop_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world.trainer(weight_dmd=0.0, weight_gan=0.0, iterations=100, checkpoint_every=100)
    made.accelerator.scaler = Overflowing()

    def step(self: Descent) -> float:
        made.accelerator.scaler.scale /= 2
        self.skipped += 1
        return float("inf")

    monkeypatch.setattr(Descent, "step", step)
    monkeypatch.setattr(Descent, "backward", lambda *args: None)
    with pytest.raises(LossScaleError, match=r"grad_norm .* iteration 19.* fell to 0.0625: use .*bf16") as caught:
        made.run(resume=False)
    assert caught.value.iteration == MAX_SKIPPED - 1


def test_only_overflows_in_a_row_count(tiny_denoiser: SD3Denoiser) -> None:
    with fresh_accelerate():
        accelerator = Accelerator()
        parameter = torch.nn.Parameter(torch.ones(2))
        descent = Descent([ParameterGroup([parameter], 0.1)], config(), accelerator)
        counts = []
        for factor in (float("inf"), float("inf"), 1.0, float("inf")):
            descent.backward(factor * parameter.sum())
            descent.step()
            counts.append(descent.skipped)
    assert counts == [1, 2, 0, 1]


@pytest.mark.parametrize("name", ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"])
def test_processes_that_do_not_know_of_each_other_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"process 1 of 2 \({name}\).* torchrun|torchrun --nproc_per_node"):
        check_group(1, {name: "2", "RANK": "1"})
    check_group(2, {name: "2", "RANK": "1"})
    for alone in ({}, {name: "1"}, {name: ""}, {name: "x"}):
        check_group(1, alone)


def test_a_run_that_is_one_of_several_says_so_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("swd.training.run.Accelerator", lambda **_: lone_accelerator(torch.device("cpu")))
    with fresh_accelerate(), pytest.raises(ConfigError, match="they do not know of each other"):
        new_accelerator(DistillConfig(preset="mini-4"), tmp_path)


def test_trainings_of_the_suite_are_of_one_process_whatever_a_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in group.items():
        monkeypatch.setenv(name, value)  # with which Accelerator() would wait for the other
    with fresh_accelerate():
        assert lone_accelerator(torch.device("cpu"), "no").num_processes == 1
    assert {name: os.environ[name] for name in group} == group
