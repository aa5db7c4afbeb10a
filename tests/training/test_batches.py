"""Batches that are joined, and refill: silent groups make room for further questions, which the budget pays."""

from dataclasses import replace
from unittest import mock

import pytest
import torch
from trl import GRPOTrainer

from currreft_nb.core.journal import read_journal
from currreft_nb.method import rewards
from currreft_nb.training import train
from currreft_nb.training.batches import join_rows, select_rows
from currreft_nb.training.rows import draw_order
from currreft_nb.training.trainers import GroupTrainer
from tests.training.test_train import (
    SMALL,
    adapter_weights,
    assert_same_adapter,
    grpo,
    interrupt_after,
    mixed_samples,
    plain_trainer,
)

REFILLED = replace(SMALL, steps=6, refill=2, temperature=0.5, seed=1, save_every=1)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def refilled(samples, tmp_path_factory):
    """Return the folder and the result of a run with silent groups, and what it drew in each step, as groups."""
    folder = tmp_path_factory.mktemp("refilled")
    return folder, grpo(samples, folder, REFILLED)


def groups_of(folder, step):
    rows = read_journal(folder / "completions" / f"step-{step:05d}.jsonl")
    return [rows[start : start + 4] for start in range(0, len(rows), 4)]


def is_loud(group):
    return len({row["reward"] for row in group}) > 1


