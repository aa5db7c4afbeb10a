"""Intervals: against theory, and by simulation: how often they hold the truth."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.metrics import intervals
from currreft_nb.metrics.intervals import bootstrap_interval, exact_interval, mean_interval, resampled_sums


def test_the_interval_is_that_of_theory():
    """For a mean of n values its half width is 1.96 standard errors, within the error of 2000 resamples."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    low, high = bootstrap_interval(values)
    expected = 1.96 * values.std() / math.sqrt(400)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=expected / 5)


def test_values_of_one_image_count_as_one():
    """Ten copies of each value add no information: by image the interval is as wide as without them."""
    values = list(np.random.default_rng(1).integers(0, 2, 60).astype(float))
    single = bootstrap_interval(values)
    copied = bootstrap_interval(np.repeat(values, 10), groups=np.repeat(np.arange(60), 10))
    naive = bootstrap_interval(np.repeat(values, 10))
    assert copied == pytest.approx(single)
    assert naive[1] - naive[0] < (single[1] - single[0]) / 2


def test_interval_boundaries():
    assert bootstrap_interval([1.0] * 5) == (1.0, 1.0)
    assert bootstrap_interval([0.3]) == (0.3, 0.3)
    assert all(map(math.isnan, bootstrap_interval([])))
    assert bootstrap_interval([0, 1, 1], seed=1) == bootstrap_interval([0, 1, 1], seed=1)
    with pytest.raises(InputError, match="2 groups"):
        bootstrap_interval([1, 2, 3], groups=["a", "b"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_the_interval_holds_the_range_of_the_values(values, seed):
    low, high = bootstrap_interval(values, resamples=50, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("values", "low", "high", "why"),
    [
        ([1.0] * 20, 0.832, 1.0, "all right: 1 - 0.025 ** (1 / 20)"),
        ([0.0] * 20, 0.0, 0.168, "all wrong"),
        ([1.0], 0.025, 1.0, "one answer says nearly nothing"),
        ([1.0] * 19 + [0.0], 0.751, 0.999, "19 of 20, as Clopper and Pearson have it"),
        ([0.0] * 16 + [1.0] * 4, 0.057, 0.437, "4 of 20"),
        ([0.3] * 20, 0.249, 0.418, "0.3, of which at most a share of 0.168 may be 0 or 1"),
        ([1.0, 0.0, 1.0], 0.094, 0.992, "even three answers, of which one differs"),
    ],
)
def test_where_few_differ_the_bounds_are_exact(values, low, high, why):
    assert mean_interval(values) == pytest.approx((low, high), abs=1e-3), why


def test_one_right_answer_less_never_makes_the_interval_look_better():
    """From 60 of 60 on, one by one: the exact bounds and then the bootstrap fall together, with no jump upwards."""
    found = [mean_interval([1.0] * (60 - wrong) + [0.0] * wrong) for wrong in range(20)]
    assert all(a[0] >= b[0] - 0.01 and a[1] >= b[1] - 0.01 for a, b in itertools.pairwise(found))


def test_images_count_once_in_exact_bounds():
    copied = mean_interval([1.0] * 200, groups=np.repeat(np.arange(20), 10))
    assert copied == mean_interval([1.0] * 20)


@pytest.mark.parametrize(
    ("values", "bounds", "why"),
    [
        ([0.2, 0.4, 0.5, 0.6, 0.9], (0, 1), "five images"),
        ([24.0] * 50, None, "no spread, and no known bounds"),
        ([0.0, 1.0], (0, 1), "two images, and no value is the common one"),
        ([], (0, 1), "nothing"),
    ],
)
def test_where_nothing_can_be_said_there_is_no_interval(values, bounds, why):
    assert all(map(math.isnan, mean_interval(values, bounds=bounds))), why


def test_memory_is_bounded_and_parts_change_nothing(monkeypatch):
    sums = np.random.default_rng(0).normal(size=(37, 3))
    whole = resampled_sums(sums, 1000, seed=5)
    monkeypatch.setattr(intervals, "AT_ONCE", 37 * 101)
    assert np.allclose(resampled_sums(sums, 1000, seed=5), whole)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 4))
def test_an_interval_holds_the_mean_and_stays_within_the_bounds(values, size):
    groups = [i // size for i in range(len(values))]
    low, high = mean_interval(values, groups, resamples=200)
    assert math.isnan(low) or 0 <= low <= np.mean(values) + 1e-9 <= high + 2e-9 <= 1 + 4e-9


def drawn(rng, images, questions, spread):
    """Return right and wrong of several questions an image; images differ in how hard they are. The true mean is 1/2.

    `spread`: the larger, the more alike the answers about one image.
    """
    chances = rng.beta(1 / spread, 1 / spread, size=images).repeat(questions)
    return (rng.random(images * questions) < chances).astype(float), np.arange(images).repeat(questions)


def test_by_image_the_interval_covers_the_truth_and_by_question_it_does_not():
    rng = np.random.default_rng(0)
    held = {"image": 0, "question": 0}
    for seed in range(300):
        values, groups = drawn(rng, images=60, questions=6, spread=1.0)
        for name, given_groups in (("image", groups), ("question", None)):
            low, high = mean_interval(values, given_groups, resamples=500, seed=seed)
            held[name] += low <= 0.5 <= high
    assert 0.91 <= held["image"] / 300 <= 0.98
    assert held["question"] / 300 < 0.8


def test_with_ten_images_the_interval_covers_what_it_promises_and_plain_percentiles_do_not():
    rng = np.random.default_rng(2)
    held = {"widened": 0, "plain": 0}
    for seed in range(600):
        values, groups = drawn(rng, images=10, questions=6, spread=1.0)
        held["widened"] += (found := mean_interval(values, groups, resamples=400, seed=seed))[0] <= 0.5 <= found[1]
        held["plain"] += (found := bootstrap_interval(values, groups, resamples=400, seed=seed))[0] <= 0.5 <= found[1]
    assert held["widened"] / 600 >= 0.93
    assert held["plain"] / 600 < 0.93


def test_near_the_end_of_the_scale_exact_bounds_cover_where_drawing_does_not():
    rng = np.random.default_rng(1)
    held = {"exact": 0, "drawn": 0}
    for seed in range(300):
        values = (rng.random(80) < 0.98).astype(float)
        held["exact"] += (found := mean_interval(values, resamples=500, seed=seed))[0] <= 0.98 <= found[1]
        held["drawn"] += (found := bootstrap_interval(values, resamples=500, seed=seed))[0] <= 0.98 <= found[1]
    assert held["exact"] / 300 >= 0.95
    assert held["drawn"] / 300 < 0.85


def test_the_exact_rule_leaves_alone_what_differs_much():
    assert exact_interval(np.array([0.0] * 20 + [1.0] * 6), np.ones(26), (0, 1)) is None, "six differ"
    assert exact_interval(np.linspace(0, 1, 4), np.ones(4), (0, 1)) is None, "no value is common"
