"""Any table, by the names of its columns: JSON lines, JSON, CSV, TSV, Parquet, a saved or a hub dataset.

    {"image_path": "./Geo170K/images/test/0.png", "question": "... the size of angle CED is ()", "ground_truth": "140°"}

    table:prompts.jsonl?task=math&image=image_path&answer=ground_truth

Answers: detection a box, or a list of boxes, as numbers or as text; classification a list of labels, or labels with
commas; math and general text or a number. Options are a list, lettered text, a column each (A, B, C, ...), or part of
the question; the answer is then a letter, an option's text, or a whole number that counts the options from 0. In
mathematics they may be in a column `choices`. Of several people's answers the most common is the gold; `extra["share"]`
is its share. The module `data.reading.golds` has the forms. What can be read in two ways is rejected, and so are a
letter without options, and a question that says `<image>` in a row without a picture. Tags around an answer are taken
off; of a solution in words, what follows "The answer is" or "####" or stands in a box is the answer, and the rest
reasoning, except in general questions. One row is one open question. A list of candidates, which holds the answer, has
the wrong answers that are offered; else they are answers to questions of the same kind.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Box, Size, scale
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.samples import TASKS, VALUES, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import golds, picture_cells, tables, wording
from currreft_nb.data.reading.common import (
    Items,
    check_known,
    fit_box,
    four_numbers,
    image_folder,
    origin,
    read_rows,
    shown,
)
from currreft_nb.data.reading.json_streams import Found

OPTIONAL = {"image": "image", "options": "options", "candidates": "candidates"}  # default columns that a table may lack
CHOICES = "choices"  # another usual column of options
BOXES = ("xyxy", "xywh", "normalized", "thousand")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table is read: its task, its columns by role, the columns of the picture, and the forms of its answers."""

    task: str
    columns: dict[str, str]
    pictures: tuple[str, ...]
    box: str
    answer_as: str
    folder: Path
    extracted: Path | None


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
    answer_as: str = "",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> Items:
    """Yield a question of `task` for each row; `question` to `thinking` are names of columns.

    The text in the column `context` goes before the question. `image`: by default also the column `images`; empty: no
    pictures. `box`: xyxy (corners) or xywh (corner and size) in pixels, normalized (corners from 0 to 1) or thousand
    (corners from 0 to 1000). `answer_as`: how all answers are read, where they can be read in two ways: letter, text or
    index (of an option, from 0), votes (of several people) or labels. `images`: the folder that image paths start from;
    default: that of the table. `files`: a pattern for the files of a folder. Images inside the table are written to the
    folder `extracted`. Raises `InputError` for a missing column.
    """
    check_known(path, "task", task, TASKS)
    check_known(path, "form of box", box, BOXES)
    check_known(path, "way to read an answer", answer_as, golds.ANSWER_AS)
    if task not in tasks:
        return
    named = {"question": question, "answer": answer, "image": image, "options": options, "candidates": candidates}
    columns = {name: column for name, column in (named | {"context": context, "thinking": thinking}).items() if column}
    folder = image_folder(path, images)
    pictures = picture_cells.picture_columns(image)
    layout = Layout(task=task, columns=columns, pictures=pictures, box=box, answer_as=answer_as, folder=folder,
                    extracted=extracted)  # fmt: skip
    numbered = [name for column in pictures for name in picture_cells.numbered_like(column)]
    wanted = {*columns.values(), *pictures, *numbered, *golds.COLUMN_NAMES, CHOICES}
    found = _with_columns(tables.read(path, files, wanted), columns)
    yield from read_rows(found, partial(_read_row, layout), f"a {task} question")


def _with_columns(found: Iterator[Found], columns: dict[str, str]) -> Iterator[Found]:
    """Yield the rows; raises `InputError` if the first row lacks a column, because all others will, too."""
    checked = False
    for file, line, row in found:
        if not checked and isinstance(row, dict):
            checked = True
            for name, column in columns.items():
                if column not in row and OPTIONAL.get(name) != column:
                    known = tables.whole(row, file)
                    close = did_you_mean(column, known, "")
                    listed = f"{close.rstrip('; ')}; columns are: {', '.join(sorted(known))}"
                    raise InputError(f"{file}: no column {column!r}; write {name}=COLUMN{listed}")
        yield file, line, row


