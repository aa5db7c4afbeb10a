"""The map of params/sparse_map.yaml: where does a curriculum of forms pay, and what predicts it?

    python tests/benchmarks/sparse_map.py [--table CSV] [--output CSV]

Reads the complete evaluations of outputs/sparse_map, or with `--table` what an earlier call wrote, and prints every
hypothesis that stands in the experiment's file: its cells, the mean difference over the seeds, and the verdict.
`--output` writes the scores as tidy CSV, with the map as a figure of the same name. Scores that the CSV has and the
folder lacks are kept, so that the study can be run in parts. Written to notebooks/results/sparse_map.csv, the table
that `currreft probe` compares with is written, too.

A row of the CSV is a setting (hard, soft, listing), base (the share of open questions that its annotators answered
correctly), seed, arm, budget in steps (0: before training), split, measure, number of questions, and mean. Measures are
`correct` (natural, greedy, open questions) and for the base, on validation questions by form, `pass_at_1`, `pass_at_8`
and `contrast` (the share of groups of eight answers that hold right and wrong ones). For lists `thought` is the share
of open questions whose think block holds the right list, and `closed` the share answered by a word of a closed form,
such as `no`; both only where `thought` is more than `LEAST` above `correct`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from arm_scores import evaluations
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import Sample
from currreft_nb.data.folder import load_samples
from currreft_nb.evaluation.advice import MOSTLY, OUTCOMES, failed_share, near_runs
from currreft_nb.method.rewards import score
from currreft_nb.metrics.comparisons import holm
from currreft_nb.models.weights import pocket_card
from currreft_nb.views import plot_style as style

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "outputs" / "sparse_map"
KEPT = ROOT / "notebooks" / "results"
RESULTS = KEPT / "sparse_map.csv"
COLUMNS = ["setting", "base", "seed", "arm", "budget", "stage", "split", "measure", "n", "mean"]
SETTINGS = {
    "hard": "detection, hard reward",
    "soft": "detection, soft reward",
    "listing": "a list of four places, all or nothing",
}
BUDGETS = (30, 60, 120, 240)
PROMPTS_PER_STEP = GROUP_SIZE = 8
SPLITS = {"test_id": "in-domain", "test_ood": "out-of-domain"}
LEAST = 0.1  # a smaller mean difference is no win
LEVEL = 0.05
CLOSED = ("yes", "no", *"abcd")
ALL_OR_NOTHING = ("hard", "listing")
DEEP, SHALLOW = (0.001, 0.004), 0.2
PREDICTORS = {
    "pass@8 of open answers": lambda cell: cell["pass_at_8"],
    "right answers expected": lambda cell: cell["pass_at_1"] * cell["budget"] * PROMPTS_PER_STEP * GROUP_SIZE,
    "groups with contrast expected": lambda cell: cell["contrast"] * cell["budget"] * PROMPTS_PER_STEP,
}


def collect(folder: Path) -> pd.DataFrame:
    """Return the rows of every complete evaluation in the experiment's folder."""
    return pd.concat([_rows(*found) for found in evaluations(folder)], ignore_index=True)[COLUMNS]


def _rows(folder: Path, record: dict) -> pd.DataFrame:
    base = float(record["settings"]["model"].rpartition("-")[2])
    family = folder.name.partition("_")[0]
    data = folder / record["inputs"][0]["path"] / "data" if family == "listing" else None
    table = _support(folder) if folder.name.startswith(f"{family}_support") else _scores(folder, data)
    parts = [table.assign(setting="hard" if family == "detection" else family)]
    if family == "detection":  # base and imitation do not depend on the reward
        parts.append(table[table["arm"].isin(["base", "sft"])].assign(setting="soft"))
    return pd.concat(parts).assign(base=base, seed=record["settings"]["seed"])


