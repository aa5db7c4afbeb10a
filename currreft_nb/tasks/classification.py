"""Classification: the categories that are in the image; a set of labels.

    {"id": "voc-000005", "task": "classification", "stage": "open", "split": "train", "source": "voc",
     "image": "images/000005.jpg", "size": [500, 375], "question": "Which object categories are in the image?",
     "claim": null, "options": [], "answer": ["chair"], "thinking": null, "parent": null, "extra": {}}

Reward at the open stage: overlap over union of the two label sets (Jaccard), as in the paper, over normalised labels.
"""

import json
import random
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from currreft_nb.core.answers import Unreadable, parse_labels, plain_characters

QUESTION = "{question}"
ANSWER = "Then list the categories, comma separated, inside <answer></answer>."
MEASURES = ("jaccard",)
DENSE = ""
SEVERAL = True
OPTIONS = 5

# Words that no label has, but a sentence.
SENTENCE_WORDS = """
and or not no nor neither either maybe perhaps possibly probably is are was has have it there i see but except without
contains shows only
"""
SENTENCE = frozenset(SENTENCE_WORDS.split())
LABEL_WORDS = 3  # in the longest label of a list that is joined by "and", or is a thought
_AND = re.compile(r"(?:^|\s+)(?:and|&)\s+", re.IGNORECASE)

