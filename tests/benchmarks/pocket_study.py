"""The verdicts of params/pocket_study.yaml: when does a curriculum of forms help, and what is forgotten?

    python tests/benchmarks/pocket_study.py [--table CSV] [--output CSV]

Reads the complete runs of outputs/pocket_study (or, with `--table`, what an earlier call wrote), takes each hypothesis
that stands in the experiment's file, and prints the difference that it speaks of: the mean over the seeds, its 95 %
interval (Student's t, one difference a seed) and each seed's own. Seeds and bases that are not complete are left out,
and counted. `--output` writes the scores as tidy CSV, with a figure of the same name: a row per base, seed, arm, mode,
task, stage and split, the support of the bases as measure pass_at_8, and a recipe: a hash of the experiment's file and
of the base's weights.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from currreft_nb import evaluation_probe, plots_study

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "params" / "pocket_study.yaml"
FOLDER = ROOT / "outputs" / "pocket_study"
TASKS = ("detection", "classification")
COLUMNS = ["recipe", "base", "seed", "arm", "mode", "task", "stage", "split", "measure", "n", "mean", "chance"]
CLOSED = ("binary", "choice")


def collect(folder: Path) -> pd.DataFrame:
    """Return the scores of every complete evaluation, and the pass@8 of every base."""
    tables = []
    for path in sorted(folder.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["notebook"] != "06_evaluation" or record["status"] != "complete":
            continue
        if path.parent.name.startswith("support"):
            found = pd.read_csv(path.parent / "passes.csv").query("k == 8")
            table = found.rename(columns={"questions": "n", "pass_at_k": "mean"})
            table = table.assign(measure="pass_at_8", split="val", mode="natural")
        else:
            table = pd.read_csv(path.parent / "scores.csv").query("measure == 'correct'").assign(chance=None)
        known = {"base": Path(record["settings"]["model"]).name, "seed": record["settings"]["seed"]}
        tables.append(table.assign(recipe=_recipe(path.parent), **known))
    if not tables:
        sys.exit(f"{folder} holds no complete evaluation; run params/pocket_study.yaml first")
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _recipe(folder: Path) -> str:
    with (folder / "records.jsonl").open(encoding="utf-8") as stream:
        weights = json.loads(next(stream))["author"].split()[0]
    return hashlib.sha256(FILE.read_bytes() + weights.encode()).hexdigest()[:12]


def scores(table: pd.DataFrame, base: str, task: str, stage: str, split: str, arm: str, mode: str) -> pd.Series:
    """Return the score of an arm in one cell, by seed."""
    cell = {"base": base, "task": task, "stage": stage, "split": split, "arm": arm, "mode": mode, "measure": "correct"}
    chosen = table[(table[list(cell)] == pd.Series(cell)).all(axis=1)]
    return chosen.set_index("seed")["mean"]


def difference(table: pd.DataFrame, base: str, cell: tuple[str, str, str], one: str, other: str) -> pd.Series:
    """Return natural `one` minus `other` in a cell (task, stage, split), by seed; the arm base counts forced."""
    mode = "forced" if other == "base" else "natural"
    return (scores(table, base, *cell, one, "natural") - scores(table, base, *cell, other, mode)).dropna()


def row(values: pd.Series, **what: str) -> dict:
    """Return the mean of differences with its interval between seeds; no interval for fewer than two seeds."""
    low, high = (None, None)
    if len(values) > 1:
        low, high = map(float, ttest_1samp(values, 0).confidence_interval(0.95))
    return {**what, "seeds": values.tolist(), "mean": float(values.mean()), "low": low, "high": high}


def hypotheses(table: pd.DataFrame, misled: str, pocket: str) -> list[dict]:
    """Return a row for each hypothesis and task: the difference that it speaks of, and whether it holds."""
    rows = []

    def add(name: str, holds: str, values: pd.Series, **what: str) -> None:
        found = row(values, hypothesis=name, **what)
        if found["low"] is not None:
            above = found["low"] > 0
            found["verdict"] = "holds" if above == (holds == "above") else "does not hold"
        rows.append(found)

    for task in TASKS:
        here, there = (task, "open", "test_id"), (task, "open", "test_ood")
        first = difference(table, misled, here, "curr_rl_60", "rl_60")
        add("H1", "above", first, task=task, what=f"{misled}: curr_rl_60 - rl_60")
        plain = difference(table, pocket, here, "curr_rl_60", "rl_60")
        add("H2", "not above", plain, task=task, what=f"{pocket}: curr_rl_60 - rl_60")
        later = difference(table, misled, here, "curr_rl_120", "rl_120")
        add("H3", "above", (first - later).dropna(), task=task, what=f"{misled}: that of H1 - the same after 120 steps")
        mixed = difference(table, misled, here, "mixed_60", "rl_60")
        add("H4", "above", mixed, task=task, what=f"{misled}: mixed_60 - rl_60")
        for base in (misled, pocket):
            values = difference(table, base, there, "rl_120", "sft_120")
            add("H5", "above", values, task=task, what=f"{base}, out-of-domain: rl_120 - sft_120")
            for stage in CLOSED:
                values = difference(table, base, (task, stage, "test_id"), "curr_rl_120", "rl_120")
                add("H6", "above", values, task=task, what=f"{base}, {stage}: curr_rl_120 - rl_120")
    for base in (misled, pocket):
        values = difference(table, base, ("general", "open", "test_id"), "curr_rl_120", "rl_120")
        add("H6", "above", values, task="general", what=f"{base}: curr_rl_120 - rl_120")
    return rows


def gains(table: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return what each arm gained over the base with the format forced, on open questions."""
    arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != "base" and not arm.endswith(("pocket", "misled"))]
    return pd.DataFrame(
        row(difference(table, base, (task, "open", split), arm, "base"), arm=arm, task=task, split=split)
        for arm in arms
        for task in TASKS
        for split in ("test_id", "test_ood")
    )


