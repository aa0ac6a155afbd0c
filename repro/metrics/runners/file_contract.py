"""The scorer's side of the file contract of `repro.metrics.external`; needs nothing but Python."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

Requests = list[dict[str, str]]


def arguments(description: str, *, device: str) -> argparse.ArgumentParser:
    """A parser of the two paths that every scorer takes, and of the device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("requests", type=Path, help="JSONL of id, image, caption")
    parser.add_argument("results", type=Path, help="JSONL of id, score; lines are added")
    parser.add_argument("--device", default=device, help="(default: %(default)s)")
    return parser


def unscored(requests: Path, results: Path) -> Requests:
    """Requests whose ids the results do not hold yet: a run that was killed goes on.

    A last line without its end was cut off by the kill and is taken away.
    """
    done: set[str] = set()
    if results.exists():
        text = results.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            results.write_text(whole, encoding="utf-8")
        done = {json.loads(line)["id"] for line in whole.splitlines()}
    lines = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["id"] not in done]


def add_scores(todo: Requests, results: Path, score: Callable[[Requests], Iterable[float]], *, batch: int = 1) -> None:
    """Score requests batch by batch, and write a line for each as soon as it is known."""
    with results.open("a", encoding="utf-8") as stream:
        for start in range(0, len(todo), batch):
            part = todo[start : start + batch]
            for line, value in zip(part, score(part), strict=True):
                stream.write(json.dumps({"id": line["id"], "score": float(value)}) + "\n")
            stream.flush()
