"""What follows from votes: known preferences are found again, with the coverage that intervals promise."""

import random
from dataclasses import replace
from math import comb, exp, log
from pathlib import Path

import numpy as np
import pytest
from vote_simulation import Study, simulate, true_share

from repro.harness.schema import PerImage, RecordSet
from repro.harness.votes.agreement import agreement, kappa
from repro.harness.votes.assessors import RULE, assessors, attentive, quartiles, side
from repro.harness.votes.davidson import davidson
from repro.harness.votes.files import VoteError
from repro.harness.votes.krippendorff import alpha
from repro.harness.votes.outcomes import Outcomes, majority, outcomes
from repro.harness.votes.proxy import proxy_outcomes, read_scores, scores_of
from repro.harness.votes.shares import Share, share, sign_test
from repro.harness.votes.vote import Vote

PAIR = Study(strengths={"a": 0.5, "b": 0.0}, pairs=(("a", "b"),), side=0.4)
FOUR = {"a": 0.9, "b": 0.3, "c": -0.2, "d": -1.0}
LEAGUE = Study(strengths=FOUR, pairs=(("a", "b"), ("a", "c"), ("a", "d"), ("b", "c")), spread=0.0, prompts=40)


def share_of(votes: list[Vote], candidate: str = "a", baseline: str = "b", draws: int = 300) -> Share:
    return share(outcomes(votes, candidate, baseline, "relevance"), draws=draws)


@pytest.fixture(scope="module")
def votes() -> list[Vote]:
    return simulate(PAIR, np.random.default_rng(5))


def test_two_of_three_decide_and_all_else_is_half() -> None:
    assert majority(["candidate", "candidate", "baseline"]) == 1.0
    assert majority(["baseline", "tie", "baseline"]) == 0.0
    assert majority(["candidate", "tie", "tie"]) == 0.5
    assert majority(["candidate", "tie", "baseline"]) == 0.5
    assert majority(["candidate", "baseline"]) == 0.5
    assert majority(["baseline"]) == 0.0


def test_intervals_of_shares_cover_the_truth_as_often_as_they_promise() -> None:
    truth = true_share(PAIR, "a", "b")
    assert 0.55 < truth < 0.65
    rng, covered, studies = np.random.default_rng(11), 0, 300
    for number in range(studies):
        found = share_of(simulate(replace(PAIR, prompts=30), rng), draws=2000)
        covered += found.low <= truth <= found.high
        assert found.prompts == 30, number
    assert 0.92 <= covered / studies <= 0.98


def test_the_true_share_is_that_of_a_study_of_many_prompts() -> None:
    many = simulate(replace(PAIR, prompts=4000, images=1), np.random.default_rng(3))
    assert outcomes(many, "a", "b", "relevance").points.mean() == pytest.approx(true_share(PAIR, "a", "b"), abs=0.02)


def test_the_order_of_votes_does_not_matter(votes: list[Vote]) -> None:
    shuffled = list(votes)
    random.Random(2).shuffle(shuffled)
    assert share_of(shuffled) == share_of(votes)
    league = simulate(LEAGUE, np.random.default_rng(5))
    again = random.Random(2).sample(league, len(league))
    assert davidson(again, "relevance") == davidson(league, "relevance")


def test_swapping_the_systems_mirrors_the_share(votes: list[Vote]) -> None:
    there, back = share_of(votes), share_of(votes, "b", "a").mirrored()
    assert (back.value, back.low, back.high) == pytest.approx((there.value, there.low, there.high), abs=1e-12)
    first, second = (sign_test(outcomes(votes, *pair, "relevance")) for pair in (("a", "b"), ("b", "a")))
    assert (first.wins, first.losses, first.p) == (second.losses, second.wins, second.p)
    found = outcomes(votes, "a", "b", "relevance")
    assert found.mirrored().counts == found.counts[::-1]


