"""The official rows: read at three stages, rejected with a reason, and written back without loss."""

import json
from collections import Counter

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import curr_reft
from currreft_nb.data.reading.common import Rejected
from currreft_nb.method.curriculum import pose

SENTENCE = "Please provide the bounding box coordinate of the region this sentence describes: pink shirt."
BOX = [10, 20, 50, 60]


def write_rows(folder, name, *rows):
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (100, 80)).save(folder / "images" / "a.png")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def row(task, problem, solution, **more):
    return {"image": "images/a.png", "task": task, "problem": problem, "solution": solution, **more}


ROWS = [  # stage, row, and what of the sample it becomes
    ("open", row("detection", SENTENCE, '<answer>{"bbox_2d": [10, 20, 50, 60]}</answer>'),
     {"question": "pink shirt", "answer": [BOX]}),
    ("open", row("detection", SENTENCE, [10.5, 20, 50, 60]), {"answer": [[10.5, 20, 50, 60]]}),
    ("open", row("classify", "Which objects?", "<answer>traffic light, dog</answer>"),
     {"question": "Which objects?", "answer": ["traffic light", "dog"]}),
    ("open", row("math", "6 * 7?", ["42"]), {"answer": "42"}),
    ("open", row("math", "6 * 7?", "<think>six sevens</think><answer>$42$</answer>"),
     {"answer": "$42$", "thinking": "six sevens"}),
    ("open", row("math", "6 * 7?", "<thinking>six sevens</thinking>\n<answer>42</answer>"), {"thinking": "six sevens"}),
    ("open", row("math", "6 * 7?\nChoices:\n(A) 41\n(B) 42", "<answer>B</answer>"),
     {"question": "6 * 7?", "options": ["41", "42"], "answer": "B"}),
    ("open", {"image": "images/a.png", "problem": "How many items?", "solution": 4}, {"task": "math", "answer": "4"}),
    ("open", {"problem": "6 * 7?", "solution": "<answer>42</answer>", "task": "math"}, {"image": None, "size": None}),
    ("binary", row("detection", "Does the box [10, 20, 50, 60] show the dog?", "<answer>yes</answer>"),
     {"question": "Does the box given below show the dog?", "claim": [BOX], "answer": True}),
    ("binary", row("math", "The result is 42.", True), {"claim": "yes", "answer": True}),
    ("binary", row("math", "The result is 42.", "answer>no</answer>"), {"claim": "yes", "answer": False}),
    ("binary", row("classify", "Is there a dog?", "<answer>yes</answer>"), {"claim": ["yes"], "answer": True}),
    ("choice", row("detection", "the dog\nA. [10, 20, 50, 60]\nB. [0, 0, 9, 9]", "<answer>A</answer>"),
     {"question": "the dog", "options": [[BOX], [[0, 0, 9, 9]]], "answer": ["A"]}),
    ("choice", row("classify", "Which?\nA. dog\nB. cat\nC. traffic light\nChoose all.", "<answer>C,A</answer>"),
     {"question": "Which?\nChoose all.", "options": [["dog"], ["cat"], ["traffic light"]], "answer": ["A", "C"]}),
    ("choice", row("math", "How many? A. 3, B. 4, C. 5", "<answer>B</answer>"),
     {"question": "How many?", "options": ["3", "4", "5"], "answer": ["B"]}),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "official", "expected"), ROWS)
