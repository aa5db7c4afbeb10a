"""No wrong answer is paid: a small search by the benchmark; and in the notations that it uses, right answers are."""

import importlib.util
import random
from pathlib import Path

import pytest

from currreft_nb.core.samples import Sample
from currreft_nb.tasks.detection import parse
from currreft_nb.tasks.math_equality import compare_math

_path = Path(__file__).parents[1] / "benchmarks" / "false_pay.py"
_spec = importlib.util.spec_from_file_location("false_pay", _path)
false_pay = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(false_pay)


def test_no_wrong_answer_is_paid():
    tried, paid = false_pay.search(800, seed=0)
    assert paid == []
    assert set(tried) == {kind.__name__ for kind in false_pay.TYPES} and sum(tried.values()) >= 790


def test_right_answers_in_the_same_notations_are_paid():
    rng = random.Random(0)
    for _ in range(300):
        value = false_pay.number(rng)
        texts = [false_pay.written(rng, value) for _ in range(2)]
        assert compare_math(*texts) == "ok", texts
    for _ in range(20):
        line = [rng.choice([-5, -3, 2, 4]) for _ in range(3)]
        texts = [false_pay.line_text(rng, *line) for _ in range(2)]
        assert compare_math(*texts) == "ok", texts
        polynomial = false_pay.polynomial(rng)
        texts = [false_pay.terms(rng, *polynomial) for _ in range(2)]
        assert compare_math(*texts) == "ok", texts


@pytest.mark.parametrize("form", false_pay.BOX_FORMS)
def test_the_right_box_is_read_in_every_form(form):
    sample = Sample(id="a", task="detection", split="val", source="s", question="dog", answer=[[1, 2, 3, 4]])
    assert parse(form.format(1, 2, 3, 4), sample) == [(1, 2, 3, 4)]
