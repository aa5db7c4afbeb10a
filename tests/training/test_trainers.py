"""Which completions count as silent: those whose rewards are equal, rounding aside."""

import pytest
import torch

from currreft_nb.training.trainers import without_rounding


def advantages(rewards):
    """Return advantages as the plain trainer computes them, in single precision."""
    rewards = torch.tensor(rewards)
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


@pytest.mark.parametrize("value", [0.7, 0.8333333, 0.86, 1 / 3, 1.1])
def test_equal_rewards_are_silent_whatever_their_mean_is_rounded_to(value):
    assert without_rounding(advantages([value] * 8), 8).tolist() == [0.0] * 8


def test_plain_trainer_hears_some_of_them():
    """If it stops, the rule has nothing to mend any more."""
    assert any(advantages([value / 100] * 8).any() for value in range(200))


@pytest.mark.parametrize("difference", [1e-4, 1e-2, 1.0])
def test_rewards_that_differ_are_heard_as_they_are(difference):
    found = advantages([0.7] * 7 + [0.7 + difference])
    assert torch.equal(without_rounding(found, 8), found) and found.abs().max() > 0.3


@pytest.mark.parametrize("scale", ["batch", "none"])
def test_other_scales_are_heard_too(scale):
    """Equal rewards are silent, a reward that differs by a thousandth is not."""
    rewards = torch.tensor([0.7] * 8 + [0.7] * 7 + [0.701] + [0.0, 1.0] * 4)
    centred = rewards - rewards.view(-1, 8).mean(dim=1).repeat_interleave(8)
    found = without_rounding(centred / (rewards.std() + 1e-4) if scale == "batch" else centred, 8, scale).view(-1, 8)
    assert found.any(dim=1).tolist() == [False, True, True]


@pytest.mark.parametrize("value", [0.7, 1.02, 1.5, 2.98])
def test_a_batch_without_any_difference_is_silent(value):
    rewards = torch.full((64,), value)
    centred = rewards - rewards.view(-1, 8).mean(dim=1).repeat_interleave(8)
    assert not without_rounding(centred / (rewards.std() + 1e-4), 8, "batch").any()


def test_groups_are_judged_one_by_one():
    quiet, loud = advantages([0.7] * 4), advantages([0.0, 1.0, 0.0, 1.0])
    assert torch.equal(without_rounding(torch.cat([quiet, loud, quiet]), 4)[4:8], loud)
    assert not without_rounding(torch.cat([quiet, loud, quiet]), 4)[8:].any()
