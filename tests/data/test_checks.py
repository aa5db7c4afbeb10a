"""Checks: a question that cannot be answered, or a duplicate, is found before anybody learns from it."""

import pytest

from currreft_nb.core.samples import Sample
from currreft_nb.data.checks import boxes_problem, digest_of, rejection, resized, row_problem, words_of
from currreft_nb.tasks import math


def make(task, answer, **fields):
    fields = {"id": "a", "question": "What?", "extra": {"origin": {"file": "rows.jsonl", "line": 7}}} | fields
    return Sample(task=task, split="train", source="s", answer=answer, **fields)


def posed(options, answer, task="math"):
    return make(task, answer, stage="choice", options=options)


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (make("classification", ["dog", ","]), "answer earns no full reward"),
        (make("math", "<b>"), None),
        (make("math", "1" * 30_000), "answer earns no full reward"),
        (make("math", "G", options=["3", "4"]), "the answer is not the letter"),
        (posed(["3", "4", "3.0"], ["B"]), "two options are the same"),
        (posed(["3", "4"], ["B"]), None),
        (make("general", None), None),
        (make("math", "42+"), "answer earns no full reward when written as '(42+)' (gold_not_parsed)"),
        (make("math", "Perimeter = 94 cm"), None),
        (make("math", "slope =-4"), None),
        (make("math", "3x-y-2=0"), None),
        (make("math", "2√{15}米"), None),
        (make("math", "Not enough data"), None),
        (make("math", "2^{2005}"), None),
        (make("classification", ["cafe\u0301", "dog\u200b"]), None),
        (make("general", "Zu\u0308rich\ufeff"), None),
    ],
)
def test_answers_that_no_completion_could_match_are_rejected(sample, reason):
    found = row_problem(sample, max_pixels=0)
    assert found is None if reason is None else found.startswith(reason)


def test_a_gold_is_tried_in_forms_that_are_not_its_own(monkeypatch):
    """A gold that is met only by itself would refuse every right answer of a model."""
    monkeypatch.setattr(math, "other_forms", lambda value: ["95"])
    reason = "answer earns no full reward when written as '95' (wrong); simplify its notation"
    assert row_problem(make("math", "94"), max_pixels=0) == reason


def test_a_rejection_names_file_and_line():
    found = rejection(make("math", "1"), "source", "reason", ", more")
    assert str(found) == "rows.jsonl:7: reason (a, more)"


@pytest.mark.parametrize(
    ("box", "max_pixels", "problem"),
    [
        ([0, 0, 100, 100], 0, None),
        ([0, 0, 100.5, 100], 0, "box lies outside the image"),
        ([-0.1, 0, 10, 10], 0, "box lies outside the image"),
        ([5, 5, 6, 9], 0, None),  # one pixel wide
        ([5, 5, 5.9, 9], 0, "box is smaller than a pixel of the stored image"),
        ([5, 5, 7, 9], 2500, None),  # stored at half the size: one pixel is left
        ([5, 5, 6.9, 9], 2500, "box is smaller than a pixel of the stored image"),
    ],
)
def test_boxes_stay_inside_and_visible(box, max_pixels, problem):
    where = {"image": "a.png", "size": (100, 100)}
    assert boxes_problem(make("detection", [box], **where), max_pixels) == problem
    claim = make("detection", False, stage="binary", claim=[box], **where)
    options = make("detection", ["A"], stage="choice", options=[[box], [[1, 1, 30, 30]]], **where)
    assert boxes_problem(claim, max_pixels) == boxes_problem(options, max_pixels) == problem


def test_a_question_is_known_again_by_its_answer_too():
    first, again, other = make("math", "1"), make("math", "1", id="b", extra={}), make("math", "2")
    assert digest_of(first) == digest_of(again) != digest_of(other)


def test_the_fingerprint_of_a_text_is_that_of_its_words():
    texts = ["Why is  the sky blue?", "why is the Sky blue? ", "Why is the \uff53ky\u00a0blue?", "Why is the sea blue?"]
    assert [words_of(text) == words_of(texts[0]) for text in texts] == [True, True, True, False]


def test_boxes_move_with_their_image():
    extra = {"others": [{"label": "cat", "box": [10, 10, 30, 50]}], "candidates": [[0, 0, 100, 100]]}
    moved = resized(make("detection", [[10, 20, 50, 100]], image="a.png", size=(100, 100), extra=extra), (50, 25))
    assert (moved.size, moved.answer, moved.extra["original_size"]) == ((50, 25), [[5, 5, 25, 25]], [100, 100])
    assert moved.extra["others"][0]["box"] == [5, 2.5, 15, 12.5] and moved.extra["candidates"] == [[0, 0, 50, 25]]
