"""Any table, by the names of its columns: JSON lines, JSON, CSV, TSV, Parquet, a saved or a hub dataset.

    {"image_path": "./Geo170K/images/test/0.png", "question": "... the size of angle CED is ()", "ground_truth": "140°"}

    table:prompts.jsonl?task=math&image=image_path&answer=ground_truth

Answers: detection a box, or a list of boxes, as numbers or as text; classification a list of labels, or labels with
commas; math and general text or a number. With options (a list, or such a list as text) the answer is a letter, an
option's text, or a whole number that counts the options from 0. One row is one open question. A list of candidates,
which holds the answer, has the wrong answers that are offered; else they are answers to questions of the same kind.
"""

import ast
import math
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size, scale
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.samples import LETTERS, TASKS, VALUES, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import tables
from currreft_nb.data.reading.common import Items, check_known, fit_box, four_numbers, origin, read_rows, shown
from currreft_nb.data.reading.json_streams import Found
from currreft_nb.data.reading.wording import asked_phrase, chosen_letter, clean_question, read_value

OPTIONAL = {"image": "image", "options": "options", "candidates": "candidates"}  # default columns that a table may lack
BOXES = ("xyxy", "xywh", "normalized", "thousand")
LONGEST_LIST = 10_000  # characters of a cell that may hold a list


def read(
    path: Path | str,
    tasks: Collection[str] = TASKS,
    *,
    task: str = "",
    question: str = "question",
    answer: str = "answer",
    image: str = "image",
    options: str = "options",
    candidates: str = "candidates",
    context: str = "",
    thinking: str = "",
    box: str = "xyxy",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> Items:
    """Yield a question of `task` for each row; `question` to `thinking` are names of columns.

    The text in the column `context` goes before the question. `box`: xyxy (corners) or xywh (corner and size) in
    pixels, normalized (corners from 0 to 1) or thousand (corners from 0 to 1000). `images`: the folder that image paths
    start from; default: that of the table. `files`: a pattern for the files of a folder. Images inside the table are
    written to the folder `extracted`. Raises `InputError` for a missing column.
    """
    check_known(path, "task", task, TASKS)
    check_known(path, "form of box", box, BOXES)
    if task not in tasks:
        return
    named = {"question": question, "answer": answer, "image": image, "options": options, "candidates": candidates}
    columns = {name: column for name, column in (named | {"context": context, "thinking": thinking}).items() if column}
    folder = Path(images) if images else Path(path) if Path(path).is_dir() else Path(path).parent
    found = _with_columns(tables.read(path, files, columns.values()), columns)
    yield from read_rows(found, partial(_read_row, task, columns, box, folder, extracted), f"a {task} question")


def _with_columns(found: Iterator[Found], columns: dict[str, str]) -> Iterator[Found]:
    """Yield the rows; raises `InputError` if the first row lacks a column, because all others will, too."""
    checked = False
    for file, line, row in found:
        if not checked and isinstance(row, dict):
            checked = True
            for name, column in columns.items():
                if column not in row and OPTIONAL.get(name) != column:
                    hint = did_you_mean(column, row, "columns are: {}")
                    raise InputError(f"{file}: no column {column!r}; write {name}=COLUMN{hint}")
        yield file, line, row


def _read_row(
    task: str, columns: dict[str, str], box: str, folder: Path, extracted: Path | None, row: dict, file: Path, line: int
) -> Iterator[Sample]:
    cells = {name: row.get(column) for name, column in columns.items()}
    about = shown(tables.image_of(cells["image"], folder, extracted))
    options = _list(cells["options"])
    question = clean_question(str(cells["question"] or ""))
    if question and cells.get("context"):
        question = f"{cells['context']}\n{question}"
    value = _answer(task, row[columns["answer"]], options, box, about.get("size"))
    closed = [_answer(task, each, [], box, about.get("size")) for each in _items(cells["candidates"], "candidates")]
    yield Sample(
        id=f"{file.stem}-{line}",
        task=task,
        split="train",
        source=file.stem,
        question=asked_phrase(question) if VALUES[task] == "boxes" else question,
        options=options,
        answer=value,
        thinking=str(cells["thinking"]) if cells.get("thinking") else None,
        extra=origin(file, line) | _closed(task, value, closed),
        **about,
    )


def _list(value: Any) -> list[str]:
    """Return the options of a cell: a list, or the text of a list in JSON or Python."""
    return [str(option) for option in _items(value, "options")]


def _items(value: Any, what: str) -> list:
    if isinstance(value, str) and value.strip():
        value = _literal(value)
    if value is None or value == "":
        return []
    if not isinstance(value, list | tuple):
        raise BadRow(f"{what} are no list", str(value))
    return list(value)


def _closed(task: str, value: Any, candidates: list) -> dict:
    """Return the entry of `extra` for the answers of which one is right; a label or a box is one by itself."""
    if not candidates:
        return {}
    items = candidates if VALUES[task] in ("text", "text or null") else [item for items in candidates for item in items]
    if lacking := [item for item in ([value] if items is candidates else value) if item not in items]:
        raise BadRow("answer is none of the candidates", str(lacking[0]))
    return {"candidates": list({str(item): item for item in items}.values())}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if len(text) <= LONGEST_LIST else text  # a long one can exhaust the parser
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _answer(task: str, value: Any, options: list[str], form: str, size: Size | None) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        if value is None and VALUES[task] == "text or null":
            return None
        raise BadRow("answer is empty or no number", str(value))
    if VALUES[task] == "boxes":
        return _boxes(value, form, size)
    if options and type(value) is int:
        if not 0 <= value < len(options):
            raise BadRow("answer is none of the options", f"{value} of {len(options)}")
        return LETTERS[value]
    if options and VALUES[task] != "labels":
        return chosen_letter(str(value), options)
    if VALUES[task] == "labels":
        return read_value(task, value, size) if isinstance(value, str) else [str(label) for label in value]
    return read_value(task, str(value), size)


def _boxes(value: Any, form: str, size: Size | None) -> list[list[float]]:
    if size is None:
        raise BadRow("row has no image")
    if isinstance(value, str):
        value = _literal(value) if value.strip().startswith("[") else read_value("detection", value, size)
    several = bool(value) and all(isinstance(item, list | tuple) for item in value)
    return [list(fit_box(_in_pixels(four_numbers(item), form, size), size)) for item in (value if several else [value])]


def _in_pixels(box: Box, form: str, size: Size) -> Box:
    if form == "xywh":
        return (box[0], box[1], round(box[0] + box[2], 4), round(box[1] + box[3], 4))
    unit = {"normalized": 1, "thousand": 1000}.get(form)
    return scale(box, (unit, unit), size) if unit else box
