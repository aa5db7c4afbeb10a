"""CVAT's XML: shapes, labels of the task, splits, damage."""

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import cvat
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write

META = "<meta><task><id>1</id><name>pets</name><labels>{}</labels></task><dumped>2024-01-01</dumped></meta>"
DOG = '<box label="dog" source="manual" occluded="0" xtl="10.5" ytl="20" xbr="60" ybr="40" z_order="0"></box>'


def task(root, *images, names=("cat", "dog"), place="images"):
    listed = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in names)
    body = "\n".join(images)
    write(
        root / "annotations.xml", f"<annotations>\n<version>1.1</version>{META.format(listed)}\n{body}\n</annotations>"
    )
    picture(root / place / "a.jpg")
    return root


def image(*shapes, name="a.jpg", more='subset="Train"'):
    lines = "\n".join(shapes)
    return f'<image id="0" name="{name}" {more} width="100" height="80">\n{lines}\n</image>'


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (DOG, [10.5, 20, 60, 40]),
        ('<polygon label="dog" points="10.0,20.0;60.5,25.0;30.0,70.0"/>', [10, 20, 60.5, 70]),
        ('<ellipse label="dog" cx="50" cy="40" rx="20" ry="10"/>', [30, 30, 70, 50]),
        ('<mask label="dog" rle="3, 5" left="10" top="20" width="30" height="5"/>', [10, 20, 40, 25]),
        (DOG.replace("occluded", 'rotation="0.0" occluded'), [10.5, 20, 60, 40]),
    ],
)
def test_shapes_have_boxes(tmp_path, shape, box):
    samples, rejected = divide(cvat.read(task(tmp_path, image(shape))))
    assert boxes(samples) == {"dog": box} and not rejected
    assert samples[0].question == "Which of these categories are in the image: dog?"  # nothing is labelled as a cat
    assert samples[0].extra["split"] == "Train" and samples[0].id == "cvat-a.jpg-labels"


@pytest.mark.parametrize(
    ("shape", "reason", "fault"),
    [
        ('<box label="cat" xtl="10" ytl="20" xbr="10" ybr="40"/>', "box is empty or reversed", True),
        ('<box label="cat" xtl="10" ytl="20" xbr="130" ybr="40"/>', "box lies outside the image", True),
        ('<box label="cat" xtl="nan" ytl="20" xbr="30" ybr="40"/>', "box has a coordinate that is not finite", True),
        ('<box label="cat" xtl="" ytl="20" xbr="30" ybr="40"/>', "annotation lacks a field or has another form", True),
        ('<box label="cat" ytl="20" xbr="30" ybr="40"/>', "annotation lacks a field or has another form", True),
        ('<box label="cat" xtl="1" ytl="2" xbr="3" ybr="4" rotation="30"/>', "shape has no upright box", False),
        ('<polyline label="cat" points="1,2;3,4"/>', "shape has no upright box", False),
        ('<points label="cat" points="1,2"/>', "shape has no upright box", False),
    ],
)
def test_a_shape_without_a_box_is_rejected_by_its_line(tmp_path, shape, reason, fault):
    samples, [bad] = divide(cvat.read(task(tmp_path, image(DOG, shape))))
    assert (bad.reason, bad.fault, bad.line) == (reason, fault, 5)
    assert labels(samples) == ["cat", "dog"] and list(boxes(samples)) == ["dog"]


def test_pictures_lie_beside_the_file_or_where_they_are_said_to(tmp_path):
    for place in ("images", "."):
        assert list(boxes(cvat.read(task(tmp_path / place.strip("."), image(DOG), place=place)))) == ["dog"]
    root = task(tmp_path / "c", image(DOG, name="frames/a.jpg"), place="elsewhere")
    with pytest.raises(
        InputError, match=r"none of the 1 pictures, such as frames/a.jpg, is in .*; write images=FOLDER"
    ):
        list(cvat.read(root))
    assert list(boxes(cvat.read(root, images=str(root / "elsewhere")))) == ["dog"]


def test_pictures_that_lack_repeat_or_are_empty(tmp_path):
    root = task(tmp_path, image(DOG), image(DOG, name="gone.jpg"), image(name="b.jpg"))
    picture(root / "images" / "b.jpg")
    samples, rejected = divide(cvat.read(root))
    assert [s.id for s in samples] == ["cvat-a.jpg-labels", "cvat-a.jpg-dog"]
    assert [(r.reason, r.line) for r in rejected] == [
        ("image does not exist", 6),
        ("image has no annotated object", None),
    ]
    assert reasons(cvat.read(task(tmp_path, image(DOG), image(DOG)))) == {"picture is annotated in several places": 2}


def test_two_pictures_of_one_name_in_different_folders_are_not_confused(tmp_path):
    root = task(tmp_path, image(DOG, name="/elsewhere/x/a.jpg"), image(DOG, name="/elsewhere/y/a.jpg"))
    with pytest.raises(InputError, match="none of the 2 pictures"):
        list(cvat.read(root))
    picture(root / "images" / "y" / "a.jpg")
    samples, rejected = divide(cvat.read(root, ["detection"]))
    assert [s.image for s in samples] == [str(root / "images" / "y" / "a.jpg")]
    assert reasons(rejected) == {"image does not exist": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not XML, or damaged"),
        ("<annotations><image", "is not XML, or damaged"),
        ("<annotation><image/></annotation>", "begins with <annotation>, not <annotations>"),
        ('<annotations><track id="0" label="dog"/></annotations>', "holds tracks .*export 'CVAT for images 1.1'"),
        ('<!DOCTYPE x [<!ENTITY a "ha">]><annotations/>', "declares entities"),
    ],
)
def test_what_is_no_export_is_said(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        list(cvat.read(write(tmp_path / "annotations.xml", text)))
