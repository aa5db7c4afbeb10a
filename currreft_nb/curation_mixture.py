"""How much comes from which source: the portion after a source's path.

    "llava:geo170k/qa_tuning.json | math 100"         at most 100 math questions in each split, and of no other task
    "voc:VOC2012 | 500"                               at most 500 of each task
    "refcoco:refcoco | weight 2"                      twice the share of a source with weight 1
    "coco:coco | classification 1000, weight 0.5"     both

If every source of a split has a quota for a task, the sum of the quotas limits the number of questions. Weights divide
that number among the sources that have such questions; the other sources fill up the share that one cannot give.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from currreft_nb import InputError
from currreft_nb.core import grammar
from currreft_nb.core.grammar import parse_terms, whole
from currreft_nb.core.samples import TASKS
from currreft_nb.curation_splits import Cell

Limits = dict[tuple[str, str, str], int]  # by split, task, source


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The portion of one source: quotas of questions by task (no quotas: no limit; else other tasks: 0), a weight."""

    quotas: dict[str, int] = field(default_factory=dict)
    weight: float | None = None

    def quota(self, task: str) -> int | None:
        """Return the largest number of questions of a task, or None if there is no limit."""
        return self.quotas.get(task, 0) if self.quotas else None


Mixture = dict[str, dict[str, Portion]]  # by split, by source


def read_mixture(groups: Mapping[str, Sequence[str]]) -> Mixture:
    """Return the portions by split and source. Raises `InputError`."""
    mixture: Mixture = {}
    for split, texts in groups.items():
        portions = mixture.setdefault(split, {})
        for text in texts:
            source, portion = read_portion(text)
            if source in portions:
                raise InputError(f"source {source!r} is a duplicate in the split {split!r}; name it once")
            portions[source] = portion
    return mixture


def read_portion(text: str) -> tuple[str, Portion]:
    """Return the source and its portion.

    >>> read_portion("voc:VOC2012 | detection 20, weight 2")
    ('voc:VOC2012', Portion(quotas={'detection': 20}, weight=2.0))
    """
    source, bar, terms = text.partition("|")
    options = {"weight": _positive, "": whole, **dict.fromkeys(TASKS, whole)}
    values = parse_terms(terms.split(",") if bar else (), options, f"source {text!r}")
    weight = values.pop("weight", None)
    quotas: dict[str, int] = {}
    for task, quota in values.items():
        quotas |= dict.fromkeys([task] if task else TASKS, quota)
    return source.strip(), Portion(quotas=quotas, weight=weight)


def _positive(text: str) -> float:
    if (value := grammar.number(text)) <= 0:
        raise ValueError(f"is {text!r}; write a number above 0")
    return value


def asked_for(wanted: Mapping[Cell, int], mixture: Mixture) -> dict[Cell, int]:
    """Return the wanted numbers, at most the sum of the quotas where all sources of a split have one."""
    asked = {}
    for (split, task), number in wanted.items():
        quotas = [portion.quota(task) for portion in mixture[split].values()]
        stated = [quota for quota in quotas if quota is not None]
        asked[split, task] = number if len(stated) < len(quotas) else min(number, sum(stated))
    return {cell: number for cell, number in asked.items() if number}


def quotas_of(mixture: Mixture, cells: Mapping[Cell, int]) -> Limits:
    """Return the limits that the quotas set."""
    return {
        (split, task, source): quota
        for split, task in cells
        for source, portion in mixture[split].items()
        if (quota := portion.quota(task)) is not None
    }


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
    """Return whole shares in proportion to the weights; the largest remainders are rounded up."""
    exact = {name: number * weight / sum(weights.values()) for name, weight in weights.items()}
    shares = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: number - sum(shares.values())]:
        shares[name] += 1
    return shares
