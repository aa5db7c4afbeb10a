"""Questions about drawn scenes, each with its answer and reasoning."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes.drawing import COLORS, SHAPES, SIDE, Box, Scene, Thing, pairs

LARGEST_COUNT = 4
COUNTS = [str(count) for count in range(LARGEST_COUNT + 1)]
CLEARLY_ASIDE = 12  # pixels between the middles of two things, for left or right
CLEARLY_LARGER = 1.4  # times the area of the next one
NUMBER_WORDS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER_WORDS += ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen")
WORD_GROUPS = (tuple(COLORS), SHAPES, NUMBER_WORDS[:10])


def ask_where(scene: Scene, thing: Thing) -> Sample:
    """Return the detection question for a thing whose colour-shape pair occurs once."""
    boxes = sorted([*(other.box for other in scene.things), *scene.spare])
    names = Counter(other.name for other in scene.things)
    others = []
    for other in (other for other in scene.things if other is not thing):
        question = f"Locate the {other.name}." if names[other.name] == 1 else None
        fields = {"label": other.name, "question": question, "box": list(other.box), "thinking": box_text(other.box)}
        others.append(fields)
    extra = {"kind": "locate", "cells": [thing.cell], "candidates": [list(box) for box in boxes], "others": others}
    return _about(scene, "detection", f"Locate the {thing.name}.", [list(thing.box)], box_text(thing.box), extra)


def ask_kind(scene: Scene, thing: Thing, kind: str) -> Sample:
    """Return the question for the "shape" or "color" of a thing, of which the other one occurs once."""
    if kind == "shape":
        question, answer = f"What shape is the {thing.color} object?", thing.shape
        candidates = [shape for color, shape in pairs(scene.look) if color == thing.color]
    else:
        question, answer = f"What color is the {thing.shape}?", thing.color
        candidates = [color for color, shape in pairs(scene.look) if shape == thing.shape]
    extra = {"kind": kind, "cells": [thing.cell], "candidates": candidates}
    return _about(scene, "classification", question, [answer], answer, extra)


def ask_count(scene: Scene, color: str) -> Sample:
    """Return the counting question for a colour; the thinking lists the cells of the objects that count."""
    cells = _cells_of(thing for thing in scene.things if thing.color == color)
    thinking = f"{cells}={len(cells)}"
    extra = {"kind": "count", "cells": cells, "candidates": list(COUNTS)}
    return _about(scene, "math", f"How many {color} objects are there?", str(len(cells)), thinking, extra)


def ask_all(scene: Scene, color: str, others: Iterable[Sequence[Thing]]) -> Sample:
    """Return the question for the cells of all things of a colour; the things of `others` are offered as wrong answers.

    It is all or nothing: the answer is right if every cell is in it, and no other.
    """
    shown = [thing for thing in scene.things if thing.color == color]
    answer, *wrong = (_cells_of(things) for things in (shown, *others))
    extra = {"kind": "listing", "cells": answer, "candidates": sorted({str(cells) for cells in (answer, *wrong)})}
    return _about(scene, "math", f"Where are the {color} objects?", str(answer), str(answer), extra)


def ask_side(scene: Scene, first: Thing, second: Thing) -> Sample:
    """Return the general question on which side of the second thing the first one is."""
    answer = "left" if first.middle < second.middle else "right"
    question = f"Is the {first.color} object left or right of the {second.color} object?"
    return _about(scene, "general", question, answer, answer, {"kind": "side", "cells": [first.cell, second.cell]})


def ask_largest(scene: Scene) -> Sample:
    """Return the general question for the colour of the largest thing."""
    largest = max(scene.things, key=lambda thing: thing.area)
    extra = {"kind": "largest", "cells": [largest.cell]}
    return _about(scene, "general", "What color is the largest object?", largest.color, largest.color, extra)


def ask_everything(scene: Scene) -> list[Sample]:
    """Return every question, of all tasks, that has one clear answer in the scene."""
    names, colors, shapes = (Counter(getattr(t, kind) for t in scene.things) for kind in ("name", "color", "shape"))
    asked = [ask_where(scene, thing) for thing in scene.things if names[thing.name] == 1]
    asked += [ask_kind(scene, thing, "shape") for thing in scene.things if colors[thing.color] == 1]
    asked += [ask_kind(scene, thing, "color") for thing in scene.things if shapes[thing.shape] == 1]
    asked += [ask_count(scene, color) for color in COLORS if colors[color] <= LARGEST_COUNT]
    single = [thing for thing in scene.things if colors[thing.color] == 1]
    asked += [ask_side(scene, a, b) for a in single for b in single if abs(a.middle - b.middle) >= CLEARLY_ASIDE]
    return asked + ([ask_largest(scene)] if has_largest(scene) else [])


def ask_in_words(rng: random.Random) -> Sample:
    """Return a general question without a picture: a sum in words, a comparison of numbers, or the odd word out."""
    kind = rng.choice(["arithmetic", "comparison", "odd"])
    if kind == "arithmetic":
        a, b = rng.randint(0, 9), rng.randint(0, 9)
        if rng.random() < 0.5:
            question, answer = f"What is {NUMBER_WORDS[a]} plus {NUMBER_WORDS[b]}?", NUMBER_WORDS[a + b]
        else:
            question, answer = f"What is {NUMBER_WORDS[a + b]} minus {NUMBER_WORDS[b]}?", NUMBER_WORDS[a]
    elif kind == "comparison":
        a, b = rng.sample(range(100), 2)
        word, choose = ("larger", max) if rng.random() < 0.5 else ("smaller", min)
        question, answer = f"Which is {word}, {a} or {b}?", str(choose(a, b))
    else:
        many, one = rng.sample(WORD_GROUPS, 2)
        answer = rng.choice(one)
        words = [*rng.sample(many, 3), answer]
        rng.shuffle(words)
        question = f"Which word does not fit: {', '.join(words)}?"
    return _sample(task="general", question=question, answer=answer, thinking=answer, extra={"kind": kind})


def box_text(box: Box) -> str:
    """Return a box as text.

    >>> box_text((1, 2, 30, 40))
    '[1, 2, 30, 40]'
    """
    return str(list(box))


def _cells_of(things: Iterable[Thing]) -> list[int]:
    return sorted(thing.cell for thing in things)


def _about(scene: Scene, task: str, question: str, answer: Any, thinking: str, extra: dict) -> Sample:
    extra = {"look": scene.look, **extra}
    return _sample(task=task, question=question, answer=answer, thinking=thinking, size=(SIDE, SIDE), extra=extra)


def _sample(**fields: Any) -> Sample:
    return Sample(id="scene", split="train", source="scenes", **fields)


def has_largest(scene: Scene) -> bool:
    """Return whether one thing is clearly larger than the others."""
    areas = sorted((thing.area for thing in scene.things), reverse=True)
    return len(areas) > 1 and areas[0] >= CLEARLY_LARGER * areas[1]
