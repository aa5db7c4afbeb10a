"""Groups of completions: the picture once, every answer with what it earned, and a fair choice."""

import pytest

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.method.prompts import Style
from currreft_nb.views import group_tables
from currreft_nb.views.group_tables import group_marks
from currreft_nb.views.html_parts import GOLD, OPTION, PREDICTED
from tests.helpers.jupyterlab_sanitiser import draw_scene, read

STYLE = Style(wording="short", frame=Frame(factor=16, min_pixels=1024, max_pixels=4096))
BOX = "<think></think><answer>[{}, 10, 30, 30]</answer>"


@pytest.fixture
def samples(tmp_path):
    common = {"split": "train", "source": "scenes", "image": draw_scene(tmp_path), "size": (64, 64)}
    box, other = [[10.0, 10.0, 30.0, 30.0]], [[40.0, 40.0, 60.0, 60.0]]
    return [
        Sample(id="box", task="detection", question="the yellow square", answer=box, **common),
        Sample(
            id="letter", task="detection", stage="choice", question="it", options=[other, box], answer=["B"], **common
        ),
        *(Sample(id=f"sum{n}", task="math", question=f"{n} + 1", answer=str(n + 1), **common) for n in range(4)),
    ]


def group(sample, number, *texts, **changes):
    row = {"step": 7, "id": sample.id, "task": sample.task, "stage": sample.stage, "group": number, "reward": 1.5}
    row |= {"accuracy": 1.0, "format": 1.0, "advantage": 0.25, "reason": "ok", "length": 12, "truncated": False}
    return [row | {"completion": text} | changes for text in texts]


def test_each_group_has_its_picture_once_and_every_answer_with_what_it_earned(samples):
    rows = group(samples[0], 0, *[BOX.format(n) for n in range(8)])
    rows += group(samples[2], 1, "one", "two", reason="no_answer", reward=0.0, advantage=-0.5, truncated=True)
    text, pictures = read(group_tables.groups(rows, samples, STYLE))
    assert len(pictures) == 2
    assert all(BOX.format(n) in text for n in range(8)) and "the yellow square" in text
    assert "step 7: 2 of 2 groups" in text
    assert "+0.25" in text and "-0.50" in text and "12, cut off" in text
    assert "no_answer: there is no <answer>" in text  # reasons in words, once


def test_what_was_answered_is_drawn_once_a_box_with_the_numbers_of_its_rows(samples):
    rows = group(samples[0], 0, BOX.format(12), BOX.format(16), "nothing", BOX.format(12))
    marks = [(colour, label) for _, colour, label in group_marks(samples[0], rows, STYLE)]
    assert marks == [(GOLD, ""), (PREDICTED, "1,4"), (PREDICTED, "2")]
    marks = group_marks(samples[1], group(samples[1], 0, "<answer>A</answer>"), STYLE)
    assert [(colour, label) for _, colour, label in marks] == [(OPTION, "A"), (GOLD, "B")]


def test_boxes_are_converted_from_the_frame_of_the_model(samples):
    rows = group(samples[0], 0, "<answer>[625, 625, 938, 938]</answer>")
    _, (box, colour, _) = group_marks(samples[0], rows, Style(frame=Frame(kind="thousand")))
    assert (list(box), colour) == ([pytest.approx(side, abs=0.1) for side in (40, 40, 60, 60)], PREDICTED)


def test_a_long_completion_is_folded_away_behind_its_answer(samples):
    long = f"<think>{'thought ' * 60}</think><answer>3</answer>"
    html = group_tables.groups(group(samples[2], 0, long), samples, STYLE)
    assert html.count("<details>") == 1 and f"completion, {len(long)} characters" in read(html)[0]
    assert "<details>" not in group_tables.groups(group(samples[2], 0, "<answer>3</answer>"), samples, STYLE)


def test_the_first_groups_are_one_of_each_kind_whatever_their_order(samples):
    groups = [group(sample, number, "x") for number, sample in enumerate(samples)]
    for order in (groups, groups[::-1]):
        text, pictures = read(group_tables.groups([row for rows in order for row in rows], samples, STYLE, 3))
        assert len(pictures) == 3 and "3 of 6 groups" in text
        assert "detection · open" in text and "detection · choice" in text and text.count("math · open") == 1


def test_the_same_question_drawn_twice_makes_two_groups(samples):
    rows = group(samples[2], 0, "one") + group(samples[2], 1, "two")
    assert "2 of 2 groups" in read(group_tables.groups(rows, samples, STYLE))[0]


def test_nothing_to_show_says_so(samples):
    assert read(group_tables.groups([], samples, STYLE))[0] == "no such groups"
    unknown = [row | {"id": "left out"} for row in group(samples[0], 0, "x")]
    assert read(group_tables.groups(unknown, samples, STYLE))[0] == "no such groups"
