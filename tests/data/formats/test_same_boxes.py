"""One set of boxes, written in the form of every tool: each reader gives the same questions with the same boxes."""

import csv
import json
import random
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from currreft_nb.data.formats import cvat, hub_objects, label_studio, labelme, open_images, via, yolo
from tests.helpers.annotated import divide, picture, write

NAMES = ["Platelets", "RBC", "WBC"]


@pytest.fixture
def drawn(tmp_path):
    """Five pictures of different sizes with boxes drawn at random: {file: (size, [(label, corners in pixels)])}."""
    rng, truth = random.Random(0), {}
    for number in range(5):
        width, height = rng.randint(50, 300), rng.randint(50, 300)
        corners = [(rng.uniform(0, width / 2), rng.uniform(0, height / 2)) for _ in range(4)]
        boxes = [
            (rng.choice(NAMES), (x, y, x + rng.uniform(2, width / 2), y + rng.uniform(2, height / 2)))
            for x, y in corners
        ]
        path = picture(tmp_path / "drawn" / f"{number}.png", (width, height))
        truth[path] = ((width, height), boxes)
    return truth


@pytest.fixture
def bccd(real_data):
    """The first pictures of BCCD, its XML files read here without the package."""
    truth = {}
    for file in sorted((real_data / "voc_bccd" / "BCCD" / "Annotations").iterdir())[:20]:
        root = ElementTree.parse(file).getroot()
        size = tuple(int(root.findtext(f"size/{name}")) for name in ("width", "height"))
        boxes = [(item.findtext("name"), corners(item)) for item in root.iter("object")]
        path = file.parent.parent / "JPEGImages" / f"{file.stem}.jpg"
        truth[path] = (size, boxes)
    return truth


def corners(item):
    x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
    return (x1 - 1, y1 - 1, x2, y2)


def as_yolo(root, truth, polygons=False):
    for path, ((width, height), boxes) in truth.items():
        shutil.copy(path, root / "images" / "train" / path.name)
        lines = []
        for label, (x1, y1, x2, y2) in boxes:
            left, top, right, bottom = x1 / width, y1 / height, x2 / width, y2 / height
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            shape = (left, top, right, top, right, bottom) if polygons else box
            lines.append(" ".join(map(str, (NAMES.index(label), *shape))))
        write(root / "labels" / "train" / f"{path.stem}.txt", "\n".join(lines))
    return write(root / "data.yaml", f"train: images/train\nnames: {NAMES}\n")


def as_yolo_polygons(root, truth):
    return as_yolo(root, truth, polygons=True)


def as_labelme(root, truth):
    for path, ((width, height), boxes) in truth.items():
        shutil.copy(path, root / path.name)
        shapes = [{"label": label, "shape_type": "rectangle", "points": [box[:2], box[2:]]} for label, box in boxes]
        head = {"imagePath": path.name, "imageWidth": width, "imageHeight": height}
        write(root / f"{path.stem}.json", head | {"shapes": shapes})
    return root


def as_label_studio(root, truth):
    tasks = []
    for path, ((width, height), boxes) in truth.items():
        shutil.copy(path, root / path.name)
        result = [
            {"id": f"r{n}", "type": "rectanglelabels", "original_width": width, "original_height": height, "value": {
                "x": x1 / width * 100, "y": y1 / height * 100, "width": (x2 - x1) / width * 100,
                "height": (y2 - y1) / height * 100, "rotation": 0, "rectanglelabels": [label]}}
            for n, (label, (x1, y1, x2, y2)) in enumerate(boxes)
        ]  # fmt: skip
        tasks.append({"data": {"image": f"/data/upload/1/{path.name}"}, "annotations": [{"result": result}]})
    return write(root / "project.json", tasks)


def as_cvat(root, truth):
    images = []
    for path, ((width, height), boxes) in truth.items():
        shutil.copy(path, root / "images" / path.name)
        shapes = "".join(
            f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>' for label, (x1, y1, x2, y2) in boxes
        )
        images.append(f'<image name="{path.name}" width="{width}" height="{height}">{shapes}</image>')
    return write(root / "annotations.xml", f"<annotations>{''.join(images)}</annotations>")


def as_via(root, truth):
    entries = {}
    for path, (_, boxes) in truth.items():
        shutil.copy(path, root / path.name)
        regions = [
            {"shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
             "region_attributes": {"type": label}}
            for label, (x1, y1, x2, y2) in boxes
        ]  # fmt: skip
        entries[path.name] = {"filename": path.name, "size": 1, "regions": regions, "file_attributes": {}}
    return write(root / "via.json", entries)


def as_open_images(root, truth):
    write(root / "class-descriptions-boxable.csv", "".join(f"/m/{name},{name}\n" for name in NAMES))
    with (root / "train-annotations-bbox.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf", "IsInside"])
        for path, ((width, height), boxes) in truth.items():
            shutil.copy(path, root / "images" / f"{path.stem}.jpg")
            for label, (x1, y1, x2, y2) in boxes:
                out.writerow([path.stem, f"/m/{label}", x1 / width, x2 / width, y1 / height, y2 / height, 0, 0])
    return root


def as_hub(root, truth):
    rows = []
    for path, (_, boxes) in truth.items():
        shutil.copy(path, root / path.name)
        held = {
            "bbox": [[x1, y1, x2 - x1, y2 - y1] for _, (x1, y1, x2, y2) in boxes],
            "category": [label for label, _ in boxes],
        }
        rows.append({"file_name": path.name, "objects": held})
    write(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    return root


WRITERS = [
    (as_yolo, yolo), (as_yolo_polygons, yolo), (as_labelme, labelme), (as_label_studio, label_studio), (as_cvat, cvat),
    (as_via, via), (as_open_images, open_images), (as_hub, hub_objects),
]  # fmt: skip


@pytest.mark.parametrize(("make", "format"), WRITERS, ids=[make.__name__ for make, _ in WRITERS])
@pytest.mark.parametrize("source", ["drawn", "bccd"])
def test_boxes_and_counts_are_the_same_from_every_tool(tmp_path, request, source, make, format):
    truth = request.getfixturevalue(source)
    for folder in ("images/train", "labels/train"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    made = make(tmp_path / "set", truth)
    samples, rejected = divide(format.read(made, ["detection", "classification"]))
    for path, (_, boxes) in truth.items():
        mine = [sample for sample in samples if Path(sample.image).stem == path.stem]
        labels = [label for label, _ in boxes]
        once = {label: box for label, box in boxes if labels.count(label) == 1}
        found = {sample.extra["label"]: sample.answer[0] for sample in mine if sample.task == "detection"}
        assert found.keys() == once.keys()
        assert all(found[label] == pytest.approx(box, abs=0.01) for label, box in once.items())
        if format is not open_images:
            [about_all] = [sample for sample in mine if sample.task == "classification"]
            assert about_all.extra["counts"] == {label: labels.count(label) for label in set(labels)}
    assert {item.reason for item in rejected} <= {"no category occurs exactly once"}
