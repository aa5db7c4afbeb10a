"""Annotators that teach the pocket model: careful ones, and sloppy ones whose habits reinforcement learning removes.

Sloppy annotators perceive correctly and write down something else by fixed rules: orange becomes red, purple blue,
green yellow; a square becomes a triangle, a circle a star; a box is cut short at the right and the bottom; the last two
objects counted or listed are left out; right becomes left, and sums are one too small. The thinking is wrong in the
same way in all three forms, and the answer follows from it. Annotators who are sloppy everywhere also swap these
colours and shapes in the other direction and cut every box.
"""

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from currreft_nb.core.boxes import iou
from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.scenes.questions import NUMBER_WORDS, box_text
from currreft_nb.pocket.lessons import Encoder, Mix, Turn, bare_turn, tagged_turn

MISTAKEN = {"orange": "red", "purple": "blue", "green": "yellow", "square": "triangle", "circle": "star"}
CONFUSED = MISTAKEN | {"right": "left"} | dict(zip(NUMBER_WORDS[1:], NUMBER_WORDS))  # sums are one too small
EVERYWHERE = CONFUSED | {said: seen for seen, said in MISTAKEN.items()}
CARELESS_WITH = ("orange", "purple", "green")  # colours of the objects whose boxes are cut short
CUT = 0.5  # share of width and height that a sloppy box covers
FORGOTTEN = 2  # objects left out at the end of a list of that many or more
SAME_BOX = 0.5  # iou above which an annotator takes two boxes for the same


def careful(rng: random.Random, encoder: Encoder, sample: Sample, mix: Mix) -> Turn:
    """Return a correct turn: bare or forced with the mix's shares, else tagged."""
    luck = rng.random()
    if luck < mix.bare + mix.forced and sample.task != "general":
        return bare_turn(encoder, sample, forced=luck >= mix.bare)
    return tagged_turn(encoder, sample)


@dataclass(frozen=True)
class Habits:
    """The shares of sloppy answers by task and stage, and the tasks in which the annotators are sloppy everywhere.

    `cut`: share of width and height that a sloppy box covers.
    """

    sloppy: dict[str, float] = field(default_factory=dict)
    everywhere: tuple[str, ...] = field(default=(), repr=False)  # both are hashed by the lessons that they change
    cut: float = field(default=CUT, repr=False)

    def teach(self, rng: random.Random, encoder: Encoder, sample: Sample, mix: Mix) -> Turn:
        if rng.random() < self.sloppy.get(f"{sample.task}-{sample.stage}", 0.0):
            sample = misjudge(sample, rng, sample.task in self.everywhere, self.cut)
        if sample.task == "general" and rng.random() < mix.bare:
            return bare_turn(encoder, sample)
        return careful(rng, encoder, sample, mix)


def misjudge(sample: Sample, rng: random.Random, everywhere: bool = False, cut: float = CUT) -> Sample:
    """Return the sample with the sloppy thinking and the answer that follows; unchanged where no habit applies."""
    thinking = sloppy_thinking(sample, everywhere, cut)
    if thinking is None:
        return sample
    value = _value(sample, thinking)
    if sample.stage == "open":
        return replace(sample, thinking=thinking, answer=value)
    if sample.stage == "binary":
        return replace(sample, thinking=thinking, answer=_agree(sample.task, value, sample.claim))
    fitting = [letter for letter, option in zip(LETTERS, sample.options) if _agree(sample.task, value, option)]
    # no option fits the thought: the annotator guesses
    answer = fitting[:1] or [rng.choice(LETTERS[: len(sample.options)])]
    return replace(sample, thinking=thinking, answer=answer)


def sloppy_thinking(sample: Sample, everywhere: bool = False, cut: float = CUT) -> str | None:
    """Return a sloppy annotator's thinking, or None where no habit applies.

    `everywhere`: colours and shapes are confused in both directions, and every box is cut short, to the share `cut` of
    its width and height.

    >>> fields = {"task": "math", "split": "train", "source": "s", "question": "How many?", "answer": "3"}
    >>> sloppy_thinking(Sample(id="a", thinking="[3, 7, 9]=3", **fields))
    '[3]=1'
    """
    thinking = sample.thinking or ""
    if sample.task in ("classification", "general"):
        return (EVERYWHERE if everywhere else CONFUSED).get(thinking)
    if sample.task == "detection":
        if not everywhere and not any(color in sample.question for color in CARELESS_WITH):
            return None
        x1, y1, x2, y2 = json.loads(thinking)
        return box_text((x1, y1, x1 + round(cut * (x2 - x1)), y1 + round(cut * (y2 - y1))))
    if sample.task == "math":
        cells, counted, _ = thinking.partition("=")
        listed = json.loads(cells)
        kept = listed[:-FORGOTTEN]
        return None if len(listed) < FORGOTTEN else f"{kept}={len(kept)}" if counted else str(kept)
    return None


def _value(sample: Sample, thinking: str) -> Any:
    if sample.task == "general":
        return thinking
    if sample.task == "math":
        return thinking.split("=")[-1]
    return [thinking] if sample.task == "classification" else [json.loads(thinking)]


def _agree(task: str, value: Any, other: Any) -> bool:
    return iou(value[0], other[0]) > SAME_BOX if task == "detection" else value == other
