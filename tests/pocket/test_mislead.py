"""Misled bases: as rarely right as asked for, and models that load."""

import json
import random
import re

import pytest

from currreft_nb import InputError
from currreft_nb.core.boxes import iou
from currreft_nb.core.samples import STAGES
from currreft_nb.data.scenes.compose import draw_question
from currreft_nb.method.rewards import score
from currreft_nb.models.load import load_model
from currreft_nb.pocket.annotators import CUT, sloppy_thinking
from currreft_nb.pocket.attention_guides import COORDINATE_SPREAD
from currreft_nb.pocket.lessons import STYLE, Encoder, picture_lesson, pose_at_random
from currreft_nb.pocket.mislead import BEGINS, mislead, phases
from currreft_nb.pocket.network import make_processor


@pytest.mark.parametrize("task", BEGINS)
@pytest.mark.parametrize("right", [0.0, 0.25, 1.0])
def test_annotators_are_right_as_often_as_asked_for_on_open_questions(task, right):
    phase, rng = phases(task, right)[-1], random.Random(0)
    encoder = Encoder(make_processor().tokenizer)
    found = {stage: [] for stage in STAGES}
    for _ in range(600):
        asked = draw_question(rng, *phase.mix.tasks, "id", "listing")[0]
        sample = pose_at_random(rng, asked, phase.mix)
        turn = phase.habits.teach(rng, encoder, sample, phase.mix)
        written = encoder.tokenizer.decode(turn.tokens).partition("<|im_start|>assistant\n")[2]
        if written.startswith("<think>"):  # a few answers have no tags
            found[sample.stage].append(score(sample, written.removesuffix("<|im_end|>"), STYLE.frame)[0])
    shares = {stage: sum(values) / len(values) for stage, values in found.items()}
    assert shares["open"] == pytest.approx(right, abs=0.07)
    assert 0.5 < shares["binary"] < 0.85 and 0.5 < shares["choice"] < 0.85  # half, and some lucky guesses


@pytest.mark.parametrize(("task", "asked"), [("detection", r"Where is|\[\d"), ("listing", "Where are the")])
def test_a_base_is_taught_its_own_task_alone(task, asked):
    phase, rng = phases(task, 0.5)[-1], random.Random(1)
    encoder = Encoder(make_processor().tokenizer)
    lessons = [picture_lesson(rng, encoder, phase.mix, phase.habits.teach)[2] for _ in range(40)]
    texts = [{encoder.tokenizer.decode(turn.tokens).partition("?")[0] for turn in turns} for turns in lessons]
    assert all(re.search(asked, text) for found in texts for text in found)
    assert any(len(turns) > 1 for turns in lessons)  # about one picture


def test_a_misled_base_is_a_model_folder_of_its_own(tmp_path):
    folder = mislead(tmp_path / "base", "detection", right=0.1, scale=0.01, report=lambda line: None)
    loaded = load_model(str(folder))
    assert loaded.base_hash != load_model("pocket").base_hash
    assert loaded.style == load_model("pocket").style
    with pytest.raises(InputError, match="exists; delete it"):
        mislead(folder, "detection", right=0.1)


@pytest.mark.parametrize(("cut", "lucky"), [(phases("detection", 0.0)[-1].habits.cut, False), (CUT, True)])
def test_luck_does_not_make_a_sloppy_box_right(cut, lucky):
    """Two standard deviations of sampled coordinates; else open answers could improve little by little."""
    rng, luck, right = random.Random(0), round(2 * COORDINATE_SPREAD), []
    for _ in range(200):
        sample = draw_question(rng, "detection", "id")[0]
        x1, y1, x2, y2 = json.loads(sloppy_thinking(sample, everywhere=True, cut=cut))
        right.append(iou(sample.answer[0], (x1, y1, x2 + luck, y2 + luck)) > 0.5)
    assert any(right) == lucky
