"""Annotated pictures in any format: shapes become boxes in pixels, and boxes with labels become questions.

A format says by functions how it writes an annotation (`Writing`), and yields the rows that annotate a picture each. A
first pass over the rows collects the labels and the names of pictures. A classification question lists the labels that
occur: one that nothing is annotated with would be a wrong answer that gives itself away. A picture that several rows
annotate is rejected, because "the dog" may be the only one in one of them alone.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size, scale
from currreft_nb.core.samples import Sample
from currreft_nb.data.images import BadRow, ImageProblem, image_size
from currreft_nb.data.reading import common
from currreft_nb.data.reading.common import AnnotatedObject, Items, Rejected
from currreft_nb.data.reading.json_streams import Found

UNUSABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)  # of an unexpected form
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
FORMS = {  # how four numbers are a box: what they are, and how many units a side of the image has (None: pixels)
    "xyxy": ("corners", None),
    "xywh": ("corner and size", None),
    "cxcywh": ("centre and size", None),
    "normalized": ("corners", 1),
    "xywh_normalized": ("corner and size", 1),
    "cxcywh_normalized": ("centre and size", 1),
    "thousand": ("corners", 1000),
    "percent": ("corner and size", 100),
}


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The annotations of one picture, each with its line or None; `image` is how the format names the picture.

    `size`: the recorded (width, height) in pixels, or None. `split`: the set's own split, or "". `name`: the picture's
    name in ids; default: `image` if that is a text, else the file's name and the line.
    """

    image: Any
    marks: Sequence[tuple[int | None, Any]]
    size: Size | None = None
    split: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a format writes: `picture(row, file, line)`, and of an annotation `label(mark)` and `box(mark, size)`.

    `box` returns (x1, y1, x2, y2) in pixels of an image of `size`. `flags`: `crowd` and `ask` of an `AnnotatedObject`.
    `label` and `box` raise `BadRow` for an annotation that has none; a label without a box counts as present.
    """

    source: str
    picture: Callable[[dict, Path, int | None], Annotated]
    label: Callable[[Any], str]
    box: Callable[[Any, Size], Box]
    flags: Callable[[Any], dict[str, bool]] = lambda mark: {}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is read of a set: the rows, how a picture is found by its name, the categories, the tasks."""

    found: Callable[[], Iterator[Found]]
    find: Callable[[Any], Path]
    names: list[str]
    tasks: Collection[str]
    repeated: Collection[str] = ()


def survey(writing: Writing, found: Iterator[Found]) -> tuple[list[str], Counter[str]]:
    """Return the sorted labels of all annotations, and how many rows annotate each picture."""
    labels, images = set[str](), Counter[str]()

    def note(row: dict, file: Path, line: int | None) -> Iterator[Sample | Rejected]:
        entry = writing.picture(row, file, line)
        images[str(entry.image)] += 1
        for _, mark in entry.marks:
            try:
                labels.add(writing.label(mark))
            except (BadRow, *UNUSABLE):
                continue  # reported when the picture is read
        yield from ()

    for _ in common.read_rows(found, note, ""):
        pass
    return sorted(labels), images


def read_named(
    writing: Writing,
    found: Callable[[], Iterator[Found]],
    places: list[Path],
    tasks: Collection[str],
) -> Items:
    """Yield the questions of a set that names its pictures, which are in one of the `places`.

    Raises `InputError` if none of the pictures is there.
    """
    labels, images = survey(writing, found())
    find = partial(find_picture, places, Counter(_parts(name)[-1] for name in images))
    if images and not any(_is_there(find, name) for name in images):
        listed = ", ".join(map(str, places))
        first = next(iter(images))
        raise InputError(f"none of the {len(images)} pictures, such as {first}, is in {listed}; write images=FOLDER")
    repeated = {name for name, count in images.items() if count > 1}
    plan = Plan(found=found, find=find, names=labels, tasks=tasks, repeated=repeated)
    yield from read_pictures(writing, plan)


def read_pictures(writing: Writing, plan: Plan) -> Items:
    """Yield the questions about each picture; see `common.object_samples`."""
    yield from common.read_rows(plan.found(), partial(_read_picture, writing, plan), "an annotated picture")


def _read_picture(writing: Writing, plan: Plan, row: dict, file: Path, line: int | None) -> Items:
    entry = writing.picture(row, file, line)
    if str(entry.image) in plan.repeated:
        raise BadRow("picture is annotated in several places", str(entry.image))
    image = plan.find(entry.image)
    size = image_size(image)
    if entry.size and sorted(entry.size) != sorted(size):  # a turned picture may be annotated as it was stored
        raise BadRow("image size differs from the recorded size", f"{size}, recorded {entry.size}")
    size = entry.size or size
    things = yield from _read_marks(writing, entry, size, file, line)
    name = entry.name or (entry.image if isinstance(entry.image, str) else f"{file.stem}-{line}")
    about = {"source": writing.source, "image": str(image), "size": size, "split": "train"}
    note = common.origin(file, line) | ({"split": entry.split} if entry.split else {})
    yield from common.object_samples(things, f"{writing.source}-{name}", plan.names, plan.tasks, file, about, note)


