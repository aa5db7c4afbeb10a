"""Conversations as LLaVA, ShareGPT and OpenAI write them, in any kind of table: MathV360K, Geo170K, VLM-R1, LLaVA-CoT.

    {"id": 1, "image": "Clevr_CoGenT_TrainA_R1/data/images/CLEVR_trainA_000001_16885.png", "conversations": [
      {"from": "human", "value": "<image>What number of purple metallic balls are there?"},
      {"from": "gpt", "value": "0"}]}
    {"images": ["a.png"], "messages": [{"role": "user", "content": "<image>How many balls?"},
      {"role": "assistant", "content": "0"}]}
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}},
      {"type": "text", "text": "How many balls?"}]}, {"role": "assistant", "content": "0"}]}
    {"images": [{"bytes": ..., "path": ...}], "texts": [{"user": "Question: How many actions are depicted in the
      diagram?\\nChoices:\\nA. 6.\\nB. 4.\\nAnswer with the letter.", "assistant": "Answer: B", "source": "TQA"}]}

The third has its picture among the parts of a message: a path, or base64; a web address is rejected. The last is a row
of The Cauldron: its `texts` are independent questions about one image, and each becomes a sample.
Only the first question of a conversation is used; later ones, which may need the turns before them, and rows with
several images are left out and counted. Rows without an image are text-only questions. Options inside the question are
separated (in a general question only if its answer is one of them). The answer is the text in tags (`<answer>`,
LLaVA-CoT's `<CONCLUSION>`) or after "The answer is"; the text before it is reasoning.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import TASKS, VALUES, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import golds, picture_cells, tables, wording
from currreft_nb.data.reading.common import Items, check_known, image_folder, later_questions, origin, read_rows, shown
from currreft_nb.data.reading.json_streams import Found

TURNS = ("conversations", "messages", "conversation")  # columns of a conversation


def read(
    path: Path | str,
    tasks: Collection[str] = TASKS,
    *,
    task: str = "math",
    image: str = "image",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> Items:
    """Yield a question of `task` for each conversation of a file, or of the files of a folder that match `files`.

    `image`: the column of the picture; default: `image` or `images`; empty: no pictures. `images`: the folder that
    image paths start from; default: that of the file. A question that says `<image>` and has no picture is rejected.
    Images inside a Parquet file are written to the folder `extracted`. Raises `InputError`.
    """
    check_known(path, "task", task, TASKS)
    if task in tasks:
        folder = image_folder(path, images)
        pictures = picture_cells.picture_columns(image)
        found = _apart(tables.read(path, files, ("id", *pictures, *TURNS, "texts")), pictures)
        yield from read_rows(found, partial(_read_row, task, pictures, folder, extracted), "a conversation")


def _apart(found: Iterator[Found], pictures: tuple[str, ...]) -> Iterator[Found]:
    """Yield each question of a row of The Cauldron as a conversation; yield other rows unchanged."""
    for file, line, row in found:
        if not isinstance(row, dict) or not isinstance(texts := row.get("texts"), list):
            yield file, line, row
            continue
        for number, text in enumerate(texts, 1):
            pair = text if isinstance(text, dict) else {}
            turns = [{"from": "human", "value": pair.get("user")}, {"from": "gpt", "value": pair.get("assistant")}]
            kept = {name: row.get(name) for name in pictures}
            yield file, line, kept | {"conversations": turns, "question number": number}


def _read_row(
    task: str, pictures: tuple[str, ...], folder: Path, extracted: Path | None, row: dict, file: Path, line: int
) -> Items:
    turns, inside = _turns(row, file)
    asked, answered, later = wording.first_exchange(turns, "from", "value")
    row = row | {pictures[0]: inside} if inside and pictures else row
    about = shown(picture_cells.image_of(picture_cells.picture_cell(row, pictures, asked, file), folder, extracted))
    number = row.get("question number", 1)
    yield Sample(
        id=f"{file.stem}-{line}" + (f"-{number}" if number > 1 else ""),
        task=task,
        split="train",
        source=file.stem,
        extra=origin(file, line),
        **_read_exchange(task, asked, answered, about.get("size")),
        **about,
    )
    yield from later_questions(later, file, line)


def _turns(row: dict, file: Path) -> tuple[list[dict], list]:
    """Return the turns in LLaVA's form, and the pictures inside the first question. Raises `BadRow`."""
    found = next((row[name] for name in TURNS if row.get(name) is not None), None)
    if found is None:
        listed = ", ".join(map(str, tables.whole(row, file)))
        raise BadRow("row has no conversations or messages", f"columns are: {listed}")
    said = [
        (turn["from"], turn["value"]) if "from" in turn else (turn["role"], turn["content"])  # LLaVA's names, OpenAI's
        for turn in found
    ]
    first = next((content for role, content in said if role in ("user", "human")), None)
    pictures = [cell for part in first or () if _is_parts(first) and (cell := _picture(part)) is not None]
    return [{"from": role, "value": _text(content)} for role, content in said], pictures


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)


def _text(content: Any) -> Any:
    """Return the text of a message; a picture among its parts has the place `<image>`."""
    if not _is_parts(content):
        return content
    return "".join("<image>" if "image" in part["type"] else part.get("text") or "" for part in content)


def _picture(part: dict) -> str | bytes | dict | None:
    """Return the picture of a part; None for a text, and for a place whose picture is in a column. Raises `BadRow`."""
    value = part.get("image_url") or part.get("image")
    value = value["url"] if isinstance(value, dict) and "url" in value else value
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        raise BadRow("image is a web address; store the file, and write its path", value)
    return picture_cells.decoded(value) if value.startswith("data:") else value.removeprefix("file://")


def _read_exchange(task: str, asked: str, answered: Any, size: Size | None) -> dict:
    question = wording.clean_question(asked)
    thinking, answer = wording.split_prose(answered) if isinstance(answered, str) else (None, str(answered))
    if VALUES[task] == "text":
        answer = str(golds.one_answer(answered if isinstance(answered, list) else answer, "", "")[0])
    if VALUES[task] == "boxes":
        boxes = wording.read_value(task, answer, size)
        return {"question": wording.asked_phrase(question), "answer": boxes, "thinking": thinking}
    text, options = question, list[str]()
    try:
        if VALUES[task] != "labels":
            text, options = wording.split_options(question)
        if VALUES[task] == "text" and not options:
            text, options = wording.options_asked(question, answer)
        answer = wording.chosen_letter(answer, options) if options else wording.read_value(task, answer, size)
    except BadRow:
        if VALUES[task] != "text or null":
            raise
        text, options = question, []  # the list in the text is no list of options
    if VALUES[task] == "text" and not options:
        wording.refuse_letter(answer)
    if VALUES[task] == "labels":
        wording.refuse_letter_label(question, [*answer])
    return {"question": wording.clean_question(text), "options": options, "answer": answer, "thinking": thinking}