def _support(folder: Path) -> pd.DataFrame:
    passes = pd.read_csv(folder / "passes.csv").set_index(["stage", "k"])
    rows = []
    for stage in dict.fromkeys(passes.index.get_level_values("stage")):
        values = {"pass_at_1": passes.loc[(stage, 1), "pass_at_k"], "pass_at_8": passes.loc[(stage, 8), "pass_at_k"]}
        values["contrast"] = passes.loc[(stage, 8), "contrast"]
        n = int(passes.loc[(stage, 8), "questions"])
        rows += [{"stage": stage, "measure": name, "mean": mean, "n": n} for name, mean in values.items()]
    return pd.DataFrame(rows).assign(arm="base", budget=0, split="val")


def _scores(folder: Path, data: Path | None) -> pd.DataFrame:
    """Return the rows of an evaluation's scores; with the data of lists also `thought` and `closed`."""
    table = pd.read_csv(folder / "scores.csv").query("measure == 'correct' and mode == 'natural'").copy()
    if data:
        table = pd.concat([table, _thoughts(folder, data, table)])
    named = table["arm"].str.extract(r"(?P<arm>.*?)(?:_(?P<budget>\d+))?$")
    return table.assign(arm=named["arm"], budget=pd.to_numeric(named["budget"]).fillna(0).astype(int))


