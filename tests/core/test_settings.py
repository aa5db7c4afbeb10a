"""Settings: declared once, and known everywhere from that one declaration."""

import ast
import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.core.settings import DECIDES, KINDS, Settings, deciding, declared, setting, settings_class
from currreft_nb.running.notebook_settings import (
    NOTEBOOKS,
    check_together,
    declared_by,
    settings_of,
    settings_rows,
    settings_table,
)
from currreft_nb.running.parameters import cell_declarations, code_cells, declarations

ROOT = Path(__file__).parents[2]


@settings_class
class Speed(Settings):
    rate: float = setting(0.5, "share", unit="m/s", above=0, most=2)
    names: Sequence[str] = setting(("a",), "names", choices=("a", "b"), least=1, decides="cost")


@settings_class
class Fast(Speed):
    rate = 1.5
    count: int = setting(1, "a number", least=1, decides="name")


def test_another_default_keeps_the_rest_of_the_declaration():
    slow, fast = declared(Speed)["rate"], declared(Fast)["rate"]
    assert (slow.default, fast.default, Speed().rate, Fast().rate) == (0.5, 1.5, 0.5, 1.5)
    assert (fast.bounds, fast.unit, fast.help) == ("above 0 and at most 2", "m/s", "share")
    assert list(declared(Fast)) == ["rate", "names", "count"]
    assert deciding(Fast(names=["b"])) == {"rate": 1.5}
    assert Fast(names=["a"]) == Fast(names=("a",)) and hash(Fast()) == hash(Fast())
    with pytest.raises(ValueError, match="decides is 'money'"):
        setting(0, "", decides="money")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "rate is 0.0, but must be above 0 and at most 2"),
        ({"rate": 3.0}, "rate is 3.0, but must be above 0 and at most 2"),
        ({"rate": "fast"}, "rate is 'fast', but must be a finite float"),
        ({"names": []}, "names is empty; name at least one of a, b"),
        ({"names": ["c"]}, "names contains 'c', but may only contain a, b"),
        ({"count": 0}, "count is 0, but must be at least 1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_is_allowed(values, message):
    with pytest.raises(InputError) as caught:
        Fast(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_setting_says_what_it_is(name):
    for item in declared_by(name).values():
        assert item.kind in KINDS and item.decides in DECIDES and len(item.help) > 8, item.name
        assert item.checked(item.default) == item.default
    NOTEBOOKS[name]()  # the defaults go together


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_cell_shows_at_most_twenty_lines_of_what_the_class_declares(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    shown, all_of_it = cell_declarations(path), declared_by(name)
    assert shown.keys() <= all_of_it.keys()
    for item in shown.values():
        assert (item.kind, item.default) == (all_of_it[item.name].kind, all_of_it[item.name].default), item.name
        assert item.help, f"{item.name} has no comment"
    (source,) = [source for source, tags in code_cells(path) if "parameters" in tags]
    assert len(source.splitlines()) <= 20
    assert declarations(path).keys() == all_of_it.keys()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_reads_what_the_cell_does_not_show_from_the_run_and_assigns_no_setting(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    hidden = declared_by(name).keys() - cell_declarations(path).keys()
    for source, tags in code_cells(path):
        names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
        read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        assert not read & (hidden - set(dir(builtins))), path
        assert "parameters" in tags or not assigned & declared_by(name).keys(), path


def test_values_that_do_not_go_together_are_refused_by_notebook():
    with pytest.raises(InputError, match="micro_batch is 7, but must divide"):
        check_together("04_rl_open", {"micro_batch": 7})
    with pytest.raises(InputError, match="micro_batch is 7, but must divide batch_size"):
        check_together("05_rejection_sampling", {"micro_batch": 7})
    with pytest.raises(InputError, match="quotas: 'math' is incomplete"):
        check_together("05_rejection_sampling", {"quotas": ["math"]})
    with pytest.raises(InputError, match="patience is 2, but validate_every is 0"):
        check_together("02_rl_binary", {"patience": 2})
    check_together("of_my_own", {"patience": 2})


def test_the_list_has_a_row_for_each_setting():
    found = {row["name"]: row for row in settings_rows(settings_of("04_rl_open"))}
    assert found["micro_batch"] | {"meaning": ""} == {
        "name": "micro_batch", "type": "int", "default": "64", "unit": "texts", "bounds": "at least 1",
        "decides": "cost", "meaning": "",
    }  # fmt: skip
    made = settings_table(declared(Speed), {"rate": 1.0, "names": ["b"]})
    assert list(made["value"]) == ["1.0", "['b']"]
    with pytest.raises(InputError, match="no notebook '04_rl'; did you mean 04_rl_open"):
        settings_of("04_rl")


USES = """
import json, sys
from pathlib import Path
from currreft_nb import InputError
from currreft_nb.cli import app as cli
from currreft_nb.core import settings
from currreft_nb.running.experiment import read_experiment
from currreft_nb.running.run import Run
from currreft_nb.training.settings import GrpoSettings
assert Path(settings.__file__).is_relative_to(Path.cwd())
sys.argv = ["currreft", "params", "04_rl_open"]
try:
    cli.app(standalone_mode=False)
except SystemExit:
    pass
settings_of = {step.name: step.settings for step in read_experiment("params/new.yaml").steps}
print("yaml", settings_of["rl"]["momentum"], "momentum" in settings_of["curate"])
for change in ("rl.momentum=2", "rl.momentun=0.5", "curate.momentum=0.5"):
    try:
        read_experiment("params/new.yaml", [change])
    except InputError as error:
        print("refused", error)
from currreft_nb.running.parameters import code_cells
for injected in ("momentum = 0.25", "momentum = 2.0", "momentun = 0.5"):
    space = {"In": [source for source, tags in code_cells("notebooks/04_rl_open.ipynb") if "parameters" in tags]}
    exec(space["In"][0], space)
    space["In"].append("# Parameters\\n" + injected)
    exec(injected, space)
    try:
        run = Run.start("04_rl_open", space)
        print("run.json", json.loads((run.folder / "run.json").read_text())["settings"]["momentum"])
        print("trainer", GrpoSettings.from_parameters(run.settings).momentum)
    except InputError as error:
        print("refused", error)
"""
NEW = """
shared: {momentum: 0.75, data: "@curate"}
steps:
  - {name: curate, notebook: 01_data_curation}
  - {name: rl, notebook: 04_rl_open, params: {start_from: base}}
"""


def test_adding_a_training_setting_touches_one_file(tmp_path):
    """The command, an experiment file, Papermill and run.json know it from its declaration alone."""
    shutil.copytree(
        ROOT / "currreft_nb", tmp_path / "currreft_nb", ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    os.symlink(ROOT / "currreft_nb" / "weights", tmp_path / "currreft_nb" / "weights")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "new.yaml").write_text(NEW)
    file = tmp_path / "currreft_nb" / "training" / "settings.py"
    line = '    momentum: float = setting(0.0, "share of the last update that is kept", least=0, below=1)\n'
    source = file.read_text(encoding="utf-8")
    assert source.count("    beta: float") == 1
    file.write_text(source.replace("    beta: float", f"{line}    beta: float"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", USES], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    found = answer.stdout.splitlines()
    assert "momentum: float = 0.0  (at least 0 and below 1)  decides the result" in found
    assert "yaml 0.75 False" in found
    assert "refused --set rl.momentum (step rl): momentum is 2.0, but must be at least 0 and below 1" in [
        line.replace("--set momentum", "--set rl.momentum") for line in found
    ]
    assert any("--set rl.momentun=0.5: unknown parameter 'momentun'; did you mean momentum?" in line for line in found)
    assert any("--set curate.momentum=0.5: unknown parameter 'momentum'" in line for line in found)
    assert "run.json 0.25" in found and "trainer 0.25" in found
    assert "refused 04_rl_open.ipynb: momentum is 2.0, but must be at least 0 and below 1" in found
    assert "refused 04_rl_open.ipynb: unknown parameter 'momentun'; did you mean momentum?" in found
    recorded = json.loads((tmp_path / "outputs" / "notebooks" / "04_rl_open" / "run.json").read_text())
    assert recorded["settings"].keys() == declared_by("04_rl_open").keys() | {"momentum"}
