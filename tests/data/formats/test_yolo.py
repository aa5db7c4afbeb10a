"""YOLO text files: boxes and polygons, classes, splits, folders as the tools lay them out."""

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import yolo
from tests.helpers.annotated import boxes, divide, labels, picture, reasons, write

YAML = "path: ../datasets/pets\ntrain: images/train\nval: images/val\ntest:\nnc: 2\nnames:\n  0: cat\n  1: dog\n"


def pets(root, *lines, config=YAML, name="1"):
    picture(root / "images" / "train" / f"{name}.jpg")
    write(root / "labels" / "train" / f"{name}.txt", "".join(line + "\n" for line in lines))
    (root / "images" / "val").mkdir(parents=True, exist_ok=True)
    write(root / "data.yaml", config)
    return root


def test_a_box_is_centre_and_size_as_shares_of_the_picture(tmp_path):
    root = pets(tmp_path, "0 0.5 0.5 0.2 0.5", "1 0.25 0.25 0.5 0.5")
    samples, rejected = divide(yolo.read(root))
    assert boxes(samples) == {"cat": [40, 20, 60, 60], "dog": [0, 0, 50, 40]}  # of 100 x 80 pixels
    assert labels(samples) == ["cat", "dog"] and not rejected
    cat = samples[1]
    assert (cat.id, cat.question) == ("yolo-images/train/1.jpg-cat", "the cat")
    assert cat.extra["split"] == "train" and cat.extra["origin"] == {"file": "1.txt", "line": None}
    assert samples[0].question == "Which of these categories are in the image: cat, dog?"


def test_only_classes_that_occur_are_listed_and_splits_list_the_same(tmp_path):
    root = pets(tmp_path, "1 0.5 0.5 0.2 0.2", config=YAML.replace("nc: 2", "nc: 3") + "  2: _background_\n")
    picture(root / "images" / "val" / "2.jpg")
    write(root / "labels" / "val" / "2.txt", "0 0.5 0.5 0.2 0.2\n")
    for split in ("train", "val", ""):
        questions = {s.question for s in yolo.read(root, ["classification"], split=split)}
        assert questions == {"Which of these categories are in the image: cat, dog?"}


def test_a_polygon_becomes_the_box_around_it(tmp_path):
    samples, _ = divide(yolo.read(pets(tmp_path, "1 0.1 0.5 0.5 0.25 0.9 0.5 0.3 0.75")))
    assert boxes(samples) == {"dog": [10, 20, 90, 60]}


def test_key_points_follow_the_box_only_where_data_yaml_says_so(tmp_path):
    line = "0 0.5 0.5 0.2 0.5 0.1 0.1 2"
    assert boxes(yolo.read(pets(tmp_path, line, config=YAML + "kpt_shape: [1, 3]\n"))) == {"cat": [40, 20, 60, 60]}
    assert reasons(yolo.read(pets(tmp_path, line)))["line is neither a box of 4 numbers nor a polygon"] == 1


@pytest.mark.parametrize(
    ("line", "reason", "labels_too"),
    [
        ("7 0.5 0.5 0.1 0.1", "class number is unknown", False),
        ("-1 0.5 0.5 0.1 0.1", "class number is unknown", False),
        ("bird 0.5 0.5 0.1 0.1", "class is unknown", False),
        ("0.5 0.5 0.5 0.1 0.1", "class number is unknown", False),
        ("0 0.5 0.5 0 0.1", "box is empty or reversed", True),
        ("0 0.5 0.5 -0.1 0.1", "box is empty or reversed", True),
        ("0 0.95 0.5 0.2 0.1", "box lies outside the image", True),
        ("0 50 40 20 10", "box lies outside the image", True),  # pixels in place of shares
        ("0 nan 0.5 0.2 0.1", "box has a coordinate that is not finite", True),
        ("0 0.1 0.1 nan 0.1 0.2 0.2", "box has a coordinate that is not finite", True),
        ("0 0.5 x 0.2 0.1", "box has a coordinate that is missing or no number", True),
        ("0 0.5 0.5 0.2", "line is neither a box of 4 numbers nor a polygon", True),
        (
            "0 0.5 0.5 0.2 0.1 0.9",
            "line is neither a box of 4 numbers nor a polygon",
            True,
        ),  # a prediction's confidence
    ],
)
def test_a_bad_line_is_rejected_with_its_file_and_number(tmp_path, line, reason, labels_too):
    samples, rejected = divide(yolo.read(pets(tmp_path, "1 0.5 0.5 0.2 0.2", line)))
    [bad] = [item for item in rejected if item.fault]
    assert (bad.reason, bad.line, bad.file) == (reason, 2, str(tmp_path / "labels" / "train" / "1.txt"))
    assert list(boxes(samples)) == ["dog"]
    assert ("cat" in labels(samples)) == labels_too  # an object whose box is damaged is there all the same


