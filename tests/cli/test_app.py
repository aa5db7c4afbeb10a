"""The command line: mistakes reported in one line with exit status 1, nothing heavy imported before it is needed."""

import errno
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from currreft_nb.cli.app import main
from currreft_nb.running.run import Run
from currreft_nb.training.settings import GrpoSettings
from tests.helpers.tiny_project import make_project, record, write_experiment, write_notebook

BIN = Path(sys.executable).parent
TINY = """\
steps:
  - {name: data, notebook: 01_data}
  - {name: train, notebook: 02_train, params: {data: "@data"}}
"""
STEP = (
    '  - {name: rl, notebook: 02_rl_binary, params: {data: "@data", start_from: base}}\n'
    '  - {name: sft, notebook: baseline_sft, params: {data: "@data", start_from: base}}\n'
)
SFT = (
    'output: str = ""\ndata: str = ""\nstart_from: str = "base"\nmodel: str = "pocket"\nfour_bit: bool = False\n'
    'max_pixels: int = 0\ntasks: list[str] = ["math"]\nprompts: int = 16\nbatch_size: int = 4\nmicro_batch: int = 2\n'
    "learning_rate: float = 1e-3\nlora_rank: int = 16\nseed: int = 0"
)
GRPO = (
    'output: str = ""\ndata: str = ""\nstart_from: str = "base"\nmodel: str = "pocket"\nfour_bit: bool = False\n'
    'max_pixels: int = 0\ntasks: list[str] = ["math"]\nstages: list[str] = ["binary"]\n'
    "prompts_per_step: int = 4\ngroup_size: int = 4\nmicro_batch: int = 4\nmax_new_tokens: int = 8\n"
    "temperature: float = 1.0\nseed: int = 0\nlora_rank: int = 16\nbeta: float = 0.0"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    write_experiment(root, TINY)
    return root


def call(monkeypatch, *arguments):
    """Call the command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["currreft", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_a_command_ignores_what_a_launcher_left_and_says_so_once(project, monkeypatch, capsys):
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert call(monkeypatch, "run", "params/tiny.yaml", "--dry-run") == 0
    assert not {"LOCAL_RANK", "WORLD_SIZE"} & os.environ.keys()
    said = capsys.readouterr().err
    assert said.count("ignored, as a cluster's launcher left them: LOCAL_RANK, WORLD_SIZE;") == 1
    assert call(monkeypatch, "run", "params/tiny.yaml", "--dry-run") == 0
    assert not capsys.readouterr().err


def test_the_installed_command_runs_an_experiment_and_its_status_says_how_it_went(project):
    def shell(*arguments):
        done = subprocess.run([BIN / "currreft", *arguments], cwd=project, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = shell("run", "params/tiny.yaml")
    assert code == 0
    assert "[2/2] train: complete in" in out
    write_notebook(project / "notebooks", "01_data", 'output: str = ""', "1 / 0")
    code, out, err = shell("run", "params/tiny.yaml")
    assert code == 1
    assert "[1/2] data: failed after" in out and "ZeroDivisionError: division by zero" in out
    assert "Traceback" not in out + err  # it stays in the executed notebook
    assert "ZeroDivisionError" in (project / "outputs/tiny/data/failed.ipynb").read_text()


def test_a_dry_run_checks_and_shows_and_starts_nothing(project, monkeypatch, capsys):
    assert call(monkeypatch, "run", "params/tiny.yaml", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny: 2 steps in outputs/tiny; ")
    assert lines[2].split() == ["[2/2]", "train", "02_train", "run", "(not", "run", "yet)", "time", "unknown"]
    assert not (project / "outputs").exists()
    assert call(monkeypatch, "run", "params/tiny.yaml", "--dry-run", "--only", "data", "--set", "rows=9") == 0
    assert "1 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "params/absent.yaml"], "error: params/absent.yaml does not exist"),
        (
            ["run", "params/tiny.yaml", "--set", "stesp=3"],
            "error: --set stesp=3: unknown parameter 'stesp'; did you mean",
        ),
        (["run", "params/tiny.yaml", "--dry-run", "--only", "x"], "error: params/tiny.yaml: no step 'x'"),
        (["run", "params/tiny.yaml", "--only", "train"], "error: step train needs data, which is not complete"),
        (["report", "outputs/absent"], "outputs/absent holds no complete run"),
        (["preflight", "params/tiny.yaml"], "error: params/tiny.yaml has no step that trains with a micro_batch"),
        (["probe", "params/tiny.yaml"], "error: params/tiny.yaml has no step that trains with a group_size"),
        (["rewards", "absent.jsonl", "absent.jsonl"], "error: absent.jsonl does not exist"),
    ],
)
def test_mistakes_are_reported_in_one_line(project, monkeypatch, capsys, arguments, message):
    assert call(monkeypatch, *arguments) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_disk_that_is_full_is_reported_and_a_fault_of_ours_keeps_its_traceback(project, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(number, "it does not work", "outputs/tiny/run.json")

    monkeypatch.setattr("currreft_nb.running.experiment.read_experiment", fail)
    number = errno.ENOSPC
    assert call(monkeypatch, "run", "params/tiny.yaml") == 1
    assert capsys.readouterr().err == f"error: [Errno {number}] it does not work: 'outputs/tiny/run.json'\n"
    number = errno.ENOENT
    with pytest.raises(OSError, match="it does not work"):
        call(monkeypatch, "run", "params/tiny.yaml")


def test_an_unknown_option_is_no_success(project, monkeypatch, capsys):
    assert call(monkeypatch, "run", "params/tiny.yaml", "--froce", "data") == 2
    assert "--froce" in capsys.readouterr().err


def test_params_lists_every_setting_of_a_notebook(project, monkeypatch, capsys):
    assert call(monkeypatch, "params", "02_rl_binary") == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("micro_batch: int = 64 texts  (at least 1)  decides the cost")
    assert lines[place + 1].startswith("    most texts per forward and backward pass")
    names = [line.partition(":")[0] for line in lines[::2]]
    assert names == list(dict.fromkeys(names)) and {field.name for field in fields(GrpoSettings)} <= {*names}
    assert call(monkeypatch, "params", "02_binary") == 1
    assert "no notebook '02_binary'; did you mean 02_rl_binary?" in capsys.readouterr().err


def test_formats_and_look_show_what_can_be_read(project, monkeypatch, capsys):
    assert call(monkeypatch, "formats") == 0
    assert "\nyolo  " in capsys.readouterr().out
    assert call(monkeypatch, "formats", "labelme") == 0
    assert '"shape_type": "rectangle"' in capsys.readouterr().out
    assert call(monkeypatch, "formats", "labelmi") == 1
    (project / "rows.jsonl").write_text('{"question": "6 * 7?", "answer": "42"}\n{"question": "1 + 1?"}\n')
    assert call(monkeypatch, "look", "table:rows.jsonl?task=math") == 0
    out = capsys.readouterr().out
    assert "1 questions, 1 rejections" in out and "rows.jsonl:2  'answer'" in out
    assert call(monkeypatch, "look", "table:rows.jsonl?task=math&answer=question", "--rows", "1") == 0
    (project / "none.jsonl").write_text("")
    assert call(monkeypatch, "look", "table:none.jsonl?task=math", "--data-root", project) == 1
    assert call(monkeypatch, "look", "table:absent.jsonl?task=math") == 1
    assert "absent.jsonl does not exist" in capsys.readouterr().err


def test_doctor_names_versions_with_their_range_and_what_follows(project, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    call(monkeypatch, "doctor")
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["trl"].startswith("ok") and "(tested <1.17,>=1.16)" in rows["trl"]
    assert "only models that are here already" in rows["hub"]
    assert {"python", "torch", "CUDA", "cores", "memory", "disk"} <= set(rows)


def test_nothing_heavy_is_imported_before_it_is_needed():
    names = "('torch', 'papermill', 'nbconvert', 'pandas')"
    code = f"import sys, currreft_nb.cli.app\nprint([name for name in {names} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_command_line_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "currreft_nb.cli", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "preflight" in done.stdout


@pytest.fixture
def grpo(project):
    write_notebook(project / "notebooks", "01_data_curation", 'output: str = ""')
    write_notebook(project / "notebooks", "02_rl_binary", GRPO)
    write_notebook(project / "notebooks", "baseline_sft", SFT)
    write_experiment(project, "steps:\n  - {name: data, notebook: 01_data_curation}\n" + STEP, "grpo")
    return project


def test_preflight_estimates_and_compares(grpo, monkeypatch, capsys):
    assert call(monkeypatch, "preflight", "params/grpo.yaml", "--card-gib", "16") == 0
    out = capsys.readouterr().out
    assert "rl: an estimate from shapes" in out
    assert re.search(r"GiB  always +language model, 16 bit", out)
    assert "of 16 GiB in training: fits, with 15." in out
    assert all(re.search(rf"{name} +\d+ -> +\d+  about", out) for name in ("prompts_per_step", "micro_batch"))
    large = ("--set", "model=Qwen/Qwen2.5-VL-3B-Instruct", "--set", "max_pixels=401408", "--card-gib", "4")
    assert call(monkeypatch, "preflight", "params/grpo.yaml", *large) == 1
    assert "does not fit; lower" in capsys.readouterr().out
    assert call(monkeypatch, "preflight", "params/grpo.yaml", "--only", "sft") == 0
    out = capsys.readouterr().out
    assert "sft: an estimate" in out and "rl:" not in out and "no card here to compare with" in out


def test_preflight_measures_the_largest_step_of_each_training(grpo, monkeypatch, capsys):
    assert call(monkeypatch, "preflight", "params/grpo.yaml", "--measure") == 0
    out = capsys.readouterr().out
    assert "rl: the largest step, with made-up questions, since its data is not curated yet" in out
    measured = re.findall(r"^  (\w+) +[\d.]+ s  estimated [\d.]+ GiB  no GPU$", out, re.MULTILINE)
    assert measured == ["loading", "vision", "generation", "training", "loading", "vision", "training"]
    curate(grpo)
    assert call(monkeypatch, "preflight", "params/grpo.yaml", "--measure", "--only", "rl") == 0
    assert "rl: the largest step, with its own questions" in capsys.readouterr().out
    assert not list((grpo / "outputs").glob("**/checkpoints"))  # nothing is left behind


def test_probe_needs_the_data_and_then_advises(grpo, monkeypatch, capsys):
    assert call(monkeypatch, "probe", "params/grpo.yaml") == 1
    error = capsys.readouterr().err
    assert "outputs/grpo/data holds no run; check its name, or run notebook 01_data_curation first" in error
    curate(grpo)
    options = ("--questions", "2", "--completions", "2")
    assert call(monkeypatch, "probe", "params/grpo.yaml", *options) == 0
    out = capsys.readouterr().out
    assert "answered      6 of 6 questions" in out  # two each of binary, choice and open
    assert "pass_at_k" in out
    assert "math: " in out
    assert call(monkeypatch, "probe", "params/grpo.yaml", *options) == 0
    assert "of 6 questions" not in capsys.readouterr().out  # the answers are kept


def curate(project):
    from currreft_nb.data.curate import curate

    run = Run.start("01_data_curation", {"output": "outputs/grpo/data"})
    curate(
        run.folder / "data",
        root=project,
        train_sources=["scenes"],
        ood_sources=["scenes"],
        pool_sources=["scenes"],
        tasks=["math"],
        train_questions=4,
        val_questions=2,
        test_questions=2,
        pool_questions=2,
        max_pixels=401408,
        on_bad="stop",
        seed=0,
    )
    run.finish({})


def test_export_merges_the_adapter_of_a_complete_run(grpo, monkeypatch, capsys):
    from currreft_nb.models.load import load_model, save_adapter

    values: dict = {}
    exec(GRPO, values)
    run = Run.start("02_rl_binary", values | {"output": "outputs/rl"})
    assert call(monkeypatch, "export", "outputs/rl", "merged") == 1
    assert "the run in outputs/rl is not complete (running)" in capsys.readouterr().err
    loaded = load_model("pocket", trainable=True, device="cpu")
    save_adapter(loaded, run.folder / "adapter", "binary")
    run.finish({})
    assert record("outputs/rl")["adapter"]
    capsys.readouterr()
    assert call(monkeypatch, "export", "outputs/rl", "merged") == 0
    assert "merged: kl_merged" in capsys.readouterr().out
    assert (grpo / "merged" / "model.safetensors").is_file()
    assert call(monkeypatch, "export", "outputs/rl", "merged") == 1
    assert "merged exists and is not empty; give a new folder" in capsys.readouterr().err


def test_export_asks_the_runs_own_validation_questions_how_far_four_bits_are(grpo, monkeypatch, capsys):
    from currreft_nb.models.load import load_model, save_adapter

    curate(grpo)
    values: dict = {}
    exec(GRPO, values)
    values |= {"output": "outputs/rl", "data": "outputs/grpo/data", "four_bit": True}
    run = Run.start("02_rl_binary", values)
    run.input(run.settings.data, "01_data_curation")
    save_adapter(load_model("pocket", trainable=True, four_bit=True, device="cpu"), run.folder / "adapter", "open")
    run.finish({})
    assert call(monkeypatch, "export", "outputs/rl", "merged") == 0
    out = capsys.readouterr().out
    assert "from the policy in 4 bit: KL " in out and "of 2 validation questions" in out
