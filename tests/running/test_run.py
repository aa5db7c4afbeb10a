"""A run: checked before it opens its folder, resumed only when nothing differs, complete only when it says so."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from currreft_nb import InputError
from currreft_nb.running.parameters import assigned_names
from currreft_nb.running.project import NOTEBOOK_VARIABLE, find_notebook, project_root
from currreft_nb.running.record import RunFolder
from currreft_nb.running.run import Run
from tests.helpers.tiny_project import (
    TRAIN,
    finished,
    make_project,
    new_kernel,
    record,
    start,
    work,
    write_adapter,
    write_notebook,
)

BIN = Path(sys.executable).parent


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.delenv(NOTEBOOK_VARIABLE, raising=False)
    return root


def test_a_run_records_what_it_is(project):
    run = start(rows="1e1")
    assert run.folder == project / "outputs" / "notebooks" / "01_data"
    assert run.settings.rows == 10
    assert record(run.folder)["status"] == "running"
    run.finish({"loss": float("nan"), "counts": (1, 2)})
    done = record(run.folder)
    assert done["status"] == "complete"
    assert done["settings"] == {"seed": 0, "rows": 10, "output": ""}
    assert done["metrics"] == {"loss": None, "counts": [1, 2]}
    assert done["seconds"] >= 0 and done["finished"] >= done["started"]
    assert done["versions"]["papermill"] and done["machine"]["cores"] >= 1
    assert done["versions"]["label table"] >= 2, "scores depend on it"
    assert not list(run.folder.glob("*.partial"))


def test_what_a_launcher_left_is_removed_before_anything_reads_it(project, monkeypatch, capsys):
    for name in ("WORLD_SIZE", "RANK", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.setenv(name, "2")
    start()
    assert not {"WORLD_SIZE", "RANK", "ACCELERATE_USE_DEEPSPEED"} & os.environ.keys()
    line = "ignored, as a cluster's launcher left them: ACCELERATE_USE_DEEPSPEED, RANK, WORLD_SIZE; num_processes"
    assert line in capsys.readouterr().out


def test_the_environment_is_not_written(project, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "s3cr3t-Zq9")
    run = finished()
    assert "s3cr3t-Zq9" not in (run.folder / "run.json").read_text()


def test_the_commit_is_noted_with_a_sign_of_changes(project):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    assert len(record(start().folder)["commit"]) == 40
    (project / "notebooks" / "02_train.ipynb").write_text("{}")
    assert record(start().folder)["commit"].endswith("+changes")


def test_globals_get_the_checked_values(project):
    values = {"seed": 0, "rows": "1e1", "output": ""}
    Run.start("01_data", values)
    assert values["rows"] == 10


def test_the_project_is_found_from_any_folder_in_it(project, monkeypatch):
    inner = project / "outputs" / "tiny" / "data"
    inner.mkdir(parents=True)
    for folder in (project, project / "notebooks", inner):
        monkeypatch.chdir(folder)
        assert project_root() == project
        assert find_notebook("01_data") == project / "notebooks" / "01_data.ipynb"
        assert start().folder == project / "outputs" / "notebooks" / "01_data"
    assert project_root(project.parent) == project.parent  # no project there: the folder itself


def test_a_notebook_that_cannot_be_found_is_reported(project):
    with pytest.raises(InputError, match=r"absent.ipynb is not in .*; start Jupyter or papermill"):
        Run.start("absent", {})


@pytest.mark.parametrize(
    ("cells", "changed", "message"),
    [
        (["# Parameters\nrow = 3"], {"row": 3}, "unknown parameter 'row'; did you mean rows?"),
        (["seed: int = 0\nrow: int = 3"], {"row": 3}, "unknown parameter 'row'; did you mean rows?"),
        ([], {"rows": "many"}, "01_data.ipynb: rows is 'many', but must be an int"),
        ([], {"rows": True}, "rows is True, but must be an int"),
    ],
)
def test_mistakes_stop_the_start_before_anything_is_written(project, cells, changed, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        start(In=cells, **changed)
    assert not (project / "outputs").exists()


def test_a_parameters_cell_that_was_not_run_is_reported(project):
    with pytest.raises(InputError, match="rows is not set; run the cell tagged 'parameters' first"):
        Run.start("01_data", {"seed": 0, "output": ""})


@pytest.mark.parametrize(
    ("cells", "names", "reason"),
    [
        (
            ["seed: int = 0\nrow: int = 1", "seed: int = 0\nrows: int = 1"],
            ["seed", "rows"],
            "the corrected cell counts",
        ),
        (["# Parameters\nrow = 1\n", "# Parameters\nrows = 1\n"], ["rows"], "the last injected cell counts"),
        (["x: int = 0"], [], "annotated, but of none of the parameters: no parameters cell"),
        (["seed = 0\nother = 2"], [], "not annotated: an ordinary cell"),
        (["%matplotlib inline", "seed: int ="], [], "no Python"),
    ],
)
def test_names_are_read_from_the_executed_cells(cells, names, reason):
    assert assigned_names(cells, {"seed": None, "rows": None}) == names, reason


@pytest.mark.parametrize("kernel", ["another", "the same"])
def test_a_stopped_run_is_resumed_with_the_same_settings(project, kernel):
    first = start()
    work(first)
    before = record(first.folder)
    if kernel == "another":
        new_kernel()
    second = start()
    assert second.resuming
    assert (second.folder / "checkpoints" / "checkpoint-20").is_dir()
    now = record(second.folder)
    assert now["id"] == before["id"]
    assert now["session"] != before["session"]


@pytest.mark.parametrize("case", ["other settings", "finished"])
def test_other_starts_begin_afresh_and_keep_the_adapter(project, case):
    first = start()
    work(first)
    write_adapter(first)
    if case == "finished":
        first.finish({})
    new_kernel()
    second = start(rows=5 if case == "other settings" else 4)
    assert not second.resuming
    assert not (second.folder / "checkpoints").exists()
    assert not (second.folder / "metrics.jsonl").exists()
    assert (second.folder / "adapter" / "adapter_model.safetensors").read_bytes() == b"first"


TRAINING = 'output: str = ""\nsteps: int = 60\nlearning_rate: float = 1e-3'


def start_training(project, injected=""):
    """Start notebook 02 in a new kernel, as Papermill does it when it injects `injected`."""
    write_notebook(project / "notebooks", "02_rl_binary", TRAINING)
    new_kernel()
    space = {"In": [TRAINING, "# Parameters\n" + injected]}
    exec(TRAINING, space)
    exec(injected, space)
    return Run.start("02_rl_binary", space)


def test_settings_that_the_cell_does_not_show_are_used_and_recorded(project):
    run = start_training(project, "micro_batch = 8.0\npatience = 2\nvalidate_every = 5")
    assert (run.settings.micro_batch, run.settings.patience, run.settings.group_size) == (8, 2, 8)
    assert record(run.folder)["settings"] == vars(run.settings)
    shown = run.settings_table().set_index("name")
    assert (shown.loc["micro_batch", "value"], shown.loc["micro_batch", "default"]) == ("8", "64")


@pytest.mark.parametrize(
    ("injected", "message"),
    [
        ("micro_bach = 8", "unknown parameter 'micro_bach'; did you mean micro_batch?"),
        ("micro_batch = 0", "micro_batch is 0, but must be at least 1"),
        ("micro_batch = 'all'", "micro_batch is 'all', but must be an int"),
        (
            "micro_batch = 7",
            "micro_batch is 7, but must divide prompts_per_step * group_size, which is 64; set it to 4",
        ),
        ("patience = 2", "patience is 2, but validate_every is 0; set validate_every above 0"),
        ("order = 'shufled'", "order is 'shufled', but must be one of shuffled, easy_to_hard; did you mean shuffled?"),
    ],
)
def test_settings_that_the_cell_does_not_show_are_checked(project, injected, message):
    with pytest.raises(InputError) as caught:
        start_training(project, injected)
    assert str(caught.value) == f"02_rl_binary.ipynb: {message}"


@pytest.mark.parametrize("injected", ["micro_batch = 8", "rehearse = 'never'", "save_every = 5"])
def test_a_stopped_run_is_resumed_with_other_costs(project, injected):
    first = start_training(project)
    work(first)
    fingerprint = record(first.folder)["fingerprint"]
    again = start_training(project, injected)
    assert again.resuming and (again.folder / "checkpoints" / "checkpoint-20").is_dir()
    assert record(again.folder)["fingerprint"] == fingerprint


def test_other_results_keep_the_work_until_the_run_is_complete_and_say_so(project, capsys):
    first = start_training(project)
    work(first)
    again = start_training(project, "learning_rate = 1e-4")
    kept = again.folder / "set-aside" / "1"
    assert not again.resuming and not (again.folder / "checkpoints").exists()
    assert (kept / "checkpoints" / "checkpoint-20").is_dir() and (kept / "metrics.jsonl").is_file()
    assert (
        "warning: starting afresh (learning_rate 0.001 -> 0.0001): the checkpoint of step 20 is in"
        " outputs/notebooks/02_rl_binary/set-aside/1 until this run is complete\n"
    ) in capsys.readouterr().out
    work(again)
    again.finish({})
    assert not (again.folder / "set-aside").exists()


def test_going_back_to_earlier_settings_resumes_what_was_kept(project):
    first = start_training(project)
    work(first)
    (first.folder / "metrics.jsonl").write_text("first")
    second = start_training(project, "learning_rate = 1e-4")
    work(second)
    back = start_training(project)
    assert back.resuming and (back.folder / "metrics.jsonl").read_text() == "first"
    assert record(back.folder)["id"] == first._record["id"]
    assert [record(path)["session"] for path in (back.folder / "set-aside").iterdir()] == [second._record["session"]]
    assert start_training(project, "learning_rate = 1e-4").resuming


def test_a_complete_run_survives_work_that_was_set_aside(project):
    complete = start_training(project)
    (complete.folder / "metrics.jsonl").write_text("complete")
    complete.finish({})
    work(start_training(project, "learning_rate = 1e-4"))
    last = start_training(project, "learning_rate = 1e-5")
    assert (last.folder / "former" / "metrics.jsonl").read_text() == "complete"
    assert len(list((last.folder / "set-aside").glob("*/checkpoints"))) == 1


def test_a_failed_run_is_resumed_and_its_seconds_are_added(project):
    first = start()
    RunFolder(first.folder).fail("ValueError: no", 100.0)
    assert record(first.folder)["status"] == "failed"
    new_kernel()
    second = start()
    assert second.resuming
    second.finish({})
    done = record(second.folder)
    assert done["error"] is None
    assert done["seconds"] >= 100.0


def test_a_resumed_run_begins_afresh_when_its_input_has_changed(project):
    finished()
    first = start("02_train")
    first.input("", "01_data")
    work(first)
    finished(rows=9)
    second = start("02_train")
    assert second.resuming  # as far as it knows by now
    second.input("", "01_data")
    assert not second.resuming
    assert not (second.folder / "checkpoints").exists()


def test_a_second_stop_before_the_input_is_read_forgets_nothing(project):
    finished()
    first = start("02_train")
    first.input("", "01_data")
    work(first)
    new_kernel()
    start("02_train")  # stopped again, before it read its input
    finished(rows=9)
    third = start("02_train")
    third.input("", "01_data")
    assert not third.resuming


def test_a_step_of_an_experiment_never_takes_a_run_made_by_hand(project, monkeypatch):
    finished()
    monkeypatch.setenv(NOTEBOOK_VARIABLE, str(project / "notebooks" / "02_train.ipynb"))
    with pytest.raises(InputError, match="reads a run of 01_data: name it in the experiment file, as @step"):
        start("02_train").input("", "01_data")


def test_an_adapter_is_found_or_the_bare_model_is_asked_for(project):
    train = start("02_train", output="mine")
    write_adapter(train)
    train.finish({})
    new_kernel()
    reader = start("01_data")
    assert reader.adapter("base", "02_train") is None
    assert reader.adapter("mine", "02_train") == project / "mine" / "adapter"
    checkpoint = project / "mine" / "checkpoints" / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    assert reader.adapter("mine/checkpoints/checkpoint-20", "02_train") == checkpoint
    with pytest.raises(InputError, match="mine/checkpoints/checkpoint-30 does not exist"):
        reader.adapter("mine/checkpoints/checkpoint-30", "02_train")
    found = reader.sources(["a", "b"], ["base", "mine"])
    assert found["a"].kind == "base" and found["b"].place == str(project / "mine" / "adapter")
    assert [note["path"] for note in record(reader.folder)["inputs"]] == ["../../../mine"]
    assert reader.records({"a": project / "mine"})["a"]["notebook"] == "02_train"
    with pytest.raises(InputError, match="start_from is empty; give base or"):
        reader.adapter("", "01_data")
    with pytest.raises(InputError, match="02_train holds no run; check its name, or run notebook 02_train first"):
        reader.adapter("", "02_train")
    for names, given in ((["a"], ["base", "mine"]), (["a", "a"], ["base", "mine"])):
        with pytest.raises(InputError, match="give each arm its own name and its own entry"):
            reader.sources(names, given)
    again = start("02_train", output="mine", steps=1)
    write_adapter(again)
    again.finish({})
    shutil.rmtree(project / "mine" / "adapter")
    with pytest.raises(InputError, match="mine/adapter does not exist; give base or the folder of a training run"):
        reader.adapter("mine", "02_train")


def test_a_run_shows_what_it_wrote(project):
    run = start()
    assert (run.history(), run.completions()) == ([], [])
    (run.folder / "metrics.jsonl").write_text('{"step": 1}\n')
    (run.folder / "completions").mkdir()
    rows = [{"group": group, "task": "math", "reward": reward} for group, reward in ((0, 1), (0, 1), (1, 0), (1, 1))]
    (run.folder / "completions" / "step-00002.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.folder / "completions" / "step-00001.jsonl").write_text('{"group": 0, "task": "detection"}\n')
    assert run.history() == [{"step": 1}]
    assert run.completions() == rows and run.completions(task="math", disagree=True) == rows[2:]
    assert run.completions("first") == run.completions(1, task="detection") == [{"group": 0, "task": "detection"}]
    assert run.live(lambda rows: rows).draw() == [{"step": 1}]
    figure = Figure()
    assert run.figure(figure, "empty") is figure
    assert (run.folder / "figures" / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_a_damaged_record_of_its_own_is_not_overwritten(project):
    run = finished()
    (run.folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is damaged; delete the folder"):
        start()
    assert (run.folder / "run.json").read_text() == "{"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: (folder / "figures").mkdir(parents=True),
            "holds 'figures' but no run.json; set output to a new folder",
        ),
        (lambda folder: folder.parent.mkdir() or folder.write_text("a file"), "cannot be made"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(project, make, message):
    make(project / "mine" / "own")
    with pytest.raises(InputError, match=message):
        start(output="mine/own")
    assert (project / "mine" / "own").exists()


def test_a_folder_of_another_notebook_is_left_alone(project):
    finished(output="mine")
    with pytest.raises(InputError, match="mine holds a run of 01_data; set output to another folder"):
        start("02_train", output="mine")


def test_a_run_that_was_taken_over_cannot_finish(project):
    first = start()
    new_kernel()
    second = start()
    with pytest.raises(InputError, match="was started again by another kernel"):
        first.finish({})
    second.finish({})
    shutil.rmtree(second.folder)
    with pytest.raises(InputError, match="or removed"):
        second.finish({})


def test_a_moved_project_resumes_and_finds_its_inputs(project, monkeypatch):
    finished(output="outputs/a/data")
    first = start("02_train", data=str(project / "outputs/a/data"), output="outputs/a/train")  # an absolute path
    first.input(first.settings.data, "01_data")
    moved = project.rename(project.with_name("moved"))
    monkeypatch.chdir(moved)
    new_kernel()
    second = start("02_train", data=str(moved / "outputs/a/data"), output="outputs/a/train")
    assert second.resuming
    second.input(second.settings.data, "01_data")
    assert second.resuming


def shell(*command, cwd):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("learning_rate: 1e-5\n", None),  # text to YAML, and to Papermill
        ("learnin_rate: 0.1\n", "unknown parameter 'learnin_rate'; did you mean learning_rate?"),
        ("four_bit: 1\n", "four_bit is 1, but must be a bool"),
    ],
)
def test_plain_papermill_is_safe(project, tmp_path, values, message):
    write_notebook(project / "notebooks", "02_train", TRAIN, 'run.finish({"kind": type(learning_rate).__name__})')
    (tmp_path / "values.yaml").write_text(values)
    command = [BIN / "papermill", "notebooks/02_train.ipynb", tmp_path / "out.ipynb", "-f", tmp_path / "values.yaml"]
    code, text = shell(*command, cwd=project)
    folder = project / "outputs" / "notebooks" / "02_train"
    if message is None:
        assert code == 0, text
        assert record(folder)["settings"]["learning_rate"] == 1e-5
        assert record(folder)["metrics"]["kind"] == "float"
    else:
        assert code != 0
        assert message in text
        assert not folder.exists()


def test_by_hand_from_the_notebooks_folder_writes_to_the_same_place(project, tmp_path):
    command = [BIN / "jupyter", "nbconvert", "--to", "notebook", "--execute", "--output-dir", tmp_path]
    code, text = shell(*command, "01_data.ipynb", cwd=project / "notebooks")
    assert code == 0, text
    assert record(project / "outputs" / "notebooks" / "01_data")["status"] == "complete"
    assert sorted(os.listdir(project)) == ["notebooks", "outputs", "params"]


HOLDER = """
import sys, time
sys.path.insert(0, {tests!r})
from currreft_nb.running.run import hold
from pathlib import Path
hold(Path({folder!r}), "a run")
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_that_another_process_writes_to_is_refused(project):
    run = finished()  # a finished run holds nothing
    code = HOLDER.format(tests=str(Path(__file__).parents[2]), folder=str(run.folder))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"is being written by another kernel, process {other.pid} on .*; wait"):
            start()
        other.kill()
    assert start().folder == run.folder  # the dead hold nothing


@pytest.mark.parametrize("made", ["nothing", "a figure and no adapter", "a figure and an adapter"])
def test_what_an_earlier_run_left_is_not_finished_as_if_it_were_this_ones(project, made):
    """The start cell again, then the last one, whose variables are still in the kernel."""
    first = start()
    work(first)
    write_adapter(first)
    first.finish({})
    weights = first.folder / "adapter" / "adapter_model.safetensors"
    second = start(rows=5)
    if made != "nothing":
        work(second)
    if made == "a figure and an adapter":
        os.utime(weights, ns=(0, 0))  # written anew, by whatever clock
        second.finish({})
        return
    with pytest.raises(InputError, match="holds only the results of an earlier run; run the cells"):
        second.finish({})
    assert record(second.folder)["status"] == "running"
