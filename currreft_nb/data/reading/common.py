"""Parts that the readers of data formats share: rejections, annotated objects, files, images and boxes.

Each module of `data.formats` has a reader: a generator `read(path, tasks, *, ...)` that yields samples and rejections.
Its keyword arguments are the options of the format, given as text. `data.sources.READERS` holds the readers by name.
In this package `json_streams` reads lines and documents, and `tables` reads tables of every kind.
"""

import filecmp
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.answers import Unreadable
from currreft_nb.core.boxes import Box, Size, clip
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.samples import Sample, inside
from currreft_nb.data.images import BadRow, ImageProblem, image_size
from currreft_nb.tasks.classification import normalise

EDGE_PX = 1.0  # a box may leave its image by one pixel (0-based or 1-based, rounding) and is then clipped
LISTED_CATEGORIES = 40  # COCO's own vocabulary, which is longer, is not listed in the question
LISTED, COUNTED = 8, 10_000  # in messages: kinds of files and folders, and files of each folder that are counted
TWO_FILES = "image may be one of two files"
SHOWN = 500  # characters of the details of a rejection, which may list the columns of a table


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row, object or file that a reader or a check left out.

    `line` is the number of the line, or of the record in a file without lines. Equal causes have an equal `reason`;
    `value` has the details. `fault`: true for damaged data, which can stop a run, false for what makes no question.
    """

    file: str
    reason: str
    line: int | None = None
    value: str = ""
    fault: bool = True

    def __post_init__(self) -> None:
        if len(self.value) > SHOWN:
            object.__setattr__(self, "value", self.value[: SHOWN - 1] + "…")

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}" + (f" ({self.value})" if self.value else "")


Items = Iterator[Sample | Rejected]


@dataclass(frozen=True, kw_only=True)
class AnnotatedObject:
    """One annotated object; `box`: None if unusable, `crowd`: it is several objects, `ask`: it is not difficult."""

    label: str
    box: Box | None
    crowd: bool = False
    ask: bool = True


def read_rows(
    rows: Iterable[tuple[Path, int | None, dict | Rejected]], make: Callable[[dict, Path, int | None], Any], what: str
) -> Items:
    """Yield what `make(row, file, line)` yields for each row, or its rejection; `what` names the kind of row."""
    for file, line, row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        place: dict[str, Any] = {"file": str(file), "line": line}
        try:
            yield from make(row, file, line)
        except BadRow as problem:
            yield Rejected(reason=problem.reason, value=problem.value, fault=problem.fault, **place)
        except Unreadable as problem:
            yield Rejected(reason=f"answer cannot be read ({problem.reason})", **place)
        except KeyError as error:
            yield Rejected(reason="row lacks a field", value=str(error), **place)
        except (InputError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
            yield Rejected(reason=f"row is not {what}", value=str(error), **place)


def origin(file: Path, line: int | None = None) -> dict:
    """Return the entry of a sample's `extra` that names the file and line it comes from."""
    return {"origin": {"file": file.name, "line": line}}


def image_folder(path: Path | str, images: str) -> Path:
    """Return the folder that image paths start from: `images`, or that of the table or of the folder of tables."""
    return Path(images) if images else Path(path) if Path(path).is_dir() else Path(path).parent


def shown(image: Path | None) -> dict[str, Any]:
    """Return the fields of a sample that its image sets. Raises `ImageProblem`."""
    return {"image": str(image), "size": image_size(image)} if image else {}


def later_questions(count: int, file: Path, line: int) -> Iterator[Rejected]:
    """Yield the rejections of the questions of a conversation after the first."""
    for _ in range(count):
        yield Rejected(file=str(file), line=line, reason="question needs the conversation before it", fault=False)


def image_in(folder: Path, name: str) -> Path:
    """Return the path of an image that a row names; raises `BadRow` if it leaves the folder by `..` or a link."""
    try:
        return inside(folder, name)
    except InputError as problem:
        raise BadRow("image path leads out of the image folder", str(problem)) from None


