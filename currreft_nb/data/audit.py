"""Audit of give-aways: how often is a guesser right that reads a question, but never sees its picture?

    {"task": "detection", "stage": "binary", "guesser": "geometry", "questions": 192, "chance": 0.5, "right": 0.84,
     "low": 0.78, "high": 0.89, "giveaway": true, "telling": [["touches the edge", false], ...]}

There are two guessers, each a logistic regression over tokens:

- `words`: the words of the question and of the claim or option, and pairs of both ("is there" with "green");
- `geometry`: position, size and edges of a box; length, digits and rank of a text; the place of an option.

A yes/no question is guessed right if the verdict is, a multiple choice if the option that looks best is a right one.
Chance is 1/2, or the share of right options. A question is guessed by a guesser that learnt from the questions about
other pictures (five folds). It is a give-away if even the low end of the 95 % interval is above chance by more than a
margin. `telling`: the three tokens that weigh most, each with whether it speaks for "right" (or yes); none for a
guesser at chance.

Open questions are guessed by their words, and never judged: the wording does tell something ("how many" asks for a
number). The guess is the answer that goes with such words (naive Bayes), or the box (ridge regression; right above an
IoU of 1/2); chance is the most common answer, or the mean box, whatever the words.

What the guessers do not find may still be there: they know no grammar and no arithmetic.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from currreft_nb.core.boxes import area, iou
from currreft_nb.core.samples import LETTERS, STAGES, TRAINED_TASKS, VALUES, Sample, size_of
from currreft_nb.tasks import TASK_MODULES

GUESSERS = ("words", "geometry")
COLUMNS = ("task", "stage", "guesser", "questions", "chance", "right", "low", "high", "giveaway", "telling")
MOST = 1000  # questions of a task and form that are audited; `curate` takes the first in the shuffled order of its seed
LEAST = 30  # with fewer, no guesser learns anything
LEAST_PICTURES = 10
FOLDS = 5
TELLING = 3
EDGE_PX = 1.0
SEED = 0  # of the regression

_WORDS = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"-?\d+(?:\.(\d+))?")


def audit(samples: Iterable[Sample], margin: float) -> list[dict]:
    """Return a row for each task, form and guesser, as shown above; forms with fewer than 30 questions have none.

    `margin`: how far above chance the low end of the interval may be before a row counts as a give-away.
    """
    cells: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        cells.setdefault((sample.task, sample.stage), []).append(sample)
    rows = []
    for (task, stage), guesser in product(product(TRAINED_TASKS, STAGES), GUESSERS):
        found = cells.get((task, stage), [])[:MOST]
        pictures = np.unique([s.image or s.question for s in found], return_inverse=True)[1]
        if len(found) < LEAST or len({*pictures}) < LEAST_PICTURES or (stage == "open" and guesser == "geometry"):
            continue
        boxes = VALUES[task] == "boxes"
        guess = _guess_closed if stage != "open" else _guess_box if boxes else _guess_text
        rows.append(_row((task, stage, guesser), *guess(found, pictures, guesser), pictures, margin))
    return rows


def _row(
    names: tuple[str, str, str], hits: np.ndarray, chance: float, telling: list, pictures: np.ndarray, margin: float
) -> dict:
    from currreft_nb.metrics.intervals import mean_interval  # needs pandas, which takes half a second

    low, high = mean_interval(hits.astype(float).tolist(), pictures.tolist())
    numbers = (round(float(value), 3) for value in (chance, hits.mean(), low, high))
    giveaway = bool(names[1] != "open" and low > chance + margin)
    return dict(zip(COLUMNS, (*names, len(hits), *numbers, giveaway, telling if low > chance else [])))


def sentence(row: dict) -> str:
    """Return a row of the audit in words.

    >>> numbers = {"chance": 0.5, "right": 0.91, "low": 0.85, "high": 0.97, "telling": [["says platelets", False]]}
    >>> sentence({"task": "classification", "stage": "binary", "guesser": "words", **numbers})
    'classification, binary: by words alone 91 % [85 %, 97 %] are guessed, by chance 50 %; telling: says platelets → no'
    """
    told = ", ".join(f"{token} → {said(row['stage'], speaks)}" for token, speaks in row["telling"])
    right, low, high, chance = (f"{row[name]:.0%}".replace("%", " %") for name in ("right", "low", "high", "chance"))
    shown = f"{row['task']}, {row['stage']}: by {row['guesser']} alone {right} [{low}, {high}] are guessed"
    return f"{shown}, by chance {chance}; telling: {told}"


def said(stage: str, speaks: bool) -> str:
    """Return what a token speaks for: yes or no, right or wrong."""
    return ("yes" if speaks else "no") if stage == "binary" else ("right" if speaks else "wrong")


def _guess_closed(samples: list[Sample], pictures: np.ndarray, guesser: str) -> tuple[np.ndarray, float, list]:
    """Return for each yes/no or choice sample whether the guess is right, chance, and the most telling tokens."""
    tokens = _word_tokens if guesser == "words" else _geometry_tokens
    owner, texts, truths = [], [], []
    for number, sample in enumerate(samples):
        for place, (value, truth) in enumerate(_offers(sample)):
            owner.append(number)
            texts.append(tokens(sample, value, place))
            truths.append(truth)
    right = np.array(truths)
    scores, telling = _cross_validated(texts, right, pictures[owner])
    if samples[0].stage == "binary":
        return (scores > 0) == right, 0.5, telling
    best = {number: row for row, number in sorted(enumerate(owner), key=lambda pair: scores[pair[0]])}
    hits = np.array([right[best[number]] for number in range(len(samples))])
    return hits, float(np.mean([right[np.array(owner) == n].mean() for n in range(len(samples))])), telling


def _offers(sample: Sample) -> list[tuple[Any, bool]]:
    """Return the values that a closed question shows, each with whether it is right."""
    if sample.stage == "binary":
        return [(sample.claim, sample.answer)]
    return [(option, letter in sample.answer) for letter, option in zip(LETTERS, sample.options)]


def _cross_validated(texts: list[list[str]], right: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, list]:
    """Return the score of each row by a guesser that learnt from the other pictures, and the most telling tokens."""
    from sklearn.feature_extraction.text import CountVectorizer  # takes a second, which only an audit needs
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    counter = CountVectorizer(analyzer=_as_it_is, binary=True, min_df=2)
    table = counter.fit_transform(texts).tocsr()
    make = LogisticRegression(solver="liblinear", random_state=SEED)
    scores = np.zeros(len(right))
    for learnt, asked in GroupKFold(FOLDS).split(table, right, pictures):
        if right[learnt].all() or not right[learnt].any():  # there is nothing to fit
            scores[asked] = 1 if right[learnt].all() else -1
        else:
            scores[asked] = make.fit(table[learnt], right[learnt]).decision_function(table[asked])
    if right.all() or not right.any():
        return scores, []
    share = np.asarray(table.mean(axis=0)).ravel()
    spread = np.sqrt(np.clip(share * (1 - share), 0, None))  # rounding makes a share above 1
    weights = make.fit(table, right).coef_[0] * spread
    names = counter.get_feature_names_out()
    order = sorted(range(len(names)), key=lambda column: (-round(abs(weights[column]), 6), len(names[column])))
    distinct = {round(weights[column], 6): column for column in reversed(order)}  # tokens that always come together
    top = sorted(distinct.values(), key=order.index)[:TELLING]
    return scores, [[str(names[column]), bool(weights[column] > 0)] for column in top]


def _as_it_is(tokens: list[str]) -> list[str]:
    return tokens


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _word_tokens(sample: Sample, value: Any, place: int) -> list[str]:
    asked, said = _words(sample.question), _words(_text(sample, value))
    kind = " ".join(asked[:2])
    alone = [f"asks {word}" for word in asked] if sample.stage == "binary" else []  # the same for all options
    return alone + [f"says {word}" for word in said] + [f"asks {kind}…, says {word}" for word in said]


def _text(sample: Sample, value: Any) -> str:
    whole = [[round(edge) for edge in box] for box in value] if VALUES[sample.task] == "boxes" else value
    return TASK_MODULES[sample.task].render(whole)


def _geometry_tokens(sample: Sample, value: Any, place: int) -> list[str]:
    """Return the option's place, its sizes in bins, their ranks among the options, and edges or digits."""
    values = [value for value, _ in _offers(sample)]
    measure = _box_sizes if VALUES[sample.task] == "boxes" else _text_sizes
    sizes = [measure(sample, other, values) for other in values]
    own = sizes[place]
    tokens = [f"{name} {_bin(name, size)}" for name, size in own.items()]
    if sample.stage == "choice":
        tokens.append(f"is option {LETTERS[place]} of {len(values)}")
        for name, size in own.items():
            ranks = sorted(other[name] for other in sizes if name in other)
            tokens.append(f"{name}: {ranks.index(size) + 1}. of {len(ranks)}")
    return tokens


