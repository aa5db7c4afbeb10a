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

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import Items, Rejected, first_image, input_files, origin, read_rows, shown
from currreft_nb.data.reading.json_streams import Found, json_items

COUNTING = "How many items are there in the image?"
COUNTS = [str(count) for count in range(11)]  # of CLEVR's answers: scenes have 3 to 10 objects


@dataclass(frozen=True)
class Counting:
    """How a set counts: its name, the question about each scene, and the answers it can have."""

    source: str
    question: str
    counts: list[str]


def read(path: Path | str, tasks: Collection[str] = ("math", "general"), *, images: str = "") -> Items:
    """Yield the counting questions of a CLEVR folder or scenes file, or the questions of a questions file.

    `images`: the folder of the images; default: `images` and its subfolders, next to scenes and questions.
    """
    what = "a CLEVR folder, with images and scenes, or of one of its scenes or questions files"
    counting = Counting("clevr", COUNTING, COUNTS)
    for file in input_files(path, what, "scenes/*.json"):
        yield from [file] if isinstance(file, Rejected) else read_document(file, tasks, images, counting)


def read_document(file: Path, tasks: Collection[str], images: str, counting: Counting) -> Items:
    places = [Path(images)] if images else _image_folders(file)
    yield from read_rows(_records(file), partial(_read_item, places, tasks, counting), "a scene or a question")


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
    places: list[Path], tasks: Collection[str], counting: Counting, row: dict, file: Path, line: int
) -> Iterator[Sample]:
    if "scenes" in row:
        item = {"question": counting.question, "answer": len(row["scenes"]["objects"])} | row["scenes"]
    else:
        item, counting = row["questions"], replace(counting, counts=COUNTS)
    if item.get("answer") is None:
        raise BadRow("question has no answer", fault=False)
    answer = answer_text(item["answer"])
    if ("math" if answer.isdigit() else "general") in tasks:
        question, image = item["question"], first_image(places, item["image_filename"])
        yield count_sample(counting, question, answer, image, file, line)


def answer_text(answer: bool | int | str) -> str:
    """Return an answer as text; Super-CLEVR has true and false for yes and no.

    >>> answer_text(True), answer_text(3), answer_text("red")
    ('yes', '3', 'red')
    """
    return ("yes" if answer else "no") if isinstance(answer, bool) else str(answer)


def count_sample(counting: Counting, question: str, answer: str, image: Path, file: Path, line: int | None) -> Sample:
    """Return an open sample; a count that the set can have has its counts as candidates for wrong options."""
    candidates = {"candidates": counting.counts} if answer in counting.counts else {}
    return Sample(
        id=f"{counting.source}-{file.stem}" + (f"-{line}" if line else ""),
        task="math" if answer.isdigit() else "general",
        split="train",
        source=counting.source,
        question=question,
        answer=answer,
        extra=candidates | origin(file, line),
        **shown(image),
    )
