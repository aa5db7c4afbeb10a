"""Whether a think block contradicts the answer that follows it: what the rewards do not see.

    >>> sample = Sample(id="a", task="math", split="train", source="demo", question="How many red objects?", answer="3")
    >>> contradicts(sample, "<think>[3, 7]=2</think><answer>3</answer>")  # right for a wrong reason
    True
    >>> contradicts(sample, "<think>[3, 7, 9]=3</think><answer>3</answer>")
    False
    >>> contradicts(sample, "<think>I see 2 or 3 of them.</think><answer>3</answer>") is None
    True

A block is read strictly, by `thought` of the task's module: prose and hedges give no value, and so no verdict. At the
open stage its value is compared with the answer by the rule that compares an answer with the truth. At the closed ones
it may be the verdict or the letters, or an open value: that decides whether the claim holds, and which options are
right. Where it fits no option, nothing follows from it. That reasons may not be those that an answer rests on is known
from models of all sizes (Turpin et al. 2023, arXiv 2305.04388); this finds only the cases in which the text says so.
"""

from dataclasses import fields, replace
from typing import Any

from currreft_nb.core.answers import Unreadable, parse_letters, parse_verdict
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.method.rewards import Row, Rules, read_completion, rows_of, stored, turns_of
from currreft_nb.tasks import TASK_MODULES

DIFFERENT = ("wrong", "partial", "wrong_unit", "iou_too_low", "no_overlap")  # reasons that say that two values differ


def contradicts(sample: Sample | Row, completion: str, frame: Frame | None = None) -> bool | None:
    """Return whether the think block's value and the answer exclude each other; None where that cannot be said.

    `frame`: how the model writes boxes; None: in pixels of the stored image.
    """
    sample = Row(*(getattr(sample, field.name) for field in fields(Row)))  # takes any value where a claim or answer is
    parsed, answer, reason = read_completion(sample, completion)
    if reason or not (parsed.thinking or "").strip():
        return None
    thinking = parsed.thinking or ""
    try:
        if sample.stage == "open":
            concluded = _open_value(thinking, sample, frame)
            return _differs(concluded, stored(sample, answer, frame), sample)
        implied = _closed_value(thinking, sample, frame)
    except Unreadable:
        return None
    return None if implied is None else implied != answer


def contradictions(completions: list, frame: Frame | None = None, **columns: Any) -> list[bool | None]:
    """Return the same for each completion, with columns as `rewards.accuracy_reward` takes them."""
    rows = rows_of(len(completions), **columns)
    return [contradicts(row, text, frame) for row, text in zip(rows, turns_of(completions, **columns))]


def _open_value(thinking: str, sample: Row, frame: Frame | None) -> Any:
    read = getattr(TASK_MODULES[sample.task], "thought", None)
    if read is None:
        raise Unreadable("not_read")
    return stored(sample, read(thinking.strip(), sample), frame)


def _differs(truth: Any, value: Any, sample: Row) -> bool:
    """Return whether two values differ by the task's rule; raises `Unreadable` where it cannot compare them."""
    _, reason = TASK_MODULES[sample.task].accuracy(value, replace(sample, answer=truth), Rules())
    if reason != "ok" and reason not in DIFFERENT:
        raise Unreadable(reason)
    return reason != "ok"


def _closed_value(thinking: str, sample: Row, frame: Frame | None) -> Any:
    """Return the verdict or the letters that a think block leads to, None if none."""
    try:
        return parse_verdict(thinking) if sample.stage == "binary" else parse_letters(thinking, len(sample.options))
    except Unreadable:
        value = _open_value(thinking, _as_open(sample), frame)
    if sample.stage == "binary":
        return None if sample.claim is None else not _differs(value, sample.claim, _as_open(sample))
    task = TASK_MODULES[sample.task]
    parts = [[item] for item in value] if task.SEVERAL else [value]
    fitting = [
        letter
        for letter, option in zip(LETTERS, sample.options)
        if any(not _differs(part, option, _as_open(sample)) for part in parts)
    ]
    return fitting if fitting and (task.SEVERAL or len(fitting) == 1) else None


def _as_open(sample: Row) -> Row:
    """Return the sample as if it were asked openly, with the claim or an option as a stand-in for the truth."""
    known = sample.claim if sample.stage == "binary" else (sample.options or [None])[0]
    return replace(sample, stage="open", answer=known, claim=None, options=[])