def test_attention_checks_never_enter_shares(votes: list[Vote]) -> None:
    told = [replace(vote, expected="left", prompt=f"check {vote.prompt}") for vote in votes]
    assert share_of([*votes, *told]) == share_of(votes)
    assert side([*votes, *told]) == side(votes)


def entries(*by_prompt: tuple[float, ...]) -> Outcomes:
    return Outcomes.of(
        {(f"p{p:02d}", i): value for p, values in enumerate(by_prompt) for i, value in enumerate(values)}
    )


def test_the_sign_test_drops_prompts_that_are_for_nobody() -> None:
    found = sign_test(entries(*[(1.0, 0.5)] * 8, (0.0, 0.0), (1.0, 0.0), (0.5, 0.5)))
    assert (found.wins, found.losses, found.dropped) == (8, 1, 2)
    assert found.p == pytest.approx(2 * (1 + 9) / 2**9)
    assert sign_test(entries((0.5,), (1.0, 0.0))).p == 1.0


def test_an_interval_needs_ten_prompts() -> None:
    with pytest.raises(VoteError, match="needs at least 10 of them, got 9"):
        share(entries(*[(1.0, 0.0)] * 9))
    with pytest.raises(VoteError, match="got 0"):
        share(Outcomes.of({}))


def test_where_all_prompts_agree_the_interval_is_exact_and_not_empty() -> None:
    found = share(entries(*[(1.0, 1.0)] * 12))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 12))
    tied = share(entries(*[(0.5,)] * 12))
    assert tied.low == pytest.approx(1 - tied.high)
    assert tied.low < 0.3


def test_prompts_with_several_images_are_drawn_as_one() -> None:
    """Copies of an image say nothing new: the interval stays as wide."""
    rng = np.random.default_rng(0)
    single = [(float(value),) for value in rng.integers(0, 2, 60)]
    once, fourfold = share(entries(*single)), share(entries(*[values * 4 for values in single]))
    assert (fourfold.low, fourfold.high) == pytest.approx((once.low, once.high))
    assert (fourfold.images, fourfold.prompts) == (240, 60)


def test_davidson_finds_known_strengths_and_the_odds_of_a_tie() -> None:
    found = davidson(simulate(replace(LEAGUE, prompts=300), np.random.default_rng(4)), "relevance")
    assert [one.system for one in found.strengths] == ["a", "b", "c", "d"]
    assert [one.value for one in found.strengths] == pytest.approx([*FOUR.values()], abs=0.2)
    assert found.tie == pytest.approx(0.5, abs=0.07)
    assert sum(one.value for one in found.strengths) == pytest.approx(0, abs=1e-9)


def test_intervals_of_strengths_cover_the_truth_as_often_as_they_promise() -> None:
    rng, covered = np.random.default_rng(8), []
    for _ in range(100):
        found = davidson(simulate(replace(LEAGUE, images=1, prompts=25), rng), "relevance")
        covered += [one.low <= FOUR[one.system] <= one.high for one in found.strengths]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_of_two_systems_davidson_has_a_closed_form(votes: list[Vote]) -> None:
    wins = sum(vote.choice != "tie" and getattr(vote, vote.choice) == "a" for vote in votes)
    losses = sum(vote.choice != "tie" and getattr(vote, vote.choice) == "b" for vote in votes)
    found = davidson(votes, "relevance")
    strengths = {one.system: one.value for one in found.strengths}
    assert strengths["a"] - strengths["b"] == pytest.approx(log(wins / losses))
    assert found.tie == pytest.approx((len(votes) - wins - losses) / (wins * losses) ** 0.5)
    untied = davidson([vote for vote in votes if vote.choice != "tie"], "relevance")
    assert untied.tie == 0.0
    strengths = {one.system: one.value for one in untied.strengths}
    assert exp(strengths["a"] - strengths["b"]) == pytest.approx(wins / losses)