LABELS_VERSION = 2  # of the tables below; raise it with every change, because scores depend on them
NAMES = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter bench
bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis
snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass cup fork
knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed
dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock
vase scissors teddy_bear hair_drier toothbrush
"""  # COCO-80, which with the synonyms below includes VOC-20
SYNONYMS = """
airplane: aeroplane plane
backpack: rucksack
bicycle: bike
cell_phone: cellular_phone mobile_phone
couch: sofa
donut: doughnut
hair_drier: hair_dryer blow_dryer
keyboard: computer_keyboard
laptop: laptop_computer
microwave: microwave_oven
motorcycle: motorbike motor_bike motor_cycle
mouse: computer_mouse
person: human
refrigerator: fridge
remote: remote_control
skis: ski
tennis_racket: tennis_racquet
tie: necktie
tv: television tv_monitor tv_set television_set
"""  # names of VOC-20, spellings and words for the same thing; none for a kind or a part of it
PLURALS = """
person: people
mouse: mice
knife: knives
bus: busses
"""  # those that `_plural` does not make


def _plural(name: str) -> str:
    if name.endswith(("s", "ch", "sh", "x")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def _table(text: str) -> dict[str, str]:
    """Return the words of each line, with the name in front of its colon."""
    lines = (line.replace(":", "").split() for line in text.strip().splitlines())
    return {word.replace("_", " "): name.replace("_", " ") for name, *words in lines for word in words}


def _writings() -> dict[str, str]:
    """Return the name for each known spelling: singular, plural, and two words as one."""
    names = {name: name for name in _NAMES} | _table(SYNONYMS)
    names |= {_plural(word): name for word, name in names.items()} | _table(PLURALS)
    return {word.replace(" ", ""): name for word, name in names.items()} | names


_NAMES = [name.replace("_", " ") for name in NAMES.split()]
_CANONICAL = _writings()


@lru_cache(maxsize=4096)  # labels repeat; one of an answer has at most 20,000 characters
def normalise(label: str) -> str:
    """Return the label in lower case, without quotes, article and underscores; a known label as COCO names it.

    Full-width characters, composed accents and characters without width make no difference.

    >>> normalise("The traffic_lights."), normalise("Aeroplane"), normalise("red squares")
    ('traffic light', 'airplane', 'red squares')
    """
    if not label.isascii():
        label = plain_characters(label)
    words = re.sub(r"[\s_-]+", " ", label.casefold()).strip(" .,:!?\"'`*。")
    words = re.sub(r"^(?:a|an|the) ", "", words)
    return _CANONICAL.get(words, words)


def render(value: list[str]) -> str:
    """Return labels as text.

    >>> render(["cat", "dog"])
    'cat, dog'
    """
    return ", ".join(value)


def other_forms(value: list[str]) -> list[str]:
    """Return labels as a JSON list, with accents apart from their letters."""
    return [unicodedata.normalize("NFD", json.dumps(value, ensure_ascii=False))]


def parse(text: str, sample: Any) -> list[str]:
    """Return the labels of an answer; raises `Unreadable`.

    "dog and cat" are two labels, unless the whole is one of the right ones.
    """
    labels = parse_labels(text)
    if not _AND.search(text):
        return labels
    known = {normalise(label) for label in sample.answer}
    return [part for label in labels for part in ([label] if normalise(label) in known else _joined(label))]


def _joined(label: str) -> list[str]:
    """Return the labels that "and" joins; the whole where a part is no label but words of a sentence."""
    parts = [part for part in _AND.split(label) if part.strip()]
    return parts if all(map(_is_label, parts)) else [label]


def _is_label(text: str) -> bool:
    words = normalise(text).split()
    return len(words) <= LABEL_WORDS and not SENTENCE.intersection(words)


def thought(text: str, sample: Any) -> list[str]:
    """Return the labels of a think block that is a list of labels: of three words at most, without words of a sentence.

    >>> thought("traffic light, dog", None)
    ['traffic light', 'dog']
    """
    labels = parse_labels(text.rstrip("."))
    if not all(map(_is_label, labels)):
        raise Unreadable("not_labels")
    return labels


def jaccard(a: list[str], b: list[str]) -> float:
    """Return overlap over union of two label lists as sets of normalised labels, in [0, 1].

    >>> jaccard(["dog", "Cats"], ["cat"])
    0.5
    """
    left, right = {normalise(label) for label in a}, {normalise(label) for label in b}
    return len(left & right) / len(left | right) if left | right else 1.0


def accuracy(value: list[str], sample: Any, rules: Any) -> tuple[float, str]:
    """Return the Jaccard overlap with the true labels, and "ok", "partial" or "wrong"."""
    overlap = jaccard(value, sample.answer)
    return overlap, "ok" if overlap == 1 else "partial" if overlap else "wrong"


def same(a: list[str], b: list[str]) -> bool:
    """Say whether two label lists name the same set."""
    return jaccard(a, b) == 1


def measures(value: list[str] | None, sample: Any) -> dict:
    """Return the Jaccard overlap, and the normalised labels, from which `metrics.scores` counts the F1."""
    answered, gold = (sorted({normalise(label) for label in labels}) for labels in (value or (), sample.answer))
    return {"jaccard": jaccard(answered, gold), "labels": answered, "gold": gold}


def distractors(sample: Any, rng: random.Random, alike: Mapping[str, Mapping[str, int]] = {}) -> list[list[str]]:
    """Return wrong answers: the true labels with one of them replaced by a label that is absent from the image.

    Absent labels are drawn from `alike` without replacement, weighted by how often they occur, alone and together with
    the true ones: as wrong options they are then about as frequent as they are as right ones. Labels of other objects
    that are known to be in the image (`extra["others"]`) are never drawn.
    """
    others = (other["label"] for other in sample.extra.get("others", ()))
    present = {normalise(label) for label in (*sample.answer, *others)}
    absent = {normalise(label): label for label in sorted(alike) if normalise(label) not in present}

    def key(label: str) -> float:
        weight = alike[label][label] + sum(alike.get(other, {}).get(label, 0) for other in sample.answer)
        return rng.random() ** (1 / weight)  # Efraimidis and Spirakis 2006: the largest keys are such a draw

    return [_replaced(sample.answer, label, rng) for label in sorted(absent.values(), key=key, reverse=True)]


def false_claim(sample: Any, wrong: list[list[str]], rng: random.Random) -> dict:
    """Return the fields of a question with candidates, whose claim replaces one label; other claims are whole answers.

    Sorted labels stay sorted, because a label out of order would give the verdict away.
    """
    claim = _replaced(sample.answer, wrong[0][0], rng)
    return {"claim": sorted(claim) if sample.answer == sorted(sample.answer) else claim}


def _replaced(labels: list[str], absent: str, rng: random.Random) -> list[str]:
    position = rng.randrange(len(labels))
    return [*labels[:position], absent, *labels[position + 1 :]]
