"""What the formats of annotation tools share: boxes, pictures by the end of their path, and what harm files may do."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data.formats import (
    cvat,
    hub_labels,
    hub_objects,
    label_studio,
    labelme,
    open_images,
    via,
    vlmeval,
    yolo,
)
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import objects
from currreft_nb.data.reading.common import Rejected
from tests.helpers.annotated import divide, picture, write


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        ("xyxy", [10, 20, 40, 60]),
        ("xywh", [10, 20, 30, 40]),
        ("cxcywh", [25, 40, 30, 40]),
        ("normalized", [0.1, 0.25, 0.4, 0.75]),
        ("xywh_normalized", [0.1, 0.25, 0.3, 0.5]),
        ("cxcywh_normalized", [0.25, 0.5, 0.3, 0.5]),
        ("thousand", [100, 250, 400, 750]),
        ("percent", [10, 25, 30, 50]),
    ],
)
def test_every_form_of_a_box(form, numbers):
    assert objects.to_pixels(numbers, form, (100, 80)) == (10, 20, 40, 60)
    with pytest.raises(BadRow):
        objects.to_pixels(numbers[:3], form, (100, 80))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", range(3))
def test_an_extent_of_numbers_that_are_none_is_refused(bad, place):
    points = [[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]]
    points[place][1] = bad
    with pytest.raises(BadRow, match="not finite"):
        objects.extent(points)


def find(places, name, *others):
    return objects.find_picture(places, Counter(path.rpartition("/")[2] for path in (name, *others)), name)


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("a/0.png", (), "a/0.png"),
        ("/elsewhere/data/b/0.png", (), "b/0.png"),
        ("C:\\data\\b\\0.png", (), "b/0.png"),
        ("../a/0.png", (), "a/0.png"),
        ("./a/0.png", (), "a/0.png"),
        ("/elsewhere/c/1.png", (), "1.png"),
        ("/elsewhere/c/1.png", ("/elsewhere/d/1.png",), None),  # the name alone does not tell which one it is
        ("/elsewhere/c/0.png", (), None),
        ("gone.png", (), None),
        ("../secret.png", (), None),
        ("/etc/passwd", (), None),
        ("link.png", (), None),
        ("", (), None),
        ("x" * 5000, (), None),
        ("a\0b", (), None),
    ],
)
def test_the_longest_end_of_a_path_decides(tmp_path, name, others, found):
    picture(tmp_path / "secret.png")
    for place in ("a/0.png", "b/0.png", "1.png"):
        picture(tmp_path / "data" / place)
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret.png")
    if found:
        assert find([tmp_path / "data"], name, *others) == tmp_path / "data" / found
    else:
        with pytest.raises(BadRow):
            find([tmp_path / "data"], name, *others)


def test_two_pictures_of_one_name_are_ambiguous_and_copies_are_not(tmp_path):
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        picture(place / "a.png")
    assert find(places, "a.png") == tmp_path / "one" / "a.png"
    picture(tmp_path / "two" / "a.png", color=(0, 0, 0))
    with pytest.raises(BadRow, match="image may be one of two files"):
        find(places, "a.png")


@pytest.mark.parametrize(
    ("value", "names", "name"),
    [
        (0, ["cat"], "cat"),
        (0.0, ["cat"], "cat"),
        ("0", ["cat"], "cat"),
        ("cat", ["cat"], "cat"),
        ("0", ["1", "0"], "0"),  # names that are numbers
        (" dog ", [], "dog"),
        (True, ["cat", "dog"], None),
        (-1, ["cat"], None),
        (0.5, ["cat"], None),
        (10**400, ["cat"], None),
        (float("nan"), ["cat"], None),
        ("dog", ["cat"], None),
        ([], ["cat"], None),
        (3, [], None),
        (None, [], None),
        ("", [], None),
    ],
)
def test_names_of_categories(value, names, name):
    if name:
        assert objects.class_name(value, names) == name
    else:
        with pytest.raises(BadRow):
            objects.class_name(value, names)


# ---- every reader, whatever its file holds

OPEN_IMAGES = "ImageID,LabelName,XMin,XMax,YMin,YMax\na,b,0,1,0,"
VIA = "filename,region_shape_attributes,region_attributes\na.png,"
FILES = [  # reader, place of its file, options, and the file's content around a value
    (yolo.read, "data.yaml", {}, lambda v: json.dumps({"names": ["cat"], "train": "."} | as_dict(v))),
    (yolo.read, "a.txt", {"names": "cat"}, lambda v: f"0 {json.dumps(v)}"),
    (labelme.read, "a.json", {}, lambda v: json.dumps({"imagePath": "a.png", "shapes": [v]} | as_dict(v))),
    (label_studio.read, "a.json", {}, lambda v: json.dumps([task(v), {"data": v}, as_dict(v)])),
    (cvat.read, "a.xml", {}, lambda v: f"<annotations><image>{json.dumps(v)}</image></annotations>"),
    (via.read, "via.json", {}, lambda v: json.dumps({"a": {"filename": "a.png", "regions": [v, region(v)]}})),
    (via.read, "via.csv", {}, lambda v: f"{VIA}{cell(v)},{{}}"),
    (open_images.read, "a-annotations-bbox.csv", {}, lambda v: f"{OPEN_IMAGES}{cell(v)}"),
    (hub_objects.read, "rows.jsonl", {}, lambda v: json.dumps({"image": "a.png", "objects": v} | as_dict(v))),
    (hub_labels.read, "rows.jsonl", {}, lambda v: json.dumps({"image": "a.png", "label": v} | as_dict(v))),
    (vlmeval.read, "rows.tsv", {}, lambda v: f"index\tquestion\tA\tB\tanswer\timage\n1\t?\tx\ty\tA\t{cell(v)}"),
]
NAMES = """imagePath imageData imageWidth shapes label points shape_type data image annotations result value x y width
height rectanglelabels filename regions shape_attributes region_attributes objects bbox category names train nc path"""


def as_dict(value):
    return value if isinstance(value, dict) else {}


def task(value):
    return {"data": {"image": "a.png"}, "annotations": [{"result": [value, {"id": 1, "value": value}]}]}


def region(value):
    return {"shape_attributes": {"name": "rect"} | as_dict(value), "region_attributes": as_dict(value) or {"a": "dog"}}


def cell(value):
    return '"' + json.dumps(value).replace('"', '""') + '"'


ATOMS = st.none() | st.booleans() | st.integers(-9, 99) | st.sampled_from(
    ["a.png", "", "dog", "../a.png", "\0", 10**400, 0.5, "rectangle", "polygon", "nan", "x" * 300]
)  # fmt: skip
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
@pytest.mark.parametrize(
    ("read", "name", "options", "make"), FILES, ids=[f"{r.__module__[26:]}-{n}" for r, n, *_ in FILES]
)
def test_whatever_a_file_holds_it_becomes_samples_rejections_or_one_error(tmp_path, read, name, options, make, value):
    picture(tmp_path / "a.png")
    write(tmp_path / "class-descriptions.csv", "b,dog\n")
    write(tmp_path / name, make(value))
    try:
        found = list(read(tmp_path, TASKS, **options))
    except InputError:
        return
    assert all(isinstance(item, Sample | Rejected) for item in found)
    assert all(sample.image == str(tmp_path / "a.png") for sample in found if isinstance(sample, Sample))


BAD_FILES = {
    "0 bytes": b"",
    "blanks": b" \n\n",
    "invalid UTF-8": b"\xff\xfe\x00",
    "deeply nested": b"[" * 100_000,
    "cut short": b'{"images": [{"id": 1',
    "text": b"<html>Not found</html>",
    "nulls": b"\x00" * 100,
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize(
    ("read", "name", "options", "make"), FILES, ids=[f"{r.__module__[26:]}-{n}" for r, n, *_ in FILES]
)
def test_a_file_of_nonsense_gives_a_named_rejection_or_error_and_nothing_else(
    tmp_path, read, name, options, make, data
):
    picture(tmp_path / "a.png")
    write(tmp_path / "class-descriptions.csv", "b,dog\n")
    (tmp_path / name).write_bytes(data)
    try:
        samples, rejected = divide(read(tmp_path, TASKS, **options))
    except InputError as error:
        assert name in str(error) or str(tmp_path) in str(error)
    else:
        assert not samples and rejected
