"""The record of a run: replaced whole, compared by what decides a result, and the only word on what may be read."""

import json

import pytest

from currreft_nb import InputError
from currreft_nb.core.files import to_json_types
from currreft_nb.running.fingerprints import source_hash
from currreft_nb.running.project import NOTEBOOK_VARIABLE
from currreft_nb.running.record import RunFolder, read_record
from tests.helpers.tiny_project import finished, make_project, new_kernel, record, start, write_adapter


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.delenv(NOTEBOOK_VARIABLE, raising=False)
    return root


def test_only_a_running_attempt_can_fail(project):
    run = finished()
    RunFolder(run.folder).fail("late", 1.0)
    assert record(run.folder)["status"] == "complete"  # a cell after run.finish failed, the run did not
    again = start()
    RunFolder(again.folder).fail("late", 1.0)
    assert (record(again.folder)["status"], record(again.folder)["error"]) == ("failed", "late")


def test_inputs_are_noted_relative_and_change_the_fingerprint(project):
    data = finished()
    train = finished("02_train")
    (note,) = record(train.folder)["inputs"]
    assert note["path"] == "../01_data"
    assert note["fingerprint"] == record(data.folder)["fingerprint"]
    before = record(train.folder)["fingerprint"]
    finished(rows=9)
    assert record(finished("02_train").folder)["fingerprint"] != before


def test_the_fingerprint_is_of_what_decides_the_result(project):
    def fingerprint(**changed):
        return record(finished("02_train", **changed).folder)["fingerprint"]

    finished()
    finished(output="elsewhere/data")
    first = fingerprint()
    assert fingerprint(output="elsewhere/train") == first  # where it is written decides nothing
    assert fingerprint(steps=61) != first
    path = project / "notebooks" / "02_train.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["source"] = "# Another title"
    notebook["cells"][1]["source"] += "\n# a comment in the parameters cell"
    path.write_text(json.dumps(notebook))
    assert fingerprint() == first  # prose decides nothing either
    notebook["cells"][-1]["source"] = "run.finish({})"
    path.write_text(json.dumps(notebook))
    assert fingerprint() != first


def test_an_executed_notebook_has_the_hash_of_its_source(project):
    path = project / "notebooks" / "01_data.ipynb"
    notebook = json.loads(path.read_text())
    injected = {"cell_type": "code", "source": "# Parameters\nrows = 3", "metadata": {"tags": ["injected-parameters"]}}
    notebook["cells"].insert(2, injected)
    copy = project / "executed.ipynb"
    copy.write_text(json.dumps(notebook))
    assert source_hash(copy) == source_hash(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("absent", "outputs/notebooks/01_data holds no run; check its name, or run notebook 01_data first"),
        ("running", "the run in outputs/notebooks/01_data is not complete (running); run notebook 01_data to its end"),
        ("failed", "the run in outputs/notebooks/01_data is not complete (failed); run notebook 01_data to its end"),
        ("damaged", "outputs/notebooks/01_data/run.json is damaged; delete the folder"),
        ("half", "outputs/notebooks/01_data/run.json is damaged; delete the folder"),
    ],
)
def test_an_input_that_is_not_complete_is_refused(project, state, message):
    if state != "absent":
        data = start()
        path = data.folder / "run.json"
        path.write_text({"damaged": '{"status"', "half": "{}"}.get(state, path.read_text()))
        if state == "failed":
            RunFolder(data.folder).fail("no", 1.0)
    run = start("02_train")
    with pytest.raises(InputError) as caught:
        run.input("", "01_data")
    assert message in str(caught.value)


def test_a_finished_adapter_counts_until_the_next_one_replaces_it(project, capsys):
    data = start()
    write_adapter(data)
    data.finish({})
    fingerprint = record(data.folder)["fingerprint"]
    new_kernel()
    again = start(rows=9)
    reader = start("02_train")
    assert reader.input("", "01_data") == data.folder
    assert "is being run again" in capsys.readouterr().out  # never silently
    assert record(reader.folder)["inputs"][0]["fingerprint"] == fingerprint
    write_adapter(again, b"second")
    with pytest.raises(InputError, match="is not complete"):
        reader.input("", "01_data")


def test_rows_do_not_count_while_they_are_made_again(project):
    finished()
    start(rows=9)
    with pytest.raises(InputError, match="is not complete"):
        start("02_train").input("", "01_data")


def test_a_record_is_replaced_whole_or_not_at_all(project):
    run = finished()
    before = record(run.folder)
    with pytest.raises(TypeError, match="not set"):
        RunFolder(run.folder).write({**before, "metrics": {"answers": {1, 2}}})
    assert read_record(run.folder) == before


def test_numbers_of_numpy_become_plain():
    numpy = pytest.importorskip("numpy")
    found = to_json_types({"a": numpy.float32(0.5), "b": numpy.int64(3), "c": [numpy.float64("inf")], 4: True})
    assert found == {"a": 0.5, "b": 3, "c": [None], "4": True}
    assert [type(found[key]) for key in ("a", "b", "4")] == [float, int, bool]
