import torch
from hypothesis import given
from hypothesis import strategies as st

from swd.data.cache import data_rows
from swd.rng import StepRandom


def test_a_sample_draws_the_same_in_any_share_of_the_batch() -> None:
    like = torch.zeros(4, 3, 2, 2)
    whole = StepRandom(0, 5, "student", range(4))
    half = StepRandom(0, 5, "student", range(2, 4))
    assert torch.equal(whole.normal("noise", like)[2:], half.normal("noise", like[2:]))
    assert torch.equal(whole.indices("level", 0, 1000)[2:], half.indices("level", 0, 1000))


def test_seed_iteration_update_purpose_and_sample_each_matter() -> None:
    like = torch.zeros(1, 8)
    keys = [(0, 5, "a", 0), (1, 5, "a", 0), (0, 6, "a", 0), (0, 5, "b", 0), (0, 5, "a", 1)]
    draws = [StepRandom(seed, it, update, [sample]).normal("x", like) for seed, it, update, sample in keys]
    draws.append(StepRandom(0, 5, "a", [0]).normal("y", like))
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    StepRandom(0, 0, "a", range(2)).normal("x", torch.zeros(2, 3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_standard_normal_over_samples() -> None:
    noise = StepRandom(0, 0, "a", range(4000)).normal("x", torch.zeros(4000, 1))
    assert abs(noise.mean()) < 0.06
    assert abs(noise.std() - 1) < 0.06


@given(count=st.integers(1, 9), batch=st.integers(1, 12), seed=st.integers(0, 3))
def test_every_epoch_reads_every_image_once(count: int, batch: int, seed: int) -> None:
    num_batches = -(-3 * count // batch)
    stream = [row for position in range(num_batches) for row in data_rows(seed, position, batch, count)]
    for epoch in range(3):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_have_their_own_order() -> None:
    first, second = data_rows(0, 0, 50, 50), data_rows(0, 1, 50, 50)
    assert first != second
    assert first != data_rows(1, 0, 50, 50)
    assert first == data_rows(0, 0, 50, 50)
