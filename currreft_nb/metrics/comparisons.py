"""Compare arms on the same questions: which is better, by how much, and could it be chance.

Differences between two arms' scores on one question are averaged, so that easy and hard questions add no noise. Answers
about one image are one cluster.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from currreft_nb import InputError
from currreft_nb.core.samples import TASKS
from currreft_nb.metrics.intervals import (
    AT_ONCE,
    LEAST_CLUSTERS,
    LEVEL,
    cluster_sums,
    codes_of,
    exact_interval,
    mean_intervals,
)
from currreft_nb.metrics.scores import CELL as RECORD_CELL
from currreft_nb.metrics.scores import UNBOUNDED

COLUMNS: tuple[str, ...] = ("arm", "other", "mode", "against_mode", "task", "split", "stage", "measure", "n")
COLUMNS += ("clusters", "difference", "low", "high", "p", "p_holm", "minimum_detectable", "note")
CELL = (*RECORD_CELL, "measure")
POWER = 0.8
MODES = (("natural", "natural"), ("natural", "forced"))  # of the arm, and of the other


def compare(
    records: Iterable[Mapping],
    against: str,
    *,
    stage: str = "open",
    measure: str = "correct",
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every other arm with the arm `against` on the same questions: a row per arm, mode, task and split.

    `records`: of `evaluation.evaluate.evaluate`, for several arms. The arm's natural answers are compared with the
    natural ones of `against` and with its forced ones, if any (column `against_mode`): a gain over those is more than
    learning the form. `difference`: arm minus other; `low`, `high`: its 95 % interval by resampling images. `p`:
    two-sided, by swapping the two arms image by image. `p_holm`: after Holm's correction for all rows of this table.
    `minimum_detectable`: the true difference that as many questions would show (p below 0.05) four times in five; a
    large p does not exclude a smaller one. `note`: why a row has no interval.

    Raises `InputError`, with the questions that differ, if two arms did not answer the same ones.
    """
    frame = _scored(records, stage, measure)
    arms = list(dict.fromkeys(frame["arm"]))
    if against not in arms:
        raise InputError(
            f"arm {against!r} has no {stage} answers with a score {measure!r}; only {', '.join(arms)} have"
        )
    cells = dict(list(frame.groupby(["task", "split"], sort=False)))
    rows = []
    for (task, split), part in sorted(cells.items(), key=lambda cell: TASKS.index(cell[0][0])):
        found = _compare_cell(part, against, measure not in UNBOUNDED, f"{task} questions of {split}", resamples, seed)
        cell = {"task": task, "split": split, "stage": stage, "measure": measure}
        rows += [{**cell, **row} for row in found]
    rows.sort(key=lambda row: (arms.index(row["arm"]), row["against_mode"] != "natural"))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def _scored(records: Iterable[Mapping], stage: str, measure: str) -> pd.DataFrame:
    rows = [
        (r["arm"], r["mode"], r["task"], r["split"], r["id"], r.get("hash"), r.get("image") or r["id"], float(value))
        for r in records
        if r["stage"] == stage and (value := r.get(measure)) is not None
    ]
    return pd.DataFrame(rows, columns=["arm", "mode", "task", "split", "id", "hash", "image", "score"])


def _compare_cell(part: pd.DataFrame, against: str, bounded: bool, where: str, resamples: int, seed: int) -> list[dict]:
    wide = _by_question(part, where)
    pairs = [
        ((arm, mode), (against, other))
        for arm in dict.fromkeys(part["arm"])
        for mode, other in MODES
        if arm != against and ((against, other) in wide or other == "natural")
    ]
    for pair in pairs:
        _check_same_questions(wide, *pair, where)
    if not pairs:
        return []
    wide = wide[wide[pairs[0][0]].notna()]  # the same questions for all arms, as checked above
    images = part.drop_duplicates("id").set_index("id")["image"]
    codes = codes_of(images.loc[wide.index])
    differences = np.stack([wide[one].to_numpy() - wide[other].to_numpy() for one, other in pairs], axis=1)
    found = _differences(differences, codes, (-1.0, 1.0) if bounded else None, resamples, seed)
    names = ("arm", "mode", "other", "against_mode")
    return [dict(zip(names, (*one, *other))) | row for (one, other), row in zip(pairs, found)]


