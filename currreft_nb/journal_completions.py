"""The completions of a training, step by step: a group is what was sampled to one question, and is compared within.

{"step": 12, "id": "scene-7", "task": "math", "stage": "open", "completion": "<think></think><answer>3</answer>",
 "accuracy": 1.0, "format": 1.0, "reason": "ok", "length": 11, "truncated": false,
 "group": 0, "reward": 1.5, "advantage": 0.66}
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.journal import read_journal


def read_completions(folder: Path, step: int | str) -> list[dict]:
    """Return all completions of a step, or of the first, middle or last of those that a run folder holds; maybe none.

    Raises `InputError` for a step of which there are none although there are some of others.
    """
    paths = _paths(folder)
    steps = sorted(paths)
    if not steps:
        return []
    named: dict[int | str, int] = {"first": steps[0], "middle": steps[len(steps) // 2], "last": steps[-1]}
    number = named.get(step)
    if number is None and isinstance(step, int) and step in paths:
        number = step
    if number is None:
        raise InputError(
            f"there are no completions of step {step!r}; give first, middle, last or a number from {steps[0]} to"
            f" {steps[-1]}"
        )
    return read_journal(paths[number])


def completion_steps(folder: Path) -> list[int]:
    """Return the steps of which a run folder holds completions, ascending."""
    return sorted(_paths(folder))


def _paths(folder: Path) -> dict[int, Path]:
    return {int(path.stem.removeprefix("step-")): path for path in (folder / "completions").glob("step-*.jsonl")}


def choose_groups(
    rows: Sequence[dict], task: str = "", stage: str = "", reason: str = "", disagree: bool = False
) -> list[dict]:
    """Return the rows of the groups of a task and stage in which some completion has the reason; "" takes any.

    `disagree`: only groups whose rewards differ, from which something was learnt.

    >>> earned = ((0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0))
    >>> rows = [{"group": group, "task": "math", "reward": reward} for group, reward in earned]
    >>> [row["group"] for row in choose_groups(rows, task="math", disagree=True)]
    [0, 0]
    """
    chosen = []
    for group in grouped(rows).values():
        asked = all(not value or group[0][name] == value for name, value in (("task", task), ("stage", stage)))
        explained = not reason or any(row["reason"] == reason for row in group)
        if asked and explained and not (disagree and len({row["reward"] for row in group}) == 1):
            chosen += group
    return chosen


def grouped(rows: Sequence[dict]) -> dict[int, list[dict]]:
    """Return the rows by group, in their order."""
    groups: dict[int, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups


def drawn_by_lot(found: Sequence[Sequence[Mapping]]) -> list[Sequence[Mapping]]:
    """Return groups in the order of a lot, the first of each task and stage before the second of any."""
    turns: dict[tuple[str, str], int] = {}
    drawn = []
    for group in sorted(found, key=lambda group: hashlib.sha256(f"{group[0]['id']}".encode()).digest()):
        kind = group[0]["task"], group[0]["stage"]
        turns[kind] = turns.get(kind, 0) + 1
        drawn.append((turns[kind], group))
    return [group for _, group in sorted(drawn, key=lambda turn: turn[0])]
