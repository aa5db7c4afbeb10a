"""Every notebook, really executed: as an experiment and with plain Papermill; test_lab_browser.py does it by hand."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from currreft_nb.report.page import BESIDE, NOTEBOOK_ONLY, SEVERAL
from currreft_nb.running.build_report import export_report
from tests.helpers.browser import Watched
from tests.helpers.commands import BIN, NOTEBOOKS, run
from tests.helpers.tiny_project import record


@pytest.mark.slow
def test_all_notebooks_run_headless_as_one_experiment(project, smoke):
    code, text = smoke
    assert code == 0, text[-3000:]
    folders = [path.parent for path in (project / "outputs" / "smoke").glob("*/run.json")]
    assert {record(folder)["notebook"] for folder in folders} == set(NOTEBOOKS)
    assert {record(folder)["status"] for folder in folders} == {"complete"}


@pytest.mark.slow
def test_no_notebook_shows_what_libraries_warn_of(project, smoke):
    for path in (project / "outputs" / "smoke").glob("*/notebook.ipynb"):
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        assert [output["text"] for output in outputs if output.get("name") == "stderr"] == [], path


@pytest.mark.slow
def test_running_it_again_does_nothing_and_succeeds(project, smoke):
    before = {path: path.stat().st_mtime_ns for path in (project / "outputs" / "smoke").glob("*/run.json")}
    code, text = run(BIN / "currreft", "run", "params/smoke.yaml", cwd=project)
    assert code == 0, text[-3000:]
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_report_and_probe_work_on_a_finished_experiment(project, smoke):
    page = project / "outputs" / "smoke" / "report.html"
    page.unlink()
    code, text = run(BIN / "currreft", "report", "outputs/smoke", cwd=project)
    assert code == 0, text[-3000:]
    assert page.is_file()
    code, text = run(BIN / "currreft", "probe", "params/smoke.yaml", "--questions", 2, "--completions", 4, cwd=project)
    assert code == 0, text[-3000:]
    assert "pass_at_k" in text and "groups" in text


@pytest.mark.slow
def test_the_report_page_loads_nothing_from_outside(project, smoke):
    page = (project / "outputs" / "smoke" / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+\.(?:js|css)""", page)
    assert "curr_reft" in page
    assert len(page.encode()) < 3_000_000


LEFT_OUT = {NOTEBOOK_ONLY, BESIDE, SEVERAL}
EXPORT = (
    "jupyter nbconvert --to html --HTMLExporter.require_js_url= --HTMLExporter.mathjax_url= "
    "--HTMLExporter.mermaid_js_url="
)


@pytest.mark.slow
def test_an_executed_notebook_holds_no_widget(project, smoke):
    paths = list((project / "outputs" / "smoke").glob("*/notebook.ipynb"))
    assert len(paths) >= len(NOTEBOOKS)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "vnd.jupyter.widget" not in text and "application/javascript" not in text, path


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("by", ["jupyter", "report"])
def test_an_executed_notebook_becomes_a_page_that_loads_nothing_from_outside(project, smoke, browser, tmp_path, by):
    """With the network cut off, every picture and every gallery of it is there, and nothing was asked for."""
    paths = {path.parent.name: path for path in sorted((project / "outputs" / "smoke").glob("*/notebook.ipynb"))}
    for name, path in paths.items():
        if by == "report":
            export_report(path, tmp_path / f"{name}.html")
        else:
            command = EXPORT.split()
            code, text = run(BIN / command[0], *command[1:], path, "--output", tmp_path / f"{name}.html", cwd=project)
            assert code == 0, text[-2000:]
    window = Watched(browser)
    window.page.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort()
    )
    for name, path in paths.items():
        window.page.goto((tmp_path / f"{name}.html").as_uri())
        cells = json.loads(path.read_text())["cells"]
        if by == "report":  # which leaves out what only the notebook shows
            cells = [cell for cell in cells if not LEFT_OUT & set(cell["metadata"].get("tags", []))]
        found = [o.get("data", {}) for cell in cells for o in cell.get("outputs", [])]
        widths = window.page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        html = window.page.locator("main [style]").count()
        assert len(widths) >= sum("image/png" in data for data in found) and 0 not in widths, name
        assert html or not any("text/html" in data for data in found), name
    assert window.outside() == [] and window.errors == []
    window.page.close()


def test_the_readme_says_how_to_export():
    assert EXPORT in (Path(__file__).parents[2] / "notebooks" / "README.md").read_text(encoding="utf-8")


KILLED = """
shared: {model: pocket, data: "@curate", micro_batch: 32}
steps:
  - {name: curate, notebook: 01_data_curation, params: {train_questions: 12, test_questions: 3, pool_questions: 3}}
  - name: rl
    notebook: 02_rl_binary
    params: {start_from: base, steps: 40, group_size: 4, save_every: 3}
"""


@pytest.mark.slow
def test_a_killed_experiment_resumes_from_its_checkpoint(project):
    (project / "params" / "killed.yaml").write_text(KILLED)
    command = [str(BIN / "currreft"), "run", "params/killed.yaml"]
    metrics = project / "outputs" / "killed" / "rl" / "metrics.jsonl"
    first = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 8:
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = [json.loads(line) for line in metrics.read_text().splitlines()]
    code, text = run(*command, cwd=project)
    assert code == 0, text[-3000:]
    assert re.search(r"curate +01_data_curation +skip +\(complete", text), text[-3000:]
    # A kernel whose runner was killed notices it after a moment, so some steps may have been taken since.
    log = (project / "outputs" / "killed" / "rl" / "log.txt").read_text(encoding="utf-8")
    resumed = re.search(r"resuming after step (\d+) of 40", log)
    assert resumed, log[-3000:]
    assert 6 <= int(resumed[1]) < 40
    after = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in after] == list(range(1, 41))
    assert after[:6] == before[:6]  # seconds included: those steps were not taken again


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written(project, smoke):
    run(
        BIN / "currreft",
        "run",
        "params/smoke.yaml",
        "--only",
        "curate",
        "--force",
        "curate",
        cwd=project,
        MY_API_KEY="s3cr3t-Zq9",
    )
    found = [path for path in (project / "outputs").rglob("*") if path.is_file() and b"s3cr3t-Zq9" in path.read_bytes()]
    assert not found


@pytest.mark.slow
def test_plain_papermill_from_the_root_writes_to_the_same_place(project, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("train_questions: 9\nval_questions: 1\ntest_questions: 3\npool_questions: 5\n")
    command = [BIN / "papermill", "notebooks/01_data_curation.ipynb", tmp_path / "out.ipynb", "-f", values]
    code, text = run(*command, cwd=project)
    assert code == 0, text[-3000:]
    done = record(project / "outputs" / "notebooks" / "01_data_curation")
    assert done["status"] == "complete"
    assert done["settings"]["train_questions"] == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("learnin_rate: 0.1\n", "did you mean learning_rate"),  # a misspelt name would silently train with the default
        ("steps: many\n", "steps is 'many', but must be an int"),
        ("start_from: outputs/nowhere\n", "outputs/nowhere holds no run"),
    ],
)
def test_plain_papermill_is_as_strict_as_the_runner(project, tmp_path, values, expected):
    file = tmp_path / "values.yaml"
    file.write_text(values)
    command = [BIN / "papermill", "notebooks/02_rl_binary.ipynb", tmp_path / "out.ipynb", "-f", file]
    code, text = run(*command, cwd=project)
    assert code != 0
    assert expected in text
