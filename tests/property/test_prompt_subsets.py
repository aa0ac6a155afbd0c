import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.worlds.prompts import PromptEntry, image_seed, subset

IDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


def entries(ids: list[str]) -> list[PromptEntry]:
    return [PromptEntry(id=name, caption="x") for name in ids]


@given(ids=IDS, data=st.data())
def test_a_subset_of_a_subset_is_the_subset_whatever_the_order(ids: list[str], data: st.DataObject) -> None:
    large = data.draw(st.integers(1, len(ids)))
    small = data.draw(st.integers(1, large))
    chosen = subset(entries(ids), small)
    assert chosen == subset(subset(entries(ids), large), small)
    assert chosen == subset(entries(data.draw(st.permutations(ids))), small)
    assert len({entry.id for entry in chosen}) == small


@given(ids=IDS, more=IDS)
def test_new_prompts_do_not_reorder_the_old(ids: list[str], more: list[str]) -> None:
    old, both = entries(ids), entries([*ids, *(name for name in more if name not in ids)])
    assert [entry for entry in subset(both) if entry in old] == subset(old)


@given(name=st.text(st.characters(codec="utf-8")), salt=st.integers(0, 3))
def test_seeds_of_a_prompt_differ_and_survive_float64(name: str, salt: int) -> None:
    seeds = [image_seed(name, index, salt=salt) for index in range(256)]
    assert len(set(seeds)) == 256
    assert all(0 <= seed < 2**52 and int(float(seed)) == seed for seed in seeds)


def test_the_rule_is_the_one_that_is_documented() -> None:
    digest = int(hashlib.sha256(b"image/0/391895").hexdigest()[:11], 16)  # 44 bits
    assert image_seed("391895", 3) == 256 * digest + 3
    ranks = {name: hashlib.sha256(f"subset/0/{name}".encode()).hexdigest() for name in "abcdef"}
    assert [entry.id for entry in subset(entries(list("abcdef")))] == sorted("abcdef", key=ranks.__getitem__)
    assert image_seed("a", salt=1) != image_seed("a")
    assert subset(entries(list("abcdef")), salt=1) != subset(entries(list("abcdef")))


def test_seeds_of_thirty_thousand_prompts_differ() -> None:
    assert len({image_seed(str(number)) for number in range(30_000)}) == 30_000


@pytest.mark.parametrize("count", [0, 4, -1])
def test_counts_that_cannot_be(count: int) -> None:
    with pytest.raises(ValueError, match=f"3 prompts do not give {count}; expected between 1 and 3"):
        subset(entries(["a", "b", "c"]), count)


def test_too_many_images_of_a_prompt() -> None:
    with pytest.raises(ValueError, match="image 256 of a prompt; expected 0 to 255"):
        image_seed("a", 256)
