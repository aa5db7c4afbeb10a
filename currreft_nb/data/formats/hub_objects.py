"""Detection sets as the Hugging Face hub has them: a row for each picture, its objects in one column.

    {"image": {"bytes": ..., "path": ...}, "width": 640, "height": 480,
     "objects": {"id": [114, 115], "area": [3796, 1596], "bbox": [[302.0, 109.0, 73.0, 52.0], ...], "category": [4, 0]}}
    {"file_name": "0001.png", "objects": {"bbox": [[302.0, 109.0, 73.0, 52.0]], "categories": [0]}}     metadata.jsonl

`objects` is an object of lists, or a list of objects. A box is COCO's by default: its upper left corner and its size in
pixels from 0 ("Object detection" in the documentation of `transformers`); many sets have another form, which their page
says and `box` names. Categories are texts, or numbers of a ClassLabel, whose names are inside Parquet and Arrow files,
or of `names`. `iscrowd` marks a box around many objects.
"""

from collections.abc import Collection
from functools import cache, partial
from pathlib import Path
from typing import Any

from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects, picture_cells, tables

CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class")
BOXES = ("bbox", "bboxes", "boxes", "box")


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    box: str = "xywh",
    column: str = "objects",
    names: str = "",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> common.Items:
    """Yield the questions of a table, of a folder of tables, or of a saved or hub dataset.

    `box`: xywh (corner and size), xyxy (corners) or cxcywh (centre and size) in pixels; normalized (corners),
    xywh_normalized or cxcywh_normalized in shares from 0 to 1. `column`: the column with the objects. `names`: the
    categories by number, with commas between them, or a file with one a line. `images`: the folder that image paths
    start from; default: that of the table. `files`: a pattern for the files of a folder. Images inside the table are
    written to the folder `extracted`. Raises `InputError`.
    """
    common.check_known(path, "form of box", box, objects.FORMS)
    given, names_in = objects.name_list(names) if names else [], cache(tables.class_names)
    writing = objects.Writing(
        source="hub_objects",
        picture=lambda row, file, line: _picture(column, given or _class_names(names_in(file), column), row),
        label=lambda mark: objects.class_name(mark[0].get("label"), mark[1]),
        box=lambda mark, size: objects.to_pixels(mark[0].get("bbox"), box, size),
        flags=lambda mark: {"crowd": bool(mark[0].get("iscrowd"))},
    )
    labels, _ = objects.survey(writing, tables.read(path, files, [column]))
    folder = common.image_folder(path, images)
    found = partial(tables.read_columns, path, files, {"column": (column,), "image": picture_cells.IMAGES})
    find = partial(picture_cells.need_image, folder=folder, extracted=extracted)
    yield from objects.read_pictures(writing, objects.Plan(found=found, find=find, names=labels, tasks=tasks))


def _class_names(known: dict[str, list[str]], column: str) -> list[str]:
    return next((names for name, names in known.items() if name.partition(".")[0] == column), [])


def _picture(column: str, names: list[str], row: dict, *_: Any) -> objects.Annotated:
    marks = [(None, (item, names)) for item in _objects(row[column])]
    image = picture_cells.cell_of(row, picture_cells.IMAGES)
    return objects.Annotated(image=image, marks=marks)


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return label, bbox and iscrowd of each object; the value is an object of lists, or a list of objects."""
    if isinstance(value, list):
        return [_fields(item) for item in value]
    lists = {name: value[name] for name in value if isinstance(value[name], list)}
    if len({len(items) for items in lists.values()}) > 1:
        raise BadRow("lists of objects differ in length", ", ".join(f"{n}: {len(v)}" for n, v in lists.items()))
    return [_fields(dict(zip(lists, items))) for items in zip(*lists.values())]


def _fields(item: dict) -> dict[str, Any]:
    label, bbox = (next((name for name in names if name in item), None) for names in (CATEGORIES, BOXES))
    if label is None or bbox is None:
        raise BadRow("object has no bbox or no category", f"fields are: {', '.join(item)}")
    return {"label": item[label], "bbox": item[bbox], "iscrowd": item.get("iscrowd")}
