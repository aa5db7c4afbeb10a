"""The completions of a training to look at, group by group: what was sampled to one question, and what each earned.

A group's picture is shown once. Gold boxes are green. Answered boxes are red and carry the numbers of their rows in the
table. Static HTML like `gallery`.
"""

from collections.abc import Iterable, Mapping, Sequence

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import drawn_by_lot, grouped
from currreft_nb.gallery_marks import question_marks
from currreft_nb.gallery_parts import (
    MUTED,
    PREDICTED,
    Mark,
    beside,
    clean,
    details,
    heading,
    html_table,
    lines,
    picture,
    preformatted,
)
from currreft_nb.gallery_parts import card as framed
from currreft_nb.method.prompts import Style, render_answer, render_question
from currreft_nb.method.reasons import REASONS
from currreft_nb.method.rewards import answered_boxes

SHORT = 120  # characters of a completion that is shown without a click
COLUMNS = ("", "reward", "advantage", "accuracy", "format", "reason", "tokens", "completion")
SIDES = ["right"] * 5 + ["left"] * 3


def groups(rows: Sequence[Mapping], samples: Iterable[Sample], style: Style, count: int = 4) -> str:
    """Return up to `count` groups of a step's completions, shuffled by hash, alternating between tasks.

    `rows`: what `Run.completions` returns, filtered there; `samples`: the questions that were trained on.
    """
    by_id = {sample.id: sample for sample in samples}
    found = [group for group in grouped(rows).values() if group[0]["id"] in by_id]
    if not found:
        return heading("no such groups")
    chosen = drawn_by_lot(found)[:count]
    steps = sorted({group[0]["step"] for group in found})
    title = f"step {', '.join(map(str, steps))}: {len(chosen)} of {len(found)} groups"
    shown = [beside(asked(by_id[group[0]["id"]], group, style), _table(group)) for group in chosen]
    reasons = dict.fromkeys(answer["reason"] for group in chosen for answer in group)
    meanings = "; ".join(f"{name}: {REASONS.get(name, 'unknown')}" for name in reasons)
    return heading(title) + "".join(shown) + f'<div style="{MUTED}">{clean(meanings, "prompt")}</div>'


def asked(sample: Sample, group: Sequence[Mapping], style: Style) -> str:
    """Return the card of a group's question: picture with all that was answered, prompt, gold."""
    origin = " · ".join((sample.task, sample.stage, sample.source))
    parts = [f'<div><b>{clean(sample.id)}</b></div><div style="{MUTED}">{clean(origin)}</div>']
    if sample.image:
        parts.append(picture(sample.image, group_marks(sample, group, style)))
    parts.append(preformatted(render_question(sample, style), "prompt"))
    gold = "no reference" if sample.answer is None else render_answer(sample, style)
    parts.append(lines([("gold", gold)]))
    return framed(parts)


def group_marks(sample: Sample, group: Sequence[Mapping], style: Style) -> list[Mark]:
    """Return the boxes of a detection group: claim, options and gold, and each answered box once, with its rows."""
    answered: dict[tuple, list[int]] = {}
    for number, answer in enumerate(group, 1):
        for box in answered_boxes(sample, answer["completion"], style.frame) or []:
            answered.setdefault(tuple(box), []).append(number)
    numbers = {box: ",".join(map(str, rows)) for box, rows in answered.items()}
    return question_marks(sample) + [(box, PREDICTED, text) for box, text in numbers.items()]


def _table(group: Sequence[Mapping]) -> str:
    rows: list[list] = [[f"<b>{name}</b>" for name in COLUMNS]]
    for number, answer in enumerate(group, 1):
        earned = (f"{answer['reward']:.2f}", f"{answer['advantage']:+.2f}")
        parts = (f"{answer['accuracy']:.2f}", f"{answer['format']:.2f}", clean(answer["reason"]))
        length = f"{answer['length']}{', cut off' if answer['truncated'] else ''}"
        rows.append([number, *earned, *parts, length, completion_text(answer["completion"])])
    return html_table(rows, SIDES)


def completion_text(text: str) -> str:
    """Return a short completion as it is; of a long one, its answer, and the whole text folded."""
    if len(text) <= SHORT:
        return preformatted(text, "completion")
    answer = parse_completion(text).answer
    return ("" if answer is None else preformatted(answer, "answer")) + details(text)
