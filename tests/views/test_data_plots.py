"""Figures of the data: their bars, boxes and labels are in the right places."""

import numpy as np
import pytest
from PIL import Image

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.models.families import FAMILIES
from currreft_nb.views.data_plots import answer_distribution, giveaways, round_trips

FRAMES = {name: family.frame for name, family in FAMILIES.items()}


def boxed(folder, box, size=(100, 60)):
    path = folder / "a.png"
    Image.new("RGB", size, "white").save(path)
    common = {"id": "a", "task": "detection", "split": "train", "source": "s", "question": "the dog"}
    return Sample(**common, image=str(path), size=size, answer=[box])


@pytest.mark.parametrize("frame", [*FRAMES.values(), Frame(factor=32, max_pixels=65_536)])
def test_a_round_trip_ends_where_it_began(tmp_path, frame):
    figure = round_trips([boxed(tmp_path, [10, 20, 55, 40])], {"family": frame})
    gold, back = figure.axes[0].lines
    assert np.array_equal(gold.get_xdata(), [9.5, 54.5, 54.5, 9.5, 9.5])  # an edge lies between two pixels' centres
    assert np.array_equal(gold.get_ydata(), [19.5, 19.5, 39.5, 39.5, 19.5])
    assert np.abs(np.array(gold.get_data()) - np.array(back.get_data())).max() <= 1


def test_a_coarse_frame_shows_its_rounding(tmp_path):
    figure = round_trips([boxed(tmp_path, [101, 203, 555, 404], (4000, 3000))], {"coarse": Frame(max_pixels=3136)})
    assert float(figure.get_supxlabel().split(" at most ")[1].split()[0]) > 5


def test_there_is_a_column_for_each_family_and_words_where_there_is_no_box(tmp_path):
    assert len(round_trips([boxed(tmp_path, [1, 1, 9, 9])] * 5, FRAMES, count=2).axes) == 6
    assert "no boxes" in round_trips([], FRAMES).axes[0].texts[0].get_text()


@pytest.mark.parametrize("answer", ["$\\frac{1}{$", "$\\href{$", "$x_{$", "$\\frac{$"])
def test_an_answer_that_is_no_formula_is_drawn_as_it_stands(tmp_path, answer):
    sample = Sample(id="a", task="math", split="train", source="s", question="?", answer=answer)
    figure = answer_distribution([sample])
    figure.savefig(tmp_path / "drawn.png")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [answer]


def test_guessers_stand_beside_chance_with_what_tells_them_most(tmp_path):
    found = {"task": "detection", "questions": 90, "chance": 0.5, "right": 0.9, "low": 0.8, "high": 0.95}
    words = found | {"stage": "binary", "guesser": "words", "giveaway": True, "telling": [["says $_{", False]]}
    places = found | {"stage": "choice", "guesser": "geometry", "giveaway": False, "telling": [], "chance": 0.25}
    figure = giveaways([words, words | {"guesser": "geometry", "telling": []}, places])
    figure.savefig(tmp_path / "drawn.png")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["detection, binary", "detection, choice"]
    assert [text.get_text() for text in axis.texts] == ["says $_{ → no", "", ""]
    assert axis.texts[0].get_color() == "#D55E00"
    chances = [line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) == 2]
    assert chances == [0.5, 0.5, 0.25]
    assert "enough questions" in giveaways([]).axes[0].texts[0].get_text()
