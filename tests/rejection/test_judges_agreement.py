"""Agreement between judges, on tables small enough to check by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.rejection.judges import agreement, kappa


def rows(*points):
    return [{"points": {"a": a, "b": b}} for a, b in points]


@pytest.mark.parametrize(
    ("points", "expected", "why"),
    [
        ([(100, 90), (0, 10)], {"agree": 1, "kappa": 1, "difference": 10, "correlation": 1}, "agreed in all"),
        ([(100, 0), (0, 100)], {"agree": 0, "kappa": -1, "difference": 100, "correlation": -1}, "in nothing"),
        ([(90, 80), (90, 90), (10, 10), (10, 20)], {"agree": 0.75, "kappa": 0.5, "difference": 5}, "in three of four"),
        ([(90, 95), (90, 85)], {"agree": 1, "kappa": math.nan, "correlation": math.nan}, "both keep everything"),
        ([(90, None), (90, 95)], {"answers": 1, "agree": 1}, "only what both judged"),
        ([(90, None)], {"answers": 0, "agree": math.nan, "kappa": math.nan}, "nothing in common"),
        ([(85, 84)], {"keep_one": 1, "keep_other": 0}, "the threshold itself is enough"),
    ],
)
def test_measures(points, expected, why):
    (row,) = agreement(rows(*points), 85).to_dict("records")
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, nan_ok=True), (name, why)


def test_each_two_judges_have_a_row():
    table = agreement([{"points": {"a": 1, "b": 2, "c": 3}}], 85)
    assert list(zip(table["one"], table["other"])) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_a_single_judge_has_no_agreement():
    with pytest.raises(InputError, match="several judges"):
        agreement([{"total": 3}], 85)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_kappa_is_symmetric_and_at_most_one(pairs):
    one, other = zip(*pairs)
    found = kappa(one, other)
    assert math.isnan(found) or -1 <= found <= 1 + 1e-12
    assert found == pytest.approx(kappa(other, one), nan_ok=True)
