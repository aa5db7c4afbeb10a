"""Label Studio: the JSON export, or JSON-MIN, of a project with labelled regions in pictures.

    [{"id": 1, "data": {"image": "/data/upload/3/8b7e0f12-a.jpg"}, "annotations": [{"id": 9, "was_cancelled": false,
      "ground_truth": false, "result": [
        {"id": "x1", "type": "rectanglelabels", "original_width": 640, "original_height": 480, "value": {
          "x": 12.5, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0, "rectanglelabels": ["Car"]}}]}]}, ...]

Coordinates are per cent of the picture's width and height, from 0 at its upper left corner; a rectangle is its corner
and its size, an ellipse its centre and its radii (Label Studio, "Units of image annotations"). A polygon becomes the
box around it. Rotated shapes, brush strokes and key points have no upright box. A region with two labels is two
objects.

Of a picture that several people annotated, the annotation that is marked as ground truth counts; without such a mark
the picture is rejected. Predictions are not read. Names of pictures may be addresses or uploads: the longest end of the
path that is in the folder of the pictures counts, with or without the eight characters that an upload is given.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects
from currreft_nb.data.reading.json_streams import Found, json_items

UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")


def read(
    path: Path | str, tasks: Collection[str] = ("detection", "classification"), *, images: str = "", image: str = ""
) -> common.Items:
    """Yield the questions of an export, or of each `*.json` in a folder.

    `images`: the folder of the pictures; default: `images` beside the file, or the file's folder. `image`: the field of
    `data` that names the picture; default: the only one that does. Raises `InputError`.
    """
    for file in common.input_files(path, "a JSON export of Label Studio", "*.json"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        places = [Path(images)] if images else [file.parent / "images", file.parent]
        writing = objects.Writing(
            source="label_studio", picture=partial(_picture, places, image), label=_label, box=_box
        )
        yield from objects.read_named(writing, partial(_rows, file), places, tasks)


def _rows(file: Path) -> Iterator[Found]:
    for number, (_, task) in enumerate(json_items(file), 1):
        rejected = common.Rejected(file=str(file), line=number, reason="task is not a JSON object")
        yield file, number, task if isinstance(task, dict) else rejected


def _picture(places: list[Path], field: str, row: dict, file: Path, line: int | None) -> objects.Annotated:
    regions = defaultdict(dict)  # type: defaultdict[Any, dict]
    for number, item in enumerate(_results(row)):
        # Rectangle and Labels in one configuration write a region twice: once with its shape, once with its labels
        part = item.get("value") or {name: item[name] for name in item if name not in ("id", "type")}
        regions[item.get("id") or number] |= part | {"kind": item.get("type", ""), "turned": item.get("image_rotation")}
    sizes = {(item["original_width"], item["original_height"]) for item in _results(row) if "original_width" in item}
    marks = [(None, region | {"label": label}) for region in regions.values() for label in _labels(region)]
    size = sizes.pop() if len(sizes) == 1 else None
    return objects.Annotated(image=_name(places, _named(row.get("data", row), field)), marks=marks, size=size)


def _results(row: dict) -> list[dict]:
    if "annotations" not in row:  # JSON-MIN: each control of the configuration is a field
        return [item for value in row.values() if isinstance(value, list) for item in value if "original_width" in item]
    made = [entry for entry in row["annotations"] if not entry.get("was_cancelled")]
    if not made:
        raise BadRow("task is not annotated, or was skipped", fault=False)
    true = [entry for entry in made if entry.get("ground_truth")] or made
    if len(true) > 1:
        raise BadRow("picture has several annotations, and none is marked as the ground truth", f"{len(true)}")
    return [item for item in true[0]["result"] if isinstance(item.get("value"), dict) and _is_region(item["value"])]


def _is_region(value: dict) -> bool:
    return not {"x", "points", "rle", "vertices"}.isdisjoint(value)  # else an answer about the whole picture


def _labels(region: dict) -> list[str]:
    """Return the labels of a region; one empty label if it has none, which is then rejected."""
    found = [region[name] for name in region if name.endswith("labels")] or [region.get("choices")]
    return [str(label).strip() for labels in found if isinstance(labels, list) for label in labels] or [""]


def _named(data: dict, field: str) -> str:
    """Return the field that names the picture."""
    fields = (
        [field] if field else [name for name, value in data.items() if _plain(value).suffix.lower() in objects.PICTURES]
    )
    if len(fields) != 1 or not isinstance(data.get(fields[0]), str):
        raise BadRow("no single field of data names the picture; write image=FIELD", ", ".join(map(str, data)))
    return str(data[fields[0]])


def _plain(value: Any) -> Path:
    """Return the path in an address, an upload or a local file (`/data/local-files/?d=a.jpg`)."""
    if not isinstance(value, str):
        return Path()
    if "://" not in value and not value.startswith("/data/"):
        return Path(value.replace("\\", "/"))
    parts = urlsplit(value)
    return Path(parse_qs(parts.query).get("d", [unquote(parts.path)])[0])


def _name(places: list[Path], text: str) -> str:
    """Return the picture's path; without the beginning of an upload's name if only such a file is there."""
    path = _plain(text)
    bare = UPLOADED.sub("", path.name)
    there = any((place / path.name).is_file() for place in places)
    return path.as_posix() if there or not any((place / bare).is_file() for place in places) else bare


def _label(region: dict) -> str:
    if not region["label"]:
        raise BadRow("object has no label")
    return str(region["label"])


def _box(region: dict, size: Size) -> Box:
    if region.get("rotation") or region.get("turned"):
        raise objects.no_box(f"rotated {region['kind']}")
    if "points" in region:
        return objects.to_pixels(_corners_as_size(objects.extent(region["points"])), "percent", size)
    if "radiusX" in region:
        box = objects.around(*(float(region[name]) for name in ("x", "y", "radiusX", "radiusY")))
        return objects.to_pixels(_corners_as_size(box), "percent", size)
    if "height" not in region:
        raise objects.no_box(region["kind"])
    return objects.to_pixels([region[name] for name in ("x", "y", "width", "height")], "percent", size)


def _corners_as_size(box: Box) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