def test_systems_that_votes_do_not_connect_have_no_strengths(votes: list[Vote]) -> None:
    renamed = [replace(vote, left=vote.left * 2, right=vote.right * 2, prompt=vote.prompt + "'") for vote in votes]
    with pytest.raises(VoteError, match="between the groups a, b; aa, bb votes are missing, or all go one way"):
        davidson([*votes, *renamed], "relevance")
    with pytest.raises(VoteError, match="no finite strengths"):
        davidson([vote for vote in votes if getattr(vote, vote.choice, "") == "a"], "relevance")
    with pytest.raises(VoteError, match="need at least 10 prompts, got 0"):
        davidson(votes, "defects")


def test_who_never_loses_has_no_finite_strength_though_ties_connect_it(votes: list[Vote]) -> None:
    never_loses = [vote for vote in votes if vote.choice == "tie" or getattr(vote, vote.choice) == "a"]
    assert {vote.choice for vote in never_loses} > {"tie"}
    with pytest.raises(VoteError, match="no finite strengths in relevance: all answers agree with one direction"):
        davidson(never_loses, "relevance")
    with pytest.raises(VoteError, match="no finite strengths in relevance"):
        davidson([replace(vote, choice="tie") for vote in votes], "relevance")


def test_alpha_has_its_closed_forms() -> None:
    assert alpha([("a", "a"), ("b", "b")]) == 1.0
    assert alpha([("a", "b"), ("b", "a")]) == pytest.approx(1 - 3 / (8 / 4))  # D_o = 1, D_e = 2 * 2 * 2 / (4 * 3)
    assert alpha([("a", "a"), ("a", "a", "a")]) is None
    assert alpha([]) is None
    # one answer alone says nothing; D_o = (9 - 5) / 2 / 5 = 2/5, D_e = (25 - 4 - 9) / (5 * 4) = 3/5
    assert alpha([("a", "a", "b"), ("b", "b"), ("a",)]) == pytest.approx(1 - (2 / 5) / (3 / 5))


def test_alpha_is_that_of_krippendorffs_own_example() -> None:
    """Four observers and twelve units, 7 answers missing: 0.743 (Computing Krippendorff's Alpha-Reliability, C)."""
    units = [
        "111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3",
    ]  # fmt: skip
    assert alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_random_answers_agree_by_chance_alone() -> None:
    answers = np.random.default_rng(0).choice(["a", "b", "tie"], (4000, 3))
    assert alpha(answers.tolist()) == pytest.approx(0, abs=0.03)


CHECKED = replace(PAIR, prompts=10, checks=12, assessors=("ada", "bo", "cy", "dee"), careless=("cy",))


def test_the_careless_assessor_is_caught_and_honest_ones_are_not() -> None:
    rng, named = np.random.default_rng(6), []
    for _ in range(40):
        named += [one.name for one in assessors(simulate(replace(CHECKED, prompts=1), rng)) if one.is_careless]
    assert named.count("cy") >= 39
    honest = (len(named) - named.count("cy")) / (40 * 3)
    assert RULE.false_alarms(CHECKED.attention, CHECKED.checks) < 0.005
    assert honest <= 0.02


def test_false_alarms_are_binomial_and_few_checks_name_nobody() -> None:
    missed = sum(comb(4, right) * 0.9**right * 0.1 ** (4 - right) for right in range(3))
    assert RULE.false_alarms(0.9, 4) == pytest.approx(missed)
    assert RULE.false_alarms(0.5, 3) == 0.0
    assert not RULE.is_careless(0, 3)
    assert (RULE.is_careless(2, 4), RULE.is_careless(3, 4)) == (True, False)


def test_votes_of_the_careless_are_left_out() -> None:
    votes = simulate(CHECKED, np.random.default_rng(1))
    kept = attentive(votes)
    assert {vote.assessor for vote in kept} == {"ada", "bo", "dee"}
    assert attentive(kept) == kept