class TestRefill:
    def test_the_budget_counts_every_question_drawn_and_ends_the_run(self, refilled):
        folder, result = refilled
        rows = read_journal(folder / "metrics.jsonl")
        assert [row["prompts"] for row in rows] == [len(groups_of(folder, row["step"])) for row in rows]
        assert max(row["prompts"] for row in rows) > 2 and len(rows) < 6
        assert result["prompts"] == sum(row["prompts"] for row in rows) <= REFILLED.budget == 12
        assert result["completions"] == 4 * result["prompts"]
        ended = {"why": "budget", "step": len(rows), "of": 6, "unspent_prompts": 12 - result["prompts"]}
        assert result["promotion"] == ended and ended["unspent_prompts"] < 2

    def test_no_place_of_the_order_is_drawn_twice(self, refilled, samples):
        folder, result = refilled
        order = [samples[index].id for index in draw_order(len(samples), 12, REFILLED.seed)]
        drawn = [[group[0]["id"] for group in groups_of(folder, step)] for step in range(1, result["steps"] + 1)]
        assert [name for step in drawn for name in step[:2]] == order[: 2 * len(drawn)]
        further = [name for step in drawn for name in step[2:]]
        assert further == order[::-1][: len(further)] and further

    def test_further_groups_take_the_places_of_silent_ones(self, refilled):
        """An entropy is noted of the completions that were trained on: at most two groups a step, all of them loud."""
        folder, result = refilled
        replaced = 0
        for step in range(1, result["steps"] + 1):
            groups = groups_of(folder, step)
            trained = ["entropy" in group[0] for group in groups]
            assert trained == [is_loud(group) for group in groups] and sum(trained) <= 2
            replaced += sum(trained[2:])
        assert replaced > 0

    def test_an_interrupted_run_ends_with_the_same_adapter_bit_for_bit(self, refilled, samples, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupt_after(patch, rewards, "accuracy_reward", 3)  # in the second step's refill
            with pytest.raises(KeyboardInterrupt):
                grpo(samples, tmp_path, REFILLED)
        assert len(read_journal(tmp_path / "metrics.jsonl")) == 1
        grpo(samples, tmp_path, REFILLED)
        assert_same_adapter(refilled[0], tmp_path)
        assert (tmp_path / "completions" / "step-00003.jsonl").read_bytes() == (
            refilled[0] / "completions" / "step-00003.jsonl"
        ).read_bytes()

    def test_a_run_that_spent_its_budget_is_not_trained_again(self, refilled, samples, monkeypatch):
        before = adapter_weights(refilled[0])
        monkeypatch.setattr(GroupTrainer, "_generate_single_turn", mock.Mock(side_effect=AssertionError))
        assert grpo(samples, refilled[0], REFILLED)["promotion"] == refilled[1]["promotion"]
        after = adapter_weights(refilled[0])
        assert all(torch.equal(before[name], after[name]) for name in before)

    @pytest.mark.parametrize("changes", [{}, {"loss": "dapo"}, {"passes": 2, "loss": "cispo"}, {"beta": 0.1}])
    def test_the_update_is_the_plain_trainer_s_by_the_groups_that_are_left(
        self, samples, tmp_path, monkeypatch, changes
    ):
        """The plain trainer is given the questions and completions with which the refilled step ends."""
        settings = replace(REFILLED, steps=2, temperature=0.8, seed=10, micro_batch=8, **changes)  # one step takes all
        pictured = [sample for sample in samples if sample.image]  # the plain trainer wants an image in every question
        said, decode = [], GroupTrainer._generate_single_turn

        def note(*args, **kwargs):
            said.append(decode(*args, **kwargs))
            return said[-1]

        monkeypatch.setattr(GroupTrainer, "_generate_single_turn", note)
        grpo(pictured, tmp_path / "refilled", settings)
        groups = groups_of(tmp_path / "refilled", 1)
        assert len(read_journal(tmp_path / "refilled" / "metrics.jsonl")) == 1 and len(groups) > 2
        kept = sorted(sorted(range(len(groups)), key=lambda g: (not is_loud(groups[g]), g))[:2])
        assert kept != [0, 1]
        by_id = {sample.id: sample for sample in samples}
        pair = [by_id[groups[group][0]["id"]] for group in kept]
        ids = [completion for completions, _ in said for completion in completions]
        replay = [ids[4 * group + place] for group in kept for place in range(4)], None
        monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", mock.Mock(side_effect=[replay]))
        monkeypatch.setattr(train, "GroupTrainer", plain_trainer)
        monkeypatch.setattr(train, "draws", lambda *given: ([0, 1], {}))
        grpo(pair, tmp_path / "plain", replace(settings, steps=1, refill=0, shortcuts=()))
        refilled, plain = adapter_weights(tmp_path / "refilled"), adapter_weights(tmp_path / "plain")
        for name, weight in refilled.items():
            torch.testing.assert_close(weight, plain[name], rtol=0, atol=2e-4)
        norms = [read_journal(tmp_path / name / "metrics.jsonl")[0]["gradient_norm"] for name in ("refilled", "plain")]
        assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def batch(rows, prompt, completion, pictures, first=0):
    """Return a batch like TRL's; `pictures`: for each row the number of pixels of its images, none: text alone."""
    made = {
        "prompt_ids": torch.full((rows, prompt), 5),
        "prompt_mask": torch.ones(rows, prompt, dtype=torch.long),
        "completion_ids": torch.full((rows, completion), 6),
        "completion_mask": torch.ones(rows, completion, dtype=torch.long),
        "advantages": torch.arange(float(rows)),
        "row": first + torch.arange(rows),
        "num_items_in_batch": torch.tensor(rows * completion),
    }
    if pictures is None:
        return made
    return made | {
        "mm_token_type_ids": torch.ones(rows, prompt + completion, dtype=torch.long),
        "pixel_values": torch.cat([torch.full((size, 3), float(first + row)) for row, size in enumerate(pictures)]),
        "image_grid_thw": torch.tensor([[1, 1, size] for size in pictures if size]).view(-1, 3),
        "num_images": [int(size > 0) for size in pictures],
    }


class TestJoining:
    def test_prompts_are_padded_on_the_left_and_completions_on_the_right(self):
        joined = join_rows(batch(1, 3, 2, [4]), batch(2, 2, 4, [1, 2], first=8), pad_token=0)
        assert joined["prompt_ids"].tolist() == [[5, 5, 5], [0, 5, 5], [0, 5, 5]]
        assert joined["completion_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
        assert joined["mm_token_type_ids"].tolist() == [[1, 1, 1, 1, 1, 0, 0], [0, *[1] * 6], [0, *[1] * 6]]
        assert joined["row"].tolist() == [0, 8, 9] and joined["num_items_in_batch"] == 10

    @pytest.mark.parametrize("text_first", [True, False])
    def test_pixels_stay_with_their_row_where_one_batch_has_none(self, text_first):
        parts = [batch(2, 2, 2, None), batch(2, 2, 2, [3, 1], first=8)]
        joined = join_rows(*(parts if text_first else parts[::-1]), pad_token=0)
        chosen = select_rows(joined, [3, 1] if text_first else [1, 3])
        assert chosen["row"].tolist() == [9, 1] and chosen["num_images"] == [1, 0]
        assert chosen["pixel_values"].tolist() == [[9.0] * 3] and chosen["image_grid_thw"].tolist() == [[1, 1, 1]]
        assert not chosen["mm_token_type_ids"][1].any() and chosen["mm_token_type_ids"][0].all()

    def test_words_alone_stay_words_alone(self):
        joined = join_rows(batch(1, 2, 2, None), batch(1, 2, 3, None), pad_token=0)
        assert "num_images" not in joined and joined["num_items_in_batch"] == 5
