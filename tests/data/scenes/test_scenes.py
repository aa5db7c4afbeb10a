"""Drawn scenes: the same on every call, true to what they say, and silent about the answer without the picture."""

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.boxes import iou
from currreft_nb.core.samples import TASKS, read_samples
from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.drawing import COLORS, SIDE, UNSEEN, Scene, Thing, cell_of, draw_scene, pairs, place
from currreft_nb.data.scenes.questions import COUNTS, ask_everything, ask_in_words
from currreft_nb.method.curriculum import pose
from currreft_nb.method.rewards import score
from tests.helpers.made_up_results import write_samples

PICTURED = ("detection", "classification", "math")
cases = pytest.mark.parametrize("look", compose.LOOKS)


def many(task, look, count=300):
    return [compose.compose(random.Random(f"{task} {look} {number}"), task, look) for number in range(count)]


@cases
@pytest.mark.parametrize("task", TASKS)
def test_samples_are_the_same_on_every_call_and_more_of_them_keep_the_first(tmp_path, task, look):
    few = compose.draw_samples(tmp_path / "a", task, 4, look, 5, "val")
    more = compose.draw_samples(tmp_path / "b", task, 6, look, 5, "val")
    for one, other in zip(few, more):
        assert replace(one, image=None) == replace(other, image=None)
        if one.image:
            assert Path(one.image).read_bytes() == Path(other.image).read_bytes()


def test_samples_of_other_seeds_and_splits_are_other_samples(tmp_path):
    made = [
        compose.draw_samples(tmp_path, "math", 5, "id", seed, split) for seed in (0, 1) for split in ("train", "val")
    ]
    pictures = [Path(sample.image).read_bytes() for samples in made for sample in samples]
    assert len(set(pictures)) == 20
    assert len({sample.id for samples in made for sample in samples}) == 20


@cases
def test_samples_survive_being_written_and_read(tmp_path, look):
    made = [sample for task in TASKS for sample in compose.draw_samples(tmp_path, task, 3, look, 0, "train")]
    write_samples(tmp_path / "samples.jsonl", made)
    back = read_samples(tmp_path / "samples.jsonl")
    assert [json.dumps(sample.extra) for sample in back] == [json.dumps(sample.extra) for sample in made]
    assert [sample.image for sample in back] == [sample.image for sample in made]


def test_an_unknown_look_is_refused():
    with pytest.raises(InputError, match="look is 'night'"):
        compose.draw_question(random.Random(0), "math", "night")


@cases
@settings(max_examples=50)
@given(seed=st.integers(0, 10**9), count=st.integers(1, 6))
def test_placed_boxes_lie_inside_apart_and_in_cells_of_their_own(look, seed, count):
    boxes = place(random.Random(seed), count, look)
    assert all(0 <= x1 < x2 < SIDE and 0 <= y1 < y2 < SIDE for x1, y1, x2, y2 in boxes)
    assert len({cell_of(box) for box in boxes}) == count
    assert all(iou(a, b) == 0 for a in boxes for b in boxes if a is not b)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star"])
@pytest.mark.parametrize("look", compose.LOOKS)
def test_a_drawn_shape_fills_its_box(shape, look):
    """Detection is scored by the box: a drawing beside its box would make every right answer a bit wrong."""
    box = (20, 12, 41, 33)
    empty = np.asarray(draw_scene(Scene((), look), random.Random(3))).astype(int)
    image = draw_scene(Scene((Thing("purple", shape, box),), look), random.Random(3))
    ys, xs = np.nonzero(np.abs(np.asarray(image).astype(int) - empty).max(2) > 30)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(box, abs=1)


def test_the_out_of_domain_look_differs_in_more_than_the_background():
    seen = {(thing.color, thing.shape) for scene, _ in many("classification", "id") for thing in scene.things}
    assert not seen & set(UNSEEN)
    assert set(UNSEEN) <= {(t.color, t.shape) for scene, _ in many("classification", "ood") for t in scene.things}
    widths = {t.box[2] - t.box[0] for scene, _ in many("detection", "id") for t in scene.things}
    strange = {t.box[2] - t.box[0] for scene, _ in many("detection", "ood") for t in scene.things}
    assert strange - widths, "sizes that were never seen"
    stretched = [
        t.box[2] - t.box[0] != t.box[3] - t.box[1] for scene, _ in many("detection", "ood") for t in scene.things
    ]
    assert any(stretched)


@cases
@pytest.mark.parametrize("task", PICTURED)
def test_answers_are_true_of_the_scene(task, look):
    for scene, sample in many(task, look, 100):
        assert_true(scene, sample)
        for other in ask_everything(scene):
            assert_true(scene, other)


