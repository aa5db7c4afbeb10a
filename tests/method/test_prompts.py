"""Prompts: the question in both wordings, and the ideal completion, for every task and stage."""

import hashlib
import json
from dataclasses import asdict

import pytest

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.method import prompts
from currreft_nb.method.prompts import (
    Style,
    messages,
    render_answer,
    render_question,
    render_value,
    target,
    with_prefill,
    without_prefill,
    wording_hash,
)
from currreft_nb.method.rewards import score
from currreft_nb.tasks import TASK_MODULES

FULL, SHORT = Style(), Style(wording="short", frame=Frame(factor=16, min_pixels=256, max_pixels=4096))
THOUSAND = Style(frame=Frame(kind="thousand"))


def make(task, answer, **more):
    if task == "detection":
        more = {"image": "/x.png", "size": (640, 480), "question": "the dog"} | more
    more = {"id": "s", "split": "train", "source": "demo", "question": "How many?"} | more
    return Sample(task=task, answer=answer, **more)


BOX = [[64.0, 48.0, 320.0, 240.0]]
QUESTIONS = [
    (
        make("math", "3"),
        FULL,
        ["How many?", "<think></think>", "only the final result inside <answer></answer>"],
        "open",
    ),
    (make("math", "3"), SHORT, ["How many?"], "short is the bare question"),
    (make("math", True, stage="binary", claim="3"), FULL, ["How many?", "Proposed answer: 3", "yes or no"], "binary"),
    (make("math", True, stage="binary", claim="3"), SHORT, ["How many?\n3?"], "binary, short"),
    (make("math", ["B"], stage="choice", options=["2", "3"]), FULL, ["A. 2\nB. 3", "only the letter"], "choice"),
    (make("math", ["B"], stage="choice", options=["2", "3"]), SHORT, ["How many?\n2=A\n3=B"], "choice, short"),
    (make("math", "B", options=["2", "3"]), FULL, ["A. 2\nB. 3", "only the letter"], "a question with its own options"),
    (make("detection", BOX), FULL, ["phrase describes: the dog", '{"bbox_2d": [x1, y1, x2, y2]}'], "a box as JSON"),
    (make("detection", True, stage="binary", claim=BOX), THOUSAND, ["[100, 100, 500, 500]"], "a claim in the frame"),
    (
        make("classification", ["A"], stage="choice", options=[["dog"], ["traffic light"]]),
        FULL,
        ["A. dog\nB. traffic light", "More than one option may be right", "every correct letter, comma separated"],
        "several letters",
    ),
    (make("general", "x", question="Is {this} a set?"), FULL, ["Is {this} a set?"], "braces are no template"),
]


@pytest.mark.parametrize(("sample", "style", "parts", "why"), QUESTIONS)
def test_questions(sample, style, parts, why):
    text = render_question(sample, style)
    assert all(part in text for part in parts), (why, text)


def test_a_question_never_shows_its_answer():
    """Two samples that differ only in their answer are asked alike."""
    for style in (FULL, SHORT):
        for stage, one, other in (("binary", True, False), ("choice", ["A"], ["B"])):
            more = {"stage": stage, "claim": "3", "options": ["2", "3"]}
            assert render_question(make("math", one, **more), style) == render_question(
                make("math", other, **more), style
            )


ANSWERS = [
    (make("detection", BOX), FULL, '{"bbox_2d": [64, 48, 322, 238]}', "whole pixels of the resized image"),
    (make("detection", BOX), THOUSAND, '{"bbox_2d": [100, 100, 500, 500]}', "thousandths"),
    (make("detection", BOX, size=(640, 480)), SHORT, "[6, 5, 32, 24]", "short: the bare list"),
    (make("detection", BOX * 2), SHORT, "[6, 5, 32, 24]; [6, 5, 32, 24]", "short: several"),
    (make("classification", ["dog", "cat"]), FULL, "dog, cat", "labels"),
    (make("math", "\\frac{1}{2}"), FULL, "\\frac{1}{2}", "a result"),
    (make("math", False, stage="binary", claim="1"), FULL, "no", "a verdict"),
    (make("math", ["A", "C"], stage="choice", options=["1", "2", "3"]), FULL, "A, C", "letters"),
]


@pytest.mark.parametrize(("sample", "style", "text", "why"), ANSWERS)
def test_answers(sample, style, text, why):
    assert render_answer(sample, style) == text, why


def test_several_boxes_are_valid_json():
    assert [list(item) for item in json.loads(render_answer(make("detection", BOX * 2), FULL))] == [["bbox_2d"]] * 2


def test_messages_put_the_image_first():
    (turn,) = messages(make("detection", BOX), FULL)
    assert [part["type"] for part in turn["content"]] == ["image", "text"]
    (turn,) = messages(make("math", "3"), FULL)
    assert [part["type"] for part in turn["content"]] == ["text"], "no image without an image"


def test_a_target_carries_both_tags():
    assert target(make("math", "3", thinking="1, 2, 3"), FULL) == "<think>1, 2, 3</think><answer>3</answer>"
    assert target(make("math", "3"), FULL) == "<think></think><answer>3</answer>"


@pytest.mark.parametrize(
    ("prefill", "expected"),
    [
        ("<think>", "<think>1, 2, 3</think><answer>3</answer>"),
        ("<think>\n", "<think>\n1, 2, 3</think><answer>3</answer>"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n<answer>3</answer>"),
    ],
)
def test_a_target_begins_as_the_prompt_did_and_earns_both_rewards(prefill, expected):
    sample, style = make("math", "3", thinking="1, 2, 3"), Style(prefill=prefill)
    assert target(sample, style) == expected
    assert score(sample, expected) == (1, 1, "ok")
    learnt = without_prefill(expected, style)
    assert prefill + learnt == expected and "<think>" not in learnt


@pytest.mark.parametrize("prefill", ["", "<think>", "<think>\n"])
def test_a_stored_completion_gets_a_missing_prefill_once(prefill):
    style, said = Style(prefill=prefill), "a cat</think><answer>cat</answer>"
    assert with_prefill(said, style) == prefill + said
    for stored in (prefill + said, prefill.strip() + said):
        assert with_prefill(stored, style) == prefill + said


def test_a_prefill_changes_the_hash_of_the_wording_and_none_leaves_it_as_it_was():
    """Stored answers are found by it."""
    tasks = {name: [task.QUESTION, task.ANSWER] for name, task in TASK_MODULES.items()}
    known = {"wording": "full", "frame": asdict(Frame())}
    before = json.dumps([known, tasks, prompts._THINK, prompts._CHOICE_ONE])
    assert wording_hash(Style()) == hashlib.sha256(before.encode()).hexdigest()[:12]
    assert len({wording_hash(Style(prefill=prefill)) for prefill in ("", "<think>", "<think>\n")}) == 3


def test_what_cannot_be_written_says_why():
    with pytest.raises(InputError, match="no reference answer"):
        render_answer(make("general", None), FULL)
    with pytest.raises(InputError, match="wording"):
        Style(wording="long")


def test_values_of_every_task_are_text():
    values = {"detection": BOX, "classification": ["dog", "cat"], "math": "3", "general": "x"}
    for task, value in values.items():
        assert isinstance(render_value(make(task, value), value, FULL), str)
