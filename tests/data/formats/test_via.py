"""VIA: projects, JSON and CSV; shapes, attributes, lines about one picture."""

import csv
import json

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import via
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write

RECT = {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}


def region(shape=RECT, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes or {"type": "dog"}}


def entry(*regions, name="a.jpg"):
    return {"filename": name, "size": 61234, "regions": [*regions], "file_attributes": {}}


def as_json(root, *entries):
    return write(root / "via_region_data.json", {f"{e['filename']}{e['size']}": e for e in entries})


def as_old_json(root, *entries):
    old = [e | {"regions": {str(n): r for n, r in enumerate(e["regions"])}} for e in entries]
    return as_json(root, *old)


def as_project(root, *entries):
    listed = {f"{e['filename']}{e['size']}": e for e in entries}
    settings = {"_via_settings": {"ui": {}}, "_via_img_metadata": listed, "_via_attributes": {"region": {"type": {}}}}
    return write(root / "via_project.json", settings | {"_via_data_format_version": "2.0.10", "_via_image_id_list": []})


def as_csv(root, *entries, head="filename"):
    root.mkdir(parents=True, exist_ok=True)
    names = [
        "file_size",
        "file_attributes",
        "region_count",
        "region_id",
        "region_shape_attributes",
        "region_attributes",
    ]
    with (root / "via_region_data.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow([head, *names])
        for e in entries:
            for n, r in enumerate(e["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]):
                cells = (
                    r if isinstance(r, str) else json.dumps(r[key]) for key in ("shape_attributes", "region_attributes")
                )
                out.writerow([e["filename"], 61234, "{}", len(e["regions"]), n, *cells])
    return root / "via_region_data.csv"


def as_old_csv(root, *entries):
    return as_csv(root, *entries, head="#filename")


OTHER_FORM = "annotation lacks a field or has another form"
WRITERS = (as_json, as_old_json, as_project, as_csv, as_old_csv)


@pytest.mark.parametrize("make", WRITERS)
def test_every_export_gives_the_same(tmp_path, make):
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    cat = region(RECT | {"x": 50}, type="cat")
    path = make(tmp_path, entry(region(), cat), entry(name="b.jpg"), entry(cat, name="c.jpg"))
    samples, rejected = divide(via.read(path))
    assert [s.id for s in samples] == [
        "via-a.jpg-labels", "via-a.jpg-dog", "via-a.jpg-cat", "via-c.jpg-labels", "via-c.jpg-cat"
    ]  # fmt: skip
    assert boxes(samples[:3]) == {"dog": [10, 20, 40, 60], "cat": [50, 20, 80, 60]}
    assert reasons(rejected) == {"image has no annotated object": 1}
    assert len(list(via.read(tmp_path))) == len(samples) + 1  # a folder gives its via*.json and via*.csv


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "circle", "cx": 50, "cy": 40, "r": 10.5}, [39.5, 29.5, 60.5, 50.5]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10, "theta": 0}, [30, 30, 70, 50]),
        ({"name": "polygon", "all_points_x": [10, 50, 20], "all_points_y": [20, 30, 60]}, [10, 20, 50, 60]),
    ],
)
@pytest.mark.parametrize("make", [as_json, as_csv])
def test_shapes_have_boxes(tmp_path, make, shape, box):
    picture(tmp_path / "a.jpg")
    assert boxes(via.read(make(tmp_path, entry(region(shape))))) == {"dog": box}


@pytest.mark.parametrize(
    ("shape", "reason", "fault"),
    [
        (RECT | {"width": 0}, "box is empty or reversed", True),
        (RECT | {"width": -5}, "box is empty or reversed", True),
        (RECT | {"width": 200}, "box lies outside the image", True),
        (RECT | {"x": None}, "box has a coordinate that is missing or no number", True),
        ({"name": "rect", "x": 1}, OTHER_FORM, True),
        ({"name": "circle", "cx": "5", "cy": 40, "r": 10}, OTHER_FORM, True),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, OTHER_FORM,
         True),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10, "theta": 0.5}, "shape has no upright box", False),
        ({"name": "point", "cx": 50, "cy": 40}, "shape has no upright box", False),
        ({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 4]}, "shape has no upright box", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("make", "line"), [(as_json, 1), (as_csv, 3)])
def test_a_region_without_a_box_is_rejected_and_counts_as_present(tmp_path, make, line, shape, reason, fault):
    picture(tmp_path / "a.jpg")
    samples, [bad] = divide(via.read(make(tmp_path, entry(region(), region(shape, type="cat")))))
    assert (bad.reason, bad.fault, bad.line) == (reason, fault, line)
    assert labels(samples) == ["cat", "dog"] and list(boxes(samples)) == ["dog"]


@pytest.mark.parametrize(
    ("attributes", "option", "label"),
    [
        ({"type": "dog"}, "", "dog"),
        ({"type": "dog", "note": ""}, "", "dog"),
        ({"type": {"dog": True}}, "", "dog"),
        ({"type": {"dog": True, "cat": False}}, "", "dog"),
        ({"type": "dog", "quality": "good"}, "type", "dog"),
        ({"type": "dog", "quality": "good"}, "", "region has several attributes; write label=NAME"),
        ({"type": {"dog": True, "cat": True}}, "", "object has no single label"),
        ({"type": ""}, "", "object has no single label"),
        ({"kind": "dog"}, "type", "object has no single label"),
    ],
)
def test_the_label_is_the_value_of_an_attribute(tmp_path, attributes, option, label):
    picture(tmp_path / "a.jpg")
    samples, rejected = divide(via.read(as_json(tmp_path, entry(region(**attributes))), label=option))
    assert [*(labels(samples) if samples else []), *(r.reason for r in rejected if r.fault)] == [label]


def test_lines_about_one_picture_must_follow_each_other(tmp_path):
    picture(tmp_path / "a.jpg"), picture(tmp_path / "b.jpg")
    path = as_csv(tmp_path, entry(region()), entry(region(), name="b.jpg"), entry(region(RECT | {"x": 50})))
    samples, rejected = divide(via.read(path, ["detection"]))
    assert [s.id for s in samples] == ["via-b.jpg-dog"]
    assert [(r.reason, r.line) for r in rejected] == [("picture is annotated in several places", n) for n in (2, 4)]


def test_cells_that_are_not_json_are_rejected_by_line(tmp_path):
    picture(tmp_path / "a.jpg")
    path = as_csv(tmp_path, entry(region()))
    path.write_text(path.read_text() + 'a.jpg,1,"{}",1,0,"{""name"":","{}"\n')
    samples, [bad] = divide(via.read(path))
    assert len(samples) == 2 and bad.line == 3


def test_via_3_is_named(tmp_path):
    three = {
        "project": {"pid": "x", "pname": "y"},
        "config": {},
        "attribute": {},
        "file": {},
        "metadata": {},
        "view": {},
    }
    with pytest.raises(InputError, match="is of VIA 3; write its annotations as a COCO file"):
        list(via.read(write(tmp_path / "via_project.json", three)))
