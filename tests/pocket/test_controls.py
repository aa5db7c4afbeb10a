"""Answers without looking: wrong pictures, none, the most frequent answer, and a copy that only ever met words."""

import random
from dataclasses import replace

import pytest
import torch

from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes import compose
from currreft_nb.method.curriculum import pose
from currreft_nb.metrics.scores import measure
from currreft_nb.models.load import load_model
from currreft_nb.pocket.card import most_frequent, shuffled, teach_without_pictures, without_pictures


def ask(task, answers, stage="open", question="?"):
    return [
        Sample(id=str(i), task=task, stage=stage, split="train", source="s", question=question, answer=answer,
               size=(64, 64), image=f"{i}.png", claim="x" if stage == "binary" else None,
               options=[["a"], ["b"]] if stage == "choice" else [])
        for i, answer in enumerate(answers)
    ]  # fmt: skip


def test_shuffled_pictures_are_all_used_and_none_is_its_own():
    samples = ask("math", ["1", "2", "3"])
    assert [sample.image for sample in shuffled(samples)] == ["1.png", "2.png", "0.png"]
    assert [sample.answer for sample in shuffled(samples)] == ["1", "2", "3"]


def test_samples_without_pictures_keep_everything_else():
    sample = ask("math", ["1"])[0]
    assert without_pictures([sample]) == [replace(sample, image=None)]


BOXES = [[[0.0, 0.0, 10.0, 10.0]], [[4.0, 4.0, 20.0, 20.0]], [[50.0, 50.0, 60.0, 60.0]]]
FREQUENT = [
    ("math", "open", ["2", "1", "2"], "2", "the most frequent number"),
    ("classification", "open", [["cat"], ["dog"], ["cat"]], "cat", "the most frequent label"),
    ("math", "binary", [True, False, True], "yes", "the most frequent verdict"),
    ("classification", "choice", [["A"], ["B"], ["B"]], "B", "the most frequent letter"),
    ("detection", "open", BOXES, "[4, 4, 20, 20]", "the median of each side"),
]


@pytest.mark.parametrize("task, stage, answers, expected, why", FREQUENT, ids=[case[-1] for case in FREQUENT])
def test_the_most_frequent_answer(task, stage, answers, expected, why):
    known = ask(task, answers, stage)
    assert most_frequent(known[:1], known) == [f"<think></think><answer>{expected}</answer>"]


def test_open_questions_are_distinguished_by_their_words():
    known = ask("math", ["1", "1"], question="red?") + ask("math", ["4"], question="blue?")
    assert "4" in most_frequent(ask("math", ["0"], question="blue?"), known)[0]
    assert "1" in most_frequent(ask("math", ["0"], question="green?"), known)[0], "unknown words: as in the first known"


@pytest.mark.parametrize("stage", ["binary", "choice", "open"])
def test_the_most_frequent_answer_is_one_that_is_scored(stage):
    drawn = [replace(compose.compose(random.Random(i), "detection", "id")[1], id=str(i)) for i in range(40)]
    posed = [pose(sample, stage, 0) for sample in drawn]
    scores = [measure(sample, text) for sample, text in zip(posed, most_frequent(posed, posed))]
    assert all(score["format"] == 1 for score in scores) and sum(score["correct"] for score in scores) < 30


def test_teaching_without_pictures_changes_words_and_not_the_eyes():
    loaded = load_model("pocket-clean")
    before = {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}
    teach_without_pictures(loaded, 2, 0, lambda line: None)
    changed = {name for name, weight in loaded.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed and not any(".visual." in name for name in changed)
