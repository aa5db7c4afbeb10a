"""COCO instances: one JSON document with images, annotations and categories.

    {"images": [{"id": 386912, "file_name": "000000386912.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 4, "image_id": 386912, "category_id": 84, "bbox": [82, 0, 557, 479], "iscrowd": 1, ...}],
     "categories": [{"id": 84, "name": "book", "supercategory": "indoor"}]}

A `bbox` is [x, y, width, height] in pixels from 0. A crowd (`iscrowd` 1, its segmentation run-length encoded) is one
box around many objects: its category counts as present more than once and is never asked for. Segmentations, polygons
or run lengths, are not used and not kept in memory.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common
from currreft_nb.data.reading.json_streams import json_items

UNKNOWN = "annotation of an unknown image or category"


@dataclass(kw_only=True)
class Instances:
    """An instances file: category names by id, image entries by id, and the annotations of each image.

    An annotation is (id, category id, bbox, whether it is a crowd), with the values of the file.
    """

    names: dict[Any, str] = field(default_factory=dict)
    images: dict[Any, dict] = field(default_factory=dict)
    annotations: dict[Any, list[tuple]] = field(default_factory=dict)

    @property
    def listed(self) -> list[str]:
        """Return the category names in the order of their ids."""
        return [self.names[id] for id in sorted(self.names)]


def read(
    path: str | os.PathLike, tasks: Collection[str] = ("detection", "classification"), *, images: str = ""
) -> Iterator[Sample | common.Rejected]:
    """Yield the questions of one instances file, or of each `annotations/instances_*.json` of a COCO folder.

    `images`: the folder of the images; default for `instances_NAME.json`: `images/NAME`, `NAME` or `images` next to the
    annotations folder, or the file's folder. Raises `InputError` if there is no such file or it is no COCO document.
    """
    for file in common.input_files(path, "a COCO folder or of an instances file", "annotations/instances_*.json"):
        yield from [file] if isinstance(file, common.Rejected) else _read_document(file, tasks, images)


def load(file: Path) -> Instances:
    """Return the contents of an instances file, without the unused fields. Raises `InputError`."""
    found = Instances()
    try:
        for part, item in json_items(file):
            if part == "images":
                if item["id"] in found.images:
                    raise KeyError(f"two images with id {item['id']}")
                found.images[item["id"]] = {name: item.get(name) for name in ("id", "file_name", "width", "height")}
            elif part == "categories":
                found.names[item["id"]] = str(item["name"])
            elif part == "annotations":
                kept = tuple(item.get(name) for name in ("id", "category_id", "bbox", "iscrowd"))
                image = item.get("image_id")
                found.annotations.setdefault(image if isinstance(image, int | str) else None, []).append(kept)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not a COCO instances document ({error!r}); give another file") from None
    if not found.images or not found.names:
        raise InputError(
            f"{file} is not a COCO instances document: it lists no images or no categories; give another file"
        )
    return found


def _read_document(file: Path, tasks: Collection[str], images: str) -> Iterator[Sample | common.Rejected]:
    found = load(file)
    root, name = file.parent.parent, file.stem.removeprefix("instances_")
    places = [Path(images)] if images else [root / "images" / name, root / name, root / "images", file.parent]
    folder = common.find_images(places, [image["file_name"] for image in found.images.values()], file)
    for image_id, annotations in found.annotations.items():
        for annotation in annotations if image_id not in found.images else ():
            yield common.Rejected(file=str(file), reason=UNKNOWN, value=f"annotation {annotation[0]}")
    rows = ((file, None, image) for image in found.images.values())
    yield from common.read_rows(rows, partial(_read_image, found, folder, tasks), "a COCO image")


def _read_image(
    found: Instances, folder: Path, tasks: Collection[str], image: dict, file: Path, line: None
) -> Iterator[Sample | common.Rejected]:
    path, size = common.image_in(folder, image["file_name"]), (int(image["width"]), int(image["height"]))
    things = []
    for annotation in found.annotations.get(image["id"], ()):
        thing, rejected = read_annotation(annotation, found.names, size, file)
        things += [thing] if thing else []
        if rejected:
            yield rejected
    about: dict[str, Any] = {"source": "coco", "file": file, "image": path, "size": size, "names": found.listed}
    yield from common.object_samples(things, id=f"coco-{path.stem}", tasks=tasks, **about)


def read_annotation(
    annotation: tuple, names: dict[Any, str], size: Size, file: Path
) -> tuple[common.Thing | None, common.Rejected | None]:
    """Return the object (box None if unusable; None for an unknown category), and its rejection, if any."""
    id, category, bbox, crowd = annotation
    place: dict[str, Any] = {"file": str(file), "value": f"annotation {id}"}
    if category not in names:
        return None, common.Rejected(reason=UNKNOWN, **place)
    if crowd:
        rejected = common.Rejected(reason="annotation is of a crowd", fault=False, **place)
        return common.Thing(label=names[category], box=None, crowd=True), rejected
    try:
        x, y, width, height = common.four_numbers(bbox)
        box = common.fit_box((x, y, round(x + width, 4), round(y + height, 4)), size)  # sums of the file's two decimals
        return common.Thing(label=names[category], box=box), None
    except BadRow as problem:
        return common.Thing(label=names[category], box=None), common.Rejected(reason=problem.reason, **place)