def assert_true(scene, sample):
    """Read the question with other code than that which made it."""
    things, words = scene.things, sample.question.rstrip("?.").split()
    if sample.task == "math":
        cells = sorted(thing.cell for thing in things if thing.color == words[2])
        assert sample.thinking == f"{cells}={sample.answer}" and len(cells) == int(sample.answer)
    elif sample.task == "detection":
        (box,) = [list(thing.box) for thing in things if [thing.color, thing.shape] == words[2:]]
        assert sample.answer == [box] and sample.thinking == str(box)
        assert box in sample.extra["candidates"]
        assert len(sample.extra["others"]) == len(things) - 1
    elif sample.task == "classification":
        known, asked = (words[-1], "color") if words[1] == "color" else (words[4], "shape")
        (thing,) = [thing for thing in things if known in (thing.color, thing.shape)]
        assert sample.answer == [sample.thinking] == [getattr(thing, asked)]
    elif sample.extra["kind"] == "side":
        first, second = (next(t for t in things if t.color == word) for word in (words[2], words[-2]))
        assert sample.answer == ("left" if first.middle < second.middle else "right")
    else:
        assert sample.answer == max(things, key=lambda thing: thing.area).color


@pytest.mark.parametrize("kind", ["arithmetic", "comparison", "odd"])
def test_questions_in_words_have_no_picture_and_varied_answers(kind):
    asked = [sample for seed in range(200) if (sample := ask_in_words(random.Random(seed))).extra["kind"] == kind]
    assert all(sample.size is None and sample.task == "general" for sample in asked)
    assert len({sample.answer for sample in asked}) > 8
    assert len({sample.question for sample in asked}) > 0.7 * len(asked)


def test_general_questions_are_of_five_kinds_half_of_them_with_a_picture():
    made = [compose.draw_question(random.Random(seed), "general", "id") for seed in range(400)]
    kinds = Counter(sample.extra["kind"] for sample, _ in made)
    assert set(kinds) == {"arithmetic", "comparison", "odd", "side", "largest"}
    assert 150 < sum(image is not None for _, image in made) < 250
    assert all(image is None or isinstance(image, Image.Image) for _, image in made)


@cases
def test_counts_are_uniform_and_so_are_labels_given_the_question(look):
    """A guesser who knows every frequency, but not the picture, must be right by chance only."""
    counts = Counter(sample.answer for _, sample in many("math", look, 1500))
    assert set(counts) == set(COUNTS) and all(240 < count < 360 for count in counts.values())
    by_question = {}
    for _, sample in many("classification", look, 3000):
        by_question.setdefault(sample.question, []).append(sample)
    for samples in by_question.values():
        answers = Counter(sample.answer[0] for sample in samples)
        assert sorted(answers) == sorted(samples[0].extra["candidates"])
        assert max(answers.values()) < 1.6 * len(samples) / len(answers)


@cases
@pytest.mark.parametrize("task", PICTURED)
def test_options_give_nothing_away(task, look):
    """Neither position nor size nor the place among the options reveals the right one."""
    first, largest, highest, total = Counter(), 0, 0, 600
    for number, (_, sample) in enumerate(many(task, look, total)):
        posed = pose(replace(sample, id=f"{number}"), "choice", 0)
        truth = "ABCDE".index(posed.answer[0])
        first[truth] += 1
        if task == "detection":
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for (box,) in posed.options]
            tops = [box[1] for (box,) in posed.options]
            largest += areas.index(max(areas)) == truth
            highest += tops.index(min(tops)) == truth
    assert first.most_common(1)[0][1] < 0.4 * total
    if task == "detection":
        assert 0.17 * total < largest < 0.33 * total
        assert 0.17 * total < highest < 0.33 * total


@cases
def test_pairs_leave_every_color_two_shapes_to_tell_apart(look):
    for color in COLORS:
        assert len([pair for pair in pairs(look) if pair[0] == color]) >= 2


@cases
def test_a_list_names_the_cells_of_all_four_objects_and_no_other(look):
    for number in range(100):
        scene, sample = compose.compose(random.Random(f"{look} {number}"), "math", look, "listing")
        (color,) = re.findall(r"Where are the (\w+) objects", sample.question)
        cells = sorted(thing.cell for thing in scene.things if thing.color == color)
        assert len(cells) == 4 and sample.answer == sample.thinking == str(cells)
        assert sample.answer in sample.extra["candidates"] and len(sample.extra["candidates"]) >= 4


def test_a_list_that_lacks_a_part_or_has_one_too_many_earns_nothing():
    _, sample = compose.compose(random.Random(0), "math", "id", "listing")
    cells = json.loads(sample.answer)
    spare = min(set(range(16)) - set(cells))
    for answer, earned in ((cells, 1.0), (cells[:-1], 0.0), ([*cells, spare], 0.0), ([*cells[:-1], spare], 0.0)):
        assert score(sample, f"<think>so</think><answer>{answer}</answer>").value == earned
