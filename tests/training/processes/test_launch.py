"""Two real processes that train together on the CPU: the same updates as one, faults, interruptions, resuming."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import TRAINED_TASKS
from currreft_nb.data.scenes import compose
from currreft_nb.models.load import load_model
from currreft_nb.training.processes import launch
from currreft_nb.training.processes.launch import launch_command
from currreft_nb.training.resume import damage
from currreft_nb.training.rows import sft_targets
from currreft_nb.training.train import train_grpo, train_sft
from currreft_nb.training.trainers import GroupTrainer
from tests.helpers import faulty_worker
from tests.helpers.tiny_project import wait_for
from tests.training.test_train import SMALL, adapter_weights, assert_close_adapter, assert_same_adapter, mixed_samples
from tests.training.test_trainers_sft import FINE

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="compares processes on the CPU")
# Each of two processes has a question a step, whose four completions go through the model in two passes.
ONE = replace(SMALL, steps=6, micro_batch=2, save_every=2, validate_every=2, patience=2)
TWO = replace(ONE, num_processes=2)
ONE_FINE = replace(FINE, prompts=20, micro_batch=1, save_every=1)
TWO_FINE = replace(ONE_FINE, num_processes=2)
CONFIG = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: 1
num_processes: 2
main_process_port: 0
mixed_precision: 'no'
"""


@pytest.fixture(scope="module", autouse=True)
def workers():
    """Let the processes be those that fail on demand, and this one choose tokens like them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "WORKER", "tests.helpers.faulty_worker")
        patch.setattr(GroupTrainer, "_choose", faulty_worker.choose_by_place)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("FIXED", "yes")
        patch.setenv("NOTEBOOK", str(os.getpid()))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    return [sample for task in TRAINED_TASKS for sample in compose.draw_samples(folder, task, 1, "id", 1, "val")]


@pytest.fixture(scope="module")
def grpo(samples, validation):
    """Return a function that trains into a folder, and returns result, model and what was printed."""

    def run(folder, settings):
        loaded, printed = load_model("pocket", trainable=True), io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = train_grpo(loaded, samples, folder, settings, validation=validation)
        return result, loaded, printed.getvalue()

    return run


@pytest.fixture(scope="module")
def alone(grpo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return folder, *grpo(folder, ONE)


@pytest.fixture(scope="module")
def together(grpo, tmp_path_factory):
    """Train with two processes that an Accelerate configuration file describes."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "accelerate.yaml").write_text(CONFIG)
    return folder, *grpo(folder, replace(TWO, accelerate_config=str(folder / "accelerate.yaml")))


def sft(samples, folder, settings):
    loaded = load_model("pocket", trainable=True)
    return train_sft(loaded, sft_targets(samples, loaded.style), folder, settings)


