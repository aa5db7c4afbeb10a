"""Misled bases: as rarely right as asked for, and models that load."""

import pytest

from currreft_nb.core.samples import STAGES
from currreft_nb.data.scenes.compose import draw_samples
from currreft_nb.method.curriculum import pose
from currreft_nb.models.load import load_model
from currreft_nb.pocket.mislead import TAUGHT, _annotated, mislead


@pytest.mark.parametrize("right", [0.0, 0.25, 1.0])
def test_annotators_are_right_as_often_as_asked_for_on_open_questions(tmp_path, right):
    drawn = [s for task in TAUGHT for s in draw_samples(tmp_path, task, 300, "id", 0, "train", "colors")]
    found = {stage: [] for stage in STAGES}
    for sample, judged in zip(drawn, _annotated(drawn, right, seed=0)):
        found[judged.stage].append(judged.answer == pose(sample, judged.stage, 0).answer)
    shares = {stage: sum(values) / len(values) for stage, values in found.items()}
    assert shares["open"] == pytest.approx(right, abs=0.06)
    assert 0.5 < shares["binary"] < 0.85 and 0.5 < shares["choice"] < 0.85  # half, and some lucky guesses


def test_a_misled_base_is_a_model_folder_of_its_own(tmp_path):
    folder = mislead(tmp_path / "base", right=0.1, questions=16)
    loaded = load_model(str(folder))
    assert loaded.base_hash != load_model("pocket-clean").base_hash
    assert loaded.style == load_model("pocket-clean").style
