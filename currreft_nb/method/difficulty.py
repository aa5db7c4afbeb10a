"""How hard each question is for the present model, and how a stage uses it: drop, order or draw questions.

    {"id": "scene-7:binary", "task": "math", "stage": "binary", "right": 3, "of": 4, "rate": 0.75, "low": 0.301,
     "high": 0.954}

A pass rate is the share of right answers among several sampled ones, as evaluation counts them. A question with a rate
of 0 or 1 gives groups of equal accuracy, which teach little or nothing; a stage may drop such questions. Four answers
estimate a rate only roughly: each rate has an interval, and only the order of questions compares rates without it.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from currreft_nb import InputError
from currreft_nb.core.samples import Sample

DROPS = ("never", "always")  # questions that a stage may leave out: never or always answered right
ORDERS = ("shuffled", "easy_to_hard")


@dataclass(frozen=True)
class PassRate:
    """How many of several sampled answers to a question were right.

    >>> rate = PassRate(right=3, of=4)
    >>> rate.rate, [round(bound, 3) for bound in rate.interval]
    (0.75, [0.301, 0.954])
    """

    right: int
    of: int

    @property
    def rate(self) -> float:
        return self.right / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate (Wilson 1927), which has a width even where all answers are right."""
        return _wilson(self.right, self.of)


@lru_cache
def _wilson(right: int, of: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # slow to import, and needed only where rates were measured

    interval = binomtest(right, of).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def rate_rows(samples: Iterable[Sample], rates: Mapping[str, PassRate]) -> list[dict]:
    """Return one row a sample, as shown at the top."""
    rows = []
    for sample in samples:
        found = rates[sample.id]
        low, high = (round(bound, 3) for bound in found.interval)
        fields = {"right": found.right, "of": found.of, "rate": round(found.rate, 4), "low": low, "high": high}
        rows.append({"id": sample.id, "task": sample.task, "stage": sample.stage, **fields})
    return rows


def keep(
    samples: Sequence[Sample], rates: Mapping[str, PassRate], drop: Sequence[str]
) -> tuple[list[Sample], dict[str, int]]:
    """Return the samples that are not dropped, and how many were, by reason. Raises `InputError` if none is left.

    `drop`: "never" leaves out questions without a right answer, "always" those with right answers only.

    >>> samples = [Sample(id=id, task="math", split="train", source="s", question="?", answer="3") for id in "abc"]
    >>> rates = {"a": PassRate(0, 4), "b": PassRate(2, 4), "c": PassRate(4, 4)}
    >>> kept, dropped = keep(samples, rates, ["always"])
    >>> [sample.id for sample in kept], dropped
    (['a', 'b'], {'math, always right': 1})
    """
    kept: list[Sample] = []
    dropped: Counter[str] = Counter()
    for sample in samples:
        extreme = {0.0: "never", 1.0: "always"}.get(rates[sample.id].rate) if drop else None
        if extreme in drop:
            dropped[f"{sample.task}, {extreme} right"] += 1
        else:
            kept.append(sample)
    if samples and not kept:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(dropped.items()))
        raise InputError(f"no question is left to train on: {reasons}; remove an entry of drop, or skip this stage")
    return kept, dict(sorted(dropped.items()))


def weight(rate: PassRate, target: float) -> float:
    """Return a question's weight in a draw of questions near a target pass rate, in [0, 1].

    It is the likelihood of its right and wrong answers at the target rate, relative to that at its own rate: 1 at the
    target, falling faster the more answers were sampled, so that a rough estimate excludes little.

    >>> [round(weight(PassRate(right, 4), target=0.5), 2) for right in range(5)]
    [0.06, 0.59, 1.0, 0.59, 0.06]
    """
    return math.exp(_log_weight(rate, target))


def _log_weight(rate: PassRate, target: float) -> float:
    right, wrong = rate.right, rate.of - rate.right
    at_own = sum(number * math.log(number / rate.of) for number in (right, wrong) if number)
    return right * math.log(target) + wrong * math.log(1 - target) - at_own


def draw_near(rates: Sequence[PassRate], rows: int, target: float, seed: int | str) -> list[int]:
    """Return the index of a question for each of `rows` places, drawn with replacement in proportion to `weight`."""
    logs = [_log_weight(rate, target) for rate in rates]
    top = max(logs)
    weights = [math.exp(log - top) for log in logs]  # where all are far from the target, the nearest are drawn
    return random.Random(f"{seed} near {target}").choices(range(len(rates)), weights, k=rows)


def easy_first(order: Sequence[int], rates: Sequence[PassRate]) -> list[int]:
    """Return the same draws with the highest pass rate first; equal rates keep their order.

    >>> easy_first([0, 1, 2, 0], [PassRate(1, 4), PassRate(4, 4), PassRate(1, 4)])
    [1, 0, 2, 0]
    """
    return sorted(order, key=lambda index: -rates[index].rate)
