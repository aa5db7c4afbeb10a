"""Scores that evaluation reports, with their uncertainty.

A reward is what training maximises, a score what evaluation reports: an answer is correct or not under any
rules of the reward.

F1 is that of open classification, by label and as a mean. An answer is a set of normalised labels; an unreadable one is
the empty set. The macro mean is over the labels that occur as truth in a cell, hence the same for every arm; other
labels count as wrong in the micro F1.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.method.rewards import answered_value, score
from currreft_nb.metrics.intervals import (
    LEAST_CLUSTERS,
    LEVEL,
    NOT_KNOWN,
    cluster_sums,
    codes_of,
    images_of,
    mean_intervals,
    resampled_sums,
    widened,
)
from currreft_nb.tasks import TASK_MODULES

_TASK_MEASURES = [name for task in TASK_MODULES.values() for name in task.MEASURES]
MEASURES = ("correct", "value", "format", *_TASK_MEASURES, "truncated", "tokens")
UNBOUNDED = ("tokens",)  # all other measures lie between 0 and 1
CELL = ("arm", "mode", "task", "stage", "split")
EPSILON = 1e-4  # what GRPO adds to the standard deviation, in TRL and in the paper's code


def measure(sample: Sample, completion: str, frame: Frame | None = None) -> dict:
    """Return the scores of one completion: correct, value, format, reason, and those of its task.

    `correct` is 1.0 for the right verdict or exactly the right letters; at the open stage for an IoU above 0.5 (all
    boxes), exactly the right set of labels, an equal result. `value` is the paper's reward. The task's own scores are
    those of its `measures`; from the `labels` and `gold` of open classification the F1 is counted.

    >>> sample = Sample(id="a", task="classification", split="val", source="s", question="What?", answer=["cat", "dog"])
    >>> scores = measure(sample, "<think></think><answer>Cats</answer>")
    >>> scores["correct"], scores["value"], scores["reason"], scores["labels"], scores["gold"]
    (0.0, 0.5, 'partial', ['cat'], ['cat', 'dog'])
    """
    result = score(sample, completion, frame)
    scores = {"correct": float(result.value == 1), **result._asdict()}
    task = TASK_MODULES[sample.task]
    if sample.stage == "open" and task.MEASURES:
        scores |= task.measures(answered_value(sample, completion, frame), sample)
    return scores


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of k answers is correct, from n answers of which c were.

    Source: Chen et al. 2021, "Evaluating large language models trained on code", equation 1. Raises `InputError` for
    k > n.

    >>> pass_at_k(n=4, c=1, k=1), pass_at_k(n=4, c=1, k=2), pass_at_k(n=4, c=4, k=1)
    (0.25, 0.5, 1.0)
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise InputError(f"pass@{k} cannot be estimated from {n} answers with {c} correct; sample at least k answers")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def advantages(rewards: Sequence[float], group_size: int, scale: str = "group") -> np.ndarray:
    """Return each reward's advantage: (reward - group mean) / (group's unbiased standard deviation + 1e-4), shape (n,).

    As GRPO computes them (TRL's `scale_rewards`). With `scale` "batch" the deviation is that of all rewards, with
    "none" nothing is divided. In a group of equal rewards they are 0.

    >>> advantages([1, 1, 0, 0, 1, 1, 1, 1], group_size=4).round(2)
    array([ 0.87,  0.87, -0.87, -0.87,  0.  ,  0.  ,  0.  ,  0.  ])
    """
    values = np.asarray(rewards, dtype=float)
    if group_size < 2 or len(rewards) % group_size:
        raise InputError(
            f"{len(rewards)} rewards cannot be divided into groups of {group_size}; use groups of at least 2"
        )
    groups = values.reshape(-1, group_size)
    centred = groups - groups.mean(axis=1, keepdims=True)
    if scale == "none":
        return centred.ravel()
    deviation = groups.std(axis=1, ddof=1, keepdims=True) if scale == "group" else values.std(ddof=1)
    return (centred / (deviation + EPSILON)).ravel()


def summarise(records: Iterable[Mapping], by: Sequence[str] = (), resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return a table with a row per arm, mode, task, stage, split and measure: n, mean, the 95 % interval low, high.

    `records`: of `evaluation.evaluate.evaluate`. Intervals are clustered by image, else by id; `clusters` is their
    number. `truncated`: the share of answers cut off; `tokens`: their mean length. Measures that a task does not have
    make no row. `by`: further columns to group by, such as "source". An interval is nan for too little data, see
    `metrics.intervals`.
    """
    cell_names, rows = [*CELL, *by], []
    columns = [*cell_names, "measure", "n", "mean", "low", "high", "clusters"]
    frame = pd.DataFrame(list(records))
    if frame.empty:
        return pd.DataFrame(columns=columns)
    for name in set(cell_names) - set(frame.columns):
        raise InputError(f"the records have no {name!r}; each needs {', '.join(cell_names)}")
    frame["cluster"] = images_of(frame)
    for cell, part in frame.groupby(cell_names, sort=False):
        found = [*_measure_rows(part, resamples, seed), *_label_rows(part, resamples, seed)]
        rows += [dict(zip(cell_names, cell)) | row for row in found]
    return pd.DataFrame(rows, columns=columns)


def _measure_rows(part: pd.DataFrame, resamples: int, seed: int) -> Iterator[dict]:
    """Yield a row for each measure; those known for the same records share their draws."""
    together: dict[bytes, list[str]] = {}
    for name in MEASURES:
        if name in part and part[name].notna().any():
            together.setdefault(part[name].notna().to_numpy().tobytes(), []).append(name)
    for names in together.values():
        known = part[part[names[0]].notna()]
        values, codes = known[names].to_numpy(dtype=float), codes_of(known["cluster"])
        bounds = [None if name in UNBOUNDED else (0.0, 1.0) for name in names]
        intervals = mean_intervals(values, codes, bounds, resamples, seed)
        for name, mean, interval in zip(names, values.mean(axis=0), intervals):
            yield _row(name, codes, float(mean), *interval)


def _label_rows(part: pd.DataFrame, resamples: int, seed: int) -> Iterator[dict]:
    known = part[part["labels"].notna()] if "labels" in part else part[:0]
    codes = codes_of(known["cluster"])
    if len(known):
        for name, found in f1_means(known["labels"], known["gold"], codes, resamples, seed).items():
            yield _row(name, codes, *found)


def _row(name: str, codes: np.ndarray, mean: float, low: float, high: float) -> dict:
    clusters = int(codes.max()) + 1
    return {"measure": name, "n": len(codes), "mean": mean, "low": low, "high": high, "clusters": clusters}


def label_scores(records: Iterable[Mapping], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return a row per arm, mode, split and label: n images that show it, answered, precision, recall, f1, low, high.

    `records`: of `evaluation.evaluate.evaluate`; those without `labels` and `gold` are ignored. `low`, `high`: the 95 %
    interval of the F1 by resampling images; nan for too few.
    """
    rows = []
    frame = pd.DataFrame([record for record in records if record.get("labels") is not None])
    for cell, part in frame.groupby(list(CELL), sort=False) if len(frame) else ():
        found = _rows_by_label(part["labels"], part["gold"], codes_of(images_of(part)), resamples, seed)
        rows += [dict(zip(CELL, cell)) | row for row in found]
    columns = [*CELL, "label", "n", "answered", "precision", "recall", "f1", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _rows_by_label(
    answers: Iterable[Sequence[str]], truths: Iterable[Sequence[str]], codes: np.ndarray, resamples: int, seed: int
) -> list[dict]:
    labels, counts = _count(answers, truths)
    right, answered, shown = (part[:, :-1].sum(axis=0) for part in counts)
    sums, images = cluster_sums(np.concatenate(counts, axis=1), codes)
    drawn = _f1(*np.split(resampled_sums(sums, resamples, seed), 3, axis=1))
    intervals = [_middle(column, len(images)) for column in drawn.T]
    rows = []
    for label, n, given, hits, interval in zip(labels, shown, answered, right, intervals):
        scores = {"precision": float(hits / given) if given else math.nan, "recall": float(hits / n)}
        scores |= {"f1": float(2 * hits / (given + n)), **dict(zip(("low", "high"), interval))}
        rows.append({"label": label, "n": int(n), "answered": int(given), **scores})
    return rows


def f1_means(
    answers: Iterable[Sequence[str]], truths: Iterable[Sequence[str]], codes: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Return f1_macro and f1_micro of answered and true label sets, each with its interval: mean, low, high.

    `codes`: the number of each answer's image. Macro: the mean over the labels that occur as truth. Micro: of all
    labels counted together. No interval (nan) for fewer than six images, and where all resamples agree.
    """
    _, counts = _count(answers, truths)
    sums, images = cluster_sums(np.concatenate(counts, axis=1), codes)
    if not sums[:, 2 * counts[0].shape[1] :].any():
        return {}
    drawn = np.concatenate([sums.sum(axis=0, keepdims=True), resampled_sums(sums, resamples, seed)])
    right, answered, shown = np.split(drawn, 3, axis=1)
    known = (shown[:, :-1] > 0).sum(axis=1)
    macro = np.where(shown > 0, _f1(right, answered, shown), 0)[:, :-1].sum(axis=1) / np.maximum(known, 1)
    micro = _f1(*(part.sum(axis=1) for part in (right, answered, shown)))
    found = {"f1_macro": macro, "f1_micro": micro}
    return {name: (float(values[0]), *_middle(values[1:], len(images))) for name, values in found.items()}


def _count(
    answers: Iterable[Sequence[str]], truths: Iterable[Sequence[str]]
) -> tuple[list[str], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the true labels, and which of them each answer got right, answered and should have: 0 or 1.

    Each array has the shape (answers, labels + 1); the last column counts answered labels that are never true.
    """
    answers, truths = list(answers), list(truths)
    labels = sorted({label for truth in truths for label in truth})
    place = {label: i for i, label in enumerate(labels)}
    answered, shown = (np.zeros((len(answers), len(labels) + 1)) for _ in range(2))
    for row, (answer, truth) in enumerate(zip(answers, truths)):
        for label in set(answer):
            answered[row, place.get(label, len(labels))] += 1
        shown[row, [place[label] for label in set(truth)]] = 1
    return labels, (answered * shown, answered, shown)


def _f1(right: np.ndarray, answered: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return 2 right / (answered + shown), and 0 where nothing was shown or answered."""
    return 2 * right / np.maximum(answered + shown, 1)


def _middle(values: np.ndarray, images: int) -> tuple[float, float]:
    if images < LEAST_CLUSTERS:
        return NOT_KNOWN
    tail = (1 - widened(LEVEL, images)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return (float(low), float(high)) if low < high else NOT_KNOWN