def test_the_preferred_side_and_the_time_are_found() -> None:
    votes = simulate(replace(PAIR, side=1.0, prompts=300), np.random.default_rng(1))
    left, sided = side(votes)
    assert left / sided == pytest.approx(exp(0.5) / (exp(0.5) + exp(-0.5)), abs=0.03)
    low, middle, high = quartiles(votes)
    assert middle == pytest.approx(exp(2.0), rel=0.1)
    assert low < middle < high
    (ada, *_) = assessors(votes)
    assert (ada.votes, ada.checks, ada.is_careless) == (600, 0, False)


def test_agreement_counts_images_that_both_judge_alike() -> None:
    people = entries(*[(1.0, 0.0)] * 6, *[(0.5, 0.0)] * 6)
    metric = entries(*[(1.0, 1.0)] * 6, *[(0.5, 0.0)] * 6, (1.0,))
    found = agreement([(people, metric)])
    assert found is not None
    assert found.share.value == pytest.approx(0.75)
    assert (found.share.images, found.share.prompts) == (24, 12)
    by_chance = (6 * 12 + 6 * 6 + 12 * 6) / 24**2
    assert found.kappa == pytest.approx((0.75 - by_chance) / (1 - by_chance))
    assert agreement([(people, Outcomes.of({}))]) is None


def test_a_proxy_calls_a_difference_below_the_margin_a_tie() -> None:
    gaps = {"far above": 0.25, "at the margin": 0.125, "below it": 0.124, "equal": 0.0, "worse": -0.125}
    scores = {
        "a": {(name, 0): 0.5 + gap for name, gap in gaps.items()},
        "b": {**{(name, 0): 0.5 for name in gaps}, ("elsewhere", 0): 1.0},
    }
    found = proxy_outcomes(scores, "a", "b", margin=0.125, sign=1.0)
    told = {place[0]: value for place, value in zip(found.places, found.points, strict=True)}
    assert told == {"far above": 1.0, "at the margin": 1.0, "below it": 0.5, "equal": 0.5, "worse": 0.0}
    lower_is_better = proxy_outcomes(scores, "a", "b", margin=0.125, sign=-1.0)
    assert lower_is_better.counts == found.counts[::-1]
    assert proxy_outcomes(scores, "a", "nobody", margin=0.125, sign=1.0).places == ()


def test_images_of_records_are_numbered_within_their_caption() -> None:
    values = PerImage.of([0.1, 0.2, float("nan"), 0.4], variant="a", prompts="short", metric="m", seed=0)
    captions = PerImage.of([0, 1, 1, 0], variant="captions", prompts="short", metric="captions", seed=0)
    found = scores_of(RecordSet.of([values, captions]), "m", ["a"], 0)
    assert found == {"a": {("short/0000", 0): 0.1, ("short/0001", 0): 0.2, ("short/0000", 1): 0.4}}
    alone = scores_of(RecordSet.of([values]), "m", ["a"], 0)
    assert ("short/0003", 0) in alone["a"]
    assert scores_of(RecordSet.of([values]), "m", ["a"], 1) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["prompt,image,score,system"], ":1: expected the columns prompt, image, system, score"),
        (["prompt,image,system,score", "p,0,a,high"], ":2: could not convert string to float: 'high'"),
        (["prompt,image,system,score", "p,0,a,1", "p,one,a,1"], ":3: invalid literal"),
        (["prompt,image,system,score", "p,0,a"], ":2: not enough values"),
        (["prompt,image,system,score", "p,0,a,nan"], ":2: score 'nan' is not finite"),
        (["prompt,image,system,score", "p,0,a,1", "p,0,a,2"], ":3: another score of image 0 of prompt p by a"),
    ],
)
def test_the_first_bad_score_is_named(tmp_path: Path, rows: list[str], message: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(VoteError, match=message):
        read_scores(path)


def test_kappa_is_one_minus_one_or_undefined_where_it_must_be() -> None:
    ones, zeros = np.ones(4), np.zeros(4)
    half = np.array([0.0, 1.0, 0.0, 1.0])
    assert kappa(half, half) == 1.0
    assert kappa(half, 1 - half) == -1.0
    assert kappa(ones, zeros) == 0.0
    assert kappa(ones, ones) is None
