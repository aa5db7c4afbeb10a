"""One experiment in several shells: other steps run side by side, the same step is refused and its holder named."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.running.experiment import read_experiment
from currreft_nb.running.runner import run
from tests.helpers.tiny_project import TRAIN, is_alive, make_project, record, wait_for, write_experiment, write_notebook

BIN = Path(sys.executable).parent
GRID = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: train, notebook: 02_train, params: {data: "@data"}, grid: {seed: [0, 1]}}
"""
WAITS = (
    "import os, pathlib, time\n"
    '(run.folder / "card").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))\n'
    'while not pathlib.Path("go").exists(): time.sleep(0.05)'
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    cells = ('folder = run.input(data, "01_data")', WAITS, 'run.finish({"seed": run.settings.seed})')
    write_notebook(root / "notebooks", "02_train", TRAIN, *cells)
    write_experiment(root, GRID)
    write_experiment(root, "steps:\n  - {name: data, notebook: 01_data}\n", "other")
    assert run(read_experiment("params/tiny.yaml"), only=["data"])
    return root


def shell(project, *options, card):
    return subprocess.Popen(
        [BIN / "currreft", "run", "params/tiny.yaml", *options],
        cwd=project,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": card},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refused(experiment, **options):
    with pytest.raises(InputError) as error:
        run(experiment, **options)
    return str(error.value)


def test_two_shells_run_two_halves_with_a_card_each(project):
    experiment = read_experiment("params/tiny.yaml")
    shells = [shell(project, "--only", f"*-seed-{number}", card=str(number)) for number in (0, 1)]
    cards = [project / f"outputs/tiny/train-seed-{number}/card" for number in (0, 1)]
    wait_for(lambda: all(path.exists() and path.read_text() for path in cards), 60)  # both are at work
    assert [path.read_text() for path in cards] == ["0", "1"]

    whole = refused(experiment)
    assert re.match(
        rf"step train-seed-0 in outputs/tiny is in use by process {shells[0].pid} on \S+ since .*"
        r" \(currreft run params/tiny.yaml --only '\*-seed-0'\); wait for it, stop it, or run other steps with --only",
        whole,
    )
    assert f"step train-seed-1 in outputs/tiny is in use by process {shells[1].pid}" in refused(
        experiment, only=["*-1"]
    )
    assert re.match(
        rf"step data in outputs/tiny is in use by process ({shells[0].pid}|{shells[1].pid}) ",
        refused(experiment, only=["data"], force=["data"]),  # both read it
    )
    assert run(experiment, only=["data"])  # reading a complete step is allowed
    assert run(read_experiment("params/other.yaml"))  # another experiment is free

    (project / "go").touch()
    texts = [process.communicate(timeout=60)[0] for process in shells]
    assert [process.returncode for process in shells] == [0, 0], texts
    assert [record(path.parent)["metrics"]["seed"] for path in cards] == [0, 1]
    assert run(experiment)


def test_the_locks_of_a_killed_shell_hold_nothing(project):
    process = shell(project, "--only", "*-seed-0", card="")
    card = project / "outputs/tiny/train-seed-0/card"
    wait_for(lambda: card.exists(), 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not is_alive(process.pid))
    (project / "go").touch()
    assert run(read_experiment("params/tiny.yaml"))  # at once: its kernel ends with it


def test_a_step_that_is_needed_is_not_run_meanwhile(project):
    experiment = read_experiment("params/tiny.yaml")
    forced = subprocess.Popen(
        [BIN / "currreft", "run", "params/tiny.yaml", "--only", "data", "--force", "data"],
        cwd=project,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        lock = project / "outputs/tiny/.locks/data.lock.json"
        wait_for(lambda: lock.exists() and str(forced.pid) in lock.read_text())
        forced.send_signal(signal.SIGSTOP)
        assert "data, which train-seed-0 needs, in outputs/tiny is in use by process" in refused(
            experiment, only=["train-seed-0"]
        )
    finally:
        forced.send_signal(signal.SIGCONT)
        forced.wait(timeout=60)
    assert forced.returncode == 0