def test_rows_become_structured_and_come_back_unchanged(tmp_path, stage, official, expected):
    path = write_rows(tmp_path, f"train/{stage}/rows.jsonl", official)
    [sample] = curr_reft.read(tmp_path)
    assert sample.stage == stage
    assert {name: getattr(sample, name) for name in expected} == expected
    again = tmp_path / "again.jsonl"
    curr_reft.write(again, [sample])
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("stage", "official", "reason"),
    [
        ("binary", row("detection", "Is it the dog?", "<answer>yes</answer>"), "exactly one box"),
        ("binary", row("detection", "[1, 2, 3, 4] or [1, 2, 3, 5]?", "<answer>no</answer>"), "exactly one box"),
        ("binary", row("math", "Is it 4?", "<answer>maybe</answer>"), "not_a_verdict"),
        ("choice", row("math", "How many?", "<answer>A</answer>"), "options cannot be found"),
        ("choice", row("math", "How many? A. 3 B. 4", "<answer>C</answer>"), "letter_out_of_range"),
        ("choice", row("detection", "the dog\nA. left\nB. right", "<answer>A</answer>"), "no_box"),
        ("choice", row("detection", "near [1, 2, 3, 4]\nA. [0, 0, 9, 9]\nB. [9, 9, 19, 19]", "A"), "neither claim nor"),
        ("open", row("detection", "the dog", "<answer>[10, 20, 500, 60]</answer>"), "outside the image"),
        ("open", row("detection", "the dog", "<answer>[50, 20, 10, 60]</answer>"), "box_reversed"),
        ("open", row("detection", "dog at [1, 2, 3, 4]", "<answer>[1, 2, 3, 4]</answer>"), "neither claim nor"),
        ("open", row("caption", "Describe.", "<answer>a dog</answer>"), "names no task"),
        ("open", row(None, "Describe.", "<answer>a dog</answer>"), "names no task"),
        ("open", {"problem": "Is it 4?", "solution": True}, "names no task"),  # a bool is no number
        ("binary", {"problem": "Is it 4?", "solution": True}, "names no task"),
        ("open", row("math", "Is it 4?", False), "solution is no answer"),
        ("choice", row("math", "Is it 4? A. no B. yes", True), "solution is no answer"),
        ("open", row("math", "How many?", None), "solution is no answer"),
        ("open", {"problem": "the dog", "solution": [1, 2, 3, 4]}, "no image"),
        ("open", row("math", "  ", "<answer>4</answer>"), "not an official"),
        ("open", {"task": "math", "problem": "How many?"}, "lacks a field"),
        ("open", row("math", "How many?", "4") | {"image": "images/b.png"}, "image does not exist"),
        ("open", row("math", "How many?", "4") | {"image": "../a.png"}, "leads out of"),
        ("open", row("math", "<image>How many?", "4") | {"image": None}, "question says <image>"),
        ("open", row("math", "How many?", "B"), "letter of an option"),
        ("choice", row("math", "Is it 4?\nA. 3 B. 4C. 5", "B"), "cannot be told apart"),
    ],
)
def test_rows_that_cannot_be_used_are_rejected_by_line(tmp_path, stage, official, reason):
    good = row("math", "Is it 4?\nA. 3\nB. 4", {"binary": "yes"}.get(stage, "B"))
    path = write_rows(tmp_path, f"{stage}.jsonl", good, official)
    sample, rejected = curr_reft.read(path)
    assert isinstance(sample, Sample) and isinstance(rejected, Rejected)
    assert rejected.line == 2 and reason in rejected.reason


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("judge_v2_coco_train.jsonl", "binary"),
        ("choice_detection_coco_val.jsonl", "choice"),
        ("train/open/coco_3k_2task/detection_coco_test.jsonl", "open"),
        ("train/judge/math_train.jsonl", "binary"),
        ("open/choice_math.jsonl", "choice"),  # the file's own name goes before its folder's
        ("superclevr_test200_counting_problems.jsonl", "open"),
    ],
)
def test_the_path_contains_the_stage(tmp_path, name, stage):
    assert curr_reft.stage_in_path(tmp_path / "data" / name) == stage


OPEN = [
    Sample(id="d", task="detection", split="train", source="s", question="the dog", answer=[[1.5, 2, 30, 40]],
           image="images/a.png", size=(100, 80)),
    Sample(id="c", task="classification", split="train", source="s", question="Which?", answer=["cat", "dog"],
           extra={"candidates": ["bird", "cat", "dog", "traffic light"]}),
    Sample(id="m", task="math", split="train", source="s", question="How many?", answer="42", thinking="6 * 7"),
    Sample(id="n", task="math", split="train", source="s", question="How many?", answer="A", options=["4", "5"]),
]  # fmt: skip


@pytest.mark.parametrize("stage", ["binary", "choice", "open"])
@pytest.mark.parametrize("sample", OPEN, ids=lambda sample: sample.id)
def test_our_samples_survive_the_way_there_and_back(tmp_path, sample, stage):
    for seed in range(5):
        posed = pose(sample, stage, seed)
        posed = posed if sample.image is None else Sample(**fields(posed) | {"image": str(tmp_path / sample.image)})
        write_rows(tmp_path, "unused.jsonl")
        curr_reft.write(tmp_path / f"train-{stage}.jsonl", [posed])
        [again] = curr_reft.read(tmp_path / f"train-{stage}.jsonl")
        kept = ("task", "stage", "question", "claim", "options", "answer", "thinking", "size", "image")
        assert {name: getattr(again, name) for name in kept} == {name: getattr(posed, name) for name in kept}


def fields(sample):
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


