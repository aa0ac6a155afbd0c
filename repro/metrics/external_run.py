"""Runs an external scorer, and reads its results only once they are one finite number for each image.

A folder keeps all of it. `requests.jsonl` holds what is still to be scored; the scorer adds lines to
`results.part.jsonl`. Where it failed or was killed, its whole lines are kept in `results.kept.jsonl` and the next run
is asked for the rest, so a scorer need know nothing of earlier runs. `results.jsonl` is written last, and holds all.
`scorer.log` is what the last run printed.
"""

import json
import math
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from repro.harness.files import write_atomic
from repro.metrics.external import FINISHED, Scorer, ScorerError

REQUESTS, RESULTS, KEPT = "requests.jsonl", "results.part.jsonl", "results.kept.jsonl"
LOG = "scorer.log"
LAST_LINES = 8  # of the log, in an error
POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """One image to score."""

    id: str
    image: Path
    caption: str


def scores_of(scorer: Scorer, requests: Iterable[Request], folder: Path) -> dict[str, float]:
    """Scores by id: read where they are finished, else asked of the scorer.

    Args:
        scorer: what to run.
        requests: every image of a row, ids distinct.
        folder: of this scorer and this row; keeps requests and results.

    Raises:
        ValueError: two requests of one id, or none.
        ScorerError: the command failed, or its results are not one finite number per request.
    """
    requests = list(requests)
    wanted = _ids(requests)
    finished = folder / FINISHED
    if finished.exists():
        return read_results(finished, wanted)
    if scorer.command is None:
        write_requests(requests, folder / REQUESTS)
        raise ScorerError(
            f"no results of scorer {scorer.key}: score the images named in {folder / REQUESTS} and write "
            f'lines {{"id": ..., "score": ...}} to {finished}, or give a command: {scorer.key}="..."'
        )
    scores = _kept(folder, set(wanted))
    if todo := [request for request in requests if request.id not in scores]:
        _run(scorer, write_requests(todo, folder / REQUESTS), folder)
        scores |= read_results(folder / RESULTS, [request.id for request in todo])
    write_atomic(finished, _lines_of({name: scores[name] for name in wanted}))
    return read_results(finished, wanted)


def write_requests(requests: Iterable[Request], path: Path) -> list[str]:
    """Write one line per request, whole or not at all; gives their ids."""
    requests = list(requests)
    ids = _ids(requests)
    lines = ({"id": r.id, "image": str(r.image.resolve()), "caption": r.caption} for r in requests)
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))
    return ids


def read_results(path: Path, ids: Sequence[str]) -> dict[str, float]:
    """Read results and check that they are one finite number for each id.

    Raises:
        ScorerError: names the line that is no result, or the id that is missing, unknown or there twice.
    """
    wanted, scores = set(ids), dict[str, float]()
    for number, line in _lines(path):
        name, score = _result(line, f"{path}:{number}")
        if name not in wanted:
            raise ScorerError(f"{path}:{number}: id {name!r} was not asked for")
        if name in scores:
            raise ScorerError(f"{path}:{number}: id {name!r} is there twice")
        scores[name] = score
    if missing := [name for name in ids if name not in scores]:
        raise ScorerError(f"{path}: {len(missing)} of {len(ids)} images have no score, the first is {missing[0]!r}")
    return {name: scores[name] for name in ids}


def _ids(requests: Sequence[Request]) -> list[str]:
    seen: set[str] = set()
    for request in requests:
        if request.id in seen:
            raise ValueError(f"two images have the id {request.id!r}")
        seen.add(request.id)
    if not seen:
        raise ValueError("no images to score")
    return [request.id for request in requests]


def _kept(folder: Path, wanted: set[str]) -> dict[str, float]:
    """What earlier runs left that is whole; their file of results makes room for the next run's."""
    scores: dict[str, float] = {}
    for path in (folder / KEPT, folder / RESULTS):
        text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():  # a last line without its end was cut off
            with suppress(ScorerError):
                name, score = _result(line, str(path))
                scores |= {name: score} if name in wanted else {}
    if scores:
        write_atomic(folder / KEPT, _lines_of(scores))
    (folder / RESULTS).unlink(missing_ok=True)
    return scores


def _lines_of(scores: dict[str, float]) -> str:
    return "".join(json.dumps({"id": name, "score": score}) + "\n" for name, score in scores.items())


def _result(line: str, where: str) -> tuple[str, float]:
    try:
        found = json.loads(line)
        name, score = found["id"], found["score"]
    except (ValueError, TypeError, KeyError) as error:
        raise ScorerError(f'{where}: expected {{"id": ..., "score": ...}}, got {line[:80]!r}') from error
    if not isinstance(name, str):
        raise ScorerError(f"{where}: an id is a string as in the requests, got {name!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ScorerError(f"{where}: the score of {name!r} must be a finite number, got {score!r}")
    return name, float(score)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScorerError(f"the scorer wrote no {path}") from error
    except UnicodeDecodeError as error:
        raise ScorerError(f"{path} is no UTF-8 text: {error}") from error
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _run(scorer: Scorer, ids: Sequence[str], folder: Path) -> None:
    """Run the command to its end; what it prints goes to the log, and a bar counts its results."""
    places = {"{requests}": str((folder / REQUESTS).resolve()), "{results}": str((folder / RESULTS).resolve())}
    words = list(scorer.command or ())
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    try:
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise ScorerError(f"cannot start scorer {scorer.key}: {error}; its command is {shlex.join(words)}") from error
    try:
        status = _wait(process, folder / RESULTS, tqdm(total=len(ids), desc=f"scorer {scorer.key}", leave=False))
    finally:
        process.kill()  # where waiting was interrupted; else it is over
        process.wait()
    if status != 0:
        said = _last_lines(folder / LOG)
        raise ScorerError(f"scorer {scorer.key} failed with exit status {status}: {shlex.join(words)}{said}")


def _wait(process: subprocess.Popen[bytes], results: Path, bar: "tqdm[None]") -> int:
    with bar:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                bar.update((results.read_bytes().count(b"\n") if results.exists() else 0) - bar.n)


def _last_lines(log: Path) -> str:
    """The end of what a scorer printed, below a line that says where the rest is."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return "; it printed nothing"
    return "\n".join([f"\nThe last lines of {log}:", *(f"  {line[:300]}" for line in lines[-LAST_LINES:])])