def _thoughts(folder: Path, data: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `scores` as `thought` and `closed`, where the first is clearly above the right answers."""
    samples = {(split, sample.id): sample for split in SPLITS for sample in load_samples(data, split, "open")}
    records = pd.read_json(folder / "records.jsonl", lines=True).query("mode == 'natural'").copy()
    texts = zip(records["split"], records["id"], records["completion"])
    records["thought"], records["closed"] = zip(*(_thought(samples[split, name], text) for split, name, text in texts))
    table = scores.join(records.groupby(["arm", "split"])[["thought", "closed"]].mean(), on=["arm", "split"])
    table = table[table["thought"] > table["mean"] + LEAST]
    return pd.concat([table.assign(measure=name, mean=table[name]) for name in ("thought", "closed")])


def _thought(sample: Sample, completion: str) -> tuple[bool, bool]:
    """Return whether the think block holds the right answer, and whether the answer is a word of a closed form."""
    parsed = parse_completion(completion)
    right = score(sample, f"<answer>{parsed.thinking or ''}</answer>").value == 1
    return right, (parsed.answer or "").strip(" []").lower() in CLOSED


def differences(table: pd.DataFrame, setting: str, one: str, other: str, split: str = "test_id") -> pd.DataFrame:
    """Return a row per base and budget: `one` minus `other`, the mean over seeds, its interval, and p.

    `seeds`: the differences behind the mean. `p` is two-sided, of Student's t; nan for fewer than two seeds.
    """
    cells = table[(table["setting"] == setting) & (table["split"] == split) & (table["measure"] == "correct")]
    wide = cells.pivot_table(index=["base", "budget", "seed"], columns="arm", values="mean")
    if not {one, other} <= set(wide):
        return pd.DataFrame()
    gains = (wide[one] - wide[other]).dropna()
    rows = []
    for (base, budget), values in gains.groupby(level=["base", "budget"]):
        found = {"setting": setting, "split": split, "base": base, "budget": budget, "mean": values.mean()}
        rows.append(found | spread(values) | {"seeds": values.round(4).tolist()})
    return pd.DataFrame(rows)


def spread(values: pd.Series) -> dict:
    """Return the 95 % interval of a mean over seeds (Student's t) and the two-sided p; nan for fewer than two seeds."""
    if len(values) < 2:
        return {"low": np.nan, "high": np.nan, "p": np.nan}
    if values.std(ddof=1) < 1e-12:  # all seeds alike, as where no arm learns anything
        return {"low": values.mean(), "high": values.mean(), "p": float(abs(values.mean()) < 1e-12)}
    test = ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    return {"low": low, "high": high, "p": test.pvalue}


def better(rows: pd.DataFrame) -> pd.Series:
    """Return which cells are wins: a mean above `LEAST`, and p below `LEVEL` after Holm's correction for the rows."""
    return (rows["mean"] > LEAST) & (holm(rows["p"].to_numpy()) < LEVEL)


def hypotheses(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each hypothesis: what it speaks of, the number of cells, those that are better, the verdict."""
    rows = []

    def add(name: str, what: str, cells: pd.DataFrame, wanted: bool) -> None:
        cells = cells[cells["p"].notna()] if len(cells) else cells  # one seed alone shows nothing
        if cells.empty:
            rows.append({"hypothesis": name, "what": what, "cells": 0, "better": 0, "verdict": "no data"})
            return
        wins = int(better(cells).sum())
        verdict = "holds" if (wins > 0) == wanted else "does not hold"
        rows.append({"hypothesis": name, "what": what, "cells": len(cells), "better": wins, "verdict": verdict})

    def curriculum(setting: str, over: str = "rl") -> pd.DataFrame:
        return differences(table, setting, "curr_rl", over)

    hard = pd.concat([curriculum(setting) for setting in ALL_OR_NOTHING])
    every = pd.concat([curriculum(setting) for setting in SETTINGS])
    add("H1", "hard and listing, deep bases: curr_rl - rl", hard[hard["base"].isin(DEEP)], True)
    add("H2", "all settings, base 0.2: curr_rl - rl", every[every["base"] == SHALLOW], False)
    add("H3", "soft: curr_rl - rl", curriculum("soft"), False)
    mixed = pd.concat([curriculum(setting, "mixed") for setting in ALL_OR_NOTHING])
    add("H4", "hard and listing: curr_rl - mixed", mixed, False)
    rows.append(_catching_up(curriculum("hard")))
    arms = [(setting, arm) for setting in SETTINGS for arm in ("rl", "curr_rl")]
    over_sft = pd.concat([differences(table, setting, arm, "sft", "test_ood") for setting, arm in arms])
    add("H6", "out-of-domain: rl or curr_rl - sft", over_sft, False)
    return pd.DataFrame(rows)


def _catching_up(cells: pd.DataFrame) -> dict:
    """Return the row of H5: whether the advantage at 240 steps is smaller where there is one at 60."""
    found = {
        "hypothesis": "H5",
        "what": "hard: the advantage at 240 steps is smaller than at 60",
        "cells": 0,
        "better": 0,
    }
    if cells.empty:
        return found | {"verdict": "no data"}
    early = cells[(cells["budget"] == 60)].assign(win=lambda part: better(part)).query("win").set_index("base")["mean"]
    late = cells[cells["budget"] == 240].set_index("base")["mean"].reindex(early.index)
    smaller = int((late < early).sum())
    verdict = "no such cell" if early.empty else "holds" if smaller == len(early) else "does not hold"
    return found | {"cells": len(early), "better": smaller, "verdict": verdict}


def cells_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return every cell of the map: the advantage of the curriculum, and the support of the base, pooled over seeds."""
    support = table[(table["split"] == "val") & (table["stage"] == "open")]
    support = support.pivot_table(index=["setting", "base"], columns="measure", values="mean")
    found = [differences(table, setting, "curr_rl", "rl") for setting in SETTINGS]
    return pd.concat(found).merge(support, left_on=["setting", "base"], right_index=True)


def outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the packaged table of `evaluation.advice`: a row per run of an all-or-nothing reward, an arm a column.

    The open detection of the demo, `losses` and `ablation` stands beside the map; their base is hardly ever right.
    """
    right = table[(table["split"] == "test_id") & (table["measure"] == "correct") & (table["budget"] > 0)]
    keys = ["setting", "base", "seed", "budget"]
    wide = right.pivot_table(index=keys, columns="arm", values="mean").reset_index()
    soft = wide[wide["setting"] == "soft"].assign(setting="hard").set_index(keys)["rl"].rename("soft_rl")
    runs = wide[wide["setting"].isin(ALL_OR_NOTHING)].join(soft, on=keys)
    contrast = cells_of(table).set_index(["setting", "base", "budget"])["contrast"].rename("groups")
    runs = runs.join(contrast, on=["setting", "base", "budget"])
    runs["groups"] *= runs["budget"] * PROMPTS_PER_STEP
    runs = pd.concat([runs, *other_runs()], ignore_index=True)
    return runs[[*keys, "groups", "rl", "curr_rl", "mixed", "soft_rl", "sft"]].round(3)


def other_runs() -> list[pd.DataFrame]:
    """Return runs of open detection from the base `pocket`; `budget`: steps by the task's share of the questions."""
    demo = pd.read_csv(KEPT / "pocket_seeds.csv").query("mode == 'natural'")
    ablation = pd.read_csv(KEPT / "ablation.csv")
    losses = pd.read_csv(KEPT / "pocket_losses_runs.csv").replace({"arm": {"grpo": "rl"}})
    losses = losses.assign(task="detection", split="test_id", mean=losses["test_id"])
    contrast = pocket_card()["pocket, sampled"]["id"]["detection"]["open"]["groups that disagree"]
    found = []
    for setting, scores, steps in (("demo", demo, 50), ("ablation", ablation, 40), ("losses", losses, 60)):
        scores = scores.query("task == 'detection' and split == 'test_id'")
        wide = scores.pivot_table(index="seed", columns="arm", values="mean").reset_index()
        groups = contrast * steps * PROMPTS_PER_STEP
        found.append(wide.assign(setting=setting, base="pocket", budget=steps, groups=groups))
    return found


def predictions(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return for each predictor the wrong cells among those held out, base by base, and the limits from all cells.

    A predictor says "the curriculum wins" below a limit, or between two: the second rule was added when the first
    results had shown that it loses its use at both ends. `currreft probe` has no limits: it looks at the `runs` (of
    `outcomes`) with about as many groups with contrast. A cell wins if its mean difference is above `LEAST`. There are
    no rows for fewer than two bases.
    """
    known = cells[cells["setting"].isin(ALL_OR_NOTHING)]
    bases = list(zip(known["setting"], known["base"]))
    if len(set(bases)) < 2:
        return pd.DataFrame(columns=["predictor", "rule", "low", "high", "held_out_wrong", "cells"])
    wins = (known["mean"] > LEAST).to_numpy()
    rows = []
    for name, predictor in PREDICTORS.items():
        values = predictor(known).to_numpy(dtype=float)
        for rule in ("below", "between"):
            wrong = 0
            for base in dict.fromkeys(bases):
                left_out = np.array([other == base for other in bases])
                low, high = window(values[~left_out], wins[~left_out], rule)
                wrong += int((_inside(values[left_out], low, high) != wins[left_out]).sum())
            low, high = window(values, wins, rule)
            rows.append({"predictor": name, "rule": rule, "low": low, "high": high, "held_out_wrong": wrong})
    near = [_wins_near(runs, row) for row in known.to_dict("records")]
    rows.append({"predictor": name, "rule": "near runs", "held_out_wrong": int((np.array(near) != wins).sum())})
    always = min(int(wins.sum()), int((~wins).sum()))
    rows.append({"predictor": "always the same answer", "rule": "", "held_out_wrong": always})
    return pd.DataFrame(rows).assign(cells=len(known))


def _wins_near(runs: pd.DataFrame, cell: dict) -> bool:
    """Return whether, of other bases' runs with about as many groups with contrast, `rl` mostly failed alone."""
    others = runs[(runs["setting"] != cell["setting"]) | (runs["base"] != cell["base"])]
    near = near_runs(cell["contrast"] * cell["budget"] * PROMPTS_PER_STEP, others)
    return failed_share(near, "rl") >= MOSTLY > failed_share(near, "curr_rl")


def window(values: np.ndarray, wins: np.ndarray, rule: str) -> tuple[float, float]:
    """Return the limits, each midway between two values, between which most cells are wins and outside fewest are.

    `rule`: below, where the lower limit is minus infinity, or between.

    >>> window(np.array([1.0, 2.0, 5.0, 9.0]), np.array([False, True, True, False]), "between")
    (1.5, 7.0)
    """
    known = np.unique(values)
    limits = [known[0] - 1, *((known[1:] + known[:-1]) / 2), known[-1] + 1]
    tried = [(low, high) for low in (limits if rule == "between" else [-np.inf]) for high in limits]
    low, high = min(tried, key=lambda limit: int((_inside(values, *limit) != wins).sum()))
    return float(low), float(high)


def _inside(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (low < values) & (values < high)


def draw(cells: pd.DataFrame) -> Figure:
    """Draw where the curriculum wins, ties and loses, over the share of groups with a signal and the budget."""
    drawn = {setting: title for setting, title in SETTINGS.items() if setting in set(cells["setting"])}
    figure, axes = style.panels(1, len(drawn), width=4.6, height=3.6, sharey=True)
    for axis, (setting, title) in zip(axes, drawn.items()):
        part = cells[cells["setting"] == setting].copy()
        significant = better(part) if part["p"].notna().any() else pd.Series(False, part.index)
        lost = better(part.assign(mean=-part["mean"])) if part["p"].notna().any() else significant
        order = {base: place for place, base in enumerate(sorted(part["base"].unique()))}
        for row, win, loss in zip(part.to_dict("records"), significant, lost):
            x, y = order[row["base"]], BUDGETS.index(row["budget"])
            colour = style.BLUE if win else style.RED if loss else style.GREY
            size = 40 + 500 * min(1.0, abs(row["mean"]))
            axis.scatter(x, y, s=size, color=colour, alpha=0.25 if colour == style.GREY else 0.5, linewidths=0)
            interval = "" if np.isnan(row["low"]) else f"\n{row['low']:+.2f}, {row['high']:+.2f}"
            axis.annotate(f"{row['mean']:+z.2f}", (x, y), ha="center", va="center", fontsize=8)
            axis.annotate(interval, (x, y), ha="center", va="top", fontsize=5.5, color=style.BLACK, xytext=(0, 1),
                          textcoords="offset points")  # fmt: skip
        signal = part.drop_duplicates("base").set_index("base")["contrast"]
        style.dress(axis, title, percent="", xlabel="base, and its share of groups with contrast")
        axis.set_xticks(list(order.values()), [f"{base:g}\n{signal[base]:.2%}" for base in order])
        axis.set_yticks(range(len(BUDGETS)), [f"{budget} steps" for budget in BUDGETS])
        axis.set(xlim=(-0.6, len(order) - 0.4), ylim=(-0.6, len(BUDGETS) - 0.4))
    style.caption(
        figure,
        "curriculum minus open questions only, in-domain\nbelow: 95 % interval over seeds\n"
        "blue: better, red: worse, grey: neither shown, corrected for the number of cells",
    )
    return figure


def show(table: pd.DataFrame) -> None:
    """Print the cells, the verdicts and the predictors."""
    cells = cells_of(table)
    seeds = sorted(map(int, table["seed"].unique()))
    print(f"seeds {seeds}")
    columns = ["setting", "base", "budget", "pass_at_1", "contrast", "mean", "low", "high", "seeds"]
    print(cells[columns].to_string(index=False, float_format="%.4g"))
    print(hypotheses(table).to_string(index=False))
    print(predictions(cells, outcomes(table)).to_string(index=False, float_format="%.3g"))


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the new rows, and the old ones that they do not replace."""
    keys = COLUMNS[:8]
    both = pd.concat([old, new], ignore_index=True)
    return both.drop_duplicates(keys, keep="last").sort_values(keys, kind="stable")


def main() -> None:
    """Collect or read, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the experiment's folder")
    parser.add_argument("--table", type=Path, help="judge this CSV instead of the experiment's folder")
    parser.add_argument("--output", type=Path, help="CSV file to write or to add to; the map is drawn beside it")
    given = parser.parse_args()
    table = pd.read_csv(given.table) if given.table else collect(given.folder)
    if given.output and given.output.is_file() and not given.table:
        table = merged(pd.read_csv(given.output), table)
    show(table)
    if given.output:
        table.round(5).to_csv(given.output, index=False, lineterminator="\n")
        if given.output.resolve() == RESULTS:
            outcomes(table.round(5)).to_csv(OUTCOMES, index=False, lineterminator="\n")
        draw(cells_of(table)).savefig(given.output.with_suffix(".png"), dpi=140)


if __name__ == "__main__":
    main()
