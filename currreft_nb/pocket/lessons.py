"""Lessons for the pocket model: several questions about one picture, each a turn of tokens."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random

from PIL import Image
from transformers import PreTrainedTokenizerFast

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import LETTERS, STAGES, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.drawing import SIDE, Scene, cell_of, draw_scene
from currreft_nb.data.scenes.questions import ask_everything, ask_in_words, box_text
from currreft_nb.method.curriculum import CannotPose, pose
from currreft_nb.method.prompts import Style, render_answer, render_question

PATCH, MERGE = 8, 2
STYLE = Style(wording="short", frame=Frame("resized", factor=PATCH * MERGE, min_pixels=1024, max_pixels=4096))
GRID = SIDE // (PATCH * MERGE)  # tokens along one side of a picture
CELLS = GRID * GRID
TAUGHT = ("detection", "classification", "math")  # the tasks of the shipped models; later tasks change no recipe
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
ZERO_KEPT = 0.15  # of the questions that count a colour and find none, as most colours are absent


@dataclass
class Turn:
    """One question and its completion as tokens, with targets; positions count from the turn's first token.

    `weights`: each token's weight in the loss. `soft`: coordinates, whose neighbours are nearly right too. `looks`:
    (position, cells) where the grounded heads should look at the picture; no cells mean the sink. `collects`:
    (position, four positions) that the collecting heads gather. `points`: (position, position of the option that
    matches the thinking, or None for the sink).
    """

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    soft: list[bool] = field(default_factory=list)
    looks: list[tuple[int, list[int]]] = field(default_factory=list)
    collects: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    points: list[tuple[int, int | None]] = field(default_factory=list)

    def add(self, tokens: list[int], weight: float, soft: bool = False) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)
        self.soft += [soft] * len(tokens)


@dataclass(frozen=True)
class Mix:
    """The composition of a batch: weights of the stages (binary, choice, open) and tasks, questions and tokens a row.

    `bare`, `forced`: shares of answers without tags, and of answers repeated after a bare one and `</think><answer>`.
    `tokens` excludes the prefix. `talk`: share of general questions among turns without a picture; None: by the weights
    of the tasks. `math`: the kind of math questions, of `compose.MATH`.
    """

    stages: tuple[float, float, float]
    tasks: dict[str, float]
    questions: int = 8
    tokens: int = 180
    bare: float = 0.0
    forced: float = 0.0
    talk: float | None = None
    math: str = field(default=compose.MATH[0], repr=False)  # hashed by the lessons that it changes


class Encoder:
    """A cached tokenizer, and the token ids that lessons need by name."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.pieces = lru_cache(maxsize=50_000)(lambda text: tuple(tokenizer.encode(text, add_special_tokens=False)))
        self.prefix = self.encode("<|im_start|>user\n")
        self.before_image = self.prefix + self.encode("<|vision_start|>")
        self.image_prefix = self.before_image + self.encode("<|image_pad|>") * CELLS + self.encode("<|vision_end|>")
        self.numbers = self.single([str(number) for number in range(SIDE)])
        self.letters = self.single(list(LETTERS[:5]))
        self.comma, self.newline = self.single([", ", "\n"])

    def encode(self, text: str) -> list[int]:
        return list(self.pieces(text))

    def single(self, words: list[str]) -> list[int]:
        """Return the ids of words that are one token each."""
        found = [self.encode(word) for word in words]
        assert all(len(tokens) == 1 for tokens in found), [w for w, t in zip(words, found) if len(t) != 1]
        return [tokens[0] for tokens in found]


