"""Provenance of a report: chains of stages, settings that differ, scores by source and label, data, commands."""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb.metrics.scores import label_scores, summarise
from currreft_nb.views.tables import SPLIT_NAMES

Records = Mapping[str, Mapping[str, Any]]  # run records by the name of the run


def chains(records: Records) -> dict[str, list[str]]:
    """Return each chain of training runs, first stage first, by the name of its last run.

    `records`: of trainings. A run continues another if it took that run as an input; a chain ends with a run that no
    other continues.

    >>> record = lambda name, *inputs: {"id": name, "inputs": [{"id": one} for one in inputs]}
    >>> chains({"a": record("1"), "b": record("2", "1"), "c": record("3", "0")})
    {'b': ['a', 'b'], 'c': ['c']}
    """
    names = {record["id"]: name for name, record in records.items()}
    before = {}
    for name, record in records.items():
        if taken := [names[note["id"]] for note in record["inputs"] if note["id"] in names]:
            before[name] = taken[0]
    found = {}
    for last in records:
        if last not in before.values():
            found[last] = [last]
            while found[last][0] in before:
                found[last].insert(0, before[found[last][0]])
    return found


def continued(parts: Iterable[Sequence[Mapping]]) -> list[dict]:
    """Return the rows of consecutive runs with steps numbered through.

    >>> continued([[{"step": 1}, {"step": 2}], [{"step": 1}]])
    [{'step': 1}, {'step': 2}, {'step': 3}]
    """
    rows: list[dict] = []
    for part in parts:
        start = rows[-1]["step"] if rows else 0
        rows += [{**row, "step": start + row["step"]} for row in part]
    return rows


