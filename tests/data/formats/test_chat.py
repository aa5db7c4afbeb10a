"""Formats of chat files, school questions and rendered scenes: official conversations, ScienceQA, Geometry3K, CLEVR."""

import json
from collections import Counter

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import clevr, curr_reft, geometry3k, science_qa, super_clevr
from currreft_nb.data.reading.common import Rejected


def picture(path, size=(100, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = document if isinstance(document, list) and path.suffix == ".jsonl" else [document]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def divide(items):
    items = list(items)
    return [item for item in items if isinstance(item, Sample)], [item for item in items if isinstance(item, Rejected)]


# ---- the official files


FRAMES = {"solution": [960, 540, 1056, 756], "normalized_solution": [0.5, 0.5, 0.55, 0.7],
          "resize_solution": [436.4, 245.5, 480.0, 343.6]}  # fmt: skip
GTA = {"image": "gta.png", "problem": "... this sentence describes: a man in black by the car."} | FRAMES
THOUSAND = [500, 500, 550, 700]


@pytest.mark.parametrize(
    ("size", "changes", "box", "why"),
    [
        ((1920, 1080), {}, FRAMES["solution"], "the original image"),
        ((873, 491), {}, FRAMES["resize_solution"], "the copy that was shrunk by 2.2"),
        ((873, 491), {"normalized_solution": THOUSAND}, FRAMES["resize_solution"], "thousandths"),
        ((1920, 1080), {"solution": [500, 500, 550, 700]}, None, "frames that contradict each other"),
        ((960, 540), {}, None, "an image of a size that no frame is for"),
        ((1920, 1080), {"normalized_solution": [0.5, 0.5, 0.55]}, None, "three numbers"),
        ((1920, 1080), {"solution": [10**400, 0, 1, 1]}, None, "a number beyond all others"),
        ((1920, 1080), {"solution": "text"}, None, "a text"),
    ],
)
def test_refgta_rows_give_the_box_in_pixels_of_the_image_that_is_there(tmp_path, size, changes, box, why):
    picture(tmp_path / "gta.png", size)
    [found] = curr_reft.read(write(tmp_path / "refgta_subsample_resize.json", [GTA | changes]))
    if box is None:
        assert isinstance(found, Rejected), why
    else:
        assert (found.answer, found.question, found.size) == ([box], "a man in black by the car", size), why
        assert curr_reft.to_official(found) == GTA | changes


def test_a_row_of_two_frames_needs_only_these(tmp_path):
    picture(tmp_path / "gta.png", (1920, 1080))
    row = {name: value for name, value in GTA.items() if name != "resize_solution"}
    [sample] = curr_reft.read(write(tmp_path / "rec.json", [row]))
    assert sample.answer == [FRAMES["solution"]]


def test_sft_conversations_are_general_questions(tmp_path):
    picture(tmp_path / "a.png")
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<answer>So.</answer>"}]
    shown = [{"role": "user", "content": "<image>Why?"}, turns[1]]
    rows = [{"messages": turns}, {"messages": shown, "images": ["a.png"]}, {"messages": shown, "images": ["a.png"] * 2},
            {"messages": turns[:1]}, {"messages": [*turns, *turns]}, {"messages": shown}]  # fmt: skip
    path = write(tmp_path / "cat_all_formatted.jsonl", rows)
    samples, rejected = divide(curr_reft.read(path))
    assert [(s.task, s.question, s.answer) for s in samples] == [("general", "Why?", "So.")] * 3
    assert [s.image for s in samples] == [None, str(tmp_path / "a.png"), None]
    assert [item.fault for item in rejected] == [False, True, False, True]
    assert rejected[-1].reason == "question says <image>, and the row gives no picture"
    curr_reft.write(tmp_path / "again.jsonl", samples)
    assert [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()] == [*rows[:2], rows[4]]


def test_a_folder_gives_all_its_files(tmp_path):
    picture(tmp_path / "gta.png", (1920, 1080))
    write(tmp_path / "test" / "refgta.json", [GTA])
    write(tmp_path / "train" / "judge" / "a.jsonl", [{"problem": "It is 3.", "solution": "yes", "task": "math"}])
    samples, rejected = divide(curr_reft.read(tmp_path))
    assert [s.stage for s in samples] == ["open", "binary"] and not rejected


# ---- ScienceQA


PROBLEM = {"question": "Which is north?", "choices": ["Ohio", "Utah"], "answer": 0, "hint": "", "image": None,
           "solution": "Look at the map.", "split": "train", "subject": "social science"}  # fmt: skip


def test_science_questions_have_letters_hints_and_reasons(tmp_path):
    picture(tmp_path / "images" / "val" / "2" / "image.png")
    problems = {"1": PROBLEM, "2": PROBLEM | {"image": "image.png", "answer": 1, "hint": "A map.", "split": "val"}}
    write(tmp_path / "problems.json", problems)
    first, second = science_qa.read(tmp_path)
    assert (first.task, first.answer, first.options) == ("general", "A", ["Ohio", "Utah"])
    assert (first.image, first.thinking) == (None, "Look at the map.")
    assert (second.answer, second.question, second.size) == ("B", "A map.\nWhich is north?", (100, 80))
    assert [s.id for s in science_qa.read(tmp_path / "problems.json", split="val")] == ["science_qa-2"]
    assert {s.task for s in science_qa.read(tmp_path, ["math"], task="math")} == {"math"}
    assert not list(science_qa.read(tmp_path, ["math"]))
    with pytest.raises(InputError, match="unknown split 'vall'; did you mean val"):
        list(science_qa.read(tmp_path, split="vall"))


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (PROBLEM | {"answer": 2}, "answer is none of the options"),
        (PROBLEM | {"answer": True}, "answer is none of the options"),
        (PROBLEM | {"answer": "A"}, "answer is none of the options"),
        (PROBLEM | {"image": "image.png"}, "image does not exist"),
        (PROBLEM | {"image": "../../../secret.png"}, "image path leads out of the image folder"),
        (PROBLEM | {"question": ""}, "row is not a ScienceQA problem"),
        ({}, "row lacks a field"),
        (3, "row is not a ScienceQA problem"),
    ],
)
def test_science_questions_that_cannot_be_used(tmp_path, problem, reason):
    good, bad = science_qa.read(write(tmp_path / "problems.json", {"1": PROBLEM, "2": problem}))
    assert isinstance(good, Sample) and bad.reason == reason


