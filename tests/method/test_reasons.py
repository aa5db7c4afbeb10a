"""Reasons: each is reached by some completion, each is put in words, and no score carries another."""

import re
from pathlib import Path

import pytest

import currreft_nb
from currreft_nb.core.samples import Sample
from currreft_nb.method.rewards import REASONS, score

COMMON = {"id": "s", "split": "train", "source": "s", "question": "?"}
IMAGE = {"image": "/x.png", "size": (100, 100)}
NUMBER = Sample(task="math", answer="42", **COMMON)
LENGTH = Sample(task="math", answer="8 cm", **COMMON)
OPTIONS = Sample(task="math", answer="A", options=["3", "4"], **COMMON)
VERDICT = Sample(task="math", stage="binary", answer=True, claim="42", **COMMON)
CHOICE = Sample(task="math", stage="choice", answer=["A"], options=["42", "17"], **COMMON)
LABELS = Sample(task="classification", answer=["cat", "dog"], **COMMON)
BOX = Sample(task="detection", answer=[[10, 10, 50, 50]], **COMMON, **IMAGE)


def complete(answer):
    return f"<think></think><answer>{answer}</answer>"


EXAMPLES = {
    "ok": (NUMBER, complete("42")),
    "wrong": (NUMBER, complete("17")),
    "partial": (LABELS, complete("dog")),
    "iou_too_low": (BOX, complete("[10, 10, 20, 20]")),
    "no_overlap": (BOX, complete("[60, 60, 70, 70]")),
    "wrong_unit": (LENGTH, complete("8 m")),
    "no_reference": (Sample(task="general", answer=None, **COMMON), complete("Jupiter")),
    "no_answer": (NUMBER, "42"),
    "unclosed_answer": (NUMBER, "<think></think><answer>42"),
    "empty_answer": (NUMBER, complete(" ")),
    "two_answers": (NUMBER, complete("42") + "<answer>42</answer>"),
    "no_think": (NUMBER, "<answer>42</answer>"),
    "unclosed_think": (NUMBER, "<think>6 * 7<answer>42</answer>"),
    "two_thinks": (NUMBER, "<think></think>" + complete("42")),
    "wrong_order": (NUMBER, "<answer>42</answer><think></think>"),
    "text_outside": (NUMBER, complete("42") + "!"),
    "not_a_verdict": (VERDICT, complete("maybe")),
    "not_letters": (CHOICE, complete("the first")),
    "letter_out_of_range": (CHOICE, complete("C")),
    "letter_twice": (CHOICE, complete("A, A")),
    "several_letters": (OPTIONS, complete("A, B")),
    "letter_and_text_differ": (OPTIONS, complete("A. 4")),
    "not_an_option": (OPTIONS, complete("5")),
    "not_labels": (LABELS, complete("[1, 2]")),
    "no_box": (BOX, complete("at the left")),
    "two_boxes": (BOX, complete("[10, 10, 50, 50]; [10, 10, 50, 50]")),
    "not_four_numbers": (BOX, complete("[10, 10, 50]")),
    "not_a_number": (BOX, complete("[10, 10, 50, null]")),
    "box_reversed": (BOX, complete("[50, 50, 10, 10]")),
    "key_twice": (BOX, complete('{"bbox": [10, 10, 50, 50], "bbox": [10, 10, 50, 50]}')),
    "not_an_expression": (NUMBER, complete("forty-two")),
    "not_parsed": (NUMBER, complete("42+")),
    "gold_not_parsed": (Sample(task="math", answer="42+", **COMMON), complete("42-1+x")),
    "too_complex": (NUMBER, complete("9^9^9")),
    "verifier_timeout": (NUMBER, complete("(10^{999})^{(10^{999})}")),
}
PAID = {"ok", "partial", "no_think", "unclosed_think", "two_thinks", "wrong_order", "text_outside"}  # for the value


@pytest.mark.parametrize("reason", EXAMPLES)
def test_each_reason_is_reached(reason):
    sample, completion = EXAMPLES[reason]
    result = score(sample, completion)
    assert result.reason == reason
    assert (result.value > 0) == (reason in PAID)


def test_every_reason_is_in_words_and_every_one_in_words_is_reached():
    assert set(EXAMPLES) == set(REASONS)
    source = "".join(path.read_text(encoding="utf-8") for path in Path(currreft_nb.__file__).parent.rglob("*.py"))
    raised = set(re.findall(r'Unreadable\("(\w+)"', source))
    assert raised - {"not_json", "not_read"} <= set(REASONS), "these two are caught where they are raised"
