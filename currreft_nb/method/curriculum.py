"""Pose an open question as yes/no (binary) and as multiple choice: the same problem, with rewards in easier reach.

    open     {"id": "a", "question": "How many circles?", "answer": "3", "extra": {"candidates": ["0", "1", …, "6"]}}
    binary   {"id": "a:binary", "parent": "a", "claim": "4", "answer": false, ...}
    choice   {"id": "a:choice", "parent": "a", "options": ["1", "3", "0", "4"], "answer": ["B"], ...}

The paper's recipe for these forms is not released; this one is ours. A posed sample depends only on the id, the stage
and the seed, and without candidates on the vocabulary, never on the order of the samples. Three rules keep the text
from giving the answer away: a claim is true with probability one half, the position of the right option is uniform, and
wrong values are answers to questions of the same kind (`method.vocabulary`). Where a sample has a closed answer
vocabulary (`extra["candidates"]`), wrong values are uniform draws from it; if the true answers are uniform over the
candidates, too, only the image separates right from wrong. What still gives itself away, `data.audit` finds.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import iou
from currreft_nb.core.samples import LETTERS, STAGES, TRAINED_TASKS, VALUES, Sample
from currreft_nb.method.vocabulary import Vocabulary
from currreft_nb.tasks import TASK_MODULES
from currreft_nb.tasks.detection import ALIKE_IOU, FALSE_IOU

SINGLE_SHARE = 0.4  # of choices where several options may be right: one is, even where several items are present


class CannotPose(ValueError):
    """The sample has no honest form at that stage; `reason` says why, in words that do not depend on the sample."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def pose(sample: Sample, stage: str, seed: int, vocabulary: Vocabulary | None = None) -> Sample:
    """Return the open sample in the form of `stage`; at the open stage unchanged.

    Wrong answers are drawn from the `vocabulary` where a sample has no candidates. Raises `CannotPose` where no wrong
    answer can be made, `InputError` for a sample that is not open or an unknown stage.

    >>> extra = {"candidates": ["0", "1", "2", "3", "4", "5", "6"]}
    >>> sample = Sample(id="a", task="math", split="val", source="s", question="How many?", answer="3", extra=extra)
    >>> posed = pose(sample, "choice", seed=0)
    >>> posed.id, len(posed.options), [posed.options["ABCD".index(letter)] for letter in posed.answer]
    ('a:choice', 4, ['3'])
    """
    if stage not in STAGES:
        raise InputError(f"stage is {stage!r}, but must be one of {', '.join(STAGES)}")
    if sample.stage != "open":
        raise InputError(
            f"sample {sample.id!r} is already posed ({sample.stage}); pose its open parent {sample.parent!r} instead"
        )
    if stage == "open":
        return sample
    if sample.task not in TRAINED_TASKS:
        raise CannotPose(f"{sample.task} questions are asked at the open stage only")
    digest = hashlib.sha256(f"{sample.id}\n{stage}\n{seed}".encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8], "big"))
    if stage == "binary":
        fields = _binary_fields(sample, digest[-1] % 2 == 1, rng, vocabulary)
    elif TASK_MODULES[sample.task].SEVERAL:
        fields = _several_choice_fields(sample, rng, vocabulary)
    else:
        fields = _choice_fields(sample, rng, vocabulary)
    return replace(sample, id=f"{sample.id}:{stage}", stage=stage, parent=sample.id, **fields)


def pose_all(
    samples: Iterable[Sample], stage: str, seed: int, vocabulary: Vocabulary | None = None
) -> tuple[list[Sample], Counter]:
    """Return the samples at `stage`, in order, and how many could not be posed, by reason.

    Without a vocabulary, that of the samples is used.
    """
    samples = list(samples)
    vocabulary = vocabulary or Vocabulary(samples)
    posed: list[Sample] = []
    reasons: Counter[str] = Counter()
    for sample in samples:
        try:
            posed.append(pose(sample, stage, seed, vocabulary))
        except CannotPose as problem:
            reasons[problem.reason] += 1
    return posed, reasons


def _binary_fields(sample: Sample, verdict: bool, rng: random.Random, vocabulary: Vocabulary | None) -> dict:
    # Made even where the claim will be true: samples that allow no "no" must not remain as a "yes".
    others = _other_answers(sample, vocabulary)
    wrong = [] if others else _wrong_values(sample, 1, rng, vocabulary)
    if verdict:
        return {"claim": true_value(sample), "answer": True, "options": []}
    if others:
        [claim] = rng.choices([*others], [*others.values()])
        return {"claim": [*claim], "answer": False, "options": []}
    return TASK_MODULES[sample.task].false_claim(sample, wrong, rng) | {"answer": False, "options": []}


def _choice_fields(sample: Sample, rng: random.Random, vocabulary: Vocabulary | None) -> dict:
    truth = true_value(sample)
    if sample.options:  # the question's own options keep their order: its text or picture may refer to them by letter
        return {"answer": [sample.answer.strip().upper()]}
    count = TASK_MODULES[sample.task].OPTIONS - 1
    options = _wrong_values(sample, count, rng, vocabulary)[:count]
    rng.shuffle(options)
    position = rng.randrange(len(options) + 1)
    options.insert(position, truth)
    return {"options": options, "answer": [LETTERS[position]]}


def _several_choice_fields(sample: Sample, rng: random.Random, vocabulary: Vocabulary | None) -> dict:
    task = TASK_MODULES[sample.task]
    absent = _absent_items(sample, task.OPTIONS - 1, rng, vocabulary)
    number = len(absent) + 1  # of options, however many are right: otherwise it would give that number away
    wanted = 1 if rng.random() < SINGLE_SHARE else rng.randint(2, 3)
    present = [[item] for item in _distinct(sample.answer, task.normalise)]
    right = rng.sample(present, min(wanted, len(present), number - 1))
    options = right + absent[: number - len(right)]
    rng.shuffle(options)
    return {"options": options, "answer": [letter for letter, option in zip(LETTERS, options) if option in right]}


