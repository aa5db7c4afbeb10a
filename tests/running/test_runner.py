"""Running an experiment: with kernels that are killed, stopped and started again, and run.json as the only judge."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from currreft_nb import InputError
from currreft_nb.running.experiment import read_experiment
from currreft_nb.running.runner import plan, run
from tests.helpers.tiny_project import (
    DATA,
    TINY,
    TRAIN,
    is_alive,
    make_project,
    record,
    wait_for,
    write_experiment,
    write_notebook,
)

BIN = Path(sys.executable).parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project {braces}")  # Papermill formats paths
    monkeypatch.chdir(root)
    return root


def read(project, text=TINY, changes=()):
    return read_experiment(write_experiment(project, text).relative_to(project), changes)


def todo(experiment, **options):
    return {step.name: found.todo for step, found in plan(experiment, **options)}


def reasons(experiment, **options):
    return {step.name: found.reason for step, found in plan(experiment, **options)}


def test_complete_steps_are_skipped_and_changed_ones_run_again(project, capsys):
    experiment = read(project)
    assert todo(experiment) == {"data": "run", "train": "run"}
    assert run(experiment)
    text = capsys.readouterr().out
    assert "[2/2] train: complete in" in text
    assert "02_train -> outputs/tiny/train" not in text  # the notebook's own lines are in its log
    log = (project / "outputs/tiny/train/log.txt").read_text()
    head = r"--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d 02_train"
    assert re.fullmatch(rf"{head}\n(\[IPKernelApp\].*\n)*02_train -> outputs/tiny/train\ncomplete in .*\n", log)
    train = record(project / "outputs/tiny/train")
    assert train["metrics"] == {"rows": 4}
    assert train["settings"] == experiment.steps[1].settings
    assert json.loads((project / "outputs/tiny/train/notebook.ipynb").read_text())["cells"]
    assert todo(experiment) == {"data": "skip", "train": "skip"}
    assert run(experiment)
    assert record(project / "outputs/tiny/train") == train  # nothing ran

    changed = read(project, changes=["train.steps=61"])
    assert reasons(changed) == {
        "data": f"complete, {record('outputs/tiny/data')['seconds']:.0f} s",
        "train": "steps changed",
    }
    assert reasons(read(project, changes=["rows=9"])) == {"data": "rows changed", "train": "after data"}
    assert run(read(project, changes=["rows=9"]))
    assert record("outputs/tiny/train")["metrics"] == {"rows": 9}

    before = record("outputs/tiny/train")["id"]
    assert run(read(project, changes=["rows=9"]), only=["data"], force=["data"])
    assert reasons(read(project, changes=["rows=9"]))["train"] == "its input outputs/tiny/data changed"
    assert record("outputs/tiny/train")["id"] == before


def test_changed_code_is_run_again_and_changed_prose_is_not(project):
    experiment = read(project)
    assert run(experiment, only=["data"])
    path = project / "notebooks" / "01_data.ipynb"
    path.write_text(path.read_text().replace("# 01_data", "# A better title"))
    assert todo(experiment)["data"] == "skip"
    path.write_text(path.read_text().replace('\\"x\\"', '\\"y\\"'))
    assert reasons(experiment)["data"] == "its notebook changed"


def test_a_moved_experiment_is_still_complete(project, monkeypatch):
    assert run(read(project))
    moved = project.rename(project.with_name("moved"))
    monkeypatch.chdir(moved)
    assert todo(read(moved)) == {"data": "skip", "train": "skip"}
    shutil.copytree(moved / "outputs/tiny", moved / "outputs/copy")
    copy = read_experiment(write_experiment(moved, TINY, "copy"))
    assert todo(copy) == {"data": "skip", "train": "skip"}  # within one project, too


FAULTS = {
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "exits": "import sys\nsys.exit(0)",
    "raises": 'raise ValueError("one\\ntwo")',
    "refuses": 'from currreft_nb import InputError\nraise InputError("the data is empty; add some")',
    "silent": "run.finish = print",
    "groups": 'raise ExceptionGroup("both", [ValueError("a"), ValueError("b")])',  # IPython prints it as text
}


def test_a_failed_step_shows_its_error_its_last_lines_and_where_there_is_more(project, capsys):
    write_notebook(
        project / "notebooks", "01_data", 'output: str = ""', 'for i in range(30): print("line", i)', "1 / 0"
    )
    assert not run(read(project, "steps:\n  - {name: data, notebook: 01_data}\n"))
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if ": failed after " in line)
    assert lines[start].endswith("ZeroDivisionError: division by zero")
    assert lines[start + 1 : start + 9] == [f"      | line {i}" for i in range(22, 30)]
    assert lines[start + 9] == "      see outputs/tiny/data/notebook.ipynb and outputs/tiny/data/log.txt"


REFUSES = (
    'if run.settings.model == "wrong":\n    from currreft_nb import InputError\n    raise InputError("no such model")'
)


def test_a_complete_step_survives_a_repetition_that_its_kernel_refuses(project, capsys):
    make = '(run.folder / "metrics.jsonl").write_text("{}")\n(run.folder / "completions").mkdir()'
    end = 'run.finish({"rows": 1})'
    write_notebook(project / "notebooks", "02_train", TRAIN, 'run.input(data, "01_data")', REFUSES, make, end)
    assert run(read(project))
    folder = project / "outputs/tiny/train"
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("log.txt", ".lock", ".lock.json")
    }
    capsys.readouterr()
    assert not run(read(project, changes=["model=wrong"]))
    shown = capsys.readouterr().out
    assert "train: failed after" in shown and ": no such model" in shown
    assert "see outputs/tiny/train/failed.ipynb and" in shown
    assert "it made nothing: the earlier complete run was put back" in shown
    assert before == {path: path.read_bytes() for path in before}
    assert todo(read(project)) == {"data": "skip", "train": "skip"}


def test_other_weights_behind_the_same_name_are_run_again(project):
    weights = project / "models" / "mine" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    save_file({"weight": np.zeros(1)}, weights)
    changes = ["model=models/mine"]
    assert run(read(project, changes=changes))
    assert todo(read(project, changes=changes))["train"] == "skip"
    save_file({"weight": np.ones(1)}, weights)
    assert reasons(read(project, changes=changes))["train"] == "the weights of models/mine changed"
    shutil.rmtree(weights.parent)  # as on another machine, where the runs were copied to
    assert todo(read(project, changes=changes))["train"] == "skip"


GRID = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: train, notebook: 02_train, params: {data: "@data"}, grid: {seed: [0, 1], steps: [2, 3]}}
"""


