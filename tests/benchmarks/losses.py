"""The table of params/losses.yaml: what each loss, scale and way of sampling does on one hard cell.

    python tests/benchmarks/losses.py [--folder DIR | --table CSV] [--output CSV]

Reads the complete evaluations of outputs/losses, and the trainings that they scored, or the runs that an earlier call
wrote. `--output` writes the table, and each run beside it as <name>_runs.csv, for `--table`. A row per arm: the seeds,
the mean of natural accuracy on open questions, in-domain and out-of-domain, the difference to `grpo` in-domain, the
questions drawn, the steps taken, and over the last tenth of the steps silent groups, entropy and contradictions. Means
have 95 % intervals between seeds (Student's t). Hypotheses are in the head of the experiment's file.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from arm_scores import evaluations
from sparse_map import spread

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "outputs" / "losses"
SPLITS = ("test_id", "test_ood")
MEASURED = ("prompts", "steps", "zero_variance", "entropy", "contradiction")  # of a training, from its run.json


def collect(folder: Path) -> pd.DataFrame:
    """Return a row per seed and arm: accuracy by split, and what its training measured."""
    rows = []
    for step, record in evaluations(folder):
        scores = pd.read_csv(step / "scores.csv")
        scores = scores.query("measure == 'correct' and mode == 'natural' and stage == 'open' and task != 'general'")
        for arm, start in zip(record["settings"]["arms"], record["settings"]["start_from"]):
            mine = scores[scores["arm"] == arm].groupby("split")["mean"].mean()
            found = {"seed": record["settings"]["seed"], "arm": arm, **mine.reindex(SPLITS).to_dict()}
            if start != "base":
                metrics = json.loads((folder / Path(start).name / "run.json").read_text(encoding="utf-8"))["metrics"]
                found |= {name: metrics.get(name) for name in MEASURED}
            rows.append(found)
    return pd.DataFrame(rows)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per arm: means over the seeds, intervals of accuracy and of its difference to `grpo`."""
    known = runs.set_index(["arm", "seed"])
    rows = []
    for arm in dict.fromkeys(runs["arm"]):
        mine = known.loc[arm]
        found = {"arm": arm, "seeds": len(mine)}
        for name in SPLITS:
            found |= _interval(name, mine[name])
        found |= _interval("to_grpo", (mine["test_id"] - known.loc["grpo"]["test_id"]).dropna())
        rows.append(found | {name: pd.to_numeric(mine[name]).mean() for name in MEASURED})
    return pd.DataFrame(rows)


def _interval(name: str, values: pd.Series) -> dict:
    found = spread(values)
    return {name: values.mean(), f"{name}_low": found["low"], f"{name}_high": found["high"]}


def main() -> None:
    """Collect, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the experiment's folder")
    parser.add_argument("--table", type=Path, help="the runs in this CSV instead of the experiment's folder")
    parser.add_argument("--output", type=Path, help="CSV file for the table")
    given = parser.parse_args()
    runs = pd.read_csv(given.table) if given.table else collect(given.folder)
    table = summary(runs)
    print(table.round(3).to_string(index=False))
    if given.output:
        runs.to_csv(given.output.with_name(f"{given.output.stem}_runs.csv"), index=False, lineterminator="\n")
        table.round(4).to_csv(given.output, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
