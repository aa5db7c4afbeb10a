"""labelme files: shapes and their boxes, groups, pictures beside the file, elsewhere and inside it."""

import base64

import pytest

from currreft_nb.data.formats import labelme
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write


def shape(label, kind, *points, **more):
    return {"label": label, "shape_type": kind, "points": [*points], "group_id": None, "flags": {}} | more


def document(*shapes, **more):
    head = {"version": "5.4.1", "flags": {}, "imagePath": "a.jpg", "imageData": None}
    return head | {"imageHeight": 80, "imageWidth": 100, "shapes": [*shapes]} | more


def annotate(root, *shapes, **more):
    picture(root / "a.jpg")
    write(root / "a.json", document(*shapes, **more))
    return root


DOG = shape("dog", "rectangle", [10.5, 20], [60, 40])


@pytest.mark.parametrize(
    ("shape", "box", "why"),
    [
        (DOG, [10.5, 20, 60, 40], "two opposite corners"),
        (shape("dog", "rectangle", [60, 20], [10.5, 40]), [10.5, 20, 60, 40], "in any order"),
        (shape("dog", "polygon", [10, 20], [60, 25], [30, 70]), [10, 20, 60, 70], "the box around it"),
        (shape("dog", None, [10, 20], [60, 25], [30, 70]), [10, 20, 60, 70], "old files name no kind"),
        (shape("dog", "circle", [50, 40], [50, 30]), [40, 30, 60, 50], "centre and a point of the edge"),
        (shape("dog", "mask", [10, 20], [60, 40], mask="iVBORw0KGgo="), [10, 20, 60, 40], "the corners of the mask"),
    ],
)
def test_shapes_have_boxes(tmp_path, shape, box, why):
    assert boxes(labelme.read(annotate(tmp_path, shape))) == {"dog": box}, why


def test_parts_of_one_group_are_one_object(tmp_path):
    parts = [shape("dog", "polygon", [x, 10], [x + 10, 10], [x, 20], group_id=1) for x in (10, 70)]
    samples, _ = divide(labelme.read(annotate(tmp_path, *parts, shape("cat", "rectangle", [0, 0], [5, 5], group_id=1))))
    assert boxes(samples) == {"dog": [10, 10, 80, 20], "cat": [0, 0, 5, 5]}
    assert samples[0].extra["counts"] == {"cat": 1, "dog": 1} and samples[0].id == "labelme-a-labels"


@pytest.mark.parametrize(
    ("bad", "reason", "fault"),
    [
        (shape("cat", "rectangle", [10, 20], [10, 40]), "box is empty or reversed", True),
        (shape("cat", "rectangle", [10, 20], [160, 40]), "box lies outside the image", True),
        (shape("cat", "rectangle", [10, 20]), "shape has fewer than 2 points", True),
        (shape("cat", "polygon", [10, 20], [20, 20]), "shape has fewer than 3 points", True),
        (shape("cat", "rectangle", [10, None], [20, 20]), "annotation lacks a field or has another form", True),
        ({"label": "cat", "shape_type": "rectangle"}, "annotation lacks a field or has another form", True),
        (shape("cat", "line", [10, 20], [20, 20]), "shape has no upright box", False),
        (shape("cat", "point", [10, 20]), "shape has no upright box", False),
    ],
)
def test_a_shape_without_a_box_is_rejected_and_counts_as_present(tmp_path, bad, reason, fault):
    samples, rejected = divide(labelme.read(annotate(tmp_path, DOG, bad)))
    [found] = rejected
    assert (found.reason, found.fault, found.file) == (reason, fault, str(tmp_path / "a.json"))
    assert found.value.startswith("object 2, cat")
    assert labels(samples) == ["cat", "dog"] and list(boxes(samples)) == ["dog"]


def test_a_shape_without_a_label_and_a_file_without_shapes_are_rejected(tmp_path):
    samples, rejected = divide(labelme.read(annotate(tmp_path, DOG, shape(" ", "rectangle", [1, 1], [5, 5]))))
    assert reasons(rejected) == {"object has no label": 1} and labels(samples) == ["dog"]
    write(tmp_path / "other.json", {"a": 1})
    assert reasons(labelme.read(tmp_path))["row lacks a field"] == 1


def test_pictures_are_found_beside_below_and_in_the_named_folder(tmp_path):
    root = tmp_path / "set"
    picture(root / "images" / "a.jpg")
    write(root / "json" / "a.json", document(DOG, imagePath="..\\images\\a.jpg"))
    assert boxes(labelme.read(root)) == {"dog": [10.5, 20, 60, 40]}
    assert reasons(labelme.read(root / "json")) == {"image does not exist": 1}  # it is above the folder that was named
    assert list(boxes(labelme.read(root / "json", images=str(root / "images")))) == ["dog"]


def test_a_picture_outside_is_not_read(tmp_path):
    picture(tmp_path / "secret.jpg")
    write(tmp_path / "set" / "a.json", document(DOG, imagePath="../secret.jpg"))
    write(tmp_path / "set" / "b.json", document(DOG, imagePath=str(tmp_path / "secret.jpg")))
    assert reasons(labelme.read(tmp_path / "set")) == {"image does not exist": 2}


def test_the_picture_inside_the_file_is_used_where_there_is_no_other(tmp_path):
    data = base64.b64encode(picture(tmp_path / "x.png").read_bytes()).decode()
    write(tmp_path / "set" / "a.json", document(DOG, imageData=data))
    [sample] = labelme.read(tmp_path / "set", ["detection"], extracted=tmp_path / "inside")
    assert sample.image.startswith(str(tmp_path / "inside")) and sample.answer == [[10.5, 20, 60, 40]]
    write(tmp_path / "set" / "a.json", document(DOG, imageData="no picture"))
    assert reasons(labelme.read(tmp_path / "set", extracted=tmp_path / "inside")) == {"image is not base64": 1}


def test_a_recorded_size_that_is_not_the_picture_s_is_a_fault(tmp_path):
    assert reasons(labelme.read(annotate(tmp_path, DOG, imageWidth=200))) == {
        "image size differs from the recorded size": 1
    }


def test_the_vocabulary_is_what_all_files_hold(tmp_path):
    annotate(tmp_path, DOG)
    write(tmp_path / "sub" / "b.json", document(shape("cat", "rectangle", [1, 1], [5, 5])))
    picture(tmp_path / "sub" / "a.jpg")
    samples, _ = divide(labelme.read(tmp_path, ["classification"]))
    assert {s.question for s in samples} == {"Which of these categories are in the image: cat, dog?"}
    assert [s.id for s in samples] == ["labelme-a-labels", "labelme-sub/b-labels"]
