"""The official Curr-ReFT files: rows at the yes/no, multiple-choice and open stage, RefGTA rows, and SFT conversations.

    {"image": "images/superCLEVR_new_025000.png", "problem": "How many different items are there in the image?",
     "solution": 4}
    {"image": "coco/a.jpg", "task": "detection", "problem": "... this sentence describes: pink shirt thats yellow.",
     "solution": "<answer>{\\"bbox_2d\\": [322, 381, 454, 640]}</answer>"}
    {"image": "coco/a.jpg", "task": "classify", "problem": "Which ... ?\\nA. dog\\nB. cat",
     "solution": "<answer>A</answer>"}
    [{"image": "gta/7.jpg", "problem": "... this sentence describes: a man in black by the car.",
      "solution": [960, 540, 1056, 756], "normalized_solution": [0.5, 0.5, 0.55, 0.7],
      "resize_solution": [436.4, 245.5, 480.0, 343.6]}, ...]
    {"messages": [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "<answer>Answer</answer>"}]}

`task` is detection, classify or math, or absent if the type of the solution determines it. The path contains the stage:
`judge` or `binary`, `choice`, else open. Boxes are in pixels of the stored image. Boxes in the text become claim and
options, because each model has its own coordinate frame; a yes/no question without a proposed answer gets the claim
"yes".

RefGTA rows (a JSON array) give one box in three frames: pixels of the original 1920 x 1080 image, fractions of its
sides (or thousandths), and pixels of a copy shrunk by 2.2. The fractions, which fit any copy, decide which of the two
pixel frames fits the image; a row whose frames contradict each other is rejected. Conversations (ms-swift's chat
format) are general questions. `extra["official"]` keeps the row, which is written back unchanged.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.answers import parse_letters, parse_verdict
from currreft_nb.core.boxes import Size, scale
from currreft_nb.core.samples import LETTERS, TASKS, Sample
from currreft_nb.data.images import BadRow, ImageProblem
from currreft_nb.data.reading import common, golds, picture_cells, tables, wording
from currreft_nb.tasks import classification, detection

TASK_NAMES = {"detection": "detection", "classify": "classification", "math": "math"}
NUMBER = r"\s*-?\d+(?:\.\d+)?\s*"
BOX = re.compile(rf'(?:\{{"bbox(?:_2d)?":\s*)?[\[(]{NUMBER},{NUMBER},{NUMBER},{NUMBER}[\])]\}}?')
CLAIM = ("\nProposed answer: ", "\nIs the proposed answer correct?")
FRAMES_AGREE = 0.02  # of an image's longer side: largest distance between a row's frames


def read(path: Path | str, tasks: Collection[str] = TASKS, *, images: str = "") -> common.Items:
    """Yield the questions of one official file, or of every `*.jsonl` and `*.json` file in a folder and below.

    `images`: the folder that image paths start from; default: the file's folder and those above it, up to `path`, each
    also with `images` in it. Where two different files fit, the row is rejected. Raises `InputError` if there is no
    such file.
    """
    what = "an official Curr-ReFT file (.jsonl or .json) or of a folder of them"
    for file in common.input_files(path, what, "**/*.jsonl", "**/*.json"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        places = [Path(images)] if images else _image_folders(file, Path(path))
        make = partial(_read_row, stage_in_path(file), partial(_find_image, places, file))
        for found in common.read_rows(tables.read(file), make, "an official Curr-ReFT row"):
            if isinstance(found, common.Rejected) or found.task in tasks:
                yield found


def stage_in_path(path: Path) -> str:
    """Return the stage that the name of the file, or of a folder above it, contains.

    >>> stage_in_path(Path("train/choice/choice_detection_coco_val.jsonl"))
    'choice'
    >>> stage_in_path(Path("train/math_train.jsonl"))
    'open'
    """
    stages = {"judge": "binary", "binary": "binary", "choice": "choice", "open": "open"}
    names = (place.name.lower() for place in (path, *list(path.parents)[:2]))
    return next((stages[word] for name in names for word in stages if word in name), "open")


def _read_row(stage: str, find: Callable, row: dict, file: Path, line: int) -> common.Items:
    if "messages" in row:
        yield from _read_conversation(row, find, file, line)
        return
    problem, task = row["problem"].strip(), _task(row)
    if row["solution"] is None or (isinstance(row["solution"], bool) and stage != "binary"):
        raise BadRow("solution is no answer at this stage")
    about = _shown(row, problem, find, file)
    size = about.get("size")
    if "normalized_solution" in row:
        thinking, answer = None, json.dumps(_box_of_frames(row, size))
    elif isinstance(row["solution"], str):
        thinking, answer = wording.split_solution(row["solution"])
    else:
        thinking, answer = None, json.dumps(row["solution"])
    if task == "math" and stage == "open":
        answer = str(golds.one_answer(row["solution"] if isinstance(row["solution"], list) else answer, "", "")[0])
    about |= _read_text(task, stage, problem, answer, size)
    yield _sample(row, file, line, task=task, stage=stage, thinking=thinking, **about)


def _sample(row: dict, file: Path, line: int, **fields: Any) -> Sample:
    extra, id = {"official": row} | common.origin(file, line), f"curr_reft-{file.stem}-{line}"
    return Sample(id=id, split="train", source="curr_reft", extra=extra, **fields)


def _read_conversation(row: dict, find: Callable, file: Path, line: int) -> common.Items:
    asked, answered, later = wording.first_exchange(row["messages"], "role", "content")
    about = _shown(row, asked, find, file)
    thinking, answer = wording.split_prose(answered)
    about |= {"question": wording.clean_question(asked), "answer": answer, "thinking": thinking}
    yield _sample(row, file, line, task="general", stage="open", **about)
    yield from common.later_questions(later, file, line)


def _shown(row: dict, asked: str, find: Callable, file: Path) -> dict[str, Any]:
    name = picture_cells.picture_cell(row, ("image", "images"), asked, file)
    return common.shown(find(name) if name else None)


def _task(row: dict) -> str:
    if row.get("task") in TASK_NAMES:
        return TASK_NAMES[row["task"]]
    if row.get("task") is None and type(row["solution"]) in (int, float):  # bool is an int, too
        return "math"
    if row.get("task") is None and isinstance(row["solution"], list):
        return "detection"
    raise BadRow("row names no task of detection, classify and math")


def _box_of_frames(row: dict, size: Size | None) -> list[float]:
    """Return the box of a row with several frames in pixels of the stored image, which is (width, height)."""
    if size is None:
        raise BadRow("row has no image")
    parts = common.four_numbers(row["normalized_solution"])
    unit = 1 if max(parts) <= 1 else 1000
    expected = scale(parts, (unit, unit), size)
    frames = [common.four_numbers(row[name]) for name in ("solution", "resize_solution") if name in row]

    def distance(box: tuple) -> float:
        return max(abs(value - other) for value, other in zip(box, expected))

    best = min(frames, key=distance)
    if not distance(best) <= FRAMES_AGREE * max(size):
        raise BadRow("none of the row's frames fits the image", f"{frames} in an image of {size}")
    return list(common.fit_box(best, size))


def _image_folders(file: Path, named: Path) -> list[Path]:
    """Return the folders that may hold the images of a rows file, from its folder up to the one that the user named."""
    named = named if named.is_dir() else named.parent
    levels = len(file.relative_to(named).parents)
    places = [place for up in list(file.parents)[:levels] for place in (up, up / "images")]
    return [place for place in places if place.is_dir()]


def _find_image(folders: list[Path], file: Path, name: str) -> Path:
    """Return a row's image. Raises `ImageProblem` if there is none, or if two different ones fit equally well.

    The published counting rows have absolute paths of another machine. Of such a path the longest end decides that is
    also the end of an existing one. A file name alone decides only where all rows of `file` name one folder.
    """
    if not os.path.isabs(name):
        return common.first_image(folders, name)
    parts = Path(name).parts[1:]
    ends = [os.path.join(*parts[start:]) for start in range(len(parts))]
    places = [(folder, end) for end in ends for folder in folders if os.path.isfile(os.path.join(folder, end))]
    found = [common.image_in(*place) for place in places]
    shared = {path: _shared_end(path.absolute().parts, parts) for path in found}
    most = max(shared.values(), default=0)
    best = common.only_file([path for path in found if shared[path] == most], name)
    if most == 1 and len(parts) > 1 and _names_several_folders(file, file.stat().st_mtime_ns):
        raise ImageProblem(
            "only the file name of an absolute path fits, and the rows name several folders",
            f"{name}: found {best}; give images=, a folder in which the paths continue as in the rows",
        )
    return best


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many parts two paths share at their ends.

    >>> _shared_end(("data", "a", "0.png"), ("home", "a", "0.png"))
    2
    """
    pairs = enumerate(zip(reversed(one), reversed(other)))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


