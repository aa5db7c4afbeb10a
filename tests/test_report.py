"""The report: notebook 07 run on what an experiment left, exported as one page that loads nothing from outside."""

import re

import pytest
from tiny import make_project, record, write_experiment, write_notebook

from currreft_nb import InputError
from currreft_nb.experiment import read_experiment
from currreft_nb.report import build, export, found_values, outside_loads, summary
from currreft_nb.runner import plan, run

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REPORT = 'title: str = ""\nevaluations: list[str] = []\ntrainings: list[str] = []\noutput: str = ""'
READ = 'from IPython.display import HTML\nfor name in evaluations + trainings: run.input(name, "06_evaluation")'
SHOW = f"HTML(f\"<h2>{{title}}</h2><p>{{evaluations}} {{trainings}}</p><img src='data:image/png;base64,{PIXEL}'>\")"
FILE = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: scores, notebook: 06_evaluation, params: {data: "@data"}}
  - {name: report, notebook: 07_report, params: {title: All arms, evaluations: ["@scores"]}}
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
    assert build(moved) == moved / "report.html"
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
    assert build("outputs/tiny") == project / "outputs/tiny/report.html"
    assert record("outputs/tiny/report")["settings"]["evaluations"] == ["outputs/tiny/scores-2"]


def test_found_runs_are_complete_and_in_the_order_of_their_start(tmp_path):
    def fake(notebook, started, status="complete"):
        return {"notebook": notebook, "started": started, "status": status}

    records = {
        tmp_path / "b": fake("02_rl_binary", "2026-01-02"),
        tmp_path / "a": fake("baseline_sft", "2026-01-03"),
        tmp_path / "c": fake("04_rl_open", "2026-01-01", "running"),
        tmp_path / "d": fake("06_evaluation", "2026-01-04"),
        tmp_path / "e": fake("01_data_curation", "2026-01-01"),
    }
    assert found_values(records, tmp_path) == {"evaluations": ["d"], "trainings": ["b", "a"], "data": "e"}


def test_a_report_that_fails_is_told(project):
    write_notebook(project / "notebooks", "07_report", REPORT, 'raise ValueError("no scores")')
    assert run(read_experiment(write_experiment(project, "steps: [{name: data, notebook: 01_data}]")))
    with pytest.raises(
        InputError, match=r"the report failed: ValueError: no scores; see outputs/tiny/report/notebook.ipynb"
    ):
        build("outputs/tiny")


def test_a_folder_without_runs_is_told(project):
    for name in ("absent", "notebooks"):
        with pytest.raises(InputError, match="holds no complete run; give the folder of an experiment"):
            build(name)


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


def test_a_page_that_would_load_from_outside_is_refused(project):
    path = write_notebook(project / "notebooks", "x", 'output: str = ""')
    text = path.read_text().replace('# x"', '# x\\n![a](https://example.org/x.png)"')
    path.write_text(text)
    with pytest.raises(InputError, match=r"would load .*example.org/x.png"):
        export(path, project / "x.html")
    assert not (project / "x.html").exists()


def test_no_summary_is_no_text(tmp_path):
    assert summary(tmp_path) == ""
