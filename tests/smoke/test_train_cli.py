import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from captioned_images import captioned
from diffusers import AutoencoderKL, StableDiffusion3Pipeline
from PIL import Image
from safetensors.torch import load_file
from training_world import assert_same, curve, fresh_accelerate, tensors
from transformers import CLIPTextModelWithProjection

from swd import cache as cache_command
from swd import train as train_command
from swd import training
from swd.backbones import loading
from swd.backbones.base import Denoiser
from swd.data.metadata import Caption
from swd.errors import ConfigError, PipelineError, StudyError
from swd.lora.files import ADAPTER_FILE
from swd.training import DistillConfig, inputs, run
from swd.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
CAPTIONS = ("a red star", "a blue cross", "two circles")
OPTIONS = {
    "preset": "own",
    "scales": [4, 6],
    "boundaries": [0, 14, 28],
    "iterations": 4,
    "batch_size": 2,
    "lr": 1e-2,
    "fake_updates": 1,
    "rank": 2,
    "alpha": 2.0,
    "feature_block": 0,
    "checkpoint_every": 1,
    "progress": False,
}
# Stops itself without any clean-up in the middle of the third iteration, between the fake update and the student's.
KILLED = """
import os, signal, sys, torch
torch.set_num_threads(int(sys.argv.pop(1)))
from swd import train
from swd.training.trainer import Trainer
update = Trainer._update_student
def killed(self, drawn):
    if drawn[0].random.iteration == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, drawn)
Trainer._update_student = killed
train.main(sys.argv[1:])
"""
TWO = """
import sys
from pathlib import Path
from accelerate.state import PartialState
from swd import train
train.main(sys.argv[1:])
state = PartialState()
Path(f"{sys.argv[-1]}.rank{state.process_index}").write_text(str(state.num_processes))
"""


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    noise = [torch.randint(0, 256, (14, 20, 3), generator=rng, dtype=torch.uint8) for _ in CAPTIONS]
    return captioned(tmp_path / "images", CAPTIONS, [Image.fromarray(pixels.numpy()) for pixels in noise])