@lru_cache(maxsize=4)
def _names_several_folders(file: Path, stamp: int) -> bool:
    """Return whether the absolute image paths of a rows file lie in more than one folder; `stamp`: when it changed."""
    rows = (row for _, _, row in tables.read(file) if isinstance(row, dict))
    cells = (picture_cells.cell_of(row, ("image", "images")) for row in rows)
    names = (cell[0] if isinstance(cell, list) else cell for cell in cells)
    return len({os.path.dirname(name) for name in names if isinstance(name, str) and os.path.isabs(name)}) > 1


def _read_text(task: str, stage: str, problem: str, answer: str, size: Size | None) -> dict:
    if stage == "binary":
        fields = {"answer": parse_verdict(answer)} | _read_claim(task, problem, size)
    elif stage == "choice":
        question, texts = wording.split_options(problem)
        if not texts:
            raise BadRow("options cannot be found in the problem")
        options = [wording.read_value(task, text, size) for text in texts]
        fields = {"question": question, "options": options, "answer": parse_letters(answer, len(options))}
    elif task == "math" and (found := wording.options_asked(problem, answer))[1]:
        question, options = found
        fields = {"question": question, "options": options, "answer": wording.chosen_letter(answer, options)}
    else:
        if task == "math":
            wording.refuse_letter(answer)
        fields = {"question": problem, "answer": wording.read_value(task, answer, size)}
    if task == "detection":
        fields["question"] = wording.asked_phrase(fields["question"])
        if BOX.search(fields["question"]):
            raise BadRow("problem holds coordinates that are neither claim nor option")
    return fields


