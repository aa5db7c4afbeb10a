"""The report: notebook 07 run on what an experiment left, exported as one page that loads nothing from outside."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.report.page import figure
from currreft_nb.running.build_report import (
    build_report,
    export_report,
    found_values,
    names_of,
    report_summary,
    unfinished,
)
from currreft_nb.running.experiment import read_experiment
from currreft_nb.running.runner import plan, run
from tests.helpers.outside_loads import outside_loads
from tests.helpers.tiny_project import make_project, record, write_experiment, write_notebook

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REPORT = 'title: str = ""\nevaluations: list[str] = []\ntrainings: list[str] = []\noutput: str = ""'
READ = 'from IPython.display import HTML\nfor name in evaluations + trainings: run.input(name, "06_evaluation")'
SHOW = f"HTML(f\"<h2>{{title}}</h2><p>{{evaluations}} {{trainings}}</p><img src='data:image/png;base64,{PIXEL}'>\")"
FILE = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: scores, notebook: 06_evaluation, params: {data: "@data", arms: [base], start_from: [base]}}
  - {name: report, notebook: 07_report, params: {title: All arms, data: "@data", evaluations: ["@scores"]}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    write_notebook(
        root / "notebooks",
        "06_evaluation",
        'data: str = ""\noutput: str = ""',
        'run.input(data, "01_data")',
        "run.finish({})",
    )
    write_notebook(
        root / "notebooks", "07_report", REPORT, READ, SHOW, 'run.finish({"summary": f"read {len(evaluations)}"})'
    )
    return root


def test_the_report_step_leaves_a_page_and_its_summary_ends_the_run(project, capsys):
    experiment = read_experiment(write_experiment(project, FILE))
    assert run(experiment)
    page = project / "outputs/tiny/report.html"
    html = page.read_text(encoding="utf-8")
    assert "<h2>All arms</h2>" in html
    assert "outputs/tiny/scores" in html
    assert f"data:image/png;base64,{PIXEL}" in html
    assert "run.finish" not in html  # the code is left out
    assert not outside_loads(html)
    assert not re.findall(r"""(?:src|href)=["']https?://[^"']+\.(?:js|css)""", html)
    assert capsys.readouterr().out.endswith("read 1\nreport: outputs/tiny/report.html\n")
    assert run(experiment)
    assert capsys.readouterr().out.endswith(
        "read 1\nreport: outputs/tiny/report.html\n"
    )  # also when nothing had to run

    page.unlink()
    moved = (project / "outputs/tiny").rename(project / "outputs/moved")
    assert build_report(moved) == moved / "report.html"
    again = record(moved / "report")
    assert again["settings"]["evaluations"] == ["outputs/moved/scores"]
    assert again["settings"]["title"] == "All arms"
    (moved / "report.html").rename(page.parent.with_name("kept.html"))
    moved.rename(project / "outputs/tiny")
    assert {found.todo for _, found in plan(experiment)} == {
        "skip"
    }  # made again, the report is still the one asked for


def test_a_report_of_an_experiment_without_that_step_takes_all_complete_runs(project):
    steps = "\n".join(FILE.splitlines()[:-1]).replace("scores, ", "scores-2, ")
    assert run(read_experiment(write_experiment(project, steps)))
    assert build_report("outputs/tiny") == project / "outputs/tiny/report.html"
    assert record("outputs/tiny/report")["settings"]["evaluations"] == ["outputs/tiny/scores-2"]


def test_found_runs_are_complete_and_in_the_order_of_their_start(tmp_path):
    def fake(notebook, started, status="complete"):
        return {"notebook": notebook, "started": started, "status": status, "inputs": []}

    records = {
        tmp_path / "b": fake("02_rl_binary", "2026-01-02"),
        tmp_path / "a": fake("baseline_sft", "2026-01-03"),
        tmp_path / "c": fake("04_rl_open", "2026-01-01", "running"),
        tmp_path / "d": fake("06_evaluation", "2026-01-04"),
        tmp_path / "e": fake("01_data_curation", "2026-01-01"),
    }
    assert found_values(records, tmp_path) == {"evaluations": ["d"], "trainings": ["b", "a"], "data": "e"}


def test_a_report_that_fails_says_so(project):
    write_notebook(project / "notebooks", "07_report", REPORT, 'raise ValueError("no scores")')
    assert run(read_experiment(write_experiment(project, FILE.rpartition("  - {name: report")[0])))
    with pytest.raises(
        InputError, match=r"the report failed: ValueError: no scores; see outputs/tiny/report/notebook.ipynb"
    ):
        build_report("outputs/tiny")


def test_an_experiment_with_too_few_complete_runs_is_refused(project):
    assert run(read_experiment(write_experiment(project, "steps: [{name: data, notebook: 01_data}]")))
    with pytest.raises(InputError, match=r"holds no complete training or evaluation yet \(none was run\)"):
        build_report("outputs/tiny")
    stop(project / "outputs/tiny/data", "failed", "MemoryError")
    assert unfinished(project / "outputs/tiny") == ["data (01_data) is not complete: MemoryError"]


def stop(folder, status, error=None):
    """Make a complete run look as if it had not ended."""
    (folder / "run.json").write_text(json.dumps(record(folder) | {"status": status, "error": error}))


def test_what_is_not_complete_is_left_out_when_the_report_is_made_again(project):
    scores = next(line for line in FILE.splitlines(keepends=True) if "name: scores" in line)
    two = FILE.replace(scores, scores + scores.replace("name: scores", "name: more"))
    assert run(read_experiment(write_experiment(project, two.replace('@scores"]', '@scores", "@more"]'))))
    stop(project / "outputs/tiny/more", "running")
    assert record("outputs/tiny/report")["settings"]["evaluations"] == ["outputs/tiny/scores", "outputs/tiny/more"]
    build_report("outputs/tiny")
    assert record("outputs/tiny/report")["settings"]["evaluations"] == ["outputs/tiny/scores"]
    assert unfinished(project / "outputs/tiny") == ["more (06_evaluation) is not complete, stopped or still running"]


def test_data_of_another_experiment_are_found_through_what_used_them(tmp_path):
    note = {"path": "../../other/curate", "notebook": "01_data_curation"}
    rows = {"started": "2026-01-01", "status": "complete", "notebook": "06_evaluation", "inputs": [note]}
    assert found_values({tmp_path / "mine/evaluate": rows}, tmp_path)["data"] == "other/curate"


def test_a_second_experiment_makes_a_page_of_its_own(project):
    shown = REPORT + '\nbeside: str = ""'
    write_notebook(project / "notebooks", "07_report", shown, READ, "print('beside', beside)", "run.finish({})")
    for name in ("tiny", "tiny-2"):
        assert run(read_experiment(write_experiment(project, FILE, name)))
    page = project / "outputs/tiny/report.html"
    before = page.read_bytes()
    assert build_report("outputs/tiny", "outputs/tiny-2") == project / "outputs/tiny/beside-tiny-2/report.html"
    assert "beside outputs/tiny-2" in (project / "outputs/tiny/beside-tiny-2/report.html").read_text()
    assert page.read_bytes() == before
    assert build_report("outputs/tiny") == page  # the experiment's own report is still the one without a second one
    assert record("outputs/tiny/report")["settings"]["beside"] == ""
    with pytest.raises(InputError, match="outputs/tiny cannot be compared with itself"):
        build_report("outputs/tiny", "outputs/tiny")
    with pytest.raises(InputError, match="absent holds no complete run"):
        build_report("outputs/tiny", "outputs/absent")
    assert names_of(Path("outputs/tiny"), Path("outputs/tiny-2")) == ("tiny", "tiny-2")


def test_cells_for_users_of_the_notebook_are_not_on_the_page(project):
    path = project / "notebooks" / "07_report.ipynb"
    tree = nbformat.read(path, as_version=4)
    for text, tags in (("## Shown & <b>bold</b>", []), ("for makers", ["notebook-only"]), ("of two", ["beside"])):
        tree.cells.append(nbformat.v4.new_markdown_cell(text, metadata={"tags": tags}))
    nbformat.write(tree, path)
    export_report(path, project / "page.html")
    html = (project / "page.html").read_text()
    assert 'href="#Shown' in html.split("<main>")[0]  # its heading is among the contents
    assert "for makers" not in html and "of two" not in html
    assert '<html lang="en">' in html and '<meta name="viewport"' in html and "<script" not in html


def test_figures_become_small_and_say_their_heading():
    image = Image.linear_gradient("L").resize((800, 400)).convert("RGBA")
    stream = io.BytesIO()
    image.save(stream, "png")
    data = base64.b64encode(stream.getvalue()).decode()
    html = figure(data, {"width": 400, "height": 200}, 'Figure: "a" <b>')
    assert 'width="400" height="200" style="min-width:320px" alt="Figure: &quot;a&quot; &lt;b&gt;"' in html
    small = Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1])))
    assert small.size == (800, 400) and small.mode == "P"


