"""COCO instances: one JSON document with images, annotations and categories.

    {"images": [{"id": 386912, "file_name": "000000386912.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 4, "image_id": 386912, "category_id": 84, "bbox": [82, 0, 557, 479], "iscrowd": 1, ...}],
     "categories": [{"id": 84, "name": "book", "supercategory": "indoor"}]}

A `bbox` is [x, y, width, height] in pixels from 0. A crowd (`iscrowd` 1, its segmentation run-length encoded) is one
box around many objects: it says that its category is there, more than once, and is never asked for. Segmentations are
not used.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.formats import Rejected, Thing, fit_box, need_file, object_samples, parse_json
from currreft_nb.samples import Sample, inside


def read(
    path: str | os.PathLike, tasks: Collection[str] = ("detection", "classification")
) -> Iterator[Sample | Rejected]:
    """Yield the questions of one instances file, or of each `annotations/instances_*.json` of a COCO folder.

    The images of `instances_NAME.json` are looked for in `images/NAME`, `NAME` and `images` beside the annotations
    folder, then beside the file. Raises `InputError` if `path` holds no such file or the file is no COCO document.
    """
    path = need_file(path, "a COCO folder or of an instances file")
    files = [path] if path.is_file() else sorted(path.glob("annotations/instances_*.json"))
    if not files:
        raise InputError(f"{path} holds no annotations/instances_*.json; give such a file or the folder above")
    for file in files:
        yield from _read_document(file, tasks)


def _read_document(file: Path, tasks: Collection[str]) -> Iterator[Sample | Rejected]:
    try:
        document = parse_json(file.read_bytes())
        images, annotations = document["images"], document["annotations"]
        names = {category["id"]: category["name"] for category in document["categories"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not a COCO instances document ({error!r}); give another file") from None
    by_image: dict[int, list[dict]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        if annotation.get("image_id") in by_image and annotation.get("category_id") in names:
            by_image[annotation["image_id"]].append(annotation)
        else:
            value = f"annotation {annotation.get('id')}"
            yield Rejected(file=str(file), reason="annotation of an unknown image or category", value=value)
    folder = _image_folder(file, images)
    for image in images:
        yield from _read_image(image, by_image.pop(image["id"], []), names, file, folder, tasks)


def _image_folder(file: Path, images: list[dict]) -> Path:
    root, name = file.parent.parent, file.stem.removeprefix("instances_")
    folders = [root / "images" / name, root / name, root / "images", file.parent]
    names = [image["file_name"] for image in images[:100]]
    found = [folder for folder in folders if any((folder / name).is_file() for name in names)]
    if images and not found:
        places = ", ".join(str(folder) for folder in folders)
        raise InputError(f"{file}: none of its images is in {places}; put the images into one of these folders")
    return found[0] if found else root


def _read_image(
    image: dict, annotations: list[dict], names: dict[int, str], file: Path, folder: Path, tasks: Collection[str]
) -> Iterator[Sample | Rejected]:
    try:
        path, size = inside(folder, image["file_name"]), (int(image["width"]), int(image["height"]))
    except (InputError, KeyError, TypeError, ValueError) as error:
        yield Rejected(file=str(file), reason="image entry is incomplete", value=f"image {image['id']}: {error}")
        return
    things = []
    for annotation in annotations:
        thing, rejected = _read_annotation(annotation, names, size, file)
        things.append(thing)
        if rejected:
            yield rejected
    listed = [names[id] for id in sorted(names)]
    yield from object_samples(
        things, id=f"coco-{path.stem}", source="coco", file=file, image=path, size=size, names=listed, tasks=tasks
    )


def _read_annotation(
    annotation: dict, names: dict[int, str], size: tuple[int, int], file: Path
) -> tuple[Thing, Rejected | None]:
    """Return the object, without its box where that cannot be used, and why it is left out as an object."""
    label, value = names[annotation["category_id"]], f"annotation {annotation.get('id')}"
    if annotation.get("iscrowd"):
        crowd = Rejected(file=str(file), reason="annotation is of a crowd", value=value, fault=False)
        return Thing(label=label, box=None, crowd=True), crowd
    numbers = annotation.get("bbox")
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(isinstance(n, int | float) for n in numbers):
        reason = "box has a coordinate that is missing or no number"
    else:
        x, y, width, height = numbers
        try:
            box = fit_box((x, y, round(x + width, 4), round(y + height, 4)), size)  # the file has two decimals
            return Thing(label=label, box=box), None
        except ValueError as problem:
            reason = str(problem)
    return Thing(label=label, box=None), Rejected(file=str(file), reason=reason, value=value)
