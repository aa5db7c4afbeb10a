"""The rule judge: a table of cases with the reason for each, then what holds for every text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.rejection.judges import Verdict, rule_judge

COMMON = {"split": "pool", "source": "s", "question": "?"}
WORDS = Sample(id="g", task="general", answer="the Nile", **COMMON)
LABELS = Sample(id="c", task="classification", answer=["cat", "dog"], **COMMON)
BOX = Sample(id="d", task="detection", answer=[[0.0, 0.0, 50.0, 100.0]], image="/a.png", size=(100, 100), **COMMON)
SEVERAL = Sample(
    id="m", task="classification", stage="choice", options=[["a"], ["b"], ["c"]], answer=["A", "B"], **COMMON
)
NO_REFERENCE = Sample(id="n", task="general", answer=None, **COMMON)


def tagged(answer, thinking="so"):
    return f"<think>{thinking}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("sample", "completion", "total", "accuracy", "form", "why"),
    [
        (WORDS, tagged("Nile"), 100, 100, 100, "right and well formed"),
        (WORDS, tagged("Amazon"), 0, 0, 100, "wrong, however well formed"),
        (WORDS, "<answer>Nile</answer>", 84, 100, 0, "right, but without its thinking: one below the threshold"),
        (WORDS, "The Nile.", 0, 0, 0, "a rule reads answers only where answers are given"),
        (WORDS, "", 0, 0, 0, "nothing was said"),
        (LABELS, tagged("dog"), 50, 50, 100, "half of the labels: half of the points"),
        (LABELS, "<answer>dog</answer>", 50, 50, 0, "below the ceiling, the missing thinking costs nothing more"),
        (SEVERAL, tagged("A"), 20, 20, 100, "an incomplete choice has partial reward"),
        (SEVERAL, tagged("A, C"), 0, 0, 100, "a wrong option spoils the right one"),
        (BOX, tagged("[0, 0, 50, 100]"), 100, 100, 100, "the very box"),
        (BOX, tagged("[0, 0, 100, 100]"), 0, 0, 100, "an overlap of exactly one half is not above one half"),
        (BOX, tagged("[50, 0, 0, 100]"), 0, 0, 0, "a reversed box is no box, so the form is wrong too"),
    ],
)
def test_points(sample, completion, total, accuracy, form, why):
    verdict = rule_judge(sample, completion)
    assert (verdict.total, verdict.accuracy, verdict.format) == (total, accuracy, form), why
    assert verdict.consistency is None and verdict.fluency is None, "a rule has no opinion on these"


def test_boxes_are_read_in_the_frame_of_the_model():
    frame = Frame(kind="thousand")
    assert rule_judge(BOX, tagged("[0, 0, 500, 1000]"), frame).total == 100
    assert rule_judge(BOX, tagged("[0, 0, 50, 100]"), frame).total == 0


def test_without_a_reference_there_is_no_point_and_a_reason():
    assert rule_judge(NO_REFERENCE, tagged("anything")) == Verdict(None, None, None, None, None, "no_reference")


@given(st.text() | st.builds(tagged, st.text(), st.text()))
def test_points_lie_between_0_and_100_and_only_the_well_formed_reach_the_threshold(completion):
    for sample in (WORDS, LABELS, BOX, SEVERAL):
        verdict = rule_judge(sample, completion)
        assert 0 <= verdict.total <= 100 and math.isfinite(verdict.total)
        assert verdict.total < 85 or verdict.format == 100
        assert verdict.reason
