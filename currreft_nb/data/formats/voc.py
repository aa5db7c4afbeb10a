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
present, for labels and for "occurs exactly once", but are not asked for.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
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
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG")


def read(path: Path | str, tasks: Collection[str] = ("detection", "classification")) -> common.Items:
    """Yield the questions of a VOC folder, of a folder of such folders, or of one list of images in `ImageSets/Main`.

    A VOC folder holds `Annotations` and `JPEGImages`. Raises `InputError` for any other path.
    """
    path = common.need_file(path, "a PASCAL VOC folder or of a list in its ImageSets/Main")
    if path.is_file():
        root = next((parent for parent in path.parents if (parent / "Annotations").is_dir()), None)
        if root is None:
            raise InputError(f"{path}: no folder above holds Annotations; a list belongs in ImageSets/Main")
        listed = _listed(path, root)
    else:
        roots = [path] if (path / "Annotations").is_dir() else sorted(p.parent for p in path.glob("*/Annotations"))
        if not roots:
            raise InputError(f"{path} holds no Annotations folder; give the folder that does (VOC2007, VOC2012, ...)")
        listed = (file for root in roots for file in common.files_in(root / "Annotations", "*.xml"))
    entries = list(listed)
    names = _category_names(entry for entry in entries if isinstance(entry, Path))
    for entry in entries:
        yield from [entry] if isinstance(entry, common.Rejected) else _read_annotation(entry, names, tasks)


def _listed(path: Path, root: Path) -> Iterator[Path | common.Rejected]:
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
            file = inside(root, f"Annotations/{name}.xml")
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
    if file.stat().st_size > MAX_ROW:
        return None
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, OSError, ValueError):  # LookupError: an unknown encoding
        return None
    return root if root.tag == "annotation" else None


def _name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _read_annotation(file: Path, names: list[str], tasks: Collection[str]) -> common.Items:
    root = _parse(file)
    if root is None:
        empty = not file.stat().st_size
        yield common.Rejected(file=str(file), reason="file is empty" if empty else "file is not an XML annotation")
        return
    try:
        image = _image_path(file, root)
        size = _recorded_size(root) or image_size(image)
    except BadRow as problem:
        yield common.Rejected(file=str(file), reason="image does not exist or cannot be read", value=str(problem))
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


def _image_path(file: Path, root: ElementTree.Element) -> Path:
    folder = file.parent.parent / "JPEGImages"
    name = (root.findtext("filename") or "").strip()
    paths = [common.image_in(folder, name)] if name else []
    paths += [common.image_in(folder, f"{file.stem}{suffix}") for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


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
