"""Answers stored as they arrive, so that only missing answers are asked for after an interruption; completions by step.

{"id": "general-17", "index": 3, "count": 8, "hash": "5d41402abc4b2a76", "author": "pocket 1b4f0e98 T=1 seed 0",
 "task": "general", "stage": "open", "split": "pool", "source": "drawn",
 "completion": "<think>…</think><answer>red</answer>", "tokens": 21, "truncated": false}
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from currreft_nb import InputError
from currreft_nb.core.files import digest
from currreft_nb.core.journal import append_journal, read_journal
from currreft_nb.core.samples import Sample

Row = TypeVar("Row", bound=Mapping)
REMEDY = "delete the file or use a new folder"


def collect_answers(
    sample_function: Callable[[list[Sample]], Sequence[Sequence[Any]]],
    samples: Sequence[Sample],
    path: str | os.PathLike,
    *,
    author: str = "",
    batch_size: int = 32,
) -> list[dict]:
    """Return several answers to each sample, one row an answer, asking only for those that are not in the file.

    `sample_function`: from samples to the answers to each, texts or `Completion`s (`generation.answerers.sampler`).
    `author`: who answers and how (model, adapter, temperature, seed). `batch_size`: questions between two writes. A
    failed answer is None: it is counted, and asked for at the next start. Raises `InputError` for a file with answers
    to other questions of these ids, or of another author.
    """
    stored: dict[str, list[dict]] = {sample.id: [] for sample in samples}
    for row in stored_rows(path, samples, author):
        stored[row["id"]].append(row)
    pending = [sample for sample in samples if _missing(stored[sample.id])]
    for start in range(0, len(pending), batch_size):
        batch = pending[start : start + batch_size]
        rows = [row for pair in pair_up(batch, sample_function(batch)) for row in _rows(*pair, author)]
        known = {(row["id"], row["index"]) for sample in batch for row in stored[sample.id]}
        rows = [row for row in rows if (row["id"], row["index"]) not in known]
        append_journal(path, rows)
        for row in rows:
            stored[row["id"]].append(row)
        done = len(samples) - len(pending) + start + len(batch)
        print(f"answered {done:6d} of {len(samples)} questions", flush=True)
    if short := sum(_missing(stored[sample.id]) for sample in samples):
        print(f"{short} questions lack answers, because requests failed; run this again to repeat them")
    return [row for sample in samples for row in sorted(stored[sample.id], key=lambda row: row["index"])]


def stored_rows(path: str | os.PathLike, samples: Sequence[Sample], author: str, arm: str | None = None) -> list[dict]:
    """Return the rows of a file that answer the samples; with `arm`, the records of that arm.

    Raises `InputError` for a duplicate id in the samples, and for rows of other questions or of another author.
    """
    hashes = question_hashes(samples)
    rows = [row for row in read_journal(path) if row["id"] in hashes and row.get("arm") == arm]
    for row in rows:
        if row["hash"] != hashes[row["id"]]:
            raise InputError(f"{path} holds an answer to another question with the id {row['id']!r}; {REMEDY}")
        if row["author"] != author:
            whose = f" of arm {arm!r}" if arm else ""
            raise InputError(f"{path} holds answers{whose} by {row['author']!r}, not by {author!r}; {REMEDY}")
    return rows


def _missing(rows: Sequence[Mapping]) -> bool:
    return not rows or len(rows) < rows[0]["count"]


def _rows(sample: Sample, answers: Sequence[Any], author: str) -> list[dict]:
    common = {"id": sample.id, "count": len(answers), "hash": question_hash(sample), "author": author}
    common |= {"task": sample.task, "stage": sample.stage, "split": sample.split, "source": sample.source}
    had = [(index, answer) for index, answer in enumerate(answers) if answer is not None]
    return [{**common, "index": index, **completion_fields(answer)} for index, answer in had]


def pair_up(samples: Sequence[Sample], answers: Sequence[Any]) -> list[tuple[Sample, Any]]:
    """Return each sample with its answer. Raises `InputError` when their numbers differ."""
    if len(answers) != len(samples):
        raise InputError(f"{len(samples)} questions got {len(answers)} answers; each needs one, in the same order")
    return list(zip(samples, answers))


def completion_fields(answer: Any) -> dict:
    """Return completion, tokens and truncated of a `Completion`, or of a text, whose length is unknown.

    >>> completion_fields("<answer>3</answer>")
    {'completion': '<answer>3</answer>', 'tokens': None, 'truncated': None}
    """
    if isinstance(answer, str):
        return {"completion": answer, "tokens": None, "truncated": None}
    return {"completion": answer.text, "tokens": answer.tokens, "truncated": answer.truncated}


def question_hashes(samples: Sequence[Sample]) -> dict[str, str]:
    """Return the question hashes by id. Raises `InputError` for a duplicate id."""
    hashes: dict[str, str] = {}
    for sample in samples:
        if sample.id in hashes:
            raise InputError(f"duplicate id {sample.id!r}; answers are stored by id, so ids must be unique")
        hashes[sample.id] = question_hash(sample)
    return hashes


def question_hash(sample: Sample) -> str:
    """Return a hash of the question and its reference answer: a stored answer counts only for the same hash.

    >>> question_hash(Sample(id="a", task="math", split="val", source="s", question="6 * 7", answer="42"))
    'ca5e22f2cc67dcb1'
    """
    parts = [sample.task, sample.stage, sample.question, sample.claim, sample.options, sample.answer, sample.size]
    image = Path(sample.image).name if sample.image else None
    return digest([*parts, image])


@dataclass(frozen=True)
class Completion:
    """A model's answer. `tokens`: its length; `truncated`: it reached the limit before its end; None: unknown."""

    text: str
    tokens: int | None = None
    truncated: bool | None = None


def read_completions(folder: Path, step: int | str) -> list[dict]:
    """Return the completions of a step: a number, or "first", "middle", "last"; none from a folder without any.

    Raises `InputError` for a step without completions in a folder that has some.
    """
    paths = _paths(folder)
    if not paths:
        return []
    steps = sorted(paths)
    named = paths | {"first": paths[steps[0]], "middle": paths[steps[len(steps) // 2]], "last": paths[steps[-1]]}
    if step not in named:
        known = f"first, middle, last or a number from {steps[0]} to {steps[-1]}"
        raise InputError(f"there are no completions of step {step!r}; give {known}")
    return read_journal(named[step])


def completion_steps(folder: Path) -> list[int]:
    """Return the steps that have completions in a run folder, ascending."""
    return sorted(_paths(folder))


def _paths(folder: Path) -> dict[int, Path]:
    return {int(path.stem.removeprefix("step-")): path for path in (folder / "completions").glob("step-*.jsonl")}


def choose_groups(
    rows: Sequence[Row], task: str = "", stage: str = "", reason: str = "", disagree: bool = False
) -> list[Row]:
    """Return the rows of the groups of a task and stage in which a completion has the reason; "" permits any.

    `disagree`: only groups whose rewards differ; training learns from no others.

    >>> earned = ((0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0))
    >>> rows = [{"group": group, "task": "math", "reward": reward} for group, reward in earned]
    >>> [row["group"] for row in choose_groups(rows, task="math", disagree=True)]
    [0, 0]
    """
    chosen: list[Row] = []
    for group in grouped(rows).values():
        asked = (not task or group[0]["task"] == task) and (not stage or group[0]["stage"] == stage)
        explained = not reason or any(row["reason"] == reason for row in group)
        if asked and explained and not (disagree and len({row["reward"] for row in group}) == 1):
            chosen += group
    return chosen


def grouped(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Return the rows by group, in their order."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups
