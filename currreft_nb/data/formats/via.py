"""VGG Image Annotator (VIA 1 and 2): a project, or its annotations as JSON or CSV.

    {"a.jpg61234": {"filename": "a.jpg", "size": 61234, "file_attributes": {}, "regions": [
      {"shape_attributes": {"name": "rect", "x": 120, "y": 30, "width": 180, "height": 170},
       "region_attributes": {"type": "dog"}}, ...]}, ...}

    filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes
    a.jpg,61234,"{}",1,0,"{""name"":""rect"",""x"":120,""y"":30,""width"":180,""height"":170}","{""type"":""dog""}"

A project has the same under `_via_img_metadata`. Coordinates are pixels from 0 at the picture's upper left corner; a
rectangle is that corner and its size, a circle its centre and radius (VIA's source, "shape_attributes"). A polygon
becomes the box around it; rotated ellipses, lines and points have no upright box. The label is the value of an
attribute of the region; a checkbox, whose value is an object, must have one option chosen. `size` counts bytes.
"""

from collections.abc import Collection, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects
from currreft_nb.data.reading.json_streams import Found, csv_rows, json_items, parse_json

METADATA = "_via_img_metadata"


def read(
    path: Path | str, tasks: Collection[str] = ("detection", "classification"), *, label: str = "", images: str = ""
) -> common.Items:
    """Yield the questions of a VIA file, or of each `via*.json` and `via*.csv` in a folder.

    `label`: the attribute that holds the label; default: the only one that a region has. `images`: the folder of the
    pictures; default: that of the file, or `images` in it. Raises `InputError`.
    """
    for file in common.input_files(path, "a VIA file (.json or .csv)", "via*.json", "via*.csv"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        places = [Path(images)] if images else [file.parent, file.parent / "images"]
        writing = objects.Writing(source="via", picture=_picture, label=partial(_label, label), box=_box)
        yield from objects.read_named(writing, partial(_rows, file), places, tasks)


def _rows(file: Path) -> Iterator[Found]:
    if file.suffix.lower() == ".csv":
        yield from _pictures(csv_rows(file))
        return
    number = 0
    for name, entry in json_items(file, METADATA):
        if name in ("project", "metadata") and "regions" not in entry:
            raise InputError(f"{file} is of VIA 3; write its annotations as a COCO file, and read them as coco")
        if name == METADATA or not str(name).startswith("_via"):
            number += 1
            rejected = common.Rejected(
                file=str(file), line=number, reason="entry is not a JSON object", value=str(name)
            )
            yield file, number, entry if isinstance(entry, dict) else rejected


def _pictures(rows: Iterator[Found]) -> Iterator[Found]:
    """Yield the lines about one picture, which follow each other, as one row with the line of each region."""
    for name, group in groupby(rows, lambda found: _filename(found[2])):
        lines = list(group)
        if name is None:
            yield from lines
            continue
        regions = [(line, row) for _, line, row in lines]
        yield lines[0][0], lines[0][1], {"filename": name, "lines": regions}


def _filename(row: dict | common.Rejected) -> str | None:
    return None if isinstance(row, common.Rejected) else row.get("filename", row.get("#filename"))


def _picture(row: dict, file: Path, line: int | None) -> objects.Annotated:
    if "lines" in row:
        marks = [(line, _region(cells)) for line, cells in row["lines"] if cells["region_shape_attributes"] != "{}"]
        return objects.Annotated(image=row["filename"], marks=marks)
    regions = row["regions"]
    regions = [*regions.values()] if isinstance(regions, dict) else regions  # an object in VIA 1
    return objects.Annotated(image=row["filename"], marks=[(None, region) for region in regions])


def _region(cells: dict[str, str]) -> dict[str, Any] | str:
    """Return the region of a line; the cells themselves if they are not JSON, which is then rejected."""
    names = ("shape_attributes", "region_attributes")
    try:
        return {name: parse_json(cells[f"region_{name.removeprefix('region_')}"]) for name in names}
    except ValueError:
        return str(cells)


def _label(wanted: str, region: dict) -> str:
    attributes = region["region_attributes"]
    names = [wanted] if wanted else [name for name in attributes if attributes[name] not in ("", {})]
    if len(names) > 1:
        raise BadRow("region has several attributes; write label=NAME", ", ".join(attributes))
    value = attributes.get(names[0]) if names else None
    chosen = [name for name, is_on in value.items() if is_on] if isinstance(value, dict) else [value]
    if len(chosen) != 1 or not str(chosen[0] or "").strip():
        raise BadRow("object has no single label", str(attributes))
    return str(chosen[0]).strip()


def _box(region: dict, size: Size) -> Box:
    shape = region["shape_attributes"]
    match shape["name"]:
        case "rect":
            return objects.to_pixels([shape[name] for name in ("x", "y", "width", "height")], "xywh", size)
        case "circle":
            return objects.around(shape["cx"], shape["cy"], shape["r"], shape["r"])
        case "ellipse" if not shape.get("theta"):
            return objects.around(shape["cx"], shape["cy"], shape["rx"], shape["ry"])
        case "polygon":
            return objects.extent([*zip(shape["all_points_x"], shape["all_points_y"], strict=True)])
        case kind:
            raise objects.no_box(kind)
