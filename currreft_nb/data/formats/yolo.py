"""YOLO text files: one for each picture, a line for each object, classes by number; data.yaml names classes and splits.

    data.yaml                 path: ../datasets/pets   train: images/train   val: images/val   names: {0: cat, 1: dog}
    images/train/1.jpg
    labels/train/1.txt        1 0.716 0.395 0.217 0.148          a box: class, centre, size
                              0 0.10 0.20 0.50 0.22 0.41 0.80    a polygon (segmentation): class, at least three points

Coordinates are shares of the picture's width and height, from 0 at its upper left corner; a box is its centre and its
size (Ultralytics, "Object Detection Datasets Overview"). A polygon becomes the box around it. With `kpt_shape` in
data.yaml a line goes on with key points, which are not used. The labels of `.../images/1.jpg` are in
`.../labels/1.txt`, or else beside the picture. A picture without a label file, or with an empty one, has no object; a
label file without a picture is rejected. Exact repetitions of a line count once, as in Ultralytics' own reader.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects
from currreft_nb.data.reading.json_streams import MAX_ROW, Found

SPLITS = ("train", "val", "test")
ALIASES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}  # folders, as Roboflow has them
LISTS = ("classes.txt", "obj.names", "labels.txt")  # the names of the classes, one a line: LabelImg, Darknet, CVAT


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    split: str = "",
    names: str = "",
    images: str = "",
) -> common.Items:
    """Yield the questions of a data.yaml, or of the folder that holds it, or of a folder of pictures and label files.

    `split`: train, val or test; default: all. `names`: the classes, with commas between them, or a file with one a
    line; default: those of data.yaml, or of classes.txt in the folder. `images`: the folder of the pictures, in place
    of those that data.yaml names. Raises `InputError`.
    """
    path = common.need_file(path, "data.yaml, or of the folder that holds it")
    root = path if path.is_dir() else path.parent
    config = _config(path)
    known = objects.name_list(names) if names else _class_names(config, root)
    if split:
        common.check_known(path, "split", split, SPLITS)
    folders = [(split, Path(images))] if images else _folders(config, root, path)
    writing = objects.Writing(
        source="yolo",
        picture=_picture,
        label=lambda mark: objects.class_name(mark[0], known),
        box=partial(_box, "kpt_shape" in config),
    )
    occurring, _ = objects.survey(writing, _pictures(root, folders, ""))
    listed = [name for name in known if name in occurring]
    plan = objects.Plan(found=lambda: _pictures(root, folders, split), find=Path, names=listed, tasks=tasks)
    yield from objects.read_pictures(writing, plan)


def _config(path: Path) -> dict[str, Any]:
    """Return the contents of data.yaml; none for a folder without such a file."""
    files = [path] if path.is_file() else sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    for file in files:
        try:
            found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.stat().st_size <= MAX_ROW else None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{file} is not YAML ({str(error).splitlines()[0]}); correct it") from None
        if isinstance(found, dict) and "names" in found:
            return found
    if path.is_file():
        raise InputError(f"{path} holds no names; give data.yaml, with train, val and names")
    return {}


def _class_names(config: dict[str, Any], root: Path) -> list[str]:
    found = config.get("names")
    if isinstance(found, dict):
        by_number = {str(number): name for number, name in found.items()}
        numbers = list(map(str, range(len(found))))
        if set(numbers) != by_number.keys():
            raise InputError(
                f"{root}: names in data.yaml are not numbered from 0 without a gap: {list(found)}; correct them"
            )
        found = [by_number[number] for number in numbers]
    if found is None:
        places = (place / name for place in (root, root / "labels") for name in LISTS)
        file = next((place for place in places if place.is_file()), None)
        found = objects.name_list(str(file)) if file else None
    if not isinstance(found, list) or not found:
        raise InputError(
            f"{root}: no data.yaml and no classes.txt names the classes; write names=cat,dog or names=FILE"
        )
    if config.get("nc", len(found)) != len(found):
        raise InputError(f"{root}: data.yaml has nc: {config['nc']}, but {len(found)} names; correct one of them")
    return [str(name).strip() for name in found]


def _folders(config: dict[str, Any], root: Path, path: Path) -> list[tuple[str, Path]]:
    """Return each folder or list of pictures with its split; without splits, the whole folder, whose split is "".

    Only places below the folder of data.yaml are read: its own paths often name another machine.
    """
    found = []
    for name in SPLITS:
        values = config.get(name) or []
        for value in values if isinstance(values, list) else [values]:
            ends = [f"{config.get('path') or ''}/{value}", str(value)]
            try:
                place = next((place for end in ends if (place := _below(root, end))), None)
            except BadRow as problem:
                raise InputError(f"{path}: {name}: {problem.value}") from None
            if place is None:
                raise InputError(f"{path}: {name}: {value} is not below {root}; write images=FOLDER&split={name}")
            found.append((name, place))
    return found or [("", root)]


def _below(root: Path, name: str) -> Path | None:
    """Return the folder or file that the longest end of the name, of two parts or the whole name, leads to."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..") and part[-1:] != ":"]
    for start in range(max(1, len(parts) - 1)):
        place = common.image_in(root, "/".join(parts[start:]))
        if place.exists():
            return place
    return None


