"""Prompts and target completions, the same for training, rejection sampling and evaluation.

Two wordings with one meaning: `full` for real models, `short` for the pocket model, whose vocabulary is a few hundred
tokens. The full wording follows the released code: think inside `<think>`, answer inside `<answer>`.

Chat templates of thinking models end the prompt with `<think>`, those of non-thinking modes with an empty think block.
A completion is the model's whole turn everywhere in this package: it begins with this prefill, though the model did not
write it. Only what follows the prefill is decoded, trained on and counted in tokens. Behind an empty block a target is
the answer alone, without reference thinking.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame, to_frame
from currreft_nb.core.samples import LETTERS, VALUES, Sample, size_of
from currreft_nb.tasks import TASK_MODULES

WORDINGS = ("full", "short")
END_OF_THINKING = "</think>"

_THINK = "Reason step by step inside <think></think>."
_CHOICE_ONE = "Then put only the letter of the correct option inside <answer></answer>."
_MANY = "More than one option may be right."
_CHOICE_MANY = f"{_MANY} {_THINK} Then list every correct letter, comma separated, inside <answer></answer>."


@dataclass(frozen=True)
class Style:
    """The wording for a model, the frame in which it writes boxes, and its prefill.

    `prefill`: what the chat template writes at the start of the model's turn, such as "<think>" and a line break.
    """

    wording: str = "full"
    frame: Frame = Frame()
    prefill: str = ""

    def __post_init__(self) -> None:
        if self.wording not in WORDINGS:
            raise InputError(f"wording is {self.wording!r}, but must be one of {', '.join(WORDINGS)}")


def render_value(sample: Sample, value: Any, style: Style) -> str:
    """Return a structured answer, claim or option of the sample's task as text; boxes go through the model's frame.

    >>> sample = Sample(id="a", task="classification", split="train", source="s", question="?", answer=["cat", "dog"])
    >>> render_value(sample, sample.answer, Style())
    'cat, dog'
    """
    if VALUES[sample.task] == "boxes":
        value = [to_frame(box, size_of(sample), style.frame) for box in value]
    return TASK_MODULES[sample.task].render(value)


def render_question(sample: Sample, style: Style) -> str:
    """Return the text of the user's turn: the question, its claim or options, and the instruction."""
    return _render_short(sample, style) if style.wording == "short" else _render_full(sample, style)


def _render_short(sample: Sample, style: Style) -> str:
    if sample.stage == "binary":
        return f"{sample.question}\n{render_value(sample, sample.claim, style)}?"
    lines = [f"{render_value(sample, option, style)}={letter}" for letter, option in zip(LETTERS, sample.options)]
    return "\n".join([sample.question, *lines])


def _render_full(sample: Sample, style: Style) -> str:
    task = TASK_MODULES[sample.task]
    question = task.QUESTION.format(question=sample.question)
    options = [f"{letter}. {render_value(sample, option, style)}" for letter, option in zip(LETTERS, sample.options)]
    if sample.stage == "binary":
        claim = f"Proposed answer: {render_value(sample, sample.claim, style)}\nIs the proposed answer correct?"
        rule = f"{_THINK} Then state the verdict inside <answer></answer> as the single word yes or no."
        return f"{question}\n{claim}\n{rule}"
    rule = f"{_THINK} {_CHOICE_ONE if options else task.ANSWER}"
    if sample.stage == "choice" and task.SEVERAL:
        rule = _CHOICE_MANY
    return "\n".join([question, *options, rule])


def messages(sample: Sample, style: Style) -> list[dict]:
    """Return the conversation up to the model's turn: one user message, the image first, then the text."""
    image = [{"type": "image"}] if sample.image else []
    return [{"role": "user", "content": [*image, {"type": "text", "text": render_question(sample, style)}]}]


def wording_hash(style: Style) -> str:
    """Return a hash of the prompts of open questions: the texts of each task, the wording, frame and prefill."""
    tasks = {name: [task.QUESTION, task.ANSWER] for name, task in TASK_MODULES.items()}
    known = {name: value for name, value in asdict(style).items() if value or name != "prefill"}
    texts = [known, tasks, _THINK, _CHOICE_ONE]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def render_answer(sample: Sample, style: Style) -> str:
    """Return the text that belongs between the answer tags: `yes`, `A, C`, a box as JSON, labels, a result.

    >>> sample = Sample(id="a", task="math", split="train", source="s", question="6 * 7", answer="42")
    >>> render_answer(sample, Style())
    '42'
    """
    if sample.stage == "binary":
        return "yes" if sample.answer else "no"
    if sample.stage == "choice":
        return ", ".join(sample.answer)
    if sample.answer is None:
        raise InputError(f"sample {sample.id!r} has no reference answer to write")
    if VALUES[sample.task] != "boxes" or style.wording == "short":
        return render_value(sample, sample.answer, style)
    objects = [{"bbox_2d": to_frame(box, size_of(sample), style.frame)} for box in sample.answer]
    return json.dumps(objects[0] if len(objects) == 1 else objects)


def target(sample: Sample, style: Style) -> str:
    """Return the ideal completion: reference thinking, or none, and the answer; both tags always.

    It begins with the style's prefill; one that closes the think block leaves no place for reference thinking.

    >>> sample = Sample(id="a", task="math", split="train", source="s", question="6*7", answer="42", thinking="sevens")
    >>> target(sample, Style())
    '<think>sevens</think><answer>42</answer>'
    """
    answer = f"<answer>{render_answer(sample, style)}</answer>"
    if END_OF_THINKING in style.prefill:
        return style.prefill + answer
    return f"{style.prefill or '<think>'}{sample.thinking or ''}{END_OF_THINKING}{answer}"


def with_prefill(text: str, style: Style) -> str:
    """Return a completion that another program stored, as the whole turn: with the prefill, if that is missing.

    >>> with_prefill("a cat</think><answer>cat</answer>", Style(prefill="<think>"))
    '<think>a cat</think><answer>cat</answer>'
    """
    return style.prefill + without_prefill(text, style)


def without_prefill(text: str, style: Style) -> str:
    """Return what the model itself writes of a completion: the part that follows the prefill.

    >>> without_prefill("<think>a cat</think>", Style(prefill="<think>\\n")), without_prefill("<think>", Style())
    ('a cat</think>', '<think>')
    """
    exact = text.startswith(style.prefill)
    return text.removeprefix(style.prefill if exact else style.prefill.strip())
