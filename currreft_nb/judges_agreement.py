"""Agreement of judges on the same completions: published results move by points when only the judge changes."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from currreft_nb import InputError


def agreement(rows: Sequence[Mapping], threshold: float) -> pd.DataFrame:
    """Return a row for each pair of judges, over the answers to which both gave points (`rejection.judge_answers`).

    `keep_one`, `keep_other`: the share that each would keep. `agree`: the share with the same decision. `kappa`:
    Cohen's, agreement beyond chance, at most 1; NaN where both keep all or none. `difference`: the mean absolute
    difference of their points. `correlation`: Pearson's, of the points; NaN where one judge always gives the same.
    """
    if not rows or "points" not in rows[0]:
        raise InputError("agreement needs several judges on the same answers; name two in judges")
    points = pd.DataFrame([row["points"] for row in rows], dtype=float)
    return pd.DataFrame([_compare(points[list(pair)].dropna(), threshold) for pair in combinations(points, 2)])


def _compare(points: pd.DataFrame, threshold: float) -> dict:
    (one, first), (other, second) = points.items()
    kept_one, kept_other = first >= threshold, second >= threshold
    constant = len(points) < 2 or points.nunique().min() == 1
    return {
        "one": one,
        "other": other,
        "answers": len(points),
        "keep_one": kept_one.mean(),
        "keep_other": kept_other.mean(),
        "agree": (kept_one == kept_other).mean(),
        "difference": (first - second).abs().mean(),
        "kappa": kappa(kept_one, kept_other),
        "correlation": float("nan") if constant else first.corr(second),
    }


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Return Cohen's kappa of two judges' decisions; NaN where chance alone explains all, or there are none.

    >>> kappa([True, True, False, False], [True, False, False, False])
    0.5
    """
    if not len(one):
        return float("nan")
    first, second = np.mean(one), np.mean(other)
    agree = np.mean(np.equal(one, other))
    by_chance = first * second + (1 - first) * (1 - second)
    return float("nan") if by_chance == 1 else float((agree - by_chance) / (1 - by_chance))
