"""Readers of the formats that data comes in: one module each, whose `read` yields samples and what it left out."""

import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.boxes import Box, Size, clip
from currreft_nb.samples import Sample

EDGE_PX = 1.0  # a box may stick out of its image by one pixel (0-based against 1-based, rounding); it is then clipped
LISTED_CATEGORIES = 40  # longer vocabularies are not spelled out in the question if they are COCO's own


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Something that a reader or a check left out.

    `reason` is the same for all that was left out for the same cause, `value` tells the particulars. `fault` is true
    for damaged data, at which a careful run stops, and false for what cannot be asked about (a crowd).
    """

    file: str
    reason: str
    line: int | None = None
    value: str = ""
    fault: bool = True

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason}" + (f" ({self.value})" if self.value else "")


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One annotated object; `box`: None if it cannot be used, `crowd`: it stands for several, `ask`: it is clear."""

    label: str
    box: Box | None
    crowd: bool = False
    ask: bool = True


def json_lines(path: str | os.PathLike) -> Iterator[tuple[int, dict | Rejected]]:
    """Yield (line number, object) for each line that is not blank; for a line that is no JSON object its rejection."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                yield number, Rejected(file=str(path), line=number, reason="line is not JSON", value=str(error))
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                yield number, Rejected(file=str(path), line=number, reason="line is not a JSON object")


def parse_json(data: bytes) -> Any:
    """Return what the UTF-8 text holds. Raises `ValueError` for all that is not strict JSON (NaN, too deep, ...)."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def fit_box(box: Box, size: Size) -> tuple[float, ...]:
    """Return the box within the image of (width, height), its edges moved by at most a pixel.

    Raises `ValueError`, whose text is a reason, for a box that is empty, reversed, not finite or farther outside.

    >>> fit_box((-0.5, 2.0, 10.0, 8.0), (10, 10))
    (0, 2.0, 10.0, 8.0)
    """
    if not all(math.isfinite(value) for value in box):
        raise ValueError("box has a coordinate that is not finite")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("box is empty or reversed")
    inner = clip(box, size)
    if max(abs(value - moved) for value, moved in zip(box, inner)) > EDGE_PX:
        raise ValueError("box lies outside the image")
    if inner[0] >= inner[2] or inner[1] >= inner[3]:
        raise ValueError("box lies outside the image")
    return inner


def object_samples(
    things: list[Thing],
    *,
    id: str,
    source: str,
    file: Path,
    image: Path,
    size: Size,
    names: list[str],
    tasks: Collection[str],
) -> Iterator[Sample | Rejected]:
    """Yield the questions that the annotated objects of one image answer.

    Detection: one question for each category that occurs exactly once ("the dog"); a crowd, a box that cannot be used
    and an object marked as difficult count as occurrences, so that no question has two answers. Classification: which
    of the categories `names` are in the image; the answer is the sorted set of labels, `extra["counts"]` tells how many
    objects of each were annotated, `extra["categories"]` is `names`.
    """
    common = {"source": source, "image": str(image), "size": tuple(size), "split": "train"}
    origin = {"origin": {"file": file.name, "line": None}}
    if not things:
        yield Rejected(file=str(image), reason="image has no annotated object", fault=False)
        return
    if "classification" in tasks:
        counts = Counter(sorted(thing.label for thing in things))
        extra = {"counts": dict(counts), "categories": names, **origin}
        question = category_question(names)
        yield Sample(
            id=f"{id}-labels", task="classification", question=question, answer=list(counts), extra=extra, **common
        )
    if "detection" in tasks:
        yield from _detection_samples(things, id, common, origin)


def _detection_samples(things: list[Thing], id: str, common: dict, origin: dict) -> Iterator[Sample | Rejected]:
    counts = Counter()
    for thing in things:
        counts[thing.label] += 2 if thing.crowd else 1
    asked = [thing for thing in things if counts[thing.label] == 1 and thing.ask and thing.box is not None]
    if not asked:
        yield Rejected(file=common["image"], reason="no category occurs exactly once", fault=False)
    questions = {thing.label: f"the {thing.label}" for thing in asked}
    for thing in asked:
        others = [
            {"label": other.label, "question": questions.get(other.label), "box": list(other.box)}
            for other in things
            if other is not thing and other.box is not None and not other.crowd
        ]
        name = f"{id}-{thing.label.replace(' ', '_')}"
        extra = {"label": thing.label, "others": others, **origin}
        question, answer = questions[thing.label], [list(thing.box)]
        yield Sample(id=name, task="detection", question=question, answer=answer, extra=extra, **common)


def category_question(names: list[str]) -> str:
    """Return the question which of the categories are in the image.

    >>> category_question(["cat", "dog"])
    'Which of these categories are in the image: cat, dog?'
    """
    if len(names) > LISTED_CATEGORIES and {"person", "hair drier", "toothbrush"} <= set(names):
        return "Which of the COCO categories are in the image?"
    return f"Which of these categories are in the image: {', '.join(names)}?"


def need_file(path: str | os.PathLike, what: str) -> Path:
    """Return the path if there is such a file or folder. Raises `InputError` naming `what` was expected."""
    if not Path(path).exists():
        raise InputError(f"{path} does not exist; give the path of {what}")
    return Path(path)
