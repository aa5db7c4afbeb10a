"""The sample: one question with its structured answer, at one stage; one JSON object a line in a samples file.

{"id": "refcoco-1a2b", "task": "detection", "stage": "open", "split": "train", "source": "refcoco",
 "image": "images/1a2b.jpg", "size": [640, 480], "question": "the man in the red shirt", "claim": null, "options": [],
 "answer": [[12.0, 40.5, 210.0, 470.0]], "thinking": null, "parent": null, "extra": {}}
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean

VALUES = {  # what an open answer to each task is; a new task is a line here and a module in tasks/
    "detection": "boxes",
    "classification": "labels",
    "math": "text",
    "general": "text or null",
}
TASKS = tuple(VALUES)
TRAINED_TASKS = tuple(task for task, kind in VALUES.items() if kind != "text or null")  # null cannot be rewarded
STAGES = ("binary", "choice", "open")
SPLITS = ("train", "val", "test_id", "test_ood", "pool")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question with its structured answer.

    `answer` by stage: binary a bool, choice a list of letters, open a value of the task: detection a list of boxes
    `(x1, y1, x2, y2)` in pixels of the stored image, half-open; classification a list of labels; math a string; general
    a string or None. `claim`: the value that a binary sample asserts. `options`: the values of a choice sample.
    `image`: an absolute path in memory, relative to the file's folder on disk. `size`: (width, height) in pixels.
    `parent`: the id of the open sample that a posed sample was made from.

    Raises `InputError` when a field has a value that no task and stage allows.

    >>> sample = Sample(id="a", task="math", split="train", source="demo", question="6 * 7", answer="42")
    >>> sample.stage, sample.options
    ('open', [])
    """

    id: str
    task: str
    split: str
    source: str
    question: str
    answer: Any
    stage: str = "open"
    image: str | None = None
    size: tuple[int, int] | None = None
    claim: Any = None
    options: list = field(default_factory=list)
    thinking: str | None = None
    parent: str | None = None
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("task", TASKS), ("stage", STAGES), ("split", SPLITS)):
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"sample {self.id!r}: {name} is {value!r}, but must be one of {', '.join(allowed)}")
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError(f"sample {self.id!r}: the question is empty; write one")
        if self.image is not None and self.size is None:
            raise InputError(f"sample {self.id!r}: it has an image but no size; give [width, height] in pixels")
        if self.size is not None and not (len(self.size) == 2 and all(type(v) is int and v > 0 for v in self.size)):
            raise InputError(f"sample {self.id!r}: size is {self.size!r}, but must be (width, height) in whole pixels")
        if problem := answer_problem(self) or _offer_problem(self):
            raise InputError(f"sample {self.id!r} ({self.task}, {self.stage}): {problem}")


FIELDS = tuple(field.name for field in dataclasses.fields(Sample))


def answer_problem(sample: Any) -> str | None:
    """Return why answer, claim or options of a sample or `method.rewards.Row` have a wrong type, or None.

    >>> answer_problem(Sample(id="a", task="general", split="pool", source="demo", question="why?", answer=None))
    """
    if sample.stage == "binary":
        if not isinstance(sample.answer, bool):
            return f"a binary answer is true or false, not {sample.answer!r}"
        return None if sample.claim is not None else "a binary sample needs a claim, but claim is null"
    if sample.stage == "choice":
        letters = LETTERS[: len(sample.options)]
        if len(sample.options) < 2:
            return f"a choice sample needs at least two options, not {len(sample.options)}"
        if not _is_list(sample.answer, lambda item: item in tuple(letters)):
            return f"a choice answer is a list of letters from {letters}, not {sample.answer!r}"
        return None
    return value_problem(sample.task, sample.answer)


def _offer_problem(sample: Sample) -> str | None:
    claims = [] if sample.claim is None else [("claim", sample.claim)]
    for name, value in (*claims, *(("option", option) for option in sample.options)):
        if problem := value_problem(sample.task, value):
            return f"{name} {value!r} does not fit the task: {problem}"
    return None


def value_problem(task: str, value: Any) -> str | None:
    """Return why `value` is not a structured open answer (or claim, or option) of the task, or None.

    >>> value_problem("detection", [[0, 0, 4, 4]])
    >>> value_problem("classification", "dog")
    "a classification answer is a list of labels, not 'dog'"
    """
    wanted, fits = {
        "boxes": ("a list of boxes [x1, y1, x2, y2] with x1 < x2, y1 < y2", lambda value: _is_list(value, _is_box)),
        "labels": ("a list of labels", lambda value: _is_list(value, _is_text)),
        "text": ("a string", _is_text),
        "text or null": ("a string or null", lambda value: value is None or isinstance(value, str)),
    }[VALUES[task]]
    return None if fits(value) else f"a {task} answer is {wanted}, not {value!r}"


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_box(box: Any) -> bool:
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return False
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in box)
    return numbers and box[0] < box[2] and box[1] < box[3]