def _pictures(root: Path, folders: list[tuple[str, Path]], wanted: str) -> Iterator[Found]:
    """Yield a row for each picture, with its label file where there is one, and reject labels without a picture."""
    for split, place in folders:
        if wanted and split not in ("", wanted):
            continue
        used = set[Path]()
        for file, line, image in _listed(root, place) if place.is_file() else _in_folder(place):
            if isinstance(image, common.Rejected):
                yield file, line, image
                continue
            labels = _label_file(image)
            used.add(labels)
            base = root if image.is_relative_to(root) else place
            row = {"image": image, "name": image.relative_to(base).as_posix(), "split": split or _split_in(image, root)}
            if not wanted or row["split"] == wanted:
                yield (labels, None, row | {"labels": labels}) if labels.is_file() else (file, line, row)
        for labels in sorted(_label_folder(place).rglob("*.txt")) if place.is_dir() else ():
            if labels not in used and _is_label_file(labels):
                yield labels, None, common.Rejected(file=str(labels), reason="image does not exist", value=labels.stem)


def _in_folder(place: Path) -> Iterator[tuple[Path, None, Path | common.Rejected]]:
    for file in common.files_in(place, "**/*"):
        if isinstance(file, common.Rejected):
            yield Path(file.file), None, file
        elif file.suffix.lower() in objects.PICTURES:
            yield file, None, file


def _listed(root: Path, place: Path) -> Iterator[tuple[Path, int, Path | common.Rejected]]:
    for number, line in enumerate(place.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            image = _below(root, line.strip())
            rejected = common.Rejected(file=str(place), line=number, reason="image does not exist", value=line.strip())
            yield place, number, image or rejected


def _label_file(image: Path) -> Path:
    """Return where the labels of a picture are: in `labels` in place of the last `images`, or else beside it."""
    swapped = _label_folder(image.parent) / f"{image.stem}.txt"
    return swapped if swapped.is_file() else image.with_suffix(".txt")


def _label_folder(folder: Path) -> Path:
    parts = list(folder.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _is_label_file(file: Path) -> bool:
    with file.open("rb") as stream:
        words = stream.readline(1000).split()
    return len(words) >= 5 and words[0].isdigit()


def _split_in(image: Path, root: Path) -> str:
    parts = image.relative_to(root).parts[:-1] if image.is_relative_to(root) else ()
    return next((name for part in parts if (name := ALIASES.get(part.lower(), part.lower())) in SPLITS), "")


def _picture(row: dict, file: Path, line: int | None) -> objects.Annotated:
    marks = dict[str, tuple[int, list[str]]]()  # by its text: a repeated line counts once
    if "labels" in row:
        if row["labels"].stat().st_size > MAX_ROW:
            raise BadRow("file is too long", f"more than {MAX_ROW} bytes")
        text = row["labels"].read_bytes().decode("utf-8-sig", "replace")
        for number, mark in enumerate(text.splitlines(), 1):
            if mark.strip():
                marks.setdefault(" ".join(mark.split()), (number, mark.split()))
    return objects.Annotated(image=row["image"], marks=[*marks.values()], split=row["split"], name=row["name"])


def _box(has_points: bool, mark: list[str], size: Size) -> Box:
    try:
        numbers = [float(value) for value in mark[1:]]
    except ValueError:
        raise BadRow("box has a coordinate that is missing or no number", " ".join(mark[:9])) from None
    if len(numbers) == 4 or (has_points and len(numbers) > 4):
        return objects.to_pixels(numbers[:4], "cxcywh_normalized", size)
    if len(numbers) < 6 or len(numbers) % 2:
        raise BadRow("line is neither a box of 4 numbers nor a polygon", f"{len(numbers)} numbers after the class")
    box = objects.extent(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return objects.to_pixels(list(box), "normalized", size)
