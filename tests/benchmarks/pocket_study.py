"""The verdicts of params/pocket_study.yaml: when does a curriculum of forms help, and what is forgotten?

    python tests/benchmarks/pocket_study.py [--table CSV] [--output CSV]

Reads the complete runs of outputs/pocket_study (or, with `--table`, what an earlier call wrote), takes each hypothesis
that stands in the experiment's file, and prints the difference that it speaks of: the mean over the seeds, its 95 %
interval (Student's t, one difference a seed) and each seed's own. Seeds and bases that are not complete are left out,
and counted. `--output` writes the scores as tidy CSV, with a figure of the same name: a row per base, seed, arm, mode,
task, stage and split, the support of the bases as measure pass_at_8, and a recipe: a hash of what the experiment's
file says, comments apart, and of the base's weights. Of the format-forced scores only the base's are kept.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pandas as pd
import yaml
from scipy.stats import ttest_1samp

from currreft_nb.evaluation.pass_at_k import NEARLY_ZERO
from currreft_nb.views import score_plots

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
            table = table[table["task"].isin(TASKS)].assign(measure="pass_at_8", split="val", mode="natural")
        else:
            table = pd.read_csv(path.parent / "scores.csv").query("measure == 'correct'").assign(chance=None)
        known = {"base": Path(record["settings"]["model"]).name, "seed": record["settings"]["seed"]}
        tables.append(table.assign(recipe=_recipe(path.parent), **known))
    if not tables:
        sys.exit(f"{folder} holds no complete evaluation; run params/pocket_study.yaml first")
    table = pd.concat(tables, ignore_index=True)[COLUMNS]
    return table[(table["mode"] == "natural") | (table["arm"] == "base")]


def _recipe(folder: Path) -> str:
    with (folder / "records.jsonl").open(encoding="utf-8") as stream:
        weights = json.loads(next(stream))["author"].split()[0]
    said = json.dumps([yaml.safe_load(FILE.read_text(encoding="utf-8")), weights], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


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


def rule(table: pd.DataFrame, base: str, task: str) -> bool:
    """Return whether the rule promises anything of a curriculum: open answers are about never right, closed ones are.

    It is read from pass@8 of the bare base, a mean over the seeds.
    """
    passes = table[(table["measure"] == "pass_at_8") & (table["base"] == base) & (table["task"] == task)]
    means = passes.groupby("stage")["mean"].mean()
    return bool(means["open"] <= NEARLY_ZERO < means[list(CLOSED)].max())


def hypotheses(table: pd.DataFrame) -> list[dict]:
    """Return a row for each hypothesis, base and task: the difference that it speaks of, and whether it holds."""
    rows = []

    def add(name: str, what: str, values: pd.Series, expected: bool = True) -> None:
        if len(values):
            found = row(values, hypothesis=name, what=what)
            better = found["low"] is not None and found["low"] > 0
            found["verdict"] = "holds" if better == expected else "does not hold"
            rows.append(found)

    for base in dict.fromkeys(table["base"]):
        for task in TASKS:
            place, here = f"{base}, {task}", (task, "open", "test_id")
            promised = rule(table, base, task)
            first = difference(table, base, here, "curr_rl_60", "rl_60")
            add("H1", f"{place}: curr_rl_60 - rl_60 (the rule: {'yes' if promised else 'no'})", first, promised)
            if promised:
                later = difference(table, base, here, "curr_rl_120", "rl_120")
                add("H2", f"{place}: the same - that after 120 steps", (first - later).dropna())
                add("H3", f"{place}: mixed_60 - rl_60", difference(table, base, here, "mixed_60", "rl_60"))
            apart = difference(table, base, (task, "open", "test_ood"), "rl_120", "sft_120")
            add("H4", f"{place}, out-of-domain: rl_120 - sft_120", apart)
            for stage in CLOSED:
                kept = difference(table, base, (task, stage, "test_id"), "curr_rl_120", "rl_120")
                add("H5", f"{place}, {stage}: curr_rl_120 - rl_120", kept)
        kept = difference(table, base, ("general", "open", "test_id"), "curr_rl_120", "rl_120")
        add("H5", f"{base}, general: curr_rl_120 - rl_120", kept)
    return rows


def gains(table: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return what each arm gained over the base with the format forced, on open questions."""
    arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != "base"]
    return pd.DataFrame(
        row(difference(table, base, (task, "open", split), arm, "base"), arm=arm, task=task, split=split)
        for arm in arms
        for task in TASKS
        for split in ("test_id", "test_ood")
    )


def show(table: pd.DataFrame) -> None:
    """Print what each base is like, and the verdicts."""
    for base in dict.fromkeys(table["base"]):
        mine = table[table["base"] == base]
        seeds = sorted(map(int, mine[mine["measure"] == "correct"]["seed"].unique()))
        support = mine[mine["measure"] == "pass_at_8"].groupby(["task", "stage"])["mean"].mean()
        told = ", ".join(f"{task} {stage} {mean:.2f}" for (task, stage), mean in support.items())
        print(f"{base}: seeds {seeds}; pass@8, mean over seeds: {told}")
    for found in hypotheses(table):
        interval = "one seed" if found["low"] is None else f"[{found['low']:+.2f}, {found['high']:+.2f}]"
        each = " ".join(f"{value:+.2f}" for value in found["seeds"])
        start = f"{found['hypothesis']} {found['verdict']:13} {found['what']:76}"
        print(f"{start} {found['mean']:+.2f} {interval:14}  {each}")


def main() -> None:
    """Collect or read, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the experiment's folder")
    parser.add_argument("--table", type=Path, help="judge this CSV instead of the experiment's folder")
    parser.add_argument("--output", type=Path, help="CSV file; a figure for each base is drawn beside it")
    given = parser.parse_args()
    table = pd.read_csv(given.table) if given.table else collect(given.folder)
    show(table)
    if given.output:
        table.round(4).to_csv(given.output, index=False, lineterminator="\n")
        for base in dict.fromkeys(table["base"]):
            figure = score_plots.gains(gains(table[table["measure"] == "correct"], base))
            figure.savefig(given.output.with_name(f"{given.output.stem}_{base}.png"), dpi=160)


if __name__ == "__main__":
    main()
