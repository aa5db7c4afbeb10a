"""Advice: by what became of runs with as many groups that carry a signal, and how far it is extrapolated."""

import re

import pandas as pd
import pytest

from currreft_nb.evaluation import advice
from currreft_nb.evaluation.advice import Budget, advise

RUNS = pd.DataFrame(
    [
        {"setting": "hard", "base": 0.001, "seed": seed, "budget": 60, "groups": groups}
        | {"rl": 0.9 if groups > 50 else 0.1, "curr_rl": 0.9, "mixed": 0.4 if seed else 0.9, "soft_rl": 1.0, "sft": 1.0}
        for groups in (4.0, 10.0, 200.0, 300.0)
        for seed in (0, 1)
    ]
)


@pytest.fixture(autouse=True)
def known_runs(monkeypatch):
    monkeypatch.setattr(advice, "outcomes", lambda: RUNS)


def passes(task="detection", open=None, binary=(0.6, 0.5), questions=100):
    """Return a probe's table of one task, from pass@1 and the share of groups with contrast, by form."""
    rows = []
    for stage, values in (("binary", binary), ("open", open)):
        if values:
            common = {"arm": "base", "task": task, "stage": stage, "questions": questions}
            rows += [common | {"k": 1, "pass_at_k": values[0], "contrast": 0.0}]
            rows += [common | {"k": 8, "pass_at_k": 1.0, "contrast": values[1]}]
            rows += [common | {"k": 16, "pass_at_k": 1.0, "contrast": 1.0}]  # larger than the group: not used
    return pd.DataFrame(rows)


BUDGET = Budget(100, 8, 8)


def advised(budget=BUDGET, **table):
    (row,) = advise(passes(**table), {"base": budget}).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("table", "expected", "why"),
    [
        ({"open": (0.001, 0.01)}, "cures", "8 groups: runs with so few failed"),
        ({"open": (0.05, 0.3)}, "open_only", "240 groups: runs with so many did not"),
        ({"open": (0.9, 0.0)}, "open_only", "groups without contrast because all is right need no cure"),
        ({"open": (0.0, 0.0), "binary": (0.0, 0.0)}, "neither", "closed forms have none either"),
        ({"open": (0.3, 0.3), "binary": None}, "not_probed", "no closed form to compare with"),
        ({"open": None}, "not_probed", "no open one"),
    ],
)
def test_advice_follows_the_nearest_runs(table, expected, why):
    assert advised(**table)["advice"] == expected, why


def test_the_numbers_behind_the_advice_are_told():
    row = advised(open=(0.001, 0.01))
    assert row["groups"] == pytest.approx(8)
    assert row["evidence"].startswith(
        "open answers are right 0.001 of the time; in 100 steps of 8 x 8 about 8 of the task's 800 groups will carry a"
        " signal; of pocket models with 4 to 10 such groups, these failed: 4 of 4 with open questions only, 0 of 4 with"
        " a curriculum, 2 of 4 with forms mixed, 0 of 4 with a graded reward, 0 of 4 with imitation"
    )
    assert row["evidence"].endswith("for another model or task this is an extrapolation")


def test_tasks_share_the_questions():
    row = advised(budget=Budget(100, 8, 8, tasks=4), open=(0.02, 0.04))
    assert row["groups"] == pytest.approx(8) and "about 8 of the task's 200 groups" in row["evidence"]


def test_a_larger_budget_holds_more_groups_with_a_signal():
    assert advised(budget=Budget(3000, 8, 8), open=(0.001, 0.01))["advice"] == "open_only"


@pytest.mark.parametrize(("open", "end"), [((0.0001, 0.0001), "4"), ((0.5, 0.9), "3e+02")])
def test_a_base_beyond_the_map_is_compared_with_its_end_and_told_so(open, end):
    assert f"the nearest in the map, which ends at {end}," in advised(open=open)["evidence"]


def test_no_signal_in_the_probe_bounds_the_number_of_groups():
    evidence = advised(open=(0.0, 0.0))["evidence"]
    found = re.search(r"none of 100 groups had a signal, so at most (\d+) of the task's 800 will", evidence)
    assert int(found[1]) == 29  # Clopper-Pearson: 3.6 % of 800


@pytest.mark.parametrize(("task", "soft"), [("detection", True), ("math", False)])
def test_a_graded_reward_is_proposed_where_the_task_has_one(task, soft):
    meaning = advised(task=task, open=(0.001, 0.01))["meaning"]
    assert ("detection_reward: soft" in meaning) == soft
    assert "imitate right answers first" in meaning and "closed forms first, in order" in meaning
