"""Metrics: scores against hand-made cases, intervals against theory, advantages against TRL's formula."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.boxes import Frame
from currreft_nb.metrics import advantages, bootstrap_interval, measure, pass_at_k, summarise
from currreft_nb.samples import Sample


def make(task, answer, **more):
    more = {"id": "s", "split": "val", "source": "demo", "question": "?"} | more
    return Sample(task=task, answer=answer, **more)


def complete(answer):
    return f"<think>so</think><answer>{answer}</answer>"


BOX = make("detection", [[0, 0, 100, 100]], image="/x.png", size=(200, 200))
SET = make("classification", ["dog", "cat"])
CHOICE = make("classification", ["A", "B"], stage="choice", options=[["dog"], ["cat"], ["bus"]])
MEASURES = [
    (BOX, complete("[0, 0, 100, 80]"), {"correct": 1, "value": 1, "iou": 0.8}, "an IoU above one half"),
    (BOX, complete("[0, 0, 100, 50]"), {"correct": 0, "value": 0, "iou": 0.5}, "exactly one half is not above it"),
    (
        BOX,
        complete("nowhere"),
        {"correct": 0, "value": 0, "iou": 0, "reason": "no_box"},
        "unread, no overlap",
    ),
    (SET, complete("cat, dog"), {"correct": 1, "value": 1, "jaccard": 1}, "exactly the set"),
    (SET, complete("cat, dog, bus"), {"correct": 0, "value": 2 / 3, "jaccard": 2 / 3}, "a superset is not correct"),
    (CHOICE, complete("B, A"), {"correct": 1, "value": 1}, "exactly the letters"),
    (CHOICE, complete("A"), {"correct": 0, "value": 0.2}, "a part is paid but not correct"),
    (make("math", "42"), complete("42.0"), {"correct": 1, "format": 1}, "an equal result"),
    (make("math", "42"), "<answer>42</answer>", {"correct": 1, "format": 0, "reason": "no_think"}, "form apart"),
    (make("general", "Nile"), complete("the Nile"), {"correct": 1}, "an equal text"),
    (make("general", None), complete("the Nile"), {"correct": 0, "reason": "no_reference"}, "nothing to compare with"),
    (make("math", True, stage="binary", claim="4"), complete("yes"), {"correct": 1}, "the right verdict"),
]


@pytest.mark.parametrize(("sample", "completion", "expected", "why"), MEASURES)
def test_measures(sample, completion, expected, why):
    found = measure(sample, completion)
    assert {name: found[name] for name in expected} == pytest.approx(expected), why


def test_measures_that_a_task_does_not_have_are_absent():
    assert set(measure(SET, complete("cat"))) == {"correct", "value", "format", "reason", "jaccard"}
    assert set(measure(CHOICE, complete("A"))) == {"correct", "value", "format", "reason"}
    assert "iou" in measure(BOX, complete("[0, 0, 500, 400]"), Frame(kind="thousand"))


def test_the_interval_is_that_of_theory():
    """For a mean of n values its half width is 1.96 standard errors, within the error of 2000 resamples."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    low, high = bootstrap_interval(values)
    expected = 1.96 * values.std() / math.sqrt(400)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=expected / 5)


def test_values_of_one_image_count_as_one():
    """Ten copies of each value tell no more than one: by image the interval stays as wide as for the single values."""
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
    ("n", "c", "k", "expected"), [(8, 0, 8, 0), (8, 8, 1, 1), (8, 1, 8, 1), (2, 1, 2, 1), (10, 3, 1, 0.3)]
)
def test_pass_at_k(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_pass_at_k_is_the_chance_of_a_draw_without_replacement():
    rng, answers = random.Random(0), [True] * 3 + [False] * 7
    drawn = sum(any(rng.sample(answers, 4)) for _ in range(20_000)) / 20_000
    assert pass_at_k(10, 3, 4) == pytest.approx(drawn, abs=0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, 1, 0), (0, 0, 1)])
def test_pass_at_k_needs_k_answers(n, c, k):
    with pytest.raises(InputError, match="pass@"):
        pass_at_k(n, c, k)


def test_advantages_by_hand():
    """Two of four right: mean 0.5, unbiased standard deviation 0.577, so plus and minus 0.866."""
    assert advantages([1, 0, 1, 0], 4) == pytest.approx([0.8659, -0.8659, 0.8659, -0.8659], abs=1e-4)
    assert not advantages([0.7] * 8, 4).any(), "equal rewards teach nothing"


def test_advantages_are_those_of_trl():
    """The lines of TRL 1.16's GRPOTrainer for scale_rewards="group", in torch."""
    import torch
    from trl.trainer.utils import nanstd

    rewards = torch.rand(24, generator=torch.Generator().manual_seed(0))
    groups = rewards.view(-1, 8)
    mean = torch.nanmean(groups, dim=1).repeat_interleave(8)
    std = nanstd(groups, dim=1).repeat_interleave(8)
    expected = (rewards - mean) / (std + 1e-4)
    assert advantages(rewards.tolist(), 8) == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(("rewards", "size"), [([1, 2, 3], 2), ([1], 1), ([1, 2], 4)])
def test_groups_must_be_whole(rewards, size):
    with pytest.raises(InputError, match="groups"):
        advantages(rewards, size)


def record(arm, correct, **more):
    cell = {"arm": arm, "mode": "natural", "task": "math", "stage": "open", "split": "test_id"}
    return {**cell, "correct": correct, "value": correct, "format": 1.0, "reason": "ok", **more}


def test_summary():
    records = [record("base", float(n % 2), id=f"s{n}", image=f"i{n // 2}") for n in range(20)]
    records += [record("curr_rl", 1.0, id="a", task="detection", iou=0.75, image=None)]
    table = summarise(records)
    assert list(table.columns) == ["arm", "mode", "task", "stage", "split", "measure", "n", "mean", "low", "high"]
    base = table[(table["arm"] == "base") & (table["measure"] == "correct")].iloc[0]
    assert (base["n"], base["mean"], base["low"], base["high"]) == (20, 0.5, 0.5, 0.5), "one half in every image"
    assert set(table[table["arm"] == "base"]["measure"]) == {"correct", "value", "format"}, "no iou where there is none"
    overlap = table[table["measure"] == "iou"].iloc[0]
    assert (overlap["arm"], overlap["task"], overlap["mean"], overlap["n"]) == ("curr_rl", "detection", 0.75, 1)


def test_summary_boundaries():
    assert summarise([]).empty and "measure" in summarise([]).columns
    assert len(summarise([record("base", 1.0)])) == 3, "neither id nor image is needed"
    with pytest.raises(InputError, match="arm"):
        summarise([{"correct": 1.0}])
