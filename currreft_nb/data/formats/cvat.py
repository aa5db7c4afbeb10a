"""CVAT for images 1.1: one XML file with the shapes in every picture of a task or a project.

    <annotations>
      <version>1.1</version>
      <meta>...</meta>
      <image id="0" name="a.jpg" subset="Train" width="640" height="480">
        <box label="dog" source="manual" occluded="0" xtl="120.5" ytl="30.0" xbr="300.0" ybr="200.2" z_order="0"/>
        <polygon label="cat" points="10.0,20.0;60.5,20.0;40.0,70.2"/>
      </image>
    </annotations>

Coordinates are pixels from 0 at the picture's upper left corner; a box is its upper left and its lower right corner
(CVAT, "XML annotation format"). A polygon, an upright ellipse and a mask become the box around them. Rotated shapes,
lines, points, cuboids and skeletons have no upright box. The pictures are in `images` beside the file, as CVAT exports
them, or beside the file. "CVAT for video" has tracks in place of pictures and is refused.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers import expat

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects
from currreft_nb.data.reading.json_streams import CHUNK, Found

SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton")


def read(
    path: Path | str, tasks: Collection[str] = ("detection", "classification"), *, images: str = ""
) -> common.Items:
    """Yield the questions of an `annotations.xml`, or of each `*.xml` in a folder.

    `images`: the folder of the pictures; default: `images` beside the file, or the file's folder. Raises `InputError`.
    """
    for file in common.input_files(path, "a file that CVAT exported (annotations.xml)", "*.xml"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        places = [Path(images)] if images else [file.parent / "images", file.parent]
        writing = objects.Writing(source="cvat", picture=_picture, label=_label, box=_box)
        yield from objects.read_named(writing, partial(_rows, file), places, tasks)


class _Reader:
    """Collects what an XML file says, picture by picture; `rows` are the pictures read so far."""

    def __init__(self, file: Path):
        self.file, self.rows, self.path = file, list[Found](), list[str]()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end
        self.parser.EntityDeclHandler = self.refuse
        self.row: dict[str, Any] | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin a picture or a shape."""
        if tag != "annotations" and not self.path:
            raise InputError(f"{self.file} begins with <{tag}>, not <annotations>; export 'CVAT for images 1.1'")
        if tag == "track":
            raise InputError(f"{self.file} holds tracks ('CVAT for video'); export 'CVAT for images 1.1'")
        self.path.append(tag)
        line = self.parser.CurrentLineNumber
        if tag == "image":
            self.row = attributes | {"line": line, "shapes": []}
        elif self.row is not None and tag in SHAPES and len(self.path) == 3:
            self.row["shapes"].append((line, attributes | {"tag": tag}))

    def end(self, tag: str) -> None:
        """Finish a picture."""
        if tag == "image" and self.row is not None:
            self.rows.append((self.file, self.row["line"], self.row))
            self.row = None
        self.path.pop()

    def refuse(self, *entity: Any) -> None:
        """Refuse entities, which may grow without bound or name other files; CVAT writes none."""
        raise InputError(f"{self.file} declares entities; export it from CVAT again")


def _rows(file: Path) -> Iterator[Found]:
    """Yield each picture when its end is read. Raises `InputError` if the file is damaged."""
    reader = _Reader(file)
    with file.open("rb") as stream:
        data = b"begin"
        while data:
            data = stream.read(CHUNK)
            try:
                reader.parser.Parse(data, not data)
            except (expat.ExpatError, ValueError, LookupError) as error:
                raise InputError(f"{file} is not XML, or damaged ({error}); export it again") from None
            yield from reader.rows
            reader.rows.clear()


def _picture(row: dict, file: Path, line: int | None) -> objects.Annotated:
    size = (int(row["width"]), int(row["height"]))
    return objects.Annotated(image=row["name"], marks=row["shapes"], size=size, split=row.get("subset", ""))


def _label(shape: dict) -> str:
    if not shape["label"].strip():
        raise BadRow("object has no label")
    return str(shape["label"]).strip()


def _box(shape: dict, size: Size) -> Box:
    tag = shape["tag"]
    if float(shape.get("rotation") or 0) % 360:
        raise objects.no_box(f"rotated {tag}")
    if tag == "polygon":
        return objects.extent([[float(n) for n in point.split(",")] for point in shape["points"].split(";")])
    fields = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}
    if tag == "mask":
        return objects.to_pixels([float(shape[name]) for name in ("left", "top", "width", "height")], "xywh", size)
    if tag not in fields:
        raise objects.no_box(tag)
    a, b, c, d = (float(shape[name]) for name in fields[tag])
    return (a, b, c, d) if tag == "box" else objects.around(a, b, c, d)
