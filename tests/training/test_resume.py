"""Truncated or damaged checkpoints, a full disk, a loss that is not a number: the run can be resumed after each."""

import resource
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from currreft_nb import InputError
from currreft_nb.models.load import load_model
from currreft_nb.training import train
from currreft_nb.training.resume import damage, full_disk_named, last_whole
from currreft_nb.training.rows import sft_row, sft_targets
from currreft_nb.training.train import train_sft
from tests.training.test_train import SMALL, assert_same_adapter, grpo, mixed_samples
from tests.training.test_trainers_sft import FINE

SETTINGS = replace(FINE, prompts=16, save_every=1)
FILES = ("trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


def sft(samples, folder):
    loaded = load_model("pocket", trainable=True)
    return train_sft(loaded, sft_targets(samples, loaded.style), folder, SETTINGS)


@pytest.fixture(scope="module")
def whole(samples, tmp_path_factory):
    """Return the folder of a run of four steps, with the checkpoints of the last two."""
    folder = tmp_path_factory.mktemp("whole")
    sft(samples, folder)
    return folder


def cut(path, share=0.9):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


@contextmanager
def room_for_files_of(size):
    """Let no file of this process grow beyond `size` bytes, as a quota or a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_whole_checkpoint_is_found_whole(whole):
    checkpoint = whole / "checkpoints" / "checkpoint-4"
    assert damage(checkpoint) is None and last_whole(checkpoint.parent) == checkpoint


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_found(whole, tmp_path, name, share):
    copy = shutil.copytree(whole / "checkpoints" / "checkpoint-4", tmp_path / "checkpoint-4")
    cut(copy / name, share)
    assert damage(copy) == f"{name} is damaged"
    (copy / name).unlink()
    assert damage(copy) == f"{name} is missing"


def test_a_changed_byte_in_the_optimizer_is_found(whole, tmp_path):
    copy = shutil.copytree(whole / "checkpoints" / "checkpoint-4", tmp_path / "checkpoint-4")
    flip(copy / "optimizer.pt")
    assert damage(copy) == "optimizer.pt is damaged"


def test_random_states_of_all_processes_and_the_reference_are_looked_at(whole, tmp_path):
    copy = shutil.copytree(whole / "checkpoints" / "checkpoint-4", tmp_path / "checkpoint-4")
    shutil.copy(copy / "rng_state.pth", copy / "rng_state_0.pth")
    assert damage(copy, num_processes=2) == "rng_state_1.pth is missing"
    (copy / "ref").mkdir()
    (copy / "ref" / "adapter_model.safetensors").write_bytes(b"half")
    assert damage(copy) == "ref/adapter_model.safetensors is damaged"


@pytest.mark.parametrize("name", ["optimizer.pt", "adapter_model.safetensors"])
def test_a_damaged_checkpoint_is_skipped_with_a_message(samples, whole, tmp_path, capsys, name):
    folder = shutil.copytree(whole, tmp_path / "run")
    cut(folder / "checkpoints" / "checkpoint-4" / name)
    sft(samples, folder)
    said = capsys.readouterr().out
    assert f"checkpoint-4 cannot be used: {name} is damaged" in said and "resuming after step 3 of 4" in said
    assert_same_adapter(whole, folder)


def test_without_a_whole_checkpoint_it_starts_from_the_beginning_with_a_message(samples, whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    for checkpoint in (folder / "checkpoints").glob("checkpoint-*"):
        (checkpoint / "optimizer.pt").unlink()
    sft(samples, folder)
    assert "starting from the beginning" in capsys.readouterr().out
    assert_same_adapter(whole, folder)


@pytest.mark.parametrize("size", [300_000, 600_000])  # less than the adapter; more, but less than the optimizer
def test_a_full_disk_is_one_message_and_the_run_resumes_afterwards(samples, whole, tmp_path, size):
    folder = shutil.copytree(whole, tmp_path / "run")
    cut(folder / "checkpoints" / "checkpoint-4" / "optimizer.pt")
    with (
        room_for_files_of(size),
        pytest.raises(InputError, match=r"no room to write in .*free some space.*run it again"),
    ):
        sft(samples, folder)
    assert last_whole(folder / "checkpoints").name == "checkpoint-3"
    sft(samples, folder)
    assert_same_adapter(whole, folder)


def test_no_room_in_reinforcement_learning(samples, tmp_path):
    with room_for_files_of(600_000), pytest.raises(InputError, match="no room to write"):
        grpo(samples, tmp_path, replace(SMALL, steps=2, save_every=1))
    grpo(samples, tmp_path, replace(SMALL, steps=2, save_every=1))


@pytest.mark.parametrize("error", [OSError(2, "no such file"), RuntimeError("shapes differ")])
def test_other_errors_are_left_alone(tmp_path, error):
    with pytest.raises(type(error)), full_disk_named(tmp_path):
        raise error


def test_a_loss_that_is_no_number_keeps_the_checkpoints_before_it(samples, whole, tmp_path, monkeypatch):
    poisoned = []

    def row_and_poison(sample, text, loaded):
        poisoned.append(sample)
        if len(poisoned) == 9:  # the first of the third step
            next(weight for weight in loaded.model.parameters() if weight.requires_grad).data[0, 0] = torch.nan
        return row_of(sample, text, loaded)

    row_of = sft_row
    with monkeypatch.context() as patch:
        patch.setattr(train, "sft_row", row_and_poison)
        with pytest.raises((InputError, RuntimeError), match="nan"):
            sft(samples, tmp_path)
    assert last_whole(tmp_path / "checkpoints") is not None
    sft(samples, tmp_path)
    assert_same_adapter(whole, tmp_path)
