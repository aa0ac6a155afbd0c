import random
from collections import Counter
from pathlib import Path

import pytest
from study_world import tiny_study

from repro.study.access import DAY, SESSIONS, Access
from repro.study.assignment import Answer, Assignments
from repro.study.contents import read_contents, store_contents
from repro.study.database import Database
from repro.study.errors import BusyError, FullDiskError, RefusedError, StudyError
from repro.study.export import read_votes
from repro.study.status import describe, read_state
from repro.study.texts import load_texts

LEFT = Answer(choice="left", parts={}, revision=0)


class World:
    """A study in a database, with a clock that is set by hand."""

    def __init__(self, folder: Path, assessors: int, prompts: int = 4, **changes: object) -> None:
        self.study = tiny_study(folder, prompts=prompts, **{"criteria": ["defects", "relevance"], **changes})
        self.database = Database(self.study.database)
        store_contents(self.database, read_contents(self.study, load_texts("en", folder)))
        self.time = 1e9
        self.access = Access(self.database, lambda: self.time)
        self.access.invite([f"A{number}" for number in range(1, assessors + 1)], days=30)
        self.assignments = Assignments(self.database, self.study, lambda: self.time)
        self.people = range(1, assessors + 1)

    def step(self, person: int) -> bool:
        """Claim and answer one pair; whether there was one."""
        token = self.assignments.next(person)
        if token is None:
            return False
        self.time += 1
        return self.assignments.answer(person, token, LEFT)

    def counts(self, column: str) -> Counter[object]:
        rows = self.database.rows(
            f"SELECT {column} AS it FROM assignment a JOIN task t ON t.id = a.task "
            "WHERE kind = 'study' AND choice IS NOT NULL"
        )
        return Counter(row["it"] for row in rows)

    def kind(self, token: str) -> str:
        found: str = self.database.value("SELECT kind FROM assignment JOIN task ON id = task WHERE token = ?", token)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, assessors=4)


@pytest.mark.parametrize("seed", range(2))
def test_every_pair_gets_three_assessors_and_the_load_is_even(world: World, seed: int) -> None:
    rng = random.Random(seed)
    waiting = set(world.people)
    while waiting:
        person = rng.choice(sorted(waiting))
        if not world.step(person):
            waiting.remove(person)
    for person in world.people:  # a slot may be left that only others could fill
        world.assignments.take_more(person)
        while world.step(person):
            pass
    assert set(world.counts("task").values()) == {3}
    assert len(world.counts("task")) == 8
    load = world.counts("assessor")
    assert sum(load.values()) == 24
    assert max(load.values()) - min(load.values()) <= 2
    assert set(world.counts("task || '/' || assessor").values()) == {1}


def test_a_block_begins_with_its_training_and_blocks_rotate(world: World) -> None:
    assert world.assignments.blocks(1) == ["defects", "relevance"]
    assert world.assignments.blocks(2) == ["relevance", "defects"]
    kinds = []
    while (token := world.assignments.next(1)) is not None:
        kinds.append(world.kind(token))
        world.assignments.answer(1, token, LEFT)
    assert kinds[:2] == ["training", "training"]
    assert kinds.count("training") == 4
    assert kinds.index("training", 2) == len(kinds) // 2 or kinds.count("attention") == 1
    assert kinds.count("study") == 6  # 3 of 4 pairs, by 2 criteria


def test_sides_are_drawn_and_the_same_again(tmp_path: Path) -> None:
    world = World(tmp_path, assessors=3, prompts=16, criteria=["defects"], attention=0.0)
    for person in world.people:
        while world.step(person):
            pass
    rows = world.database.rows("SELECT task, assessor, flipped FROM assignment JOIN task ON id = task")
    flipped = sum(row["flipped"] for row in rows)
    assert 0.25 < flipped / len(rows) < 0.75
    first = {row["task"]: row["flipped"] for row in rows if row["assessor"] == 1}
    second = {row["task"]: row["flipped"] for row in rows if row["assessor"] == 2}
    assert any(first[task] != second[task] for task in first.keys() & second)
    world.database.write("DELETE FROM assignment")
    while world.step(1):
        pass
    again = world.database.rows("SELECT task, flipped FROM assignment WHERE assessor = 1")
    assert {row["task"]: row["flipped"] for row in again} == first


def past_training(world: World, person: int) -> str:
    """A claim of a pair of the study."""
    while (token := world.assignments.next(person)) is not None and world.kind(token) != "study":
        world.assignments.answer(person, token, LEFT)
    assert token is not None
    return token


def test_a_claim_stays_until_it_is_answered_or_expires(tmp_path: Path) -> None:
    world = World(tmp_path, assessors=4, prompts=2, criteria=["defects"], attention=0.0)
    tokens = {person: past_training(world, person) for person in world.people}
    assert tokens[1] == world.assignments.next(1), "asked again, the same pair"
    for person in (2, 3, 4):
        while world.step(person):
            pass
    assert world.assignments.next(2) is None
    for person in (2, 3, 4):
        world.assignments.take_more(person)
        while world.step(person):
            pass
    assert sum(world.counts("task").values()) == 5, "one slot of six is claimed"
    world.time += 31 * 60
    late = next(person for person in (2, 3, 4) if world.assignments.is_open(person))
    world.assignments.take_more(late)
    assert world.step(late), "who is away blocks nobody"
    assert set(world.counts("task").values()) == {3}
    with pytest.raises(RefusedError, match="taken"):
        world.assignments.answer(1, tokens[1], LEFT)
    assert sum(world.counts("task").values()) == 6


def test_an_expired_claim_that_nobody_took_is_still_good(world: World) -> None:
    token = past_training(world, 1)
    world.time += 24 * 3600
    assert world.assignments.answer(1, token, LEFT)


