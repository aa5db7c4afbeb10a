"""Geometry3K: one folder per problem, with a drawing and four options.

    11/data.json
        {"problem_text": "If A D = 27, A B = 8, and A E = 12, find B C.", "choices": ["8", "10", "12", "13.5"],
         "compact_text": "If AD = 27, AB = 8, and AE = 12, find BC.", "compact_choices": ["8", "10", "12", "13.5"],
         "answer": "B", "precise_value": [8.0, 10.0, 12.0, 13.5], "problem_type_goal": ["Length"], "unit": "", ...}
    11/img_diagram.png  the drawing; img_diagram_point.png names its points, img_problem.png shows the text too

Question and options are the compact ones, without spaces between the points. The answer is a letter.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import Items, image_in, input_files, read_rows, shown
from currreft_nb.data.reading.json_streams import json_files

DRAWING = "img_diagram.png"
KEPT = ("problem_type_graph", "problem_type_goal", "precise_value", "unit", "data_type")


def read(path: Path | str, tasks: Collection[str] = ("math",)) -> Items:
    """Yield the question of each problem folder in a folder and below (train, val and test). Raises `InputError`."""
    files = input_files(path, "a Geometry3K folder, with a folder for each problem", "**/data.json")
    if "math" in tasks:
        yield from read_rows(json_files(files), _read_problem, "a Geometry3K problem")


def _read_problem(row: dict, file: Path, line: int | None) -> Iterator[Sample]:
    options = row.get("compact_choices") or row["choices"]
    if row["answer"] not in LETTERS[: len(options)]:
        raise BadRow("answer is none of the options", f"{row['answer']!r} of {len(options)}")
    place = {"file": f"{file.parent.name}/{file.name}", "line": None}
    yield Sample(
        id=f"geometry3k-{row['id']}",
        task="math",
        split="train",
        source="geometry3k",
        question=row.get("compact_text") or row["problem_text"],
        options=options,
        answer=row["answer"],
        extra={name: row[name] for name in KEPT if row.get(name)} | {"origin": place},
        **shown(image_in(file.parent, DRAWING)),
    )
