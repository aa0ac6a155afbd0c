"""Eight assessors at once at a server that is killed, and how long its pages take.

A part of it by default. Whole, 2,000 votes and ten kills, and the time of a page asserted, on a machine that is idle
otherwise: SWD_STUDY_LOAD=full pytest -s tests/smoke/test_study_load.py
"""

import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from study_world import edit, filled, tiny_study

from repro.study.access import Access
from repro.study.database import Database
from repro.study.definition import Study, load_study

FULL = os.environ.get("SWD_STUDY_LOAD") == "full"
ASSESSORS = 8
VOTES, KILLS = (2_000, 10) if FULL else (96, 2)
PROMPTS = -(-VOTES // (4 * 3))  # four questions, three assessors
P95 = 0.1  # seconds
PATIENCE = 60.0  # seconds without an answer
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


class Process:
    """The server as a process of its own."""

    def __init__(self, study: Study) -> None:
        self.study = study
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "repro", "study", "serve", str(self.study.file)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), "--rate", "1000000"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("serving tiny at")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(timeout=10) == -signal.SIGKILL
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Tally:
    """What the server acknowledged, and how long its pages took."""

    votes: dict[str, str] = field(default_factory=dict)
    pages: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)

    def join(self, other: "Tally") -> None:
        assert not self.votes.keys() & other.votes.keys()
        self.votes |= other.votes
        self.pages += other.pages
        self.answers += other.answers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    study = tiny_study(tmp_path, prompts=PROMPTS, side=8)
    edit(study, 'sub_questions = "asked"', 'sub_questions = "shown"')
    process = Process(load_study(study.file))
    process.start()
    yield process
    process.kill()


def insist(client: httpx.Client, method: str, path: str, **fields: object) -> httpx.Response:
    """An answer, however often the server dies meanwhile: the same form is sent again."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return client.request(method, path, **fields)  # type: ignore[arg-type]
        except httpx.TransportError:
            assert time.monotonic() < end, f"no answer to {method} {path}"
            time.sleep(0.05)


def vote(url: str, token: str, seed: int, acknowledged: threading.Semaphore) -> Tally:
    """Vote until the share is done; a vote is acknowledged once its redirect has arrived."""
    rng, tally = random.Random(seed), Tally()
    with httpx.Client(base_url=url, timeout=10, headers={"origin": url}) as client:
        insist(client, "POST", "/enter", data={"token": token})
        where = "/next"
        while True:
            begun = time.perf_counter()
            page = insist(client, "GET", where)
            if page.is_redirect:
                where = page.headers["location"]
                if where == "/finish":
                    return tally
                continue
            assert page.status_code == 200, page.text
            tally.pages.append(time.perf_counter() - begun)
            choice = rng.choice(["left", "tie", "right"])
            begun = time.perf_counter()
            answer = insist(client, "POST", where, data=filled(page.text, choice))
            assert answer.status_code == 303, answer.text
            tally.answers.append(time.perf_counter() - begun)
            tally.votes[where.removeprefix("/pair/")] = choice
            acknowledged.release()
            where = answer.headers["location"]
            where = "/next" if where.startswith("/feedback") or where == "/finish" else where


def vote_at_once(server: Process, database: Database, kills: int) -> Tally:
    names = [f"A{number}" for number in range(ASSESSORS)]
    tokens = Access(database).invite(names, days=1)
    acknowledged, tally, rng = threading.Semaphore(0), Tally(), random.Random(7)
    moments = sorted(rng.sample(range(10, int(0.9 * VOTES)), kills))
    with ThreadPoolExecutor(ASSESSORS) as pool:
        running = [pool.submit(vote, server.url, tokens[name], seed, acknowledged) for seed, name in enumerate(names)]
        for before, moment in zip([0, *moments], moments, strict=False):
            for _ in range(moment - before):
                assert acknowledged.acquire(timeout=PATIENCE)
            time.sleep(rng.uniform(0, 0.02))
            server.kill()
            server.start()
        for each in running:
            tally.join(each.result(timeout=600))
    return tally


def test_no_acknowledged_vote_is_lost_or_doubled_when_the_server_is_killed(server: Process) -> None:
    database = Database(server.study.database)
    tally = vote_at_once(server, database, KILLS)
    rows = database.rows(
        "SELECT a.token, a.choice, a.revision, t.kind FROM assignment a JOIN task t ON t.id = a.task "
        "WHERE choice IS NOT NULL"
    )
    assert {row["token"]: row["choice"] for row in rows} == tally.votes
    assert {row["revision"] for row in rows} == {1}, "a form that was sent again counted once"
    studied = [row for row in rows if row["kind"] == "study"]
    assert len(studied) >= 0.98 * VOTES
    most = database.value(
        "SELECT max(votes) FROM (SELECT count(*) AS votes FROM assignment JOIN task ON id = task "
        "WHERE choice IS NOT NULL AND kind = 'study' GROUP BY task)"
    )
    assert most == 3
    assert database.value("PRAGMA integrity_check") == "ok"
    print(f"\n{len(studied):,} votes, {KILLS} kills: 0 of {len(tally.votes):,} acknowledged answers lost, 0 doubled")


def test_pages_of_eight_assessors_at_once_are_quick(server: Process) -> None:
    tally = vote_at_once(server, Database(server.study.database), kills=0)
    p95 = {name: statistics.quantiles(getattr(tally, name), n=20)[-1] for name in ("pages", "answers")}
    median = {name: statistics.median(getattr(tally, name)) for name in ("pages", "answers")}
    print("\n" + ", ".join(f"{name}: median {1e3 * median[name]:.1f} ms, p95 {1e3 * p95[name]:.1f} ms" for name in p95))
    if FULL:
        assert max(p95.values()) < P95
    assert max(median.values()) < 10 * P95, "whatever else the machine does"