def check_tasks(tasks: Sequence[str]) -> None:
    """Raise `InputError` for an unknown task, or when none is given.

    >>> check_tasks(["detecton"])
    Traceback (most recent call last):
    currreft_nb.InputError: tasks contains the unknown 'detecton'; did you mean detection?
    """
    if not tasks:
        raise InputError(f"tasks is empty; name at least one of {', '.join(TASKS)}")
    for task in tasks:
        if task not in TASKS:
            raise InputError(f"tasks contains the unknown {task!r}{did_you_mean(task, TASKS)}")


def read_samples(path: str | os.PathLike) -> list[Sample]:
    """Read a samples file; image paths become absolute. Raises `InputError` naming file, line and field."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a samples file, such as test_id-open.jsonl of a data folder")
    if not path.is_file():
        raise InputError(f"{path} does not exist; run notebook 01_data_curation, or give a file that it made")
    samples: list[Sample] = []
    lines: dict[str, int] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            sample = _parse_line(line, path, number)
            if sample.id in lines:
                raise InputError(
                    f"{path}:{number}: duplicate id {sample.id!r}, first used on line {lines[sample.id]}; rename one"
                )
            lines[sample.id] = number
            samples.append(sample)
    return samples


def _parse_line(line: bytes, path: Path, number: int) -> Sample:
    try:
        row = json.loads(line.decode("utf-8"))
        if not isinstance(row, dict):
            raise InputError(f"expected a JSON object, found {type(row).__name__}")
        if unknown := sorted(set(row) - set(FIELDS)):
            raise InputError(f"unknown field {unknown[0]!r}; the fields are {', '.join(sorted(FIELDS))}")
        if row.get("image") is not None:
            row["image"] = str(inside(path.parent, row["image"]))
        if row.get("size") is not None:
            row["size"] = tuple(row["size"])
        return Sample(**row)
    except (InputError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}:{number}: {error}") from None


def size_of(sample: Sample) -> tuple[int, int]:
    """Return (width, height) in pixels; raises `InputError` for a sample without an image."""
    if sample.size is None:
        raise InputError(f"sample {sample.id!r} has boxes but no image; give image and size")
    return sample.size


def inside(folder: str | os.PathLike, name: str) -> Path:
    """Return the absolute path of `name` in `folder`, refusing absolute names and names that leave it.

    >>> inside("/data", "../secret.png")
    Traceback (most recent call last):
    currreft_nb.InputError: path '../secret.png' leaves the folder /data; use a path inside it
    """
    root = Path(os.path.abspath(folder))
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root):
        raise InputError(f"path {name!r} leaves the folder {root}; use a path inside it")
    try:
        there = path.exists()
    except OSError as error:
        raise InputError(f"path {str(name)[:60]!r} cannot be looked up ({error.strerror}); correct it") from None
    if there and not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"path {name!r} is a link out of the folder {root}; copy the file into it")
    return path


def to_row(sample: Sample) -> dict:
    """Return the sample as a plain dict, in the order of its fields."""
    return {name: getattr(sample, name) for name in FIELDS}


def stage_of(samples: Sequence[Sample]) -> str:
    """Return the stage that all samples are at, or "mixed"."""
    stages = {sample.stage for sample in samples}
    return stages.pop() if len(stages) == 1 else "mixed"


def forms_asked(stages: Sequence[str], rehearse_share: float) -> list[str]:
    """Return the forms whose questions a training needs: its own, and with a share above 0 all earlier ones first.

    Raises `InputError` for a share above 0 where no form is earlier, or where several forms are mixed anyway.

    >>> forms_asked(["open"], 0.25), forms_asked(["open"], 0.0), forms_asked(["binary", "open"], 0.0)
    (['binary', 'choice', 'open'], ['open'], ['binary', 'open'])
    """
    if rehearse_share and list(stages) not in (["choice"], ["open"]):
        raise InputError(
            f"rehearse_share is {rehearse_share:g}, but stages is [{', '.join(stages)}]; set stages to [choice] or"
            " [open], whose earlier forms can be rehearsed, or rehearse_share to 0"
        )
    return [*(STAGES[: STAGES.index(stages[0])] if rehearse_share else ()), *stages]
