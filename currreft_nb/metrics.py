"""Scores: what evaluation reports, with the uncertainty that belongs to it.

A reward is what training maximises, a score what evaluation reports: an answer is correct or it is not, whatever the
rules of the reward were. Nothing here draws a point that was not measured.
"""

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from currreft_nb import InputError
from currreft_nb.boxes import Frame
from currreft_nb.rewards import Rules, score
from currreft_nb.samples import Sample

CELL = ("arm", "mode", "task", "stage", "split")
MEASURES = ("correct", "value", "format", "iou", "jaccard")
EPSILON = 1e-4  # what GRPO adds to the standard deviation, in TRL and in the paper's code


def measure(sample: Sample, completion: str, frame: Frame | None = None) -> dict:
    """Return the scores of one completion: correct, value, format, reason, and iou or jaccard where the task has it.

    `correct` is 1.0 for the right verdict or exactly the right letters; at the open stage for an IoU above 0.5 (all
    boxes), exactly the right set of labels, an equal result. `value` is the paper's reward. An unreadable answer has
    an iou of 0.

    >>> sample = Sample(id="a", task="classification", split="val", source="s", question="What?", answer=["cat", "dog"])
    >>> measure(sample, "<think></think><answer>cat</answer>")
    {'correct': 0.0, 'value': 0.5, 'format': 1.0, 'reason': 'partial', 'jaccard': 0.5}
    """
    result = score(sample, completion, frame)
    scores = {"correct": float(result.value == 1), **result._asdict()}
    if sample.stage == "open" and sample.task == "classification":
        scores["jaccard"] = result.value
    if sample.stage == "open" and sample.task == "detection":
        scores["iou"] = score(sample, completion, frame, Rules(detection="soft")).value
    return scores


def bootstrap_interval(
    values: Sequence[float] | pd.Series,
    groups: Sequence[Hashable] | pd.Series | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean; (nan, nan) for no values.

    `groups` names for each value the image it came from: answers about one image go together, so whole images are drawn
    (cluster bootstrap). Where all values are equal the interval has no width, however few they are.

    >>> bootstrap_interval([0, 1, 1, 1], level=0.5)
    (0.5, 1.0)
    """
    numbers = np.asarray(values, dtype=float)
    if not len(numbers):
        return (math.nan, math.nan)
    codes = np.arange(len(numbers)) if groups is None else pd.factorize(pd.Series(list(groups), dtype=object))[0]
    if len(codes) != len(numbers):
        raise InputError(f"{len(numbers)} values but {len(codes)} groups; give each value its group")
    sums, counts = np.bincount(codes, numbers), np.bincount(codes)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for index in range(resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        means[index] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high))


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


def advantages(rewards: Sequence[float], group_size: int) -> np.ndarray:
    """Return each reward's advantage over its group: (reward - mean) / (unbiased standard deviation + 1e-4), shape
    (n,).

    As GRPO computes them (TRL, `scale_rewards="group"`). A group of equal rewards has no advantages: it teaches
    nothing.

    >>> advantages([1, 1, 0, 0, 1, 1, 1, 1], group_size=4).round(2)
    array([ 0.87,  0.87, -0.87, -0.87,  0.  ,  0.  ,  0.  ,  0.  ])
    """
    earned = np.asarray(rewards, dtype=float)
    if group_size < 2 or len(earned) % group_size:
        raise InputError(f"{len(earned)} rewards do not make whole groups of {group_size}; a group has at least 2")
    groups = earned.reshape(-1, group_size)
    centred = groups - groups.mean(axis=1, keepdims=True)
    return (centred / (groups.std(axis=1, ddof=1, keepdims=True) + EPSILON)).ravel()


def summarise(records: Iterable[dict]) -> pd.DataFrame:
    """Return a table with a row per arm, mode, task, stage, split and measure: n, mean and the 95 % interval low, high.

    `records`: what `measure` returns, with arm, mode, task, stage, split, id and, where there is one, image, by which
    the intervals are clustered. Measures that a task does not have make no row.
    """
    rows = []
    frame = pd.DataFrame(list(records))
    if frame.empty:
        return pd.DataFrame(columns=[*CELL, "measure", "n", "mean", "low", "high"])
    for name in set(CELL) - set(frame.columns):
        raise InputError(f"the records have no {name!r}; each needs {', '.join(CELL)}")
    images = frame["image"] if "image" in frame else pd.Series(None, index=frame.index, dtype=object)
    frame["cluster"] = images.where(images.notna(), frame.get("id", pd.Series(frame.index)))
    for cell, part in frame.groupby(list(CELL), sort=False):
        for name in MEASURES:
            if name in part and (known := part[part[name].notna()])[name].size:
                low, high = bootstrap_interval(known[name], known["cluster"])
                values = {"measure": name, "n": len(known), "mean": float(known[name].mean()), "low": low, "high": high}
                rows.append(dict(zip(CELL, cell)) | values)
    return pd.DataFrame(rows)
