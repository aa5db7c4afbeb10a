"""Supervised fine-tuning on the pocket model with TRL's real trainer: budget, loss, and resuming bit for bit."""

import shutil
from dataclasses import replace

import pytest
import torch

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import Sample
from currreft_nb.generation.generate import encode, end_tokens, generate, prompt_text
from currreft_nb.method import prompts, rewards
from currreft_nb.method.difficulty import PassRate
from currreft_nb.models.adapters import read_provenance
from currreft_nb.models.load import load_model
from currreft_nb.training import train, trl_config
from currreft_nb.training.rows import lazy_dataset, sft_row, sft_targets
from currreft_nb.training.settings import SftSettings
from currreft_nb.training.train import SftTraining, TaughtTraining, train_sft
from currreft_nb.training.trainers import AnswerTrainer
from currreft_nb.training.validation import measure_pass_rates
from tests.helpers.tiny_models import write_tiny
from tests.training.test_train import assert_close_adapter, assert_same_adapter, interrupt_after, mixed_samples

FINE = SftSettings(prompts=22, batch_size=4, micro_batch=2, save_every=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


def sft(samples, folder, settings=FINE):
    loaded = load_model("pocket", trainable=True)
    return train_sft(loaded, sft_targets(samples, loaded.style), folder, settings)


class TestSft:
    def test_learns_its_targets_and_counts_the_budget(self, samples, tmp_path):
        result = sft(samples, tmp_path, replace(FINE, prompts=48, learning_rate=3e-3))
        rows = read_journal(tmp_path / "metrics.jsonl")
        assert result["prompts"] == sum(row["prompts"] for row in rows) == 48 and result["steps"] == len(rows) == 12
        assert rows[-1]["loss"] < rows[0]["loss"]
        assert {"stage", "loss", "token_accuracy", "gradient_norm", "seconds"} <= rows[0].keys()
        assert read_provenance(tmp_path / "adapter")["stage"] == "open"

    def test_last_step_takes_what_is_left(self, samples, tmp_path):
        assert sft(samples, tmp_path)["prompts"] == 22
        assert [row["prompts"] for row in read_journal(tmp_path / "metrics.jsonl")] == [4, 4, 4, 4, 4, 2]

    def test_resumed_run_ends_with_the_same_adapter_bit_for_bit(self, samples, tmp_path, monkeypatch):
        sft(samples, tmp_path / "whole")
        with monkeypatch.context() as patch:
            interrupt_after(patch, SftTraining, "row_of", 4)  # in the fifth step, in the third pass over the data
            with pytest.raises(KeyboardInterrupt):
                sft(samples, tmp_path / "cut")
        sft(samples, tmp_path / "cut")
        assert_same_adapter(tmp_path / "whole", tmp_path / "cut")
        assert len(read_journal(tmp_path / "cut" / "metrics.jsonl")) == 6

    def test_a_change_of_cost_resumes_from_the_checkpoint(self, samples, tmp_path, monkeypatch, capsys):
        def run(folder, settings=FINE):
            loaded = load_model("pocket", trainable=True)
            train_sft(loaded, sft_targets(samples, loaded.style), folder, settings)  # texts of different lengths

        run(tmp_path / "whole")
        with monkeypatch.context() as patch:
            interrupt_after(patch, SftTraining, "row_of", 4)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "cut")
        run(tmp_path / "cut", replace(FINE, micro_batch=4, save_every=1, rehearse="always"))
        assert "resuming after step 4 of 6" in capsys.readouterr().out
        assert (tmp_path / "cut" / "checkpoints" / "checkpoint-5").is_dir()
        assert_close_adapter(tmp_path / "whole", tmp_path / "cut", 1e-6)

    def test_loss_is_taken_over_the_text_alone(self, samples):
        """Labels outside the target are masked: the prompt, and what the chat template writes behind the end."""
        loaded = load_model("pocket", trainable=True)
        rows = sft_targets(samples[:3], loaded.style)
        trainer = AnswerTrainer(
            end_tokens=end_tokens(loaded),
            model=loaded.model,
            processing_class=loaded.processor,
            args=trl_config.sft_config(loaded, train.Path("unused"), FINE),
            train_dataset=lazy_dataset([0, 1, 2], lambda index: sft_row(*rows[index], loaded)),
        )
        batch = next(iter(trainer.get_train_dataloader()))
        for labels, (_, text) in zip(batch["labels"], rows):
            assert loaded.processor.tokenizer.decode(labels[labels != -100]) == f"{text}<|im_end|>"
        image = loaded.model.config.image_token_id
        assert (batch["input_ids"] == image).sum() * 4 == len(batch["pixel_values"])

    def test_its_own_greedy_answers_are_likely_under_the_model(self, samples, tmp_path):
        """The loss of what it would say anyway starts near zero; a token that it never writes would show."""
        loaded = load_model("pocket", trainable=True)
        said = generate(loaded, samples[:8], temperature=0.0, max_new_tokens=24)
        rows = [(sample, answer.text) for sample, (answer,) in zip(samples, said) if not answer.truncated]
        train_sft(loaded, rows, tmp_path, replace(FINE, prompts=4, learning_rate=1e-9))
        assert len(rows) >= 4 and read_journal(tmp_path / "metrics.jsonl")[0]["loss"] < 0.5

    def test_text_only_and_image_rows_share_a_batch_and_no_image_token_is_lost(self, samples):
        """Whatever the order: what the trainer collates is what the processor makes of whole conversations."""
        loaded = load_model("pocket", trainable=True)
        words = Sample(
            id="w", task="general", split="pool", source="s", question="What is two plus three?", answer="five"
        )
        rows = sft_targets([samples[0], words, samples[1], words], loaded.style)
        trainer = AnswerTrainer(
            end_tokens=end_tokens(loaded),
            model=loaded.model,
            processing_class=loaded.processor,
            args=trl_config.sft_config(loaded, train.Path("unused"), replace(FINE, micro_batch=4)),
            train_dataset=lazy_dataset([0, 1, 2, 3], lambda index: sft_row(*rows[index], loaded)),
        )
        batch = next(iter(trainer.get_train_dataloader()))
        image = loaded.model.config.image_token_id
        texts = [prompt_text(loaded, sample) for sample, _ in rows]
        whole = encode(loaded, [sample for sample, _ in rows], texts)
        per_row = (batch["input_ids"] == image).sum(dim=1).tolist()
        assert per_row == (whole["input_ids"] == image).sum(dim=1).tolist()
        assert per_row[0] > 0 and per_row[1] == per_row[3] == 0
        assert torch.equal(batch["pixel_values"], whole["pixel_values"])
        for labels, (_, text) in zip(batch["labels"], rows):
            assert loaded.processor.tokenizer.decode(labels[labels != -100]) == f"{text}<|im_end|>"
        assert torch.isfinite(trainer.compute_loss(loaded.model, batch))
        cut = {name: batch[name][:, :6] for name in ("input_ids", "attention_mask", "labels") if name in batch}
        with pytest.raises(ValueError, match="tokens"):  # a cut image would not pass in silence
            trainer.compute_loss(loaded.model, {**batch, **cut})

    def test_given_texts_are_learnt(self, samples, tmp_path):
        loaded = load_model("pocket", trainable=True)
        train_sft(loaded, [(samples[0], "<answer>5</answer>")] * 2, tmp_path, replace(FINE, prompts=4))
        assert (tmp_path / "adapter").is_dir() and loaded.processor.tokenizer.padding_side == "left"

    def test_other_texts_are_other_data(self, samples, tmp_path):
        loaded = load_model("pocket", trainable=True)
        train_sft(loaded, [(samples[0], "<answer>5</answer>")], tmp_path, replace(FINE, prompts=2))
        with pytest.raises(InputError, match="made with another data"):
            train_sft(loaded, [(samples[0], "<answer>6</answer>")], tmp_path, replace(FINE, prompts=2))