def _bin(name: str, size: float) -> str:
    """Return the bin of a size: flags and shares in tenths, all others by powers of two."""
    if name.startswith("touches"):
        return "yes" if size else "no"
    return f"{size:.1f}" if name.startswith("share") else f"2^{math.frexp(size)[1]}"


def _box_sizes(sample: Sample, value: Any, values: Sequence) -> dict[str, float]:
    """Return position, size and edges of a box, in shares of the picture's sides."""
    (x1, y1, x2, y2), (width, height) = value[0], size_of(sample)
    gaps = dict(zip(("left", "top", "right", "bottom"), (x1, y1, width - x2, height - y2)))
    touched = {f"touches the {side} edge": float(gap <= EDGE_PX) for side, gap in gaps.items()}
    shares = {"width": (x2 - x1) / width, "height": (y2 - y1) / height, "area": area(value[0]) / (width * height)}
    shares |= {"from the left": (x1 + x2) / 2 / width, "from the top": (y1 + y2) / 2 / height}
    shares["off the middle"] = math.dist((shares["from the left"], shares["from the top"]), (0.5, 0.5))
    shares["overlap with other options"] = sum(iou(value[0], other[0]) for other in values) - 1
    return touched | {"touches an edge": max(touched.values())} | {f"share {name}": v for name, v in shares.items()}


