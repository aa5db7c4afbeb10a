"""Pass rates: their intervals, and the questions dropped, ordered and drawn by them."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.method.difficulty import PassRate, draw_near, easy_first, keep, rate_rows, weight

PATIENT = settings(deadline=None)  # scipy, which computes intervals, is slow to import
RATES = st.integers(1, 32).flatmap(lambda of: st.integers(0, of).map(lambda right: PassRate(right, of)))


def question(id, task="math"):
    answer = ["dog"] if task == "classification" else "3"
    return Sample(id=id, task=task, split="train", source="s", question="?", answer=answer)


@pytest.mark.parametrize(
    ("right", "of", "low", "high", "why"),
    [
        (0, 4, 0.0, 0.490, "none of four right: half is just excluded"),
        (4, 4, 0.510, 1.0, "the mirror image"),
        (2, 4, 0.150, 0.850, "four answers show little"),
        (8, 16, 0.280, 0.720, "more answers, narrower"),
        (1, 10, 0.018, 0.404, "a published value: Newcombe 1998, table I gives .0179 to .4042 for 1 of 10"),
    ],
)
def test_interval(right, of, low, high, why):
    assert PassRate(right, of).interval == pytest.approx((low, high), abs=1e-3), why


@PATIENT
@given(RATES)
def test_an_interval_holds_its_rate_and_has_a_width(rate):
    low, high = rate.interval
    assert 0 <= low <= rate.rate + 1e-12 and rate.rate - 1e-12 <= high <= 1 and high - low > 0.01


def test_rows_hold_counts_rate_and_interval():
    (row,) = rate_rows([question("a")], {"a": PassRate(3, 4)})
    fields = {"right": 3, "of": 4, "rate": 0.75, "low": 0.301, "high": 0.954}
    assert row == {"id": "a", "task": "math", "stage": "open", **fields}


SAMPLES = [question("never"), question("half"), question("always"), question("label", "classification")]
KNOWN = {"never": PassRate(0, 4), "half": PassRate(2, 4), "always": PassRate(4, 4), "label": PassRate(4, 4)}


@pytest.mark.parametrize(
    ("drop", "kept", "counts"),
    [
        ([], ["never", "half", "always", "label"], {}),
        (["never"], ["half", "always", "label"], {"math, never right": 1}),
        (["always"], ["never", "half"], {"classification, always right": 1, "math, always right": 1}),
        (
            ["always", "never"],
            ["half"],
            {"classification, always right": 1, "math, always right": 1, "math, never right": 1},
        ),
    ],
)
def test_what_is_left_out_is_counted_by_task_and_reason(drop, kept, counts):
    samples, dropped = keep(SAMPLES, KNOWN, drop)
    assert [sample.id for sample in samples] == kept and dropped == counts


def test_leaving_out_everything_is_an_error_with_the_numbers():
    with pytest.raises(InputError, match="no question is left to train on: 1 math, never right"):
        keep(SAMPLES[:1], KNOWN, ["never"])


@given(RATES, st.floats(0.05, 0.95))
def test_weights_are_highest_at_the_target(rate, target):
    assert 0 <= weight(rate, target) <= 1 + 1e-9
    assert weight(PassRate(rate.of, rate.of), target) == pytest.approx(target**rate.of)  # of the binomial likelihood


@given(st.integers(2, 40), st.integers(1, 39))
def test_a_rate_at_the_target_has_weight_one_and_further_away_is_less(of, right):
    right = min(right, of - 1)
    weights = [weight(PassRate(number, of), right / of) for number in range(of + 1)]
    assert weights[right] == pytest.approx(1)
    assert weights[: right + 1] == sorted(weights[: right + 1])
    assert weights[right:] == sorted(weights[right:], reverse=True)


def test_questions_are_drawn_in_proportion_to_their_weights():
    rates = [PassRate(right, 4) for right in range(5)]
    drawn = Counter(draw_near(rates, 20_000, target=0.5, seed=0))
    total = sum(weight(rate, 0.5) for rate in rates)
    for index, rate in enumerate(rates):
        assert drawn[index] / 20_000 == pytest.approx(weight(rate, 0.5) / total, abs=0.016)  # 4.5 standard errors
    assert draw_near(rates, 50, 0.5, seed=0) == draw_near(rates, 50, 0.5, seed=0) != draw_near(rates, 50, 0.5, seed=1)
    assert draw_near(rates, 50, 0.5, seed=0) == draw_near(rates, 70, 0.5, seed=0)[:50]


def test_where_every_question_is_far_from_the_target_the_nearest_are_drawn():
    rates = [PassRate(4000, 4000), PassRate(3990, 4000)]  # weights too small for a float
    assert set(draw_near(rates, 20, target=0.01, seed=0)) == {1}


@given(st.lists(RATES, min_size=1, max_size=12), st.data())
def test_easy_first_keeps_the_draws_and_sorts_them(rates, data):
    order = data.draw(st.lists(st.integers(0, len(rates) - 1), max_size=40))
    ordered = easy_first(order, rates)
    assert Counter(ordered) == Counter(order)
    values = [rates[index].rate for index in ordered]
    assert values == sorted(values, reverse=True)
    for value in set(values):  # those of one rate are drawn in the order they had
        of_rate = [index for index in order if rates[index].rate == value]
        assert [index for index in ordered if rates[index].rate == value] == of_rate
