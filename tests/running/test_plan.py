"""How long a step may take: by its own last run, by its own log, or unknown."""

import json
from pathlib import Path

import pytest

from currreft_nb.running.experiment import read_experiment
from currreft_nb.running.record import StepState
from currreft_nb.running.runner import estimate, plan, show_plan
from tests.helpers.tiny_project import TRAIN, make_project, write_experiment, write_notebook

TINY = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: train, notebook: 02_train, params: {data: "@data", steps: 60}}
"""


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    write_notebook(root / "notebooks", "02_train", TRAIN)
    return read_experiment(write_experiment(root, TINY).relative_to(root))


def write_run(folder, seconds, status="complete", **others):
    fields = {"notebook": "02_train", "status": status, "id": "a", "session": "a", "source": "a", "inputs": []}
    fields |= {"settings": {}, "seconds": seconds, "finished": "2026"}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "run.json").write_text(json.dumps(fields | others))


def seconds(experiment, todo="run"):
    return estimate(experiment.steps[1], StepState(todo, ""))


def test_the_time_is_that_of_its_own_last_complete_run(experiment):
    write_run("outputs/other/train", seconds=1.0)
    assert seconds(experiment) is None
    write_run("outputs/tiny/train", seconds=90.0)
    assert seconds(experiment) == 90.0
    write_run("outputs/tiny/train", status="failed", seconds=7.0)
    assert seconds(experiment) is None
    write_run("outputs/tiny/train", status="failed", seconds=7.0, last_complete={"seconds": 5.0})
    assert seconds(experiment) == 5.0
    write_run("outputs/tiny/train/former", seconds=6.0)  # while it is being repeated
    assert seconds(experiment) == 6.0


@pytest.mark.parametrize(
    ("rows", "expected", "reason"),
    [
        ([(1, 30.0), (2, 2.0), (3, 2.0)], 114.0, "57 steps are left; the first was slow"),
        ([(60, 2.0)], 0.0, "all steps are taken"),
        ([], 90.0, "nothing was logged: by the run before"),
    ],
)
def test_the_time_of_an_interrupted_training_is_known_by_its_log(experiment, rows, expected, reason):
    write_run("outputs/tiny/train", status="running", seconds=0.0)
    write_run("outputs/tiny/train/former", seconds=90.0)
    text = "".join(json.dumps({"step": step, "seconds": seconds}) + "\n" for step, seconds in rows)
    Path("outputs/tiny/train/metrics.jsonl").write_text(text)
    assert seconds(experiment, "resume") == expected, reason


def test_the_plan_shows_state_time_and_total(experiment, capsys):
    show_plan(plan(experiment), experiment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 2 steps in outputs/tiny; what each prints: outputs/tiny/<step>/log.txt"
    assert lines[2].split("  ")[-1] == "time unknown" and lines[3] == "total: unknown"
    write_run("outputs/tiny/train", seconds=150.0)
    show_plan(plan(experiment), experiment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("  about 2 min 30 s")
    assert lines[3] == "total: about 2 min 30 s, and 1 of 2 steps whose time is unknown"
