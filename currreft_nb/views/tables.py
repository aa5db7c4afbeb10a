"""The tables of a report: plain run records and score rows in, small DataFrames and aligned text out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb.core.samples import TASKS

SPLIT_NAMES = {"val": "validation", "test_id": "in-domain", "test_ood": "out-of-domain"}
COSTS = ("prompts", "completions", "tokens", "rating_completions", "seconds")


def labelled(folders: Sequence[Path]) -> dict[str, Path]:
    """Return run folders by name; a duplicate name gets the experiment's in front.

    >>> sorted(labelled([Path("a/rl"), Path("b/rl"), Path("b/sft")]))
    ['a/rl', 'b/rl', 'sft']
    """
    names = Counter(folder.name for folder in folders)
    return {
        folder.name if names[folder.name] == 1 else f"{folder.parent.name}/{folder.name}": folder for folder in folders
    }


def by_evaluation(rows: Mapping[Path, Sequence[Mapping]]) -> list[dict]:
    """Return the rows of all evaluations; with more than one, the evaluation's name is added to each arm's.

    Two evaluations of one arm are two measurements: merged, they would look like twice as many questions.
    """
    names = {folder: name for name, folder in labelled(list(rows)).items()}
    if len(rows) == 1:
        return [dict(row) for found in rows.values() for row in found]
    return [{**row, "arm": f"{row['arm']}, {names[folder]}"} for folder, found in rows.items() for row in found]


def score_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of open questions that are right: a row per arm and mode, a column per task and split.

    `summary`: what `metrics.scores.summarise` returns. Each mean has its 95 % interval; `n` is the smallest number.
    """
    rows = []
    chosen = _correct_open(summary)
    for (arm, mode), part in chosen.groupby(["arm", "mode"], sort=False):
        found = {(row["task"], row["split"]): row for row in part.to_dict("records")}
        cells = {f"{task}, {SPLIT_NAMES[split]}": _mean(found[task, split]) for task, split in _columns(part)}
        rows.append({"arm": arm, "answers": mode, "n": int(part["n"].min()), **cells})
    return pd.DataFrame(rows)


def _mean(row: Mapping[Any, Any]) -> str:
    interval = "(too few)" if pd.isna(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['mean']:.2f} {interval}"


def _columns(rows: pd.DataFrame) -> list[tuple[str, str]]:
    known = set(zip(rows["task"], rows["split"]))
    return [(task, split) for task in TASKS for split in SPLIT_NAMES if (task, split) in known]


