"""What can be read, and what a source would yield."""

import json

import pytest

from currreft_nb import InputError
from currreft_nb.data.look import format_lines, look, look_lines
from currreft_nb.data.sources import READERS, options_of
from tests.helpers.annotated import picture, write


def pets(root):
    for number, split in enumerate(("train", "train", "val")):
        picture(root / "pets" / split / "images" / f"{number}.jpg")
        write(root / "pets" / split / "labels" / f"{number}.txt", "0 0.5 0.5 0.2 0.5\n1 0.5 0.5 0.2 0.005\n9 0 0 1 1\n")
    write(root / "pets" / "data.yaml", "train: train/images\nval: val/images\nnames: [cat, dog]\n")
    return root


def test_a_look_counts_by_task_and_by_the_set_s_own_split(tmp_path):
    found = look("yolo:pets | detection 1", pets(tmp_path))
    assert found.questions == {
        ("classification", "train"): 2, ("classification", "val"): 1, ("detection", "train"): 2, ("detection", "val"): 1
    }  # fmt: skip
    assert found.rejections == {
        (True, "class number is unknown"): 3,
        (True, "box is smaller than a pixel of the stored image"): 3,  # a check of curation
    }
    lines = "\n".join(look_lines(found))
    assert lines.startswith("yolo:pets: 6 questions, 6 rejections\n")
    assert "        2  classification  train\n        1  classification  val\n" in lines
    assert lines.count("  question  ") == 3 and "the cat" in lines and "40.0, 20.0, 60.0, 60.0" in lines
    assert f"{tmp_path}/pets/train/labels/0.txt:3  object 3, 9 of 2 classes" in lines
    assert "        6  faults, at which notebook 01 stops unless on_bad is skip" in lines


def test_pictures_that_lack_or_have_another_size_are_told(tmp_path):
    images = [{"id": n, "file_name": f"{n}.png", "width": 100 + n // 2, "height": 80} for n in range(4)]
    marks = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in range(4)]
    document = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": marks}
    write(tmp_path / "annotations" / "instances_a.json", document)
    for number in (0, 2):
        picture(tmp_path / "images" / f"{number}.png")
    found = look("coco:.", tmp_path)
    assert sum(found.questions.values()) == 2
    assert found.rejections == {
        (True, "image does not exist"): 4,
        (True, "image size differs from the recorded size"): 2,
    }


def test_a_look_tidies_texts_and_measures_thin_pictures_as_curation_does(tmp_path):
    rows = [
        {"image": f"{n}.png", "question": "?", "answer": "dog\u200b", "why": "<think>four legs</think>"} for n in "ab"
    ]
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", (50, 9990))
    write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    found = look("table:rows.jsonl?task=classification&thinking=why", tmp_path)
    [sample] = found.samples["classification"]
    assert (sample.answer, sample.thinking) == (["dog"], "four legs")
    assert found.rejections == {(True, "aspect ratio is above 200"): 1}


def test_a_look_may_end_early_and_leaves_no_files(tmp_path):
    assert sum(look("yolo:pets", pets(tmp_path), 2).questions.values()) <= 2
    assert {path.name for path in tmp_path.iterdir()} == {"pets"}


@pytest.mark.parametrize("source", ["scenes", "yolo:nowhere", "yollo:pets"])
def test_a_source_that_cannot_be_looked_at_is_said(tmp_path, source):
    with pytest.raises(InputError):
        look(source, tmp_path)


def test_the_table_has_every_format_with_its_options():
    lines = list(format_lines())
    for format in READERS:
        [row] = [number for number, line in enumerate(lines) if line.split()[:1] == [format]]
        shown = [part.partition("=")[0] for part in lines[row].split()]
        assert all(name in shown for name in options_of(format)) and lines[row + 1].strip().endswith((".", ":"))


@pytest.mark.parametrize("format", READERS)
def test_a_format_shows_an_example_and_documents_its_options(format):
    text = "\n".join(format_lines(format))
    assert "\n    " in text  # an example record, indented
    with pytest.raises(InputError, match="unknown format 'x'"):
        list(format_lines("x"))
