"""How long a step may take: by its own last run, by its own log, by other runs of its notebook, or unknown."""

import json
from pathlib import Path

import pytest
from tiny import TRAIN, make_project, write_experiment, write_notebook

from currreft_nb import machine
from currreft_nb.experiment import read_experiment
from currreft_nb.runner import plan
from currreft_nb.runner_plan import Records, Standing, amount, estimate, scaled, show_plan

TINY = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: train, notebook: 02_train, params: {data: "@data", steps: 60}}
"""
HERE = machine.describe()


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    write_notebook(root / "notebooks", "02_train", TRAIN)
    return read_experiment(write_experiment(root, TINY).relative_to(root))


def write_run(folder, steps=60, seconds=100.0, status="complete", **others):
    fields = {"notebook": "02_train", "status": status, "id": "a", "session": "a", "source": "a", "inputs": []}
    settings = {"steps": steps, "model": "pocket", "four_bit": False, "tasks": ["math"]} | others.pop("settings", {})
    fields |= {"settings": settings, "seconds": seconds, "metrics": {}, "machine": HERE, "finished": "2026"}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "run.json").write_text(json.dumps(fields | others))


def told(experiment, todo="run"):
    guess = estimate(experiment.steps[1], Standing(todo, ""), Records(experiment.root))
    return guess.seconds, guess.source


def test_nothing_is_known_without_runs(experiment):
    assert told(experiment) == (None, "")


def test_its_own_last_complete_run_tells_most(experiment):
    write_run("outputs/other/train", seconds=1.0)
    write_run("outputs/tiny/train", seconds=90.0, machine={"cores": 1000})  # whichever machine that was
    assert told(experiment) == (90.0, "")
    write_run("outputs/tiny/train", steps=30, seconds=90.0)
    assert told(experiment) == (180.0, "")
    write_run("outputs/tiny/train", status="failed", seconds=7.0, last_complete={"seconds": 5.0, "metrics": {}})
    record = json.loads(Path("outputs/tiny/train/run.json").read_text())
    record["last_complete"]["settings"] = record["settings"]
    Path("outputs/tiny/train/run.json").write_text(json.dumps(record))
    assert told(experiment) == (5.0, "")
    write_run("outputs/tiny/train/former", seconds=6.0)  # while it is being repeated
    assert told(experiment) == (6.0, "")


@pytest.mark.parametrize(
    ("rows", "expected", "reason"),
    [
        ([(1, 30.0), (2, 2.0), (3, 2.0)], 114.0, "57 steps are left; the first was slow"),
        ([(60, 2.0)], 0.0, "all steps are taken"),
        ([], 90.0, "nothing was logged: by the run before"),
    ],
)
def test_an_interrupted_training_is_known_by_its_log(experiment, rows, expected, reason):
    write_run("outputs/tiny/train", status="running", seconds=0.0)
    write_run("outputs/tiny/train/former", seconds=90.0)
    text = "".join(json.dumps({"step": step, "seconds": seconds}) + "\n" for step, seconds in rows)
    Path("outputs/tiny/train/metrics.jsonl").write_text(text)
    assert told(experiment, "resume")[0] == expected, reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"settings": {"model": "Qwen/Qwen2.5-VL-3B-Instruct"}}, "another model"),
        ({"settings": {"four_bit": True}}, "other weights"),
        ({"machine": {"cores": 1000, "cards": []}}, "another machine"),
        ({"machine": {"cores": HERE["cores"], "cards": [{"name": "H100"}]}}, "with a card"),
        ({"status": "failed"}, "not complete"),
        ({"notebook": "01_data"}, "another notebook"),
    ],
)
def test_runs_of_something_else_tell_nothing(experiment, changes, reason):
    write_run("outputs/other/train", **changes)
    assert told(experiment) == (None, ""), reason
    write_run("outputs/like/train")
    assert told(experiment) == (100.0, "outputs/like/train")


def test_the_run_of_the_nearest_size_tells_and_is_scaled(experiment):
    write_run("outputs/smoke/train", steps=2, seconds=20.0)
    write_run("outputs/large/train", steps=120, seconds=150.0)
    assert told(experiment) == (75.0, "outputs/large/train")
    write_run("outputs/large/train", steps=120, seconds=150.0, metrics={"seconds": 120.0})
    assert told(experiment) == (90.0, "outputs/large/train")  # loading takes as long for less steps
    (Path("outputs/smoke/train/run.json")).write_text("{")  # nobody's business here
    assert told(experiment) == (90.0, "outputs/large/train")


def test_more_work_takes_longer():
    few = {"steps": 60, "group_size": 8, "tasks": ["math"], "teacher": "", "judges": ["rule"], "forced": True}
    assert amount(few) == 480.0
    assert amount(few | {"steps": 0}) == 8.0  # none is not no time
    record = {"settings": few, "seconds": 100.0, "metrics": {"seconds": 4000.0}}
    assert scaled(record, few | {"tasks": ["math", "detection"]}) == 200.0  # resumed: what it took before counts more


def test_the_plan_tells_state_time_and_total(experiment, capsys):
    show_plan(plan(experiment), experiment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 2 steps in outputs/tiny; what each prints: outputs/tiny/<step>/log.txt"
    assert lines[2].split("  ")[-1] == "time unknown" and lines[3] == "total: unknown"
    write_run("outputs/other/train", seconds=150.0)
    show_plan(plan(experiment), experiment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("run    (not run yet)  about 2 min 30 s, by outputs/other/train")
    assert lines[3] == "total: about 2 min 30 s, and 1 of 2 steps whose time is unknown"
