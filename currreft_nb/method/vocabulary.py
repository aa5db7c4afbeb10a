"""Answers to questions of the same kind: wrong answers are drawn from them, so that words alone do not tell.

Offered *green* as an answer to "is there a circle?", nobody needs the picture. So questions have kinds, and a wrong
answer is one that is right for another question of the kind. A kind is the type of the answer (yes or no, a number, a
number with that unit, ...) and the first words of the question, four at most:

    is there a circle?             yes / no    is there a circle, is there a, is there, is, (any)
    what colour is the square?     text        what colour is the, what colour is, what colour, what, (any)

The longest beginning counts that has other answers: for labels one that is not in this answer; for boxes ten, as shares
of the picture's sides; for texts (mathematics) four, each given three times on average: then they are a closed set,
such as counts. What is never an answer, such as a category without annotations, is never offered.

A false claim about labels is another question's whole answer (`answers_like`), because labels alone tell: where nearly
every picture has red cells, a claim without them is false. Claims that leave out, add or exchange labels are then true
as often as false, unless one answer is right for more than half of the questions.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from currreft_nb.core.samples import TRAINED_TASKS, VALUES, Sample, size_of

WORDS = 4  # of a question; the question types of VQA are as long (Antol et al. 2015, "VQA", figure 3)
MOST_VALUES = 200  # boxes, texts or whole answers of a kind that are kept, to bound memory; labels are few
ENOUGH_BOXES, ENOUGH_TEXTS = 10, 4
CLOSED = 3  # questions for each answer
CLOSED_WORDS = 2  # a closed set needs a beginning of so many words

Items = dict[Any, dict[Any, int]]

_WORD = re.compile(r"[㐀-鿿]|\d+|[^\W\d]+")


class Vocabulary:
    """The answers of open samples by kind of question; the order of the samples does not matter.

    Samples that bring options or candidates of their own are left out.

    >>> fields = {"task": "classification", "split": "train", "source": "s", "question": "What is here?"}
    >>> known = Vocabulary(Sample(id=id, answer=a, **fields) for id, a in {"a": ["dog", "cat"], "b": ["dog"]}.items())
    >>> known.like(Sample(id="c", answer=["dog"], **fields))
    {'cat': {'cat': 1, 'dog': 1}, 'dog': {'cat': 1, 'dog': 2}}
    """

    def __init__(self, samples: Iterable[Sample]):
        self._kinds: dict[tuple, Items] = {}
        self._given: dict[tuple, list[tuple[bytes, tuple[str, ...]]]] = {}  # with the hashes of their questions
        for sample in samples:
            own = sample.options or sample.extra.get("candidates")
            if sample.stage == "open" and sample.task in TRAINED_TASKS and not own:
                self._add(sample)
        for kind, items in self._kinds.items():
            _prune(kind, items, MOST_VALUES)
            self._kinds[kind] = {value: dict(sorted(items[value].items())) for value in sorted(items)}
        self._answers = {
            kind: dict(Counter(labels for _, labels in sorted(given)[:MOST_VALUES]))
            for kind, given in self._given.items()
        }
        self._given.clear()

    def _add(self, sample: Sample) -> None:
        values = _values(sample)
        for kind in _kinds(sample):
            items = self._kinds.setdefault(kind, {})
            for value in values:
                counts = items.setdefault(value, {})
                for other in values:
                    counts[other] = counts.get(other, 0) + 1
            _prune(kind, items, 2 * MOST_VALUES)
            if VALUES[sample.task] == "labels":
                given = self._given.setdefault(kind, [])
                given.append((_hash(sample.id), tuple(values)))
                if len(given) > 2 * MOST_VALUES:
                    given[:] = sorted(given)[:MOST_VALUES]

    def like(self, sample: Sample) -> Items:
        """Return the answers to questions of the sample's kind: how often each was given with each other, sorted.

        With itself: how often it was given. Labels and texts are themselves; a box is four shares of the sides. Without
        enough answers to questions of this kind it is {}.
        """
        for kind in _kinds(sample):
            items = self._kinds.get(kind, {})
            if _are_enough(sample, items, len(kind[-1])):
                return items
        return {}

    def answers_like(self, sample: Sample) -> Iterator[dict[tuple[str, ...], int]]:
        """Yield the whole answers to questions of a classification sample's kind, and how often each was given.

        The narrowest kind comes first. The answers are those of 200 questions at most, chosen at random.
        """
        yield from (self._answers[kind] for kind in _kinds(sample) if kind in self._answers)


def _kinds(sample: Sample) -> list[tuple]:
    """Return the kinds of a question, the narrowest first."""
    words = ["#" if word.isdigit() else word for word in _WORD.findall(sample.question.casefold())[:WORDS]]
    answer = _answer_type(sample)
    return [(sample.task, answer, tuple(words[:length])) for length in range(len(words), -1, -1)]


def _answer_type(sample: Sample) -> str:
    """Return what kind of answer it is: yes or no, a number, a text; with mathematics the text without its numbers."""
    if VALUES[sample.task] == "boxes":
        return ""
    if VALUES[sample.task] == "text":
        return re.sub(r"\d+(?:\.\d+)?", "#", sample.answer)
    labels = {label.casefold().strip(" .") for label in sample.answer}
    if labels <= {"yes", "no"}:
        return "yes or no"
    return "number" if all(label.isdigit() for label in labels) else "text"


def _values(sample: Sample) -> list:
    if VALUES[sample.task] == "boxes":
        sides = (*size_of(sample), *size_of(sample))
        return [tuple(round(edge / side, 4) for edge, side in zip(box, sides)) for box in sample.answer]
    return [sample.answer] if VALUES[sample.task] == "text" else sample.answer


def _prune(kind: tuple, items: Items, most: int) -> None:
    """Keep the values with the lowest hashes: a random choice that does not depend on the order of the samples."""
    if VALUES[kind[0]] != "labels" and len(items) > most:
        for value in sorted(items, key=lambda value: _hash(repr(value)))[MOST_VALUES:]:
            del items[value]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _are_enough(sample: Sample, items: Items, words: int) -> bool:
    if VALUES[sample.task] == "labels":
        return not items.keys() <= {*sample.answer}
    if VALUES[sample.task] == "boxes":
        return len(items) >= ENOUGH_BOXES
    given = sum(counts[value] for value, counts in items.items())
    closed = len(items) >= ENOUGH_TEXTS and given >= CLOSED * len(items)
    return closed and words >= CLOSED_WORDS