class TestDifficulty:
    MEDIUM = replace(FINE, rate_completions=8, drop=["never", "always"])

    def rated(self, samples, folder, settings=MEDIUM):
        """Measure pass rates and train, as the notebook does."""
        loaded = load_model("pocket", trainable=True)
        rates = measure_pass_rates(loaded, samples, folder, settings)
        return rates, train_sft(loaded, sft_targets(samples, loaded.style), folder, settings, rates=rates)

    @pytest.fixture(scope="class")
    def medium(self, samples, tmp_path_factory):
        folder = tmp_path_factory.mktemp("medium")
        return folder, *self.rated(samples, folder)

    def test_rates_are_stored_and_their_cost_is_no_part_of_the_budget(self, samples, medium):
        folder, rates, result = medium
        assert [row["id"] for row in read_journal(folder / "passes-rates.jsonl")] == [sample.id for sample in samples]
        assert (result["prompts"], result["rating_completions"]) == (22, 8 * len(samples))
        extreme = sum(rate.rate in (0, 1) for rate in rates.values())
        assert sum(result["left_out"].values()) == extreme and 0 < extreme < len(samples)

    def test_only_medium_rows_are_imitated(self, samples, tmp_path, monkeypatch):
        seen, make_row = set(), SftTraining.make_row
        monkeypatch.setattr(SftTraining, "make_row", lambda s, sample, t: seen.add(sample.id) or make_row(s, sample, t))
        rates = {sample.id: PassRate(right, 8) for sample, right in zip(samples, (0, 1, 8, 2, 0, 3, 8, 8))}
        loaded = load_model("pocket", trainable=True)
        rows = sft_targets(samples, loaded.style)
        result = train_sft(loaded, rows, tmp_path, self.MEDIUM, rates=rates)
        assert seen == {sample.id for sample in samples if rates[sample.id].right in (1, 2, 3)} and len(seen) == 3
        assert sum(result["left_out"].values()) == 5

    def test_an_interrupted_run_ends_with_the_same_adapter(self, samples, medium, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupt_after(patch, SftTraining, "row_of", 4)
            with pytest.raises(KeyboardInterrupt):
                self.rated(samples, tmp_path)
        answers = (tmp_path / "passes-train.jsonl").stat().st_mtime_ns
        rates, result = self.rated(samples, tmp_path)
        assert rates == medium[1] and (tmp_path / "passes-train.jsonl").stat().st_mtime_ns == answers
        assert result["left_out"] == medium[2]["left_out"]
        assert_same_adapter(tmp_path, medium[0])

    def test_other_rates_are_another_run(self, samples, medium, tmp_path):
        folder, rates, _ = medium
        shutil.copytree(folder, tmp_path / "run")
        loaded = load_model("pocket", trainable=True)
        others = {id: PassRate(4 - rate.right, 4) for id, rate in rates.items()}
        with pytest.raises(InputError, match="made with another rates"):
            train_sft(loaded, sft_targets(samples, loaded.style), tmp_path / "run", self.MEDIUM, rates=others)

    def test_a_choice_without_rates_is_refused(self, samples, tmp_path):
        with pytest.raises(InputError, match="has no pass rate"):
            sft(samples, tmp_path, self.MEDIUM)

    def test_measuring_alone_changes_nothing_in_training(self, samples, tmp_path):
        sft(samples, tmp_path / "plain")
        self.rated(samples, tmp_path / "rated", replace(FINE, rate_completions=2))
        assert_same_adapter(tmp_path / "plain", tmp_path / "rated")


class TestTeacher:
    TAUGHT = replace(FINE, prompts=24, teacher="pocket-clean")

    def taught(self, samples, folder, settings=TAUGHT):
        """Train, of the samples, which include text-only ones, on questions and not on the given texts."""
        loaded = load_model("pocket", trainable=True)
        return train_sft(loaded, [(sample, "") for sample in samples], folder, settings)

    @pytest.fixture(scope="class")
    def whole(self, samples, tmp_path_factory):
        folder = tmp_path_factory.mktemp("taught")
        return folder, self.taught(samples, folder)

    def test_budget_and_teacher_are_recorded(self, whole):
        folder, result = whole
        rows = read_journal(folder / "metrics.jsonl")
        assert (result["prompts"], result["completions"], len(rows)) == (24, 24, 6)
        assert result["tokens"] == sum(row["tokens"] for row in rows) > 24
        assert result["teacher_hash"] == load_model("pocket-clean").base_hash != result["base_hash"]

    def test_the_model_comes_nearer_to_its_teacher_on_its_own_answers(self, samples, tmp_path):
        self.taught(samples, tmp_path, replace(self.TAUGHT, prompts=96, batch_size=8, micro_batch=8))
        losses = [row["loss"] for row in read_journal(tmp_path / "metrics.jsonl")]
        assert sum(losses[-4:]) < 0.75 * sum(losses[:4]), losses

    def test_the_loss_is_the_divergence_from_the_teacher(self, samples, tmp_path, whole):
        assert read_journal(whole[0] / "metrics.jsonl")[0]["loss"] > 0.1
        self.taught(samples, tmp_path, replace(self.TAUGHT, teacher="pocket", prompts=4))
        assert read_journal(tmp_path / "metrics.jsonl")[0]["loss"] == pytest.approx(0, abs=1e-5), "its own teacher"

    def test_resumed_run_ends_with_the_same_adapter_bit_for_bit(self, samples, whole, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupt_after(patch, TaughtTraining, "row_of", 4)
            with pytest.raises(KeyboardInterrupt):
                self.taught(samples, tmp_path)
        self.taught(samples, tmp_path)
        assert_same_adapter(tmp_path, whole[0])
        with pytest.raises(InputError, match="made with another teacher, teacher_hash"):
            self.taught(samples, tmp_path, replace(self.TAUGHT, teacher="pocket"))

    def test_rehearsal_and_micro_batch_cost_and_do_not_decide(self, samples, whole, tmp_path):
        result = self.taught(samples, tmp_path / "rehearsed", replace(self.TAUGHT, rehearse="always"))
        assert list(result["rehearsal"]) == ["vision", "generation", "training"]
        assert_same_adapter(tmp_path / "rehearsed", whole[0])
        self.taught(samples, tmp_path / "large", replace(self.TAUGHT, micro_batch=4))
        assert_close_adapter(tmp_path / "large", whole[0], 1e-4)

    def test_a_teacher_of_another_kind_is_refused(self, samples, tmp_path):
        write_tiny("qwen3_vl", tmp_path / "other")
        with pytest.raises(InputError, match="take a teacher of the same kind"):
            self.taught(samples, tmp_path, replace(self.TAUGHT, teacher=str(tmp_path / "other")))


def test_a_four_bit_model_learns_after_it_has_answered(samples, tmp_path):
    """As in rejection sampling: on some processors the first answers used to repack the layers for good."""
    loaded = load_model("pocket", four_bit=True, trainable=True)
    generate(loaded, samples[:4], max_new_tokens=4)
    result = train_sft(loaded, sft_targets(samples, loaded.style), tmp_path, replace(FINE, prompts=8))
    assert result["steps"] == 2
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_targets_are_the_ideal_completions(samples):
    style = load_model("pocket").style
    for sample, text in sft_targets(samples, style):
        assert text == prompts.target(sample, style)
        score = rewards.score(sample, text, style.frame, rewards.Rules(detection="soft"))
        assert score.format == 1 and score.value > 0.9
