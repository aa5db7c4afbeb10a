"""The rewards of a completion: accuracy for a right answer, format for a well-formed one.

    >>> sample = Sample(id="a", task="math", split="train", source="demo", question="6 * 7", answer="42")
    >>> score(sample, "<think>six sevens</think><answer>42</answer>")
    Score(value=1.0, format=1.0, reason='ok')
    >>> score(sample, "<think>six sevens</think><answer>17</answer>")
    Score(value=0.0, format=1.0, reason='wrong')
    >>> score(sample, "It is 42.")
    Score(value=0.0, format=0.0, reason='no_answer')

              detection                      classification                                   math
    binary    1 for the right verdict        the same                                         the same
    choice    1 for the right letter         1 for the right letters, 0.2 for a part of them  1 for the right letter
    open      1 for an IoU above 0.5         overlap over union of the label sets             1 for an equal value

These are the paper's rewards (arXiv 2503.07065), read strictly; the released code pays wrong answers, too. The format
reward asks for one think block, one answer block and an answer of the kind that stage and task ask for.
Each score has one reason, explained in `REASONS`; a fault of the answer comes before a fault of the text around it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from currreft_nb import InputError
from currreft_nb.core.answers import Parsed, Unreadable, parse_completion, parse_letters, parse_verdict
from currreft_nb.core.boxes import Frame, area, clip, from_frame
from currreft_nb.core.samples import LETTERS, VALUES, Sample, answer_problem
from currreft_nb.core.settings import Settings, setting, settings_class
from currreft_nb.tasks import TASK_MODULES

REASONS = {
    # the value was compared
    "ok": "right, and in the right form",
    "wrong": "readable, but not the right answer",
    "partial": "some of the right letters, labels or boxes",
    "iou_too_low": "no box overlaps a true one enough",
    "no_overlap": "no box touches a true one",
    "wrong_unit": "the number has another unit than the right answer",
    "no_reference": "the sample has no reference answer to compare with",
    # the blocks
    "no_answer": "there is no <answer>",
    "unclosed_answer": "the <answer> is not closed, as when the completion is cut off",
    "empty_answer": "there is nothing in the answer",
    "two_answers": "an answer tag occurs twice",
    "no_think": "there is no <think>",
    "unclosed_think": "the <think> is not closed",
    "two_thinks": "a think tag occurs twice",
    "wrong_order": "the blocks or their tags are in the wrong order",
    "text_outside": "there is text outside the two blocks",
    # the form of the answer
    "not_a_verdict": "not the single word yes (true, correct) or no (false, incorrect)",
    "not_letters": "not a list of option letters",
    "letter_out_of_range": "a letter beyond the options",
    "letter_twice": "the same letter twice",
    "several_letters": "several letters where one is asked for",
    "letter_and_text_differ": "a letter with the text of another option",
    "not_an_option": "neither a letter nor the text or value of an option",
    "not_labels": "a list that holds other things than labels",
    "no_box": "no box, or other text next to it",
    "two_boxes": "several boxes where one is asked for",
    "not_four_numbers": "a box of more or fewer than four numbers",
    "not_a_number": "a coordinate that is not a number",
    "box_reversed": "a box whose right is not right of its left, or whose bottom is not below its top",
    "key_twice": "a JSON object with a duplicate key",
    "not_an_expression": "neither a number nor a formula from end to end",
    "not_parsed": "a formula that math-verify cannot read",
    "gold_not_parsed": "the reference answer is a formula that math-verify cannot read: a fault of the data",
    "too_complex": "longer, larger or deeper nested than any answer needs",
    "verifier_timeout": "math-verify exceeded its time limit",
}


@settings_class
class Rules(Settings):
    """The choices that the paper leaves open."""

    detection: str = setting(
        "hard",
        "how open detection is paid: 1 above the threshold (hard, the paper), the IoU (soft), or the IoU above it",
        choices=("hard", "soft", "soft_above_threshold"),
    )
    threshold: float = setting(0.5, "IoU above which a box is right", least=0, most=1)
    # "overlap" pays any right letter, so choosing all of them pays, too; "subset" is the paper's.
    partial: str = setting(
        "subset",
        "which incomplete choices among several right letters earn a part: some right ones and no wrong one (subset)",
        choices=("subset", "overlap", "none"),
    )
    partial_reward: float = setting(0.2, "what they earn", least=0, most=1)


class Score(NamedTuple):
    """What a completion earns: `value` in [0, 1] for accuracy, `format` 0 or 1; `reason` is "ok" or a reason code."""

    value: float
    format: float
    reason: str


@dataclass(slots=True)
class Row:
    """The part of a sample that scoring needs, as it comes from the columns of a training data set."""

    task: str
    stage: str
    answer: Any
    claim: Any
    options: list
    size: tuple[int, int] | None
    question: str = ""


def score(sample: Sample | Row, completion: str, frame: Frame | None = None, rules: Rules = Rules()) -> Score:
    """Return the score of a completion; a wrong, unreadable or missing answer earns 0 and has a reason.

    `frame`: how the model writes boxes; None: in pixels of the stored image. Boxes are clipped to the image.
    """
    parsed, value, reason = read_completion(sample, completion)
    if reason:
        return Score(0.0, 0.0, reason)
    earned, reason = _accuracy(sample, value, frame, rules)
    return Score(earned, float(parsed.format), parsed.reason if reason == "ok" else reason)


def score_format(sample: Sample | Row, completion: str) -> tuple[float, str]:
    """Return the format reward alone, 0 or 1, and "ok" or the fault of the form."""
    parsed, _, reason = read_completion(sample, completion)
    return (0.0, reason) if reason else (float(parsed.format), parsed.reason)


def read_completion(sample: Sample | Row, completion: str) -> tuple[Parsed, Any, str]:
    """Return the blocks, the value that the answer gives, and "" or the reason why it gives none."""
    parsed = parse_completion(completion)
    if parsed.answer is None:
        return parsed, None, parsed.reason
    try:
        if sample.stage == "binary":
            return parsed, parse_verdict(parsed.answer), ""
        if sample.stage == "choice":
            fits = partial(_is_option, sample) if sample.options and VALUES[sample.task] != "boxes" else None
            return parsed, parse_letters(parsed.answer, len(sample.options) or len(LETTERS), fits), ""
        return parsed, TASK_MODULES[sample.task].parse(parsed.answer, sample), ""
    except Unreadable as problem:
        return parsed, None, problem.reason


def _is_option(sample: Sample | Row, place: int, text: str) -> bool:
    """Say whether the text is that of the option. Not asked of boxes, whose text depends on the model's frame."""
    option, task = sample.options[place], TASK_MODULES[sample.task]
    try:
        return task.same(option, task.parse(text, Row(sample.task, "open", option, None, [], None)))
    except Unreadable:
        return False


