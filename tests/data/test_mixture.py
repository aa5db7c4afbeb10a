"""Mixtures: each source gives the portion that is written after it; unreadable portions are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.samples import TASKS
from currreft_nb.data.sources import Portion, cap, quotas_of, read_mixture, read_portion, shares_of

CELLS = {("pool", "math"): 1000, ("pool", "general"): 1000}


@pytest.mark.parametrize(
    ("text", "source", "portion"),
    [
        ("voc:a", "voc:a", Portion()),
        ("voc:a | math 5", "voc:a", Portion(quotas={"math": 5})),
        ("voc:a|500", "voc:a", Portion(quotas=dict.fromkeys(TASKS, 500))),
        ("voc:a | weight 0.5", "voc:a", Portion(weight=0.5)),
        ("voc:a | math 5, general 6, weight 2", "voc:a", Portion(quotas={"math": 5, "general": 6}, weight=2.0)),
        (
            "table:a b.csv?task=math&question=q+r | math 5",
            "table:a b.csv?task=math&question=q+r",
            Portion(quotas={"math": 5}),
        ),
    ],
)
def test_a_portion_is_read(text, source, portion):
    assert read_portion(text) == (source, portion)


@pytest.mark.parametrize(
    "terms",
    [
        "",
        "math",
        "maths 5",
        "math 0",
        "math -5",
        "math 1.5",
        "weight 0",
        "weight inf",
        "weight nan",
        "5 math",
        "math 5,",
    ],
)
def test_what_is_no_portion_is_named(terms):
    with pytest.raises(InputError, match=r"source 'voc:a \| .*(is incomplete|unknown option|write a )"):
        read_portion(f"voc:a | {terms}")


def test_a_source_is_named_once_a_split():
    with pytest.raises(InputError, match="'voc:a' is a duplicate in the split 'pool'"):
        read_mixture({"pool": ["voc:a | math 5", "voc:a | general 5"]})


def test_quotas_of_all_sources_say_how_much_to_ask_for():
    mixture = read_mixture({"pool": ["voc:a | math 100", "voc:b | math 400, general 50", "voc:c | general 20"]})
    assert cap(CELLS, mixture) == {("pool", "math"): 500, ("pool", "general"): 70}
    assert quotas_of(mixture, CELLS)["pool", "math", "voc:c"] == 0


def test_a_source_without_a_quota_keeps_the_number_asked_for():
    mixture = read_mixture({"pool": ["voc:a | math 100", "voc:b"]})
    assert cap(CELLS, mixture) == CELLS
    assert quotas_of(mixture, CELLS) == {("pool", "math", "voc:a"): 100, ("pool", "general", "voc:a"): 0}


def test_a_task_that_no_source_may_give_is_not_asked_for():
    assert cap(CELLS, read_mixture({"pool": ["voc:a | math 100"]})) == {("pool", "math"): 100}


def test_without_weights_nothing_is_shared_out():
    assert shares_of(read_mixture({"pool": ["voc:a", "voc:b"]}), CELLS, {("voc:a", "math"), ("voc:b", "math")}) == {}


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 1000))
def test_shares_add_up_and_are_off_by_less_than_one(weights, number):
    texts = [f"voc:{place} | weight {weight!r}" for place, weight in enumerate(weights)]
    has = {(f"voc:{place}", "math") for place in range(len(weights))}
    shares = shares_of(read_mixture({"train": texts}), {("train", "math"): number}, has)
    assert sum(shares.values()) == number
    for place, weight in enumerate(weights):
        assert abs(shares["train", "math", f"voc:{place}"] - number * weight / sum(weights)) < 1