def _read_marks(
    writing: Writing, entry: Annotated, size: Size, file: Path, line: int | None
) -> Generator[Rejected, None, list[AnnotatedObject]]:
    things = []
    for number, (own, mark) in enumerate(entry.marks, 1):
        place: dict[str, Any] = {"file": str(file), "line": line if own is None else own}
        label, box, flags = "", None, dict[str, bool]()
        try:
            label, flags = writing.label(mark), writing.flags(mark)
            box = common.fit_box(writing.box(mark, size), size)
        except BadRow as problem:
            about = ", ".join(part for part in (f"object {number}", label, problem.value) if part)
            yield Rejected(reason=problem.reason, value=about, fault=problem.fault, **place)
        except UNUSABLE as error:
            about = ", ".join(part for part in (f"object {number}", label, f"{error!r}: {mark}") if part)
            yield Rejected(reason="annotation lacks a field or has another form", value=about, **place)
        if label:
            things.append(AnnotatedObject(label=label, box=box, **flags))
    return things


def find_picture(places: list[Path], bare: Counter[str], name: str) -> Path:
    """Return the file of a picture by the longest end of its path that is in one of the places.

    The file's name alone, without a folder, decides only if no other picture of the set has it (`bare` counts them).
    Raises `ImageProblem` if there is no such file, or if two places have different ones.
    """
    parts = _parts(name)
    for start in range(len(parts)):
        if start == len(parts) - 1 and start and bare[parts[-1]] > 1:
            break
        end = "/".join(parts[start:])
        if paths := [path for place in places if (path := common.image_in(place, end)).is_file()]:
            return common.only_file(paths, str(name))
    raise ImageProblem("image does not exist", str(name))


def _parts(name: str) -> list[str]:
    """Return the parts of a path of any system, without drive, `.` and `..` at its beginning."""
    parts = [part for part in str(name).replace("\\", "/").split("/") if part not in ("", ".")]
    while len(parts) > 1 and (parts[0] == ".." or parts[0].endswith(":")):
        del parts[0]
    return parts or [""]


def _is_there(find: Callable[[Any], Path], name: str) -> bool:
    try:
        return find(name).is_file()
    except BadRow:
        return False


def to_pixels(numbers: Any, form: str, size: Size) -> Box:
    """Return four numbers as corners in pixels of an image of (width, height); `form` is one of `FORMS`.

    >>> to_pixels([0.5, 0.5, 0.2, 0.4], "cxcywh_normalized", (100, 50))
    (40.0, 15.0, 60.0, 35.0)
    """
    a, b, c, d = common.four_numbers(numbers)
    order, units = FORMS[form]
    box: Box = (a, b, c, d)
    if order == "corner and size":
        box = (a, b, a + c, b + d)
    elif order == "centre and size":
        box = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    return tuple(round(value, 4) for value in (scale(box, (units, units), size) if units else box))


def extent(points: Sequence[Sequence[float]], least: int = 3) -> Box:
    """Return the smallest upright box around at least `least` points (x, y).

    >>> extent([[1, 5], [4, 2], [3, 9]])
    (1, 2, 4, 9)
    """
    if len(points) < least:
        raise BadRow(f"shape has fewer than {least} points", str(points))
    if not all(math.isfinite(value) for point in points for value in point):
        raise BadRow("box has a coordinate that is not finite")
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


def around(x: float, y: float, radius_x: float, radius_y: float) -> Box:
    """Return the box around a circle or an upright ellipse."""
    return (x - radius_x, y - radius_y, x + radius_x, y + radius_y)


def no_box(kind: str) -> BadRow:
    """Return the problem with a line, a point or another shape that has no box; no fault."""
    return BadRow("shape has no upright box", kind, fault=False)


def name_list(text: str) -> list[str]:
    """Return the categories of an option: names with commas between them, or a text file with one in each line."""
    if os.path.isfile(text):  # a long list of names is no path, which Path.is_file would complain about
        return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    return [name.strip() for name in text.split(",") if name.strip()]


def class_name(value: Any, names: list[str]) -> str:
    """Return the category of a text, or of a number that counts `names` from 0. Raises `BadRow`.

    >>> class_name(1, ["cat", "dog"]), class_name("1", ["cat", "dog"]), class_name("cat", [])
    ('dog', 'dog', 'cat')
    """
    if isinstance(value, str) and (value in names or not names) and value.strip():
        return value.strip()
    if not names and isinstance(value, int | float):
        raise BadRow("class is a number and has no name; write names=cat,dog or names=FILE", str(value))
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadRow("object has no label" if value in (None, "") else "class is unknown", str(value)) from None
    if not number.is_integer() or not 0 <= number < len(names):
        raise BadRow("class number is unknown", f"{value} of {len(names)} classes")
    return names[int(number)]
