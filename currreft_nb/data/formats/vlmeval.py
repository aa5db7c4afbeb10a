"""VLMEvalKit: a TSV file of questions, each with its picture in base64.

    index  question              hint  A     B    C    D    answer  category  image
    0      What is on the mat?         a cat a dog          A       animals   /9j/4AAQSkZJRgABAQ...
    1      What colour is it?          red   blue           B       colours   0

`image` holds the bytes of a picture, or the `index` of the row that does; `image_path` a file beside the table or in
`images`. The filled columns from A on are the options, and `answer` the letter; without them it is a text. `hint` goes
before the question. Rows without an answer, of test splits, make no question; neither do rows with several pictures.
The kit's own rules are in its `vlmeval/dataset/image_base.py`.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, golds, picture_cells, wording
from currreft_nb.data.reading.json_streams import MAX_ROW, Found, csv_rows

TASKS = ("general", "math")
REFERENCE = 64  # characters: a shorter image cell is the index of another row


def read(
    path: Path | str,
    tasks: Collection[str] = TASKS,
    *,
    task: str = "general",
    images: str = "",
    extracted: Path | None = None,
) -> common.Items:
    """Yield a question of `task`, general or math, for each row of a file, or of each `*.tsv` in a folder.

    `images`: the folder that `image_path` starts from; default: that of the file. Pictures are written to the folder
    `extracted`. Raises `InputError`.
    """
    common.check_known(path, "task", task, TASKS)
    if task not in tasks:
        return
    for file in common.input_files(path, "a TSV file of VLMEvalKit", "*.tsv"):
        if isinstance(file, common.Rejected):
            yield file
            continue
        folder = Path(images) if images else file.parent
        make = partial(_read_row, task, folder, extracted, dict[str, Path]())
        yield from common.read_rows(_in_order(csv_rows(file, "\t", MAX_ROW)), make, "a question of VLMEvalKit")


def _in_order(rows: Iterator[Found]) -> Iterator[Found]:
    """Yield the rows that refer to the picture of another one last."""
    later = []
    for file, line, row in rows:
        if isinstance(row, dict) and 0 < len(row.get("image", "")) <= REFERENCE:
            later.append((file, line, row))
        else:
            yield file, line, row
    yield from later


def _read_row(
    task: str, folder: Path, extracted: Path | None, seen: dict[str, Path], row: dict, file: Path, line: int | None
) -> Iterator[Sample]:
    image = _image(row, folder, extracted, seen)
    if not row.get("answer", "").strip():
        raise BadRow("question has no answer", fault=False)
    options, answer = golds.options_in_columns(row), row["answer"].strip()
    is_letter = len(answer) == 1 and answer in LETTERS  # also where a letter is the text of an option
    hint = row.get("hint", "").strip()
    yield Sample(
        id=f"vlmeval-{file.stem}-{row.get('index', line)}",
        task=task,
        split="train",
        source="vlmeval",
        question="\n".join(part for part in (hint, wording.clean_question(row["question"])) if part),
        options=options,
        answer=wording.chosen_letter(answer, options, "letter" if is_letter else "") if options else answer,
        extra={name: row[name] for name in ("category", "split") if row.get(name)} | common.origin(file, line),
        **common.shown(image),
    )


def _image(row: dict, folder: Path, extracted: Path | None, seen: dict[str, Path]) -> Path:
    text = row.get("image", "").strip()
    if 0 < len(text) <= REFERENCE:
        if text not in seen:
            raise BadRow("image is neither base64 nor the index of a row with a picture", text)
        return seen[text]
    value = picture_cells.only_image(text or row.get("image_path", "").strip())
    path = picture_cells.need_image(picture_cells.decoded(value) if text else value, folder, extracted)
    return seen.setdefault(row.get("index", ""), path)