def test_a_resized_image_gets_a_new_row_with_moved_boxes(tmp_path):
    path = write_rows(tmp_path, "open.jsonl", row("detection", SENTENCE, "<answer>[10, 20, 50, 60]</answer>"))
    [sample] = curr_reft.read(path)
    half = fields(sample) | {"size": (50, 40), "answer": [[5, 10, 25, 30]]}
    half["extra"] = sample.extra | {"original_size": [100, 80]}
    assert curr_reft.to_official(Sample(**half))["solution"] == '<answer>{"bbox_2d": [5, 10, 25, 30]}</answer>'


def test_images_are_looked_for_up_to_the_named_folder_and_no_farther(tmp_path):
    path = write_rows(tmp_path, "train/open/rows.jsonl", row("math", "How many?", 4))
    for named, images, found in ((tmp_path, "", True), (path.parent, "", False), (path, "", False),
                                 (path, str(tmp_path), True)):  # fmt: skip
        [item] = curr_reft.read(named, images=images)
        assert isinstance(item, Sample) == found, (named, images)


def absolute_rows(folder, names):
    """Write rows with absolute paths of another machine, about pictures of one colour in folders `a` and `b`."""
    for place, shade in (("a", 10), ("b", 200)):
        (folder / place).mkdir()
        for number in range(2):
            Image.new("RGB", (100, 80), (shade, number, 0)).save(folder / place / f"{number}.png")
    rows = [row("math", f"How many, {n}?", 4) | {"image": name} for n, name in enumerate(names)]
    return write_rows(folder, "rows.jsonl", *rows)


def test_the_longest_part_of_an_absolute_path_decides(tmp_path):
    names = [f"/elsewhere/data/{place}/{n}.png" for n in range(2) for place in "ba"]
    path = absolute_rows(tmp_path, names)
    assert [s.image for s in curr_reft.read(path)] == [str(tmp_path / name[-7:]) for name in names]
    in_a = [
        (item.image[-7:] if isinstance(item, Sample) else item.reason)
        for item in curr_reft.read(path, images=str(tmp_path / "a"))
    ]
    alone = "only the file name of an absolute path fits, and the rows name several folders"
    assert in_a == [alone, "a/0.png", alone, "a/1.png"]


def test_a_file_name_alone_decides_where_all_rows_name_one_folder(tmp_path):
    path = absolute_rows(tmp_path, ["/elsewhere/pictures/0.png", "/elsewhere/pictures/1.png"])
    assert [s.image[-7:] for s in curr_reft.read(path, images=str(tmp_path / "b"))] == ["b/0.png", "b/1.png"]


def test_two_pictures_that_fit_equally_well_are_refused(tmp_path):
    path = absolute_rows(tmp_path, ["/elsewhere/0.png", "0.png"])
    for place, shade in ((tmp_path, 1), (tmp_path / "images", 2)):
        Image.new("RGB", (100, 80), (shade, 0, 0)).save(place / "0.png")
    assert {item.reason for item in curr_reft.read(path)} == {"image may be one of two files"}
    (tmp_path / "0.png").write_bytes((tmp_path / "images" / "0.png").read_bytes())  # a copy
    assert [sample.image for sample in curr_reft.read(path)] == [str(tmp_path / "0.png")] * 2


def test_images_can_be_named_from_another_folder(tmp_path):
    path = write_rows(tmp_path, "open.jsonl", row("math", "How many?", 4))
    curr_reft.write(tmp_path / "out.jsonl", curr_reft.read(path), images=tmp_path / "images")
    assert json.loads((tmp_path / "out.jsonl").read_text())["image"] == "a.png"


def test_general_questions_have_no_official_form():
    sample = Sample(id="g", task="general", split="pool", source="s", question="Why?", answer=None)
    with pytest.raises(InputError, match="has no general rows"):
        curr_reft.to_official(sample)


def test_the_published_counting_rows(real_data, tmp_path):
    path = real_data / "curr_reft_official" / "superclevr_test200_counting_problems.jsonl"
    rejected = list(curr_reft.read(path))
    # their images are not published with them
    assert len(rejected) == 200 and {item.reason for item in rejected} == {"image does not exist"}
    (tmp_path / "images").mkdir()
    official = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in official:
        Image.new("RGB", (64, 48)).save(tmp_path / "images" / entry["image"].rpartition("/")[2])
    (tmp_path / path.name).write_bytes(path.read_bytes())
    samples = list(curr_reft.read(tmp_path / path.name))
    answers = {"3": 30, "4": 18, "5": 30, "6": 27, "7": 18, "8": 24, "9": 25, "10": 28}
    assert Counter(sample.answer for sample in samples) == answers
    assert [curr_reft.to_official(sample) for sample in samples] == official
