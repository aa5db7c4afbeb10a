"""The results of a report for programs: `results.csv`, a row a score, and `results.json`, all facts of the page.

    experiment,arm,mode,task,stage,split,measure,n,mean,low,high,clusters
    pocket,sft,natural,math,open,test_id,correct,100,0.87,0.8,0.93,100

`results.json` holds the same rows under "scores", the meaning of each column under "columns", comparisons, pass@k,
hashes of the data, and of every run its settings, fingerprint, metrics (such as its cost) and versions.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb.core.files import atomic_write, to_json_types

RESULTS = ("results.csv", "results.json")
COLUMNS = {
    "experiment": "the experiment's folder",
    "arm": "the way of training that is scored; with several evaluations, followed by the evaluation's name",
    "mode": "natural: decoded as is; forced: the answer format completed where none was opened",
    "task": "detection, classification, math or general",
    "stage": "how it was asked: binary, choice or open",
    "split": "test_id: in-domain; test_ood: out-of-domain; val: validation",
    "measure": "correct: right (0 or 1; a box: IoU above 0.5); value: the paper's reward; format; where a task has them"
    " iou, iou_50,"
    " iou_75, jaccard, f1_macro, f1_micro; truncated: share cut off; tokens: mean length",
    "n": "number of answers",
    "mean": "their mean",
    "low": "lower end of the 95 % bootstrap interval of the mean, resampled by picture",
    "high": "upper end of it; both are empty where there are too few pictures",
    "clusters": "number of pictures (or questions without one) behind the interval",
}
KEPT: tuple[str, ...] = ("notebook", "fingerprint", "package", "commit", "started", "seconds", "settings", "metrics")
KEPT += ("machine", "versions")


def write_results(
    folder: Path,
    scores: pd.DataFrame,
    runs: Mapping[str, Mapping[str, Any]],
    *,
    experiment: str,
    title: str = "",
    note: str = "",
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write both files into the folder.

    `scores`: what `metrics.scores.summarise` returns. `runs`: run records by name. `tables`: further ones by the name
    that they get in results.json.
    """
    labelled = scores.copy()
    labelled.insert(0, "experiment", experiment)
    with atomic_write(folder / "results.csv") as stream:
        labelled.to_csv(stream, index=False)
    whole = {
        "title": title,
        "note": note,
        "columns": {name: COLUMNS.get(name, "") for name in map(str, labelled)},
        "scores": labelled.to_dict("records"),
        **{name: table.to_dict("records") for name, table in (tables or {}).items()},
        "runs": {name: {key: record.get(key) for key in KEPT} for name, record in runs.items()},
    }
    with atomic_write(folder / "results.json") as stream:
        json.dump(to_json_types(whole), stream, indent=1, ensure_ascii=False, allow_nan=False)