@pytest.fixture
def study(images: Path, tiny_pipeline_folder: Path, tmp_path: Path) -> Path:
    """A study file over a cache made through the command line; the output folder is left to the test."""
    data = tmp_path / "cache"
    pipeline = ["--pipeline", str(tiny_pipeline_folder), "--max-sequence-length", "0", "--dtype", "float32"]
    cache_command.main(
        ["--images", str(images), "--output", str(data), "--scales", "4", "6", "--device", "cpu", *pipeline]
    )
    path = tmp_path / "study.toml"
    head = f"pipeline = {json.dumps(str(tiny_pipeline_folder))}\ndata = {json.dumps(str(data))}\n"
    path.write_text(head + "[distill]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in OPTIONS.items()))
    return path


def test_run_killed_with_signal_9_resumes_bit_equal(
    study: Path, tmp_path: Path, tiny_pipeline: StableDiffusion3Pipeline
) -> None:
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", KILLED, threads, "--study", str(study), "--output", str(tmp_path / "parts")]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "parts" / "state-000002").is_dir()
    assert not (tmp_path / "parts" / "final").exists()
    for name in ("parts", "whole"):
        train_command.main(["--study", str(study), "--output", str(tmp_path / name)])
    for file in ("state-000004/tensors.safetensors", f"final/{ADAPTER_FILE}"):
        parts, whole = (load_file(tmp_path / name / file) for name in ("parts", "whole"))
        assert parts.keys() == whole.keys()
        assert all(torch.equal(parts[key], whole[key]) for key in whole)
    tiny_pipeline.load_lora_weights(str(tmp_path / "whole" / "final"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_iteration_and_the_run_goes_on_bit_equal(
    number: signal.Signals,
    status: int,
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    update = Trainer._update_student
    before = signal.getsignal(number)

    def signalled(self: Trainer, drawn: Any) -> dict[str, float]:
        if drawn[0].random.iteration == 1:
            os.kill(os.getpid(), number)
        return update(self, drawn)

    never = ["--checkpoint-every", "100", "--study", str(study)]
    monkeypatch.setattr(Trainer, "_update_student", signalled)
    with pytest.raises(SystemExit) as ended:
        train_command.main([*never, "--output", str(tmp_path / "parts")])
    assert ended.value.code == status
    assert "stopped after 2 iterations" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "parts").glob("state-*")] == ["state-000002"]
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    for name in ("parts", "whole"):
        train_command.main([*never, "--output", str(tmp_path / name)])
    parts, whole = (load_file(tmp_path / name / "final" / ADAPTER_FILE) for name in ("parts", "whole"))
    assert all(torch.equal(parts[key], whole[key]) for key in whole)


def test_a_second_ctrl_c_stops_at_once(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice(self: Trainer, drawn: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(Trainer, "_update_student", twice)
    with pytest.raises(SystemExit) as ended:
        train_command.main(["--study", str(study), "--output", str(tmp_path / "run")])
    assert ended.value.code == 130
    assert "the same command begins anew, no state had been saved yet" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("state-*"))
    monkeypatch.setattr(train_command, "run", interrupted)
    (tmp_path / "run" / "state-000001").mkdir(parents=True)
    (tmp_path / "run" / "state-000001" / "state.json").touch()
    with pytest.raises(SystemExit):
        train_command.main(["--study", str(study), "--output", str(tmp_path / "run")])
    assert "the same command goes on from the last saved state" in capsys.readouterr().err


def interrupted(*given: object) -> None:
    raise KeyboardInterrupt


def test_a_consistency_student_is_distilled_by_one_option(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--study", str(study), "--objective", "consistency", "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"has one scale: take a full-scale preset, got scales \(4, 6\)"):
        train_command.main(command)
    with pytest.raises(SystemExit, match="weight_pdm belongs to objective distribution and is not read under consist"):
        train_command.main([*command, "--scales", "6", "6", "--weight-pdm", "0.5"])
    assert not (tmp_path / "run").exists()
    train_command.main([*command, "--scales", "6", "6", "--consistency-decay", "0.9"])
    assert "student: " in capsys.readouterr().out
    assert [line["consistency"] > 0 for line in curve(tmp_path / "run" / "log.jsonl")] == [True] * 4
    assert load_file(tmp_path / "run" / "final" / ADAPTER_FILE)


def test_cache_is_made_on_the_way_of_what_the_run_reads(
    images: Path, tiny_pipeline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--pipeline", str(tiny_pipeline_folder), "--images", str(images), "--data", str(tmp_path / "made")]
    options = {**OPTIONS, "iterations": 2, "batch_size": 1, "fake_updates": 0, "weight_dmd": 0, "weight_gan": 0}
    study = tmp_path / "study.toml"
    study.write_text("[distill]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()))
    for name in ("first", "second"):
        train_command.main([*command, "--study", str(study), "--output", str(tmp_path / name)])
        assert ("GiB to write" in capsys.readouterr().err) == (name == "first")
    assert json.loads((tmp_path / "made" / "index.json").read_text())["count"] == 2  # of three


def test_options_win_over_the_study_file(study: Path) -> None:
    command = train_command.parse(["--study", str(study), "--output", "x", "--iterations", "9", "--scales", "4", "8"])
    assert command.distill.iterations == 9
    assert command.distill.scales == (4, 8)
    assert command.distill.rank == 2
    assert command.output == Path("x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outptu = 'a'", "no option 'outptu'; nearest: output"),
        ("[distill]\nwieght_dmd = 1.0", "no option 'wieght_dmd'; nearest: weight_dmd"),
        ("iterations = 3", "TrainCommand has no option 'iterations'"),
        ("distill = 3", "distill must be a table"),
        ("pipeline = ", "cannot read study file"),
    ],
)
def test_bad_study_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        train_command.parse(["--study", str(path)])
    with pytest.raises(SystemExit, match=message):
        train_command.main(["--study", str(path)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rank = 'many'", "rank must be a whole number, got 'many'"),
        ("rank = 2.5", "rank must be a whole number, got 2.5"),
        ("rank = true", "rank must be a whole number, got True"),
        ("lr = '1e-3'", "lr must be a number, got '1e-3'"),
        ("mixed_steps = 1", "mixed_steps must be true or false, got 1"),
        ("objective = 'other'", "objective must be one of distribution, consistency, got 'other'"),
        ("scales = [4, 6.5]", r"scales must be a list of values, each a whole number, got \[4, 6.5\]"),
        ("betas = [0.9]", r"betas must be a list of 2 values, each a number, got \[0.9\]"),
        ("preset = ['mini-6']", r"preset must be text, got \['mini-6'\]"),
    ],
)
def test_study_values_of_the_wrong_type_are_named_with_their_file(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[distill]\n{line}\n")
    with pytest.raises(StudyError, match=f"bad.toml: {message}"):
        train_command.parse(["--study", str(path)])


def test_the_tilde_of_a_study_file_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    path = tmp_path / "study.toml"
    path.write_text("pipeline = '~/p'\ndata = '~/d'\noutput = 'a~b'\n[distill]\npreset = 'mini-6'\nlr = 1\n")
    command = train_command.parse(["--study", str(path)])
    assert (command.pipeline, command.data, command.output) == (
        "/home/somebody/p",
        Path("/home/somebody/d"),
        Path("a~b"),
    )
    assert command.distill.lr == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--preset", "mini-7"], "no preset 'mini-7'; nearest: mini-6"),
        (["--preset", "mini-6", "--lr", "-1"], "lr must be finite and positive"),
        (["--preset", "mini-6", "--seed", "-1"], "seed must be at least 0 and below 4294967296, got -1"),
        (["--preset", "mini-6", "--seed", str(2**64)], f"seed must be at least 0 and below 4294967296, got {2**64}"),
        (["--preset", "mini-6", "--state-minutes", "0"], "state_minutes must be positive, got 0"),
        (["--preset", "mini-6", "--pipeline", "nowhere/at-all"], "cannot load the pipeline nowhere/at-all"),
    ],
)
def test_bad_command_ends_with_one_line(tmp_path: Path, changes: list[str], message: str) -> None:
    needed = ["--pipeline", str(tmp_path), "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    (tmp_path / "index.json").touch()
    with pytest.raises(SystemExit, match=message):
        train_command.main([*needed, *changes])
    assert not (tmp_path / "out").exists()


def test_truncated_pipeline_weights_are_named(study: Path, tmp_path: Path, tiny_pipeline_folder: Path) -> None:
    broken = tmp_path / "pipeline"
    shutil.copytree(tiny_pipeline_folder, broken)
    weights = next((broken / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="cannot load the pipeline"):
        train_command.main(["--study", str(study), "--pipeline", str(broken), "--output", "o"])


def test_a_missing_cache_is_said_before_weights_are_read(
    tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "swd.training.inputs", None)  # the first of the slow imports
    command = ["--preset", "mini-6", "--pipeline", str(tiny_pipeline_folder), "--data", str(tmp_path), "--output", "o"]
    with pytest.raises(SystemExit, match="holds no latent cache"):
        train_command.main(command)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--rank", "100000"], r"rank must be at most \d+, the width of the network's widest layer, got 100000"),
        (["--feature-block", "99"], "feature_block 99 is past the last block of the network, 1"),
        (["--scales", "4", "5"], r"scales must be multiples of the patch size 2, got \[5\]"),
    ],
)
def test_options_that_do_not_fit_the_network_are_said_before_weights_are_read(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str], message: str
) -> None:
    monkeypatch.setattr(inputs, "load_parts", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match=message):
        train_command.main(["--study", str(study), "--output", str(tmp_path / "run"), *changes])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "metadata.jsonl").unlink(), "metadata.jsonl is missing"),
        (lambda folder: (folder / "metadata.jsonl").write_text('{"text": "a"}'), "line 1"),
        (lambda folder: (folder / "1.png").unlink(), "line 2"),
        (lambda folder: (folder / "1.png").write_bytes(b"no image"), "1.png cannot be read as an image"),
        (
            lambda folder: Image.new("RGB", (9, 9)).save(folder / "1.png"),
            r"1.png is 9 x 9 pixels, the largest scale needs 12 x 12",
        ),
    ],
)
def test_bad_image_folder_is_explained(
    images: Path,
    tiny_pipeline_folder: Path,
    tmp_path: Path,
    spoil: object,
    message: str,
) -> None:
    spoil(images)
    command = ["--images", str(images), "--pipeline", str(tiny_pipeline_folder), "--output", str(tmp_path / "cache")]
    with pytest.raises(SystemExit, match=message):
        cache_command.main([*command, "--scales", "4", "6", "--device", "cpu", "--max-sequence-length", "0"])


