"""F1 of open classification, by label and as a mean.

An answer is a set of normalised labels; an unreadable one is the empty set. The macro mean is over the labels that
occur as truth in a cell, hence the same for every arm; other labels count as wrong in the micro F1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from currreft_nb.metrics.intervals import (
    LEAST_CLUSTERS,
    LEVEL,
    NOT_KNOWN,
    cluster_sums,
    codes_of,
    images_of,
    resampled_sums,
    widened,
)

CELL = ("arm", "mode", "task", "stage", "split")


def label_scores(records: Iterable[Mapping], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return a row per arm, mode, split and label: n images that show it, answered, precision, recall, f1, low, high.

    `records`: of `evaluation.evaluate.evaluate`; those without `labels` and `gold` are ignored. `low`, `high`: the 95 %
    interval of the F1 by resampling images; nan for too few.
    """
    rows = []
    frame = pd.DataFrame([record for record in records if record.get("labels") is not None])
    for cell, part in frame.groupby(list(CELL), sort=False) if len(frame) else ():
        found = _label_rows(part["labels"], part["gold"], codes_of(images_of(part)), resamples, seed)
        rows += [dict(zip(CELL, cell)) | row for row in found]
    columns = [*CELL, "label", "n", "answered", "precision", "recall", "f1", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _label_rows(
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
