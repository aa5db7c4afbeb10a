"""How far judges agree on the same completions: published results move by points when only the judge is exchanged."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from currreft_nb import InputError


def agreement(rows: Sequence[Mapping], threshold: float) -> pd.DataFrame:
    """Return a row for each two judges, over the answers to which both gave points (`rejection.judge_answers`).

    `keep_one`, `keep_other`: the share that each would keep. `agree`: the share on which they agree in that. `kappa`:
    Cohen's, agreement beyond chance, 1 at most; NaN where both keep all or none. `difference`: the mean absolute
    difference of their points. `correlation`: Pearson's of the points; NaN where one of them always gives the same.
    """
    if not rows or "points" not in rows[0]:
        raise InputError("agreement needs several judges on the same answers; name two in judges")
    return pd.DataFrame([_compare(rows, *pair, threshold) for pair in combinations(rows[0]["points"], 2)])


def _compare(rows: Sequence[Mapping], one: str, other: str, threshold: float) -> dict:
    pairs = [(row["points"][one], row["points"][other]) for row in rows]
    both = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)
    kept = both >= threshold
    shares = {"keep_one": float("nan"), "keep_other": float("nan"), "agree": float("nan"), "difference": float("nan")}
    if len(both):
        first, second = kept.mean(axis=0).tolist()
        agree, apart = float((kept[:, 0] == kept[:, 1]).mean()), float(np.abs(both[:, 0] - both[:, 1]).mean())
        shares = {"keep_one": first, "keep_other": second, "agree": agree, "difference": apart}
    measures = {"kappa": kappa(kept[:, 0], kept[:, 1]), "correlation": _correlation(both)}
    return {"one": one, "other": other, "answers": len(both), **shares, **measures}


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


def _correlation(both: np.ndarray) -> float:
    if len(both) < 2 or not both.std(axis=0).all():
        return float("nan")
    return float(np.corrcoef(both.T)[0, 1])