def _text_sizes(sample: Sample, value: Any, values: Sequence) -> dict[str, float]:
    """Return length, words, and of the first number its size, last digit and decimals."""
    text = _text(sample, value)
    sizes = {"characters": float(len(text)), "words": float(len(_words(text)))}
    if number := _NUMBER.search(text):
        sizes |= {"number": float(number[0]), "last digit": float(number[0][-1])}
        sizes["decimals"] = float(len(number[1] or ""))
    return sizes


def _guess_text(samples: list[Sample], pictures: np.ndarray, guesser: str) -> tuple[np.ndarray, float, list]:
    """Return for each open sample whether the answer that goes with its words is right; chance: the most common one."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.model_selection import GroupKFold
    from sklearn.naive_bayes import MultinomialNB

    table = CountVectorizer(analyzer=_words).fit_transform([sample.question for sample in samples])
    _, answers, counts = np.unique([_text(s, s.answer) for s in samples], return_inverse=True, return_counts=True)
    hits = np.zeros(len(samples), dtype=bool)
    for learnt, asked in GroupKFold(FOLDS).split(table, answers, pictures):
        hits[asked] = MultinomialNB().fit(table[learnt], answers[learnt]).predict(table[asked]) == answers[asked]
    return hits, counts.max() / len(samples), []


def _guess_box(samples: list[Sample], pictures: np.ndarray, guesser: str) -> tuple[np.ndarray, float, list]:
    """Return for each open sample whether the box that goes with its words is right; chance: the mean box."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold

    table = CountVectorizer(analyzer=_words).fit_transform([sample.question for sample in samples])
    sides = np.array([size_of(sample) * 2 for sample in samples])
    boxes = np.array([sample.answer[0] for sample in samples]) / sides

    def hit(guesses: np.ndarray) -> np.ndarray:
        return np.array([iou(a, b) > 0.5 for a, b in zip(guesses * sides, boxes * sides)])

    guesses = np.zeros_like(boxes)
    for learnt, asked in GroupKFold(FOLDS).split(table, boxes, pictures):
        guesses[asked] = Ridge().fit(table[learnt], boxes[learnt]).predict(table[asked])
    return hit(guesses), float(hit(np.broadcast_to(boxes.mean(axis=0), boxes.shape)).mean()), []