def true_value(sample: Sample) -> Any:
    """Return the value that answers an open sample: for a question with its own options the value, not the letter.

    >>> true_value(Sample(id="a", task="math", split="val", source="s", question="?", answer="B", options=["3", "4"]))
    '4'
    """
    if VALUES[sample.task] != "text" or not sample.options:
        return sample.answer
    position = LETTERS[: len(sample.options)].find(sample.answer.strip().upper())
    if position < 0 or len(sample.answer.strip()) != 1:
        raise CannotPose("the answer is not the letter of one of the question's own options")
    return sample.options[position]


def _wrong_values(sample: Sample, count: int, rng: random.Random, vocabulary: Vocabulary | None) -> list:
    """Return `count` or more wrong values, best first; fewer only where the closed vocabulary is smaller."""
    task = TASK_MODULES[sample.task]
    if task.SEVERAL:
        return _absent_items(sample, count, rng, vocabulary)
    truth = true_value(sample)
    _refuse_ambiguous(sample)
    if closed := sample.options or _candidates(sample, [truth]):
        # Own options differ as texts: 1-2-3 and 3-2-1 are two of them, though one set of numbers.
        wrong = [v for v in closed if v != truth] if sample.options else _clearly_wrong(sample.task, closed, truth)
        wrong = rng.sample(wrong, min(count, len(wrong)))
        count = min(count, max(1, len(wrong)))
    else:
        wrong = task.distractors(sample, rng, vocabulary.like(sample) if vocabulary else {})
    if len(wrong) < count:
        raise CannotPose(f"only {len(wrong)} of {count} wrong answers can be made")
    return wrong


def _other_answers(sample: Sample, vocabulary: Vocabulary | None) -> dict[tuple[str, ...], float]:
    """Return the answers to other questions of the kind, if they are labels without candidates, with their weights.

    A weight is how often the answer was given, over the number of labels in which it differs: the same in both
    directions, so that labels stay as frequent. An answer with a label that is known to be in the picture may be true.
    """
    if vocabulary is None or not TASK_MODULES[sample.task].SEVERAL or sample.extra.get("candidates"):
        return {}
    own = _names(sample.task, tuple(sample.answer))
    hidden = _names(sample.task, tuple(other["label"] for other in sample.extra.get("others", ()))) - own
    for given in vocabulary.answers_like(sample):
        named = {labels: _names(sample.task, labels) for labels in given}
        if found := {
            labels: given[labels] / len(names ^ own)
            for labels, names in named.items()
            if names != own and names.isdisjoint(hidden)
        }:
            return found
    return {}


@lru_cache(maxsize=10_000)
def _names(task: str, labels: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(TASK_MODULES[task].normalise, labels))


def _clearly_wrong(task: str, values: list, truth: Any) -> list:
    def alike(a: Any, b: Any, limit: float) -> bool:
        return iou(a[0], b[0]) >= limit if VALUES[task] == "boxes" else TASK_MODULES[task].same(a, b)

    chosen: list = []
    for value in values:
        if not alike(value, truth, FALSE_IOU) and not any(alike(value, other, ALIKE_IOU) for other in chosen):
            chosen.append(value)
    return chosen


def _refuse_ambiguous(sample: Sample) -> None:
    """Raise `CannotPose` where another object fits the same phrase: its box would be no wrong answer."""
    asked = sample.question.strip().casefold()
    for other in sample.extra.get("others", ()):
        if (other.get("question") or "").strip().casefold() == asked:
            raise CannotPose("another object in the image answers to the same phrase")


def _absent_items(sample: Sample, count: int, rng: random.Random, vocabulary: Vocabulary | None) -> list[list]:
    """Return one to `count` values of one item each, without names of objects that are known to be in the image."""
    task = TASK_MODULES[sample.task]
    others = (other["label"] for other in sample.extra.get("others", ()))
    present = {task.normalise(item) for item in (*sample.answer, *others)}
    candidates = _candidates(sample, [[item] for item in sample.answer])
    values = candidates or task.distractors(sample, rng, vocabulary.like(sample) if vocabulary else {})
    items = (item for value in values for item in value if task.normalise(item) not in present)
    absent = _distinct(items, task.normalise)
    absent = rng.sample(absent, min(count, len(absent))) if candidates else absent[:count]
    if not absent:
        raise CannotPose("no label is known to be absent")
    return [[item] for item in absent]


def _distinct(items: Iterable[str], normalise: Callable[[str], str]) -> list[str]:
    """Return the items without duplicate names.

    >>> _distinct(["dog", "Sofa", "DOG"], str.casefold)
    ['dog', 'Sofa']
    """
    first: dict[str, str] = {}
    for item in items:
        first.setdefault(normalise(item), item)
    return list(first.values())


def _candidates(sample: Sample, truths: list) -> list:
    """Return the sample's closed answer vocabulary as structured values, or nothing if it has none.

    `extra["candidates"]` lists texts, or single labels or boxes, each a value of its own.
    """
    candidates = sample.extra.get("candidates")
    if not candidates:
        return []
    values = candidates if VALUES[sample.task] == "text" else [[value] for value in candidates]
    for truth in truths:
        if truth not in values:
            raise InputError(f"sample {sample.id!r}: extra.candidates does not contain the answer {truth!r}; add it")
    return values
