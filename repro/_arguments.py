"""Arguments of the command line that are of no kind alone."""

import argparse
from argparse import ArgumentParser

from repro.harness import arguments
from repro.harness.experiment import Experiment, Variant
from repro.kinds import kind_of
from repro.profiles import PROFILES


def experiment_arguments(parser: ArgumentParser, experiment: Experiment) -> None:
    """Of every experiment, and of its kind."""
    kind = kind_of(experiment)
    parser.add_argument("--out", type=arguments.path, metavar="DIR", help="results folder (default: the profile's)")
    parser.add_argument("--replace", action="store_true", help="replace records of other settings in --out")
    parser.add_argument(
        "--work", type=arguments.path, metavar="DIR", help="folder of unfinished work (default: results/stages)"
    )
    if kind.profile:
        parser.set_defaults(profile=kind.profile, device="auto")
    else:
        _world_arguments(parser)
    kind.add_arguments(parser)
    if kind.plan is not None:
        parser.add_argument("--dry-run", action="store_true", help="print what would be done and what is missing")
    parser.set_defaults(experiment=experiment.key)


def _world_arguments(parser: ArgumentParser) -> None:
    """What every experiment takes that has a choice of profiles: `nox -s all -- --retrain` says it to all of them."""
    parser.add_argument("--profile", default="mini", help=f"world to measure in: {', '.join(PROFILES)} (default: mini)")
    parser.add_argument("--device", type=arguments.device, default="auto", help="torch device (default: auto)")
    students = parser.add_argument_group("students (nothing changes for what has none)")
    students.add_argument(
        "--seeds",
        type=arguments.seed,
        nargs="+",
        action="extend",
        metavar="SEED",
        help="training seeds (default: the profile's)",
    )
    students.add_argument("--retrain", action="store_true", help="distil the students again, not the shipped adapters")


def variant_argument(parser: ArgumentParser, variant: Variant, key: str) -> None:
    """The option by which an experiment is measured in a variant."""
    parser.add_argument(f"--{variant.option}", dest="experiment", action="store_const", const=key, help=variant.help)


def queue_arguments(parser: ArgumentParser) -> None:
    """Of the queue."""
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="tables of scores, such as table5 table6 table7")
    parser.add_argument("--profile", help="world to measure in (default: mini)")
    parser.add_argument("--device", type=arguments.device, help="torch device (default: auto)")
    parser.add_argument("--out", type=arguments.path, metavar="DIR", help="results folder (default: the profile's)")
    parser.add_argument(
        "--work", type=arguments.path, metavar="DIR", help="folder of unfinished work (default: results/stages)"
    )
    parser.add_argument(
        "--workers",
        type=arguments.whole,
        metavar="N",
        help="processes (default: one for each GPU; without GPUs one for each core)",
    )
    parser.add_argument(
        "--seeds",
        type=arguments.seed,
        nargs="+",
        action="extend",
        metavar="SEED",
        help="training seeds of every student (default: each table's)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the units and what is left; do nothing")
    parser.add_argument(
        "--worker", type=arguments.whole, help=argparse.SUPPRESS
    )  # a process of the queue: who started it
