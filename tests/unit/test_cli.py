import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness_world import PROFILE, TABLE, draw_once, lines
from safetensors import SafetensorError

from repro import __main__ as cli
from repro import experiments, load_experiment
from repro.harness.experiment import ExperimentError
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.records import RecordSet, save
from repro.kinds import kind_of
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import ScoresOptions
from swd.errors import CacheError

Ran = list[tuple[Table, Profile, RunOptions]]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout elsewhere, whose only world is the toy one; profile ``loose`` may not be committed."""
    profiles = {
        "toy": replace(PROFILE, committed=True),
        "loose": replace(PROFILE, name="loose", output="results/loose"),
    }
    monkeypatch.setattr("repro.kinds.scores.figure.draw_compute", draw_once)
    monkeypatch.setattr(cli, "_root", lambda: tmp_path)
    monkeypatch.setattr(cli, "load_profile", profiles.__getitem__)
    monkeypatch.setattr(cli, "load_experiment", lambda _: TABLE)
    return tmp_path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Stands in for the runner: writes the toy records and keeps what it was asked for."""
    calls: Ran = []

    def run(table: Table, profile: Profile, options: RunOptions) -> Path:
        calls.append((table, profile, options))
        path = options.out / "records" / f"{profile.stem(table.key)}.jsonl"
        renamed = [replace(line, profile=profile.name) if hasattr(line, "profile") else line for line in lines()]
        save(path, RecordSet.of(renamed))
        return path

    monkeypatch.setitem(sys.modules, "repro.kinds.scores.measure", SimpleNamespace(run=run))  # type: ignore[arg-type]
    return calls


def raising(error: BaseException) -> Callable[..., Path]:
    def run(*_: object) -> Path:
        raise error

    return run


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from repro.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as leaving: assert leaving.code == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'matplotlib', 'diffusers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "render" in done.stdout
    # Processor time, not wall time: a busy machine must not fail the test.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_rendering_does_not_import_torch() -> None:
    done = python("import sys, repro.harness.render; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)")
    assert done.returncode == 0


def test_measuring_prints_the_table(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table2", "--profile", "toy", "--seeds", "3", "4", "--retrain"]) == 0
    ((table, profile, options),) = ran
    assert (table.key, profile.name) == ("table2", "toy")
    assert options == ScoresOptions(
        out=toy / "paper_tables",
        committed=True,
        replace=True,
        work=toy / "results" / "stages",
        seeds=(3, 4),
        retrain=True,
        rows=("teacher", "small", "big"),
        command="python -m repro table2 --profile toy --seeds 3 4 --retrain",
    )
    assert "# Toy table" in capsys.readouterr().out
    assert (toy / "paper_tables" / "README.md").exists()


def test_relative_folders_are_those_from_which_the_command_was_typed(
    toy: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "here").mkdir()
    monkeypatch.chdir(toy / "here")
    assert cli.main(["table2", "--profile", "loose", "--out", "mine", "--work", "../w"]) == 0
    ((_, _, options),) = ran
    monkeypatch.chdir(toy)  # as parts of a measurement do, which run in processes of their own
    assert options.out.samefile(toy / "here" / "mine")
    assert options.work.samefile(toy / "w")
    assert options.command.endswith("--out mine --work ../w")


def test_loose_results_go_elsewhere(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table2", "--profile", "loose"]) == 0
    assert (toy / "results" / "loose" / "table2.md").exists()
    assert not (toy / "paper_tables").exists()
    assert cli.main(["table2", "--profile", "loose", "--out", str(toy / "paper_tables")]) == 2
    assert "'loose' do not belong into paper_tables" in capsys.readouterr().err
    assert len(ran) == 1


def test_loose_records_are_not_rendered_into_paper_tables(toy: Path, ran: Ran) -> None:
    cli.main(["table2", "--profile", "loose"])
    (toy / "results" / "loose").rename(toy / "paper_tables")
    assert cli.main(["render"]) == 2


def test_check_names_stale_files(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["table2", "--profile", "toy"])
    assert cli.main(["render", "--check"]) == 0
    (toy / "paper_tables" / "table2.md").write_text("edited")
    assert cli.main(["render", "--check"]) == 1
    assert "paper_tables/table2.md: differs from its records" in capsys.readouterr().err
    assert cli.main(["render"]) == 0
    assert cli.main(["render", "--check"]) == 0


def test_rendering_twice_says_that_nothing_is_to_do(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["table2", "--profile", "toy"])
    capsys.readouterr()
    assert cli.main(["render"]) == 0
    assert "is up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["tabel2"], "unknown experiment or command 'tabel2'; did you mean table2"),
        (["rendr"], "did you mean render"),
        (["table2", "--profile", "minni"], "unknown profile 'minni'; did you mean mini"),
        (["table2", "--profile", "qqq"], "unknown profile 'qqq'; known: flux, mini, sd35-large, sd35-medium"),
    ],
)
def test_unknown_names_get_the_nearest(typed: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed) == 2
    assert message in capsys.readouterr().err


