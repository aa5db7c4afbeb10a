"""The report: run notebook 07 on an experiment's folder, and export it as one page that loads nothing from outside.

outputs/pocket/report.html      the page
outputs/pocket/results.csv      its scores, one row per score (`report.results` defines each column)
outputs/pocket/results.json     everything on the page: scores, comparisons, costs, settings, hashes, versions
outputs/pocket/report/          the run that made them
outputs/pocket/beside-other/    compared with a second experiment: the run and its page
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.files import atomic_write
from currreft_nb.report.page import export_page
from currreft_nb.report.results import RESULTS
from currreft_nb.running.fingerprints import input_folder
from currreft_nb.running.kernel import execute_run
from currreft_nb.running.parameters import declarations
from currreft_nb.running.progress import Status
from currreft_nb.running.project import display_path, find_notebook, project_root
from currreft_nb.running.record import NOTEBOOK, RECORD, read_record

PAGE = "report.html"
REPORT_NOTEBOOK = "07_report"
DATA_NOTEBOOK = "01_data_curation"
EVALUATION_NOTEBOOK = "06_evaluation"
TRAINING_NOTEBOOKS = ("02_rl_binary", "03_rl_choice", "04_rl_open", "05_rejection_sampling", "baseline_sft")


def export_report(notebook: Path, page: Path) -> None:
    """Write the executed notebook as a page, and copy its results next to the page; see `report.page.export_page`."""
    export_page(notebook, page, read_record(notebook.parent) or {})
    for name in RESULTS:
        if (made := notebook.parent / name).is_file() and made.parent != page.parent:
            with atomic_write(page.with_name(name), "wb") as stream:
                stream.write(made.read_bytes())


def build_report(folder: str | os.PathLike, beside: str | os.PathLike | None = None) -> Path:
    """Run notebook 07 on an experiment's folder again and return its page, `<folder>/report.html`.

    The settings of the experiment's own report step are used again; without that step, all complete runs are reported.
    `beside`: the folder of a second experiment to compare with; the page is then `<folder>/beside-<name>/report.html`.
    Raises `InputError` when a folder holds no complete run or the notebook fails.
    """
    folder = Path(folder).resolve()
    root = project_root(folder, ".")
    records = read_runs(folder)
    former = [
        place
        for place, record in records.items()
        if record["notebook"] == REPORT_NOTEBOOK and not record["settings"].get("beside")
    ]
    notebook = find_notebook(REPORT_NOTEBOOK)
    values = former_values(former[-1], records[former[-1]], root) if former else found_values(records, root)
    if not values["evaluations"] + values["trainings"]:
        missing = "; ".join(unfinished(folder)) or "none was run"
        raise InputError(f"{folder} holds no complete training or evaluation yet ({missing}); run the experiment first")
    step = former[-1] if former else folder / "report"
    if beside is not None:
        other = Path(beside).resolve()
        if other == folder:
            raise InputError(f"{display_path(folder, root)} cannot be compared with itself; give another experiment")
        found_runs(other)  # refused here, before a kernel starts
        step, values = folder / f"beside-{other.name}", values | {"beside": display_path(other, root)}
    known = declarations(notebook)  # an older run may have had other parameters
    values = {name: value for name, value in values.items() if name in known} | {"output": display_path(step, root)}
    outcome = execute_run(notebook, step, values, root, Status("report"))
    if not outcome.complete:
        raise InputError(f"the report failed: {outcome.error}; see {display_path(step, root)}/{NOTEBOOK}")
    page = (step if beside is not None else folder) / PAGE
    export_report(step / NOTEBOOK, page)
    return page


def report_summary(step: Path) -> str:
    """Return the text that a report left for the end of a run, or "" (its metric "summary")."""
    record = read_record(step)
    return str(record["metrics"].get("summary") or "") if record else ""


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
    complete = [place for place, record in records.items() if record["status"] == "complete"]
    places = sorted(complete, key=lambda place: (records[place]["started"], place))

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
    """Return the settings that a report was made with: its inputs at their present paths, without incomplete ones."""
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