def _by_question(part: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the scores, a row per question, a column per arm and mode. Raises `InputError` where ids are ambiguous."""
    duplicates = part[part.duplicated(["arm", "mode", "id"])]
    if len(duplicates):
        row = duplicates.iloc[0]
        raise InputError(f"{where}: arm {row['arm']!r} answered {row['id']!r} twice; give each evaluation its own name")
    hashes = part.groupby("id", sort=False)["hash"].nunique()
    if (hashes > 1).any():
        named = hashes.index[hashes > 1][0]
        raise InputError(f"{where}: id {named!r} names different questions; evaluate all arms on one data folder")
    return part.pivot(index="id", columns=["arm", "mode"], values="score").reindex(list(dict.fromkeys(part["id"])))


def _check_same_questions(wide: pd.DataFrame, one: tuple[str, str], other: tuple[str, str], where: str) -> None:
    first, second = (set(wide.index[wide[key].notna()]) if key in wide else set() for key in (one, other))
    parts = [
        f"only {arm} ({mode}) answered {len(extra)} ({', '.join(sorted(extra)[:3])}{', …' * (len(extra) > 3)})"
        for (arm, mode), extra in ((one, first - second), (other, second - first))
        if extra
    ]
    if parts:
        raise InputError(f"{where} differ between arms: {'; '.join(parts)}; evaluate both on the same questions")


def _differences(
    differences: np.ndarray, codes: np.ndarray, bounds: tuple[float, float] | None, resamples: int, seed: int
) -> list[dict]:
    """Return the statistics of each column of paired differences, shape (questions, columns)."""
    sums, counts = cluster_sums(differences, codes)
    common = {"n": len(differences), "clusters": len(counts)}
    rows: list[dict] = [{**common, "difference": float(mean)} for mean in differences.mean(axis=0)]
    if len(counts) < LEAST_CLUSTERS:
        note = f"too few images: {len(counts)} of at least {LEAST_CLUSTERS}"
        unknown = dict.fromkeys(("low", "high", "p", "minimum_detectable"), math.nan)
        return [{**row, **unknown, "note": note} for row in rows]
    intervals = mean_intervals(differences, codes, [bounds] * len(rows), resamples, seed)
    for row, column, (low, high) in zip(rows, sums.T, intervals):
        row |= {"low": low, "high": high, "p": sign_flip(column, resamples, seed)}
        row["note"] = "every image differs alike" if math.isnan(low) else ""
        few_differ = exact_interval(column, counts, bounds) is not None
        error = (high - low) / (2 * ndtri((1 + LEVEL) / 2)) if few_differ else standard_error(column, counts)
        row["minimum_detectable"] = detectable(error)
    return rows


def standard_error(sums: np.ndarray, counts: np.ndarray) -> float:
    """Return the standard error of a mean, from the sum and the number of values of each image.

    Source: Liang and Zeger 1986, the cluster-robust variance, with the factor m / (m - 1) for m images.

    >>> round(standard_error(np.array([0.0, 1.0, 1.0, 0.0]), np.ones(4)), 4)
    0.2887
    """
    residuals = sums - counts * sums.sum() / counts.sum()
    images = len(sums)
    return float(np.sqrt(images / (images - 1) * (residuals**2).sum()) / counts.sum())


def detectable(error: float) -> float:
    """Return the true difference that a two-sided test at 5 % finds four times in five, from the standard error.

    >>> round(detectable(0.05), 3)
    0.14
    """
    return float((ndtri((1 + LEVEL) / 2) + ndtri(POWER)) * error)


def sign_flip(sums: Sequence[float] | np.ndarray, resamples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p of a permutation test that swaps the two arms image by image.

    `sums`: the sum of the differences of each image. Whole numbers, as right and wrong give, are counted exactly (with
    one question per image this is McNemar's exact test); others are swapped at random `resamples` times, and p is
    (1 + at least as extreme) / (1 + resamples). Source: Phipson and Smyth 2010, "Permutation p-values should never be
    zero".

    >>> sign_flip([1.0, 1, 1, 1, 1, -1])  # 6 against 1 or more: (1 + 6) * 2 of 2**6
    0.21875
    """
    by_image = np.asarray(sums, dtype=float)
    by_image = by_image[np.abs(by_image) > 1e-9]
    if not len(by_image):
        return 1.0
    total = by_image.sum()
    if np.allclose(by_image, by_image.round(), atol=1e-9):
        return _exact_flips(np.abs(by_image.round()).astype(int), abs(int(total.round())))
    rng, extreme, seen = np.random.default_rng(seed), 0, abs(total) - 1e-9
    rows = max(1, AT_ONCE // len(by_image))
    for start in range(0, resamples, rows):
        swapped = rng.integers(2, size=(min(rows, resamples - start), len(by_image)), dtype=np.int8)
        extreme += int((np.abs(total - 2 * (swapped @ by_image)) >= seen).sum())
    return (1 + extreme) / (1 + resamples)


def _exact_flips(sizes: np.ndarray, seen: int) -> float:
    """Return the chance that the sum of the sizes, each with a random sign, is at least as far from zero as `seen`."""
    chances = np.ones(1)  # of each sum from -reach to reach
    for size in sizes:
        added = np.zeros(len(chances) + 2 * size)
        added[: len(chances)] += chances / 2
        added[2 * size :] += chances / 2
        chances = added
    reach = len(chances) // 2
    return float(min(1.0, chances[np.abs(np.arange(-reach, reach + 1)) >= seen].sum()))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the p-values after Holm's step-down correction for their number; nan stays and does not count.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03]).round(2)
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]  # nan is sorted to the end
    corrected = values.copy()
    corrected[order] = np.maximum.accumulate(np.minimum(1, values[order] * np.arange(len(order), 0, -1)))
    return corrected


def between_seeds(
    summaries: Iterable[pd.DataFrame], against: str | None = None, against_mode: str = "natural"
) -> pd.DataFrame:
    """Return the mean over seeds and its 95 % interval, a row per arm, mode, task, stage, split and measure.

    `summaries`: of `metrics.scores.summarise`, one per seed of the same experiment; each seed counts as one number,
    because its questions share one training. `against`: average each seed's differences to that arm's answers of mode
    `against_mode`. `n`: the number of seeds; `low`, `high`: Student's t interval; `minimum_detectable` as in `compare`;
    `seeds`: the numbers behind the mean. One seed alone has no interval (nan), as `note` says.

    Raises `InputError` if a seed lacks a cell that another has.
    """
    series = [summary.set_index(list(CELL))["mean"] for summary in summaries]
    if against is not None:
        series = [_minus(values, against, against_mode) for values in series]
    wide = pd.concat(series, axis=1) if series else pd.DataFrame()
    if wide.isna().any(axis=None):
        cell = wide.index[wide.isna().any(axis=1)][0]
        raise InputError(f"not every seed has {', '.join(map(str, cell))}; give complete evaluations of the same arms")
    rows = [dict(zip(CELL, cell)) | _over_seeds(values) for cell, values in zip(wide.index, wide.to_numpy())]
    return pd.DataFrame(rows, columns=[*CELL, "n", "mean", "low", "high", "minimum_detectable", "seeds", "note"])


def _minus(values: pd.Series, against: str, mode: str) -> pd.Series:
    cells: dict[tuple, float] = dict(zip(values.index.tolist(), values.tolist()))
    other = {cell[2:]: value for cell, value in cells.items() if cell[:2] == (against, mode)}
    if not other:
        raise InputError(f"a seed has no {mode} scores of arm {against!r}; evaluate that arm for every seed")
    found = {cell: value - other[cell[2:]] for cell, value in cells.items() if cell[0] != against and cell[2:] in other}
    return pd.Series(list(found.values()), pd.MultiIndex.from_tuples(list(found), names=CELL), dtype=float)


def _over_seeds(values: np.ndarray) -> dict:
    count, mean = len(values), float(values.mean())
    found = {"n": count, "mean": mean, "seeds": values.tolist()}
    if count < 2:
        unknown = dict.fromkeys(("low", "high", "minimum_detectable"), math.nan)
        return found | unknown | {"note": "one seed: no interval between seeds"}
    error, reach = values.std(ddof=1) / math.sqrt(count), stdtrit(count - 1, (1 + LEVEL) / 2)
    least = (reach + stdtrit(count - 1, POWER)) * error
    return found | {"low": mean - reach * error, "high": mean + reach * error, "minimum_detectable": least, "note": ""}
