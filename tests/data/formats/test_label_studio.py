"""Label Studio's JSON: shapes in per cent, several annotations, names of pictures."""

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import label_studio
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write

NAME = "/data/upload/3/8b7e0f12-a.jpg"


def region(kind="rectanglelabels", names=("dog",), more=None, **value):
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0} | value | ({kind: [*names]} if names else {})
    head = {"id": f"r{id(value)}", "type": kind, "from_name": "label", "to_name": "image", "value": value}
    return head | {"original_width": 100, "original_height": 80, "image_rotation": 0} | (more or {})


def annotation(*regions, **more):
    return {"id": 9, "result": [*regions], "was_cancelled": False, "ground_truth": False} | more


def task(*annotations, image=NAME, **more):
    return {"id": 1, "data": {"image": image}, "annotations": [*annotations], "predictions": [], "project": 3} | more


def export(root, *tasks):
    picture(root / "8b7e0f12-a.jpg")
    return write(root / "project-1.json", [*tasks])


def polygon(kind, names=("dog",), **value):
    return region(kind, names) | {"value": value | {kind: [*names]}}


@pytest.mark.parametrize(
    ("region", "box"),
    [
        (region(), [10, 16, 40, 48]),  # 10 to 40 per cent of 100 pixels, 20 to 60 per cent of 80
        (polygon("polygonlabels", points=[[10, 20], [50, 30], [20, 60]]), [10, 16, 50, 48]),
        (polygon("ellipselabels", x=50, y=50, radiusX=20, radiusY=10, rotation=0), [30, 32, 70, 48]),
    ],
)
def test_shapes_are_in_per_cent_of_the_picture(tmp_path, region, box):
    samples, rejected = divide(label_studio.read(export(tmp_path, task(annotation(region)))))
    assert boxes(samples) == {"dog": box} and not rejected
    assert samples[0].extra["origin"] == {"file": "project-1.json", "line": 1}


@pytest.mark.parametrize(
    ("bad", "reason", "fault"),
    [
        (region(names=["cat"], width=0), "box is empty or reversed", True),
        (region(names=["cat"], width=95), "box lies outside the image", True),
        (region(names=["cat"], x="10"), "box has a coordinate that is missing or no number", True),
        (region(names=["cat"], rotation=15), "shape has no upright box", False),
        (region(names=["cat"], more={"image_rotation": 90}), "shape has no upright box", False),
        (polygon("brushlabels", ["cat"], format="rle", rle=[1, 2]), "shape has no upright box", False),
        (polygon("keypointlabels", ["cat"], x=1, y=2, width=0.5), "shape has no upright box", False),
    ],
)
def test_a_region_without_a_box_is_rejected_and_counts_as_present(tmp_path, bad, reason, fault):
    samples, [found] = divide(label_studio.read(export(tmp_path, task(annotation(region(), bad)))))
    assert (found.reason, found.fault, found.line) == (reason, fault, 1)
    assert labels(samples) == ["cat", "dog"] and list(boxes(samples)) == ["dog"]


def test_labels_of_a_region(tmp_path):
    shape, label = region("rectangle", ()), region("labels", ["dog"])
    found = export(tmp_path, task(annotation(shape | {"id": "x"}, label | {"id": "x"}, region(names=["cat", "pet"]))))
    samples, _ = divide(label_studio.read(found))
    assert labels(samples) == ["cat", "dog", "pet"] and samples[0].extra["counts"] == {"cat": 1, "dog": 1, "pet": 1}
    about_all = {"id": "c", "type": "choices", "value": {"choices": ["blurred"]}}
    export(tmp_path, task(annotation(about_all, region("rectangle", ()))))
    assert reasons(label_studio.read(tmp_path)) == {"object has no label": 1, "image has no annotated object": 1}


@pytest.mark.parametrize(
    ("annotations", "outcome"),
    [
        ([annotation(region(), was_cancelled=True), annotation(region(names=["cat"]))], ["cat"]),
        ([annotation(region()), annotation(region(names=["cat"]), ground_truth=True)], ["cat"]),
        ([annotation(region()), annotation(region(names=["cat"]))], "picture has several annotations"),
        ([annotation(region(), was_cancelled=True)], "task is not annotated, or was skipped"),
        ([], "task is not annotated, or was skipped"),
        ([annotation()], "image has no annotated object"),
    ],
)
def test_which_annotation_counts(tmp_path, annotations, outcome):
    samples, rejected = divide(label_studio.read(export(tmp_path, task(*annotations))))
    if isinstance(outcome, list):
        assert labels(samples) == outcome and not rejected
    else:
        assert not samples and rejected[0].reason.startswith(outcome)


@pytest.mark.parametrize(
    ("named", "stored"),
    [
        ("/data/upload/3/8b7e0f12-a.jpg", "8b7e0f12-a.jpg"),
        ("/data/upload/3/8b7e0f12-a.jpg", "a.jpg"),  # as it was called before the upload
        ("/data/upload/8b7e0f12-a%20b.jpg", "a b.jpg"),
        ("/data/local-files/?d=pets/sub/a.jpg", "sub/a.jpg"),
        ("https://example.org/pets/a.jpg?size=1", "a.jpg"),
        ("s3://bucket/pets/a.jpg", "pets/a.jpg"),
        ("a.jpg", "a.jpg"),
    ],
)
def test_pictures_are_found_by_the_end_of_their_name(tmp_path, named, stored):
    picture(tmp_path / "images" / stored)
    write(tmp_path / "export.json", [task(annotation(region()), image=named)])
    samples, rejected = divide(label_studio.read(tmp_path))
    assert list(boxes(samples)) == ["dog"] and not rejected
    assert samples[0].image == str(tmp_path / "images" / stored)


def test_two_uploads_of_one_name_are_not_confused(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    tasks = [task(annotation(region()), image=f"/data/upload/1/{mark}-a.jpg") for mark in ("8b7e0f12", "91cc0f12")]
    samples, rejected = divide(label_studio.read(write(tmp_path / "export.json", tasks)))
    assert not samples and reasons(rejected) == {"picture is annotated in several places": 2}


def test_json_min_is_read(tmp_path):
    value = region()["value"] | {"original_width": 100, "original_height": 80}
    row = {"image": NAME, "id": 1, "label": [value], "annotator": 1, "annotation_id": 2}
    assert boxes(label_studio.read(export(tmp_path, row))) == {"dog": [10, 16, 40, 48]}


def test_the_field_of_the_picture(tmp_path):
    data = {"front": NAME, "back": "/data/upload/3/8b7e0f12-b.jpg", "note": "indoors"}
    found = export(tmp_path, task(annotation(region()), data=data))
    assert list(boxes(label_studio.read(found, image="front"))) == ["dog"]
    [bad] = label_studio.read(found)
    assert bad.reason == "no single field of data names the picture; write image=FIELD"
    assert bad.value == "front, back, note"


def test_damage_is_named(tmp_path):
    picture(tmp_path / "8b7e0f12-a.jpg")
    found = write(tmp_path / "export.json", [task(annotation(region())), 3, {"id": 2}, task({"result": 3})])
    samples, rejected = divide(label_studio.read(found))
    assert len(samples) == 2 and [r.line for r in rejected] == [2, 3, 4]
    with pytest.raises(InputError, match="none of the 1 pictures"):
        list(label_studio.read(write(tmp_path / "export.json", [task(annotation(region()), image="gone.jpg")])))