def _accuracy(sample: Sample | Row, value: Any, frame: Frame | None, rules: Rules) -> tuple[float, str]:
    if sample.stage == "binary":
        return (1.0, "ok") if value == sample.answer else (0.0, "wrong")
    if sample.stage == "choice":
        return _choice_accuracy(set(value), set(sample.answer), rules)
    return TASK_MODULES[sample.task].accuracy(stored(sample, value, frame), sample, rules)


def _choice_accuracy(chosen: set[str], right: set[str], rules: Rules) -> tuple[float, str]:
    if chosen == right:
        return 1.0, "ok"
    incomplete = {"subset": chosen < right, "overlap": bool(chosen & right), "none": False}[rules.partial]
    if len(right) > 1 and incomplete:
        return rules.partial_reward, "partial"
    return 0.0, "wrong"


def stored(sample: Sample | Row, value: Any, frame: Frame | None) -> Any:
    """Return the value; boxes in pixels of the stored image, clipped to it."""
    if VALUES[sample.task] != "boxes" or (sample.size is None and frame is None):
        return value
    if sample.size is None:
        raise InputError("a box can be converted only with the size of its image; give the column size")
    return [clip(from_frame(box, sample.size, frame) if frame else box, sample.size) for box in value]


def columns(sample: Sample) -> dict:
    """Return the columns that a training data set needs for scoring; structured values are JSON text.

    >>> columns(Sample(id="a", task="math", split="train", source="demo", question="6 * 7", answer="42"))["answer"]
    '"42"'
    """
    structured = {"answer": sample.answer, "claim": sample.claim, "options": sample.options, "extra": sample.extra}
    return {
        "id": sample.id,
        "task": sample.task,
        "stage": sample.stage,
        **{name: json.dumps(value, ensure_ascii=False) for name, value in structured.items()},
        "size": list(sample.size) if sample.size else None,
        "question": sample.question,
    }


