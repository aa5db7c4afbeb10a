"""Judges, which give an answer points from 0 to 100 and a reason.

    rule                                                           the verifiable rewards; needs a reference
    http:gpt-4o@https://api.openai.com/v1 | dollars_in 2.5         a model at an endpoint (`rejection.endpoint_judge`)
    recorded:outputs/pocket/reject/verdicts-gpt-4o-1f0c2a.jsonl    stored verdicts of that model

A judge is a callable from (sample, completion) pairs to one verdict each. In the paper GPT-4o gives points for
accuracy, logical consistency, format and fluency. The rule judge gives points only for accuracy and format.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.grammar import Options, parse
from currreft_nb.core.samples import Sample
from currreft_nb.endpoints.endpoint import OPTIONS, Endpoint, endpoint_at
from currreft_nb.method.rewards import score

MISFORMED_CEILING = 84.0  # one below the paper's threshold of 85, so that a wrong format is never kept
KINDS: dict[str, Options] = {"rule": {}, "http": OPTIONS, "recorded": {}}

Pair = tuple[Sample, str]
Judge = Callable[[Sequence[Pair]], list["Verdict"]]


@dataclass(frozen=True)
class Verdict:
    """A judge's points for one completion, from 0 to 100, None where it gave none, and the reason."""

    total: float | None = None
    accuracy: float | None = None
    consistency: float | None = None
    format: float | None = None
    fluency: float | None = None
    reason: str = ""


def rule_judge(sample: Sample, completion: str, frame: Frame | None = None) -> Verdict:
    """Judge by the verifiable rewards: 100 times the accuracy, at most 84 if the format is wrong.

    `frame`: how the model writes boxes; None means pixels of the stored image. No rule can judge consistency and
    fluency: they are None. Without a reference all points are None and the reason is "no_reference".

    >>> sample = Sample(id="a", task="math", split="pool", source="s", question="6 * 7", answer="42")
    >>> rule_judge(sample, "<think>six sevens</think><answer>42</answer>").total
    100.0
    >>> rule_judge(sample, "<answer>42</answer>")
    Verdict(total=84.0, accuracy=100.0, consistency=None, format=0.0, fluency=None, reason='no_think')
    """
    if sample.answer is None:
        return Verdict(reason="no_reference")
    earned = score(sample, completion, frame)
    accuracy = 100 * earned.value
    total = accuracy if earned.format == 1 else min(MISFORMED_CEILING, accuracy)
    return Verdict(total, accuracy, None, 100 * earned.format, None, earned.reason)


@dataclass(frozen=True)
class JudgeName:
    """A judge as a parameter names it: a rule, an `endpoint`, or the path of a file, `recorded`."""

    text: str
    recorded: str = ""
    endpoint: Endpoint | None = None

    @property
    def name(self) -> str:
        """The judge's name in tables and records."""
        return self.endpoint.name if self.endpoint else self.text


def read_judges(texts: Sequence[str]) -> list[JudgeName]:
    """Return the judges that a parameter names. Raises `InputError` for no judge, a duplicate or an invalid one.

    >>> [judge.name for judge in read_judges(["rule", "http:org/judge@http://127.0.0.1:8000/v1 | concurrency 4"])]
    ['rule', 'org/judge@http://127.0.0.1:8000/v1']
    """
    found = []
    for text in map(str.strip, texts):
        kind, place, values = parse(text, KINDS, "judges", bare=["rule"])
        endpoint = endpoint_at(place, values) if kind == "http" else None
        found.append(JudgeName(text, recorded=place if kind == "recorded" else "", endpoint=endpoint))
    names = [judge.name for judge in found]
    if not names:
        raise InputError("judges is empty; name at least one, such as rule")
    if len(set(names)) < len(names):
        raise InputError(f"judges: duplicate {max(names, key=names.count)!r}; name each judge once")
    return found


def agreement(rows: Sequence[Mapping], threshold: float) -> pd.DataFrame:
    """Return a row for each pair of judges, over the answers to which both gave points; `rows` of `judge_answers`.

    `keep_one`, `keep_other`: the share that each would keep. `agree`: the share with the same decision. `kappa`:
    Cohen's, agreement beyond chance, at most 1; NaN where both keep all or none. `difference`: the mean absolute
    difference of their points. `correlation`: Pearson's, of the points; NaN where the points of one judge are constant.
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


def kappa(one: ArrayLike, other: ArrayLike) -> float:
    """Return Cohen's kappa of two judges' decisions; NaN without decisions, or where chance alone explains them all.

    >>> kappa([True, True, False, False], [True, False, False, False])
    0.5
    """
    if not np.size(one):
        return float("nan")
    first, second = (np.mean(np.asarray(decisions, dtype=float)) for decisions in (one, other))
    agree = np.mean(np.equal(one, other))
    by_chance = first * second + (1 - first) * (1 - second)
    return float("nan") if by_chance == 1 else float((agree - by_chance) / (1 - by_chance))