@pytest.mark.parametrize(
    ("only", "expected", "reason"),
    [
        (["train"], "0-2 0-3 1-2 1-3", "a grid's name means all of its steps"),
        (["*-seed-0-*"], "0-2 0-3", "a pattern"),
        (["*-steps-3"], "0-3 1-3", "of the other value"),
        (["train-seed-[12]-*"], "1-2 1-3", "a choice of letters"),
        (["train-seed-?-steps-2"], "0-2 1-2", "any letter"),
        (["*-0-steps-2", "train-seed-1-steps-3"], "0-2 1-3", "several"),
        (["d*a"], "", "patterns are for steps without a grid, too"),
    ],
)
def test_steps_are_chosen_by_pattern(project, only, expected, reason):
    assert run(read(project, GRID), only=["data"])
    names = [f"train-seed-{point[0]}-steps-{point[-1]}" for point in expected.split()] or ["data"]
    assert list(todo(read(project, GRID), only=only)) == names, reason


def test_a_pattern_that_fits_nothing_is_refused(project):
    experiment = read(project, GRID)
    for wanted in ("*-sed-0-steps-2", "[", "*-SEED-*"):
        with pytest.raises(InputError, match=r"no step '.*'; (did you mean train-seed-0-steps-2\?|known are: data, )"):
            plan(experiment, only=[wanted])


def test_only_force_set_and_grid_work_together(project):
    assert run(read(project, GRID), only=["data", "*-seed-0-*"])
    ids = {name: record(f"outputs/tiny/{name}")["id"] for name in ("data", "train-seed-0-steps-2")}
    changed = read(project, GRID, ["train.learning_rate=1e-5"])
    assert reasons(changed, only=["*-steps-2"], force=["train-seed-1-*2"]) == {
        "train-seed-0-steps-2": "learning_rate changed",
        "train-seed-1-steps-2": "not run yet",
    }
    assert run(changed, only=["*-steps-2"], force=["*-seed-0-steps-2"])
    assert record("outputs/tiny/data")["id"] == ids["data"]
    assert record("outputs/tiny/train-seed-0-steps-2")["id"] != ids["train-seed-0-steps-2"]
    assert record("outputs/tiny/train-seed-0-steps-2")["settings"]["learning_rate"] == 1e-5
    with pytest.raises(InputError, match="--set seed=1: seed is a grid parameter"):
        read(project, GRID, ["seed=1"])


