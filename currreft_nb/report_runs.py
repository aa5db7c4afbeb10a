"""The runs of a report: those of an experiment's folder that are complete, and those that are not."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.records import RECORD, display_path, input_folder, read_record

REPORT_NOTEBOOK = "07_report"
DATA_NOTEBOOK = "01_data_curation"
EVALUATION_NOTEBOOK = "06_evaluation"
TRAINING_NOTEBOOKS = ("02_rl_binary", "03_rl_choice", "04_rl_open", "05_rejection_sampling", "baseline_sft")


def read_runs(folder: Path) -> dict[Path, dict]:
    """Return the records of all runs in an experiment's folder, complete or not, by their folders.

    Raises `InputError` when none is complete.
    """
    places = [path.parent for path in sorted(folder.glob(f"*/{RECORD}"))]
    records = {place: record for place in places if (record := read_record(place)) is not None}
    if not any(record["status"] == "complete" for record in records.values()):
        raise InputError(f"{folder} holds no complete run; give the folder of an experiment, such as outputs/pocket")
    return records


def found_values(records: Mapping[Path, Mapping[str, Any]], root: Path) -> dict[str, Any]:
    """Return the parameters of a report on these runs: the complete ones, by start time."""
    complete = [(record["started"], place) for place, record in records.items() if record["status"] == "complete"]
    places = [place for _, place in sorted(complete)]

    def made_by(*notebooks: str) -> list[str]:
        return [display_path(place, root) for place in places if records[place]["notebook"] in notebooks]

    used = [
        display_path(input_folder(place, note), root)
        for place in places
        for note in records[place]["inputs"]
        if note["notebook"] == DATA_NOTEBOOK
    ]
    data = (made_by(DATA_NOTEBOOK) or used)[-1:]  # an experiment may use another one's data
    found = {"evaluations": made_by(EVALUATION_NOTEBOOK), "trainings": made_by(*TRAINING_NOTEBOOKS)}
    return found | ({"data": data[0]} if data else {})


def found_runs(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the complete runs in an experiment's folder as a report's parameters, with absolute paths.

    Raises `InputError` when there is none.
    """
    folder = Path(folder).resolve()
    return found_values(read_runs(folder), folder / "nowhere")


def former_values(step: Path, record: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the settings that a report was made with, its inputs where they lie now, without those not complete."""
    moved = {note["given"]: display_path(input_folder(step, note), root) for note in record["inputs"]}
    values = dict(record["settings"])
    for name in ("evaluations", "trainings"):
        here = [moved.get(item, item) for item in values.get(name, [])]
        values[name] = [item for item in here if _is_complete(root / item)]
    return values | ({"data": moved.get(values["data"], values["data"])} if "data" in values else {})


def _is_complete(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and "complete" in (record["status"], record.get("last_complete", {}).get("status"))


def names_of(folder: Path, other: Path) -> tuple[str, str]:
    """Return distinct names for two experiments' folders.

    >>> names_of(Path("a/pocket"), Path("b/pocket"))
    ('pocket', 'the other pocket')
    """
    return folder.name, other.name if other.name != folder.name else f"the other {other.name}"


def unfinished(folder: Path) -> list[str]:
    """Return a line for each run in an experiment's folder that is not complete, except reports."""
    lines = []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        record = read_record(path.parent) or {"notebook": REPORT_NOTEBOOK}
        if record["notebook"] != REPORT_NOTEBOOK and record["status"] != "complete":
            why = f": {record['error']}" if record.get("error") else ", stopped or still running"
            lines.append(f"{path.parent.name} ({record['notebook']}) is not complete{why}")
    return lines
