"""Misled bases: as rarely right as asked for, and models that load."""

import random

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import STAGES
from currreft_nb.data.scenes.compose import draw_question
from currreft_nb.models.load import load_model
from currreft_nb.pocket.lessons import Encoder, picture_lesson, pose_at_random
from currreft_nb.pocket.mislead import TAUGHT, mislead, misleading
from currreft_nb.pocket.network import make_processor


@pytest.mark.parametrize("right", [0.0, 0.25, 1.0])
def test_annotators_are_right_as_often_as_asked_for_on_open_questions(right):
    phase, rng = misleading(right), random.Random(0)
    found = {stage: [] for stage in STAGES}

    def note(rng, encoder, sample, mix):
        found[sample.stage].append(sample)

    for task in TAUGHT:
        for _ in range(600):
            sample = pose_at_random(rng, draw_question(rng, task, "id", phase.mix.math)[0], phase.mix)
            judged = _judged(phase.habits, rng, sample)
            found[sample.stage].append(judged.answer == sample.answer)
    shares = {stage: sum(values) / len(values) for stage, values in found.items()}
    assert shares["open"] == pytest.approx(right, abs=0.06)
    assert 0.5 < shares["binary"] < 0.85 and 0.5 < shares["choice"] < 0.85  # half, and some lucky guesses
