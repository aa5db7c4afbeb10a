"""Every kind of step, stopped in every way at several points: the same command then finishes it as if nothing was.

A table of (kind of step, what happens, where). The suite takes a choice in which each kind and each fault occurs.
`FAULTS=each python -m pytest tests/running/test_faults.py` takes each kind with each fault somewhere, some half an hour
on two idle cores, `FAULTS=all` everywhere, more than three times as long.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_project import is_alive, record, wait_for

ROOT = Path(__file__).parents[2]
GRPO = "start_from: base, steps: 4, prompts_per_step: 2, group_size: 4, micro_batch: 8, save_every: 1"
KINDS = {
    "curate": "01_data_curation, params: {train_questions: 9, val_questions: 3, test_questions: 3, pool_questions: 9}",
    "rl": f"02_rl_binary, params: {{validation_questions: 1, {GRPO}}}",
    "sft": "baseline_sft, params: {prompts: 24, batch_size: 6, micro_batch: 6, save_every: 1}",
    "reject": "05_rejection_sampling, params: {start_from: base, questions: 9, completions: 4, epochs: 1,"
    " batch_size: 4, save_every: 1}",
    "evaluate": "06_evaluation, params: {arms: [base], start_from: [base], questions: 2, pass_questions: 1,"
    " samples_per_question: 2, batch_size: 16}",
    "report": "07_report, params: {evaluations: [outputs/calm/evaluate], trainings: [outputs/calm/rl]}",
}
FAULTS = ("kill", "die", "exit", "raise", "full", "terminate", "interrupt", "kill-runner")
# Where: a file that is written then, and for the how-many-th time. The last are at the end of the work.
POINTS = {
    "curate": ("*/.curating/val-open.jsonl 1", "*/data/train-choice.jsonl 1", "*/run.json 2"),
    "rl": ("*/passes-forced.jsonl 1", "*/metrics.jsonl 3", "*/checkpoint-3/trainer_state.json 1", "*/adapter 1"),
    "sft": (
        "*/figures/memory.png 1",
        "*/metrics.jsonl 2",
        "*/checkpoint-2/adapter_config.json 1",
        "*/run.json.partial 3",
    ),
    "reject": ("*/answers.jsonl 1", "*/sft.jsonl 1", "*/metrics.jsonl 2", "*/figures/loss.png 1"),
    "evaluate": ("*/records.jsonl 1", "*/passes-base.jsonl 1", "*/run.json 3"),
    "report": ("*/run.json.partial 2", "*/figures/scores.png 1", "*/results.json 1"),
}


def stops(kind, fault, place):
    """Say whether that stops a step: a disk that fills as the finished run.json is put into place comes too late."""
    return fault != "full" or "/run.json " not in POINTS[kind][place]


def places(kind, fault, first=0):
    """Return the places where a fault stops a kind of step, from the one numbered `first` on, around the table."""
    count = len(POINTS[kind])
    return [place % count for place in range(first, first + count) if stops(kind, fault, place % count)]


ALL = [(kind, fault, place) for kind in KINDS for fault in FAULTS for place in places(kind, fault)]
EACH = [
    (kind, fault, places(kind, fault, row + column)[0])
    for row, kind in enumerate(KINDS)
    for column, fault in enumerate(FAULTS)
]
CHOICE = [
    ("curate", "kill", 1), ("curate", "full", 0), ("rl", "terminate", 2), ("rl", "full", 1), ("sft", "exit", 3),
    ("sft", "kill-runner", 1), ("reject", "die", 2), ("evaluate", "interrupt", 0), ("evaluate", "raise", 2),
    ("report", "raise", 2),
]  # fmt: skip
CELLS = {"": CHOICE, "each": EACH, "all": ALL}[os.environ.get("FAULTS", "")]
ASIDE = ("notebook.ipynb", "log.txt", "run.json", ".lock", ".lock.json", "figures", "checkpoints")


def write_experiment(project, name, kinds):
    """Write an experiment of steps of these kinds; only the calm one makes data of its own."""
    shared = {"model": "pocket", "seed": 0, "data": "@curate" if len(kinds) > 1 else "outputs/calm/curate"}
    known = {"curate": ["seed"], "report": ["data"]}.get(kinds[0], list(shared)) if len(kinds) == 1 else list(shared)
    lines = [f"shared: {json.dumps({key: shared[key] for key in known})}", "steps:"]
    lines += [f"  - {{name: {kind}, notebook: {KINDS[kind]}}}" for kind in kinds]
    (project / "params" / f"{name}.yaml").write_text("\n".join(lines))
    return f"params/{name}.yaml"


def settled(value):
    """Return a value without what an interruption changes: times."""
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items() if not key.endswith("seconds")}
    return value


def result(folder):
    """Return what a run made, by file, and its metrics."""
    found = {"metrics": settled(record(folder)["metrics"])}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name.split("/")[0] not in ASIDE:
            rows = path.suffix == ".jsonl" and path.read_text().splitlines()
            found[name] = [settled(json.loads(row)) for row in rows] if rows else path.read_bytes()
    for name in {"results.csv", "results.json"} & set(found):
        found[name] = normalised(found[name].decode(), name)
    return found


def normalised(text, name):
    """Return a report's results without the experiment's name, and without its runs, whose times differ."""
    if name == "results.csv":
        return [line.partition(",")[2] for line in text.splitlines()]
    whole = json.loads(text)
    rows = {key: value for key, value in whole.items() if isinstance(value, list)}
    return {key: [{k: v for k, v in row.items() if k != "experiment"} for row in value] for key, value in rows.items()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Return a project in which every kind of step was run once, undisturbed."""
    project = tmp_path_factory.mktemp("faults")
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("results"))
    file = write_experiment(project, "calm", list(KINDS))
    text = (
        (project / file).read_text().replace("outputs/calm/evaluate", '"@evaluate"').replace("outputs/calm/rl", '"@rl"')
    )
    (project / file).write_text(text)
    done = command(project, file)
    assert done.returncode == 0, done.stdout
    return project


