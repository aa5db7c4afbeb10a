"""The report: run notebook 07 on what an experiment left, and export it as one page that loads nothing from outside.

outputs/pocket/report.html      the page
outputs/pocket/results.csv      its scores, one row a cell (`report.results` says what each column means)
outputs/pocket/results.json     the same and all that the page tells: comparisons, costs, settings, hashes, versions
outputs/pocket/report/          the run that made them
outputs/pocket/beside-other/    with a second experiment beside this one: the run and its page
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.files import atomic_write
from currreft_nb.execution import execute_run
from currreft_nb.execution_status import Status
from currreft_nb.parameters import declarations
from currreft_nb.records import NOTEBOOK, display_path, read_record
from currreft_nb.report.page import export as export_page
from currreft_nb.report.results import RESULTS
from currreft_nb.report_runs import REPORT_NOTEBOOK, former_values, found_runs, found_values, read_runs, unfinished
from currreft_nb.runs import find_notebook, project_root

PAGE = "report.html"


def export(notebook: Path, page: Path) -> None:
    """Write the executed notebook as a page, with the results that it left beside it; see `report.page.export`."""
    export_page(notebook, page, read_record(notebook.parent) or {})
    for name in RESULTS:
        if (made := notebook.parent / name).is_file() and made.parent != page.parent:
            with atomic_write(page.with_name(name), "wb") as stream:
                stream.write(made.read_bytes())


def build(folder: str | os.PathLike, beside: str | os.PathLike | None = None) -> Path:
    """Run notebook 07 on an experiment's folder again and return its page, `<folder>/report.html`.

    The settings of the experiment's own report step are used again, without runs that are not complete; without such a
    step, all complete runs are reported. `beside`: the folder of a second experiment to compare with; its page is
    `<folder>/beside-<name>/report.html`. Raises `InputError` when a folder holds no complete run or the notebook fails.
    """
    folder = Path(folder).resolve()
    root = project_root(folder)
    root = root if (root / "params").is_dir() else project_root()
    records = read_runs(folder)
    former = [place for place, record in records.items() if _is_own_report(record)]
    notebook = find_notebook(REPORT_NOTEBOOK)
    values = former_values(former[-1], records[former[-1]], root) if former else found_values(records, root)
    if not values["evaluations"] + values["trainings"]:
        missing = "; ".join(unfinished(folder)) or "none was run"
        raise InputError(f"{folder} holds no complete training or evaluation yet: {missing}")
    step = former[-1] if former else folder / "report"
    if beside is not None:
        other = Path(beside).resolve()
        if other == folder:
            raise InputError(
                f"{display_path(folder, root)} cannot be compared with itself; give the folder of another experiment"
            )
        found_runs(other)  # refused here, before a kernel starts
        step, values = folder / f"beside-{other.name}", values | {"beside": display_path(other, root)}
    known = declarations(notebook)  # an older run may have had other parameters
    values = {name: value for name, value in values.items() if name in known} | {"output": display_path(step, root)}
    outcome = execute_run(notebook, step, values, root, Status("report"))
    if not outcome.complete:
        raise InputError(f"the report failed: {outcome.error}; see {display_path(step, root)}/{NOTEBOOK}")
    page = (step if beside is not None else folder) / PAGE
    export(step / NOTEBOOK, page)
    return page


def _is_own_report(record: Mapping[str, Any]) -> bool:
    return record["notebook"] == REPORT_NOTEBOOK and not record["settings"].get("beside")


def summary(step: Path) -> str:
    """Return the text that a report left for the end of a run, or "" (its metric "summary")."""
    record = read_record(step)
    return str(record["metrics"].get("summary") or "") if record else ""