def first_image(folders: Iterable[Path], name: str) -> Path:
    """Return the named image in the only one of the folders that has it; copies of one file count as one.

    Raises `ImageProblem` if none has it, or if two of them have different files of that name.
    """
    return only_file([path for folder in folders if (path := image_in(folder, name)).is_file()], name)


def only_file(paths: Sequence[Path], name: str) -> Path:
    """Return the first path, if all paths hold the same file; raises `ImageProblem` naming two that differ."""
    for other in paths[1:]:
        if not (other.samefile(paths[0]) or filecmp.cmp(other, paths[0], shallow=False)):
            raise ImageProblem(TWO_FILES, f"{name}: {paths[0]} or {other}; remove or rename one")
    if not paths:
        raise ImageProblem("image does not exist", name)
    return paths[0]


def files_in(folder: Path, *patterns: str, trusted: bool = False) -> Sequence[Path | Rejected]:
    """Return the files that match a pattern, sorted; reject files outside of the folder unless it is `trusted`."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if trusted:
        return found
    ground = folder.resolve()
    out = "file is outside of its folder, or a link out of it"
    return [p if p.resolve().is_relative_to(ground) else Rejected(file=str(p), reason=out) for p in found]


def input_files(path: Path | str, what: str, *patterns: str) -> Sequence[Path | Rejected]:
    """Return the file `path`, or the files in that folder that match a pattern. Raises `InputError` if there are none.

    `what` names the expected files in the error message.
    """
    path = need_file(path, what)
    files = [path] if path.is_file() else files_in(path, *patterns)
    if not files:
        raise InputError(f"{path} holds no {' or '.join(patterns)}; {contents(path)}; give the path of {what}")
    return files


def contents(folder: Path) -> str:
    """Return in words what a folder holds: its files by kind, and each folder with its most frequent kind of file."""
    entries = sorted(folder.iterdir())
    kinds = Counter(entry.suffix or entry.name for entry in entries if entry.is_file())
    found = [f"{count} {kind}" for kind, count in kinds.most_common(LISTED)]
    for inner in [entry for entry in entries if entry.is_dir()][:LISTED]:
        kinds = Counter(file.suffix for file in islice(inner.rglob("*"), COUNTED) if file.is_file())
        found.append(f"{inner.name}/" + "".join(f" ({count} {kind})" for kind, count in kinds.most_common(1)))
    return f"it holds {', '.join(found)}" if found else "it is empty"


def four_numbers(box: Any) -> tuple[float, ...]:
    """Return a box as floats; raises `BadRow` unless it is four numbers.

    >>> four_numbers([1, 2, 3.5, 4])
    (1.0, 2.0, 3.5, 4.0)
    """
    if not isinstance(box, list | tuple) or len(box) != 4 or not {*map(type, box)} <= {int, float}:
        raise BadRow("box has a coordinate that is missing or no number", str(box))
    try:
        return tuple(float(value) for value in box)
    except OverflowError:
        raise BadRow("box has a coordinate that is not finite") from None


def fit_box(box: Box, size: Size) -> tuple[float, ...]:
    """Return the box within the image of (width, height), its edges moved by at most a pixel.

    Raises `BadRow` for a box that is empty, reversed, not finite, or farther outside.

    >>> fit_box((-0.5, 2.0, 10.0, 8.0), (10, 10))
    (0, 2.0, 10.0, 8.0)
    """
    if not all(math.isfinite(value) for value in box):
        raise BadRow("box has a coordinate that is not finite")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise BadRow("box is empty or reversed")
    inner = clip(box, size)
    moved = max(abs(value - clipped) for value, clipped in zip(box, inner))
    if moved > EDGE_PX or inner[0] >= inner[2] or inner[1] >= inner[3]:
        raise BadRow("box lies outside the image")
    return inner


def object_samples(
    things: list[AnnotatedObject],
    id: str,
    names: list[str],
    tasks: Collection[str],
    file: Path,
    about: dict[str, Any],
    note: dict[str, Any] | None = None,
) -> Items:
    """Yield the questions that the annotated objects of one image answer; `about` are the fields that they share.

    `note` is added to `extra`; default: the origin, with the file and no line.

    Detection: one question for each category that occurs exactly once ("the dog"); crowds, unusable boxes and difficult
    objects count as occurrences, so that no question has two answers. Classification: which of the categories `names`
    are in the image; the answer is the sorted set of labels, `extra["counts"]` the number of objects of each,
    `extra["categories"]` is `names`. Names that the reward takes for one (Cat and cat, people and person) are one
    category, in the spelling that `names` has first.
    """
    note = origin(file) if note is None else note
    if other := other_spellings(tuple(names)):
        names = [name for name in names if name not in other]
        things = [replace(thing, label=other.get(thing.label, thing.label)) for thing in things]
    if not things:
        yield Rejected(file=about["image"], reason="image has no annotated object", fault=False)
        return
    if "classification" in tasks:
        counts = Counter(sorted(thing.label for thing in things))
        extra = {"counts": dict(counts), "categories": names, **note}
        fields: dict[str, Any] = {"question": category_question(names), "answer": list(counts), "extra": extra}
        yield Sample(id=f"{id}-labels", task="classification", **fields, **about)
    if "detection" in tasks:
        yield from _detection_samples(things, id, note, about)


@lru_cache(maxsize=8)
def other_spellings(names: tuple[str, ...]) -> dict[str, str]:
    """Return the names that the reward takes for an earlier one, each with that one.

    >>> other_spellings(("Cat", "dog", "cat"))
    {'cat': 'Cat'}
    """
    first: dict[str, str] = {}
    return {name: known for name in names if (known := first.setdefault(normalise(name), name)) != name}


def _detection_samples(things: list[AnnotatedObject], id: str, note: dict, about: dict[str, Any]) -> Items:
    counts: Counter[str] = Counter()
    for thing in things:
        counts[thing.label] += 2 if thing.crowd else 1
    asked = {t: list(t.box) for t in things if counts[t.label] == 1 and t.ask and t.box is not None}
    if not asked:
        yield Rejected(file=about["image"], reason="no category occurs exactly once", fault=False)
    questions = {thing: f"the {thing.label}" for thing in asked}
    for thing, box in asked.items():
        name = f"{id}-{thing.label.replace(' ', '_')}"
        extra = {"label": thing.label, "others": other_objects(things, thing, questions), **note}
        yield Sample(id=name, task="detection", question=questions[thing], answer=[box], extra=extra, **about)


def other_objects(
    things: list[AnnotatedObject], thing: AnnotatedObject, questions: dict[AnnotatedObject, str]
) -> list[dict]:
    """Return the image's other objects that have a box, each with the question that asks for it, or None."""
    return [
        {"label": other.label, "question": questions.get(other), "box": list(other.box)}
        for other in things
        if other is not thing and other.box is not None and not other.crowd
    ]


