"""COCO instances: one JSON document with images, annotations and categories.

    {"images": [{"id": 386912, "file_name": "000000386912.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 4, "image_id": 386912, "category_id": 84, "bbox": [82, 0, 557, 479], "iscrowd": 1, ...}],
     "categories": [{"id": 84, "name": "book", "supercategory": "indoor"}]}

A `bbox` is [x, y, width, height] in pixels from 0. A crowd (`iscrowd` 1, its segmentation run-length encoded) is one
box around many objects: its category counts as present more than once and is never asked for. Segmentations, polygons
or run lengths, are not used and not kept in memory.
"""

from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
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
    path: Path | str, tasks: Collection[str] = ("detection", "classification"), *, images: str = ""
) -> common.Items:
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
                if item["id"] in found.names:
                    raise KeyError(f"two categories with id {item['id']}: {found.names[item['id']]}, {item['name']}")
                found.names[item["id"]] = str(item["name"])
            elif part == "annotations":
                kept = tuple(item.get(name) for name in ("id", "category_id", "bbox", "iscrowd"))
                image = item.get("image_id")
                found.annotations.setdefault(image if isinstance(image, int | str) else None, []).append(kept)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not a COCO instances document ({error!r}); give another file") from None
    if not found.images or not found.names:
        raise InputError(f"{file} is not a COCO instances document (no images or no categories); give another file")
    return found


def _read_document(file: Path, tasks: Collection[str], images: str) -> common.Items:
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
) -> common.Items:
    about = about_image("coco", folder, image)
    things = [thing for _, thing in (yield from read_things(found, image, about["size"], file))]
    yield from common.object_samples(things, f"coco-{Path(about['image']).stem}", found.listed, tasks, file, about)


def about_image(source: str, folder: Path, image: dict) -> dict[str, Any]:
    """Return the fields that all samples of an image entry share."""
    path, size = common.image_in(folder, image["file_name"]), (int(image["width"]), int(image["height"]))
    return {"source": source, "image": str(path), "size": size, "split": "train"}


def read_things(
    found: Instances, image: dict, size: Size, file: Path
) -> Generator[common.Rejected, None, list[tuple[Any, common.AnnotatedObject]]]:
    """Yield the rejected annotations of an image; return its objects, each with its id (box: None if unusable)."""
    things = []
    for id, category, bbox, crowd in found.annotations.get(image["id"], ()):
        place: dict[str, Any] = {"file": str(file), "value": f"annotation {id}"}
        if category not in found.names:
            yield common.Rejected(reason=UNKNOWN, **place)
            continue
        box = None
        try:
            if crowd:
                raise BadRow("annotation is of a crowd", fault=False)
            x, y, width, height = common.four_numbers(bbox)
            box = common.fit_box((x, y, round(x + width, 4), round(y + height, 4)), size)  # the file has two decimals
        except BadRow as problem:
            yield common.Rejected(reason=problem.reason, fault=problem.fault, **place)
        things.append((id, common.AnnotatedObject(label=found.names[category], box=box, crowd=bool(crowd))))
    return things