def test_a_limit_draws_images_by_seed() -> None:
    records = [Caption(f"{number}.png", "a red star", number + 1) for number in range(20)]
    chosen = cache_command.drawn(records, 5, seed=1)
    assert len(chosen) == 5
    assert chosen == sorted(chosen, key=records.index)
    assert chosen == cache_command.drawn(records, 5, seed=1)
    assert chosen != cache_command.drawn(records, 5, seed=2)
    assert cache_command.drawn(records, 20, seed=1) == records


def test_cache_serves_presets_and_own_scales_together() -> None:
    def command(**schedules: tuple) -> cache_command.CacheCommand:
        return cache_command.CacheCommand(images=Path("i"), pipeline="p", output=Path("o"), **schedules)

    assert cache_command.ladders(command(presets=("mini-4",), scales=(4, 6))) == [(16, 20, 24, 32), (4, 6)]
    for schedules, message in (
        ({}, "at least one schedule"),
        ({"presets": ("mini-5",)}, "no preset 'mini-5'; nearest: mini-"),
        ({"scales": (6, 4)}, "must not shrink"),
        ({"scales": (0, 4)}, "must be positive"),
    ):
        with pytest.raises(ConfigError, match=message):
            cache_command.ladders(command(**schedules))


def test_cache_without_a_schedule_ends_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="at least one schedule"):
        cache_command.main(["--images", str(tmp_path), "--pipeline", "p", "--output", "o"])