def _read_row(layout: Layout, row: dict, file: Path, line: int) -> Iterator[Sample]:
    cells = {name: row.get(column) for name, column in layout.columns.items()}
    before, asked = (str(cells.get(name) or "") for name in ("context", "question"))
    picture = picture_cells.picture_cell(row, layout.pictures, f"{before}\n{asked}", file)
    about = shown(picture_cells.image_of(picture, layout.folder, layout.extracted))
    reasoning, value = _solution(layout.task, row[layout.columns["answer"]])
    question, options = _options(layout, wording.clean_question(asked), value, row, file)
    value = golds.named_option(value, row, options, layout.answer_as)
    answer, share = _answer(layout, value, options, about.get("size"))
    if VALUES[layout.task] == "labels":
        wording.refuse_letter_label(question, answer)
    closed = [_answer(layout, each, [], about.get("size"))[0] for each in _items(cells.get("candidates"), "candidates")]
    if question and before:
        question = f"{wording.clean_question(before)}\n{question}"
    yield Sample(
        id=f"{file.stem}-{line}",
        task=layout.task,
        split="train",
        source=file.stem,
        question=wording.asked_phrase(question) if VALUES[layout.task] == "boxes" else question,
        options=options,
        answer=answer,
        thinking=str(cells["thinking"]) if cells.get("thinking") else reasoning,
        extra=origin(file, line) | ({} if share is None else {"share": share}) | _closed(layout.task, answer, closed),
        **about,
    )


def _solution(task: str, value: Any) -> tuple[str | None, Any]:
    """Return the reasoning and the answer of a text with tags, or of a solution; any other value is the answer."""
    if not isinstance(value, str):
        return None, value
    if VALUES[task] in ("text", "labels"):
        return wording.split_prose(value)
    return wording.split_solution(value) if wording.TAGS.search(value) else (None, value)


def _items(value: Any, what: str) -> list:
    if isinstance(value, str) and value.strip():
        value = golds.literal(value)
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


def _options(layout: Layout, question: str, answer: Any, row: dict, file: Path) -> tuple[str, list[str]]:
    """Return the question and its options: those of the column, of a column each, or of the question's own text."""
    cell = row.get(layout.columns.get("options", ""))
    if cell is None and VALUES[layout.task] == "text" and CHOICES not in layout.columns.values():
        cell = row.get(CHOICES)
    options = golds.read_options(cell) or golds.options_in_columns(row)
    if options or VALUES[layout.task] != "text":
        return question, options
    text = str(answer)
    if text in row and len(text) == 1:  # the options are columns a, b, c, and the answer names one of them
        return question, golds.options_in_columns({name.upper(): row[name] for name in row if len(name) == 1})
    question, options = wording.options_asked(question, text)
    if not options and not isinstance(cell, list | tuple):  # an empty list states that there are none
        listed = ", ".join(map(str, tables.whole(row, file)))
        wording.refuse_letter(text, f"; write options=COLUMN; columns are: {listed}")
    return question, options


def _answer(layout: Layout, value: Any, options: list[str], size: Size | None) -> tuple[Any, float | None]:
    """Return the structured answer, and the share of the people who gave it where several were asked."""
    kind, column = VALUES[layout.task], layout.columns["answer"]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        if value is None and kind == "text or null":
            return None, None
        raise BadRow("answer is empty or no number", str(value))
    if kind == "boxes":
        return _boxes(value, layout.box, size), None
    if kind == "labels":
        return golds.label_answer(value, column, layout.answer_as)
    value, share = golds.one_answer(value, column, layout.answer_as)
    if options:
        return wording.chosen_letter(value, options, layout.answer_as, counted=True), share
    return str(value).strip(), share


def _boxes(value: Any, form: str, size: Size | None) -> list[list[float]]:
    if size is None:
        raise BadRow("row has no image")
    if isinstance(value, str):
        value = golds.literal(value) if value.strip().startswith("[") else wording.read_value("detection", value, size)
    several = bool(value) and all(isinstance(item, list | tuple) for item in value)
    return [list(fit_box(_in_pixels(four_numbers(item), form, size), size)) for item in (value if several else [value])]


def _in_pixels(box: Box, form: str, size: Size) -> Box:
    if form == "xywh":
        return (box[0], box[1], round(box[0] + box[2], 4), round(box[1] + box[3], 4))
    unit = {"normalized": 1, "thousand": 1000}.get(form)
    return scale(box, (unit, unit), size) if unit else box
