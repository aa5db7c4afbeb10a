"""Open Images: boxes as shares, names of classes, groups, lines about one picture."""

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import open_images
from tests.helpers.annotated import boxes, divide, picture, reasons, write

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
CLASSES = '/m/dog,Dog\n/m/cat,Cat\n/m/car,"Car, toy"\n'


def line(image="a1", label="/m/dog", box="0.1,0.5,0.25,0.75", flags="0,0,0,0,0"):
    return f"{image},xclick,{label},1,{box},{flags}"


def annotate(root, *lines, folder="train"):
    picture(root / folder / "a1.jpg")
    write(root / "class-descriptions-boxable.csv", CLASSES)
    return write(root / "train-annotations-bbox.csv", "\n".join([HEAD, *lines]) + "\n").parent


def test_a_box_is_two_corners_as_shares_with_x_first(tmp_path):
    samples, rejected = divide(open_images.read(annotate(tmp_path, line(), line(label="/m/car"))))
    assert boxes(samples) == {"Dog": [10, 20, 50, 60], "Car, toy": [10, 20, 50, 60]} and not rejected
    assert samples[0].extra["split"] == "train" and samples[0].id == "open_images-a1.jpg-Dog"
    assert [s.question for s in samples] == ["the Dog", "the Car, toy"]


def test_groups_and_views_from_inside_are_there_and_not_asked_for(tmp_path):
    lines = [line(), line(label="/m/cat", flags="0,0,1,0,0"), line(label="/m/car", flags="0,0,0,0,1")]
    samples, _ = divide(open_images.read(annotate(tmp_path, *lines)))
    assert list(boxes(samples)) == ["Dog"]
    assert [other["label"] for other in samples[0].extra["others"]] == ["Car, toy"]
    lines = [line(), line(flags="0,0,1,0,0")]
    assert reasons(open_images.read(annotate(tmp_path, *lines))) == {"no category occurs exactly once": 1}


def test_which_classes_are_in_a_picture_is_not_asked(tmp_path):
    root = annotate(tmp_path, line())
    assert {s.task for s in divide(open_images.read(root, ["detection", "classification"]))[0]} == {"detection"}
    assert not list(open_images.read(root, ["classification"]))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line(label="/m/unknown"), "class has no name"),
        (line(box="0.5,0.1,0.25,0.75"), "box is empty or reversed"),
        (line(box="0.5,1.2,0.25,0.75"), "box lies outside the image"),
        (line(box="nan,0.5,0.25,0.75"), "box has a coordinate that is not finite"),
        (line(box=",0.5,0.25,0.75"), "box has a coordinate that is missing or no number"),
        (line(image="a2"), "image does not exist"),
        ("a1,xclick,/m/dog", "row has another number of columns than the header"),
    ],
)
def test_a_bad_line_is_rejected_by_its_number(tmp_path, bad, reason):
    samples, rejected = divide(open_images.read(annotate(tmp_path, line(label="/m/cat"), bad)))
    assert list(boxes(samples)) == ["Cat"]
    assert [(r.reason, r.line) for r in rejected] == [(reason, 3)]


def test_lines_about_one_picture_must_follow_each_other(tmp_path):
    picture(tmp_path / "train" / "a2.jpg")
    samples, rejected = divide(open_images.read(annotate(tmp_path, line(), line(image="a2"), line())))
    assert [s.id for s in samples] == ["open_images-a2.jpg-Dog"]
    assert reasons(rejected) == {"picture is annotated in several places": 2}


@pytest.mark.parametrize("folder", ["train", "images/train", "images", "."])
def test_places_of_the_pictures(tmp_path, folder):
    assert list(boxes(open_images.read(annotate(tmp_path, line(), folder=folder)))) == ["Dog"]


def test_files_that_lack_are_named(tmp_path):
    root = annotate(tmp_path, line())
    (root / "class-descriptions-boxable.csv").rename(tmp_path / "names.csv")
    with pytest.raises(InputError, match="needs the file that names its classes, and found none; write classes=FILE"):
        list(open_images.read(root))
    assert list(boxes(open_images.read(root, classes=str(tmp_path / "names.csv")))) == ["Dog"]
    write(root / "train-annotations-bbox.csv", "ImageID,Label\na1,x\n")
    with pytest.raises(InputError, match="no column 'LabelName'; columns are: ImageID, Label"):
        list(open_images.read(root, classes=str(tmp_path / "names.csv")))
