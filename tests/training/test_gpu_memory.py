"""The rehearsal with TRL's real trainers on the pocket model: it takes the largest step, and leaves no trace."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.generation.generate import encode, prompt_text
from currreft_nb.models.load import load_model
from currreft_nb.training import gpu_memory, trl_config
from currreft_nb.training.gpu_memory import heaviest, rehearse, token_counts
from currreft_nb.training.rows import sft_targets
from currreft_nb.training.settings import SftSettings
from currreft_nb.training.train import train_grpo, train_sft
from currreft_nb.training.trainers import GroupTrainer
from tests.training.test_train import SMALL, adapter_weights, assert_same_adapter, mixed_samples

SHORT = replace(SMALL, steps=2, save_every=0)
FINE = SftSettings(prompts=8, batch_size=4, micro_batch=2, save_every=2)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


def grpo(samples, folder, settings=SHORT, **options):
    return train_grpo(load_model("pocket", trainable=True, **options), samples, folder, settings)


def steps_of(folder):
    return [{**row, "seconds": 0} for row in read_journal(folder / "metrics.jsonl")]


@pytest.mark.parametrize("four_bit", [False, True])
@pytest.mark.parametrize("shortcuts", [("images", "prompts", "silent", "weights"), ()])  # our decoding loop, and theirs
def test_training_after_a_rehearsal_is_the_same_bit_for_bit(samples, tmp_path, capsys, four_bit, shortcuts):
    settings = replace(SHORT, shortcuts=shortcuts)
    results = {
        name: grpo(samples, tmp_path / name, replace(settings, rehearse=name), four_bit=four_bit)
        for name in ("never", "always")
    }
    assert "rehearsed the largest step" in capsys.readouterr().out
    assert "rehearsal" not in results["never"]
    assert list(results["always"]["rehearsal"]) == ["vision", "generation", "training"]
    assert_same_adapter(tmp_path / "never", tmp_path / "always")
    assert steps_of(tmp_path / "never") == steps_of(tmp_path / "always")
    texts = [(tmp_path / name / "completions" / "step-00001.jsonl").read_text() for name in results]
    assert texts[0] == texts[1]


def test_a_penalised_training_and_a_supervised_one_are_the_same_too(samples, tmp_path):
    rows = sft_targets(samples, load_model("pocket").style)
    for name in ("never", "always"):
        grpo(samples, tmp_path / "penalised" / name, replace(SHORT, beta=0.1, rehearse=name))
        loaded = load_model("pocket", trainable=True)
        result = train_sft(loaded, rows, tmp_path / "sft" / name, replace(FINE, rehearse=name))
    assert list(result["rehearsal"]) == ["vision", "training"]
    for kind in ("penalised", "sft"):
        assert_same_adapter(tmp_path / kind / "never", tmp_path / kind / "always")
        assert steps_of(tmp_path / kind / "never") == steps_of(tmp_path / kind / "always")


def test_the_same_holds_for_what_a_gpu_runs_with(samples, tmp_path, monkeypatch):
    """A 16-bit model under autocast, with checkpoints between its layers."""
    common = trl_config.common

    def as_on_a_gpu(*given):
        return common(*given) | {"gradient_checkpointing": True}

    monkeypatch.setattr(trl_config, "common", as_on_a_gpu)
    checkpointing = []
    original = GroupTrainer._compute_loss

    def note(self, model, inputs):
        checkpointing.append(self.model.is_gradient_checkpointing and self.args.bf16)
        return original(self, model, inputs)

    monkeypatch.setattr(GroupTrainer, "_compute_loss", note)
    for name in ("never", "always"):
        loaded = load_model("pocket", trainable=True)
        loaded.model.to(torch.bfloat16)
        train_grpo(loaded, samples, tmp_path / name, replace(SHORT, rehearse=name))
    assert all(checkpointing) and len(checkpointing) == 2 * 2 * 2 + 1  # steps, micro-batches, runs, and the rehearsal
    assert_same_adapter(tmp_path / "never", tmp_path / "always")


def test_a_resumed_run_may_rehearse_where_the_first_attempt_did_not(samples, tmp_path):
    settings = replace(SMALL, steps=3, save_every=1)
    grpo(samples, tmp_path / "whole", settings)
    grpo(samples, tmp_path / "cut", settings)
    for path in (tmp_path / "cut" / "checkpoints").glob("checkpoint-3"):
        (path / "trainer_state.json").write_text("{")  # as if the last one had been cut off
    grpo(samples, tmp_path / "cut", replace(settings, rehearse="always"))
    assert_same_adapter(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("changes", [{}, {"mask_truncated": True}, {"refill": 1}])
def test_the_largest_step_is_taken(samples, tmp_path, monkeypatch, changes):
    """Every completion has its full length and counts, all prompts are the longest, and no group is silent."""
    seen = []
    original = GroupTrainer._compute_loss

    def note(self, model, inputs):
        seen.append((inputs["completion_mask"], inputs["advantages"], inputs["prompt_mask"]))
        return original(self, model, inputs)

    monkeypatch.setattr(GroupTrainer, "_compute_loss", note)
    loaded = load_model("pocket", trainable=True)
    settings = replace(SMALL, rehearse="always", **changes)  # enough steps to draw every sample
    train_grpo(loaded, samples, tmp_path, settings)
    completion_mask, advantages, prompt_mask = seen[0]
    assert completion_mask.shape == (SHORT.micro_batch, SHORT.max_new_tokens) and completion_mask.all()
    assert advantages.abs().min() > 0
    longest = max(map(sum, token_counts(loaded, [(sample, "") for sample in samples])))
    assert prompt_mask.shape[1] == longest
    if not changes:  # refills shorten the training
        assert len(seen) == 1 + SMALL.steps * SMALL.completions_per_step // SMALL.micro_batch


def test_lengths_are_those_of_the_model_s_inputs(samples):
    loaded = load_model("pocket")
    for sample, (words, image) in zip(samples, token_counts(loaded, [(sample, "") for sample in samples])):
        inputs = encode(loaded, [sample], [prompt_text(loaded, sample)])
        assert inputs["input_ids"].shape[1] == words + image
        assert (inputs["input_ids"] == loaded.model.config.image_token_id).sum() == image
    (with_text,) = token_counts(loaded, [(samples[0], " yes yes")])
    assert with_text[0] > token_counts(loaded, [(samples[0], "")])[0][0]


@pytest.mark.parametrize(
    "sizes, count, expected, why",
    [
        ([(5, 0), (9, 0), (7, 0)], 1, [1], "the longest"),
        ([(5, 0), (9, 0), (7, 0)], 2, [1, 2], "the longest first"),
        ([(90, 1), (80, 2), (2, 9)], 2, [0, 2], "the largest image is among them, though its words are few"),
        ([(3, 0)], 3, [0, 0, 0], "too few samples are taken again"),
    ],
)
def test_heaviest(sizes, count, expected, why):
    assert heaviest(sizes, count) == expected, why


@pytest.mark.parametrize(
    "place, message",
    [
        ((gpu_memory, "_encode_largest"), "in vision; lower max_pixels"),
        (
            (GroupTrainer, "_generate_single_turn"),
            "generation of 8 completions at once; lower prompts_per_step or group",
        ),
        ((GroupTrainer, "_compute_loss"), "in training with micro_batch 4; lower micro_batch"),
    ],
)
def test_memory_that_runs_out_names_the_parameter_of_its_phase(samples, tmp_path, monkeypatch, place, message):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(*place, full)
    with pytest.raises(InputError, match=message):
        grpo(samples, tmp_path, replace(SHORT, rehearse="always"))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_random_state_and_notes_are_given_back(samples, tmp_path, monkeypatch):
    """Also what the trainers do not draw from today."""
    before, after = [], []

    def chance():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    original = rehearse

    def noted(trainer, *arguments):
        before.append((chance(), str(vars(trainer)["_metrics"]), str(vars(trainer.state)), sorted(vars(trainer))))
        found = original(trainer, *arguments)
        after.append((chance(), str(vars(trainer)["_metrics"]), str(vars(trainer.state)), sorted(vars(trainer))))
        assert all(weight.grad is None for weight in trainer.model.parameters())
        return found

    def disturbed(loaded, rows):
        random.random(), np.random.rand()
        return 0

    monkeypatch.setattr(gpu_memory, "rehearse", noted)
    monkeypatch.setattr(gpu_memory, "_encode_largest", disturbed)
    grpo(samples, tmp_path, replace(SHORT, steps=1, rehearse="always"))
    assert before == after


def test_questions_in_words_alone_are_rehearsed(samples, tmp_path):
    found = grpo([s for s in samples if not s.image], tmp_path, replace(SHORT, steps=1, rehearse="always"))["rehearsal"]
    assert list(found) == ["vision", "generation", "training"] and adapter_weights(tmp_path)


@pytest.mark.parametrize("kind", [SHORT, FINE])
def test_other_words_are_refused(kind):
    with pytest.raises(InputError, match="rehearse is 'sometimes', but must be one of auto, always, never"):
        replace(kind, rehearse="sometimes")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_it_is_the_default_and_measures_what_training_then_takes(samples, tmp_path):
    found = grpo(samples, tmp_path, replace(SHORT, steps=1))
    assert all(row["gib"] > 0 for row in found["rehearsal"].values())
    assert found["peak_gpu_gib"] <= 1.1 * max(row["gib"] for row in found["rehearsal"].values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_exhausted_memory_is_reported_before_the_first_step(samples, tmp_path):
    loaded = load_model("pocket", trainable=True)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / torch.cuda.mem_get_info()[1])
    try:
        with pytest.raises(InputError, match="ran out of memory in the rehearsal"):
            train_grpo(loaded, samples, tmp_path, replace(SHORT, prompts_per_step=8, group_size=64, micro_batch=512))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_trained_vision_tower_is_rehearsed_too(samples, tmp_path):
    for name in ("never", "always"):
        grpo(samples, tmp_path / name, replace(SHORT, rehearse=name), lora_on="vision")
    assert_same_adapter(tmp_path / "never", tmp_path / "always")
