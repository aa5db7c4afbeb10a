"""The completions of a training run, by step. A group is the completions of one question, which are compared.

{"step": 12, "id": "scene-7", "task": "math", "stage": "open", "completion": "<think></think><answer>3</answer>",
 "accuracy": 1.0, "format": 1.0, "reason": "ok", "length": 11, "truncated": false,
 "group": 0, "reward": 1.5, "advantage": 0.66}
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.journal import read_journal


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
    rows: Sequence[dict], task: str = "", stage: str = "", reason: str = "", disagree: bool = False
) -> list[dict]:
    """Return the rows of the groups of a task and stage in which a completion has the reason; "" stands for any.

    `disagree`: only groups whose rewards differ; training learns from no others.

    >>> earned = ((0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0))
    >>> rows = [{"group": group, "task": "math", "reward": reward} for group, reward in earned]
    >>> [row["group"] for row in choose_groups(rows, task="math", disagree=True)]
    [0, 0]
    """
    chosen = []
    for group in grouped(rows).values():
        asked = (not task or group[0]["task"] == task) and (not stage or group[0]["stage"] == stage)
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
    """Return the groups, shuffled by the hash of their id, alternating between tasks and stages."""
    turns: Counter[tuple[str, str]] = Counter()
    drawn = []
    for group in sorted(found, key=lambda group: hashlib.sha256(f"{group[0]['id']}".encode()).digest()):
        kind = group[0]["task"], group[0]["stage"]
        turns[kind] += 1
        drawn.append((turns[kind], group))
    return [group for _, group in sorted(drawn, key=lambda turn: turn[0])]
