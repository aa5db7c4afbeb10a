"""The official Curr-ReFT rows: one JSON object a line, at the yes/no, multiple-choice or open stage.

    {"image": "images/superCLEVR_new_025000.png", "problem": "How many different items are there in the image?",
     "solution": 4}
    {"image": "coco/a.jpg", "task": "detection", "problem": "... this sentence describes: pink shirt thats yellow.",
     "solution": "<answer>{\\"bbox_2d\\": [322, 381, 454, 640]}</answer>"}
    {"image": "coco/a.jpg", "task": "classify", "problem": "Which ... ?\\nA. dog\\nB. cat",
     "solution": "<answer>A</answer>"}

`task` is detection, classify or math, or absent where the type of the solution tells. The stage stands in no row but in
the path: `judge` or `binary`, `choice`, else open. Boxes are pixels of the stored image. Boxes inside the text become
claim and options, since each model writes them in a frame of its own; a yes/no question whose text holds no proposed
answer gets the claim "yes". The row itself stays in `extra["official"]` and is written back as it was.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.answers import Unreadable, parse_boxes, parse_labels, parse_letters, parse_verdict
from currreft_nb.boxes import Size
from currreft_nb.formats import Rejected, fit_box, json_lines, need_file
from currreft_nb.formats.images import ImageProblem, image_size
from currreft_nb.samples import LETTERS, TRAINED_TASKS, Sample, inside
from currreft_nb.tasks import classification, detection

TASK_NAMES = {"detection": "detection", "classify": "classification", "math": "math"}
BLOCK = {name: re.compile(rf"<?{name}>(.*?)</{name}>", re.DOTALL) for name in ("answer", "think", "thinking")}
NUMBER = r"\s*-?\d+(?:\.\d+)?\s*"
BOX = re.compile(rf'(?:\{{"bbox(?:_2d)?":\s*)?[\[(]{NUMBER},{NUMBER},{NUMBER},{NUMBER}[\])]\}}?')
OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):]\s*")
CLAIM = re.compile(r"\nProposed answer: (.*)\nIs the proposed answer correct\?\s*$", re.DOTALL)
PHRASES = [tuple(detection.QUESTION.split("{question}")), ("this sentence describes: ", ".")]
LEVELS_UP = 4  # how far above a rows file its images may lie


class BadRow(ValueError):
    """The row cannot become a sample; the text is a reason."""


def read(path: str | os.PathLike, tasks: Collection[str] = TRAINED_TASKS) -> Iterator[Sample | Rejected]:
    """Yield the questions of one rows file, or of every `*.jsonl` file in a folder and below."""
    path = need_file(path, "an official Curr-ReFT file (.jsonl) or of a folder of them")
    files = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
    if not files:
        raise InputError(f"{path} holds no .jsonl file; give the folder that does")
    for file in files:
        stage = stage_of(file)
        for number, row in json_lines(file):
            sample = row if isinstance(row, Rejected) else _read_row(row, file, number, stage)
            if isinstance(sample, Rejected) or sample.task in tasks:
                yield sample


def stage_of(path: Path) -> str:
    """Return the stage that the file's name, or a folder's above it, stands for.

    >>> stage_of(Path("train/choice/choice_detection_coco_val.jsonl")), stage_of(Path("train/open/math_train.jsonl"))
    ('choice', 'open')
    """
    for name in (path.name, *(parent.name for parent in list(path.parents)[:2])):
        for word, stage in (("judge", "binary"), ("binary", "binary"), ("choice", "choice"), ("open", "open")):
            if word in name.lower():
                return stage
    return "open"


def _read_row(row: dict, file: Path, number: int, stage: str) -> Sample | Rejected:
    try:
        problem, (thinking, answer), task = row["problem"].strip(), _solution(row["solution"]), _task(row)
        if row["solution"] is None or (isinstance(row["solution"], bool) and stage != "binary"):
            raise BadRow("solution is no answer at this stage")
        image = _find_image(row["image"], file) if row.get("image") else None
        size = image_size(image) if image else None
        if task == "detection" and image is None:
            raise BadRow("row has no image")
        fields = _read_text(task, stage, problem, answer, size)
        return Sample(
            id=f"curr_reft-{file.stem}-{number}",
            task=task,
            stage=stage,
            split="train",
            source="curr_reft",
            image=str(image) if image else None,
            size=size,
            thinking=thinking,
            extra={"official": row, "origin": {"file": file.name, "line": number}},
            **fields,
        )
    except ImageProblem as problem:
        return Rejected(file=str(file), line=number, reason=problem.reason, value=problem.value)
    except Unreadable as problem:
        return Rejected(file=str(file), line=number, reason=f"solution cannot be read ({problem.reason})")
    except KeyError as error:
        return Rejected(file=str(file), line=number, reason="row lacks a field", value=str(error))
    except (BadRow, InputError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, BadRow) else "row is not an official Curr-ReFT row"
        return Rejected(
            file=str(file), line=number, reason=reason, value="" if isinstance(error, BadRow) else str(error)
        )


def _task(row: dict) -> str:
    if row.get("task") in TASK_NAMES:
        return TASK_NAMES[row["task"]]
    if row.get("task") is None and type(row["solution"]) in (int, float):  # bool is an int, too
        return "math"
    if row.get("task") is None and isinstance(row["solution"], list):
        return "detection"
    raise BadRow("row names no task of detection, classify and math")


def _solution(solution: Any) -> tuple[str | None, str]:
    """Return the reference thinking, or None, and the text of the answer."""
    if not isinstance(solution, str):
        return None, json.dumps(solution)
    thinking = BLOCK["think"].search(solution) or BLOCK["thinking"].search(solution)
    answer = BLOCK["answer"].search(solution)
    return thinking and thinking[1], (answer[1] if answer else solution).strip()


def _find_image(name: str, file: Path) -> Path:
    """Return the image's path: relative to the file's folder, to one above it, or to `images` in any of them.

    The published counting rows name images by absolute paths of another machine: these are looked for by file name.
    """
    name = Path(name).name if Path(name).is_absolute() else name
    for folder in list(file.absolute().parents)[: LEVELS_UP + 1]:
        for place in (folder, folder / "images"):
            if (path := inside(place, name)).is_file():
                return path
    raise ImageProblem("image does not exist", name)


def _read_text(task: str, stage: str, problem: str, answer: str, size: Size | None) -> dict:
    """Return question, claim, options and answer of a row."""
    if stage == "binary":
        fields = {"answer": parse_verdict(answer)} | _read_claim(task, problem, size)
    elif stage == "choice":
        question, texts = split_options(problem)
        if not texts:
            raise BadRow("options cannot be found in the problem")
        options = [_read_value(task, text, size) for text in texts]
        fields = {"question": question, "options": options, "answer": parse_letters(answer, len(options))}
    elif task == "math" and re.fullmatch(r"[A-Z]", answer) and split_options(problem)[1]:
        question, options = split_options(problem)
        fields = {"question": question, "options": options, "answer": parse_letters(answer, len(options))[0]}
    else:
        fields = {"question": problem, "answer": _read_value(task, answer, size)}
    if task == "detection":
        fields["question"] = _phrase(fields["question"])
        if BOX.search(fields["question"]):
            raise BadRow("problem holds coordinates that are neither claim nor option")
    return fields


def _read_claim(task: str, problem: str, size: Size | None) -> dict:
    """Return question and claim: after "Proposed answer:", the only box in the text, or "yes"."""
    if match := CLAIM.search(problem):
        return {"question": problem[: match.start()], "claim": _read_value(task, match[1], size)}
    if task != "detection":
        return {"question": problem, "claim": ["yes"] if task == "classification" else "yes"}
    boxes = list(BOX.finditer(problem))
    if len(boxes) != 1:
        raise BadRow("problem does not hold exactly one box to judge")
    question = f"{problem[: boxes[0].start()]}given below{problem[boxes[0].end() :]}"
    return {"question": question, "claim": _read_value(task, boxes[0][0], size)}


def _read_value(task: str, text: str, size: Size | None) -> Any:
    if task == "classification":
        return list(dict.fromkeys(parse_labels(text)))
    if task == "math":
        return text.strip()
    try:
        return [list(fit_box(box, size)) for box in parse_boxes(text)]
    except Unreadable:
        raise
    except ValueError as problem:
        raise BadRow(str(problem)) from None


def _phrase(question: str) -> str:
    """Return the phrase that a detection row asks about, without the request around it."""
    for before, after in PHRASES:
        _, found, phrase = question.partition(before)
        if found and phrase.strip():
            return phrase.removesuffix(after).strip()
    return question


def split_options(problem: str) -> tuple[str, list[str]]:
    """Return the question and its options, in the order of their letters; no options if there are not two in a row.

    >>> split_options("What is it?\\nA. dog\\nB. cat"), split_options("How many? (A) 3 (B) 4")
    (('What is it?', ['dog', 'cat']), ('How many?', ['3', '4']))
    """
    marks = list(OPTION.finditer(problem))
    starts = [index for index, mark in enumerate(marks) if mark[1] == "A"]
    chain = []
    for mark in marks[starts[-1] :] if starts else []:
        if mark[1] == LETTERS[len(chain)]:
            chain.append(mark)
    if len(chain) < 2:
        return problem, []
    ends = [mark.start() for mark in chain[1:]] + [len(problem)]
    options = [problem[mark.end() : end].strip() for mark, end in zip(chain, ends)]
    options[-1], _, rest = options[-1].partition("\n")
    question = re.sub(r"\s*(?:Options|Choices):?$", "", problem[: chain[0].start()].strip())
    return "\n".join(part for part in (question, rest.strip()) if part), [option.rstrip(" ,;") for option in options]


def write(path: str | os.PathLike, samples: Iterable[Sample], images: str | os.PathLike | None = None) -> None:
    """Write samples as official rows, one JSON object a line.

    With `images` all image paths are relative to that folder. Without it, rows that were read from official ones keep
    theirs, and the others are relative to the file's folder. Raises `InputError` for a general sample.
    """
    path = Path(path)
    with path.open("w", encoding="utf-8") as stream:
        for sample in samples:
            row = to_official(sample)
            if sample.image and (images is not None or row["image"] == sample.image):
                row["image"] = Path(os.path.relpath(sample.image, images or path.parent)).as_posix()
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def to_official(sample: Sample) -> dict:
    """Return the official row of a sample: the one that it was read from, or else one made from its fields.

    A row is made afresh where the original no longer fits: for a posed sample, and where the image was resized.
    """
    if sample.task not in TRAINED_TASKS:
        raise InputError(f"sample {sample.id!r}: the official format has no {sample.task} rows; leave it out")
    original = sample.extra.get("official")
    if original is not None and sample.parent is None and "original_size" not in sample.extra:
        return dict(original)
    problem = detection.QUESTION.format(question=sample.question) if sample.task == "detection" else sample.question
    if sample.stage == "binary":
        problem += f"\nProposed answer: {_write_value(sample, sample.claim)}\nIs the proposed answer correct?"
    for letter, option in zip(LETTERS, sample.options):
        problem += f"\n{letter}. {_write_value(sample, option)}"
    names = {ours: theirs for theirs, ours in TASK_NAMES.items()}
    row = {"image": sample.image, "task": names[sample.task], "problem": problem, "solution": _write_solution(sample)}
    return row if sample.image else {name: value for name, value in row.items() if name != "image"}


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
