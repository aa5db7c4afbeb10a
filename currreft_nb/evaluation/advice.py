"""Advise on the cures of a sparse reward, by a map of finished runs.

A group of answers carries a signal if it holds right and wrong ones: only then have rewards a difference to learn from.
A probe of the base tells how many such groups a budget will hold if only open questions are asked. `sparse_map.csv`
has what became of 1.5M-parameter pocket models with few and many of them, a row per run: the arms' shares of open
in-domain questions answered right at the end. `params/sparse_map.yaml` is the study; the open detection of the demo,
of `params/losses.yaml` and of `params/ablation.yaml` stands beside it. `python tests/benchmarks/sparse_map.py` writes
the file.
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
RISK = 0.1  # share of failed runs from which another way is advised: a failed training costs more than a cure
MOSTLY = 0.5  # a cure that failed in so many of the compared runs is not advised
COLUMNS = ("arm", "task", "advice", "groups", "meaning", "evidence")
MEANINGS = {
    "open_only": "ask open questions directly",
    "cures": "open questions alone may fail",
    "undecided": "too few questions probed to tell whether open questions alone may fail; raise --questions",
    "graded": "the reward is graded, so open questions need no cure here; the map speaks of all-or-nothing rewards",
    "neither": "no form has a signal: teach by right examples first (baseline_sft), then probe again",
    "not_probed": "no advice: probe open questions and at least one closed form",
}


class Budget(NamedTuple):
    """The size of a training: optimiser steps, questions a step, answers a question, tasks that share the questions.

    `open`: the share of questions that are open. `passes`: updates a step. `graded`: boxes are paid in parts.
    """

    steps: int
    prompts_per_step: int
    group_size: int
    tasks: int = 1
    open: float = 1.0
    passes: int = 1
    graded: bool = False

    @classmethod
    def of(cls, settings: Mapping) -> "Budget":
        """Return the budget of a training with these settings, those of notebooks 02 to 04."""
        forms = settings.get("stages", ("open",))
        share = (1 - settings.get("rehearse_share", 0.0)) / len(forms) if "open" in forms else 1.0
        return cls(
            settings["steps"],
            settings["prompts_per_step"],
            settings["group_size"],
            tasks=len(settings["tasks"]),
            open=share,
            passes=settings["passes"],
            graded=settings["detection_reward"] != "hard",
        )

    @property
    def groups(self) -> int:
        """Return how many groups of open answers each task gets."""
        return int(self.steps * self.prompts_per_step * self.open / self.tasks + 1e-9)

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.prompts_per_step} x {self.group_size}"


class Signals(NamedTuple):
    """How many of the groups that were `asked` carry a signal, and how many groups of the task the `budget` holds."""

    found: int
    asked: int
    budget: int

    @property
    def expected(self) -> float:
        return self.found / self.asked * self.budget

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % bounds of the expected number (Clopper-Pearson)."""
        low, high = share_bounds(self.found, self.asked)
        return low * self.budget, high * self.budget

    def __str__(self) -> str:
        low, high = self.bounds
        return (
            f"{self.found} of {self.asked} groups carry a signal, so about {self.expected:.0f}"
            f" ({low:.0f} to {high:.0f}) of the task's {self.budget} will"
        )


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
    signals = Signals(round(asked["contrast"] * asked["questions"]), asked["questions"], budget.groups)
    first = float(part[(part["k"] == 1) & (part["stage"] == "open")]["pass_at_k"].iloc[0])
    code = "open_only" if first >= TOOK_OFF else judged(signals)
    if TASK_MODULES[task].DENSE and budget.graded:
        code = "graded"
    elif code != "open_only" and not (last.loc[closed, "contrast"] > 0).any():
        code = "neither"
    evidence = f"open answers are right {first:.2g} of the time; in {budget} {signals}; {compared(signals.expected)}"
    meaning = MEANINGS[code] + (f"; {cures(task, signals, budget)}" if code in ("cures", "undecided") else "")
    return {"advice": code, "groups": signals.expected, "meaning": meaning, "evidence": evidence}


def judged(signals: Signals) -> str:
    """Return `open_only`, `cures`, or `undecided` where the bounds of the expected groups speak for both."""
    risky = {failed_share(near_runs(groups), "rl") >= RISK for groups in (*signals.bounds, signals.expected)}
    return "undecided" if len(risky) > 1 else "cures" if risky.pop() else "open_only"


def near_runs(groups: float, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the runs with about as many groups with a signal, or those at the nearer end; `known`: `outcomes()`."""
    known = outcomes() if known is None else known
    clipped = min(max(groups, known["groups"].min()), known["groups"].max())
    return known[known["groups"].between(clipped / NEAR, clipped * NEAR)]


def failed(runs: pd.DataFrame, arm: str) -> int:
    """Return how many runs of an arm ended with fewer than half of the open questions answered right."""
    return int((runs[arm].dropna() < TOOK_OFF).sum())


def failed_share(runs: pd.DataFrame, arm: str) -> float:
    """Return the share of the runs of an arm that failed."""
    return failed(runs, arm) / max(1, runs[arm].count())


def compared(groups: float) -> str:
    """Return what became of the runs with about as many `groups`, arm by arm, and how far they are from it."""
    runs = near_runs(groups)
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
        f"of pocket models trained from the base with {runs['groups'].min():.2g} to {runs['groups'].max():.2g} such"
        f" groups{beyond}, these failed: {', '.join(told)}; for another model or task this is an extrapolation"
    )


def cures(task: str, signals: Signals, budget: Budget) -> str:
    """Return what to try, the cheapest first, without what is planned already, or mostly failed in the compared runs.

    `passes` is not on the map: `params/losses.yaml` has measured it on one cell.
    """
    tries = ["imitate right answers first (baseline_sft), if you have some"]
    if TASK_MODULES[task].DENSE and not budget.graded:
        tries.append(f"set {TASK_MODULES[task].DENSE}, a graded reward")
    if budget.passes == 1:
        tries.append("set passes: 2, two updates by each step's answers")
    late = failed_share(near_runs(signals.expected), "curr_rl") >= MOSTLY
    tries += ["raise the steps: in so few, closed forms first mostly failed, too"] if late else []
    tries += [] if late or budget.open < 1 else ["ask closed forms first, in order"]
    return "cheapest first: " + "; ".join(tries)


def of_run(completions: Iterable[Mapping], budget: Budget) -> list[str]:
    """Return a line per task on a run's first completions: the open groups that carry a signal, and what to expect.

    `completions`: rows of a run's `completions/`, whole groups. `budget`: of the run; its share of open questions and
    its tasks are taken from the completions.
    """
    found: dict[tuple, set[float]] = {}
    for row in completions:
        key = row["task"], row["stage"], row["step"], row["group"]
        found.setdefault(key, set()).add(row["accuracy"])
    lines = []
    for task in dict.fromkeys(key[0] for key in found if key[1] == "open"):
        if TASK_MODULES[task].DENSE and budget.graded:
            lines.append(f"{task}: {MEANINGS['graded']}")
            continue
        earned = [values for key, values in found.items() if key[:2] == (task, "open")]
        whole = budget._replace(open=len(earned) / len(found), tasks=1)
        signals = Signals(sum(len(values) > 1 for values in earned), len(earned), whole.groups)
        told = "" if judged(signals) == "open_only" else f"; {cures(task, signals, whole)}"
        lines.append(f"{task}: of the first {signals}; {compared(signals.expected)}{told}")
    return lines