def accuracy_reward(
    completions: list,
    answer: list[str],
    task: list[str],
    stage: list[str],
    frame: Frame | None = None,
    rules: Rules = Rules(),
    log_extra: Callable | None = None,
    log_metric: Callable | None = None,
    **columns: Any,
) -> list[float]:
    """Return the accuracy reward of each completion, in [0, 1], in the form that TRL's GRPOTrainer calls.

    `completions`: lists of messages, or plain text. Each column is a list of one length; `answer`, `claim` and
    `options` are JSON text, `size` is [width, height] or None, `prefill` is what the prompt began of the model's turn.
    TRL's `log_extra` receives each completion's reason, `log_metric` the mean of each task. Raises `InputError` for a
    row that cannot be scored.

    >>> accuracy_reward(["<answer>42</answer>", "<answer>17</answer>"], ['"42"'] * 2, ["math"] * 2, ["open"] * 2)
    [1.0, 0.0]
    """
    rows = list(rows_of(len(completions), answer=answer, task=task, stage=stage, **columns))
    scores = [score(row, text, frame, rules) for row, text in zip(rows, turns_of(completions, **columns))]
    if log_extra:
        log_extra("reason", [result.reason for result in scores])
        for name, column in (("id", columns.get("id")), ("task", task), ("stage", stage)):
            if column:
                log_extra(name, list(column))
    if log_metric:
        for name in dict.fromkeys(task):
            values = [result.value for result, row in zip(scores, rows) if row.task == name]
            log_metric(f"accuracy/{name}", sum(values) / len(values))
        log_metric("verifier_timeout", sum(result.reason == "verifier_timeout" for result in scores) / len(scores))
    return [result.value for result in scores]


def format_reward(
    completions: list,
    answer: list[str],
    task: list[str],
    stage: list[str],
    log_extra: Callable | None = None,
    **columns: Any,
) -> list[float]:
    """Return the format reward of each completion, 0 or 1; arguments as those of `accuracy_reward`.

    >>> format_reward(["<think>hm</think><answer>17</answer>", "42"], ['"42"'] * 2, ["math"] * 2, ["open"] * 2)
    [1.0, 0.0]
    """
    rows = rows_of(len(completions), answer=answer, task=task, stage=stage, **columns)
    results = [score_format(row, text) for row, text in zip(rows, turns_of(completions, **columns))]
    if log_extra:
        log_extra("format_reason", [reason for _, reason in results])
    return [value for value, _ in results]


def text_of(completion: str | list[dict]) -> str:
    """Return the text of a completion in TRL's forms: text, or the last of several messages.

    >>> text_of([{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}])
    'yes'
    """
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def turns_of(completions: list, prefill: list[str] | None = None, **columns: Any) -> list[str]:
    """Return the model's whole turns: the completions behind what the prompts had begun.

    >>> turns_of(["a cat</think>"], prefill=["<think>"], task=["math"])
    ['<think>a cat</think>']
    """
    texts = [text_of(completion) for completion in completions]
    return [start + text for start, text in zip(prefill, texts, strict=True)] if prefill else texts


def rows_of(count: int, **columns: list) -> Iterator[Row]:
    """Yield the rows of a batch; columns that scoring does not use are ignored, absent optional ones are empty."""
    used = {name: columns.get(name) for name in ("task", "stage", "answer", "claim", "options", "size", "question")}
    for name, values in used.items():
        if values is not None and len(values) != count:
            raise InputError(
                f"column {name} has {len(values)} rows, but there are {count} completions; give one row each"
            )
    for index in range(count):
        fields = {name: values[index] if values is not None else None for name, values in used.items()}
        for name in ("answer", "claim", "options"):
            fields[name] = _from_json(fields[name], name, index)
        row = Row(**fields | {"options": fields["options"] or [], "question": fields["question"] or ""})
        if problem := _row_problem(row):
            raise InputError(f"row {index} ({row.task}, {row.stage}): {problem}")
        yield row


def _from_json(text: str | None, name: str, index: int) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (TypeError, ValueError):
        raise InputError(f"row {index}: column {name} holds {text!r}; it must be JSON text") from None


def _row_problem(row: Row) -> str | None:
    """Return why the row cannot be scored, or None; claim and options may be absent."""
    if row.task not in TASK_MODULES:
        return f"the task must be one of {', '.join(TASK_MODULES)}"
    return answer_problem(replace(row, claim=row.claim or "unknown", options=row.options or list(LETTERS)))


def answered_value(sample: Sample, completion: str, frame: Frame | None = None) -> Any:
    """Return the structured value of an open answer, boxes in pixels of the stored image; None if it is unreadable.

    >>> sample = Sample(id="a", task="math", split="val", source="s", question="6 * 7", answer="42")
    >>> answered_value(sample, "<answer>17</answer>")
    '17'
    """
    _, value, reason = read_completion(sample, completion)
    return None if reason else stored(sample, value, frame)


def answered_boxes(sample: Sample, completion: str, frame: Frame | None = None) -> list[tuple]:
    """Return the boxes of an open answer, in pixels of the stored image; none if it is unreadable or holds no boxes.

    Boxes outside the image are left out.
    """
    if VALUES[sample.task] != "boxes" or sample.stage != "open":
        return []
    return [box for box in answered_value(sample, completion, frame) or () if area(box) > 0]
