"""PASCAL VOC annotations: one XML file per image, lists of images in ImageSets.

    <annotation>
      <filename>2007_000063.jpg</filename>
      <size><width>500</width><height>375</height><depth>3</depth></size>
      <object>
        <name>dog</name><difficult>0</difficult>
        <bndbox><xmin>123</xmin><ymin>115</ymin><xmax>379</xmax><ymax>275</ymax></bndbox>
      </object>
    </annotation>

Coordinates count pixels from 1 and include the last one (VOC development kit); they are converted here to half-open
boxes from 0: (122, 114, 379, 275). Children may be in any order and coordinates may be fractions. Only the name
directly below an object is its category: owners and body parts have names, too. Objects marked as difficult count as
present, for labels and for "occurs exactly once", but are not asked for. An annotation whose <filename> and own name
are two different pictures is rejected.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import inside
from currreft_nb.data.images import BadRow, image_size
from currreft_nb.data.reading import common
from currreft_nb.data.reading.json_streams import MAX_ROW

CATEGORIES = """aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
pottedplant sheep sofa train tvmonitor"""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".JPG", ".JPEG", ".PNG")
NOT_XML, EMPTY, TWO_IMAGES = "file is not an XML annotation", "file is empty", "annotation may be of two images"
ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)""")
PARSED = ("utf-8", "utf-16", "iso-8859-1", "us-ascii")  # what the XML parser reads by itself


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    annotations: str = "",
    images: str = "",
) -> common.Items:
    """Yield the questions of a VOC folder, of a folder of such folders, or of one list of images in `ImageSets/Main`.

    `annotations`: the folder of the XML files; default: `Annotations`, else the folder itself or the only one in it
    that holds XML files, or all of these if each has its pictures beside the XML files, as Roboflow writes them.
    `images`: the folder of the pictures; default: `JPEGImages` or `images` beside the folder of the XML files, or that
    folder itself, or the only other folder that holds pictures. Raises `InputError` if these are not there.
    """
    path = common.need_file(path, "a PASCAL VOC folder or of a list in its ImageSets/Main")
    if path.is_file():
        listed = _listed(path, Path(annotations) if annotations else _folder_above(path))
    else:
        folders = [Path(annotations)] if annotations else _annotation_folders(path)
        listed = (file for folder in folders for file in common.files_in(folder, "*.xml"))
    entries = list(listed)
    names = _category_names(entry for entry in entries if isinstance(entry, Path))
    places = cache(lambda folder: [Path(images)] if images else _picture_folders(folder))
    for entry in entries:
        if isinstance(entry, common.Rejected):
            yield entry
        else:
            yield from _read_annotation(entry, names, tasks, places(entry.parent))


def _folder_above(file: Path) -> Path:
    root = next((parent for parent in file.parents if (parent / "Annotations").is_dir()), None)
    if root is None:
        raise InputError(f"{file}: no folder above holds Annotations; write annotations=FOLDER")
    return root / "Annotations"


def _annotation_folders(path: Path) -> list[Path]:
    """Return the folders of XML files in a folder: its own, those of VOC folders, or those that hold such files."""
    if (path / "Annotations").is_dir():
        return [path / "Annotations"]
    if any(path.glob("*.xml")):
        return [path]
    if found := sorted(path.glob("*/Annotations")):
        return found
    found = sorted({file.parent for file in path.glob("*/*.xml")})
    if len(found) == 1 or (found and all(map(_holds_pictures, found))):
        return found
    there = f"XML files in {', '.join(folder.name for folder in found)}" if found else "no XML files"
    raise InputError(
        f"{path} holds no Annotations folder, but {there}; give the folder of the XML files, or write "
        f"annotations=FOLDER and images=FOLDER ({common.contents(path)})"
    )


def _picture_folders(annotations: Path) -> list[Path]:
    """Return the folders that may hold the pictures of a folder of XML files."""
    root = annotations.parent
    named = [folder for folder in (root / "JPEGImages", root / "images") if folder.is_dir()]
    if named or _holds_pictures(annotations):
        return [*named, annotations]
    found = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _holds_pictures(folder)]
    if len(found) > 1:
        listed = ", ".join(folder.name for folder in found)
        raise InputError(f"{annotations}: its pictures may be in {listed}; choose one by images=FOLDER")
    return found or [annotations]


def _holds_pictures(folder: Path) -> bool:
    return any(file.suffix in SUFFIXES for file in folder.iterdir())


def _listed(path: Path, annotations: Path) -> Iterator[Path | common.Rejected]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; write one image name per line") from None
    if not text.strip():
        yield common.Rejected(file=str(path), reason="file is empty")
    for number, line in enumerate(text.splitlines(), 1):
        name, *flag = line.split() or [""]
        if not name or flag == ["-1"]:  # a list for one category marks the images without it by -1
            continue
        place: dict[str, Any] = {"file": str(path), "line": number, "value": name}
        try:
            file = inside(annotations, f"{name}.xml")
        except InputError:
            yield common.Rejected(reason="file is outside of its folder, or a link out of it", **place)
            continue
        yield file if file.is_file() else common.Rejected(reason="annotation does not exist", **place)