def test_whatever_stops_a_step_only_run_json_says_so(project, capsys):
    """Papermill calls a killed kernel completed and sys.exit(0) a success; a step behind a failed one is not run."""
    text = "steps:\n  - {name: data, notebook: 01_data}\n"
    for name, cell in FAULTS.items():
        write_notebook(project / "notebooks", name, TRAIN, cell, "run.finish({})")
        text += f'  - {{name: {name}, notebook: {name}, params: {{data: "@data"}}}}\n'
    text += '  - {name: after, notebook: 02_train, params: {data: "@raises"}}\n'
    text += '  - {name: train, notebook: 02_train, params: {data: "@data"}}\n'
    experiment = read(project, text)
    assert not run(experiment)
    shown = capsys.readouterr().out
    assert {name: record(f"outputs/tiny/{name}")["error"] for name in FAULTS} == {
        "killed": "its kernel died; the usual reason is that memory ran out",
        "exits": "its notebook ended without run.finish",
        "raises": "ValueError: one",
        "refuses": "the data is empty; add some",
        "silent": "its notebook ended without run.finish",
        "groups": "several errors at once, which the log shows",
    }
    assert {record(f"outputs/tiny/{name}")["status"] for name in FAULTS} == {"failed"}
    assert "after: not run, because raises is not complete" in shown
    assert "see outputs/tiny/raises/notebook.ipynb and outputs/tiny/raises/log.txt" in shown
    assert record("outputs/tiny/train")["status"] == "complete"  # it needs none of them
    assert set(todo(experiment).values()) == {"skip", "resume", "run"}


def test_a_killed_step_is_continued_by_the_same_command(project):
    work = (
        '(run.folder / "checkpoints").mkdir(exist_ok=True)\nmark = run.folder / "checkpoints" / "half"\n'
        "if not run.resuming:\n    import os, signal\n    mark.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    cells = (work, 'run.finish({"resumed": run.resuming, "from": mark.read_text()})')
    write_notebook(project / "notebooks", "02_train", TRAIN, 'folder = run.input(data, "01_data")', *cells)
    assert not run(read(project))
    assert todo(read(project)) == {"data": "skip", "train": "resume"}
    assert run(read(project))
    assert record("outputs/tiny/train")["metrics"] == {"resumed": True, "from": "half"}


def test_a_complete_record_of_before_is_no_success(project):
    """Killed before it could start, a forced step must not pass for complete because of its earlier run.json."""
    assert run(read(project), only=["data"])
    path = project / "notebooks" / "01_data.ipynb"
    kill = '"import os, signal; os.kill(os.getpid(), signal.SIGKILL)\\n'
    path.write_text(path.read_text().replace('"from currreft_nb', kill + "from currreft_nb"))
    assert not run(read(project), only=["data"], force=["data"])


def test_forcing_an_unfinished_step_continues_nothing(project):
    write_notebook(project / "notebooks", "01_data", 'output: str = ""', "assert run.resuming\nrun.finish({})")
    experiment = read(project, "steps:\n  - {name: data, notebook: 01_data}\n")
    assert not run(experiment)
    assert not run(experiment, force=["data"])
    assert run(experiment)


def test_only_needs_its_inputs_complete(project):
    with pytest.raises(InputError, match="step train needs data, which is not complete; run without --only train"):
        run(read(project), only=["train"])
    with pytest.raises(InputError, match="no step 'trian'; did you mean train"):
        run(read(project), only=["trian"])
    with pytest.raises(InputError, match="no step 'nothing'"):
        run(read(project), force=["nothing"])
    with pytest.raises(InputError, match="--force train is left out by --only"):
        run(read(project), only=["data"], force=["train"])
    assert not (project / "outputs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"outputs/tiny/data/run.json is damaged; delete the folder"),
        (None, r"outputs/tiny/data holds a run of 02_train; rename step data or delete that folder"),
    ],
)
def test_a_folder_that_is_not_the_steps_own_stops_the_experiment(project, text, message):
    folder = project / "outputs/tiny/data"
    folder.mkdir(parents=True)
    fields = {"notebook": "02_train", "status": "complete", "id": "a", "session": "a", "source": "a"}
    (folder / "run.json").write_text(text or json.dumps({**fields, "settings": {}, "inputs": []}))
    with pytest.raises(InputError, match=message):
        run(read(project))


WAITING = (
    "import os, pathlib, subprocess, sys, time\n"
    'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
    '(run.folder / "pids").write_text(f"{os.getpid()} {child.pid}")\n'
    'while not pathlib.Path("go").exists(): time.sleep(0.05)'
)


