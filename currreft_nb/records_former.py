"""A complete run while it is being repeated: set aside, given up when the repetition is complete, else put back.

A repetition may be refused by its kernel long after the settings were checked: the model is no model, a source is
missing. As long as it has made nothing of its own, the folder goes back to what it was.

    outputs/pocket/rl/former/         run.json, metrics.jsonl, completions/, …: what a repetition would clear away
                     /former/rest.json  sizes and times of what stays in place, such as adapter/ and data/
                     /former.ipynb      the executed notebook
"""

import json
import os
import shutil
from pathlib import Path

from currreft_nb.records import RECORD, clear_work, find_work, read_record

FORMER = "former"
FORMER_NOTEBOOK = "former.ipynb"
FAILED_NOTEBOOK = "failed.ipynb"
NOTEBOOK = "notebook.ipynb"
ALWAYS_NEW = (RECORD, NOTEBOOK, FORMER_NOTEBOOK, FAILED_NOTEBOOK, "log.txt", "stopped")


def set_notebook_aside(folder: Path) -> None:
    """Keep the executed notebook of a complete run, which Papermill is about to write over."""
    if (folder / NOTEBOOK).is_file():
        shutil.copy2(folder / NOTEBOOK, folder / FORMER_NOTEBOOK)


def set_aside(folder: Path) -> None:
    """Move what an unfinished run would continue from out of the way of a repetition."""
    former, partial = folder / FORMER, folder / f"{FORMER}.partial"
    for path in (former, partial):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir()
    shutil.copy2(folder / RECORD, partial / RECORD)
    (partial / "rest.json").write_text(json.dumps(_rest(folder)), encoding="utf-8")
    os.replace(partial, former)
    for path in find_work(folder):
        os.replace(path, former / path.name)


def give_up(folder: Path) -> None:
    """Delete what was set aside."""
    shutil.rmtree(folder / FORMER, ignore_errors=True)
    (folder / FORMER_NOTEBOOK).unlink(missing_ok=True)


def put_back(folder: Path) -> bool:
    """Put back what was set aside, unless the repetition has made something; say whether a complete run stands.

    Nobody may be writing to the folder.
    """
    former, kept, record = folder / FORMER, read_record(folder / FORMER), read_record(folder)
    complete = record is not None and record["status"] == "complete"
    if kept is not None and record is not None and complete and record["session"] != kept["session"]:
        give_up(folder)  # a repetition that was killed between finishing and this
        return True
    if kept is not None:
        if not complete:
            if _has_work(folder) or json.loads((former / "rest.json").read_text(encoding="utf-8")) != _rest(folder):
                return False
            clear_work(folder)  # figures
            shutil.copy2(former / RECORD, folder / f"{RECORD}.partial")
            os.replace(folder / f"{RECORD}.partial", folder / RECORD)  # from here on this goes to its end
            complete = True
        for path in find_work(former):
            os.replace(path, folder / path.name)
        shutil.rmtree(former)
    return complete


def put_all_back(folder: Path) -> bool:
    """Do as `put_back`, when nobody executes a notebook there any more, and put the executed notebook back, too."""
    stands = put_back(folder)
    if stands and (folder / FORMER_NOTEBOOK).is_file():
        if (folder / NOTEBOOK).is_file():
            os.replace(folder / NOTEBOOK, folder / FAILED_NOTEBOOK)
        os.replace(folder / FORMER_NOTEBOOK, folder / NOTEBOOK)
    return stands


def _has_work(folder: Path) -> bool:
    return any(path.name != "figures" for path in find_work(folder))


def _rest(folder: Path) -> dict[str, list[int]]:
    """Return size and time of each file that a repetition would replace only with something of its own."""
    aside = {path.name for path in find_work(folder)} | {FORMER, f"{FORMER}.partial", *ALWAYS_NEW}
    tops = [path for path in sorted(folder.iterdir()) if path.name not in aside and path.suffix != ".partial"]
    found = {}
    for top in tops:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # locks, half-made data
            if path.is_file() and not hidden:
                status = path.stat()
                found[path.relative_to(folder).as_posix()] = [status.st_size, status.st_mtime_ns]
    return found