def _read_claim(task: str, problem: str, size: Size | None) -> dict:
    """Return question and claim: the text after "Proposed answer:", the only box in the text, or "yes"."""
    question, found, claim = problem.partition(CLAIM[0])
    if found and claim.endswith(CLAIM[1]):
        return {"question": question, "claim": wording.read_value(task, claim.removesuffix(CLAIM[1]), size)}
    if task != "detection":
        return {"question": problem, "claim": ["yes"] if task == "classification" else "yes"}
    boxes = list(BOX.finditer(problem))
    if len(boxes) != 1:
        raise BadRow("problem does not hold exactly one box to judge")
    question = f"{problem[: boxes[0].start()]}given below{problem[boxes[0].end() :]}"
    return {"question": question, "claim": wording.read_value(task, boxes[0][0], size)}


def write(path: Path | str, samples: Iterable[Sample], images: Path | str | None = None) -> None:
    """Write samples as official rows, one JSON object per line.

    With `images`, all image paths are relative to that folder. Without it, rows read from official ones keep their
    paths; the others are relative to the file's folder. Raises `InputError` for a general sample.
    """
    path = Path(path)
    with path.open("w", encoding="utf-8") as stream:
        for sample in samples:
            row = to_official(sample)
            if sample.image and "image" in row and (images is not None or row["image"] == sample.image):
                row["image"] = Path(os.path.relpath(sample.image, images or path.parent)).as_posix()
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def to_official(sample: Sample) -> dict:
    """Return the official row of a sample: the one it was read from, or a new one.

    The row is new if there is no original, or if it no longer fits: for a posed sample and a resized image.
    """
    original = sample.extra.get("official")
    if original is not None and sample.parent is None and "original_size" not in sample.extra:
        return dict(original)
    if sample.task not in TASK_NAMES.values():
        raise InputError(f"sample {sample.id!r}: the official format has no {sample.task} rows; leave it out")
    problem = detection.QUESTION.format(question=sample.question) if sample.task == "detection" else sample.question
    if sample.stage == "binary":
        problem += f"{CLAIM[0]}{_write_value(sample, sample.claim)}{CLAIM[1]}"
    for letter, option in zip(LETTERS, sample.options):
        problem += f"\n{letter}. {_write_value(sample, option)}"
    names = {ours: theirs for theirs, ours in TASK_NAMES.items()}
    row = {"task": names[sample.task], "problem": problem, "solution": _write_solution(sample)}
    return ({"image": sample.image} if sample.image else {}) | row


def _write_value(sample: Sample, value: Any) -> str:
    if sample.task == "detection":
        return ", ".join(json.dumps([*box]) for box in value)
    return classification.render(value) if sample.task == "classification" else value


def _write_solution(sample: Sample) -> str:
    if sample.stage == "binary":
        answer = "yes" if sample.answer else "no"
    elif sample.stage == "choice":
        answer = ",".join(sample.answer)
    elif sample.task == "detection":
        boxes = [{"bbox_2d": [*box]} for box in sample.answer]
        answer = json.dumps(boxes[0] if len(boxes) == 1 else boxes)
    else:
        answer = _write_value(sample, sample.answer)
    thinking = f"<think>{sample.thinking}</think>" if sample.thinking is not None else ""
    return f"{thinking}<answer>{answer}</answer>"