# ---- Geometry3K


TRIANGLE = {"id": 11, "problem_text": "Find x .", "compact_text": "Find x.", "choices": ["1", "\\sqrt { 2 }"],
            "compact_choices": ["1", "\\sqrt{2}"], "answer": "B", "precise_value": [1.0, 1.4142],
            "unit": ""}  # fmt: skip


def test_geometry_problems_are_questions_with_options(tmp_path):
    for folder in ("train/11", "test/12"):
        picture(tmp_path / folder / "img_diagram.png")
        write(tmp_path / folder / "data.json", TRIANGLE | {"id": int(folder[-2:])})
    samples, rejected = divide(geometry3k.read(tmp_path))
    assert [s.id for s in samples] == ["geometry3k-12", "geometry3k-11"] and not rejected
    sample = samples[1]
    assert (sample.question, sample.options, sample.answer) == ("Find x.", ["1", "\\sqrt{2}"], "B")
    assert sample.extra == {"precise_value": [1.0, 1.4142], "origin": {"file": "11/data.json", "line": None}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(TRIANGLE | {"answer": "C"}), "answer is none of the options"),
        (json.dumps(TRIANGLE | {"answer": 1}), "row is not a Geometry3K problem"),
        (json.dumps({"id": 11}), "row lacks a field"),
        ("[1]", "file is not a JSON object"),
        ("", "file is empty"),
        ("{", "file is not JSON"),
    ],
)
def test_geometry_problems_that_cannot_be_used(tmp_path, text, reason):
    picture(tmp_path / "11" / "img_diagram.png")
    (tmp_path / "11" / "data.json").write_text(text)
    [found] = geometry3k.read(tmp_path)
    assert (found.reason, found.file) == (reason, str(tmp_path / "11" / "data.json"))


def test_a_geometry_problem_that_is_far_too_long_is_not_read(tmp_path):
    with (tmp_path / "data.json").open("wb") as stream:
        stream.truncate(100_000_000)
    assert [item.reason for item in geometry3k.read(tmp_path)] == ["file is too long"]


# ---- CLEVR and Super-CLEVR


def clevr_set(root, *questions):
    picture(root / "images" / "val" / "CLEVR_val_000000.png")
    name = {"image_filename": "CLEVR_val_000000.png"}
    scenes = [name | {"objects": [{}] * 3}, name | {"objects": 3}, {"objects": []}]
    write(root / "scenes" / "CLEVR_val_scenes.json", {"info": {"split": "val"}, "scenes": scenes})
    asked = [name | {"question": "How?"} | changes for changes in questions]
    return write(root / "questions" / "CLEVR_val_questions.json", {"info": {}, "questions": asked})


def test_clevr_scenes_are_counted(tmp_path):
    clevr_set(tmp_path)
    samples, rejected = divide(clevr.read(tmp_path))
    [sample] = samples
    assert (sample.question, sample.answer) == ("How many items are there in the image?", "3")
    assert sample.extra["candidates"] == [str(count) for count in range(11)]
    assert Counter(item.reason for item in rejected) == {"row is not a scene or a question": 1, "row lacks a field": 1}


def test_clevr_questions_are_mathematics_where_a_number_answers(tmp_path):
    answers = [{"answer": answer} for answer in ("3", "yes", 0, False, "red", None)]
    path = clevr_set(tmp_path, *answers, {})
    samples, rejected = divide(clevr.read(path))
    expected = [("math", "3"), ("general", "yes"), ("math", "0"), ("general", "no"), ("general", "red")]
    assert [(s.task, s.answer) for s in samples] == expected
    assert [(item.reason, item.fault) for item in rejected] == [("question has no answer", False)] * 2
    assert [s.answer for s in clevr.read(path, ["math"]) if isinstance(s, Sample)] == ["3", "0"]


def test_super_clevr_images_are_next_to_its_questions(tmp_path):
    picture(tmp_path / "images" / "s.png")
    question = {"image_filename": "s.png", "question": "Is it red?", "answer": True}
    path = write(tmp_path / "superCLEVR_questions_5.json", {"questions": [question]})
    [sample] = super_clevr.read(path)
    assert (sample.task, sample.answer, sample.source) == ("general", "yes", "super_clevr")
    assert super_clevr.COUNTS != clevr.COUNTS
    write(tmp_path / "superCLEVR_scenes.json", {"scenes": [{"image_filename": "s.png", "objects": [{}] * 4}]})
    for place in (tmp_path, tmp_path / "superCLEVR_scenes.json"):
        [scene] = super_clevr.read(place)
        assert (scene.answer, scene.question, scene.extra["candidates"]) == (
            "4",
            super_clevr.COUNTING,
            super_clevr.COUNTS,
        )
    [asked] = super_clevr.read(write(tmp_path / "questions.json", {"questions": [question | {"answer": 0}]}))
    assert asked.extra["candidates"] == clevr.COUNTS
    with pytest.raises(InputError, match="neither scenes nor questions"):
        list(super_clevr.read(write(tmp_path / "other.json", {"info": {}})))
