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
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG")
IMAGE_FOLDERS = ("JPEGImages", "images")


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    annotations: str = "",
    images: str = "",
) -> common.Items:
    """Yield the questions of a VOC folder, of a folder of such folders, or of one list of images in `ImageSets/Main`.

    `annotations`: the folder of the XML files; default: `Annotations`, else the folder itself or the only one in it
    that holds XML files. Several are read if each has its pictures beside the XML files, as LabelImg and Roboflow write
    them. `images`: the folder of the pictures; default: `JPEGImages`, else `images`, beside the annotations, else that
    of the XML files, else the only other folder that holds pictures. Raises `InputError` if these are not there.
    """
    path = common.need_file(path, "a PASCAL VOC folder or of a list in its ImageSets/Main")
    if path.is_file():
        root = next((parent for parent in path.parents if (parent / "Annotations").is_dir()), None)
        if root is None and not annotations:
            raise InputError(f"{path}: no folder above holds Annotations; write annotations=FOLDER")
        listed = _listed(path, Path(annotations) if annotations or root is None else root / "Annotations")
    else:
        folders = [Path(annotations)] if annotations else _annotation_folders(path)
        listed = (file for folder in folders for file in common.files_in(folder, "*.xml"))
    entries = list(listed)
    names = _category_names(entry for entry in entries if isinstance(entry, Path))
    pictures = cache(lambda folder: Path(images) if images else _image_folder(folder))
    for entry in entries:
        if isinstance(entry, common.Rejected):
            yield entry
        else:
            yield from _read_annotation(entry, pictures(entry.parent), names, tasks)


def _annotation_folders(path: Path) -> list[Path]:
    """Return the folders with the XML files: by VOC's names, else by what they hold."""
    named = [path / "Annotations"] if (path / "Annotations").is_dir() else sorted(path.glob("*/Annotations"))
    if named:
        return named
    found = [folder for folder in (path, *sorted(path.iterdir())) if folder.is_dir() and any(folder.glob("*.xml"))]
    if len(found) > 1 and not all(map(_holds_pictures, found)):
        listed = ", ".join(folder.name for folder in found)
        raise InputError(f"{path}: several folders hold XML files ({listed}); choose one by annotations=FOLDER")
    if not found:
        holds = common.contents(path)
        raise InputError(f"{path} holds no Annotations folder and no XML files; {holds}; write annotations=FOLDER")
    return found


def _image_folder(annotations: Path) -> Path:
    """Return the folder of the pictures for the XML files of a folder."""
    root = annotations.parent
    named = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if named is not None or _holds_pictures(annotations):
        return named or annotations
    found = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _holds_pictures(folder)]
    if len(found) != 1:
        raise InputError(
            f"{annotations}: its pictures are not in {' or '.join(IMAGE_FOLDERS)} beside it, nor in one other folder; "
            f"in {root} {common.contents(root)}; write images=FOLDER"
        )
    return found[0]


def _holds_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


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
    if file.stat().st_size > MAX_ROW:
        return None
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, OSError, ValueError):  # LookupError: an unknown encoding
        return None
    return root if root.tag == "annotation" else None


def _name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _read_annotation(file: Path, images: Path, names: list[str], tasks: Collection[str]) -> common.Items:
    root = _parse(file)
    if root is None:
        empty = not file.stat().st_size
        yield common.Rejected(file=str(file), reason="file is empty" if empty else "file is not an XML annotation")
        return
    try:
        image = _image_path(images, file, root)
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


def _image_path(folder: Path, file: Path, root: ElementTree.Element) -> Path:
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