def test_a_form_counts_once_and_a_later_answer_replaces(world: World) -> None:
    token = past_training(world, 1)
    world.time += 5
    assert world.assignments.answer(1, token, LEFT)
    assert not world.assignments.answer(1, token, LEFT), "the same form again"
    with pytest.raises(RefusedError, match="twice"):
        world.assignments.answer(1, token, Answer(choice="right", parts={}, revision=0))
    assert world.assignments.find(1, token)["choice"] == "left"
    assert world.assignments.answer(1, token, Answer(choice="right", parts={}, revision=1))
    row = world.assignments.find(1, token)
    assert (row["choice"], row["revision"], row["seconds"]) == ("right", 2, 5)
    assert sum(world.counts("task").values()) == 1


def test_back_goes_through_what_was_answered(world: World) -> None:
    tokens = []
    for _ in range(3):
        tokens.append(past_training(world, 1))
        world.assignments.answer(1, tokens[-1], LEFT)
    numbers = {token: world.assignments.find(1, token)["number"] for token in tokens}
    assert world.assignments.previous(1, None) == tokens[2]
    assert world.assignments.previous(1, numbers[tokens[2]]) == tokens[1]
    assert world.assignments.previous(1, numbers[tokens[0]]) in {None, *tokens} - set(tokens)


def test_the_share_of_a_revoked_assessor_goes_to_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, assessors=6, prompts=4, criteria=["defects"])
    assert [world.assignments.share(person, "defects") for person in world.people] == [2] * 6
    past_training(world, 1)
    world.step(1)
    world.access.revoke(["A1", "A2"])
    assert world.assignments.share(3, "defects") == 3  # 12 wanted, 1 kept, 4 people


def test_discarded_answers_are_asked_of_others_again(tmp_path: Path) -> None:
    world = World(tmp_path, assessors=4, prompts=2, criteria=["defects"], attention=0.0)
    for person in (1, 2, 3):
        while world.step(person):
            pass
    for person in (1, 2, 3):
        world.assignments.take_more(person)
        while world.step(person):
            pass
    assert not world.assignments.is_open(4), "every pair has its three"
    world.access.revoke(["A1"], discard=True)
    assert world.assignments.share(4, "defects") == 2  # 6 wanted, of 3 people
    while world.step(4):
        pass
    votes = list(read_votes(world.database, world.study))
    assert Counter(vote.assessor for vote in votes) == {"A2": 2, "A3": 2, "A4": 2}
    state = read_state(world.database, world.study)
    assert (state.done, state.wanted, state.complete) == (6, 6, 2)
    assert "link discarded" in describe(state)
    with pytest.raises(StudyError, match="the answers of 'A1' were discarded"):
        world.access.invite(["A1"], days=1)


def test_sessions_do_not_pile_up(world: World) -> None:
    token = world.access.invite(["B1"], days=1)["B1"]
    cookies = [world.access.begin(token)[1] for world.time in range(10**9, 10**9 + SESSIONS + 1)]
    assert world.database.value("SELECT count(*) FROM session") == SESSIONS
    with pytest.raises(RefusedError, match="no_token"):
        world.access.session(cookies[0])
    assert world.access.session(cookies[1]).name == "B1"
    world.time += 2 * DAY
    world.access.begin(world.access.invite(["B2"], days=1)["B2"])
    assert world.database.value("SELECT count(*) FROM session") == 1, "those of links that are over are gone"


def test_a_database_that_another_process_holds_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.study.database.WAIT_SECONDS", 0.01)
    other, waiting = Database(world.study.database), Database(world.study.database)
    with other.transaction(), pytest.raises(BusyError), waiting.transaction():
        raise AssertionError("both hold it")


def test_a_full_disk_loses_nothing(world: World) -> None:
    first = past_training(world, 1)
    world.assignments.answer(1, first, LEFT)
    second = past_training(world, 1)
    world.database.rows(f"PRAGMA max_page_count = {world.database.value('PRAGMA page_count')}")
    long = Answer(choice="right", parts={"main": "x" * 10_000}, revision=0)
    with pytest.raises(FullDiskError):
        world.assignments.answer(1, second, long)
    assert world.assignments.find(1, second)["choice"] is None
    assert world.assignments.find(1, first)["choice"] == "left"
    world.database.rows("PRAGMA max_page_count = 1000000")
    assert world.database.value("PRAGMA integrity_check") == "ok"
    assert world.assignments.answer(1, second, long), "and it goes on"


def test_votes_say_what_was_seen_and_checks_what_was_expected(tmp_path: Path) -> None:
    world = World(tmp_path, assessors=3, attention=0.5)
    for person in world.people:
        while world.step(person):
            pass
    votes = list(read_votes(world.database, world.study))
    studied = [vote for vote in votes if not vote.expected]
    assert len(studied) == 24
    assert len({vote.identity for vote in votes}) == len(votes)
    assert {vote.choice for vote in votes} == {"left"}
    assert {frozenset((vote.left, vote.right)) for vote in studied} == {frozenset(("ours", "theirs"))}
    assert {vote.left for vote in studied} == {"ours", "theirs"}
    checks = [vote for vote in votes if vote.expected]
    assert checks
    assert all((vote.expected == "left") == (vote.left == "first") for vote in checks)
    state = read_state(world.database, world.study)
    assert (state.done, state.wanted, state.complete, state.pairs) == (24, 24, 8, 8)
    right = Counter(vote.assessor for vote in checks if vote.expected == vote.choice)
    assert {each.name: each.checks_right for each in state.assessors} == {name: right[name] for name in right} | {
        each.name: 0 for each in state.assessors if each.name not in right
    }
    assert "24 of 24 answers; 8 of 8" in describe(state)
