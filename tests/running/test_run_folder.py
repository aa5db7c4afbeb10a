"""What a new attempt sets aside: a complete run comes back unless the new one made something; nothing is lost."""

import os
import shutil

import pytest

from currreft_nb.running import record as run_records
from currreft_nb.running.project import NOTEBOOK_VARIABLE
from currreft_nb.running.record import RunFolder, complete_record
from tests.helpers.tiny_project import finished, make_project, new_kernel, record, start, work, write_adapter


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.delenv(NOTEBOOK_VARIABLE, raising=False)
    return root


@pytest.fixture
def complete(project):
    """Return the folder of a complete run with everything that a run may leave."""
    run = start()
    work(run)
    (run.folder / "figures").mkdir()
    (run.folder / "figures" / "curve.png").write_bytes(b"old")
    (run.folder / "data").mkdir()
    (run.folder / "data" / "manifest.json").write_text("{}")
    (run.folder / "scores.csv").write_text("old")
    write_adapter(run)
    run.finish({"done": 1})
    new_kernel()
    return run.folder


def put_back(folder):
    return RunFolder(folder).put_back()


def tree(folder):
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in (".lock", ".lock.json", "log.txt")}


MADE = {
    "nothing": (lambda folder: None, True),
    "a figure before the model is loaded": (lambda folder: draw(folder), True),
    "half-made data, which count for nothing": (lambda folder: half_made(folder), True),
    "measures": (lambda folder: (folder / "metrics.jsonl").write_text("{}\n"), False),
    "a checkpoint": (lambda folder: (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True), False),
    "another adapter": (lambda folder: (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"new!!"), False),
    "other data": (lambda folder: (folder / "data" / "manifest.json").write_text("{ }"), False),
    "other scores of the same size": (lambda folder: (folder / "scores.csv").write_text("new"), False),
    "data deleted": (lambda folder: shutil.rmtree(folder / "data"), False),
}


def draw(folder):
    (folder / "figures").mkdir()
    (folder / "figures" / "memory.png").write_bytes(b"new")


def half_made(folder):
    (folder / "data" / ".curating").mkdir()
    (folder / "data" / ".curating" / "index.sqlite").write_bytes(b"half")


@pytest.mark.parametrize("made", MADE)
def test_it_is_put_back_unless_something_was_made(complete, made):
    before = tree(complete)
    start(rows=5)
    assert record(complete)["status"] == "running"
    assert not (complete / "metrics.jsonl").exists()
    make, expected = MADE[made]
    make(complete)
    new_kernel()
    assert put_back(complete) is expected
    if expected:
        after = {name: text for name, text in tree(complete).items() if ".curating" not in name}
        assert after == before
    else:
        assert record(complete)["status"] == "running"
        assert put_back(complete) is False  # asked twice


def test_a_repetition_that_is_complete_gives_it_up(complete):
    run = start(rows=5)
    (complete / "adapter" / "adapter_model.safetensors").write_bytes(b"new!!")
    run.finish({"done": 2})
    assert not (complete / "former").exists()
    assert put_back(complete) is True
    assert record(complete)["metrics"] == {"done": 2}


def test_a_start_with_the_old_settings_finds_it_complete_again(complete):
    """A kernel that was killed could not put anything back."""
    before = record(complete)
    start(rows=5)
    new_kernel()
    start()
    assert record(complete / "former") == before
    new_kernel()
    assert put_back(complete) and record(complete) == before


def test_while_it_is_repeated_its_adapter_counts(complete):
    start(rows=5)
    assert complete_record(complete, complete.parents[2], "01_data")["metrics"] == {"done": 1}


class Cut(BaseException):
    """Stands for SIGKILL: nothing runs after it."""


@pytest.mark.parametrize("phase", ["setting aside", "putting back"])
def test_being_killed_in_the_middle_loses_nothing(complete, monkeypatch, phase):
    """Cut after each single change to the folder, then let the next command put it right."""
    before, replace, rmtree, copy2 = tree(complete), os.replace, shutil.rmtree, shutil.copy2
    cuts = 0
    for last in range(1, 50):
        if phase == "putting back":
            start(rows=5)
            new_kernel()
        count = [0]

        def cutting(function, last=last, count=count):
            def call(*arguments, **options):
                if count[0] == last:
                    raise Cut
                count[0] += 1
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(run_records.os, "replace", cutting(replace))
            patch.setattr(run_records.shutil, "rmtree", cutting(rmtree))
            patch.setattr(run_records.shutil, "copy2", cutting(copy2))
            try:
                start(rows=5) if phase == "setting aside" else put_back(complete)
                done = True
            except Cut:
                done, cuts = False, cuts + 1
        new_kernel()
        assert put_back(complete), f"after {last} changes"
        after = tree(complete)
        for name in [name for name in after if ".partial" in name]:
            del after[name]
        assert after == before, f"after {last} changes"
        if done:
            break
    assert done and cuts >= 4


def test_a_folder_without_a_complete_run_has_nothing_to_put_back(project, tmp_path):
    assert put_back(tmp_path) is False
    run = start()
    new_kernel()
    assert put_back(run.folder) is False
    assert put_back(finished(output="other").folder) is True


def test_other_settings_set_an_unfinished_run_aside_until_the_new_one_is_complete(project, capsys):
    finished()
    stopped = start("02_train")
    folder = stopped.folder
    work(stopped)
    (folder / "checkpoints" / "checkpoint-400").mkdir()
    new_kernel()
    capsys.readouterr()
    first = start("02_train", steps=80, learning_rate=1e-4)
    assert not first.resuming and not (folder / "checkpoints").exists()
    place = "outputs/notebooks/02_train/set-aside/1"
    assert capsys.readouterr().out.splitlines()[0] == (
        "warning: starting afresh (learning_rate 0.001 -> 0.0001, steps 60 -> 80): the checkpoint of step 400 is in"
        f" {place} until this run is complete"
    )
    kept = project / place
    assert (kept / "checkpoints" / "checkpoint-400").is_dir() and (kept / "metrics.jsonl").is_file()
    assert record(kept)["settings"]["steps"] == 60
    new_kernel()
    assert start("02_train", steps=90).folder == folder
    assert "warning" not in capsys.readouterr().out, "the second attempt left nothing"
    (folder / "answers.jsonl").write_text("{}\n")
    new_kernel()
    last = start("02_train", steps=100)
    assert ": answers.jsonl is in outputs/notebooks/02_train/set-aside/2 until" in capsys.readouterr().out
    assert (kept / "checkpoints" / "checkpoint-400").is_dir()
    last.finish({})
    assert not (folder / "set-aside").exists()


def test_a_changed_input_sets_an_unfinished_run_aside(project, capsys):
    finished()
    run = start("02_train")
    run.input("", "01_data")
    work(run)
    new_kernel()
    finished(rows=9)
    start("02_train").input("", "01_data")
    assert (
        "warning: starting afresh (its input outputs/notebooks/01_data changed since it was stopped): the checkpoint of"
        " step 20 is in outputs/notebooks/02_train/set-aside/1 until" in capsys.readouterr().out
    )
    assert (run.folder / "set-aside" / "1" / "checkpoints" / "checkpoint-20").is_dir()


def test_an_unfinished_repetition_is_set_aside_and_the_complete_run_still_comes_back(complete):
    before = tree(complete)
    work(start(rows=5))
    new_kernel()
    start(rows=6)  # makes nothing
    new_kernel()
    assert put_back(complete)
    after = tree(complete)
    assert after.pop("set-aside/1/run.json") and after.pop("set-aside/1/metrics.jsonl")
    assert after == before