def heed_signals():
    """Handle the signals that a background shell or nohup made the tests ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(project):
    """Start the command line in a process of its own and wait until its kernel is in the middle of its work."""
    write_notebook(
        project / "notebooks", "01_data", 'output: str = ""', WAITING, "run.finish({'resumed': run.resuming})"
    )
    write_experiment(project, "steps:\n  - {name: data, notebook: 01_data}\n")
    process = subprocess.Popen(
        [BIN / "currreft", "run", "params/tiny.yaml"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_signals,
        start_new_session=True,
    )
    pids = project / "outputs/tiny/data/pids"
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    return process, [int(pid) for pid in pids.read_text().split()]


STOPS = {
    "Ctrl-C": (signal.SIGINT, 1, 0),
    "Ctrl-C twice": (signal.SIGINT, 2, 0.2),
    "Ctrl-C held down": (signal.SIGINT, 30, 0.01),
    "a scheduler, and a person": (signal.SIGTERM, 3, 0.05),
    "the terminal is closed": (signal.SIGHUP, 1, 0),
    "killed": (signal.SIGKILL, 1, 0),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_stopped_command_leaves_a_resumable_step_and_no_process(project, capsys, case):
    number, times, apart_s = STOPS[case]
    process, (kernel, child) = started(project)
    experiment = read_experiment("params/tiny.yaml")
    with pytest.raises(InputError) as refused:
        run(experiment)
    assert re.fullmatch(
        rf"step data in outputs/tiny is in use by process {process.pid} on \S+ since [-\d: ]+"
        r" \(currreft run params/tiny.yaml\); wait for it, stop it, or run other steps with --only",
        str(refused.value),
    )
    for _ in range(times):  # impatient people press it several times
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        time.sleep(apart_s)
    text, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in text
    assert number == signal.SIGKILL or "stopped; the same command continues" in text
    wait_for(lambda: not is_alive(kernel) and not is_alive(child), 3)
    assert record(project / "outputs/tiny/data")["status"] == "running"
    (project / "go").touch()
    assert run(experiment)
    assert "resume 01_data (stopped)" in capsys.readouterr().out
    assert record(project / "outputs/tiny/data")["metrics"] == {"resumed": True}


MEETS = """
import time
(run.folder / "here").touch()
others = [run.folder.parent / f"one-seed-{seed}" / "here" for seed in (0, 1)]
while not all(path.exists() for path in others):
    time.sleep(0.05)
"""
TOGETHER = """\
steps:
  - {name: one, notebook: 01_data, grid: {seed: [0, 1]}}
  - {name: two, notebook: 02_train, params: {data: "@one"}, grid: {seed: [0, 1]}}
"""


def test_steps_that_need_none_of_each_other_run_at_the_same_time(project, capsys):
    finish = '(run.folder / "rows.txt").write_text("x")\nrun.finish({})'
    write_notebook(project / "notebooks", "01_data", DATA, MEETS, "if seed == 0:\n    1 / 0", finish)
    assert not run(read(project, TOGETHER), jobs=2)
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if ": failed after" in line).startswith("[1/4] one-seed-0: failed")
    assert "[3/4] two-seed-0: not run, because one-seed-0 is not complete" in lines
    states = {step: (project / f"outputs/tiny/{step}/run.json").exists() for step in ("two-seed-0", "two-seed-1")}
    assert states == {"two-seed-0": False, "two-seed-1": True}
    ended, began = (record(project / f"outputs/tiny/{step}") for step in ("one-seed-1", "two-seed-1"))
    assert ended["finished"] <= began["started"]


def test_of_steps_that_could_run_the_one_with_the_longest_chain_behind_it_begins(project, capsys):
    write_notebook(project / "notebooks", "01_data", DATA, '(run.folder / "rows.txt").write_text("x")\nrun.finish({})')
    chain = """\
steps:
  - {name: alone, notebook: 01_data, grid: {seed: [0, 1]}}
  - {name: first, notebook: 01_data}
  - {name: second, notebook: 02_train, params: {data: "@first"}}
"""
    assert run(read(project, chain), jobs=2)
    begun = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": run 0" in line]
    assert "[3/4] first" in begun[:2]


def test_a_stop_ends_all_steps_that_run_at_the_same_time(project):
    kernels = [project / f"outputs/tiny/one-seed-{seed}/pid" for seed in (0, 1)]
    wait = 'import os, time\n(run.folder / "pid").write_text(str(os.getpid()))\ntime.sleep(600)'
    write_notebook(project / "notebooks", "01_data", DATA, wait)
    file = write_experiment(project, TOGETHER)
    command = [BIN / "currreft", "run", file, "--jobs", "2"]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: all(path.exists() and path.read_text() for path in kernels))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1].endswith("stopped; the same command continues\n")
    assert process.returncode == 130
    wait_for(lambda: not any(is_alive(int(path.read_text())) for path in kernels), 3)


def test_a_large_model_without_a_card_is_refused_before_the_first_step(project, monkeypatch):
    monkeypatch.setattr("currreft_nb.running.machine.cards", list)
    large = read(project, changes=["model=Qwen/Qwen2.5-VL-3B-Instruct"])
    with pytest.raises(InputError, match="3B-Instruct' needs a CUDA GPU, and this machine shows none"):
        run(large)
    assert not (project / "outputs" / "tiny").exists()
    assert run(large, only=["data"])  # what needs no model can be done here
