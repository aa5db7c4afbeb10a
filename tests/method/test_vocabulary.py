"""Vocabulary: wrong answers are answers to the same kind of question, whatever the order of the questions."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from currreft_nb.core.samples import Sample
from currreft_nb.method.curriculum import CannotPose, pose, pose_all
from currreft_nb.method.vocabulary import MOST_VALUES, Vocabulary


def asked(question, answer, task="classification", id=None, **fields):
    answer = [answer] if task == "classification" else answer
    if task == "detection":
        fields |= {"image": "/a.png", "size": (100, 50)}
    return Sample(
        id=id or f"{question} {answer}",
        task=task,
        split="train",
        source="s",
        question=question,
        answer=answer,
        **fields,
    )


COLOURS = [asked("What colour is the shape?", colour) for colour in ("red", "blue", "teal")]
SHAPES = [asked("what shape is in the image?", shape) for shape in ("circle", "star")]
VERDICTS = [asked("Is there a circle?", "yes"), asked("is there a star?", "no")]
COUNTED = [asked("how many stars are there", number) for number in ("1", "2", "3")]
ALL = [*COLOURS, *SHAPES, *VERDICTS, *COUNTED]


@pytest.mark.parametrize(
    ("sample", "known", "why"),
    [
        (COLOURS[0], {"red", "blue", "teal"}, "colours for a colour"),
        (SHAPES[0], {"circle", "star"}, "shapes for a shape, though few"),
        (VERDICTS[0], {"yes", "no"}, "yes and no for each other, from another question of the kind"),
        (COUNTED[0], {"1", "2", "3"}, "numbers for a number"),
        (asked("WHAT COLOUR is my shape", "red"), {"red", "blue", "teal"}, "as far as the words agree"),
        (
            asked("Name it.", "red"),
            {"red", "blue", "teal", "circle", "star"},
            "no word agrees: any text, but no number",
        ),
        (asked("is it so?", "yes"), {"yes", "no"}, "a verdict, whatever the words"),
    ],
)
def test_wrong_answers_are_answers_to_the_same_kind_of_question(sample, known, why):
    assert set(Vocabulary(ALL).like(sample)) == known, why


def test_all_wrong_options_are_of_the_kind():
    kinds = [{label for [label] in (s.answer for s in group)} for group in (COLOURS, SHAPES, VERDICTS, COUNTED)]
    for stage in ("binary", "choice"):
        for posed in pose_all(ALL, stage, seed=0)[0]:
            shown = {label for [label] in posed.options or [posed.claim]}
            assert any(shown <= kind for kind in kinds), posed


def test_a_category_that_nothing_is_annotated_with_is_no_option():
    extra = {"categories": ["cells", "rbc", "wbc"]}
    pictures = [
        asked("Which of these categories?", label, id=str(n), extra=extra) for n, label in enumerate(("rbc", "wbc") * 9)
    ]
    assert {label for p in pose_all(pictures, "choice", seed=0)[0] for [label] in p.options} == {"rbc", "wbc"}


def test_numbers_in_a_question_do_not_part_its_kind():
    rows = [asked(f"Curve {n}: what colour?", colour) for n, colour in enumerate(("red", "blue", "teal"))]
    assert set(Vocabulary([*rows, *SHAPES]).like(rows[0])) == {"red", "blue", "teal"}


def test_counts_are_a_closed_set_and_are_drawn_as_often_as_they_are_right():
    rng = random.Random(0)
    rows = [
        asked(f"How many {rng.choice(['cats', 'dogs'])}?", str(rng.randrange(5)), "math", id=str(n)) for n in range(400)
    ]
    shown = [option for posed in pose_all(rows, "choice", seed=0)[0] for option in posed.options]
    assert {*shown} == {*"01234"} and all(0.15 < shown.count(n) / len(shown) < 0.25 for n in "01234")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([asked("What is the area?", f"{n} cm", "math") for n in range(40)], "each answer once: an open set"),
        ([asked("How many?", str(n % 3), "math", id=str(n)) for n in range(40)], "fewer than a choice has options"),
        (
            [asked(f"{'abcdefgh'[n % 8]} is?", str(n % 5), "math", id=str(n)) for n in range(40)],
            "no beginning in common",
        ),
    ],
)
def test_an_open_set_of_results_is_no_vocabulary(rows, why):
    assert Vocabulary(rows).like(rows[0]) == {}, why


def test_a_unit_is_part_of_the_kind_of_a_result():
    rows = [
        asked("How long is it?", f"{n % 4} {unit}", "math", id=f"{unit}{n}") for unit in ("cm", "m") for n in range(40)
    ]
    assert set(Vocabulary(rows).like(rows[0])) == {f"{n} cm" for n in range(4)}


def test_boxes_are_shares_of_the_sides_and_enough_for_the_phrase_or_of_all():
    cows = [asked("the cow", [[n, 5, 50 + n, 25]], "detection", id=f"a{n}") for n in range(12)]
    fox = asked("the fox", [[10, 10, 20, 20]], "detection")
    known = Vocabulary([*cows, fox])
    assert list(known.like(cows[0]))[:1] == [(0.0, 0.1, 0.5, 0.5)] and len(known.like(cows[0])) == 12
    assert len(known.like(fox)) == 13, "one fox is not enough, so it is any object"
    assert Vocabulary([fox]).like(fox) == {}


def test_many_values_are_bounded_whatever_the_order():
    rows = [asked("the cow", [[n / 100, 1, 50, 25]], "detection", id=f"a{n}") for n in range(3000)]
    first, second = (Vocabulary(group).like(rows[0]) for group in (rows, random.Random(0).sample(rows, len(rows))))
    assert first == second and len(first) == MOST_VALUES


def test_labels_are_counted_alone_and_together_in_any_order():
    rows = [asked("What?", label, id=label) for label in ("dog", "cat")]
    rows[0].answer.append("cat")
    found = Vocabulary(rows).like(rows[1])
    assert list(found.items()) == [("cat", {"cat": 2, "dog": 1}), ("dog", {"cat": 1, "dog": 1})]
    assert found == Vocabulary(rows[::-1]).like(rows[1])


def test_candidates_and_options_of_a_question_are_no_vocabulary_for_others():
    closed = asked("What colour is it?", "pink", extra={"candidates": ["pink", "gold"]})
    lettered = asked("How many?", "A", "math", options=["1", "2"])
    assert set(Vocabulary([*COLOURS, closed, lettered]).like(COLOURS[0])) == {"red", "blue", "teal"}


def test_where_a_kind_has_one_answer_there_is_no_wrong_one():
    rows = [asked("What animal?", "dog", id=str(n)) for n in range(9)]
    with pytest.raises(CannotPose, match="no label is known to be absent"):
        pose(rows[0], "choice", 0, Vocabulary(rows))


def cells(number=160):
    """Return questions like those of a set of blood cells: half have three labels, half lack one of them."""
    answers = [["platelets", "rbc", "wbc"], ["rbc", "wbc"]] * (number // 2)
    rows = [asked("Which categories?", "rbc", id=str(n)) for n in range(number)]
    for row, answer in zip(rows, answers):
        row.answer[:] = answer
    return rows


def test_claims_leave_labels_out_or_add_them_and_each_is_as_often_true_as_false():
    rows = cells()
    posed, left_out = pose_all(rows, "binary", seed=0)
    assert not left_out and all((p.claim == row.answer) == p.answer for p, row in zip(posed, rows))
    for label in ("platelets", "rbc"):
        assert 0.4 < sum(p.answer for p in posed if label in p.claim) / sum(label in p.claim for p in posed) < 0.6


def claims(rows, row):
    """Return the false claims about a row and how often they were made of 600."""
    known = Vocabulary(rows)
    posed = [pose(replace(row, id=f"p{n}"), "binary", 0, known) for n in range(1200)]
    return Counter(tuple(p.claim) for p in posed if not p.answer)


def test_other_answers_are_claimed_by_how_often_they_were_given_and_how_near_they_are():
    rows = [*cells(6), asked("Which categories?", "dog", id="d")]
    made = claims(rows, rows[0])
    assert {*made} == {("rbc", "wbc"), ("dog",)}
    assert 6 < made["rbc", "wbc"] / made["dog",] < 24  # 12: it was given 3 times, and differs in 1 label, not in 4


def test_an_answer_with_what_is_known_to_be_there_is_no_false_claim():
    rows = cells(4)
    seen = replace(rows[1], extra={"others": [{"label": "Platelets", "question": None, "box": [0, 0, 9, 9]}]})
    with pytest.raises(CannotPose):  # the other answer names platelets, which are in the picture, too
        pose(seen, "binary", 0, Vocabulary(rows))
    assert {*claims(rows, replace(rows[0], extra=seen.extra))} == {("rbc", "wbc")}


def test_one_answer_in_two_spellings_is_one():
    rows = [asked("What?", "Dog", id="a"), asked("What?", "the dog", id="b"), asked("What?", "cat", id="c")]
    assert {*claims(rows, rows[0])} == {("cat",)}


def test_of_many_answers_those_of_the_same_questions_are_kept_whatever_the_order():
    rows = [asked("What?", f"{'common' if n % 2 else n} thing", id=str(n)) for n in range(3000)]
    first, second = (
        next(Vocabulary(group).answers_like(rows[0])) for group in (rows, random.Random(0).sample(rows, len(rows)))
    )
    assert first == second and sum(first.values()) == MOST_VALUES
    assert max(first.values()) == pytest.approx(MOST_VALUES / 2, rel=0.3)
