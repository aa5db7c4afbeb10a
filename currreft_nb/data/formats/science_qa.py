"""ScienceQA: school questions with options, about half of them with an image.

    problems.json
        {"1": {"question": "Which of these states is farthest north?", "answer": 0, "hint": "", "image": "image.png",
         "choices": ["West Virginia", "Louisiana", "Arizona", "Oklahoma"], "solution": "Look at the compass rose. ...",
         "lecture": "...", "subject": "social science", "topic": "geography", "split": "train", ...}, "2": {...}, ...}
    train/1/image.png   or images/train/1/image.png; `image` is null for a question without one

`answer` is an index from 0 and becomes a letter; `hint` goes before the question, `solution` is the reasoning. The
questions are general ones for the pool; with task=math they are trained as questions with options.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import Items, check_known, first_image, need_file, origin, read_rows, shown
from currreft_nb.data.reading.json_streams import json_items

SPLITS = ("train", "val", "test")
TASKS = ("general", "math")


def read(
    path: Path | str, tasks: Collection[str] = ("general",), *, split: str = "", task: str = "general", images: str = ""
) -> Items:
    """Yield the questions of a folder with problems.json, or of that file, in one `split` (default: all).

    `images`: the folder with train, val and test; default: the file's folder or `images` in it. Raises `InputError`.
    """
    what = "the ScienceQA folder with problems.json"
    path = need_file(path, what)
    file = path if path.is_file() else need_file(path / "problems.json", what)
    if split:
        check_known(file, "split", split, SPLITS)
    check_known(file, "task", task, TASKS)
    if task in tasks:
        folders = [Path(images)] if images else [file.parent, file.parent / "images"]
        found = ((file, None, {"id": id, "problem": problem}) for id, problem in json_items(file))
        yield from read_rows(found, partial(_read_problem, task, split, folders), "a ScienceQA problem")


def _read_problem(task: str, split: str, folders: list[Path], row: dict, file: Path, line: None) -> Iterator[Sample]:
    id, problem = row["id"], row["problem"]
    options, answer = problem["choices"], problem["answer"]
    if split and problem["split"] != split:
        return
    if type(answer) is not int or not 0 <= answer < len(options):
        raise BadRow("answer is none of the options", f"problem {id}: {answer!r} of {len(options)}")
    image = first_image(folders, f"{problem['split']}/{id}/{problem['image']}") if problem.get("image") else None
    hint, place = problem.get("hint") or "", origin(file)
    yield Sample(
        id=f"science_qa-{id}",
        task=task,
        split="train",
        source="science_qa",
        question=f"{hint}\n{problem['question']}".strip(),
        options=options,
        answer=LETTERS[answer],
        thinking=problem.get("solution") or None,
        extra={"split": problem["split"], "subject": problem.get("subject"), "topic": problem.get("topic"), **place},
        **shown(image),
    )