def settings_tables(records: Records, others: Records | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the parameters in which runs differ, a column a run, and those that are the same in all that have them.

    A run that another took as its input is written "@name"; `others`: further runs that may be named so.
    """
    names = {record["id"]: f"@{name}" for name, record in [*(others or {}).items(), *records.items()]}
    values = {name: _readable(record, names) for name, record in records.items()}
    differing, same = [], []
    for parameter in dict.fromkeys(key for known in values.values() for key in known):
        row = {name: known[parameter] for name, known in values.items() if parameter in known}
        if len(set(row.values())) > 1:
            differing.append({"parameter": parameter, **row})
        else:
            same.append({"parameter": parameter, "value": next(iter(row.values())), "runs": len(row)})
    shared = pd.DataFrame(same, columns=["parameter", "value", "runs"])
    return pd.DataFrame(differing, columns=["parameter", *values]), shared


def _readable(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    taken = {note["given"]: names.get(note["id"], note["given"]) for note in record["inputs"]}

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(text(item) for item in value) or "none"
        return str(taken.get(value, value)) if isinstance(value, str) and value else repr(value)

    return {name: text(value) for name, value in record["settings"].items() if name != "output"}


def parts_table(rows: pd.DataFrame, part: str, value: str = "mean") -> pd.DataFrame:
    """Return a row per task, split and part, a column an arm: the value with its 95 % interval, where there is one.

    `rows`: natural answers at one stage, of one measure, with columns task, split, arm, n, low, high and the two named.
    """
    found: dict[tuple, dict[str, Any]] = {}
    for row in rows.to_dict("records"):
        cell = {"task": row["task"], "split": SPLIT_NAMES[row["split"]], part: row[part], "n": row["n"]}
        cell = found.setdefault(tuple(row[name] for name in ("task", "split", part)), cell)
        interval = "" if pd.isna(row["low"]) else f" [{row['low']:.2f}, {row['high']:.2f}]"
        cell |= {row["arm"]: f"{row[value]:.2f}{interval}", "n": min(cell["n"], row["n"])}
    return pd.DataFrame(list(found.values()), columns=["task", "split", part, "n", *dict.fromkeys(rows["arm"])])


def by_source(records: Iterable[Mapping]) -> tuple[pd.DataFrame, str]:
    """Return shares of open questions right by source, where a split has several, or an empty table and why."""
    natural = [record for record in records if record["mode"] == "natural" and record["stage"] == "open"]
    sources = {(record["task"], record["split"], record["source"]) for record in natural}
    several = Counter((task, split) for task, split, _ in sources)
    mixed = [record for record in natural if several[record["task"], record["split"]] > 1]
    found = summarise(mixed, by=["source"])
    reason = "" if mixed else "Each task has one source in each split: the table of results is already by source."
    return parts_table(found[found["measure"] == "correct"], "source"), reason


def by_label(records: Iterable[Mapping]) -> tuple[pd.DataFrame, str]:
    """Return the F1 of each label in open classification, or an empty table and why."""
    found = label_scores(record for record in records if record["mode"] == "natural")
    reason = "" if len(found) else "There are no open classification answers with their labels noted."
    return parts_table(found, "label", "f1"), reason


def choice_text(name: str, record: Mapping[str, Any]) -> str:
    """Return a sentence on which arm of an evaluation validation chose, from which scores."""
    choice = record["metrics"].get("choice")
    if not choice:
        return f"In {name} no arm was chosen by its scores: every one that was named was tested."
    scores = ", ".join(f"{arm} {score:.3f}" for arm, score in choice["scores"].items())
    asked = f"on {choice['questions']} validation questions"
    return f"In {name} validation chose {choice['chosen']} ({scores}, {asked}), and only that one was tested."


def data_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Return the samples files of a data folder with their questions and the first 16 letters of each one's SHA-256.

    `manifest`: the data folder's manifest.json. The last row is for all pictures: how many, and the SHA-256 of the
    sorted SHA-256 of each, one a line.
    """
    rows = []
    for name, digest in sorted(manifest["files"].items()):
        split, _, stage = name.removesuffix(".jsonl").partition("-")
        if name.endswith(".jsonl") and stage:
            counts = manifest["questions"].get(split, {}).get(stage, {})
            rows.append({"file": name, "rows": sum(counts.values()), "SHA-256": digest[:16]})
    pictures = sorted(digest for name, digest in manifest["files"].items() if not name.endswith((".jsonl", ".json")))
    whole = hashlib.sha256("\n".join(pictures).encode()).hexdigest()
    rows.append({"file": "images/", "rows": len(pictures), "SHA-256": whole[:16]})
    return pd.DataFrame(rows)


def commands(experiment: Path, root: Path, records: Records) -> str:
    """Return the shell commands that make an experiment and its report again.

    Where it was made from a file in params/ this is one command; otherwise each run's own, with all its settings.
    """
    commits = list(dict.fromkeys(record["commit"] for record in records.values() if record.get("commit")))
    changed = "  # the last of several commits: the table says which run had which" if len(commits) > 1 else ""
    lines = [f"git checkout {commits[-1].partition('+')[0]}{changed}"] if commits else []
    lines += ["# some files had changes that no commit holds"] * any("+" in commit for commit in commits)
    file = f"params/{experiment.name}.yaml"
    if (root / file).is_file():
        lines += [f"currreft run {file}", f"currreft run {file} --dry-run  # says which steps are complete"]
    else:
        lines += [_papermill(name, record) for name, record in records.items()]
    place = experiment.relative_to(root) if experiment.is_relative_to(root) else experiment
    return "\n".join([*lines, f"currreft report {shlex.quote(str(place))}"])


def _papermill(name: str, record: Mapping[str, Any]) -> str:
    values = shlex.quote(json.dumps(record["settings"], ensure_ascii=False))
    output = shlex.quote(f"{name.replace('/', '-')}.ipynb")
    return f"papermill notebooks/{record['notebook']}.ipynb {output} -y {values}"


def read_csv_rows(path: Path) -> list[dict]:
    """Return the rows of a CSV file; none where there is no such file, or nothing in it."""
    try:
        return pd.read_csv(path).to_dict("records")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return []