def test_what_has_no_students_takes_no_other_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table1", "--seeds", "5", "--out", str(tmp_path)]) == 2
    assert "--seeds 5 needs --retrain: only seed 0 is shipped" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", [["1", "1"], ["-1"]])
def test_bad_seeds(toy: Path, ran: Ran, seeds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table2", "--profile", "toy", "--seeds", *seeds]) == 2
    assert "--seeds must be different and not negative" in capsys.readouterr().err


def test_a_file_of_somebody_else_is_not_written_over(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "mine").mkdir()
    (toy / "mine" / "README.md").write_text("# My project\n")
    assert cli.main(["table2", "--profile", "toy", "--out", str(toy / "mine")]) == 1
    assert "README.md is no page of measurements, and would be lost: choose another --out" in capsys.readouterr().err
    assert ran == []
    assert (toy / "mine" / "README.md").read_text() == "# My project\n"


def test_an_unwritable_folder_fails_before_the_work(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "file").write_text("in the way")
    assert cli.main(["table2", "--profile", "toy", "--out", str(toy / "file" / "out")]) == 1
    assert "cannot write into" in capsys.readouterr().err
    assert ran == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["table2", "--profile", "sd35-medium", "--retrain"], "for sd35-medium train with python -m swd.train"),
        (["table2", "--profile", "sdxl-tiny-vae"], "profile sdxl-tiny-vae has no metrics: it cannot measure table2"),
        (["figure1", "--tiny-vae"], "profile mini has no tiny VAE"),
        (["figure1", "--random-weights", "--out", "paper_tables"], "do not belong into paper_tables"),
    ],
)
def test_what_a_profile_cannot_do_is_refused(
    typed: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(cli._root())
    assert cli.main(typed) == 2
    assert message in capsys.readouterr().err


def test_figures_take_images_and_another_vae(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []
    monkeypatch.setattr(cli, "_measure_and_print", lambda *arguments: calls.append(arguments))
    command = ["figure1", "--profile", "sdxl", "--tiny-vae", "--images", "photos", "--pipeline", "mine"]
    assert cli.main([*command, "--work", str(tmp_path), "--out", str(tmp_path)]) == 0
    ((figure, profile, options),) = calls
    assert (figure.key, profile.name) == ("figure1", "sdxl-tiny-vae")
    assert (options.images, options.pipeline, options.random_weights) == (Path("photos"), "mine", False)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["table1"], "table1"),
        (["table1", "--extended"], "table1_extended"),
        (["table2", "--over-seeds"], "table2_seeds"),
        (["table2", "--extended"], "table2_extended"),
    ],
)
def test_a_variant_is_a_table_of_its_own(
    words: list[str], key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []
    monkeypatch.setattr(cli, "_measure_and_print", lambda *arguments: calls.append(arguments))
    assert cli.main([*words, "--work", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert calls[0][0].key == key


def test_rendering_nothing_says_what_to_do(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["render", "--out", str(toy / "nowhere")]) == 2
    assert "measure something first" in capsys.readouterr().err


def test_torn_records_are_named(toy: Path, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["table2", "--profile", "toy"])
    path = toy / "paper_tables" / "records" / "table2.jsonl"
    path.write_text(path.read_text()[:-9])
    assert cli.main(["render"]) == 1
    assert "table2.jsonl:" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (ExperimentError("no weights in x"), 1)])
def test_errors_of_the_runner(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    monkeypatch.setitem(sys.modules, "repro.kinds.scores.measure", SimpleNamespace(run=raising(error)))  # type: ignore[arg-type]
    assert cli.main(["table2", "--profile", "toy"]) == status
    told = capsys.readouterr().err
    assert "goes on from here" in told if status == 130 else "error: no weights in x" in told


def test_list_names_tables_and_profiles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "load_profile", lambda _: PROFILE)
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    assert load_experiment("table2").title in told
    assert "smoke" in told


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--dtype", "float8"], "dtype must be one of"),
        (["--vae", "huge"], "vae must be one of full, tiny, none, got 'huge'"),
        (["--batch-sizes", "0"], "batch sizes must be different and at least 1"),
        (["--rounds", "0"], "at least 1 round"),
        (["--rows", "scalewise_5"], "table3 has no row 'scalewise_5', its rows are scalewise_6, "),
        (["--no-t5"], "--no-t5 leaves a T5 out of random weights, but a pipeline is loaded as it is"),
        (["--train-steps", "2"], "another protocol do not belong into paper_tables"),
        (["--rounds", "5"], "another protocol do not belong into paper_tables"),
        (["--pipeline", "mine"], "weights of mine are not those of profile mini, which belong into paper_tables"),
        (["--profile", "sdxl"], "is timed in profiles mini, smoke, sd35-medium, sd35-large, not sdxl"),
    ],
)
def test_a_clock_that_cannot_run_is_refused(typed: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table3", *typed]) == 2
    assert message in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "repro", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert listing.stdout is not None
    listing.stdout.close()  # as `| head -0`
    assert listing.stderr is not None
    assert listing.stderr.read() == ""
    assert listing.wait() == 0


TOLD = {
    "no cache there": CacheError("no cache there"),
    "the disk is full; finished stages stay in": OSError(errno.ENOSPC, "No space left on device"),
    "the disk is full (/a/b.npz); finished stages": OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b.npz"),
    "/a/b.png: Permission denied; finished stages stay in": PermissionError(
        errno.EACCES, "Permission denied", "/a/b.png"
    ),
    "no adapter at here; finished stages": FileNotFoundError("no adapter at here"),
    "memory is full; finished stages stay in": MemoryError(),
    "text that cannot be read or written: 'utf-8' codec": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    "half a file": SafetensorError("half a\nfile"),
}
KINDS = {kind_of(experiment).name: key for key, experiment in experiments().items()}


FEW = ("the disk is full; finished stages stay in", "memory is full; finished stages stay in")


@pytest.mark.parametrize(
    ("name", "words"),
    [*(("table2", words) for words in TOLD), *((name, few) for name in KINDS.values() for few in FEW)],
)
def test_errors_of_every_kind_of_result_are_told_in_one_line(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = TOLD[words]
    kind = replace(kind_of(load_experiment(name)), run=raising(error))
    monkeypatch.setattr(cli, "kind_of", lambda _: kind)
    assert cli.main([name, "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied", "x.jsonl"), MemoryError()])
def test_what_the_machine_refuses_is_told_whatever_the_command(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_list", raising(error))
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err in {
        "error: x.jsonl: Permission denied\n",
        "error: memory is full: free some, or ask for less at once, and run this again\n",
    }


def test_a_terminal_that_knows_ascii_alone_is_enough(toy: Path, ran: Ran) -> None:
    code = "import sys; from repro.__main__ import main; main(['list']); print('caf\\u00e9 \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "caf\\xe9 \\udcff"


def test_names_in_a_listing_stand_in_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    listing = capsys.readouterr().out.splitlines()
    titles = {line.index(line.split("  ", 1)[1].lstrip()) for line in listing}
    assert len(titles) == 1
