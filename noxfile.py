"""Every command of the project: `nox --list` names them, `nox -s table2` runs one.

All sessions but `lowest` share one environment, `.venv`, made on first use and left alone while pyproject.toml and
constraints.txt stay as they are: a torch stack for each session would be many times 6 GB. Arguments after `--` reach
the command.
"""

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.sha256"
# glibc gives buffers of megabytes back to the kernel after each operator and faults them in anew for the next one;
# keeping them saves 30 % of the mini teacher's sampling time on a CPU. Other C libraries do not read these.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32)}
IMAGE_REWARD = (
    "image-reward==1.5",
    "clip-anytorch==2.6.0",
    "torch>=2.6",  # before it, a checkpoint that is read as data alone could still run code
    "transformers==4.55.4",
    "setuptools>=77.0.3,<81",  # the package imports pkg_resources
    "datasets>=3",
)
EXPERIMENTS = sorted(path.stem for path in (ROOT / "repro").glob("[!_]*.py"))
OF_THE_PAPER = [name for name in EXPERIMENTS if re.match(r"(table|figure)\d", name)]
OF_THE_PAPER.sort(key=lambda name: name.startswith("figure"))  # tables first: figures of preference read their records


def environment(session: nox.Session) -> None:
    """Make or update `.venv`; a stamp with the hash of its two inputs says whether there is anything to do.

    The stamp is written last: an installation that was interrupted is taken up again.
    """
    inputs = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == digest:
        return
    # uv may lie beside a Python that is not on PATH
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    what = ("--editable", f"{ROOT}[all]", "--group", f"{inputs[0]}:dev", "--constraint", str(inputs[1]))
    if uv:
        if not PYTHON.exists():
            session.run(uv, "venv", "--allow-existing", str(VENV), external=True)
        session.run(uv, "pip", "install", "--python", str(PYTHON), *what, external=True)
    else:
        if not PYTHON.exists():
            session.run(sys.executable, "-m", "venv", str(VENV), external=True)
        session.run(str(PYTHON), "-m", "pip", "install", "--upgrade", "pip>=25.1", external=True)  # knows --group
        session.run(str(PYTHON), "-m", "pip", "install", *what, external=True)
    STAMP.write_text(digest)


def python(session: nox.Session, *arguments: str, **variables: str) -> None:
    """Run a module in the shared environment; what the caller's shell says goes before our variables.

    But bytecode is written even where an image of a container forbids it: every process would compile 6,500 modules
    again, which takes longer than to load them.
    """
    environment(session)
    variables = {**ALLOCATOR, **variables, **os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    session.run(str(PYTHON), "-m", *arguments, external=True, env=variables)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint, without changing anything."""
    python(session, "ruff", "format", "--check", ".")
    python(session, "ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict on the library and on whatever has no torch."""
    python(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, a process on every core; arguments go to pytest (`-- -n 0 --pdb` for a debugger)."""
    # torch's threads would wait for each other, and most of a test is Python, which has one
    python(session, "pytest", "-n", "auto", "--maxprocesses", "8", *session.posargs, OMP_NUM_THREADS="1")


@nox.session(venv_backend="uv", python="3.11")
def lowest(session: nox.Session) -> None:
    """The fast tests under the lowest versions that pyproject.toml promises, in an environment of its own; needs uv.

    Python 3.11, since the oldest wheels were built for nothing newer. Not a session by default: it installs 7 GB.
    """
    what = ("--editable", f"{ROOT}[all]", "--group", f"{ROOT / 'pyproject.toml'}:test")
    session.install("--resolution", "lowest-direct", *what)
    fast = ("-m", "not slow", "-n", "auto", "--maxprocesses", "8")
    session.run("python", "-m", "pytest", *fast, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def imagereward(session: nox.Session) -> None:
    """An environment for the official image-reward package, .venv-imagereward; needs uv. Arguments run its scorer.

    The package asks for old versions, and for more than it names; this set resolves on Python 3.11.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if not uv:
        session.error("nox -s imagereward needs uv: python -m pip install uv")
    theirs = ROOT / ".venv-imagereward" / "bin" / "python"
    session.run(uv, "venv", "--allow-existing", "--python", "3.11", str(theirs.parents[1]), external=True)
    session.run(uv, "pip", "install", "--python", str(theirs), *IMAGE_REWARD, external=True)
    if session.posargs:
        runner = ROOT / "repro" / "metrics" / "runners" / "image_reward_official.py"
        session.run(str(theirs), str(runner), *session.posargs, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Time sampling, training and the building blocks: paper_tables/benchmarks.md and training_cost.md."""
    for page in ("benchmarks", "training_cost"):
        python(session, "repro", page, *session.posargs)


@nox.session
def queue(session: nox.Session) -> None:
    """Distil, sample and score for several tables by several processes: `nox -s queue -- table5 table6 table7`."""
    python(session, "repro", "queue", *session.posargs)


@nox.session
def gallery(session: nox.Session) -> None:
    """A page of all sample figures, image by image, that opens from disk: results/gallery/index.html."""
    python(session, "repro", "gallery", *session.posargs)


@nox.session
def study(session: nox.Session) -> None:
    """A preference study in the browser: `nox -s study -- new ...`, `serve STUDY.toml`, `report STUDY.toml`."""
    python(session, "repro", "study", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Disturb runs and compare them with undisturbed ones: the short form, then paper_tables/reliability.md."""
    python(session, "pytest", "-n", "0", "tests/faults", OMP_NUM_THREADS="1")
    python(session, "repro", "reliability", *session.posargs)


@nox.session
def mini(session: nox.Session) -> None:
    """Train the mini pipeline from nothing (repro/worlds/mini/weights): about four hours on two cores, resumable."""
    python(session, "repro.worlds.mini", *session.posargs)


@nox.session
def tables(session: nox.Session) -> None:
    """Write every page of paper_tables/ again from its records; `-- --check` only compares."""
    python(session, "repro", "render", *session.posargs)


@nox.session
def logbook(session: nox.Session) -> None:
    """Write a Trackio logbook, offline: a page for each claim of the paper, from the records of paper_tables/."""
    python(session, "repro", "logbook", *session.posargs)


@nox.session(name="all")
def everything(session: nox.Session) -> None:
    """Measure and render every table and figure of the paper; `-- --retrain` distils all students again."""
    for experiment in OF_THE_PAPER:
        python(session, "repro", experiment, *session.posargs)


def _declare(experiment: str) -> None:
    @nox.session(name=experiment)
    def measure(session: nox.Session) -> None:
        python(session, "repro", experiment, *session.posargs)

    measure.__doc__ = f"Measure and render {experiment}; arguments go to `python -m repro {experiment}`."


for _experiment in EXPERIMENTS:
    _declare(_experiment)
