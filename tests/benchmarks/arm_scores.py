"""What every arm of an experiment scored: the table kept in notebooks/results.

    python tests/benchmarks/arm_scores.py params/ablation.yaml [--output notebooks/results/ablation.csv]

Reads the complete evaluations in the experiment's folder under outputs/, or a CSV that an earlier call wrote. Prints,
for each arm, the share of open test questions that it answered right, naturally: the mean over the seeds, in-domain /
out-of-domain. `--output` writes a row per seed, arm, task and split, with the number of questions.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["seed", "arm", "task", "split", "n", "mean"]
SPLITS = ("test_id", "test_ood")
COMPLETE = ("06_evaluation", "complete")  # notebook and status


def evaluations(folder: Path) -> list[tuple[Path, dict]]:
    """Return the complete evaluations in an experiment's folder: the folder of each, and its run.json.

    Ends the program if there is none.
    """
    records = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/run.json"))}
    found = [item for item in records.items() if (item[1]["notebook"], item[1]["status"]) == COMPLETE]
    if not found:
        sys.exit(f"{folder} holds no complete evaluation; run the experiment first")
    return found


def collect(folder: Path) -> pd.DataFrame:
    """Return the rows of all complete evaluations in an experiment's folder."""
    tables = [
        pd.read_csv(step / "scores.csv").assign(seed=record["settings"]["seed"]) for step, record in evaluations(folder)
    ]
    scores = pd.concat(tables, ignore_index=True)
    kept = scores.query("measure == 'correct' and mode == 'natural' and stage == 'open' and split in @SPLITS")
    return kept[COLUMNS].round(4)


def in_and_out(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row per arm and a column per task: means over the seeds, in-domain / out-of-domain."""
    means = scores.groupby(["arm", "task", "split"], sort=False)["mean"].mean().unstack("split")
    shown = means.apply(lambda row: " / ".join(f"{row[split]:.2f}" for split in SPLITS), axis=1)
    return shown.unstack("task").reindex(index=scores["arm"].unique(), columns=scores["task"].unique())


def each_seed(scores: pd.DataFrame, task: str) -> pd.Series:
    """Return for each arm its in-domain scores in a task, in the order of the seeds."""
    found = scores.query("task == @task and split == 'test_id'").sort_values("seed")
    return found.groupby("arm")["mean"].apply(lambda means: " ".join(f"{mean:.2f}" for mean in means))


def main() -> None:
    """Collect, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the experiment's file, such as params/ablation.yaml, or a CSV")
    parser.add_argument("--output", type=Path, help="CSV file for the rows")
    given = parser.parse_args()
    scores = pd.read_csv(given.file) if given.file.suffix == ".csv" else collect(ROOT / "outputs" / given.file.stem)
    print(in_and_out(scores).assign(detection_by_seed=each_seed(scores, "detection")).to_string())
    if given.output:
        scores.to_csv(given.output, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