def _category_names(files: Iterator[Path]) -> list[str]:
    """Return the vocabulary: VOC's twenty categories if no other occurs, else those that occur."""
    found: set[str] = set()
    for file in files:
        root = _parse(file)
        found.update(_name(item) for item in ([] if root is None else root.iterfind("object")))
    found.discard("")
    known = CATEGORIES.split()
    return known if found <= set(known) else sorted(found)


def _parse(file: Path) -> ElementTree.Element | None:
    """Return the annotation, or None if the file is none."""
    try:
        return _root(file)
    except BadRow:
        return None


def _root(file: Path) -> ElementTree.Element:
    """Return the annotation. Raises `BadRow`."""
    if not 0 < file.stat().st_size <= MAX_ROW:
        raise BadRow(NOT_XML, f"it has more than {MAX_ROW} bytes") if file.stat().st_size else BadRow(EMPTY)
    try:
        root = ElementTree.fromstring(_readable(file.read_bytes()))
    except (ElementTree.ParseError, LookupError, OSError, ValueError) as error:
        raise BadRow(NOT_XML, str(error)) from None
    if root.tag != "annotation":
        raise BadRow(NOT_XML, f"it holds <{root.tag}>")
    return root


def _readable(data: bytes) -> bytes | str:
    """Return the XML, decoded if it declares an encoding that Python knows and the XML parser does not, such as gb2312.

    Raises `BadRow` if it is not in that encoding.
    """
    declared = ENCODING.match(data)
    if declared is None or (name := declared[1].decode().lower()) in PARSED:
        return data
    try:
        return data.decode(
            "gb18030" if name in ("gb2312", "gbk") else name
        )  # which contains them, and is what is meant
    except (LookupError, UnicodeDecodeError) as error:
        raise BadRow(NOT_XML, f"it declares the encoding {name}: {error}; save it as UTF-8") from None


def _name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _read_annotation(file: Path, names: list[str], tasks: Collection[str], places: list[Path]) -> common.Items:
    try:
        root = _root(file)
        image = _image_path(file, root, places)
        size = _recorded_size(root) or image_size(image)
    except BadRow as problem:
        if problem.reason in (NOT_XML, EMPTY, TWO_IMAGES, common.TWO_FILES):
            reason, value = problem.reason, problem.value
        else:
            reason, value = "image does not exist or cannot be read", str(problem)
        yield common.Rejected(file=str(file), reason=reason, value=value)
        return
    things = []
    for number, item in enumerate(root.iterfind("object"), 1):
        box, name = None, _name(item)
        try:
            if not name:
                raise BadRow("object has no name")
            box = _read_box(item, size)
        except BadRow as problem:
            yield common.Rejected(file=str(file), reason=problem.reason, value=f"object {number}, {name or 'no name'}")
        if name:
            difficult = (item.findtext("difficult") or "0").strip() == "1"
            things.append(common.AnnotatedObject(label=name, box=box, ask=not difficult))
    about = {"source": "voc", "image": str(image), "size": size, "split": "train"}
    yield from common.object_samples(things, f"voc-{file.stem}", names, tasks, file, about)


def _image_path(file: Path, root: ElementTree.Element, places: list[Path]) -> Path:
    """Return the picture that <filename> or the annotation's own name tells; raises `BadRow` if they tell two."""
    written = (root.findtext("filename") or "").strip()
    named, own = ([path for place in places for path in _existing(place, name)] for name in (written, file.stem))
    others = [path for path in own if path.stem not in {path.stem for path in named}]
    if named and others:
        why = f"<filename> says {written}, the annotation is {file.name}, and both {named[0]} and {others[0]} exist"
        raise BadRow(TWO_IMAGES, f"{why}; correct <filename>, or remove it")
    missing = common.image_in(places[0], written or f"{file.stem}.jpg")  # which the check of pictures reports
    return common.only_file(named or own, written or file.stem) if named or own else missing


def _existing(folder: Path, name: str) -> list[Path]:
    """Return the files of that name in the folder; a name without a suffix gets those of pictures."""
    suffixes = ("",) if Path(name).suffix in SUFFIXES or not name else ("", *SUFFIXES)
    names = [name + suffix for suffix in suffixes if os.path.isfile(os.path.join(folder, name + suffix))]
    return [common.image_in(folder, found) for found in names]


def _recorded_size(root: ElementTree.Element) -> Size | None:
    """Return (width, height), or None if the annotation has none (some tools write 0)."""
    try:
        width, height = (int(root.findtext(f"size/{name}") or 0) for name in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _read_box(item: ElementTree.Element, size: Size) -> tuple[float, ...]:
    try:
        xmin, ymin, xmax, ymax = (float(item.findtext(f"bndbox/{k}") or "") for k in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        raise BadRow("box has a coordinate that is missing or no number") from None
    if xmin >= xmax or ymin >= ymax:  # a single pixel is an annotator's stray click, not an object
        raise BadRow("box is empty or reversed")
    return common.fit_box((xmin - 1, ymin - 1, xmax, ymax), size)
