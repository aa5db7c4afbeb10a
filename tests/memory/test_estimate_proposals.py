"""What is proposed for a card: it fits, the next larger value does not, and a training accepts it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies

from currreft_nb.memory.estimate import choices, estimate_step, last_fitting, proposals
from currreft_nb.training.settings import GrpoSettings, SftSettings

MODELS = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen3-VL-4B-Instruct")
POWERS = strategies.sampled_from([1, 2, 4, 8, 16])
GRPO = strategies.fixed_dictionaries(
    {
        "model": strategies.sampled_from(MODELS),
        "max_pixels": strategies.sampled_from([0, 100_352, 401_408, 1_003_520]),
        "four_bit": strategies.booleans(),
        "lora_rank": strategies.sampled_from([8, 64]),
        "prompts_per_step": POWERS,
        "group_size": strategies.sampled_from([2, 4, 8, 16]),
        "micro_batch": POWERS,
        "max_new_tokens": strategies.sampled_from([64, 512]),
        "shortcuts": strategies.lists(strategies.sampled_from(["images", "prompts", "silent", "weights"]), unique=True),
    }
).filter(lambda values: values["prompts_per_step"] * values["group_size"] % values["micro_batch"] == 0)
SFT = strategies.fixed_dictionaries(
    {
        "model": strategies.sampled_from(MODELS),
        "max_pixels": strategies.sampled_from([0, 401_408]),
        "four_bit": strategies.booleans(),
        "batch_size": strategies.sampled_from([8, 12]),
        "micro_batch": strategies.sampled_from([1, 2, 4]),
        "completions": strategies.sampled_from([0, 8]),
    }
)


@given(values=strategies.lists(strategies.integers(1, 10**6), unique=True).map(sorted), limit=strategies.integers(0))
def test_largest_is_the_last_that_fits(values, limit):
    assert last_fitting(values, lambda value: value <= limit) == max((v for v in values if v <= limit), default=None)


@settings(max_examples=40)
@given(asked=GRPO | SFT, card_gib=strategies.sampled_from([8, 16, 24, 80]))
def test_a_proposal_fits_and_the_next_larger_value_does_not(asked, card_gib):
    def peak(name, value):
        return estimate_step(asked, **{name: value})[-1]["gib"]

    for row in proposals(asked, card_gib):
        name, values = row["parameter"], choices(asked)[row["parameter"]]
        if row["largest"] is None:
            assert peak(name, values[0]) > card_gib
            continue
        assert peak(name, row["largest"]) <= card_gib
        larger = values[values.index(row["largest"]) + 1 :][:1]
        assert all(peak(name, value) > card_gib for value in larger)


@settings(max_examples=40)
@given(asked=GRPO | SFT, card_gib=strategies.sampled_from([16, 24, 80]))
def test_a_training_accepts_what_is_proposed(asked, card_gib):
    kind = GrpoSettings if "group_size" in asked else SftSettings
    for row in proposals(asked, card_gib):
        if row["largest"] is not None:
            kind.from_parameters({**asked, row["parameter"]: row["largest"]})


def test_a_larger_card_is_never_offered_less():
    asked = {"model": MODELS[0], "max_pixels": 401_408, "prompts_per_step": 8, "group_size": 8, "micro_batch": 4}
    cards = [[row["largest"] or 0 for row in proposals(asked, gib)] for gib in (8, 12, 16, 24, 48, 80)]
    assert all(small <= large for one, next_one in pairwise(cards) for small, large in zip(one, next_one))
    assert cards[0] < cards[-1]


@pytest.mark.parametrize("name", ["micro_batch", "prompts_per_step", "group_size", "max_pixels"])
def test_the_pocket_model_fits_whatever_is_asked(name):
    asked = {"model": "pocket", "max_pixels": 0, "four_bit": False, "prompts_per_step": 8, "group_size": 8}
    asked |= {"micro_batch": 64, "max_new_tokens": 24}
    (row,) = [row for row in proposals(asked, 80) if row["parameter"] == name]
    assert row["largest"] >= row["now"] > 0  # 0 pixels stood for the model's own
