"""Conversations as LLaVA writes them, in any kind of table: MathV360K, Geo170K, VLM-R1, LLaVA-CoT and many others.

    {"id": 1, "image": "Clevr_CoGenT_TrainA_R1/data/images/CLEVR_trainA_000001_16885.png", "conversations": [
      {"from": "human", "value": "<image>What number of purple metallic balls are there?"},
      {"from": "gpt", "value": "0"}]}

A sample holds one question and one image. Of a conversation the first question is taken; later ones, which may need
what was said before, and rows with several images (`image` is a list of more than one) are left out and counted. Rows
without an image are text-only questions. Options inside the question are taken apart; the answer is what stands in tags
(`<answer>`, LLaVA-CoT's `<CONCLUSION>`) or after "The answer is", and what stands before it is reasoning.
"""

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.boxes import Size
from currreft_nb.formats import Rejected, origin, read_rows, rows, unknown
from currreft_nb.formats.images import image_size
from currreft_nb.formats.wording import (
    asked_phrase,
    chosen_letter,
    clean_question,
    first_exchange,
    read_value,
    split_options,
    split_prose,
)
from currreft_nb.samples import TASKS, Sample


def read(
    path: str | os.PathLike,
    tasks: Collection[str] = TASKS,
    *,
    task: str = "math",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> Iterator[Sample | Rejected]:
    """Yield a question of `task` for each conversation of a file, or of the files of a folder that fit `files`.

    `images`: the folder that image paths start from, else that of the file. Images inside a Parquet file are written to
    the folder `extracted`. Raises `InputError`.
    """
    if task not in TASKS:
        raise InputError(f"{path}: {unknown('task', task, TASKS)}")
    if task in tasks:
        folder = Path(images) if images else Path(path) if Path(path).is_dir() else Path(path).parent
        columns = ("id", "image", "images", "conversations")
        found = rows.read(path, files, columns)
        yield from read_rows(found, partial(_read_row, task, folder, extracted), "a conversation")


def _read_row(
    task: str, folder: Path, extracted: Path | None, row: dict, file: Path, line: int
) -> Iterator[Sample | Rejected]:
    asked, answered, later = first_exchange(row["conversations"], "from", "value")
    image = rows.image_of(row.get("image") or row.get("images"), folder, extracted)
    size = image_size(image) if image else None
    yield Sample(
        id=f"{file.stem}-{line}",
        task=task,
        split="train",
        source=file.stem,
        image=str(image) if image else None,
        size=size,
        extra=origin(file, line),
        **_read_exchange(task, asked, answered, size),
    )
    for _ in range(later):
        yield Rejected(file=str(file), line=line, reason="question needs the conversation before it", fault=False)


def _read_exchange(task: str, asked: str, answered: Any, size: Size | None) -> dict:
    """Return question, options, answer and thinking."""
    question = clean_question(asked)
    thinking, answer = split_prose(answered) if isinstance(answered, str) else (None, str(answered))
    if task == "detection":
        return {"question": asked_phrase(question), "answer": read_value(task, answer, size), "thinking": thinking}
    text, options = split_options(question) if task == "math" else (question, [])
    fields = {"question": clean_question(text), "options": options, "thinking": thinking}
    return fields | {"answer": chosen_letter(answer, options) if options else read_value(task, answer, size)}
