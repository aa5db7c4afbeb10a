"""Checks: a question that cannot be answered, or a duplicate, is found before anybody learns from it."""

import pytest

from currreft_nb.core.samples import Sample
from currreft_nb.data.checks import (
    answers_differ,
    boxes_problem,
    chat_token,
    digest_of,
    rejection,
    resized,
    row_problem,
    tidied,
    words_of,
)
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
        (make("math", "A", options=["3", "4", " 3"]), "two options are the right one"),
        (make("math", "B", options=["3", "4", " 3"]), None),  # a misprint among the wrong ones does no harm
        (make("math", "A", options=["1-2-3", "3-2-1"]), None),  # as texts they differ
        (make("math", "<think>"), "answer earns no full reward when written out (two_thinks)"),
        (make("math", "12\x00"), "answer has a control character"),
        (make("classification", ["caf\ufffd"]), "answer has a control character or one that could not be decoded"),
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


TOKENS = [
    "<|image_pad|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|endoftext|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "</s>",
    "<s>",
    "<pad>",
    "<unk>",
    "[IMG]",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: make("general", "red", question=text),
        lambda text: make("general", text),
        lambda text: make("general", "red", thinking=text),
        lambda text: make("math", "A", options=["3", text]),
        lambda text: make("classification", ["dog", text]),
        lambda text: make("classification", True, stage="binary", claim=[text]),
        lambda text: make("classification", ["dog"], extra={"categories": ["dog", text]}),
        lambda text: make("math", "3", extra={"candidates": ["3", text]}),
    ],
    ids=["question", "answer", "reasoning", "option", "label", "claim", "category", "candidate"],
)
def test_chat_tokens_are_found_in_every_text_that_a_model_reads(token, place):
    sample = place(f"What does {token} mean?")
    assert row_problem(sample, 0) == "text has a chat token, which a model takes for one of its own"
    assert chat_token(sample) == token


@pytest.mark.parametrize(
    "text", ["0 < |x| < 1", "<|x|>", "a [INSTANT] reply", "<b>bold</b>", "x<y|z>w", "<image>", "[IMAGE]"]
)
def test_other_signs_are_no_chat_tokens(text):
    assert chat_token(make("general", "red", question=text)) is None


@pytest.mark.parametrize(
    ("thinking", "kept", "problem"),
    [
        ("it is red", "it is red", None),
        ("<think>it is red</think>", "it is red", None),
        (" <think>\nit is red\n</think>\n", "it is red", None),
        ("<think></think>", "", None),
        ("<THINK>it is red</THINK>", "it is red", None),
        ("<thinking>it is red</thinking>", "it is red", None),
        ("<Answer>red", None, "reasoning has"),
        ("<SUMMARY>red</SUMMARY>", "<SUMMARY>red</SUMMARY>", None),
        ("<think>red</think><answer>red</answer>", None, "reasoning has"),
        ("red</think>", None, "reasoning has"),
        ("<think>red", None, "reasoning has"),
        ("<think><think>red</think></think>", None, "reasoning has"),
        ("so <answer>red</answer>", None, "reasoning has"),
    ],
)
def test_reasoning_loses_the_tags_around_it_and_has_none_inside(thinking, kept, problem):
    sample, mended = tidied(make("general", "red", thinking=thinking))
    assert sample.thinking == (thinking if problem else kept) and bool(mended) == (kept not in (None, thinking))
    found = row_problem(sample, 0)
    assert found is None if problem is None else found.startswith(problem)


@pytest.mark.parametrize(
    ("gold", "tidy"),
    [
        ("dog\u200b", "dog"),
        ("\ufeffdog", "dog"),
        ("traffic\u00adlight", "trafficlight"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u202a12\u202c", "12"),
        ("dog\u200d", "dog"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # here it shapes the letters
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("27°", "27°"),
    ],
)
def test_golds_have_only_visible_characters_in_one_form(gold, tidy):
    for task, answer, expected in (("general", gold, tidy), ("classification", ["x", gold], ["x", tidy])):
        sample, mended = tidied(make(task, answer, question=gold))
        assert sample.answer == expected and sample.question == gold and bool(mended) == (gold != tidy)
    assert tidied(make("math", "A", options=[gold, "y"]))[0].options == [tidy, "y"]


@pytest.mark.parametrize(
    ("task", "one", "other", "differ"),
    [
        ("math", "3", "4", True),
        ("math", "3", "3.0", False),
        ("classification", ["cat", "dog"], ["Dog", "cats"], False),
        ("classification", ["cat"], ["cat", "dog"], True),
        ("general", "The Nile.", "nile", False),
        ("general", None, "nile", False),
        ("detection", [[0, 0, 30, 30]], [[1, 0, 30, 30]], False),
        ("detection", [[0, 0, 30, 30]], [[40, 40, 70, 70]], True),
    ],
)
def test_answers_differ_where_the_reward_pays_only_one(task, one, other, differ):
    where = {"image": "a.png", "size": (100, 100)} if task == "detection" else {}
    assert answers_differ(make(task, one, **where), make(task, other, **where)) == differ


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
