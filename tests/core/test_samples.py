"""Samples: what a valid one is, and files that survive a round trip or say where they are wrong."""

import dataclasses
import json

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import Sample, inside, read_samples, to_row, value_problem
from tests.helpers.made_up_results import write_samples

PLAIN = {"id": "a", "task": "math", "split": "train", "source": "demo", "question": "6 * 7", "answer": "42"}

GOOD = [
    ({}, "math, open, a string"),
    ({"task": "detection", "answer": [[0, 0, 1, 1]]}, "one box"),
    ({"task": "detection", "answer": [[0, 0, 1, 1], [1.5, 2, 3, 4]]}, "several boxes, whole and broken numbers"),
    ({"task": "classification", "answer": ["dog"]}, "one label"),
    ({"task": "general", "answer": None}, "a general question without reference"),
    ({"stage": "binary", "claim": "41", "answer": False}, "a claim and a verdict"),
    ({"stage": "choice", "options": ["1", "2"], "answer": ["A", "B"]}, "several letters"),
    ({"options": ["1", "2"], "answer": "B"}, "a math question with options of its own is still open"),
    ({"image": "/x.png", "size": (4, 4)}, "an image with its size"),
]
BAD = [
    ({"task": "captioning"}, "task", "an unknown task"),
    ({"stage": "judge"}, "stage", "the released code's word for binary"),
    ({"split": "test"}, "split", "test is test_id or test_ood"),
    ({"question": "  "}, "question", "nothing is asked"),
    ({"image": "x.png"}, "size", "an image of unknown size: boxes could not be converted"),
    ({"image": "x.png", "size": (640.5, 480)}, "whole pixels", "half a pixel"),
    ({"image": "x.png", "size": (0, 480)}, "whole pixels", "an image without width"),
    ({"answer": 42}, "math", "a number instead of a string"),
    ({"stage": "binary", "claim": 41, "answer": False}, "claim 41", "a claim that is no value of the task"),
    ({"stage": "choice", "options": ["1", ["2"]], "answer": ["A"]}, "option", "an option that is none"),
    ({"answer": " "}, "math", "an empty result"),
    ({"task": "detection", "answer": [1, 2, 3, 4]}, "list of boxes", "a bare box instead of a list of boxes"),
    ({"task": "detection", "answer": []}, "list of boxes", "no box"),
    ({"task": "detection", "answer": [[3, 0, 1, 1]]}, "x1 < x2", "a reversed box"),
    ({"task": "detection", "answer": [[0, 0, 1, float("nan")]]}, "list of boxes", "not a number"),
    ({"task": "detection", "answer": [[0, 0, True, 1]]}, "list of boxes", "true is no coordinate"),
    ({"task": "classification", "answer": "dog"}, "list of labels", "a string instead of a list"),
    ({"task": "classification", "answer": [""]}, "list of labels", "an empty label"),
    ({"stage": "binary", "claim": "41", "answer": "no"}, "true or false", "a verdict in words"),
    ({"stage": "binary", "answer": True}, "claim", "a verdict on nothing"),
    ({"stage": "choice", "options": ["1"], "answer": ["A"]}, "two options", "one option is no choice"),
    ({"stage": "choice", "options": ["1", "2"], "answer": ["C"]}, "letters", "a letter beyond the options"),
    ({"stage": "choice", "options": ["1", "2"], "answer": []}, "letters", "no right option"),
]


@pytest.mark.parametrize(("change", "reason"), GOOD)
def test_valid_samples(change, reason):
    assert Sample(**PLAIN | change).id == "a", reason


@pytest.mark.parametrize(("change", "message", "reason"), BAD)
def test_invalid_samples_are_refused_with_the_field(change, message, reason):
    with pytest.raises(InputError, match=message):
        Sample(**PLAIN | change)


def test_value_problem_agrees_with_sample():
    assert value_problem("general", None) is None
    assert "string or null" in value_problem("general", 3)


def test_a_file_comes_back_as_it_was_written(tmp_path):
    samples = [Sample(**PLAIN | change | {"id": f"s{i}", "image": None}) for i, (change, _) in enumerate(GOOD)]
    samples.append(
        Sample(**PLAIN | {"id": "i", "image": str(tmp_path / "images" / "ü.png"), "size": (3, 4), "extra": {"k": [1]}})
    )
    write_samples(tmp_path / "samples.jsonl", samples)
    assert read_samples(tmp_path / "samples.jsonl") == samples


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "samples.jsonl:2"),
        ("[]", "JSON object"),
        (json.dumps(PLAIN | {"id": "b", "colour": 1}), "unknown field 'colour'"),
        (json.dumps(PLAIN), "first used on line 1"),
        (json.dumps({"id": "b"}), "samples.jsonl:2.*task"),
        (json.dumps(PLAIN | {"id": "b", "answer": 42}), "samples.jsonl:2.*string"),
        (json.dumps(PLAIN | {"id": "b", "image": "../x.png", "size": [1, 1]}), "leaves the folder"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(PLAIN) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_samples(path)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(json.dumps(PLAIN).encode() + b"\n" + '{"id": "ü"}'.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"samples.jsonl:2: 'utf-8' codec can't decode byte 0xfc"):
        read_samples(path)


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match="01_data_curation"):
        read_samples(tmp_path / "none.jsonl")


def test_blank_lines_are_no_samples(tmp_path):
    (tmp_path / "s.jsonl").write_text("\n" + json.dumps(PLAIN) + "\n\n")
    assert len(read_samples(tmp_path / "s.jsonl")) == 1


def test_inside_refuses_ways_out(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    assert inside(tmp_path / "data", "a/../b.png") == tmp_path / "data" / "b.png"
    for name in ("../secret", "/etc/passwd", "a/../../secret", "link"):
        with pytest.raises(InputError):
            inside(tmp_path / "data", name)


def test_to_row_has_every_field_in_order():
    sample = Sample(**PLAIN)
    assert list(to_row(sample)) == [field.name for field in dataclasses.fields(Sample)]
