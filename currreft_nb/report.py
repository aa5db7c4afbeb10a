"""The report: run notebook 07 on what an experiment left, and export it as one page that loads nothing from outside."""

import os
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter

from currreft_nb import InputError
from currreft_nb.execution import NOTEBOOK, execute_run
from currreft_nb.execution_status import Status
from currreft_nb.parameters import declarations
from currreft_nb.records import RECORD, input_folder, read_record, shown
from currreft_nb.runs import find_notebook, project_root

REPORT_NOTEBOOK = "07_report"
EVALUATION_NOTEBOOK = "06_evaluation"
TRAINING_NOTEBOOKS = ("02_rl_binary", "03_rl_choice", "04_rl_open", "05_rejection_sampling", "baseline_sft")
PAGE = "report.html"
LOADING = {"src", "srcset", "data", "poster", "background"}  # attributes that are fetched when a page is opened
OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
OUTSIDE_STYLE = re.compile(r"""(?:@import|url\()\s*(?:url\()?\s*["']?(?:https?:)?//[^"')\s]+""", re.IGNORECASE)


def export(notebook: Path, page: Path) -> None:
    """Write the executed notebook as one HTML page without its code; `InputError` if it would load from outside."""
    exporter = HTMLExporter(
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
        require_js_url="",  # all three come from a server by default
        mathjax_url="",
        mermaid_js_url="",
    )
    html, _ = exporter.from_filename(str(notebook), resources={"metadata": {"name": page.parent.name}})
    if loads := outside_loads(html):
        raise InputError(f"{page} would load {loads[0]!r}; remove what displays it from {notebook}")
    partial = page.with_name(page.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, page)


def outside_loads(html: str) -> list[str]:
    """Return what a page would load from another place when it is opened; links to click on and text are no loads.

    >>> outside_loads('<a href="https://a.b">paper</a> <img src="data:image/png;base64,AA=="> @import url(//a.b)')
    []
    >>> outside_loads('<script src="https://a.b/c.js"></script> <p style="background:url(//a.b/c.png)">')
    ['https://a.b/c.js', 'url(//a.b/c.png']
    """
    finder = _LoadFinder()
    finder.feed(html)
    finder.close()
    return finder.found


class _LoadFinder(HTMLParser):
    """Collect what tags, style attributes and style sheets load; escaped text, whoever wrote it, is not looked at."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        for name, value in attrs:
            if (name in LOADING or (tag, name) == ("link", "href")) and value and OUTSIDE.match(value):
                self.found.append(value)
            elif name == "style" and value:
                self.found += OUTSIDE_STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += OUTSIDE_STYLE.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False


def build(folder: str | os.PathLike) -> Path:
    """Run notebook 07 on an experiment's folder again and return the page that it made, `<folder>/report.html`.

    What the experiment's own report step was given is given again; without one, every complete run is. Raises
    `InputError` when the folder holds no complete run or when the notebook fails.
    """
    folder = Path(folder).resolve()
    root = project_root(folder)
    root = root if (root / "params").is_dir() else project_root()
    records = {path.parent: read_record(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))}
    if not any(record["status"] == "complete" for record in records.values()):
        raise InputError(f"{folder} holds no complete run; give the folder of an experiment, such as outputs/pocket")
    former = [place for place, record in records.items() if record["notebook"] == REPORT_NOTEBOOK]
    step = former[-1] if former else folder / "report"
    notebook = find_notebook(REPORT_NOTEBOOK)
    values = former_values(step, records[step], root) if former else found_values(records, root)
    known = declarations(notebook)  # an older run may have had other parameters
    values = {name: value for name, value in values.items() if name in known} | {"output": shown(step, root)}
    outcome = execute_run(notebook, step, values, root, Status("report"))
    if not outcome.complete:
        raise InputError(f"the report failed: {outcome.error}; see {shown(step, root)}/{NOTEBOOK}")
    export(step / NOTEBOOK, folder / PAGE)
    return folder / PAGE


def former_values(step: Path, record: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the settings that a report was made with, its inputs where they lie now."""
    moved = {note["given"]: shown(input_folder(step, note), root) for note in record["inputs"]}
    return {
        name: [moved.get(item, item) for item in value] if isinstance(value, list) else value
        for name, value in record["settings"].items()
    }


def found_values(records: Mapping[Path, Mapping[str, Any]], root: Path) -> dict[str, Any]:
    """Return what a report of these runs is given: the complete ones, by when they were started."""
    complete = [(record["started"], place) for place, record in records.items() if record["status"] == "complete"]
    places = [place for _, place in sorted(complete)]

    def made_by(*notebooks: str) -> list[str]:
        return [shown(place, root) for place in places if records[place]["notebook"] in notebooks]

    data = made_by("01_data_curation")[-1:]
    found = {"evaluations": made_by(EVALUATION_NOTEBOOK), "trainings": made_by(*TRAINING_NOTEBOOKS)}
    return found | ({"data": data[0]} if data else {})


def summary(step: Path) -> str:
    """Return the text that a report left for the end of a run, or "" (its metric "summary")."""
    record = read_record(step)
    return str(record["metrics"].get("summary") or "") if record else ""
