"""Open Images: a CSV file of boxes, a line each, and one that names the classes.

    train-annotations-bbox.csv
        ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
        000002b66c9c498e,xclick,/m/01g317,1,0.012500,0.195312,0.148438,0.587500,0,1,0,0,0
    class-descriptions-boxable.csv
        /m/01g317,Person

Coordinates are shares of the picture's width and height, from 0 at its upper left corner (Open Images, "Data formats").
`IsGroupOf` is one box around more than five objects: a crowd, which is never asked for. `IsInside` is a picture from
the inside of the object, and not asked for either. Detection only: in Open Images a class that has no box may still be
in the picture, so that "which classes are in it" has no certain answer. All lines of a picture follow each other.
"""

from collections.abc import Collection, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects
from currreft_nb.data.reading.json_streams import Found, csv_rows

SPLITS = ("train", "validation", "test")
CLASSES = "*class-descriptions*.csv"


def read(
    path: Path | str, tasks: Collection[str] = ("detection",), *, images: str = "", classes: str = ""
) -> common.Items:
    """Yield the detection questions of a file of boxes, or of each `*annotations-bbox*.csv` in a folder.

    `images`: the folder of the pictures (ImageID.jpg); default: train, validation or test, images, or that of the file.
    `classes`: the file that names the classes; default: the only `*class-descriptions*.csv` beside it or one folder
    above. Raises `InputError`.
    """
    if "detection" not in tasks:
        return
    for file in common.input_files(path, "a file of boxes of Open Images", "*annotations-bbox*.csv"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        split = next((name for name in SPLITS if name in file.name), "")
        roots = [file.parent / "images", file.parent, file.parent.parent / "images", file.parent.parent]
        places = [Path(images)] if images else [*(root / split for root in roots if split), *roots]
        label = partial(_label, _class_names(file, classes))
        writing = objects.Writing(
            source="open_images", picture=partial(_picture, split), label=label, box=_box, flags=_flags
        )
        yield from objects.read_named(writing, partial(_rows, file), places, ["detection"])


def _class_names(file: Path, classes: str) -> dict[str, str]:
    found = [Path(classes)] if classes else [*file.parent.glob(CLASSES)] or [*file.parent.parent.glob(CLASSES)]
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{file}: needs the file that names its classes, and found {listed}; write classes=FILE")
    lines = common.need_file(found[0], "class-descriptions-boxable.csv").read_text(encoding="utf-8-sig").splitlines()
    return {id: name.strip().strip('"') for id, _, name in (line.partition(",") for line in lines)}


def _rows(file: Path) -> Iterator[Found]:
    """Yield the lines about one picture as one row."""
    for image, group in groupby(csv_rows(file), lambda found: _image_id(found[2], file)):
        lines = list(group)
        if image is None:
            yield from lines
        else:
            yield file, lines[0][1], {"image": image, "lines": [(line, row) for _, line, row in lines]}


def _image_id(row: dict | common.Rejected, file: Path) -> str | None:
    if isinstance(row, common.Rejected):
        return None
    if missing := [name for name in ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax") if name not in row]:
        raise InputError(f"{file}: no column {missing[0]!r}; columns are: {', '.join(row)}; give a file of boxes")
    return str(row["ImageID"])


def _picture(split: str, row: dict, file: Path, line: int | None) -> objects.Annotated:
    return objects.Annotated(image=f"{row['image']}.jpg", marks=row["lines"], split=split)


def _label(names: dict[str, str], row: dict) -> str:
    if row["LabelName"] not in names:
        raise BadRow("class has no name", row["LabelName"])
    return names[row["LabelName"]]


def _flags(row: dict) -> dict[str, bool]:
    return {"crowd": row.get("IsGroupOf") == "1", "ask": row.get("IsInside") != "1"}


def _box(row: dict, size: Size) -> Box:
    try:
        numbers = [float(row[name]) for name in ("XMin", "YMin", "XMax", "YMax")]
    except ValueError:
        raise BadRow("box has a coordinate that is missing or no number") from None
    return objects.to_pixels(numbers, "normalized", size)