def measures(folder):
    rows = read_journal(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


def completions(folder):
    return [row for path in sorted((folder / "completions").iterdir()) for row in read_journal(path)]


def left_over(folder):
    """Return the processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if str(folder).encode() in path.read_bytes() else []
    return found


@pytest.mark.slow
class TestTogether:
    def test_the_updates_are_those_of_one_process(self, alone, together):
        one, two = measures(alone[0]), measures(together[0])
        assert any(0 < row["zero_variance"] < 1 for row in two)  # a process with, and one without, something to learn
        for first, second in zip(one, two, strict=True):
            assert first.keys() == second.keys()
            exact = [name for name in first if not isinstance(first[name], float)]
            assert [first[name] for name in exact] == [second[name] for name in exact]
            for name in first.keys() - {*exact, "entropy", "loss", "gradient_norm"}:
                tolerance = 1e-5 if name.startswith("entropy/") else 1e-6
                assert first[name] == pytest.approx(second[name], abs=tolerance), name
            assert first["gradient_norm"] == pytest.approx(second["gradient_norm"], rel=1e-2, abs=1e-4)
        assert_close_adapter(alone[0], together[0], 2e-5)

    def test_validation_and_the_end_of_the_stage_are_those_of_one_process(self, alone, together):
        assert together[1]["promotion"] == alone[1]["promotion"]
        assert together[1]["promotion"]["why"] == "patience"
        assert len({(folder / "passes-natural.jsonl").read_text() for folder in (alone[0], together[0])}) == 1
        assert sum("validation_reward" in row for row in measures(together[0])) == 2

    def test_completions_of_all_ranks_are_kept_in_order(self, alone, together):
        one, two = completions(alone[0]), completions(together[0])
        assert [(row["id"], row["completion"]) for row in one] == [(row["id"], row["completion"]) for row in two]

    def test_every_sample_is_seen_once_before_any_is_seen_again(self, together, samples):
        drawn = [row["id"] for row in completions(together[0])][:: TWO.group_size]
        assert len(drawn) == len(samples) and set(drawn) == {sample.id for sample in samples}

    def test_only_the_first_rank_writes_and_prints(self, together):
        folder, _, _, printed = together
        assert [row["step"] for row in measures(folder)] == [1, 2, 3, 4]
        assert sum(line.startswith("step ") for line in printed.splitlines()) == 4
        assert not (folder / "processes").exists()
        assert damage(folder / "checkpoints" / "checkpoint-4", num_processes=2) is None

    def test_the_notebooks_model_is_the_trained_one(self, together):
        folder, _, loaded, _ = together
        weights = {name: weight for name, weight in loaded.model.named_parameters() if weight.requires_grad}
        saved = adapter_weights(folder)
        assert len(saved) == len(weights)
        for name, weight in saved.items():
            assert torch.equal(weight, weights[name.replace(".weight", ".default.weight")])

    def test_an_exception_stops_all_and_the_resumed_run_ends_as_if_nothing_had_happened(
        self, grpo, together, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("FAULT", "raise 1 3")
        with pytest.raises(RuntimeError, match=r"process 1 of 2 failed[\s\S]*ArithmeticError: a fault of our own"):
            grpo(tmp_path, TWO)
        assert not left_over(tmp_path)
        assert [row["step"] for row in measures(tmp_path)][:2] == [1, 2]
        monkeypatch.delenv("FAULT")
        _, _, printed = grpo(tmp_path, TWO)
        assert "resuming after step 2 of 6" in printed
        assert_same_adapter(together[0], tmp_path)
        assert measures(tmp_path) == measures(together[0])
        assert completions(tmp_path) == completions(together[0])

    def test_checkpoints_of_another_number_of_processes_are_refused(self, grpo, together, tmp_path):
        shutil.copytree(together[0] / "checkpoints", tmp_path / "checkpoints")
        with pytest.raises(InputError, match="made with another num_processes"):
            grpo(tmp_path, ONE)


KERNEL = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.training.processes.test_launch import *
launch.WORKER = "tests.helpers.faulty_worker"
sft(mixed_samples(Path(sys.argv[1]) / "scenes"), Path(sys.argv[1]) / "run", TWO_FINE)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_killed_interrupted_and_resumed_fine_tuning_ends_like_that_of_one_process(samples, tmp_path, monkeypatch):
    sft(samples, tmp_path / "alone", ONE_FINE)
    folder = tmp_path / "run"

    monkeypatch.setenv("FAULT", "kill 1 2")
    with pytest.raises(InputError, match=r"process 1 of 2 was killed.*run it again"):
        sft(samples, folder, TWO_FINE)
    assert not left_over(folder)

    monkeypatch.setenv("FAULT", "interrupt 1 3")
    with pytest.raises(KeyboardInterrupt):
        sft(samples, folder, TWO_FINE)
    assert not left_over(folder)

    monkeypatch.setenv("FAULT", "wait 1 4")
    command = [sys.executable, "-c", KERNEL, str(tmp_path), str(Path(__file__).parents[3])]
    kernel = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert any("step 3/5" in line for line in kernel.stdout)
    kernel.kill()
    kernel.wait()
    wait_for(lambda: not left_over(folder), 10)

    monkeypatch.delenv("FAULT")
    result = sft(samples, folder, TWO_FINE)
    assert (result["prompts"], result["steps"]) == (20, 5)
    assert_close_adapter(tmp_path / "alone", folder, 1e-5)


class TestCommand:
    def test_on_one_machine_any_port_will_do(self, tmp_path):
        command = launch_command(TWO, tmp_path, on_cpu=True)
        assert command[1:3] == ["-m", "accelerate.commands.launch"] and command[-1] == str(tmp_path)
        assert {"--multi_gpu", "--num_processes", "2", "--main_process_port", "0"} <= set(command)

    def test_the_command_for_other_machines_is_printed(self, tmp_path, capsys):
        path = tmp_path / "accelerate.yaml"
        path.write_text(CONFIG.replace("num_machines: 1", "num_machines: 2"))
        launch_command(replace(TWO, accelerate_config=str(path)), tmp_path, on_cpu=True)
        command = f"accelerate launch --machine_rank 1 --num_processes 2 --config_file {path} --module"
        assert command in capsys.readouterr().out

    @pytest.mark.parametrize(
        "text, message",
        [
            (None, "cannot be read"),
            ("[1, 2", "cannot be read"),
            ("just words", "holds no settings"),
            (CONFIG.replace("processes: 2", "processes: 8"), "says 8; set num_processes to 8"),
            (CONFIG.replace("MULTI_GPU", "FSDP"), "asks for FSDP, but training is data-parallel"),
        ],
    )
    def test_a_configuration_that_does_not_fit_is_refused(self, tmp_path, text, message):
        path = tmp_path / "accelerate.yaml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match=message):
            launch_command(replace(TWO, accelerate_config=str(path)), tmp_path, on_cpu=True)

    @pytest.mark.parametrize(
        "gpus, on_cpu, message",
        [
            (0, False, "num_processes is 2, but torch can use no GPU on this machine.*only the pocket models"),
            (1, False, "num_processes is 2, 2 of them on this machine, which has GPUs for 1; set num_processes to 1"),
            (1, True, "which has GPUs for 1"),  # two processes of a small model would get into each other's way, too
        ],
    )
    def test_too_few_gpus_are_named(self, tmp_path, monkeypatch, gpus, on_cpu, message):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        with pytest.raises(InputError, match=message):
            launch_command(TWO, tmp_path, on_cpu)
