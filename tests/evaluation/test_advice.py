"""Advice: by what became of runs with as many groups that carry a signal, and how far it is extrapolated."""

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


PACKAGED = advice.outcomes


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
        ({"open": (0.001, 0.01), "questions": 2000}, "cures", "8 groups: runs with so few failed"),
        ({"open": (0.05, 0.3)}, "open_only", "240 groups: runs with so many did not"),
        ({"open": (0.001, 0.04), "questions": 25}, "undecided", "1 of 25 may stand for 1 group in the budget or 160"),
        ({"open": (0.9, 0.0)}, "open_only", "groups without contrast because all is right need no cure"),
        ({"open": (0.0, 0.0), "binary": (0.0, 0.0)}, "neither", "closed forms have none either"),
        ({"open": (0.3, 0.3), "binary": None}, "not_probed", "no closed form to compare with"),
        ({"open": None}, "not_probed", "no open one"),
    ],
)
def test_advice_follows_the_nearest_runs(table, expected, why):
    assert advised(**table)["advice"] == expected, why


def test_the_numbers_behind_the_advice_are_told():
    row = advised(open=(0.001, 0.01), questions=1000)
    assert row["groups"] == pytest.approx(8)
    assert row["evidence"].startswith(
        "open answers are right 0.001 of the time; in 100 steps of 8 x 8 10 of 1000 groups carry a signal, so about 8"
        " (4 to 15) of the task's 800 will; of pocket models trained from the base with 4 to 10 such groups, these"
        " failed: 4 of 4 with open questions only, 0 of 4 with a curriculum, 2 of 4 with forms mixed, 0 of 4 with a"
        " graded reward, 0 of 4 with imitation"
    )
    assert row["evidence"].endswith("for another model or task this is an extrapolation")


def test_tasks_and_forms_share_the_questions():
    row = advised(budget=Budget(100, 8, 8, tasks=2, open=0.5), open=(0.02, 0.04))
    assert row["groups"] == pytest.approx(8) and "of the task's 200 will" in row["evidence"]


def test_a_budget_is_read_from_the_settings_of_a_training():
    settings = {"steps": 90, "prompts_per_step": 8, "group_size": 4, "tasks": ["detection"], "passes": 2}
    settings |= {"detection_reward": "hard", "stages": ["binary", "choice", "open"], "rehearse_share": 0.0}
    assert Budget.of(settings) == Budget(90, 8, 4, 1, 1 / 3, 2) and Budget.of(settings).groups == 240
    rehearsed = settings | {"stages": ["open"], "rehearse_share": 0.25, "detection_reward": "soft"}
    assert Budget.of(rehearsed) == Budget(90, 8, 4, 1, 0.75, 2, graded=True)


def test_a_larger_budget_holds_more_groups_with_a_signal():
    assert advised(budget=Budget(3000, 8, 8), open=(0.001, 0.01), questions=2000)["advice"] == "open_only"


@pytest.mark.parametrize(("open", "end"), [((0.0001, 0.0001), "4"), ((0.5, 0.9), "3e+02")])
def test_a_base_beyond_the_map_is_compared_with_its_end_and_told_so(open, end):
    assert f"the nearest in the map, which ends at {end}," in advised(open=open, questions=10_000)["evidence"]


def test_no_signal_in_the_probe_bounds_the_number_of_groups():
    evidence = advised(open=(0.0, 0.0))["evidence"]
    assert (
        "0 of 100 groups carry a signal, so about 0 (0 to 29) of the task's 800" in evidence
    )  # Clopper-Pearson: 3.6 %


@pytest.mark.parametrize(("task", "soft"), [("detection", True), ("math", False)])
def test_a_graded_reward_is_proposed_where_the_task_has_one(task, soft):
    meaning = advised(task=task, open=(0.001, 0.01), questions=2000)["meaning"]
    assert ("detection_reward: soft" in meaning) == soft
    assert "imitate right answers first" in meaning and "closed forms first, in order" in meaning


def test_what_is_planned_already_is_not_proposed():
    few = {"open": (0.001, 0.01), "questions": 2000}
    assert "passes: 2" in advised(**few)["meaning"]
    assert "passes: 2" not in advised(budget=BUDGET._replace(passes=2), **few)["meaning"]
    assert "closed forms" not in advised(budget=BUDGET._replace(open=1 / 3, steps=300), **few)["meaning"]
    assert advised(budget=BUDGET._replace(graded=True), **few)["advice"] == "graded"
    assert advised(task="math", budget=BUDGET._replace(graded=True), **few)["advice"] == "cures"  # boxes are graded


def test_closed_forms_are_not_proposed_where_they_mostly_failed(monkeypatch):
    monkeypatch.setattr(advice, "outcomes", lambda: RUNS.assign(curr_rl=0.1))
    meaning = advised(open=(0.001, 0.01), questions=2000)["meaning"]
    assert "ask closed forms" not in meaning and "raise the steps" in meaning


@pytest.mark.parametrize(("setting", "groups"), [("demo", 8), ("losses", 9.6), ("ablation", 6.4)])
def test_the_packaged_runs_advise_against_what_mostly_failed_in_them(monkeypatch, setting, groups):
    monkeypatch.setattr(advice, "outcomes", PACKAGED)
    mine = PACKAGED().query("setting == @setting")
    assert (mine["rl"] < advice.TOOK_OFF).mean() > 0.5 and mine["groups"].tolist() == pytest.approx(
        [groups] * len(mine)
    )
    known = advice.Signals(round(groups * 1000), 10**6, 1000)  # as from a probe of very many questions
    assert advice.judged(known) == "cures"


def completions(task, stage, earned):
    """Return the rows of one step's groups of two."""
    return [
        {"task": task, "stage": stage, "step": 1, "group": f"{stage}-{group}", "accuracy": value}
        for group, values in enumerate(earned)
        for value in values
    ]


def test_a_run_is_judged_by_its_first_open_groups():
    rows = completions("math", "open", [(0, 1), (0, 0), (1, 1), (0, 0)]) + completions("math", "binary", [(0, 1)] * 4)
    (line,) = advice.of_run(rows, Budget(5, 8, 2))
    assert line.startswith(
        "math: of the first 1 of 4 groups carry a signal, so about 5 (0 to 16) of the task's 20 will"
    )
    assert "4 of 4 with open questions only" in line and "cheapest first: imitate right answers" in line


def test_a_run_with_a_graded_reward_is_not_compared():
    rows = completions("detection", "open", [(0.1, 0.2)])
    assert advice.of_run(rows, Budget(5, 8, 2, graded=True)) == [f"detection: {advice.MEANINGS['graded']}"]
