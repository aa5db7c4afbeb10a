"""Training with TRL's real trainers on the pocket model: what is written, that it resumes bit for bit, and refusals."""

import json
import shutil
from dataclasses import replace
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from trl import GRPOTrainer
from trl.rewards import get_soft_overlong_punishment

from currreft_nb import InputError
from currreft_nb.core.files import file_digest
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import TRAINED_TASKS
from currreft_nb.data.scenes import compose
from currreft_nb.method import rewards
from currreft_nb.method.curriculum import pose_all
from currreft_nb.method.thinking import contradicts
from currreft_nb.metrics.scores import advantages
from currreft_nb.models.adapters import read_provenance
from currreft_nb.models.load import load_model
from currreft_nb.training import train
from currreft_nb.training.rows import draw_order
from currreft_nb.training.settings import SHORTCUTS, GrpoSettings
from currreft_nb.training.train import train_grpo
from currreft_nb.training.trainers import GroupTrainer
from currreft_nb.training.trl_config import grpo_config

# A high temperature makes completions differ, so that every group has something to learn from.
SMALL = GrpoSettings(
    steps=4, prompts_per_step=2, group_size=4, micro_batch=4, max_new_tokens=10, temperature=1.3, save_every=2
)


def mixed_samples(folder):
    """Return open questions of all tasks, and text-only ones between them."""
    drawn = {task: compose.draw_samples(folder, task, 2, "id", 0, "train") for task in TRAINED_TASKS}
    text = replace(drawn["math"][0], id="text", image=None, size=None, question="How many red objects?")
    return [*drawn["detection"], text, *drawn["classification"], replace(text, id="text2"), *drawn["math"]]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


def adapter_weights(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def assert_same_adapter(first, second):
    first, second = adapter_weights(first), adapter_weights(second)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_close_adapter(first, second, atol):
    first, second = adapter_weights(first), adapter_weights(second)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=atol)


def grpo(samples, folder, settings=SMALL, **options):
    return train_grpo(load_model("pocket", trainable=True, **options), samples, folder, settings)


def interrupt_after(monkeypatch, module, name, calls):
    """Make a function raise KeyboardInterrupt when it is called once more than `calls` times."""
    original, count = vars(module)[name], []

    def counted(*args, **kwargs):
        count.append(1)
        if len(count) > calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)


def plain_trainer(shortcuts, note, refill, draw, **options):
    """Return TRL's own trainer."""
    return GRPOTrainer(**options)


