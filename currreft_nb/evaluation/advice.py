"""Advise on the cures of a sparse reward, by a map of finished runs.

A group of answers carries a signal if it holds right and wrong ones: only then have rewards a difference to learn from.
A probe of the base tells how many such groups a budget will hold if only open questions are asked. `sparse_map.csv`
has what became of 1.5M-parameter pocket models with few and many of them, a row per run: the arms' shares of open
in-domain questions answered right at the end. `params/sparse_map.yaml` is the study, and
`python tests/benchmarks/sparse_map.py` writes the file.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from currreft_nb.metrics.intervals import share_bounds
from currreft_nb.tasks import TASK_MODULES

OUTCOMES = Path(__file__).with_name("sparse_map.csv")
ARMS = {
    "rl": "open questions only",
    "curr_rl": "a curriculum",
    "mixed": "forms mixed",
    "soft_rl": "a graded reward",
    "sft": "imitation",
}
TOOK_OFF = 0.5  # a run whose share of right open answers ends below this has failed
NEAR = 3.0  # runs with between a third and three times as many groups are compared
MOSTLY = 0.5  # share of failed runs from which another way is advised
COLUMNS = ("arm", "task", "advice", "groups", "meaning", "evidence")
MEANINGS = {
    "open_only": "ask open questions directly",
    "cures": "open questions alone will probably fail",
    "neither": "no form has a signal: teach by right examples first (baseline_sft), then probe again",
    "not_probed": "no advice: probe open questions and at least one closed form",
}


class Budget(NamedTuple):
    """The size of a training: optimiser steps, questions a step, answers a question, tasks that share the questions."""

    steps: int
    prompts_per_step: int
    group_size: int
    tasks: int = 1

    @property
    def groups(self) -> int:
        """Return how many groups each task gets."""
        return self.steps * self.prompts_per_step // self.tasks

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.prompts_per_step} x {self.group_size}"


@cache
def outcomes() -> pd.DataFrame:
    """Return the map: setting, base, seed, budget in steps, `groups` (expected with a signal), and an arm a column."""
    return pd.read_csv(OUTCOMES)


def advise(passes: pd.DataFrame, budgets: Mapping[str, Budget]) -> pd.DataFrame:
    """Return for each arm and task what to try first, and the evidence.

    `passes`: of `evaluation.pass_at_k.probe`. `budgets`: of the training that is planned, by arm. `groups`: how many
    groups with a signal open questions are expected to give in that budget. `advice` is a key of `MEANINGS`.
    """
    rows = []
    for (arm, task), part in passes.groupby(["arm", "task"], sort=False):
        budget = budgets[str(arm)]
        last = part[part["k"] == part[part["k"] <= budget.group_size]["k"].max()].set_index("stage")
        rows.append({"arm": arm, "task": task} | _advice(str(task), last, part, budget))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _advice(task: str, last: pd.DataFrame, part: pd.DataFrame, budget: Budget) -> dict:
    closed = [stage for stage in last.index if stage != "open"]
    if "open" not in last.index or not closed:
        return {"advice": "not_probed", "groups": None, "meaning": MEANINGS["not_probed"], "evidence": ""}
    asked = last.to_dict("index")["open"]
    questions, contrast = asked["questions"], asked["contrast"]
    groups = contrast * budget.groups
    near = near_runs(groups)
    first = float(part[(part["k"] == 1) & (part["stage"] == "open")]["pass_at_k"].iloc[0])
    code = "cures" if first < TOOK_OFF and failed(near, "rl") >= MOSTLY * len(near) else "open_only"
    if code == "cures" and not (last.loc[closed, "contrast"] > 0).any():
        code = "neither"
    evidence = f"open answers are right {first:.2g} of the time; in {budget} {_expected(contrast, questions, budget)}"
    meaning = MEANINGS[code] + (f"; {cures(task)}" if code == "cures" else "")
    return {"advice": code, "groups": groups, "meaning": meaning, "evidence": f"{evidence}; {compared(near, groups)}"}


def near_runs(groups: float) -> pd.DataFrame:
    """Return the runs of the map with about as many groups with a signal, or those at the nearer end of the map."""
    known = outcomes()
    clipped = min(max(groups, known["groups"].min()), known["groups"].max())
    return known[known["groups"].between(clipped / NEAR, clipped * NEAR)]


def failed(runs: pd.DataFrame, arm: str) -> int:
    """Return how many runs of an arm ended with fewer than half of the open questions answered right."""
    return int((runs[arm].dropna() < TOOK_OFF).sum())


def compared(runs: pd.DataFrame, groups: float) -> str:
    """Return what became of the runs, arm by arm, and how far they are from `groups`."""
    told = [
        f"{failed(runs, arm)} of {runs[arm].count()} with {name}" for arm, name in ARMS.items() if runs[arm].count()
    ]
    least, most = outcomes()["groups"].min(), outcomes()["groups"].max()
    beyond = (
        ""
        if least <= groups <= most
        else f", the nearest in the map, which ends at {least if groups < least else most:.2g}"
    )
    return (
        f"of pocket models with {runs['groups'].min():.2g} to {runs['groups'].max():.2g} such groups{beyond}, these"
        f" failed: {', '.join(told)}; for another model or task this is an extrapolation"
    )


def cures(task: str) -> str:
    """Return what to try, the cheapest first, leaving out what the task does not have.

    `passes` is not on the map: `params/losses.yaml` has measured it on one cell.
    """
    tries = ["imitate right answers first (baseline_sft), if you have some"]
    if TASK_MODULES[task].DENSE:
        tries.append(f"set {TASK_MODULES[task].DENSE}, a graded reward")
    tries += ["set passes: 2, two updates by each step's answers", "ask closed forms first, in order"]
    return "cheapest first: " + "; ".join(tries)


def _expected(contrast: float, questions: int, budget: Budget) -> str:
    if contrast:
        return f"about {contrast * budget.groups:.0f} of the task's {budget.groups} groups will carry a signal"
    most = share_bounds(0, questions)[1] * budget.groups
    return f"none of {questions} groups had a signal, so at most {most:.0f} of the task's {budget.groups} will"


def of_run(completions: Iterable[Mapping], groups: int) -> list[str]:
    """Return a line per task on a run's first completions: how many groups carry a signal, and what became of others.

    `completions`: rows of a run's `completions/`, whole groups; only open questions count. `groups`: those of the run.
    """
    found: dict[str, dict[tuple, set[float]]] = {}
    for row in completions:
        if row["stage"] == "open":
            found.setdefault(row["task"], {}).setdefault((row["step"], row["group"]), set()).add(row["accuracy"])
    seen = sum(map(len, found.values()))
    lines = []
    for task, earned in found.items():
        signals = sum(len(values) > 1 for values in earned.values())
        expected = signals / seen * groups
        told = f"{task}: {signals} of the first {len(earned)} groups carry a signal, so about {expected:.0f} here"
        lines.append(f"{told}; {compared(near_runs(expected), expected)}")
    return lines
