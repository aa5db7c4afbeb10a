"""How much comes from which source: what may stand after a source's path.

    "llava:geo170k/qa_tuning.json | math 100"         at most 100 math questions in each split, and of no other task
    "voc:VOC2012 | 500"                               at most 500 of each task
    "refcoco:refcoco | weight 2"                      twice the share of a source with weight 1
    "coco:coco | classification 1000, weight 0.5"     both

Where every source of a split states a number for a task, their sum is what is asked for, if that is less than the
number asked for anyway. Weights divide what is asked for among the sources that have such questions; what one of them
cannot give the others fill up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from currreft_nb import InputError
from currreft_nb.curation_splits import Cell
from currreft_nb.samples import TASKS, check_tasks

Limits = dict[tuple[str, str, str], int]  # by split, task, source


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What is taken of one source: at most so many questions by task (unnamed tasks: none; no names: all), a weight."""

    quotas: dict[str, int] = field(default_factory=dict)
    weight: float | None = None

    def quota(self, task: str) -> int | None:
        """Return the largest number of questions of a task, or None if there is no limit."""
        return self.quotas.get(task, 0) if self.quotas else None


Mixture = dict[str, dict[str, Portion]]  # by split, by source


def read_mixture(groups: Mapping[str, Sequence[str]]) -> Mixture:
    """Return the portions by split and source. Raises `InputError` for what is no portion."""
    mixture: Mixture = {}
    for split, texts in groups.items():
        portions = mixture.setdefault(split, {})
        for text in texts:
            source, portion = read_portion(text)
            if source in portions:
                raise InputError(f"source {source!r} is named twice for the split {split!r}; name it once")
            portions[source] = portion
    return mixture


def read_portion(text: str) -> tuple[str, Portion]:
    """Return the source and how much is taken of it.

    >>> read_portion("voc:VOC2012 | detection 20, weight 2")
    ('voc:VOC2012', Portion(quotas={'detection': 20}, weight=2.0))
    """
    source, bar, terms = text.partition("|")
    quotas: dict[str, int] = {}
    weight = None
    for term in terms.split(",") if bar else ():
        *name, number = term.split() or [""]
        try:
            if name == ["weight"]:
                weight = _positive(float(number))
            else:
                check_tasks(name or TASKS)
                quotas |= dict.fromkeys(name or TASKS, int(_positive(int(number))))
        except ValueError as problem:
            raise InputError(
                f"source {text!r}: {term.strip()!r} is no portion ({problem}); after | write numbers of questions, "
                "as in 'math 100, general 50' or '500', or 'weight 2'"
            ) from None
    return source.strip(), Portion(quotas=quotas, weight=weight)


def _positive(number: float) -> float:
    if not (number > 0 and math.isfinite(number)):
        raise ValueError("it must be more than nothing")
    return number


def asked_for(wanted: Mapping[Cell, int], mixture: Mixture) -> dict[Cell, int]:
    """Return how many questions to ask for where the sources of a split state how many they may give."""
    asked = {}
    for (split, task), number in wanted.items():
        quotas = [portion.quota(task) for portion in mixture[split].values()]
        stated = [quota for quota in quotas if quota is not None]
        asked[split, task] = number if len(stated) < len(quotas) else min(number, sum(stated))
    return {cell: number for cell, number in asked.items() if number}


def quotas_of(mixture: Mixture, cells: Mapping[Cell, int]) -> Limits:
    """Return the limits that the quotas set."""
    found = {
        (split, task, source): portion.quota(task)
        for split, task in cells
        for source, portion in mixture[split].items()
    }
    return {key: quota for key, quota in found.items() if quota is not None}


def shares_of(mixture: Mixture, wanted: Mapping[Cell, int], has: set[tuple[str, str]]) -> Limits:
    """Return the limits that the weights set, among the (source, task) pairs in `has`; none without any weight.

    >>> mixture = read_mixture({"train": ["voc:a | weight 2", "voc:b", "voc:c"]})
    >>> shares_of(mixture, {("train", "math"): 7}, {("voc:a", "math"), ("voc:b", "math")})
    {('train', 'math', 'voc:a'): 5, ('train', 'math', 'voc:b'): 2}
    """
    limits: Limits = {}
    for (split, task), number in wanted.items():
        portions = {source: portion for source, portion in mixture[split].items() if (source, task) in has}
        if all(portion.weight is None for portion in portions.values()):
            continue
        weights = {source: portion.weight or 1.0 for source, portion in portions.items()}
        limits |= {(split, task, source): share for source, share in _divide(number, weights).items()}
    return limits


def _divide(number: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return whole shares in proportion to the weights; what rounding leaves over goes to the largest remainders."""
    exact = {name: number * weight / sum(weights.values()) for name, weight in weights.items()}
    shares = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: number - sum(shares.values())]:
        shares[name] += 1
    return shares
