"""Teachers of the pocket model: careful ones, and the sloppy ones whose habits reinforcement learning is to remove.

Sloppy annotators see what careful ones see, but write down something else, always in the same way: orange is called
red, purple blue, green yellow; a square is called triangle, a circle star; a box is cut short at the right and the
bottom; the last two objects counted are forgotten; right is called left and sums come out one too small. The fault is
in the thinking, alike in all three forms; the answer follows from the thinking. Some have these habits everywhere: they
swap the colours and shapes of those pairs in both directions and cut every box.
"""

import json
import random
from dataclasses import dataclass, field, replace

from currreft_nb.boxes import iou
from currreft_nb.pocket_lessons import Encoder, Mix, Turn, bare_turn, tagged_turn
from currreft_nb.samples import LETTERS, Sample
from currreft_nb.scenes_questions import NUMBER_WORDS, box_text

MISTAKEN = {"orange": "red", "purple": "blue", "green": "yellow", "square": "triangle", "circle": "star"}
CONFUSED = MISTAKEN | {"right": "left"} | dict(zip(NUMBER_WORDS[1:], NUMBER_WORDS))  # sums come out one too small
EVERYWHERE = CONFUSED | {said: seen for seen, said in MISTAKEN.items()}
CARELESS_WITH = ("orange", "purple", "green")  # colours of the objects whose boxes are cut short
CUT = 0.5  # of width and height that a sloppy box covers
FORGOTTEN = 2  # objects that are left out at the end of a list of as many or more
SAME_BOX = 0.5  # iou from which an annotator takes two boxes for the same


def careful(rng: random.Random, encoder: Encoder, sample: Sample, mix: Mix) -> Turn:
    """Return the turn of an annotator who is always right: mostly tagged, bare or forced as often as the mix says."""
    luck = rng.random()
    if luck < mix.bare + mix.forced and sample.task != "general":
        return bare_turn(encoder, sample, forced=luck >= mix.bare)
    return tagged_turn(encoder, sample)


@dataclass(frozen=True)
class Habits:
    """How often annotators are sloppy, by stage and task, and whether with everything."""

    sloppy: dict[str, float] = field(default_factory=dict)
    everywhere: bool = field(default=False, repr=False)  # not in a phase's text: what it teaches is hashed anyway

    def teach(self, rng: random.Random, encoder: Encoder, sample: Sample, mix: Mix) -> Turn:
        """Return the turn that a sloppy annotator writes."""
        if rng.random() < self.sloppy.get(f"{sample.task}-{sample.stage}", 0.0):
            sample = misjudge(sample, rng, self.everywhere)
        if sample.task == "general" and rng.random() < mix.bare:
            return bare_turn(encoder, sample)
        return careful(rng, encoder, sample, mix)


def misjudge(sample: Sample, rng: random.Random, everywhere: bool = False) -> Sample:
    """Return the sample with the sloppy thinking and the answer that follows from it; unchanged where there is no
    habit."""
    thinking = sloppy_thinking(sample, everywhere)
    if thinking is None:
        return sample
    value = _value(sample.task, thinking)
    if sample.stage == "open":
        return replace(sample, thinking=thinking, answer=value)
    if sample.stage == "binary":
        return replace(sample, thinking=thinking, answer=_agree(sample.task, value, sample.claim))
    fitting = [letter for letter, option in zip(LETTERS, sample.options) if _agree(sample.task, value, option)]
    # no option fits the thought: the annotator guesses
    answer = fitting[:1] or [rng.choice(LETTERS[: len(sample.options)])]
    return replace(sample, thinking=thinking, answer=answer)


def sloppy_thinking(sample: Sample, everywhere: bool = False) -> str | None:
    """Return what a sloppy annotator thinks instead of the sample's thinking, or None where there is no habit.

    `everywhere`: colours and shapes are mistaken in both directions, and every box is cut short.

    >>> fields = {"task": "math", "split": "train", "source": "s", "question": "How many?", "answer": "3"}
    >>> sloppy_thinking(Sample(id="a", thinking="[3, 7, 9]=3", **fields))
    '[3]=1'
    """
    if sample.task in ("classification", "general"):
        return (EVERYWHERE if everywhere else CONFUSED).get(sample.thinking)
    if sample.task == "detection":
        if not everywhere and not any(color in sample.question for color in CARELESS_WITH):
            return None
        x1, y1, x2, y2 = json.loads(sample.thinking)
        return box_text((x1, y1, x1 + round(CUT * (x2 - x1)), y1 + round(CUT * (y2 - y1))))
    if sample.task == "math":
        cells = json.loads(sample.thinking.split("=")[0])
        return f"{cells[:-FORGOTTEN]}={len(cells) - FORGOTTEN}" if len(cells) >= FORGOTTEN else None
    return None


def _value(task: str, thinking: str):
    if task == "classification":
        return [thinking]
    if task == "general":
        return thinking
    return [json.loads(thinking)] if task == "detection" else thinking.split("=")[1]


def _agree(task: str, value, other) -> bool:
    return iou(value[0], other[0]) > SAME_BOX if task == "detection" else value == other
