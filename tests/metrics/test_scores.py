"""Metrics: scores and their summary against hand-made cases, advantages against TRL's formula."""

import random

import pytest

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.metrics.scores import advantages, measure, pass_at_k, summarise


def make(task, answer, **more):
    more = {"id": "s", "split": "val", "source": "demo", "question": "?"} | more
    return Sample(task=task, answer=answer, **more)


def complete(answer):
    return f"<think>so</think><answer>{answer}</answer>"


BOX = make("detection", [[0, 0, 100, 100]], image="/x.png", size=(200, 200))
TWO = make("detection", [[0, 0, 9, 9], [20, 20, 29, 29]], image="/x.png", size=(200, 200))
SET = make("classification", ["dog", "cat"])
CHOICE = make("classification", ["A", "B"], stage="choice", options=[["dog"], ["cat"], ["bus"]])
MEASURES = [
    (BOX, complete("[0, 0, 100, 80]"), {"correct": 1, "value": 1, "iou": 0.8}, "an IoU above one half"),
    (BOX, complete("[0, 0, 100, 50]"), {"correct": 0, "value": 0, "iou": 0.5}, "exactly one half is not above it"),
    (BOX, complete("nowhere"), {"correct": 0, "value": 0, "iou": 0, "reason": "no_box"}, "unread, no overlap"),
    (BOX, complete("[0, 0, 100, 75]"), {"correct": 1, "iou": 0.75, "iou_50": 1, "iou_75": 0}, "0.75 is not above it"),
    (BOX, complete("[0, 0, 100, 76]"), {"iou": 0.76, "iou_50": 1, "iou_75": 1}, "above both"),
    (TWO, complete("[[0, 0, 9, 9], [20, 20, 29, 26]]"), {"iou_50": 1, "iou_75": 0}, "every box must be above"),
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
    assert set(measure(SET, complete("cat"))) == {"correct", "value", "format", "reason", "jaccard", "labels", "gold"}
    assert set(measure(CHOICE, complete("A"))) == {"correct", "value", "format", "reason"}
    assert "iou" in measure(BOX, complete("[0, 0, 500, 400]"), Frame(kind="thousand"))


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
    cell = ["arm", "mode", "task", "stage", "split", "measure"]
    assert list(table.columns) == [*cell, "n", "mean", "low", "high", "clusters"]
    base = table[(table["arm"] == "base") & (table["measure"] == "correct")].iloc[0]
    assert (base["n"], base["mean"], base["clusters"]) == (20, 0.5, 10)
    assert (base["low"], base["high"]) == pytest.approx((0.346, 0.654), abs=1e-3), "one half in all of only ten images"
    assert set(table[table["arm"] == "base"]["measure"]) == {"correct", "value", "format"}, "no iou where there is none"
    overlap = table[table["measure"] == "iou"].iloc[0]
    assert (overlap["arm"], overlap["task"], overlap["mean"], overlap["n"]) == ("curr_rl", "detection", 0.75, 1)


def test_a_summary_separates_sources_on_request():
    records = [record("base", float(n < 8), id=f"s{n}", source="ab"[n % 2]) for n in range(20)]
    table = summarise(records, by=["source"])
    correct = table[table["measure"] == "correct"].set_index("source")
    assert correct["mean"].to_dict() == {"a": 0.4, "b": 0.4} and set(correct["n"]) == {10}
    with pytest.raises(InputError, match="'sauce'"):
        summarise(records, by=["sauce"])


def test_a_summary_counts_length_and_truncation_where_they_are_known():
    records = [record("base", 1.0, id=f"s{n}", tokens=10 + n, truncated=n >= 9) for n in range(10)]
    records += [record("base", 1.0, id=f"t{n}", tokens=None, truncated=None) for n in range(10)]
    table = summarise(records).set_index("measure")
    assert (table.loc["tokens", "n"], table.loc["tokens", "mean"]) == (10, 14.5)
    assert table.loc["tokens", "low"] < 14.5 < table.loc["tokens", "high"], "no share, so not cut at 1"
    assert (table.loc["truncated", "n"], table.loc["truncated", "mean"]) == (10, 0.1)
    assert table.loc["correct", "n"] == 20


def test_measures_of_one_summary_do_not_hang_on_each_other():
    """Sharing draws between measures changes none of their intervals."""
    rng = random.Random(0)
    records = [record("base", float(rng.random() < 0.5), id=f"s{n}", image=f"i{n // 3}") for n in range(90)]
    alone = summarise([{k: v for k, v in r.items() if k not in ("value", "format")} for r in records])
    assert alone.iloc[0].to_dict() == summarise(records).iloc[0].to_dict()


def test_summary_boundaries():
    assert summarise([]).empty and "measure" in summarise([]).columns
    assert len(summarise([record("base", 1.0)])) == 3, "neither id nor image is needed"
    with pytest.raises(InputError, match="arm"):
        summarise([{"correct": 1.0}])