def test_pictures_without_objects_and_labels_without_a_picture_are_counted(tmp_path):
    root = pets(tmp_path, "0 0.5 0.5 0.2 0.5")
    pets(tmp_path, name="empty")
    picture(root / "images" / "train" / "none.png")
    write(root / "labels" / "train" / "orphan.txt", "0 0.5 0.5 0.2 0.5\n")
    write(root / "labels" / "train" / "README.txt", "made by hand\n")
    samples, rejected = divide(yolo.read(root))
    assert len(samples) == 2
    assert reasons(rejected) == {"image has no annotated object": 2, "image does not exist": 1}
    [bad] = [item for item in rejected if item.fault]
    assert bad.file.endswith("orphan.txt")


def test_repeated_lines_are_one_object(tmp_path):
    assert boxes(yolo.read(pets(tmp_path, "0 0.5 0.5 0.2 0.5", "0  0.5 0.5 0.2 0.5"))) == {"cat": [40, 20, 60, 60]}


def roboflow(root):
    for split in ("train", "valid"):
        picture(root / split / "images" / f"{split}.jpg")
        write(root / split / "labels" / f"{split}.txt", "0 0.5 0.5 0.2 0.5")
    config = "train: ../train/images\nval: ../valid/images\n\nnc: 1\nnames: ['my cat']\nroboflow:\n  version: 1\n"
    write(root / "data.yaml", config)
    return root


def listed(root):
    pets(root, "0 0.5 0.5 0.2 0.5")
    write(root / "train.txt", "./images/train/1.jpg\n")
    write(root / "data.yaml", "train: train.txt\nnames: [cat]\n")
    return root


def beside(root):
    picture(root / "1.JPG")
    write(root / "1.txt", "0 0.5 0.5 0.2 0.5")
    write(root / "classes.txt", "cat\ndog\n")
    return root


def elsewhere(root):
    return pets(root, "0 0.5 0.5 0.2 0.5", config="path: /content/data\ntrain: images/train\nnames: [cat]")


@pytest.mark.parametrize(("make", "count"), [(roboflow, 2), (listed, 1), (beside, 1), (elsewhere, 1)])
def test_layouts(tmp_path, make, count):
    samples, rejected = divide(yolo.read(make(tmp_path), ["detection"]))
    assert len(samples) == count and not rejected
    assert len({sample.id for sample in samples}) == count
    assert all(sample.answer == [[40, 20, 60, 60]] for sample in samples)


def test_splits_are_chosen_by_name(tmp_path):
    [sample] = yolo.read(roboflow(tmp_path), ["detection"], split="val")
    assert sample.image.endswith("valid.jpg") and sample.extra["split"] == "val"
    (tmp_path / "data.yaml").unlink()
    [sample] = yolo.read(tmp_path, ["detection"], split="val", names="my cat")
    assert sample.image.endswith("valid.jpg")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("names: [cat]\ntrain: pictures", r"train: pictures is not below .*write images=FOLDER&split=train"),
        ("names: [cat]\nnc: 2\ntrain: images/train", "nc: 2, but 1 names"),
        ("names: {0: cat, 2: dog}\ntrain: images/train", "not numbered from 0 without a gap"),
        ("names: [", "is not YAML"),
        ("a: 1", "no data.yaml and no classes.txt names the classes; write names=cat,dog"),
    ],
)
def test_what_is_wrong_with_data_yaml_is_said(tmp_path, config, message):
    with pytest.raises(InputError, match=message):
        list(yolo.read(pets(tmp_path, config=config)))


def test_data_yaml_leads_nowhere_else(tmp_path):
    picture(tmp_path / "secret" / "images" / "a.jpg")
    root = pets(tmp_path / "set", config=f"names: [cat]\ntrain: {tmp_path}/secret/images")
    with pytest.raises(InputError, match="is not below"):
        list(yolo.read(root))
