"""`python -m repro study ...`: what it takes and what it does. The server's libraries are met only where they serve."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repro.harness import arguments, terminal
from repro.harness.kind import UsageError
from repro.harness.votes.vote import CRITERIA
from repro.study.errors import BusyError, FullDiskError, StudyError

EXTRA = "this needs the extra `study`: pip install -e '.[study]' -c constraints.txt"
PORT = 8765
MOST_INVITED = 10_000  # at once


def add_parser(commands: Any) -> None:
    """Add `study` to the parsers of the command line.

    Args:
        commands: what ``add_subparsers`` gave.
    """
    study: ArgumentParser = commands.add_parser("study", help="compare images by votes of people, in the browser")
    acts = study.add_subparsers(dest="study_command", required=True, metavar="COMMAND")
    _add_new(acts)
    _add_serve(acts)
    invite = _add(acts, "invite", _invite, "make a link for each assessor; the links are printed once")
    invite.add_argument("names", nargs="*", metavar="NAME", help="pseudonyms, which stand in every vote")
    invite.add_argument(
        "--count", type=arguments.whole, metavar="N", help="that many further assessors, named A1, A2, ..."
    )
    invite.add_argument("--admin", action="store_true", help="a link to the page that shows how far the study is")
    invite.add_argument("--days", type=arguments.finite, default=30, help="how long the links hold (default: 30)")
    invite.add_argument("--url", help=f"address that assessors open (default: http://127.0.0.1:{PORT})")
    revoke = _add(acts, "revoke", _revoke, "withdraw links, of assessors or of who runs the study; answers stay")
    revoke.add_argument("names", nargs="+", metavar="NAME")
    revoke.add_argument("--discard", action="store_true", help="their answers count no more: others are asked again")
    _add(acts, "status", _status, "how far the study is, by assessor and question")
    export = _add(acts, "export", _export, "write the votes to a file")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="(default: jsonl)")
    export.add_argument(
        "--out", type=arguments.path, metavar="FILE", help="(default: votes.jsonl or votes.csv beside the study)"
    )
    export.add_argument(
        "--parts", type=arguments.path, metavar="FILE", help="also the answers to the parts of questions, as CSV"
    )
    made = acts.add_parser("import", help="read votes that were made in Label Studio")
    made.add_argument("file", type=arguments.path, metavar="EXPORT.json", help="its JSON export of a project of pairs")
    made.add_argument("--out", type=arguments.path, required=True, metavar="FILE", help="votes.jsonl or votes.csv")
    made.set_defaults(study_act=_import)
    report = acts.add_parser("report", help="shares of wins with intervals, strengths, agreement, attention, time")
    report.add_argument("votes", nargs="+", type=arguments.path, metavar="FILE", help="STUDY.toml, or files of votes")
    report.add_argument("--out", type=arguments.path, metavar="FILE", help="Markdown file (default: printed)")
    report.add_argument("--all", action="store_true", help="keep votes of assessors who missed attention checks")
    report.set_defaults(study_act=_report)


def run(typed: Namespace) -> int:
    """Carry a command out.

    Raises:
        StudyError: it cannot be, as it says.
        UsageError: it was typed wrongly.
    """
    try:
        status: int = typed.study_act(typed)
    except FullDiskError as error:
        raise StudyError("the database cannot be written: the disk is full or damaged; nothing was changed") from error
    except BusyError as error:
        raise StudyError("another process holds the database; nothing was changed: try again") from error
    return status


def _add(acts: Any, name: str, act: Callable[[Namespace], int], text: str) -> ArgumentParser:
    parser: ArgumentParser = acts.add_parser(name, help=text)
    parser.add_argument("study", type=arguments.path, metavar="STUDY.toml")
    parser.set_defaults(study_act=act)
    return parser


def _add_new(acts: Any) -> None:
    new: ArgumentParser = acts.add_parser("new", help="make a study from folders of images and a prompt file")
    new.add_argument(
        "--systems", nargs="+", required=True, metavar="KEY=DIR", help="folders of images <prompt id>-<image>.png"
    )
    new.add_argument("--prompts", type=arguments.path, required=True, metavar="FILE", help=".jsonl, .csv, .tsv or .txt")
    new.add_argument("--out", type=arguments.path, required=True, metavar="DIR", help="folder of the study")
    new.add_argument("--name", help="of the study (default: that of the folder)")
    new.add_argument(
        "--num-prompts", type=arguments.whole, metavar="N", help="how many are drawn (default: 128, or all)"
    )
    new.add_argument("--images", type=arguments.whole, default=2, metavar="N", help="of each prompt (default: 2)")
    new.add_argument("--criteria", nargs="+", choices=CRITERIA, default=CRITERIA, help="(default: all four)")
    new.add_argument("--language", default="en", help="en, de, or a file of texts (default: en)")
    new.add_argument("--attention", type=arguments.finite, default=0.1, help="share of attention checks (default: 0.1)")
    new.add_argument("--seed", type=arguments.seed, default=0)
    new.set_defaults(study_act=_new)


def _add_serve(acts: Any) -> None:
    serve = _add(acts, "serve", _serve, "serve the pages")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    serve.add_argument("--port", type=arguments.whole, default=PORT, help=f"0 takes a free one (default: {PORT})")
    serve.add_argument("--url", help="address that assessors open, where a proxy or another name stands before it")
    serve.add_argument(
        "--rate", type=arguments.finite, default=20, help="requests a second of one assessor (default: 20)"
    )


def _new(typed: Namespace) -> int:
    from repro.study.making import Request, make_study  # NumPy, Pillow: not for --help

    given = ("prompts", "out", "name", "num_prompts", "images", "criteria", "language", "seed", "attention")
    study = make_study(Request(systems=_folders(typed.systems), **{name: getattr(typed, name) for name in given}))
    print(f"wrote {study.file}: {len(study.checks)} pairs with known answers lie in {study.folder / 'checks'}")
    print("look at them: what is not plain, take out of STUDY.toml. Then:")
    print(f"python -m repro study invite {study.file} --count {study.assessors}")
    print(f"python -m repro study serve {study.file}")
    return 0


def _folders(words: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for word in words:
        key, equals, folder = word.partition("=")
        if not key or not equals or not folder:
            raise UsageError(f"--systems takes KEY=DIR, got {word!r}")
        if key in found:
            raise UsageError(f"--systems names {key} twice")
        found[key] = Path(folder)
    if len(found) < 2:
        raise UsageError(f"--systems takes at least two, got {', '.join(found)}")
    return found


def _serve(typed: Namespace) -> int:
    from repro.study.definition import load_study

    study = load_study(typed.study)
    try:
        from repro.study.serving import Where, serve
    except ModuleNotFoundError as error:
        raise StudyError(f"{error.name} is not installed; {EXTRA}") from error
    serve(study, Where(host=typed.host, port=typed.port, url=typed.url, rate=typed.rate))
    return 0


def _invite(typed: Namespace) -> int:
    from repro.study.access import Access
    from repro.study.database import Database
    from repro.study.definition import load_study

    if typed.count is not None and not 1 <= typed.count <= MOST_INVITED:
        raise UsageError(f"--count must be from 1 to {MOST_INVITED}, got {typed.count}")
    access = Access(Database(load_study(typed.study).database))
    names = [*typed.names, *_further(access.names(), typed.count or 0)]
    if typed.admin and not names:
        names = ["admin"]
    if not names:
        raise UsageError("nobody to invite: name them, or say how many with --count")
    made = access.invite(names, typed.days, "admin" if typed.admin else "assessor")
    url = (typed.url or f"http://127.0.0.1:{PORT}").rstrip("/")
    for name, token in made.items():
        print(f"{name}\t{url}/enter/{token}")
    print(f"shown once: only hashes are kept; the links hold for {typed.days:g} days", file=sys.stderr)
    return 0


def _further(known: list[str], count: int) -> list[str]:
    numbers = (number for number in range(1, len(known) + count + 1) if f"A{number}" not in known)
    return [f"A{number}" for number, _ in zip(numbers, range(count), strict=False)]


def _revoke(typed: Namespace) -> int:
    from repro.study.access import Access

    Access(_opened(typed)[1]).revoke(typed.names, discard=typed.discard)
    print(f"withdrawn{' with all answers' if typed.discard else ''}: {', '.join(typed.names)}")
    return 0


def _status(typed: Namespace) -> int:
    from repro.study.status import describe, read_state

    study, database = _opened(typed)
    terminal.say(describe(read_state(database, study)))
    return 0


def _export(typed: Namespace) -> int:
    from repro.harness.files import write_atomic
    from repro.harness.votes import files
    from repro.study.export import part_answers, read_votes

    study, database = _opened(typed)
    votes = list(read_votes(database, study))
    if not votes:
        raise StudyError(f"{study.file} has no votes yet")
    path = typed.out or study.folder / f"votes.{typed.format}"
    if path.suffix != f".{typed.format}":
        raise UsageError(f"--out is {path}, but --format is {typed.format}")
    files.write(path, votes)
    print(f"wrote {path}: {len(votes):,} votes, {sum(bool(vote.expected) for vote in votes):,} of attention checks")
    if typed.parts:
        write_atomic(typed.parts, part_answers(database, study))
        print(f"wrote {typed.parts}")
    return 0


def _import(typed: Namespace) -> int:
    from repro.harness.votes import files

    votes = files.read(typed.file)
    files.write(typed.out, votes)
    print(f"wrote {typed.out}: {len(votes):,} votes")
    return 0


def _report(typed: Namespace) -> int:
    from repro.harness.files import write_atomic
    from repro.study.report import gather, report

    text = report(gather(typed.votes), keep_all=typed.all)
    if typed.out:
        write_atomic(typed.out, text)
        print(f"wrote {typed.out}")
    else:
        terminal.show(text)
    return 0


def _opened(typed: Namespace) -> Any:
    from repro.study.contents import check_definition
    from repro.study.database import Database
    from repro.study.definition import load_study

    study = load_study(typed.study)
    if not study.database.exists():
        raise StudyError(f"{study.file} has no votes yet: {study.database} is made by `study invite` and `study serve`")
    database = Database(study.database)
    check_definition(database, study)
    return study, database
