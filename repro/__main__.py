"""Command line: measure a table or figure in a profile, or write the pages again from the records.

python -m repro table2 --profile mini
python -m repro render --check
python -m repro list
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import EXPERIMENTS, load_experiment
from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.files import OutputError, probe_writable
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.schema import RecordError
from repro.kinds.benchmarks.declare import BenchmarkPage
from repro.kinds.latency.declare import AUTOENCODERS, DTYPES, LatencyTable, Protocol, changed
from repro.kinds.spectra.declare import SpectraFigure
from repro.kinds.training_cost.declare import TrainingCostPage
from repro.kinds.upscaling.declare import UpscalingTable
from repro.profiles import PROFILES, load_profile

if TYPE_CHECKING:
    from repro.harness.render import Experiment

COMMANDS = ("render", "list")
COMMITTED = "paper_tables"


class UsageError(Exception):
    """A command line that cannot be carried out as typed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except (UnknownNameError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ExperimentError, OutputError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in (*COMMANDS, *EXPERIMENTS):
        raise UnknownNameError("experiment or command", command, (*COMMANDS, *EXPERIMENTS))
    options = _parser().parse_args(arguments)
    if options.command == "list":
        return _list()
    if options.command == "render":
        return _render(options.out or _root() / COMMITTED, check=options.check)
    return _measure(options, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m repro", description="Measure and render the tables and figures of the SwD paper."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in EXPERIMENTS:
        experiment = commands.add_parser(name, help=f"measure and render {name}")
        _folder_arguments(experiment)
        if name not in ("benchmarks", "training_cost"):
            _experiment_arguments(experiment)
        if name == "table1":
            experiment.add_argument("--extended", action="store_true", help="other start sides and upscale modes too")
        if name.startswith("figure"):
            _vae_arguments(experiment)
        if name == "table3":
            _protocol_arguments(experiment)
    render = commands.add_parser("render", help="write the pages again from the records")
    render.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the files that are stale")
    render.add_argument("--out", type=Path, metavar="DIR", help=f"results folder (default: {COMMITTED})")
    commands.add_parser("list", help="list tables, figures and profiles")
    return parser


def _folder_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: the profile's)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of unfinished work (default: results/stages)")
    parser.set_defaults(profile="mini", device="auto", seeds=None, retrain=False)


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="mini", help=f"world to measure in: {', '.join(PROFILES)} (default: mini)")
    parser.add_argument("--device", default="auto", help="torch device (default: auto)")
    students = parser.add_argument_group("students (figures have none)")
    students.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="training seeds (default: the profile's)"
    )
    students.add_argument("--retrain", action="store_true", help="distil the students again, not the shipped adapters")


def _vae_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, metavar="DIR", help="measure the images of this folder too")
    parser.add_argument("--pipeline", default="", metavar="PATH", help="folder or hub name (default: the profile's)")
    parser.add_argument("--tiny-vae", action="store_true", help="the tiny autoencoder in place of the profile's VAE")
    parser.add_argument("--random-weights", action="store_true", help="the architecture alone: does it run, how long")


def _protocol_arguments(parser: argparse.ArgumentParser) -> None:
    clock = parser.add_argument_group("how images are timed (default: the profile's)")
    clock.add_argument("--batch-sizes", type=int, nargs="+", metavar="N", help="images in a batch, each by itself")
    clock.add_argument("--dtype", help=f"of all networks: {', '.join(DTYPES)}")
    clock.add_argument("--text-length", type=int, metavar="N", help="T5 tokens")
    clock.add_argument("--vae", help=f"what decodes: {', '.join(AUTOENCODERS)}")
    clock.add_argument("--fast", action="store_true", default=None, help="the fast sampling path")
    clock.add_argument("--compile", action="store_true", default=None, help="torch.compile on all networks")
    clock.add_argument("--warmup", type=int, metavar="N", help="calls before the timed ones")
    clock.add_argument("--rounds", type=int, metavar="N", help="timed calls of every row, in turn")
    clock.add_argument("--train-rounds", type=int, metavar="N", help="timed cycles of training; 0 leaves it out")
    clock.add_argument(
        "--pipeline", default="", metavar="PATH", help="folder or hub name to load; else random weights for SD3.5"
    )


def _measure(arguments: argparse.Namespace, typed: Sequence[str]) -> int:
    extended = "_extended" if getattr(arguments, "extended", False) else ""
    experiment = load_experiment(arguments.command + extended)
    profile = _profile(experiment, arguments)
    options = _run_options(arguments, typed, profile)
    if isinstance(experiment, LatencyTable):
        options = replace(
            options, **_protocol_options(arguments, experiment.protocols[profile.name], profile, options.out)
        )
    for folder in (options.out, options.work):
        probe_writable(folder)
    _measure_and_print(experiment, profile, options)
    return 0


