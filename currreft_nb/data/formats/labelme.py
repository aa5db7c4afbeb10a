"""labelme: a JSON file for each picture, with shapes that are drawn by hand.

    {"version": "5.4.1", "flags": {}, "imagePath": "a.jpg", "imageData": null, "imageHeight": 480, "imageWidth": 640,
     "shapes": [{"label": "dog", "shape_type": "rectangle", "points": [[120.5, 30.0], [300.0, 200.2]], "group_id": null,
                 "flags": {}}, ...]}

Points are (x, y) in pixels from 0 at the picture's upper left corner; the two points of a rectangle are opposite
corners in any order, those of a circle its centre and a point of its edge (labelme's own converters, `examples/`
there). A polygon becomes the box around it. Shapes of one label with the same `group_id` are parts of one object. Lines
and points have no box. `imagePath` starts from the JSON file's folder; the picture inside the file (`imageData`) is
used where there is no such file.
"""

import math
import os
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from pathlib import Path

from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects, picture_cells
from currreft_nb.data.reading.json_streams import json_files


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    images: str = "",
    extracted: Path | None = None,
) -> common.Items:
    """Yield the questions of a labelme file, or of each `*.json` in a folder and below.

    `images`: the folder of the pictures; default: as `imagePath` says, or beside the JSON file. A picture inside a JSON
    file is written to the folder `extracted`. Raises `InputError` if there is no such file.
    """
    root = common.image_folder(path, images)
    files = common.input_files(path, "a labelme file or of a folder of them", "**/*.json")
    picture = partial(_picture, root, bool(images), extracted)
    writing = objects.Writing(source="labelme", picture=picture, label=_label, box=_box, flags=_flags)
    names, _ = objects.survey(writing, json_files(files))
    plan = objects.Plan(found=lambda: json_files(files), find=Path, names=names, tasks=tasks)
    yield from objects.read_pictures(writing, plan)


def _picture(
    root: Path, is_named: bool, extracted: Path | None, row: dict, file: Path, line: None
) -> objects.Annotated:
    objects_of = defaultdict(list)
    for number, shape in enumerate(row["shapes"]):
        group = shape.get("group_id") if isinstance(shape, dict) else None
        objects_of[number if group is None else (str(shape.get("label")), str(group))].append(shape)
    width, height = row.get("imageWidth"), row.get("imageHeight")
    size = (width, height) if type(width) is int and type(height) is int and width > 0 and height > 0 else None
    image = _image(root, is_named, row, file)
    if not image.is_file() and row.get("imageData"):
        image = picture_cells.write_out(picture_cells.decoded(row["imageData"]), extracted)
    name = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    marks = [(None, shapes) for shapes in objects_of.values()]
    return objects.Annotated(image=image, marks=marks, size=size, name=name.with_suffix("").as_posix())


def _image(root: Path, is_named: bool, row: dict, file: Path) -> Path:
    """Return the picture: below the folder that the user named, or beside the JSON file."""
    written = row["imagePath"].replace("\\", "/")
    last = written.rpartition("/")[2]
    if is_named:
        places = [common.image_in(root, name) for name in (os.path.normpath(f"/{written}")[1:], last)]
    else:
        below = os.path.relpath(os.path.normpath(file.parent / written), root)
        places = [common.image_in(file.parent, last)]
        places = ([] if below.startswith("..") else [common.image_in(root, below)]) + places
    return next((place for place in places if place.is_file()), places[-1])


def _label(shapes: list[dict]) -> str:
    if not str(shapes[0].get("label") or "").strip():
        raise BadRow("object has no label")
    return str(shapes[0]["label"]).strip()


def _flags(shapes: list[dict]) -> dict[str, bool]:
    return {"ask": not any(shape.get("difficult") is True for shape in shapes)}  # a field of X-AnyLabeling


def _box(shapes: list[dict], size: Size) -> Box:
    boxes = [_box_of(shape) for shape in shapes]
    return objects.extent([[x, y] for x1, y1, x2, y2 in boxes for x, y in ((x1, y1), (x2, y2))], 2)


def _box_of(shape: dict) -> Box:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind in ("rectangle", "polygon", "mask", "rotation"):
        return objects.extent(points, 3 if kind == "polygon" else 2)
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return objects.around(x, y, radius, radius)
    raise objects.no_box(kind)