def _correct_open(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[(summary["stage"] == "open") & (summary["measure"] == "correct")]


def score_text(summary: pd.DataFrame) -> str:
    """Return a table for a terminal: a line per arm, a column per task and split, means as natural / forced."""
    chosen = _correct_open(summary)
    columns = _columns(chosen)
    lines = ["share of open questions answered right (a box: IoU above 0.5), natural / format forced"]
    lines.append(" " * 12 + "".join(f"{task[:9] + ' ' + SPLIT_NAMES[split][:3]:>15}" for task, split in columns))
    for arm, part in chosen.groupby("arm", sort=False):
        keys = zip(part["task"], part["split"], part["mode"])
        means = dict(zip(keys, part["mean"].map("{:.2f}".format)))
        texts = ["/".join(means.get((*column, mode), " –  ") for mode in ("natural", "forced")) for column in columns]
        lines.append(f"{arm:12}" + "".join(f"{text:>15}" for text in texts))
    return "\n".join(lines)


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison as text: a row for each, the difference with its 95 % interval, p, and the detectable size.

    `comparison`: what `metrics.comparisons.compare` returns. `n` is followed by the number of images if they differ.
    """
    columns = ["arm", "compared with", "task", "split", "n", "difference", "p", "p, Holm", "detectable"]
    return pd.DataFrame([_comparison_row(row) for row in comparison.to_dict("records")], columns=columns)


def _comparison_row(row: Mapping[Any, Any]) -> dict[str, str]:
    n, images, least = row["n"], row["clusters"], row["minimum_detectable"]
    interval = row["note"] if pd.isna(row["low"]) else f"[{row['low']:+.2f}, {row['high']:+.2f}]"
    return {
        "arm": row["arm"],
        "compared with": f"{row['other']}, {row['against_mode']}",
        "task": row["task"],
        "split": SPLIT_NAMES[row["split"]],
        "n": f"{n}" if n == images else f"{n} ({images} images)",
        "difference": f"{row['difference']:+.2f} {interval}",
        "p": _probability(row["p"]),
        "p, Holm": _probability(row["p_holm"]),
        "detectable": "–" if pd.isna(least) else f"{least:.2f}",
    }


def measure_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return every measure of natural open answers as text: a row per arm, task, split (and source), a column each.

    `summary`: what `metrics.scores.summarise` returns, by source or not.
    """
    chosen = summary[(summary["stage"] == "open") & (summary["mode"] == "natural")]
    names = [name for name in ("arm", "task", "split", "source") if name in chosen]
    rows: dict[tuple, dict[str, str]] = {}
    for *cell, measure, mean in chosen[[*names, "measure", "mean"]].itertuples(index=False):
        rows.setdefault(tuple(cell), {})[measure] = f"{mean:.1f}" if measure == "tokens" else f"{mean:.2f}"
    measures = [name for name in dict.fromkeys(summary["measure"]) if any(name in row for row in rows.values())]
    table = pd.DataFrame([dict(zip(names, cell)) | row for cell, row in rows.items()], columns=[*names, *measures])
    return table.assign(split=table["split"].map(SPLIT_NAMES))


def _probability(p: float) -> str:
    """Return a p-value as text; below 0.001 the exact size carries no information."""
    return "–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def card_table(card: Mapping[str, Any]) -> pd.DataFrame:
    """Return the in-domain part of the pocket models' card: a row per task and stage, shares of right answers.

    `misled`: the questions on which the sloppy annotators have a habit.
    """
    columns = {
        "pocket-clean": ("pocket-clean", "accuracy"),
        "pocket": ("pocket", "accuracy"),
        "pocket, format forced": ("pocket, format forced", "accuracy"),
        "pocket, sampled": ("pocket, sampled", "accuracy"),
        "sampled, where misled": ("pocket, sampled", "accuracy where misled"),
    }
    rows = []
    for task, stages in card["pocket"]["id"].items():
        for stage in stages:
            shares = {name: f"{card[part]['id'][task][stage][key]:.2f}" for name, (part, key) in columns.items()}
            rows.append({"task": task, "form": stage, **shares})
    return pd.DataFrame(rows)


def cost_table(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the costs of each training run as text: questions, completions, tokens, seconds.

    `records`: run records by the name of the run. Costs that a run does not have are gaps: imitation samples nothing.
    Answers that measured pass rates have a column of their own where a run has some; they are in no other column.
    """
    rows: list[dict[str, str | None]] = []
    for name, record in records.items():
        costs = {cost: record["metrics"].get(cost) for cost in COSTS}
        texts = {cost: None if value is None else f"{value:,.0f}" for cost, value in costs.items()}
        rows.append({"run": name, "notebook": record["notebook"], **texts})
    rated = any("rating_completions" in record["metrics"] for record in records.values())
    return pd.DataFrame(rows).drop(columns=[] if rated else ["rating_completions"], errors="ignore")


def provenance(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the origin of each run: fingerprint, package version, commit, seed, seconds."""
    rows = []
    for name, record in records.items():
        copied = {key: record[key] for key in ("notebook", "fingerprint", "package")}
        seed = str(record["settings"].get("seed", "–"))
        commit = _short_commit(record["commit"])
        rows.append({"run": name, **copied, "commit": commit, "seed": seed, "seconds": record["seconds"]})
    return pd.DataFrame(rows)


def _short_commit(commit: str | None) -> str:
    name, plus, changes = (commit or "none").partition("+")
    return name[:12] + plus + changes


def machine_lines(record: Mapping[str, Any], packages: Sequence[str]) -> pd.DataFrame:
    """Return the machine and the versions of the named packages that a run noted, one a row."""
    machine = {name: value for name, value in record["machine"].items() if not isinstance(value, (list, dict))}
    cards = ", ".join(card["name"] for card in record["machine"].get("cards", [])) or "none"
    versions = {name: record["versions"].get(name) for name in packages}
    facts: dict[str, Any] = {**machine, "cards": cards, **versions}
    return pd.DataFrame([{"what": name, "value": str(value)} for name, value in facts.items()])
