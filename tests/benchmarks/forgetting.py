"""Does general ability fall during reinforcement learning, and does phase 2 win it back? Over seeds, by a fixed rule.

    python tests/benchmarks/forgetting.py --table notebooks/results/pocket_seeds.csv       what the demo's seeds say
    python tests/benchmarks/forgetting.py --condition clean [--seeds 21 22 23 24 25] [--output FILE.csv]

Compared are `base`, `curr_rl` (three stages of reinforcement learning on detection, classification and counting, never
on general questions) and `curr_reft` (then phase 2 on the model's own best answers to general questions of the pool).
What is there already is not run again.

Why three conditions. In `demo` the base is the model that sloppy annotators spoiled. Their habits (colours confused)
hurt its general answers, too, so that unlearning them on three tasks *raises* general accuracy: nothing can be said
about forgetting where the same thing is being repaired. Hence

    demo    `pocket`, as `make demo` trains it: 50 steps a stage, learning rate 1e-3, detection paid by the hard reward
    clean   `pocket-clean`, the model before the sloppy annotators, 60 steps a stage: nothing to unlearn, all to lose
    harsh   `pocket-clean`, 120 steps a stage at 3e-3: as rough as one gets while tuning; steps of 2e-3 in long stages
            were seen to destroy earlier skills

In `clean` and `harsh` detection is paid by the soft reward, the overlap.

The hypotheses, laid down before any of `clean` and `harsh` was run (those of `demo` are the demo's own):

1. Forgetting: general accuracy after reinforcement learning (natural) lies below that of the base with the format
   forced (so that mere tags count for neither side). Expected: no in `demo`, no in `clean` (a few hundredths at most),
   yes in `harsh`.
2. Recovery: phase 2 raises general accuracy (natural, `curr_reft` minus `curr_rl`).
3. Kept: in none of the three tasks does phase 2 cost more than 0.05 (the same difference, its interval above -0.05).

Each is a mean of differences, one a seed, with a 95 % interval by Student's t over at least three seeds: 1 holds in a
split if the interval lies below zero, 2 if it lies above zero, 3 as said. Phase 2 "does what it is for" in a condition
if in one split 1 and 2 both hold, and 3 holds in all six cells. Where 1 fails there was nothing to win back, and a gain
in 2 is a gain, not a recovery. Measured is the share of open questions answered right on `test_id` and
`test_ood`, 200 a cell (the demo: 100). That none of them is in the pool, by the pixels of its picture or, where it has
none, by its words, is read from the data's manifest, and a seed where it is not so stops the script. Every seed that
was started is reported.
"""

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from currreft_nb.core.samples import TRAINED_TASKS
from currreft_nb.data.folder import leaks

ROOT = Path(__file__).resolve().parents[2]
CURRREFT = str(Path(sys.executable).with_name("currreft"))
SEEDS = (21, 22, 23, 24, 25)
SPLITS = ("test_id", "test_ood")
MARGIN = 0.05
CONDITIONS = {  # model, steps a stage, learning rate
    "clean": ("pocket-clean", 60, 1e-3),
    "harsh": ("pocket-clean", 120, 3e-3),
}
EXPERIMENT = """
shared: {{model: {model}, data: "@curate", seed: {seed}, validation_questions: 0, detection_reward: soft}}
steps:
  - name: curate
    notebook: 01_data_curation
    params: {{train_questions: 480, val_questions: 1, test_questions: 200, pool_questions: 150}}
  - {{name: binary, notebook: 02_rl_binary, params: {{start_from: base, steps: {steps}, learning_rate: {rate}}}}}
  - {{name: choice, notebook: 03_rl_choice, params: {{start_from: "@binary", steps: {steps}, learning_rate: {rate}}}}}
  - {{name: open, notebook: 04_rl_open, params: {{start_from: "@choice", steps: {steps}, learning_rate: {rate}}}}}
  - {{name: reject, notebook: 05_rejection_sampling, params: {{start_from: "@open", questions: 150, completions: 8}}}}
  - name: evaluate
    notebook: 06_evaluation
    params:
      arms: [base, curr_rl, curr_reft]
      start_from: [base, "@open", "@reject"]
      questions: 200
      samples_per_question: 0
"""