def category_question(names: list[str]) -> str:
    """Return the question that asks which of the categories are in the image.

    >>> category_question(["cat", "dog"])
    'Which of these categories are in the image: cat, dog?'
    """
    if len(names) > LISTED_CATEGORIES and {"person", "hair drier", "toothbrush"} <= set(names):
        return "Which of the COCO categories are in the image?"
    return f"Which of these categories are in the image: {', '.join(names)}?"


def need_file(path: Path | str, what: str) -> Path:
    """Return the path if there is such a file or folder. Raises `InputError` naming `what` was expected."""
    if not Path(path).exists():
        raise InputError(f"{path} does not exist; give the path of {what}")
    return Path(path)


def find_images(places: list[Path], names: Iterable[str], file: Path) -> Path:
    """Return the first of the places that holds one of the named images; raises `InputError` if none does."""
    names = [name for name in names if isinstance(name, str)]
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    listed = ", ".join(str(place) for place in places)
    raise InputError(f"{file}: none of its images is in {listed}; put them there, or give their folder by images=")


def check_known(where: Path | str, what: str, name: str, known: Iterable[str]) -> None:
    """Raise `InputError` for a name that is not among the known ones.

    >>> check_known("refs(unc).p", "split", "train", ["train", "val"])
    """
    if name not in (known := list(known)):
        raise InputError(f"{where}: unknown {what} {name!r}{did_you_mean(name, known, 'write {}')}")
