"""Validation and the end of a stage; difficulty in a real run. Interrupted runs must decide as uninterrupted ones."""

import json
import shutil
from dataclasses import replace

import pytest

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import TRAINED_TASKS
from currreft_nb.data.scenes import compose
from currreft_nb.method import rewards
from currreft_nb.method.curriculum import pose_all
from currreft_nb.method.difficulty import PassRate
from currreft_nb.method.prompts import target
from currreft_nb.models.load import load_model
from currreft_nb.training import train
from currreft_nb.training.rows import draw_order, draws
from currreft_nb.training.steps import silent
from currreft_nb.training.train import train_grpo
from currreft_nb.training.validation import measure_pass_rates, measure_sharpness, measure_start_line, stopping_step
from tests.training.test_train import SMALL, adapter_weights, assert_same_adapter, grpo, interrupt_after

# A learning rate this small never earns a hundredth more reward, so that patience ends the run.
PATIENT = replace(SMALL, steps=8, learning_rate=1e-9, validate_every=2, patience=2, save_every=3)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Return training and validation questions of all tasks."""
    folder = tmp_path_factory.mktemp("scenes")
    return [
        [s for task in TRAINED_TASKS for s in compose.draw_samples(folder, task, 3, "id", seed, split)]
        for seed, split in ((0, "train"), (1, "val"))
    ]


def run(drawn, folder, settings=PATIENT, **options):
    samples, validation = drawn
    loaded = load_model("pocket", trainable=True)
    return train_grpo(loaded, samples, folder, settings, validation=validation, **options)


def without_seconds(folder):
    rows = read_journal(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]


@pytest.fixture(scope="module")
def patient(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patient")
    return folder, run(drawn, folder)


@pytest.fixture(scope="module")
def plain(drawn, tmp_path_factory):
    """Return the folder of a run that measures nothing but training."""
    folder = tmp_path_factory.mktemp("plain")
    grpo(drawn[0], folder)
    return folder


@pytest.mark.parametrize(
    ("rewards_", "patience", "step", "why"),
    [
        ([0.2, 0.3, 0.4, 0.5], 1, None, "it rises"),
        ([0.2, 0.2], 1, 10, "nothing came of the first ten steps"),
        ([0.2, 0.3, 0.3, 0.3], 2, 30, "twice no better than the best"),
        ([0.2, 0.3, 0.1, 0.4, 0.1], 2, None, "a better one in between starts the count anew"),
        ([0.2, 0.205, 0.209], 2, 20, "rises below a hundredth are luck"),
        ([0.2, 0.206, 0.212], 2, None, "but two of them that add up to more are counted"),
        ([0.2, 0.1, 0.1, 0.1], 0, None, "without patience the budget decides"),
        ([], 1, None, "nothing was validated yet"),
    ],
)
def test_stopping_step(rewards_, patience, step, why):
    assert stopping_step(list(zip(range(0, 100, 10), rewards_)), patience) == step, why


class TestEarlyStopping:
    def test_the_stage_ends_early_and_says_why_and_what_it_saved(self, patient):
        result = patient[1]
        promotion = result["promotion"]
        assert {name: promotion[name] for name in ("why", "step", "of", "unspent_prompts")} == {
            "why": "patience", "step": 4, "of": 8, "unspent_prompts": 8,
        }  # fmt: skip
        assert (result["steps"], result["prompts"]) == (4, 8)
        assert promotion["best_step"] in (0, 2, 4) and promotion["last_reward"] <= promotion["best_reward"]

    def test_validations_stand_in_the_rows_of_their_steps(self, patient):
        rows = read_journal(patient[0] / "metrics.jsonl")
        assert [row["step"] for row in rows if "validation_reward" in row] == [2, 4]
        assert [row["step"] for row in rows if "validation_greedy" in row] == [2, 4]
        row = rows[1]
        assert row["validation_reward"] == pytest.approx(
            row["validation_accuracy"] + 0.5 * row["validation_format"], abs=1e-5
        )
        parts = [row[f"validation_accuracy/{task}"] for task in TRAINED_TASKS]  # of three questions each
        assert sum(parts) / 3 == pytest.approx(row["validation_accuracy"], abs=1e-5)
        assert "validation_accuracy/open" not in row  # one form: its row says which

    def test_greedy_answers_and_pass_at_4_are_measured_at_start_and_end_at_least(self, drawn, plain, tmp_path):
        """Without `validate_every` too; and training stays what it is."""
        run(drawn, tmp_path, replace(SMALL, save_every=0))
        rows = read_journal(tmp_path / "metrics.jsonl")
        columns = ("greedy", "correct", "pass_4")
        assert [f"start_{name}" in rows[0] for name in columns] == [True] * 3
        assert [row["step"] for row in rows if "validation_pass_4" in row] == [4]
        for start, row in (("start", rows[0]), ("validation", rows[-1])):
            greedy, correct, pass_4 = (row[f"{start}_{name}"] for name in columns)
            assert 0 <= greedy <= 1 and correct <= pass_4 <= 4 * correct
        assert_same_adapter(tmp_path, plain)

    def test_sharpness_by_hand(self, drawn):
        loaded, (sample, other) = load_model("pocket"), drawn[1][:2]
        right, wrong = target(sample, loaded.style), "<think></think><answer>?</answer>"
        sampled = [[right, wrong, wrong, wrong], [wrong] * 4]
        found = measure_sharpness([sample, other], [[right], [wrong]], sampled, loaded)
        assert found == {"greedy": 0.5, "correct": 0.125, "pass_4": 0.5}

    @pytest.mark.parametrize(
        ("module", "name", "calls"),
        [(rewards, "accuracy_reward", 3), (train, "save_adapter", 0)],
        ids=["after the first checkpoint", "when all was decided"],
    )
    def test_an_interrupted_run_decides_the_same(self, drawn, patient, tmp_path, monkeypatch, module, name, calls):
        with monkeypatch.context() as patch:
            interrupt_after(patch, module, name, calls)
            with pytest.raises(KeyboardInterrupt):
                run(drawn, tmp_path)
        result = run(drawn, tmp_path)
        assert without_seconds(tmp_path) == without_seconds(patient[0])
        assert_same_adapter(tmp_path, patient[0])
        assert result["promotion"] == patient[1]["promotion"]

    def test_a_run_that_ended_early_is_not_trained_again(self, drawn, patient, tmp_path):
        folder = shutil.copytree(patient[0], tmp_path / "run")
        assert run(drawn, folder) == patient[1]
        assert_same_adapter(folder, patient[0])

    def test_validating_changes_nothing_in_training(self, drawn, plain, tmp_path):
        run(drawn, tmp_path, replace(SMALL, validate_every=1))
        assert_same_adapter(tmp_path, plain)

    def test_the_fixed_budget_is_the_default_and_is_recorded(self, drawn, tmp_path):
        result = grpo(drawn[0], tmp_path, replace(SMALL, steps=1))
        assert result["promotion"] == {"why": "budget", "step": 1, "of": 1, "unspent_prompts": 0}

    @pytest.mark.parametrize("name", ["patience", "validate_every", "validation"])
    def test_checkpoints_with_other_validation_are_refused(self, drawn, patient, tmp_path, name):
        folder = shutil.copytree(patient[0], tmp_path / "run")
        settings = PATIENT if name == "validation" else replace(PATIENT, **{name: 3})
        drawn = [drawn[0], drawn[1][1:]] if name == "validation" else drawn
        with pytest.raises(InputError, match=f"made with another {name}"):
            run(drawn, folder, settings)

    def test_validation_without_questions_is_refused(self, drawn, tmp_path):
        with pytest.raises(InputError, match="no validation questions; set validation_questions"):
            run([drawn[0], []], tmp_path)


class TestStartLine:
    def test_it_is_measured_once_with_the_format_forced(self, drawn, tmp_path):
        loaded = load_model("pocket", trainable=True)
        (found,) = measure_start_line(loaded, drawn[1], tmp_path, SMALL).items()
        rows = read_journal(tmp_path / "passes-forced.jsonl")
        assert len(rows) == 4 * 9 and all("<answer>" in row["completion"] for row in rows)
        assert found[0] == "open" and 0 <= found[1] <= 1
        before = (tmp_path / "passes-forced.jsonl").stat().st_mtime_ns
        assert measure_start_line(loaded, drawn[1], tmp_path, SMALL) == dict([found])
        assert (tmp_path / "passes-forced.jsonl").stat().st_mtime_ns == before

    def test_measuring_it_changes_nothing_in_training(self, drawn, plain, tmp_path):
        loaded = load_model("pocket", trainable=True)
        measure_start_line(loaded, drawn[1], tmp_path, SMALL)
        measure_pass_rates(loaded, drawn[0], tmp_path, replace(SMALL, rate_completions=2))
        train_grpo(loaded, drawn[0], tmp_path, SMALL)
        assert_same_adapter(tmp_path, plain)

    def test_no_questions_no_start_line(self, tmp_path):
        assert measure_start_line(load_model("pocket"), [], tmp_path, SMALL) == {}


class TestDifficulty:
    def test_rates_are_measured_stored_and_resumed(self, drawn, tmp_path, monkeypatch):
        settings, loaded = replace(SMALL, rate_completions=3), load_model("pocket", trainable=True)
        rates = measure_pass_rates(loaded, drawn[0][:4], tmp_path, settings)
        assert {rate.of for rate in rates.values()} == {3}
        assert [row["id"] for row in read_journal(tmp_path / "passes-rates.jsonl")] == list(rates)
        before = read_journal(tmp_path / "passes-train.jsonl")
        more = measure_pass_rates(
            loaded, drawn[0], tmp_path, settings
        )  # as after an interruption: the first four are known
        assert read_journal(tmp_path / "passes-train.jsonl")[: len(before)] == before
        assert {id: more[id] for id in rates} == rates and len(more) == len(drawn[0])
        assert measure_pass_rates(loaded, drawn[0], tmp_path, SMALL) == {}

    def test_without_options_the_order_is_the_usual_one(self, drawn):
        assert draws(drawn[0], {}, SMALL) == (draw_order(9, SMALL.budget, SMALL.seed), {})

    def test_a_run_goes_from_easy_to_hard_without_the_impossible(self, drawn, tmp_path):
        samples = drawn[0]
        rates = {s.id: PassRate(right, 4) for s, right in zip(samples, (0, 1, 4, 3, 2, 1, 4, 0, 2))}
        settings = replace(SMALL, steps=3, rate_completions=4, drop=["never"], order="easy_to_hard")
        result = train_grpo(load_model("pocket", trainable=True), samples, tmp_path, settings, rates=rates)
        files = sorted((tmp_path / "completions").iterdir())
        asked = [rates[row["id"]].right for file in files for row in read_journal(file)[::4]]
        assert asked == sorted(asked, reverse=True) and len(asked) == 6 and 0 not in asked
        assert sum(result["left_out"].values()) == 2

    def test_rates_decide_what_a_checkpoint_was_made_from(self, drawn, tmp_path):
        rates = {sample.id: PassRate(2, 4) for sample in drawn[0]}
        settings = replace(SMALL, steps=1, rate_completions=4, target_rate=0.5)
        loaded = load_model("pocket", trainable=True)
        train_grpo(loaded, drawn[0], tmp_path, settings, rates=rates)
        rates[drawn[0][0].id] = PassRate(3, 4)
        with pytest.raises(InputError, match="made with another rates"):
            train_grpo(loaded, drawn[0], tmp_path, settings, rates=rates)

    def test_options_without_rates_are_refused(self, drawn, tmp_path):
        with pytest.raises(InputError, match="has no pass rate"):
            grpo(drawn[0], tmp_path, replace(SMALL, rate_completions=2, drop=["never"]))


class TestMixture:
    def test_forms_are_mixed_and_measured_apart(self, drawn, tmp_path):
        samples = [p for stage in ("binary", "choice", "open") for p in pose_all(drawn[0], stage, 0)[0]]
        result = grpo(samples, tmp_path, replace(SMALL, steps=6))
        rows = read_journal(tmp_path / "metrics.jsonl")
        assert {row["stage"] for row in rows} == {"mixed"}
        names = {name for row in rows for name in row}
        assert {f"accuracy/{stage}" for stage in ("binary", "choice", "open")} <= names
        assert any(name.startswith("reason/math/binary/") for name in names)
        assert json.dumps(result) and "accuracy/binary" in result
        assert adapter_weights(tmp_path)

    def test_a_share_of_earlier_forms_is_asked_in_every_step_and_resumed(self, drawn, tmp_path, monkeypatch):
        samples = [p for stage in ("binary", "choice") for p in pose_all(drawn[0], stage, 0)[0]]
        settings = replace(SMALL, rehearse_share=0.5, save_every=1)
        grpo(samples, tmp_path / "whole", settings)
        rows = [read_journal(file) for file in sorted((tmp_path / "whole" / "completions").iterdir())]
        assert [sorted(row["stage"] for row in step) for step in rows] == 4 * [4 * ["binary"] + 4 * ["choice"]]
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 2)
            with pytest.raises(KeyboardInterrupt):
                grpo(samples, tmp_path / "cut", settings)
        grpo(samples, tmp_path / "cut", settings)
        assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")
        assert_same_adapter(tmp_path / "cut", tmp_path / "whole")
        with pytest.raises(InputError, match="made with another rehearse_share"):
            grpo(samples, tmp_path / "cut", replace(settings, rehearse_share=0.25))


class TestRows:
    @pytest.mark.parametrize("value", [1.0, 0.7, 1 / 3 + 0.5])
    @pytest.mark.parametrize("size", [4, 7, 8])
    def test_groups_of_equal_rewards_are_silent_whatever_the_reward(self, value, size):
        settings = replace(SMALL, group_size=size, micro_batch=2 * size)
        scored = [{"accuracy": value, "format": 0.0}] * size + [{"accuracy": v, "format": 1.0} for v in range(size)]
        assert silent(scored, settings) == [True] * size + [False] * size

    def test_lengths_and_cut_off_answers_come_by_task(self, drawn, tmp_path):
        grpo(drawn[0], tmp_path, replace(SMALL, steps=2))
        rows = read_journal(tmp_path / "metrics.jsonl")
        for row in rows:
            completions = read_journal(tmp_path / "completions" / f"step-{row['step']:05d}.jsonl")
            for task in {c["task"] for c in completions}:
                found = [c for c in completions if c["task"] == task]
                for measure in ("length", "truncated"):
                    mean = sum(c[measure] for c in found) / len(found)
                    assert row[f"{measure}/{task}"] == pytest.approx(mean, abs=1e-5)
            assert row["length"] == pytest.approx(sum(c["length"] for c in completions) / 8)
        assert 0 < sum(row["truncated"] for row in rows) < 2  # ten tokens are too few for a box

    def test_silent_groups_and_reasons_come_by_task(self, drawn, tmp_path):
        grpo(drawn[0], tmp_path, replace(SMALL, temperature=0.8))
        for row in read_journal(tmp_path / "metrics.jsonl"):
            completions = read_journal(tmp_path / "completions" / f"step-{row['step']:05d}.jsonl")
            tasks = {c["task"] for c in completions}
            by_group = [completions[start : start + 4] for start in (0, 4)]
            silent = {t: [len({c["reward"] for c in g}) == 1 for g in by_group if g[0]["task"] == t] for t in tasks}
            for task in tasks:
                assert row[f"zero_variance/{task}"] == pytest.approx(sum(silent[task]) / len(silent[task]))
                reasons = {name: v for name, v in row.items() if name.startswith(f"reason/{task}/")}
                found = [c["reason"] for c in completions if c["task"] == task]
                expected = {f"reason/{task}/{r}": found.count(r) / len(found) for r in set(found)}
                assert reasons == pytest.approx(expected, abs=1e-3)
            assert row["zero_variance"] == pytest.approx(sum(sum(found) for found in silent.values()) / 2)
            assert row.keys() & {"accuracy/open", "reason/math/open/ok"} == set()  # one form: its row says which
