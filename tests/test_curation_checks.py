"""Checks: a question that cannot be answered, or that stands there twice, is found before anybody learns from it."""

import pytest
from PIL import Image

from currreft_nb.curation_checks import Checker
from currreft_nb.samples import Sample


def make(task, answer, **fields):
    fields = {"id": "a", "question": "What?", "extra": {"origin": {"file": "rows.jsonl", "line": 7}}} | fields
    return Sample(task=task, split="train", source="s", answer=answer, **fields)


def posed(options, answer, task="math"):
    return make(task, answer, stage="choice", options=options)


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (make("classification", ["dog", ","]), "answer earns no full reward"),
        (make("math", "<b>"), None),
        (make("math", "1" * 30_000), "answer earns no full reward"),
        (make("math", "G", options=["3", "4"]), "the answer is not the letter"),
        (posed(["3", "4", "3.0"], ["B"]), "two options are the same"),
        (posed(["3", "4"], ["B"]), None),
        (make("general", None), None),
    ],
)
def test_answers_that_no_completion_could_match_are_rejected(sample, reason):
    found = Checker().check(sample, "source")
    if reason is None:
        assert isinstance(found, str)
    else:
        assert found.reason.startswith(reason) and (found.file, found.line) == ("rows.jsonl", 7)


def test_boxes_outside_the_image_and_repeated_questions_are_rejected(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    where = {"image": str(tmp_path / "a.png"), "size": (10, 10)}
    checker = Checker()
    assert isinstance(checker.check(make("detection", [[0, 0, 10, 10]], **where), "s"), str)
    assert checker.check(make("detection", [[0, 0, 10.5, 10]], **where), "s").reason == "box lies outside the image"
    again = checker.check(make("detection", [[0, 0, 10, 10]], id="b", **where), "s")
    assert (again.reason, again.value) == ("question stands there twice", "b, first as a")
    assert isinstance(checker.check(make("detection", [[0, 0, 9, 10]], id="c", **where), "s"), str)  # another answer


def test_a_damaged_image_is_reported_for_every_question_about_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    where = {"image": str(tmp_path / "a.png"), "size": (10, 10)}
    checker = Checker()
    found = [checker.check(make("math", str(number), id=str(number), **where), "s") for number in range(2)]
    assert [(item.file, item.reason) for item in found] == [(str(tmp_path / "a.png"), "image cannot be read")] * 2


def test_the_fingerprint_of_a_text_is_that_of_its_words():
    checker = Checker()
    texts = ["Why is  the sky blue?", "why is the Sky blue? ", "Why is the sea blue?"]
    found = [checker.check(make("general", None, question=text), "s") for text in texts]
    assert found[0] == found[1] != found[2]
