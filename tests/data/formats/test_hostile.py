"""Rows that name what they should not: no reader follows a path out of its folder or takes a number that is none."""

import json
import pickle

import pytest
from PIL import Image

from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data.formats import (
    clevr,
    coco,
    curr_reft,
    geometry3k,
    llava,
    math_vision,
    refcoco,
    science_qa,
    super_clevr,
    table,
    voc,
)
from currreft_nb.data.reading.common import Rejected

CATEGORIES = [{"id": 1, "name": "dog"}]
BOX = [5, 5, 20, 30]


def instances(name, box):
    image = {"id": 1, "file_name": name, "width": 100, "height": 80}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0}
    # another picture is where it should be, so that the folder of the pictures is found
    other = image | {"id": 2, "file_name": "fine.png"}
    return json.dumps({"images": [image, other], "annotations": [annotation], "categories": CATEGORIES})


def refs(_):
    sentences = [{"sent_id": 1, "sent": "the dog"}]
    found = [{"ref_id": n, "ann_id": 1, "image_id": n, "split": "train", "sentences": sentences} for n in (1, 2)]
    return pickle.dumps(found, 2)


def annotation(name):
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    return f"<annotation><filename>{name}</filename><object><name>dog</name>{box}</object></annotation>"


def row(**fields):
    return lambda name: json.dumps({key: name if value is None else value for key, value in fields.items()})


TURNS = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "4"}]
PROBLEM = {"question": "Which?", "choices": ["a", "b"], "answer": 0, "split": "train"}
CHOICES = {"compact_text": "Find x.", "choices": ["1", "2"], "answer": "A", "id": 1}


def scenes(name):
    return json.dumps({"scenes": [{"image_filename": name, "objects": []}]})


def table_of_math(path, tasks):
    return table.read(path, tasks, task="math")


READERS = {  # the reader, and what its files hold if a picture is called so
    "clevr": (clevr.read, {"scenes/a.json": scenes}),
    "coco": (coco.read, {"annotations/instances_a.json": lambda name: instances(name, BOX)}),
    "curr_reft": (curr_reft.read, {"a.jsonl": row(problem="How many?", solution=3, image=None)}),
    "llava": (llava.read, {"a.jsonl": row(image=None, conversations=TURNS)}),
    "math_vision": (math_vision.read, {"a.jsonl": row(id="1", question="?", options=[], answer="6", image=None)}),
    "refcoco": (refcoco.read, {"instances.json": lambda name: instances(name, BOX), "refs(unc).p": refs}),
    "science_qa": (science_qa.read, {"problems.json": lambda name: json.dumps({"1": PROBLEM | {"image": name}})}),
    "super_clevr": (super_clevr.read, {"scenes/a.json": row(image_filename=None, objects=[])}),
    "table": (table_of_math, {"a.jsonl": row(question="?", answer="6", image=None)}),
    "voc": (voc.read, {"Annotations/a.xml": annotation}),
}  # fmt: skip
IMAGES = {"coco": "images/a", "refcoco": "images", "clevr": "images", "super_clevr": "images", "voc": "JPEGImages",
          "science_qa": "train/1"}  # fmt: skip


def lay_out(root, format, name):
    """Write a data set of one row about a picture of that name, and a secret next to the data set."""
    _, files = READERS[format]
    pictures = root / "data" / IMAGES.get(format, "")
    pictures.mkdir(parents=True)
    for path in (root / "secret.png", pictures / "fine.png"):
        Image.new("RGB", (100, 80)).save(path)
    (pictures / "link.png").symlink_to(root / "secret.png")
    for path, text in files.items():
        (root / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        data = text(name)
        (root / "data" / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root / "data"


def read(root, format):
    found = list(READERS[format][0](root, TASKS))
    return [item for item in found if isinstance(item, Sample)], [item for item in found if isinstance(item, Rejected)]


@pytest.mark.parametrize("format", READERS)
def test_a_picture_in_its_place_is_read(tmp_path, format):
    samples, _ = read(lay_out(tmp_path, format, "fine.png"), format)
    assert samples and all(sample.image.endswith("fine.png") for sample in samples)


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("name", ["up", "absolute", "link.png"])
def test_a_picture_outside_is_not_read_under_any_name(tmp_path, format, name):
    depth = len((IMAGES.get(format, "") + "/x").split("/")) - (0 if format in IMAGES else 1)
    name = {"up": "../" * depth + "secret.png", "absolute": str(tmp_path / "secret.png")}.get(name, name)
    samples, rejected = read(lay_out(tmp_path, format, name), format)
    assert not samples and rejected
    assert all(
        "secret" not in str(item) or "leads out" in item.reason or "not exist" in item.reason for item in rejected
    )


def test_a_drawing_that_is_a_link_out_of_its_problem_is_not_read(tmp_path):
    Image.new("RGB", (100, 80)).save(tmp_path / "secret.png")
    (tmp_path / "data" / "1").mkdir(parents=True)
    (tmp_path / "data" / "1" / "data.json").write_text(json.dumps(CHOICES))
    (tmp_path / "data" / "1" / "img_diagram.png").symlink_to(tmp_path / "secret.png")
    [found] = geometry3k.read(tmp_path / "data")
    assert isinstance(found, Rejected) and found.reason == "image path leads out of the image folder"


@pytest.mark.parametrize(
    "box", [[1e999, 1, 2, 3], [1, 2, 1e999, 3], [1, 2, -1e999, 3], [10**400, 1, 2, 3], [1, 2, None, 3]]
)
@pytest.mark.parametrize("format", ["coco", "refcoco"])
def test_a_coordinate_that_is_no_finite_number_is_rejected(tmp_path, format, box):
    root = lay_out(tmp_path, format, "fine.png")
    file = next(root.rglob("instances*.json"))
    file.write_text(instances("fine.png", box).replace("Infinity", "1e999"))
    samples, rejected = read(root, format)
    assert not any(sample.task == "detection" for sample in samples)
    assert any(item.reason.startswith("box has a coordinate") and item.fault for item in rejected)