def test_fp16_on_a_cpu_is_refused_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.json").touch()
    monkeypatch.setattr(loading, "load_pipeline", lambda *_, **__: pytest.fail("loaded"))
    command = ["--preset", "mini-6", "--pipeline", "p", "--data", str(tmp_path), "--output", "o"]
    command += ["--mixed-precision", "fp16"]
    with pytest.raises(SystemExit, match="fp16 needs an accelerator"):
        train_command.main(command)


def test_states_go_by_minutes_unless_told_otherwise(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def trained(*_: object, state_minutes: float, **__: object) -> None:
        asked.append(state_minutes)
        raise PipelineError("far enough")

    monkeypatch.setattr(training, "train", trained)
    for more in ([], ["--state-minutes", "0.5"]):
        with pytest.raises(SystemExit, match="far enough"):
            train_command.main(["--study", str(study), "--output", "o", *more])
    assert asked == [5, 0.5]


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise ValueError("a shape that nobody asked for")

    monkeypatch.setattr(train_command, "run", broken)
    with pytest.raises(ValueError, match="a shape"):
        train_command.main(["--preset", "mini-6", "--pipeline", "p", "--data", "d", "--output", "o"])


@pytest.mark.parametrize(
    ("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_network_alone_is_loaded_in_the_precision_of_the_run(
    precision: str, dtype: torch.dtype, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(config: DistillConfig, denoiser: Denoiser, *_: object, **__: object) -> None:
        assert {weight.dtype for weight in denoiser.network.parameters()} == {dtype}
        raise PipelineError("far enough")

    one = SimpleNamespace(
        num_processes=1, is_main_process=True, device=torch.device("cpu"), main_process_first=nullcontext
    )
    monkeypatch.setattr(run, "new_accelerator", lambda *_: one)  # fp16 is refused on a CPU before anything is loaded
    monkeypatch.setattr(training, "train", trained)
    for kind in (AutoencoderKL, CLIPTextModelWithProjection):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match="far enough"):
        train_command.main(["--study", str(study), "--output", "o", "--mixed-precision", precision])


@pytest.mark.slow
def test_two_processes_train_what_one_does(study: Path, tmp_path: Path) -> None:
    """Bit for bit, where one process takes in pieces what each of two has of a batch.

    `accelerate launch` starts several processes on GPUs only, by this launcher.
    """
    options = ["--study", str(study), "--batch-size", "4", "--micro-batch-size", "2", "--output"]
    train_command.main([*options, str(tmp_path / "one")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = str(torch.get_num_threads())
    environment = {"PYTHONPATH": os.pathsep.join(paths), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": threads}
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [*launcher, str(tmp_path / "two.py"), *options, str(tmp_path / "two")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # minutes only where the machine is busy
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name: path.read_text() for path in tmp_path.glob("*.rank*")} == {"two.rank0": "2", "two.rank1": "2"}
    assert_same(*(tensors(tmp_path / name / "final") for name in ("one", "two")))
    assert curve(tmp_path / "two" / "log.jsonl") == curve(tmp_path / "one" / "log.jsonl")


@pytest.mark.slow
def test_accelerate_launch_trains_what_the_module_does(study: Path, tmp_path: Path) -> None:
    train_command.main(["--study", str(study), "--output", str(tmp_path / "plain")])
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "-m", "swd.train"]
    done = subprocess.run(
        [*launcher, "--study", str(study), "--output", str(tmp_path / "launched")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    plain, launched = (load_file(tmp_path / name / "final" / ADAPTER_FILE) for name in ("plain", "launched"))
    assert plain.keys() == launched.keys()
    for key, weight in plain.items():
        torch.testing.assert_close(launched[key], weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("module", ["swd.train", "swd.cache"])
def test_help_answers_without_torch(module: str) -> None:
    code = f"import sys, {module} as m; assert 'torch' not in sys.modules, 'slow'; m.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--pipeline" in done.stdout