def command(project, *arguments, what="run", **environment):
    """Run the command line; with FAULT, kernels do what it says."""
    program = [sys.executable, "-c", "from currreft_nb.cli.app import main; main()", what, *arguments]
    path = os.pathsep.join([str(ROOT / "tests" / "helpers" / "faults"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        program,
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": path} if environment else {}) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_signals,
    )


def heed_signals():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def disk(folder, options="size=64m"):
    """Mount a small disk at the folder, or skip the test."""
    folder.mkdir(parents=True)
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("only root may mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def kernels(project):
    """Return the processes that work in the project."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(path / "cwd")).is_relative_to(project):
                found.append(int(path.name))
    return [pid for pid in found if is_alive(pid)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fault", "place"), CELLS)
def test_what_was_stopped_is_finished_as_if_nothing_was(calm, kind, fault, place):
    name = f"{kind}-{fault}-{place}"
    file, folder = write_experiment(calm, name, [kind]), calm / "outputs" / name
    with disk(folder) if fault == "full" else contextlib.nullcontext():
        point = f"{fault} {POINTS[kind][place]}"
        stopped = command(calm, file, FAULT=point, FAULT_DISK=str(folder))
        log = (folder / kind / "log.txt").read_text()
        assert f"now: {fault}" in log, stopped.stdout + log
        assert stopped.returncode != 0, "incomplete work was taken for complete"
        assert "Traceback" not in stopped.stdout
        wait_for(lambda: not kernels(calm), 5)
        assert record(folder / kind)["status"] != "complete"
        metrics = folder / kind / "metrics.jsonl"
        before = metrics.read_text().splitlines() if metrics.exists() else []
        (folder / "filler").unlink(missing_ok=True)

        again = command(calm, file)
        assert again.returncode == 0, again.stdout
        assert ": resume " in again.stdout
        assert result(folder / kind) == result(calm / "outputs" / "calm" / kind)
        # Seconds included: what was done and saved is not done again. The last step may lack its checkpoint.
        assert not before or metrics.read_text().splitlines()[: len(before) - 1] == before[:-1]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_reported_and_loses_nothing(calm):
    """Before anything was made, and with a half-made run in it."""
    file, folder = write_experiment(calm, "readonly", ["sft"]), calm / "outputs" / "readonly"
    with disk(folder):
        for half_made in (False, True):
            if half_made:
                command(calm, file, FAULT="die */metrics.jsonl 3")
            before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            refused = command(calm, file)
            assert refused.returncode == 1
            assert re.fullmatch(r"error: .*Read-only file system.*\n", refused.stdout), refused.stdout
            assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        again = command(calm, file)
        assert again.returncode == 0, again.stdout
        assert "resuming after step 2 of 4" in again.stdout
        assert result(folder / "sft") == result(calm / "outputs" / "calm" / "sft")


@pytest.mark.slow
def test_a_moved_project_still_works(calm):
    """Nothing may depend on the old place: complete steps, evaluating, reporting and exporting again."""
    former, moved = result(calm / "outputs" / "calm" / "evaluate"), calm.with_name("moved")
    calm.rename(moved)
    try:
        plan = command(moved, "params/calm.yaml", "--dry-run")
        assert plan.stdout.count("  skip   (complete, ") == len(KINDS), plan.stdout
        again = command(moved, "params/calm.yaml", "--force", "evaluate")
        assert again.returncode == 0, again.stdout
        assert len(re.findall(r": complete in", again.stdout)) == 2  # the report's input changed
        assert result(moved / "outputs" / "calm" / "evaluate") == former
        assert command(moved, "outputs/calm/rl", "merged", what="export").returncode == 0
        assert (moved / "merged" / "model.safetensors").is_file()
    finally:
        moved.rename(calm)
