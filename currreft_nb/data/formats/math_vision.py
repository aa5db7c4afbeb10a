"""MATH-Vision: competition mathematics, free or with five options; one JSON object per line, images next to the file.

    {"id": "6", "question": "... In which picture can we see the kittens of Misty ...?\\n<image1>", "options":
     ["A", "B", "C", "D", "E"], "answer": "D", "solution": null, "level": 3, "subject": "logic",
     "image": "images/6.jpg"}

One image file shows everything that the placeholders `<image1>`, `<image2>`, ... refer to. They are removed from the
text; an option that is only a placeholder becomes its letter, which labels it in the image. With options, the answer is
a letter.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import Items, image_in, need_file, origin, read_rows, shown
from currreft_nb.data.reading.json_streams import json_lines

PLACEHOLDER = re.compile(r" *<image\d+>")


def read(path: Path | str, tasks: Collection[str] = ("math",)) -> Items:
    """Yield the questions of a MATH-Vision file, or of the only `*.jsonl` file in a folder."""
    path = need_file(path, "a MATH-Vision file (testmini.jsonl)")
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if len(files) != 1:
            raise InputError(f"{path} holds {len(files)} .jsonl files, which overlap; give the path of one of them")
        path = files[0]
    if "math" in tasks:
        yield from read_rows(json_lines(path), _read_row, "a MATH-Vision question")


def _read_row(row: dict, file: Path, line: int | None) -> Iterator[Sample]:
    image = image_in(file.parent, row["image"])
    options = [_without_placeholders(text) or letter for letter, text in zip(LETTERS, row["options"])]
    answer = row["answer"].strip()
    if options and answer not in LETTERS[: len(options)]:
        raise BadRow("answer is none of the options", f"{answer!r} of {len(options)}")
    yield Sample(
        id=f"math_vision-{row['id']}",
        task="math",
        split="train",
        source="math_vision",
        question=_without_placeholders(row["question"]),
        options=options,
        answer=answer,
        thinking=row.get("solution") or None,
        extra={name: row[name] for name in ("level", "subject") if name in row} | origin(file, line),
        **shown(image),
    )


def _without_placeholders(text: str) -> str:
    return PLACEHOLDER.sub("", text).strip()