def compare_with_plain(samples, folder, monkeypatch, settings, several, lora_on):
    """Check that with the same completions each of several choices of shortcuts leaves the updates what they are."""
    settings = replace(settings, steps=3, temperature=0.8)
    said, decode = [], GRPOTrainer._generate_single_turn

    def note(*args, **kwargs):
        said.append(decode(*args, **kwargs))
        return said[-1]

    with monkeypatch.context() as patch:
        patch.setattr(train, "GroupTrainer", plain_trainer)
        patch.setattr(GRPOTrainer, "_generate_single_turn", note)
        pictured = [sample for sample in samples if sample.image]
        grpo(pictured, folder / "plain", replace(settings, shortcuts=()), lora_on=lora_on)
    rows = read_journal(folder / "plain" / "metrics.jsonl")
    assert len(rows) == len(said) == 3  # completions are sampled once a step, whatever the passes
    assert any(row["zero_variance"] > 0 for row in rows)  # something can be skipped
    assert any(row["zero_variance"] < 1 for row in rows)  # and something cannot
    assert not settings.mask_truncated or any(row["truncated"] > 0 for row in rows)
    plain = adapter_weights(folder / "plain")
    for shortcuts in several:
        monkeypatch.setattr(GroupTrainer, "_generate_single_turn", mock.Mock(side_effect=said))
        here = folder / "-".join(shortcuts)
        grpo(pictured, here, replace(settings, shortcuts=shortcuts), lora_on=lora_on)
        for row, other in zip(read_journal(here / "metrics.jsonl"), rows, strict=True):
            assert row["reward"] == other["reward"]
            # AdamW hides a factor of the loss, the norm does not
            assert row["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3, abs=1e-6)
        for name, weight in adapter_weights(here).items():
            torch.testing.assert_close(weight, plain[name], rtol=0, atol=2e-4, msg=f"{shortcuts} {name}")


@pytest.fixture(scope="module")
def grpo_run(samples, tmp_path_factory):
    """Return the folder, the result and the settings of a short run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("grpo")
    return folder, grpo(samples, folder)


class TestGrpo:
    def test_a_checkpoint_is_what_a_shorter_run_leaves(self, samples, tmp_path):
        """So one long run is measured at several budgets: no draw and no rate depends on the number of steps."""
        grpo(samples, tmp_path / "long", replace(SMALL, steps=6, save_every=2, keep_checkpoints=0))
        found = sorted(path.name for path in (tmp_path / "long" / "checkpoints").glob("checkpoint-*"))
        assert found == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
        grpo(samples, tmp_path / "short", replace(SMALL, steps=4))
        kept = load_file(tmp_path / "long" / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors")
        short = adapter_weights(tmp_path / "short")
        assert kept.keys() == short.keys() and all(torch.equal(kept[name], short[name]) for name in kept)

    def test_result_counts_the_budget(self, grpo_run):
        folder, result = grpo_run
        assert (result["steps"], result["prompts"], result["completions"]) == (4, 8, 32)
        assert result["tokens"] == sum(row["tokens"] for row in read_journal(folder / "metrics.jsonl")) > 0
        assert result["seconds"] > 0 and 0 <= result["accuracy"] <= 1 and 0 <= result["format"] <= 1

    def test_rows_hold_accuracy_and_format_apart_in_all_and_per_task(self, grpo_run):
        rows = read_journal(grpo_run[0] / "metrics.jsonl")
        assert [row["step"] for row in rows] == [1, 2, 3, 4]
        for row in rows:
            assert row["stage"] == "open" and row["reward"] == pytest.approx(row["accuracy"] + 0.5 * row["format"])
            assert {"zero_variance", "length", "truncated", "entropy", "loss", "gradient_norm", "seconds"} <= row.keys()
        assert {f"{m}/{t}" for m in ("accuracy", "format") for t in ("detection", "classification", "math")} <= {
            name for row in rows for name in row
        }

    def test_completions_are_kept_with_reward_advantage_and_reason(self, grpo_run, samples):
        folder, _ = grpo_run
        files = sorted((folder / "completions").iterdir())
        assert [file.name for file in files] == [f"step-{step:05d}.jsonl" for step in (1, 2, 3, 4)]
        by_id = {sample.id: sample for sample in samples}
        frame = load_model("pocket").style.frame
        for file, measured in zip(files, read_journal(folder / "metrics.jsonl")):
            rows = read_journal(file)
            assert len(rows) == 8 and [row["id"] for row in rows[:4]] == [rows[0]["id"]] * 4
            assert sum(row["accuracy"] for row in rows) / 8 == pytest.approx(measured["accuracy"], abs=1e-6)
            totals = [row["reward"] for row in rows]
            assert [row["advantage"] for row in rows] == pytest.approx(advantages(totals, 4), abs=1e-2)
            assert [row["group"] for row in rows] == [0] * 4 + [1] * 4
            assert sum(row["length"] for row in rows) == measured["tokens"]
            assert sum(row["truncated"] for row in rows) / 8 == pytest.approx(measured["truncated"])
            assert all(row["length"] == SMALL.max_new_tokens for row in rows if row["truncated"])
            for row in rows:
                score = rewards.score(by_id[row["id"]], row["completion"], frame, rewards.Rules())
                assert (row["accuracy"], row["format"], row["reason"]) == tuple(score)
                against = contradicts(by_id[row["id"]], row["completion"], frame)
                assert row["think_readable"] == (against is not None) and row.get("contradiction") == against
            known = [row["contradiction"] for row in rows if row["think_readable"]]
            assert measured["think_readable"] == len(known) / 8
            assert measured.get("contradiction") == (sum(known) / len(known) if known else None)
            tasks = {row["task"] for row in rows if row["think_readable"]}
            assert {name.partition("/")[2] for name in measured if name.startswith("contradiction/")} == tasks

    @pytest.mark.parametrize("shortcuts", [(), SHORTCUTS])
    def test_entropy_and_kl_are_measured_of_each_completion_and_by_task(self, samples, tmp_path, shortcuts):
        settings = replace(SMALL, steps=2, micro_batch=8, beta=0.1, shortcuts=shortcuts)
        grpo([sample for sample in samples if sample.image], tmp_path, settings)
        last = read_journal(tmp_path / "metrics.jsonl")[-1]
        rows = read_journal(tmp_path / "completions" / "step-00002.jsonl")
        tokens = sum(row["length"] for row in rows)
        for name in ("entropy", "kl"):
            assert sum(row[name] * row["length"] for row in rows) / tokens == pytest.approx(last[name], abs=1e-5)
            for task in {row["task"] for row in rows}:
                values = [row[name] for row in rows if row["task"] == task]
                assert last[f"{name}/{task}"] == pytest.approx(sum(values) / len(values), abs=1e-5)
        assert len({row["entropy"] for row in rows}) > 1 and last["kl"] > 0

    def test_adapter_learnt_something_and_says_where_it_came_from(self, grpo_run):
        weights = adapter_weights(grpo_run[0])
        assert len(weights) == 3 * 7 * 2 and all(weight.dtype == torch.float32 for weight in weights.values())
        assert all(weight.any() for name, weight in weights.items() if "lora_B" in name)
        provenance = read_provenance(grpo_run[0] / "adapter")
        assert (provenance["stage"], provenance["parent"], provenance["base"]) == ("open", None, "pocket")

    def test_one_aligned_line_per_step_and_nothing_else(self, samples, tmp_path, capsys):
        grpo(samples, tmp_path, replace(SMALL, steps=2))
        lines = capsys.readouterr().out.splitlines()
        assert [line[:9] for line in lines] == ["step 1/2 ", "step 2/2 "]
        assert len({line.index("accuracy") for line in lines}) == 1 and all("format" in line for line in lines)
        assert len({line.index(" tokens/s  left ") for line in lines}) == 1 and max(map(len, lines)) <= 105

    def test_what_watches_is_called_when_a_step_is_written(self, samples, tmp_path):
        seen = []
        loaded = load_model("pocket", trainable=True)
        watch = lambda: seen.append(len(read_journal(tmp_path / "metrics.jsonl")))  # noqa: E731
        train_grpo(loaded, samples, tmp_path, replace(SMALL, steps=2), live=watch)
        assert seen == [1, 2]

    def test_every_prompt_is_drawn_once_before_any_is_drawn_again(self, samples, grpo_run):
        files = sorted((grpo_run[0] / "completions").iterdir())
        drawn = [row["id"] for file in files for row in read_journal(file)][::4]
        assert sorted(drawn) == sorted(sample.id for sample in samples)

    def test_resumed_run_ends_with_the_same_adapter_bit_for_bit(self, samples, tmp_path, monkeypatch, capsys):
        # three samples for ten places: the run is in its third pass over the data, a step after a checkpoint
        few, settings = samples[1:4], replace(SMALL, steps=5)
        grpo(few, tmp_path / "whole", settings)
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 4)
            with pytest.raises(KeyboardInterrupt):
                grpo(few, tmp_path / "cut", settings)
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / "checkpoint-4")  # as if it had come a step earlier
        assert len(read_journal(tmp_path / "cut" / "metrics.jsonl")) == 4
        capsys.readouterr()
        grpo(few, tmp_path / "cut", settings)
        assert "resuming after step 2 of 5" in capsys.readouterr().out
        assert_same_adapter(tmp_path / "whole", tmp_path / "cut")
        first, second = (read_journal(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
        assert [{**row, "seconds": 0} for row in first] == [{**row, "seconds": 0} for row in second]
        files = [sorted((tmp_path / name / "completions").iterdir()) for name in ("whole", "cut")]
        assert [file.read_text() for file in files[0]] == [file.read_text() for file in files[1]]

    @pytest.mark.parametrize("micro_batch", [2, 8])
    def test_a_change_of_cost_resumes_from_the_checkpoint(
        self, samples, grpo_run, tmp_path, monkeypatch, capsys, micro_batch
    ):
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 3)
            with pytest.raises(KeyboardInterrupt):
                grpo(samples, tmp_path)
        cost = {"micro_batch": micro_batch, "save_every": 1, "rehearse": "always"}
        grpo(samples, tmp_path, replace(SMALL, **cost))
        assert "resuming after step 2 of 4" in capsys.readouterr().out
        assert (tmp_path / "checkpoints" / "checkpoint-3").is_dir()
        assert_close_adapter(grpo_run[0], tmp_path, 1e-6)

    def test_checkpoint_that_was_cut_off_is_passed_over(self, samples, grpo_run, tmp_path):
        folder = shutil.copytree(grpo_run[0], tmp_path / "run")
        (folder / "checkpoints" / "checkpoint-4" / "trainer_state.json").write_text('{"global_st')
        grpo(samples, folder)
        assert_same_adapter(grpo_run[0], folder)

    def test_finished_run_is_not_trained_again(self, samples, grpo_run, tmp_path):
        folder = shutil.copytree(grpo_run[0], tmp_path / "run")
        result = grpo(samples, folder)
        assert result == grpo_run[1]
        assert_same_adapter(grpo_run[0], folder)

    @pytest.mark.parametrize(
        "change, name",
        [({"seed": 1}, "seed"), ({"steps": 5}, "steps"), ({"temperature": 1.0}, "temperature")],
    )
    def test_checkpoints_of_other_settings_are_refused(self, samples, grpo_run, change, name):
        with pytest.raises(InputError, match=f"made with another {name}"):
            grpo(samples, grpo_run[0], replace(SMALL, **change))

    @pytest.mark.parametrize("change, name", [({"lora_rank": 8}, "lora_rank"), ({"lora_on": "merger"}, "lora_on")])
    def test_checkpoints_of_another_adapter_are_refused(self, samples, grpo_run, change, name):
        with pytest.raises(InputError, match=f"made with another {name}"):
            grpo(samples, grpo_run[0], **change)

    def test_checkpoints_of_other_data_are_refused(self, samples, grpo_run):
        with pytest.raises(InputError, match="made with another data"):
            grpo([replace(samples[0], answer=[[0, 0, 9, 9]]), *samples[1:]], grpo_run[0])

    def test_next_stage_continues_the_adapter_with_a_penalty_towards_it(self, samples, grpo_run, tmp_path, capsys):
        posed, _ = pose_all([sample for sample in samples if sample.image], "binary", seed=0)
        loaded = load_model("pocket", adapter=grpo_run[0] / "adapter", trainable=True)
        before = {name: weight.clone() for name, weight in loaded.model.named_parameters() if weight.requires_grad}
        result = train_grpo(loaded, posed, tmp_path, replace(SMALL, steps=2, beta=0.1))
        rows = read_journal(tmp_path / "metrics.jsonl")
        assert rows[0]["kl"] == pytest.approx(0, abs=1e-6) and rows[0]["stage"] == "binary"
        assert rows[1]["kl"] > 0
        assert list(loaded.model.peft_config) == ["default"] and not (tmp_path / "adapter" / "ref").exists()
        moved = max((weight - before[n]).abs().max() for n, weight in loaded.model.named_parameters() if n in before)
        assert 0 < moved < 0.1  # it went on from where it was
        parent = file_digest(grpo_run[0] / "adapter" / "adapter_model.safetensors")
        assert read_provenance(tmp_path / "adapter")["parent"] == parent == result["parent_adapter"]
        assert f"starting from adapter {parent} on pocket" in capsys.readouterr().out

    def test_penalised_run_resumes_bit_for_bit_too(self, samples, grpo_run, tmp_path, monkeypatch):
        settings = replace(SMALL, steps=3, beta=0.1, save_every=1)

        def run(folder):
            loaded = load_model("pocket", adapter=grpo_run[0] / "adapter", trainable=True)
            train_grpo(loaded, samples, folder, settings)

        run(tmp_path / "whole")
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 2)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "cut")
        run(tmp_path / "cut")
        assert_same_adapter(tmp_path / "whole", tmp_path / "cut")

    @pytest.mark.parametrize("lora_on", ["language", "vision"])
    def test_four_bit_run_resumes_bit_for_bit_too(self, samples, tmp_path, monkeypatch, lora_on):
        few, settings = samples[1:4], replace(SMALL, steps=3, save_every=2)  # the third step is in the second pass
        options = {"four_bit": True, "lora_on": lora_on}
        grpo(few, tmp_path / "whole", settings, **options)
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 2)
            with pytest.raises(KeyboardInterrupt):
                grpo(few, tmp_path / "cut", settings, **options)
        grpo(few, tmp_path / "cut", settings, **options)
        assert_same_adapter(tmp_path / "whole", tmp_path / "cut")

    def test_four_bit_model_trains_with_a_float32_adapter(self, samples, tmp_path):
        grpo(samples, tmp_path, replace(SMALL, steps=2, save_every=0), four_bit=True)
        weights = adapter_weights(tmp_path)
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
        assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)
        assert read_provenance(tmp_path / "adapter")["four_bit"]

    @pytest.mark.parametrize(
        "micro_batch, beta, lora_on",
        [
            (8, 0.0, "language"),
            (2, 0.0, "language"),  # 2: passes of silent groups only
            (2, 0.1, "language"),
            (8, 0.0, "vision"),  # features that change with every step, and hand gradients on
        ],
    )
    def test_updates_are_those_of_the_plain_trainer(self, samples, tmp_path, monkeypatch, micro_batch, beta, lora_on):
        settings = replace(SMALL, micro_batch=micro_batch, beta=beta)
        shortcuts = (("images",), ("prompts",), ("silent",), SHORTCUTS)
        compare_with_plain(samples, tmp_path, monkeypatch, settings, shortcuts, lora_on)

    @pytest.mark.parametrize(
        "lora_on, changes",
        [
            ("language", {"loss": "dr_grpo", "scale": "none"}),
            ("language", {"loss": "dr_grpo", "scale": "none", "passes": 2}),
            ("language", {"loss": "dapo", "passes": 2, "clip_high": 0.28}),
            ("language", {"loss": "dapo", "passes": 2, "mask_truncated": True}),
            ("language", {"loss": "bnpo", "passes": 2, "micro_batch": 8}),
            ("language", {"loss": "bnpo", "beta": 0.1, "mask_truncated": True, "micro_batch": 8}),
            ("language", {"loss": "gspo", "passes": 3, "clip_high": 0.001}),
            ("language", {"loss": "cispo", "passes": 2, "clip_high": 1.01}),
            ("language", {"scale": "batch", "passes": 2, "beta": 0.1}),
            ("language", {"mask_truncated": True, "overlong_penalty": 4}),
            ("vision", {"passes": 2, "micro_batch": 8}),  # features that change between the passes
        ],
    )
    def test_so_they_are_for_every_loss(self, samples, tmp_path, monkeypatch, lora_on, changes):
        settings = replace(SMALL, **{"micro_batch": 2, **changes})
        compare_with_plain(samples, tmp_path, monkeypatch, settings, (("silent",), SHORTCUTS), lora_on)

    def test_a_step_of_several_passes_is_one_row_and_resumes_bit_for_bit(self, samples, tmp_path, monkeypatch, capsys):
        settings = replace(SMALL, passes=2, loss="dapo", clip_high=0.28, save_every=1)
        grpo(samples, tmp_path / "whole", settings)
        rows = read_journal(tmp_path / "whole" / "metrics.jsonl")
        assert [row["step"] for row in rows] == [1, 2, 3, 4] and [row["prompts"] for row in rows] == [2] * 4
        saved = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").glob("checkpoint-*"))
        assert saved == ["checkpoint-6", "checkpoint-8"]  # the updates of steps 3 and 4
        assert "step 4/4" in capsys.readouterr().out
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 3)
            with pytest.raises(KeyboardInterrupt):
                grpo(samples, tmp_path / "cut", settings)
        (tmp_path / "cut" / "completions" / "step-00004.jsonl").write_text("{}\n")  # of a step that is repeated
        grpo(samples, tmp_path / "cut", settings)
        assert "resuming after step 3 of 4" in capsys.readouterr().out
        assert_same_adapter(tmp_path / "whole", tmp_path / "cut")
        again = read_journal(tmp_path / "cut" / "metrics.jsonl")
        assert [row["reward"] for row in again] == [row["reward"] for row in rows]

    def test_a_penalty_for_length_is_paid_and_shown(self, samples, tmp_path):
        settings = replace(SMALL, steps=2, overlong_penalty=5, scale="batch")
        grpo(samples, tmp_path, settings)
        punish = get_soft_overlong_punishment(settings.max_new_tokens, settings.overlong_penalty)
        for step, row in enumerate(read_journal(tmp_path / "metrics.jsonl"), 1):
            said = read_journal(tmp_path / "completions" / f"step-{step:05d}.jsonl")
            punished = punish([[0] * found["length"] for found in said])
            assert [-found["overlong"] for found in said] == pytest.approx(punished) and min(punished) == -1
            assert row["overlong"] == pytest.approx(-sum(punished) / len(said))
            assert row["reward"] == pytest.approx(row["accuracy"] + 0.5 * row["format"] - row["overlong"])
            totals = [found["reward"] for found in said]
            relative = advantages(totals, settings.group_size, "batch")
            assert [found["advantage"] for found in said] == pytest.approx(relative, abs=1e-3)

    @pytest.mark.parametrize("pictured_first", [True, False])
    @pytest.mark.parametrize("micro_batch", [8, 2])  # 2: some passes hold no image at all
    @pytest.mark.parametrize("beta", [0.0, 0.1])  # the reference's pass is cut into micro-batches in another place
    def test_batches_may_mix_questions_with_and_without_images(
        self, samples, tmp_path, pictured_first, micro_batch, beta
    ):
        pictured, text = samples[0], samples[2]
        assert pictured.image and not text.image
        pair = [pictured, text] if pictured_first else [text, pictured]
        seed = next(seed for seed in range(9) if draw_order(2, 2, seed) == [0, 1])
        grpo(pair, tmp_path, replace(SMALL, steps=1, micro_batch=micro_batch, beta=beta, seed=seed))
        rows = read_journal(tmp_path / "completions" / "step-00001.jsonl")
        assert [row["id"] for row in rows[::4]] == [sample.id for sample in pair]

    def test_run_without_any_difference_says_so(self, samples, tmp_path, capsys):
        grpo(samples, tmp_path, replace(SMALL, steps=1, temperature=1e-4))
        assert "the adapter did not change" in capsys.readouterr().out

    def test_text_only_data_trains(self, samples, tmp_path):
        grpo([s for s in samples if not s.image], tmp_path, replace(SMALL, steps=1))
        assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()

    def test_nothing_to_train_on_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="no samples were given"):
            grpo([], tmp_path)

    def test_model_without_an_adapter_is_refused(self, samples, tmp_path):
        with pytest.raises(InputError, match="trainable=True"):
            train_grpo(load_model("pocket"), samples, tmp_path, SMALL)

    def test_loss_that_is_not_a_number_stops_the_run(self, samples, tmp_path):
        loaded = load_model("pocket", trainable=True)
        weight = next(weight for weight in loaded.model.parameters() if weight.requires_grad)
        weight.data[0, 0] = torch.nan
        with pytest.raises((InputError, RuntimeError), match="nan"):
            train_grpo(loaded, samples, tmp_path, SMALL)
        assert not list((tmp_path / "checkpoints").glob("checkpoint-*"))

    def test_memory_that_runs_out_names_the_parameter_to_lower(self, samples, tmp_path, monkeypatch):
        def full(*args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(rewards, "accuracy_reward", full)
        with pytest.raises(InputError, match="micro_batch 4; lower micro_batch and run it again: it resumes"):
            grpo(samples, tmp_path)


def test_every_default_that_matters_is_spelled_out(tmp_path):
    config = grpo_config(load_model("pocket"), tmp_path, SMALL)
    expected = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "use_bias_correction_kl": False,
        "scale_rewards": "group",
        "top_k": 0,
        "max_completion_length": 10,
        "mask_truncated_completions": False,
        "num_iterations": 1,
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 2,
        "shuffle_dataset": False,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_only_model": False,
    }
    assert {name: vars(config)[name] for name in expected} == expected


@pytest.mark.parametrize(
    "changes, loss, level, low, high",
    [
        ({}, "grpo", "token", 0.2, 0.2),
        ({"loss": "dapo", "passes": 2, "clip_high": 0.28}, "dapo", "token", 0.2, 0.28),
        ({"loss": "gspo"}, "grpo", "sequence", 3e-4, 4e-4),
        ({"loss": "cispo"}, "cispo", "token", 0.2, 5.0),
        ({"loss": "cispo", "passes": 2, "clip_high": 3}, "cispo", "token", 0.2, 3.0),
    ],
)
def test_a_loss_is_trl_s_with_its_own_clipping(tmp_path, changes, loss, level, low, high):
    config = grpo_config(load_model("pocket"), tmp_path, replace(SMALL, **changes))
    assert (config.loss_type, config.importance_sampling_level) == (loss, level)
    assert (config.epsilon, config.epsilon_high) == (low, high)
    passes = changes.get("passes", 1)
    assert (config.num_iterations, config.max_steps, config.save_steps) == (passes, 4 * passes, 2 * passes)


def test_run_folder_can_be_moved_between_an_interruption_and_its_resumption(samples, grpo_run, tmp_path):
    folder = shutil.copytree(grpo_run[0], tmp_path / "elsewhere")
    note = json.loads((folder / "checkpoints" / "made_from.json").read_text())
    assert str(grpo_run[0]) not in json.dumps(note)
    moved = [replace(s, image=str(shutil.copy(s.image, tmp_path))) if s.image else s for s in samples]
    grpo(moved, folder)
    assert_same_adapter(grpo_run[0], folder)