def test_a_folder_without_runs_is_refused(project):
    for name in ("absent", "notebooks"):
        with pytest.raises(InputError, match="holds no complete run; give the folder of an experiment"):
            build_report(name)


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', 1),
        ("<script async src='//cdn.example.org/x.js'>", 1),
        ('<link rel="stylesheet" href="http://example.org/x.css">', 1),
        ("<img src=https://example.org/x.png>", 1),
        ('<iframe src="https://example.org"></iframe>', 1),
        ("<style>@import url(https://example.org/x.css);</style>", 1),
        ("<style>a { background: url('https://example.org/x.png') }</style>", 1),
        ('<a href="https://arxiv.org/abs/2503.07065">paper</a>', 0),
        (f'<img src="data:image/png;base64,{PIXEL}">', 0),
        ('<svg xmlns="http://www.w3.org/2000/svg"></svg>', 0),
        ("<script>const text = 'see https://example.org/x.js'</script>", 0),
        ('<pre>&lt;img src="https://example.org/x.png"&gt;</pre>', 0),
    ],
)
def test_what_a_page_loads_from_outside_is_found(html, found):
    assert len(outside_loads(html)) == found


def test_the_page_tells_a_browser_to_load_nothing_from_outside(project):
    path = write_notebook(project / "notebooks", "x", 'output: str = ""')
    text = path.read_text().replace('# x"', '# x\\n![a](https://example.org/x.png)"')
    path.write_text(text)
    export_report(path, project / "x.html")
    html = (project / "x.html").read_text()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in html
    assert outside_loads(html) == ["https://example.org/x.png"]  # which that policy forbids


def test_no_summary_is_no_text(tmp_path):
    assert report_summary(tmp_path) == ""
