"""There and back: sample, question, ideal completion, everything earned; every task and stage, on every data set."""

import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import STAGES, TASKS, TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.method.curriculum import CannotPose, pose
from currreft_nb.method.prompts import Style, render_question, target
from currreft_nb.method.rewards import score
from currreft_nb.method.vocabulary import Vocabulary
from currreft_nb.metrics.scores import measure
from tests.data.formats.test_real_data import SETS, divide, read

FULL, THOUSAND = Style(), Style(frame=Frame(kind="thousand"))
SHORT = Style(wording="short", frame=Frame(factor=16, min_pixels=256, max_pixels=4096))
COMMON = {"split": "train", "source": "demo", "question": "How many?"}


def check_round_trip(samples, styles=(FULL, THOUSAND)):
    """Assert that the ideal completion earns everything and its contrary nothing; return what was asked how often."""
    vocabulary, posed = Vocabulary(samples), Counter()
    for sample in samples:
        for stage in STAGES:
            try:
                asked = pose(sample, stage, 0, vocabulary)
            except CannotPose:
                continue
            posed[sample.task, stage] += 1
            for style in styles:
                assert render_question(asked, style)
                ideal = target(asked, style)
                assert score(asked, ideal, style.frame) == (1.0, 1.0, "ok"), (asked, ideal)
                assert measure(asked, ideal, style.frame)["correct"] == 1
                if contrary := contrary_of(asked):
                    assert score(asked, target(contrary, style), style.frame) == (0.0, 1.0, "wrong")
    return posed


def contrary_of(asked):
    """Return the closed question with what is wrong as its answer: the other verdict or letters; else None."""
    if asked.stage == "binary":
        return replace(asked, answer=not asked.answer)
    wrong = ["ABCDEFGH"[place] for place in range(len(asked.options)) if "ABCDEFGH"[place] not in asked.answer]
    return replace(asked, answer=wrong) if asked.stage == "choice" else None


def test_made_up_samples():
    rng, samples = random.Random(0), []
    for n in range(60):
        x, y, width, height = rng.uniform(0, 400), rng.uniform(0, 300), rng.uniform(20, 200), rng.uniform(20, 150)
        image = {"image": "/x.png", "size": (640, 480)}
        samples.append(Sample(id=f"d{n}", task="detection", answer=[[x, y, x + width, y + height]], **image, **COMMON))
        labels = rng.sample(["dog", "cat", "bus", "traffic light"], 2)
        samples.append(Sample(id=f"c{n}", task="classification", answer=labels, **COMMON))
        result = rng.choice(["42", "140°", "\\frac{3}{4}", "2√{3}", "8cm", "-1.5"])
        samples.append(Sample(id=f"m{n}", task="math", answer=result, **COMMON))
    assert check_round_trip(samples) == {(task, stage): 60 for task in TRAINED_TASKS for stage in STAGES}


@pytest.mark.parametrize("look", compose.LOOKS)
def test_drawn_scenes(look):
    samples = []
    for task in TASKS:
        for number in range(40):
            drawn, _ = compose.draw_question(random.Random(f"{task} {look} {number}"), task, look)
            samples.append(replace(drawn, id=f"{task}-{number}"))
    posed = check_round_trip(samples, (FULL, THOUSAND, SHORT))
    assert posed == {("general", "open"): 40} | {(task, stage): 40 for task in TRAINED_TASKS for stage in STAGES}


@pytest.mark.parametrize(("text", "questions"), [(text, asked) for text, asked, *_ in SETS if asked])
def test_real_sets(real_data, text, questions):
    samples, _ = divide(read(text, real_data))
    posed = check_round_trip(samples)
    assert {task: posed[task, "open"] for task in questions} == questions, "each can be answered"
    closed = [(task, stage) for task in questions if task in TRAINED_TASKS for stage in ("binary", "choice")]
    assert all(posed[cell] for cell in closed), "and asked at every stage"


def test_rows_whose_images_are_not_published(real_data):
    """As questions in words: every gold of GeoQA and of the official counting rows once."""
    places = {"r1v_prompts/geoqa_test_prompts.jsonl": "ground_truth"}
    places["curr_reft_official/superclevr_test200_counting_problems.jsonl"] = "solution"
    for place, field in places.items():
        lines = (real_data / place).read_text(encoding="utf-8").splitlines()
        golds = {str(json.loads(line)[field]) for line in lines}
        samples = [Sample(id=f"{n}", task="math", answer=gold, **COMMON) for n, gold in enumerate(sorted(golds))]
        assert check_round_trip(samples, [FULL]) == {("math", stage): len(golds) for stage in STAGES}