def tagged_turn(encoder: Encoder, sample: Sample, blind: bool = False) -> Turn:
    """Return the turn `question, <think>thinking</think><answer>answer</answer>`.

    Blind turns have no picture: tokens that depend on one get no weight.
    """
    turn = _question_turn(encoder, sample)
    ends = _line_ends(encoder, turn.tokens)
    turn.add(encoder.encode(TAIL), 0.0)
    asked = len(turn.tokens)
    turn.add(encoder.encode("<think>"), 0.0 if blind else 0.5)
    _add_thinking(turn, encoder, sample, blind)
    turn.add(encoder.encode("</think><answer>"), 0.1)
    position = len(turn.tokens) - 1
    _add_answer(turn, encoder, sample)
    turn.add(encoder.encode("</answer><|im_end|>"), 0.1)
    if not blind:
        turn.looks += _looks(sample, asked, position - 1)
    if sample.stage != "open" and sample.thinking:
        turn.points.append((position, _matching_end(sample, ends)))
        turn.collects += [(end, _values_before(sample, end, sample.stage == "binary")) for end in ends]
        turn.collects.append((position, _values_before(sample, position, False, sample.thinking)))
    if sample.task == "math":
        commas = [i for i in range(asked, len(turn.tokens)) if turn.tokens[i] == encoder.comma]
        turn.collects += [(comma, (comma - 1, -1, comma - 1, -1)) for comma in commas]
    return turn


def bare_turn(encoder: Encoder, sample: Sample, forced: bool = False) -> Turn:
    """Return a turn whose answer has no tags; if `forced`, `</think><answer>` and the answer again follow it."""
    turn = _question_turn(encoder, sample)
    turn.add(encoder.encode(TAIL), 0.0)
    asked = len(turn.tokens)
    answer = encoder.encode(render_answer(sample, STYLE))
    turn.add(answer, 0.0 if forced else 1.0)
    if forced:
        turn.add(encoder.encode("</think><answer>"), 0.0)
        turn.add(answer, 1.0)
        turn.add(encoder.encode("</answer>"), 0.5)
    elif "cells" in sample.extra:
        turn.looks += [(position, sample.extra["cells"]) for position in range(asked - 1, len(turn.tokens) - 1)]
    turn.add(encoder.encode("<|im_end|>"), 0.5)
    return turn


def _question_turn(encoder: Encoder, sample: Sample) -> Turn:
    turn = Turn()
    turn.add(encoder.encode(render_question(sample, STYLE)), 0.0)
    return turn


def _line_ends(encoder: Encoder, tokens: list[int]) -> list[int]:
    """Return where every line but the first ends: the options' letters, or the claim's `?`."""
    breaks = [i for i, token in enumerate(tokens) if token == encoder.newline]
    return [i - 1 for i in breaks[1:]] + [len(tokens) - 1] if breaks else []


def _add_thinking(turn: Turn, encoder: Encoder, sample: Sample, blind: bool) -> None:
    for token in encoder.encode(sample.thinking or ""):
        coordinate = sample.task == "detection" and token in encoder.numbers
        light = sample.task == "detection" and not coordinate
        turn.add([token], 0.0 if blind else 0.1 if light else 1.0, soft=coordinate)
        if blind and sample.task == "general":
            turn.weights[-1] = 1.0
    if blind and sample.task == "math":
        turn.weights[-1] = 1.0  # the length of the list does not depend on the picture


def _add_answer(turn: Turn, encoder: Encoder, sample: Sample) -> None:
    copied = sample.stage == "open"
    for token in encoder.encode(render_answer(sample, STYLE)):
        light = sample.task == "detection" and copied and token not in encoder.numbers
        turn.add([token], 0.1 if light else 0.5 if copied else 1.0)


def _looks(sample: Sample, asked: int, last: int) -> Iterator[tuple[int, list[int]]]:
    """Yield where the grounded heads should look from `<think>` (at `asked`) to the end of the thinking."""
    cells = sample.extra.get("cells")
    if sample.task == "detection":
        cells = [cell_of(json.loads(sample.thinking or ""))]  # a false claim may ask about another object
    if sample.extra.get("kind") == "listing":
        cells = json.loads(sample.thinking or "")  # those that are named
    if cells is None:
        return
    if sample.task != "math":
        yield from ((position, cells) for position in range(asked, last))
        return
    for number, cell in enumerate(cells):
        # tokens after <think>: [ n , n ]; before each number, and at the number before, look at the cell to be named
        yield asked + 1 + 2 * number, [cell]
        if number:
            yield asked + 2 * number, [cell]
    yield asked + (2 * len(cells) if cells else 1), []


