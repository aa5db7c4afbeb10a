"""Comparisons: paired differences with intervals and p, refused records, and the share of false positives."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.metrics.comparisons import COLUMNS, between_seeds, compare, detectable, holm, sign_flip, standard_error
from currreft_nb.metrics.scores import summarise


def answered(arm, right, mode="natural", per_image=1, **more):
    """Return an open record for each entry of `right`."""
    common = {"arm": arm, "mode": mode, "task": "math", "stage": "open", "split": "test_id"}
    return [
        {**common, "id": f"q{i}", "hash": f"h{i}", "image": f"i{i // per_image}", "correct": float(value), **more}
        for i, value in enumerate(right)
    ]


def test_a_difference_by_hand():
    """Of 20 questions 10 became right, 2 became wrong: a gain of 8 / 20; twelve coins, at least ten alike."""
    base, trained = [0] * 12 + [1] * 8, [1] * 10 + [0] * 2 + [0] * 2 + [1] * 6
    (row,) = compare(answered("base", base) + answered("rl", trained), "base").to_dict("records")
    assert (row["arm"], row["other"], row["mode"], row["against_mode"]) == ("rl", "base", "natural", "natural")
    assert (row["task"], row["split"], row["stage"], row["measure"]) == ("math", "test_id", "open", "correct")
    assert (row["n"], row["clusters"], row["difference"]) == (20, 20, pytest.approx(0.4))
    assert row["p"] == pytest.approx(2 * (1 + 12 + 66) / 2**12) and row["p_holm"] == row["p"]
    assert 0 < row["low"] < 0.4 < row["high"]
    error = np.std([1] * 10 + [0] * 8 + [-1] * 2, ddof=1) / math.sqrt(20)
    assert row["minimum_detectable"] == pytest.approx((1.96 + 0.8416) * error, rel=1e-3)
    assert row["note"] == ""


def test_the_same_questions_in_pairs_tell_more_than_two_intervals():
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.5).astype(float)
    better = np.where(rng.random(200) < 0.1, 1.0, base)
    records = answered("base", base) + answered("rl", better)
    (row,) = compare(records, "base").to_dict("records")
    one, other = (summarise(records).query("measure == 'correct'").set_index("arm").loc[arm] for arm in ("base", "rl"))
    assert one["high"] > other["low"], "two intervals that overlap"
    assert row["low"] > 0 and row["p"] < 0.01, "and yet the difference is no luck"
    assert row["high"] - row["low"] < 0.7 * (one["high"] - one["low"])


def test_forced_answers_of_the_other_arm_are_compared_with_too():
    base, trained = [0] * 20, [1] * 15 + [0] * 5
    records = answered("base", base) + answered("base", [1] * 10 + [0] * 10, "forced")
    records += answered("rl", trained) + answered("rl", trained, "forced")
    table = compare(records, "base").set_index("against_mode")
    assert list(table.index) == ["natural", "forced"] and set(table["mode"]) == {"natural"}
    assert table["difference"].to_dict() == pytest.approx({"natural": 0.75, "forced": 0.25})
    assert (table["p_holm"] >= table["p"]).all() and table.loc["natural", "p_holm"] == 2 * table.loc["natural", "p"]


def test_answers_about_one_image_stand_or_fall_together():
    """Ten copies of each answer are no further evidence."""
    base, trained = [0] * 12 + [1] * 8, [1] * 10 + [0] * 4 + [1] * 6
    (single,) = compare(answered("base", base) + answered("rl", trained), "base").to_dict("records")
    base, trained = (answered(arm, np.repeat(v, 10), per_image=10) for arm, v in (("base", base), ("rl", trained)))
    (many,) = compare(base + trained, "base").to_dict("records")
    assert (many["n"], many["clusters"]) == (200, 20)
    for name in ("difference", "low", "high", "p", "minimum_detectable"):
        assert many[name] == pytest.approx(single[name]), name


def test_no_difference_at_all_is_no_certainty():
    right = [1] * 50
    (row,) = compare(answered("base", right) + answered("rl", right), "base").to_dict("records")
    assert (row["difference"], row["p"]) == (0, 1)
    assert row["low"] == pytest.approx(-0.071, abs=1e-3) and row["high"] == pytest.approx(0.071, abs=1e-3)
    assert 0.07 < row["minimum_detectable"] < 0.15


@pytest.mark.parametrize(("better", "found"), [(5, False), (6, True)])
def test_interval_and_p_agree_where_few_answers_differ(better, found):
    """Five better answers out of forty are no evidence yet, six are: 2 / 2**5 and 2 / 2**6."""
    trained = answered("rl", [1] * better + [0] * (40 - better))
    (row,) = compare(answered("base", [0] * 40) + trained, "base").to_dict("records")
    assert (row["p"] < 0.05) == (row["low"] > 0) == found


def test_too_few_images_are_named_and_get_no_interval():
    records = answered("base", [0] * 20, per_image=4) + answered("rl", [1] * 20, per_image=4)
    (row,) = compare(records, "base").to_dict("records")
    assert (row["difference"], row["note"]) == (1, "too few images: 5 of at least 6")
    assert all(math.isnan(row[name]) for name in ("low", "high", "p", "p_holm", "minimum_detectable"))


def test_every_task_and_split_is_a_row_and_all_are_corrected_together():
    rng = np.random.default_rng(0)
    records = [
        record
        for arm, chance in (("base", 0.3), ("sft", 0.6), ("rl", 0.4))
        for task in ("math", "detection")
        for split in ("test_id", "test_ood")
        for record in answered(arm, rng.random(40) < chance, task=task, split=split)
    ]
    table = compare(records, "base", resamples=500)
    assert list(table.columns) == list(COLUMNS)
    assert table["arm"].tolist() == ["sft"] * 4 + ["rl"] * 4
    assert table["task"].tolist() == ["detection", "detection", "math", "math"] * 2
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"]))
    again = compare(records, "base", resamples=500)
    pd.testing.assert_frame_equal(table, again)


def test_other_measures_and_stages_are_compared_alike():
    tokens = [10.0 + i for i in range(20)]
    longer = [count + 3 + i % 2 for i, count in enumerate(tokens)]
    records = answered("base", [0] * 20, stage="binary") + answered("rl", [0] * 20, stage="binary")
    records = [record | {"tokens": count} for record, count in zip(records, [*tokens, *longer])]
    (row,) = compare(records, "base", stage="binary", measure="tokens").to_dict("records")
    assert row["difference"] == pytest.approx(3.5) and row["low"] > 3 and row["high"] < 4, "no share: not cut at 1"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=40), st.integers(1, 3), st.randoms())
def test_the_other_way_round_it_is_the_same_difference_less(pairs, per_image, random):
    """Whichever arm comes first, and in whatever order the records come."""
    records = answered("a", [a for a, _ in pairs], per_image=per_image)
    records += answered("b", [b for _, b in pairs], per_image=per_image)
    shuffled = random.sample(records, len(records))
    (one,) = compare(records, "a", resamples=200).to_dict("records")
    (other,) = compare(shuffled, "b", resamples=200).to_dict("records")
    assert one["difference"] == pytest.approx(-other["difference"])
    for name in ("p", "p_holm", "minimum_detectable", "clusters"):
        assert one[name] == pytest.approx(other[name], nan_ok=True), name
    if not one["note"]:
        assert one["low"] - 1e-9 <= one["difference"] <= one["high"] + 1e-9 and 0 < one["p"] <= 1
        assert -1 <= one["low"] <= one["high"] <= 1


BASE = answered("base", [0, 1] * 5)


@pytest.mark.parametrize(
    ("others", "against", "message"),
    [
        (answered("rl", [0, 1] * 4), "base", r"only base \(natural\) answered 2 \(q8, q9\)"),
        (answered("rl", [0, 1] * 7), "base", r"only rl \(natural\) answered 4 \(q10, q11, q12, …\)"),
        (answered("rl", [0, 1] * 5, hash="other"), "base", "'q0' names different questions"),
        (answered("rl", [0, 1] * 5) * 2, "base", "arm 'rl' answered 'q0' twice"),
        (answered("rl", [0, 1] * 5, mode="forced"), "base", r"only base \(natural\) answered 10"),
        (answered("base", [0, 1] * 4, mode="forced") + answered("rl", [0, 1] * 5), "base", r"only rl \(natural\)"),
        (answered("rl", [0, 1] * 5), "bass", "arm 'bass' has no open answers.*only base, rl have"),
    ],
)
def test_what_was_not_asked_alike_is_not_compared(others, against, message):
    with pytest.raises(InputError, match=message):
        compare(BASE + others, against)


def test_an_arm_alone_is_compared_with_nothing():
    table = compare(BASE, "base")
    assert table.empty and list(table.columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("p", "expected", "why"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06], "three, two and one times; never below the one before"),
        ([0.02], [0.02], "one comparison needs none"),
        ([0.5, 0.6], [1.0, 1.0], "no probability is above 1"),
        ([0.04, math.nan, 0.01], [0.04, math.nan, 0.02], "what could not be tested does not count"),
        ([], [], "nothing"),
    ],
)
def test_holm_by_hand(p, expected, why):
    assert holm(p).tolist() == pytest.approx(expected, nan_ok=True), why


def two_equal_arms(rng):
    """Return the differences of two arms that are equally good, by question, with their images."""
    images, questions = 40, 5
    leaning = rng.normal(0, 0.8, images).repeat(questions)  # which arm does better depends on the image
    difference = np.sign(leaning + rng.normal(0, 0.6, images * questions)) * (rng.random(images * questions) < 0.5)
    return difference, np.arange(images).repeat(questions)


def test_chance_is_taken_for_a_difference_one_time_in_twenty():
    rng = np.random.default_rng(0)
    by_image, by_question = 0, 0
    for _ in range(400):
        difference, images = two_equal_arms(rng)
        by_image += sign_flip(np.bincount(images, difference)) < 0.05
        by_question += sign_flip(difference) < 0.05
    assert by_image / 400 < 0.075
    assert by_question / 400 > 0.1, "as if answers about one image were independent"


def test_the_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        difference = rng.choice([-1.0, 0.0, 1.0], size=200, p=[0.1, 0.6, 0.3])  # a true difference of 0.2
        found += abs(difference.mean() / standard_error(difference, np.ones(200))) > 1.96
    error = math.sqrt((0.4 - 0.2**2) / 200)
    small = detectable(error)  # a true difference of that size, with as many differing answers
    p = [0.2 - small / 2, 0.6, 0.2 + small / 2]
    hits = sum(sign_flip(rng.choice([-1.0, 0.0, 1.0], size=200, p=p)) < 0.05 for _ in range(400))
    assert small < 0.2 and found / 400 > 0.95
    assert 0.7 < hits / 400 < 0.87, "the exact test finds a little less than the formula promises"


def summary(seed, base, rl, **more):
    common = {"mode": "natural", "task": "math", "stage": "open", "split": "test_id", "measure": "correct", "n": 100}
    return pd.DataFrame([{"arm": "base", "mean": base, **common}, {"arm": "rl", "mean": rl, **common}])


SEEDS = [summary(0, 0.2, 0.5), summary(1, 0.3, 0.5), summary(2, 0.1, 0.5)]


def test_seeds_by_hand():
    table = between_seeds(SEEDS).set_index("arm")
    reach = 4.3027 * 0.1 / math.sqrt(3)  # Student's t for two degrees of freedom
    assert table.loc["base", ["n", "mean"]].tolist() == [3, pytest.approx(0.2)]
    assert table.loc["base", ["low", "high"]].tolist() == pytest.approx([0.2 - reach, 0.2 + reach], abs=1e-4)
    assert table.loc["base", "seeds"] == [0.2, 0.3, 0.1]
    assert table.loc["rl", "low"] == table.loc["rl", "high"] == 0.5, "three equal seeds"


def test_differences_are_taken_within_a_seed():
    (row,) = between_seeds(SEEDS, against="base").to_dict("records")
    assert row["arm"] == "rl" and row["seeds"] == pytest.approx([0.3, 0.2, 0.4])
    with pytest.raises(InputError, match="no forced scores of arm 'base'"):
        between_seeds(SEEDS, against="base", against_mode="forced")


def test_one_seed_has_no_interval_and_says_so():
    (row,) = between_seeds(SEEDS[:1], against="base").to_dict("records")
    assert (row["n"], row["mean"], row["note"]) == (1, pytest.approx(0.3), "one seed: no interval between seeds")
    assert math.isnan(row["low"]) and math.isnan(row["minimum_detectable"])


def test_a_seed_that_lacks_something_is_named():
    with pytest.raises(InputError, match="not every seed has rl, natural, math"):
        between_seeds([SEEDS[0], SEEDS[1][:1]])
    assert between_seeds([]).empty