def run_seed(condition: str, seed: int) -> pd.DataFrame:
    """Run a condition with one seed, or finish it; return its scores with the seed in a column of its own."""
    model, steps, rate = CONDITIONS[condition]
    name = f"forgetting_{condition}_{seed}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"  # an experiment's folder is named after its file
        file.write_text(EXPERIMENT.format(model=model, steps=steps, rate=rate, seed=seed))
        done = subprocess.run([CURRREFT, "run", str(file)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"seed {seed}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    outputs = ROOT / "outputs" / name
    check_apart(outputs / "curate" / "data")
    print(f"{condition}, seed {seed} is done", flush=True)
    return pd.read_csv(outputs / "evaluate" / "scores.csv").assign(seed=seed)


def check_apart(folder: Path) -> None:
    """Stop if a test question is in the pool: the same picture, or the same words without one."""
    shared = leaks(folder)
    for row in shared.itertuples():
        if "pool" in row.splits and "test" in row.splits and row.leak:
            sys.exit(f"{folder}: {row.splits} share questions; nothing can be said about what is held out")


def differences(results: pd.DataFrame, tasks: tuple[str, ...], one: tuple, other: tuple) -> pd.DataFrame:
    """Return a row per task and split: the mean over seeds of `one` minus `other` (arm, mode), low and high."""
    means = results.set_index(["arm", "mode", "task", "split", "seed"])["mean"].sort_index()
    rows = []
    for task in tasks:
        for split in SPLITS:
            found = means.loc[(*one, task, split)] - means.loc[(*other, task, split)]
            low, high = ttest_1samp(found, 0).confidence_interval(0.95) if found.std() else (found.mean(), found.mean())
            row = {"task": task, "split": split, "mean": found.mean(), "low": low, "high": high}
            rows.append(row | {"seeds": found.tolist()})
    return pd.DataFrame(rows)


def verdict(results: pd.DataFrame) -> str:
    """Return the three hypotheses with their intervals, and whether phase 2 does what it is for."""
    base, after, second = ("base", "forced"), ("curr_rl", "natural"), ("curr_reft", "natural")
    forgotten = differences(results, ("general",), after, base)
    recovered = differences(results, ("general",), second, after)
    kept = differences(results, TRAINED_TASKS, second, after)
    learnt = differences(results, TRAINED_TASKS, after, base)
    both = (forgotten["high"] < 0) & (recovered["low"] > 0)
    fine = (kept["low"] > -MARGIN).all()
    parts = [
        ("0. what reinforcement learning brought in the tasks (no hypothesis)", learnt, None),
        ("1. forgetting: general, after reinforcement learning minus before", forgotten, forgotten["high"] < 0),
        ("2. recovery: general, after phase 2 minus before it", recovered, recovered["low"] > 0),
        ("3. kept: the tasks, after phase 2 minus before it", kept, kept["low"] > -MARGIN),
    ]
    lines = [line for title, rows, holds in parts for line in [title, *describe(rows, holds)]]
    return "\n".join([*lines, f"phase 2 does what it is for: {'yes' if both.any() and fine else 'no'}"])


def describe(rows: pd.DataFrame, holds: pd.Series | None) -> list[str]:
    """Return the differences as lines of a table."""
    lines = []
    for place, row in enumerate(rows.itertuples()):
        each = " ".join(f"{value:+.2f}" for value in row.seeds)
        word = "" if holds is None else "holds" if holds[place] else "does not hold"
        lines.append(
            f"  {row.task:<15}{row.split:<9}{row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]  {word:<14}{each}"
        )
    return lines


def main() -> None:
    """Run or read, compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--condition", choices=CONDITIONS, default="clean")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run at the same time")
    parser.add_argument("--table", type=Path, help="read the scores from this CSV file instead of running anything")
    parser.add_argument("--output", type=Path, help="CSV file to write the scores to")
    given = parser.parse_args()
    if given.table:
        print(verdict(pd.read_csv(given.table)))
        return
    if len(set(given.seeds)) < 3:
        parser.error("an interval over fewer than three seeds says nothing")
    with ThreadPoolExecutor(given.jobs) as pool:
        results = pd.concat(pool.map(partial(run_seed, given.condition), given.seeds), ignore_index=True)
    kept = results[(results["stage"] == "open") & (results["measure"] == "correct")]
    if given.output:
        columns = ["seed", "arm", "mode", "task", "split", "n", "mean"]
        kept[columns].round(4).to_csv(given.output, index=False, lineterminator="\n")
    print(verdict(kept))


if __name__ == "__main__":
    main()