def _values_before(sample: Sample, position: int, claim: bool, thinking: str = "") -> tuple[int, ...]:
    """Return the positions of the four tokens of the value before a letter, a claim's `?` or `<answer>`.

    `thinking`: the value where it may be a shorter list; the tokens that it lacks are -1.
    """
    near = position - (1 if claim else 2)
    if sample.task != "detection" and sample.extra.get("kind") != "listing":
        return (near,) * 4
    lacks = 4 - len(json.loads(thinking)) if thinking else 0
    return tuple(near - step if number >= lacks else -1 for number, step in enumerate((7, 5, 3, 1)))


def _matching_end(sample: Sample, ends: list[int]) -> int | None:
    if sample.stage == "binary":
        return ends[0] if sample.answer else None
    return ends[LETTERS.index(sample.answer[0])]


Teacher = Callable[[Random, Encoder, Sample, Mix], Turn]


def picture_lesson(rng: Random, encoder: Encoder, mix: Mix, teacher: Teacher) -> tuple[Image.Image, Scene, list[Turn]]:
    """Return a picture, its scene and turns about it written by `teacher`."""
    task = rng.choices(list(mix.tasks), list(mix.tasks.values()))[0]
    scene, first = compose.compose(rng, task, "id", mix.math)
    asked = ask_everything(scene)
    if mix.math != compose.MATH[0]:  # `ask_everything` counts; a scene has one list to ask for
        asked = [sample for sample in asked if sample.task != "math"] + ([first] if first.task == "math" else [])
    rng.shuffle(asked)
    asked = [sample for sample in asked if sample.answer != "0" or rng.random() < ZERO_KEPT]
    weights = [mix.tasks.get(sample.task, 0.0) for sample in asked]
    picked = [first] + (rng.choices(asked, weights, k=mix.questions - 1) if sum(weights) else [])
    turns = _fill(mix, (teacher(rng, encoder, pose_at_random(rng, sample, mix), mix) for sample in picked))
    return draw_scene(scene, rng), scene, turns


def blind_lesson(rng: Random, encoder: Encoder, mix: Mix, teacher: Teacher | None = None) -> list[Turn]:
    """Return turns without a picture: general questions, and matching a given thought with claims and options.

    `teacher` answers general questions; None: always correctly.
    """
    return _fill(mix, (_blind_turn(rng, encoder, mix, teacher) for _ in range(mix.questions)))


def _blind_turn(rng: Random, encoder: Encoder, mix: Mix, teacher: Teacher | None) -> Turn:
    task = rng.choices(list(mix.tasks), list(mix.tasks.values()))[0]
    if mix.talk is not None:
        task = "general" if rng.random() < mix.talk else rng.choice(TAUGHT)
    if task == "general":
        sample = ask_in_words(rng)
        return teacher(rng, encoder, sample, mix) if teacher else tagged_turn(encoder, sample, blind=True)
    sample = pose_at_random(rng, compose.compose(rng, task, "id")[1], mix)
    if task == "detection" and sample.stage != "open":
        # the model's own boxes will be slightly off
        box = json.loads(sample.thinking or "")
        x1, y1, x2, y2 = (min(SIDE - 1, max(0, value + round(rng.gauss(0, 1.2)))) for value in box)
        sample = replace(sample, thinking=box_text((x1, y1, x2, y2)))
    return tagged_turn(encoder, sample, blind=True)


def _fill(mix: Mix, turns: Iterator[Turn]) -> list[Turn]:
    kept: list[Turn] = []
    room = mix.tokens
    for turn in turns:
        room -= len(turn.tokens)
        if room < 0:
            break
        kept.append(turn)
    return kept


def pose_at_random(rng: Random, sample: Sample, mix: Mix) -> Sample:
    """Return the sample at a random stage; general questions stay open."""
    stage = "open" if sample.task == "general" else rng.choices(STAGES, mix.stages)[0]
    sample = replace(sample, id=f"{rng.getrandbits(48):x}")
    try:
        return pose(sample, stage, 0)
    except CannotPose:
        return sample