def show(rows: list[dict]) -> None:
    """Print the rows, one a line."""
    for found in rows:
        interval = "one seed" if found["low"] is None else f"[{found['low']:+.2f}, {found['high']:+.2f}]"
        each = " ".join(f"{value:+.2f}" for value in found["seeds"])
        name = found.get("hypothesis", "")
        verdict = found.get("verdict", "")
        print(f"{name:3} {found['task']:15} {found['what']:62} {found['mean']:+.2f} {interval:15} {verdict:14} {each}")


def main() -> None:
    """Collect or read, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the experiment's folder")
    parser.add_argument("--table", type=Path, help="judge this CSV instead of the experiment's folder")
    parser.add_argument("--output", type=Path, help="CSV file; a figure for each base is drawn beside it")
    given = parser.parse_args()
    table = pd.read_csv(given.table) if given.table else collect(given.folder)
    bases = list(dict.fromkeys(table["base"]))
    passes = table[table["measure"] == "pass_at_8"]
    for base in bases:
        seeds = sorted(table[(table["base"] == base) & (table["measure"] == "correct")]["seed"].unique())
        support = passes[passes["base"] == base].groupby(["task", "stage"])[["mean", "chance"]].mean()
        told = ", ".join(f"{task} {stage} {cell['mean']:.2f}" for (task, stage), cell in support.iterrows())
        print(f"{base}: seeds {seeds}; pass@8, mean over seeds: {told}")
        rule = support["mean"].unstack()
        for task in [task for task in TASKS if task in rule.index]:
            rare = rule.loc[task, "open"] <= evaluation_probe.NEARLY_ZERO
            known = max(rule.loc[task, stage] for stage in CLOSED) > evaluation_probe.NEARLY_ZERO
            print(f"  the rule for {task}: {'curriculum' if rare and known else 'no curriculum'}")
    misled, pocket = (next((b for b in bases if ("misled" in b) == wanted), "") for wanted in (True, False))
    show([found for found in hypotheses(table, misled, pocket) if found["seeds"]])
    if given.output:
        table.round(4).to_csv(given.output, index=False, lineterminator="\n")
        for base in bases:
            figure = plots_study.gains(gains(table, base))
            figure.savefig(given.output.with_name(f"{given.output.stem}_{base}.png"), dpi=160)


if __name__ == "__main__":
    main()
