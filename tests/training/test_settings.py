"""Settings: the budget, and combinations that are refused with the remedy."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.training.loop import duration
from currreft_nb.training.rows import draw_order
from currreft_nb.training.settings import GrpoSettings, SftSettings


@pytest.mark.parametrize(
    "kind, values, message",
    [
        (GrpoSettings, {"steps": 0}, "steps is 0, but must be at least 1"),
        (GrpoSettings, {"group_size": 1}, "group_size is 1, but must be at least 2"),  # nothing to compare with
        (GrpoSettings, {"temperature": 0.0}, "temperature is 0.0, but must be above 0"),  # greedy groups are silent
        (GrpoSettings, {"learning_rate": float("inf")}, "learning_rate is inf"),
        (GrpoSettings, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (GrpoSettings, {"beta": -0.1}, "beta is -0.1"),
        (GrpoSettings, {"format_weight": float("nan")}, "format_weight is nan"),
        (GrpoSettings, {"micro_batch": 24}, "must divide prompts_per_step [*] group_size, which is 64; set it to 16"),
        (GrpoSettings, {"detection_reward": "strict"}, "detection_reward is 'strict', but must be one of"),
        (GrpoSettings, {"save_every": -1}, "save_every is -1"),
        (GrpoSettings, {"rehearse_share": 1.0}, "rehearse_share is 1.0, but must be at least 0 and below 1"),
        (GrpoSettings, {"rehearse_share": -0.1}, "rehearse_share is -0.1"),
        (SftSettings, {"drop": ["never"]}, "need pass rates; set rate_completions"),
        (SftSettings, {"target_rate": 1.0}, "target_rate is 1.0, but must be at least 0 and below 1"),
        (
            SftSettings,
            {"prompts": 0},
            "prompts is 0, but must be at least 1",
        ),  # no answer was good enough
        (SftSettings, {"batch_size": 12, "micro_batch": 5}, "must divide batch_size, which is 12; set it to 4"),
        (SftSettings, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (GrpoSettings, {"num_processes": 0}, "num_processes is 0, but must be at least 1"),
        (GrpoSettings, {"num_processes": 3}, "divide prompts_per_step, which is 8; set it to 2"),  # whole groups each
        (GrpoSettings, {"num_processes": 4, "micro_batch": 6}, "group_size / num_processes, which is 16; set it to 4"),
        (GrpoSettings, {"loss": "ppo"}, "loss is 'ppo', but must be one of grpo, dr_grpo"),
        (GrpoSettings, {"scale": "std"}, "scale is 'std'"),
        (
            GrpoSettings,
            {"clip_high": 0.28},
            "with passes 1 every ratio is 1 .*; set passes to 2",
        ),
        (GrpoSettings, {"loss": "cispo", "passes": 2, "clip_high": 0.28}, "largest ratio itself; set it above 1"),
        (GrpoSettings, {"loss": "gspo", "passes": 2, "clip_high": 0.28}, "clips none; set it near 0.0004"),
        (GrpoSettings, {"loss": "bnpo", "micro_batch": 32}, "set it to 64, or loss to dapo"),
        (GrpoSettings, {"overlong_penalty": 25}, "more than max_new_tokens, which is 24; set it to 4"),
        (GrpoSettings, {"refill": 1, "scale": "batch"}, "set scale to group or none, or refill to 0"),
        (GrpoSettings, {"refill": 1, "num_processes": 2}, "set num_processes to 1, or refill to 0"),
        (
            GrpoSettings,
            {"refill": 1, "order": "easy_to_hard", "rate_completions": 4},
            "set order to shuffled, or refill to 0",
        ),
        (SftSettings, {"num_processes": 5}, "must divide batch_size, which is 16; set it to 4"),
        (SftSettings, {"num_processes": 2, "micro_batch": 3}, "batch_size / num_processes, which is 8; set it to 2"),
        (
            SftSettings,
            {"teacher": "pocket-clean", "prompts": 22},
            "prompts is 22; set it to a multiple of batch_size, 16",
        ),
        (SftSettings, {"teacher": "pocket-clean", "num_processes": 2}, "needs num_processes 1, which is 2"),
        # 22 = 16 + 6: a second step of 6 questions, in passes of 2 x 2, would repeat two of them
        (SftSettings, {"num_processes": 2, "prompts": 22, "micro_batch": 2}, "a multiple of 4, .*; set it to 24"),
    ],
)
def test_refusals_name_value_and_remedy(kind, values, message):
    with pytest.raises(InputError, match=message):
        kind(**values)


def test_micro_batch_above_the_whole_is_allowed():
    assert GrpoSettings(prompts_per_step=2, group_size=4, micro_batch=64).completions_per_step == 8
    assert SftSettings(batch_size=4, micro_batch=16).batch_size == 4


def test_processes_share_a_step_and_the_budget_stays_what_it_is():
    one, four = GrpoSettings(), GrpoSettings(num_processes=4)
    assert (four.budget, four.completions_per_step) == (one.budget, one.completions_per_step) == (480, 64)
    assert four.completions_per_process == 16 and SftSettings(num_processes=4).questions_per_process == 4
    assert SftSettings(num_processes=2, prompts=22, micro_batch=1).steps == SftSettings(prompts=22).steps


@pytest.mark.parametrize("prompts, batch_size, steps", [(16, 16, 1), (17, 16, 2), (1, 16, 1), (1440, 16, 90)])
def test_sft_steps_cover_the_budget(prompts, batch_size, steps):
    settings = SftSettings(prompts=prompts, batch_size=batch_size)
    assert (settings.steps, settings.budget) == (steps, prompts)


def test_equal_budgets_of_the_demo():
    assert 3 * GrpoSettings(steps=60).budget == GrpoSettings(steps=180).budget == SftSettings().budget == 1440


def test_a_step_that_measures_memory_neither_rates_nor_rehearses_forms():
    rated = {"rate_completions": 4, "drop": ["never"], "order": "easy_to_hard", "target_rate": 0.5}
    for settings in (GrpoSettings(**rated, rehearse_share=0.25), SftSettings(**rated)):
        step = settings.one_step()
        assert step.steps == 1 and not step.by_difficulty and not step.rate_completions
        assert getattr(step, "rehearse_share", 0) == 0 and step.rehearse == "always"


def test_parameters_of_a_notebook_are_taken_by_name():
    parameters = SimpleNamespace(steps=7, model="pocket", prompts=3, learning_rate=1e-5, output="")
    assert GrpoSettings.from_parameters(parameters) == GrpoSettings(steps=7, learning_rate=1e-5)
    assert SftSettings.from_parameters(parameters, prompts=9) == SftSettings(prompts=9, learning_rate=1e-5)
    assert GrpoSettings.from_parameters({"steps": 7}, steps=8).steps == 8


@given(count=st.integers(1, 20), rows=st.integers(0, 100), seed=st.integers(0, 5))
def test_each_pass_is_a_permutation_and_a_longer_run_begins_like_a_shorter(count, rows, seed):
    order = draw_order(count, rows, seed)
    assert len(order) == rows and draw_order(count, rows + 7, seed)[:rows] == order
    for start in range(0, rows - count + 1, count):
        assert sorted(order[start : start + count]) == list(range(count))


def test_passes_and_seeds_differ():
    order = draw_order(30, 60, 0)
    assert order[:30] != order[30:] and order != draw_order(30, 60, 1)


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (7200, "2.0 h")])
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text
