"""CLEVR: rendered scenes with objects to count, and questions about them.

    scenes/CLEVR_val_scenes.json
        {"info": {...}, "scenes": [{"image_filename": "CLEVR_val_000000.png", "split": "val", "objects": [{"shape":
         "cube", "color": "gray", "size": "large", "material": "rubber", ...}, ...], ...}, ...]}
    questions/CLEVR_val_questions.json
        {"info": {...}, "questions": [{"image_filename": "CLEVR_val_000000.png", "split": "val", "question": "Are there
         any other things that are the same shape as the big metallic object?", "answer": "no", "program": [...]}, ...]}
    images/val/CLEVR_val_000000.png

A folder or a scenes file gives one counting question per scene. A questions file gives its questions: mathematics if
the answer is a number, else general (yes, no, red, cube). The test split has no answers.
"""

import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.formats import BadRow, Rejected, first_image, input_files, origin, read_rows, shown
from currreft_nb.formats.streams import Found, json_items
from currreft_nb.samples import Sample

COUNTING = "How many items are there in the image?"
COUNTS = [str(count) for count in range(11)]  # of CLEVR's answers: scenes have 3 to 10 objects


def read(
    path: str | os.PathLike, tasks: Collection[str] = ("math", "general"), *, images: str = ""
) -> Iterator[Sample | Rejected]:
    """Yield the counting questions of a CLEVR folder or scenes file, or the questions of a questions file.

    `images`: the folder of the images; default: `images` and its subfolders, next to scenes and questions.
    """
    what = "a CLEVR folder, with images and scenes, or of one of its scenes or questions files"
    for file in input_files(path, what, "scenes/*.json"):
        if isinstance(file, Rejected):
            yield file
        else:
            yield from read_document(file, tasks, images, "clevr", COUNTING, COUNTS)


def read_document(
    file: Path, tasks: Collection[str], images: str, source: str, counting: str, counts: list[str]
) -> Iterator[Sample | Rejected]:
    """Yield the questions of one scenes or questions file; scenes are asked `counting`, with the answers `counts`."""
    places = [Path(images)] if images else _image_folders(file)
    make = partial(_read_item, partial(first_image, places), tasks, source, counting, counts)
    yield from read_rows(_records(file), make, "a scene or a question")


def _records(file: Path) -> Iterator[Found]:
    number = 0
    for part, item in json_items(file):
        if part in ("scenes", "questions"):
            number += 1
            yield file, number, {part: item}
    if not number:
        raise InputError(f"{file} holds neither scenes nor questions; give a scenes or questions file, or the folder")


def _image_folders(file: Path) -> list[Path]:
    roots = [file.parent / "images", file.parent.parent / "images"]
    return [*roots, *(root / split for root in roots for split in ("train", "val", "test"))]


def _read_item(
    find: Callable,
    tasks: Collection[str],
    source: str,
    counting: str,
    counts: list[str],
    row: dict,
    file: Path,
    line: int,
) -> Iterator[Sample]:
    if "scenes" in row:
        item = {"question": counting, "answer": len(row["scenes"]["objects"])} | row["scenes"]
    else:
        item, counts = row["questions"], COUNTS
    if item.get("answer") is None:
        raise BadRow("question has no answer", fault=False)
    answer = answer_text(item["answer"])
    task = "math" if answer.isdigit() else "general"
    if task in tasks:
        yield question_sample(item["question"], answer, task, counts, find(item["image_filename"]), source, file, line)


def answer_text(answer: bool | int | str) -> str:
    """Return an answer as text; Super-CLEVR has true and false for yes and no.

    >>> answer_text(True), answer_text(3), answer_text("red")
    ('yes', '3', 'red')
    """
    return ("yes" if answer else "no") if isinstance(answer, bool) else str(answer)


def question_sample(
    question: str, answer: str, task: str, counts: list[str], image: Path, source: str, file: Path, line: int | None
) -> Sample:
    """Return an open sample; a count that is among `counts` has these as candidates for wrong options."""
    candidates = {"candidates": counts} if task == "math" and answer in counts else {}
    return Sample(
        id=f"{source}-{file.stem}" + (f"-{line}" if line else ""),
        task=task,
        split="train",
        source=source,
        question=question,
        answer=answer,
        extra=candidates | origin(file, line),
        **shown(image),
    )
