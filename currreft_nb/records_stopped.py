"""Unfinished work that a run with other settings or inputs cannot go on from: kept until that run is complete.

    outputs/pocket/rl/stopped/<session>/   run.json, checkpoints/, metrics.jsonl, completions/, …

A later start with the settings that it was made with takes it back and resumes.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from currreft_nb.records import RECORD, find_work, read_record

STOPPED = "stopped"


def keep(folder: Path) -> Path | None:
    """Move what an unfinished run made to a folder of its own, and return that; None where it made nothing."""
    record, work = read_record(folder), find_work(folder)
    if record is None or all(path.name == "figures" for path in work):
        return None
    kept = folder / STOPPED / record["session"]
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / RECORD, kept / RECORD)
    for path in work:
        os.replace(path, kept / path.name)
    return kept


def take_back(folder: Path, fits: Callable[[dict], bool]) -> bool:
    """Exchange what an unfinished run made for the kept work whose record fits; say whether there is such work."""
    for kept in sorted((folder / STOPPED).glob("*")):
        record = read_record(kept)
        if record is not None and fits(record):
            keep(folder)
            for path in find_work(kept):
                os.replace(path, folder / path.name)
            os.replace(kept / RECORD, folder / RECORD)
            kept.rmdir()
            return True
    return False


def drop(folder: Path) -> None:
    """Delete all that was kept."""
    shutil.rmtree(folder / STOPPED, ignore_errors=True)


def described(kept: Path) -> str:
    """Say what was kept: the last checkpoint's step, or else the names of its files.

    >>> described(Path("nowhere"))
    'nothing'
    """
    steps = [int(path.name.rpartition("-")[2]) for path in kept.glob("checkpoints/checkpoint-*")]
    if steps:
        return f"the checkpoint of step {max(steps)}"
    return ", ".join(path.name for path in find_work(kept)) or "nothing"