def _profile(experiment: "Experiment", arguments: argparse.Namespace) -> Profile:
    """The profile as the arguments change it.

    Raises:
        UsageError: it has no metrics for a table, or no tiny VAE.
    """
    if isinstance(experiment, BenchmarkPage | TrainingCostPage):
        return load_profile("mini")
    if isinstance(experiment, LatencyTable):
        profile = load_profile(arguments.profile)
        if profile.name not in experiment.protocols:
            raise UsageError(
                f"{experiment.key} is timed in profiles {', '.join(experiment.protocols)}, not {profile.name}"
            )
        return profile
    if not isinstance(experiment, SpectraFigure):
        profile = load_profile(arguments.profile)
        if not profile.columns:
            raise UsageError(f"profile {profile.name} has no metrics yet: it cannot measure {experiment.key}")
        return profile
    name = arguments.profile
    if arguments.tiny_vae and (name := f"{name}-tiny-vae") not in PROFILES:
        raise UsageError(f"profile {arguments.profile} has no tiny VAE")
    profile = load_profile(name)
    if arguments.random_weights:  # whatever comes out is no measurement of the profile
        return replace(profile, committed=False, output="results/random-weights")
    return profile


def _run_options(arguments: argparse.Namespace, typed: Sequence[str], profile: Profile) -> RunOptions:
    out = arguments.out or _root() / profile.output
    _refuse_uncommitted(profile, out)
    seeds = tuple(arguments.seeds or profile.seeds)
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds must be different and not negative, got {' '.join(map(str, seeds))}")
    if not arguments.retrain and seeds != tuple(profile.seeds[:1]):
        raise UsageError(
            f"--seeds {' '.join(map(str, seeds))} needs --retrain: only seed {profile.seeds[0]} is shipped"
        )
    return RunOptions(
        out=out,
        work=arguments.work or _root() / "results" / "stages",
        seeds=seeds,
        retrain=arguments.retrain,
        device=arguments.device,
        command=f"python -m repro {shlex.join(typed)}",
        **_vae_options(arguments),
    )


def _vae_options(arguments: argparse.Namespace) -> dict[str, Any]:
    if not hasattr(arguments, "images"):
        return {}
    return {name: getattr(arguments, name) for name in ("images", "pipeline", "random_weights")}


def _protocol_options(arguments: argparse.Namespace, protocol: Protocol, profile: Profile, out: Path) -> dict[str, Any]:
    names = ("batch_sizes", "dtype", "text_length", "vae", "fast", "compile", "warmup", "rounds", "train_rounds")
    typed = {name: getattr(arguments, name) for name in names}
    typed["batch_sizes"] = arguments.batch_sizes and tuple(arguments.batch_sizes)
    try:
        asked = changed(protocol, **typed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if out.resolve().is_relative_to((_root() / COMMITTED).resolve()):
        if asked != protocol:
            raise UsageError(f"times of another protocol do not belong into {COMMITTED}; choose another --out")
        if arguments.pipeline and profile.weights.architecture is None:
            raise UsageError(
                f"weights of {arguments.pipeline} are not those of profile {profile.name}, which belong into "
                f"{COMMITTED}; choose another --profile or --out"
            )
    return {"protocol": asked, "pipeline": arguments.pipeline}


def _refuse_uncommitted(profile: Profile, out: Path) -> None:
    if not profile.committed and out.resolve().is_relative_to((_root() / COMMITTED).resolve()):
        raise UsageError(f"results of profile {profile.name!r} do not belong into {COMMITTED}; choose another --out")


def _measure_and_print(experiment: "Experiment", profile: Profile, options: RunOptions) -> None:
    # torch: only where it is needed
    if isinstance(experiment, SpectraFigure):
        from repro.kinds.spectra.measure import run as run_figure

        run_figure(experiment, profile, options)
    elif isinstance(experiment, BenchmarkPage):
        from repro.kinds.benchmarks.measure import run as run_benchmarks

        run_benchmarks(experiment, profile, options)
    elif isinstance(experiment, TrainingCostPage):
        from repro.kinds.training_cost.measure import run as run_training_cost

        run_training_cost(experiment, profile, options)
    elif isinstance(experiment, LatencyTable):
        from repro.kinds.latency.measure import run as run_latency

        run_latency(experiment, profile, options)
    elif isinstance(experiment, UpscalingTable):
        from repro.kinds.upscaling.measure import run as run_upscaling

        run_upscaling(experiment, profile, options)
    else:
        from repro.kinds.scores.measure import run

        run(experiment, profile, options)
    _render(options.out)
    print((options.out / f"{profile.stem(experiment.key)}.md").read_text(encoding="utf-8"))


def _render(out: Path, *, check: bool = False) -> int:
    from repro.harness import render  # pandas: not for --help

    if not (out / "records").is_dir():
        raise UsageError(f"no records in {out}; measure something first, for example: python -m repro table2")
    found = render.results(out, load_experiment, load_profile)
    for result in found:
        _refuse_uncommitted(result.profile, out)
    if not check:
        written = render.render(out, found)
        print(*[f"wrote {path}" for path in written] or [f"{out} is up to date"], sep="\n")
        return 0
    stale = render.check(out, found)
    for file in stale:
        print(f"stale: {file.path}: {file.reason}", file=sys.stderr)
    return 1 if stale else 0


def _list() -> int:
    for name in EXPERIMENTS:
        print(f"{name:<8} {load_experiment(name).title}")
    for name in PROFILES:
        print(f"{name:<8} profile: {load_profile(name).title}")
    return 0


def _root() -> Path:
    """The checkout when run from one, else the current folder."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


if __name__ == "__main__":
    sys.exit(main())
