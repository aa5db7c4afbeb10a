"""Detection sets of the hub: objects of lists or lists of objects, forms of boxes, names of categories."""

import json

import datasets
import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import hub_objects
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write
from tests.helpers.table_files import write as write_table

OBJECTS = {
    "id": [1, 2],
    "area": [1, 1],
    "bbox": [[10.0, 20.0, 30.0, 40.0], [60.5, 0.0, 20.0, 20.0]],
    "category": [1, 0],
}
ONE = {"bbox": [[10, 20, 30, 40]], "category": ["dog"]}
BOX = [10, 20, 40, 60]


def features(category):
    """The features of cppe-5 and its like, in the two ways that `datasets` writes lists of objects."""
    value, box = datasets.Value, datasets.List(datasets.Value("float32"), length=4)
    fields = {"id": value("int64"), "area": value("int64"), "bbox": box, "category": category}
    return {name: datasets.List(inner) for name, inner in fields.items()}, datasets.List(fields)


@pytest.mark.parametrize("is_list", [False, True])
def test_names_of_a_class_label_are_read_from_parquet(tmp_path, is_list):
    data = picture(tmp_path / "x.png").read_bytes()
    kind = features(datasets.ClassLabel(names=["cat", "dog"]))[is_list]
    held = [dict(zip(OBJECTS, values)) for values in zip(*OBJECTS.values())] if is_list else OBJECTS
    whole = datasets.Features({"image_id": datasets.Value("int64"), "image": datasets.Image(), "objects": kind})
    rows = [{"image_id": 7, "image": {"bytes": data, "path": None}, "objects": held}]
    datasets.Dataset.from_list(rows, features=whole).to_parquet(tmp_path / "data" / "train-0.parquet")
    samples, rejected = divide(hub_objects.read(tmp_path / "data", extracted=tmp_path / "inside"))
    assert boxes(samples) == {"dog": BOX, "cat": [60.5, 0, 80.5, 20]} and not rejected
    assert samples[0].id == "hub_objects-train-0-1-labels" and samples[0].image.startswith(str(tmp_path / "inside"))
    assert samples[0].question == "Which of these categories are in the image: cat, dog?"


def metadata(root, *objects, **more):
    picture(root / "a.png")
    rows = [{"file_name": "a.png", "objects": held} | more for held in objects]
    return write_table(root / "metadata.jsonl", rows).parent


@pytest.mark.parametrize(
    ("objects", "names"),
    [
        (OBJECTS, "cat,dog"),
        (OBJECTS | {"category": ["dog", "cat"]}, ""),
        ({"bbox": OBJECTS["bbox"], "categories": [1, 0]}, "cat, dog"),
        ([{"bbox": [10, 20, 30, 40], "label": "dog"}, {"bbox": [60.5, 0, 20, 20], "label": "cat"}], ""),
    ],
)
def test_json_lines_of_an_image_folder(tmp_path, objects, names):
    samples, rejected = divide(hub_objects.read(metadata(tmp_path, objects), names=names))
    assert boxes(samples) == {"dog": BOX, "cat": [60.5, 0, 80.5, 20]} and not rejected


@pytest.mark.parametrize(
    ("box", "numbers"),
    [
        ("xywh", [10, 20, 30, 40]),
        ("xyxy", [10, 20, 40, 60]),
        ("cxcywh", [25, 40, 30, 40]),
        ("normalized", [0.1, 0.25, 0.4, 0.75]),
        ("xywh_normalized", [0.1, 0.25, 0.3, 0.5]),
        ("cxcywh_normalized", [0.25, 0.5, 0.3, 0.5]),
    ],
)
def test_forms_of_boxes(tmp_path, box, numbers):
    assert boxes(hub_objects.read(metadata(tmp_path, ONE | {"bbox": [numbers]}), box=box)) == {"dog": BOX}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [[10, 20, 30, 40], [1, 1, 0, 4]]}, "box is empty or reversed"),
        ({"bbox": [[10, 20, 30, 40], [10, 20, 130, 140]]}, "box lies outside the image"),
        ({"bbox": [[10, 20, 30, 40], [10, 20, 130]]}, "box has a coordinate that is missing or no number"),
        ({"bbox": [[10, 20, 30, 40], None]}, "box has a coordinate that is missing or no number"),
        ({"category": [1, 2]}, "class number is unknown"),
        ({"category": [1, -1]}, "class number is unknown"),
        ({"category": [1, None]}, "object has no label"),
        ({"category": [1, "bird"]}, "class is unknown"),
    ],
)
def test_a_bad_object_is_rejected_by_its_line(tmp_path, changes, reason):
    root = metadata(tmp_path, OBJECTS | changes)
    samples, [bad] = divide(hub_objects.read(root, names="cat,dog"))
    assert (bad.reason, bad.line) == (reason, 1) and bad.value.startswith("object 2")
    assert list(boxes(samples)) == ["dog"]


def test_crowds_are_marked(tmp_path):
    samples, _ = divide(hub_objects.read(metadata(tmp_path, OBJECTS | {"iscrowd": [0, 1]}), names="cat,dog"))
    assert list(boxes(samples)) == ["dog"] and labels(samples) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ({"bbox": [[1, 1, 4, 4]], "category": ["a", "b"]}, "lists of objects differ in length"),
        ({"bbox": [[1, 1, 4, 4]], "kind": ["a"]}, "object has no bbox or no category"),
        (
            {"bbox": [[1, 1, 4, 4]], "category": [1]},
            "class is a number and has no name; write names=cat,dog or names=FILE",
        ),
        (3, "row is not an annotated picture"),
        (None, "row is not an annotated picture"),
        ({"bbox": [], "category": []}, "image has no annotated object"),
    ],
)
def test_rows_that_cannot_be_read(tmp_path, objects, reason):
    assert reasons(hub_objects.read(metadata(tmp_path, objects)))[reason] == 1


def test_messages_list_all_columns(tmp_path):
    root = metadata(tmp_path, ONE)
    with pytest.raises(InputError, match="no column annotations; columns are: file_name, objects; write column=COLUMN"):
        list(hub_objects.read(root, column="annotations"))
    with pytest.raises(InputError, match="unknown form of box 'xyhw'; did you mean xywh"):
        list(hub_objects.read(root, box="xyhw"))
    write_table(tmp_path / "p" / "rows.parquet", [{"picture": "a.png", "objects": ONE, "n": 1}])
    with pytest.raises(InputError, match="columns are: picture, objects, n; write image=COLUMN"):
        list(hub_objects.read(tmp_path / "p"))


def test_a_file_of_names_and_a_missing_picture(tmp_path):
    root = metadata(tmp_path, OBJECTS)
    names = write(tmp_path / "names" / "list.txt", "cat\ndog\n")
    assert set(boxes(hub_objects.read(root, names=str(names)))) == {"cat", "dog"}
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "gone.png", "objects": ONE}))
    assert reasons(hub_objects.read(root)) == {"image does not exist": 1}
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": None, "objects": ONE}))
    assert reasons(hub_objects.read(root)) == {"row has no image": 1}
