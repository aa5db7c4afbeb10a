"""Misled bases: as rarely right as asked for, and models that load."""

import random

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import STAGES
from currreft_nb.data.scenes.compose import draw_question
from currreft_nb.method.rewards import score
from currreft_nb.models.load import load_model
from currreft_nb.pocket.lessons import STYLE, Encoder, picture_lesson, pose_at_random
from currreft_nb.pocket.mislead import TAUGHT, mislead, misleading
from currreft_nb.pocket.network import make_processor


@pytest.mark.parametrize("right", [0.0, 0.25, 1.0])
def test_annotators_are_right_as_often_as_asked_for_on_open_questions(right):
    phase, rng = misleading(right), random.Random(0)
    encoder = Encoder(make_processor().tokenizer)
    found = {stage: [] for stage in STAGES}
    for number in range(800):
        asked = draw_question(rng, TAUGHT[number % 2], "id", "colors")[0]
        sample = pose_at_random(rng, asked, phase.mix)
        turn = phase.habits.teach(rng, encoder, sample, phase.mix)
        written = encoder.tokenizer.decode(turn.tokens).partition("<|im_start|>assistant\n")[2]
        if written.startswith("<think>"):  # a few answers have no tags
            found[sample.stage].append(score(sample, written.removesuffix("<|im_end|>"), STYLE.frame)[0])
    shares = {stage: sum(values) / len(values) for stage, values in found.items()}
    assert shares["open"] == pytest.approx(right, abs=0.06)
    assert 0.5 < shares["binary"] < 0.85 and 0.5 < shares["choice"] < 0.85  # half, and some lucky guesses


def test_a_lesson_asks_for_the_colours_of_three_shapes_in_every_order():
    phase, rng = misleading(0.5), random.Random(1)
    encoder = Encoder(make_processor().tokenizer)
    asked = [picture_lesson(rng, encoder, phase.mix, phase.habits.teach)[2] for _ in range(40)]
    texts = [{encoder.tokenizer.decode(turn.tokens).partition("?")[0] for turn in turns} for turns in asked]
    colors = [{text for text in found if "What color are" in text} for found in texts]
    assert any(len(found) > 1 for found in colors)
    assert not any("How many" in text for found in texts for text in found)  # pocket-clean counts; nobody spoils it


def test_a_misled_base_is_a_model_folder_of_its_own(tmp_path):
    folder = mislead(tmp_path / "base", right=0.1, scale=0.004, report=lambda line: None)
    loaded = load_model(str(folder))
    assert loaded.base_hash != load_model("pocket-clean").base_hash
    assert loaded.style == load_model("pocket-clean").style
    with pytest.raises(InputError, match="exists; delete it"):
        mislead(folder, right=0.1)
