"""Read a model's text: the `<think>` and `<answer>` blocks, verdicts, letters, labels and boxes.

    <think>The dog is at the left, so the box ends at 210.</think><answer>{"bbox_2d": [12, 40, 210, 470]}</answer>

Rewards and evaluation share these strict readers: an ambiguous answer is refused. No text is evaluated as code, every
function takes time linear in its input, and a refusal carries a reason code.
"""

import json
import re
from typing import Any, NamedTuple

MAX_ANSWER = 20_000  # characters; 80 labels or 100 labelled boxes take less than half of it
MAX_NESTING = 8  # brackets in brackets, in JSON
MAX_COORDINATE = 1e6  # pixels

_VERDICTS = {"yes": True, "true": True, "correct": True, "no": False, "false": False, "incorrect": False}
_QUOTES = " \t\n\r\"'`*“”‘’«»„"
_BRACKETS_AND_PERIODS = str.maketrans("", "", "()[]{}.\"'`*")
_LETTERS = re.compile(r"[A-Z](?: ?(?:[,;/&] ?(?:and ?)?|and ?)?[A-Z])*+")  # possessive: no backtracking
_MARKS = re.compile(r"<\|object_ref_start\|>[^<]*<\|object_ref_end\|>|<ref>[^<]*</ref>|<\|box_(?:start|end)\|>|</?box>")
_NUMBER = r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
_NUMBERS = rf"({_NUMBER}) ?, ?({_NUMBER}) ?, ?({_NUMBER}) ?, ?({_NUMBER})"
_POINTS = rf"\( ?({_NUMBER}) ?, ?({_NUMBER}) ?\) ?,? ?\( ?({_NUMBER}) ?, ?({_NUMBER}) ?\)"
_PLAIN_BOX = re.compile(rf"(?:\[ ?{_NUMBERS} ?\]|\( ?{_NUMBERS} ?\)|{_POINTS}) ?[,;]? ?")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)', re.DOTALL)  # or its beginning, so that no place is tried twice
_BOX_KEYS = ("bbox_2d", "bbox")


class Unreadable(ValueError):
    """The text has no answer in the requested form; `reason` is a code such as `two_answers`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Parsed(NamedTuple):
    """The blocks of a completion.

    `thinking`: the text of the only think block, or None. `answer`: the text of the only answer block, or None if it is
    missing, empty or not the only one. `format`: one think block, then one answer block, otherwise only whitespace.
    `reason`: "ok" or a fault; a fault of the answer block comes first.
    """

    thinking: str | None
    answer: str | None
    format: bool
    reason: str


def parse_completion(text: str) -> Parsed:
    """Return the blocks of a completion; never raises.

    >>> parse_completion("<think>six sevens</think> <answer>42</answer>")
    Parsed(thinking='six sevens', answer='42', format=True, reason='ok')
    >>> parse_completion("<answer>42</answer>")
    Parsed(thinking=None, answer='42', format=False, reason='no_think')
    >>> parse_completion("<answer>4</answer><answer>2</answer>").reason
    'two_answers'
    """
    answer, answer_start, answer_end, answer_reason = _block(text, "answer")
    thinking, think_start, think_end, think_reason = _block(text, "think")
    if answer is not None and not answer_reason and not answer.strip():
        answer_reason = "empty_answer"
    if answer is None or answer_reason:
        return Parsed(thinking, None, False, answer_reason)
    reason = think_reason
    if not reason and think_end > answer_start:
        reason = "wrong_order"
    if not reason and (text[:think_start].strip() or text[think_end:answer_start].strip() or text[answer_end:].strip()):
        reason = "text_outside"
    return Parsed(thinking, answer.strip(), not reason, reason or "ok")


def _block(text: str, name: str) -> tuple[str | None, int, int, str]:
    """Return content, start and end of the only block of that name, and "" or its fault."""
    opening, closing = f"<{name}>", f"</{name}>"
    opened, closed = text.count(opening), text.count(closing)
    if opened > 1 or closed > 1:
        return None, 0, 0, f"two_{'thinks' if name == 'think' else name + 's'}"
    if not opened:
        return None, 0, 0, f"no_{name}"
    if not closed:
        return None, 0, 0, f"unclosed_{name}"
    start, end = text.index(opening), text.index(closing)
    if end < start:
        return None, 0, 0, "wrong_order"
    return text[start + len(opening) : end], start, end + len(closing), ""


def parse_verdict(text: str) -> bool:
    """Return the verdict of a yes/no answer, the single word yes, true, correct, no, false or incorrect.

    >>> parse_verdict("Yes."), parse_verdict("false")
    (True, False)
    >>> parse_verdict("No, it is not true")
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: not_a_verdict
    """
    word = _limited(text).strip(_QUOTES).rstrip(_QUOTES + ".,;:!").lower()
    if word not in _VERDICTS:
        raise Unreadable("not_a_verdict" if word else "empty_answer")
    return _VERDICTS[word]


def parse_letters(text: str, count: int) -> list[str]:
    """Return the sorted option letters of an answer to a question with `count` options.

    Letters may be separated by commas, semicolons, slashes, ampersands, "and" or nothing; brackets and periods are
    ignored; a word, a repeated letter or a letter beyond the options is refused.

    >>> parse_letters("(B) and A.", 4)
    ['A', 'B']
    >>> parse_letters("a dog, B", 4)
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: not_letters
    """
    plain = " ".join(_limited(text).translate(_BRACKETS_AND_PERIODS).split())
    if not plain:
        raise Unreadable("empty_answer")
    if not _LETTERS.fullmatch(plain):
        raise Unreadable("not_letters")
    letters = [character for character in plain if character.isupper()]
    if max(letters) >= chr(ord("A") + count):
        raise Unreadable("letter_out_of_range")
    if len(set(letters)) < len(letters):
        raise Unreadable("letter_twice")
    return sorted(letters)


def parse_labels(text: str) -> list[str]:
    """Return the labels of a list written with commas, semicolons or newlines, or as a JSON list of strings.

    >>> parse_labels("traffic light, dog"), parse_labels('["cat", "dog"]')
    (['traffic light', 'dog'], ['cat', 'dog'])
    """
    text = _unfenced(_limited(text).strip())
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        labels = _load_json(text) if bracketed else _split_labels(text)
    except Unreadable as problem:
        if problem.reason != "not_json":
            raise
        labels = _split_labels(text[1:-1])  # a list in single quotes or without any
    if not all(isinstance(label, str) for label in labels):
        raise Unreadable("not_labels")
    labels = [stripped for label in labels if (stripped := label.strip(_QUOTES))]
    if not labels:
        raise Unreadable("empty_answer")
    return labels


def _split_labels(text: str) -> list[str]:
    return re.split(r"[,;\n，；、]", text)


def parse_boxes(text: str) -> list[tuple[float, float, float, float]]:
    """Return the boxes `(x1, y1, x2, y2)` of an answer, in the coordinates of the text.

    Reads every form that Qwen-VL models write: `{"bbox_2d": [...]}`, `{"bbox": [...]}`, a list of such objects, bare
    lists, each also in a code fence, and points `(x1,y1),(x2,y2)` with or without box tokens. The answer must hold
    nothing else.

    >>> parse_boxes('{"bbox_2d": [1, 2, 3, 4], "label": "dog"}'), parse_boxes("<|box_start|>(1,2),(3,4.5)<|box_end|>")
    ([(1.0, 2.0, 3.0, 4.0)], [(1.0, 2.0, 3.0, 4.5)])
    >>> parse_boxes("[3, 2, 1, 4]")
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: box_reversed
    """
    text = " ".join(_MARKS.sub(" ", _unfenced(_limited(text).strip())).split())
    if not text:
        raise Unreadable("empty_answer")
    boxes = _plain_boxes(text)
    if boxes is None:
        try:
            boxes = _json_boxes(_load_json(text))
        except Unreadable as problem:
            raise Unreadable("no_box" if problem.reason == "not_json" else problem.reason) from None
    return [_checked_box(box) for box in boxes]


def _plain_boxes(text: str) -> list | None:
    """Return the boxes of a sequence of bare lists or pairs of points, or None if the text is anything else."""
    boxes, position = [], 0
    while match := _PLAIN_BOX.match(text, position):
        boxes.append([float(number) for number in match.groups() if number is not None])
        position = match.end()
    return boxes if position == len(text) else None


def _json_boxes(value: Any) -> list:
    """Return the raw boxes of a JSON value: one object or one box, or a list of objects or of boxes."""
    if isinstance(value, dict):
        found = [value[key] for key in _BOX_KEYS if key in value]
        if not found:
            raise Unreadable("no_box")
        return [box for item in found for box in _json_boxes(item)]
    if not isinstance(value, list) or not value:
        raise Unreadable("no_box")
    if any(isinstance(item, (dict, list)) for item in value):
        return [box for item in value for box in _json_boxes(item)]
    return [value]


def _checked_box(box: list) -> tuple[float, float, float, float]:
    if len(box) != 4:
        raise Unreadable("not_four_numbers")
    for number in box:
        # bool is a kind of int in Python, so `true` would pass for 1
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise Unreadable("not_a_number")
        if abs(number) > MAX_COORDINATE:  # 1e400, which JSON reads as infinity, is among them
            raise Unreadable("too_complex")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise Unreadable("box_reversed")
    x1, y1, x2, y2 = map(float, box)
    return (x1, y1, x2, y2)


def _load_json(text: str) -> Any:
    """Return the JSON value of the text; refuses deep nesting, duplicate keys, NaN and Infinity."""
    depth = 0
    for character in _JSON_STRING.sub("", text):  # a bracket in a label would hide how deep the others go
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_NESTING:
            raise Unreadable("too_complex")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except Unreadable:
        raise
    except ValueError:
        raise Unreadable("not_json") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise Unreadable("key_twice")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise Unreadable("not_a_number")


def _unfenced(text: str) -> str:
    """Return the inside of a markdown code fence, plain or of JSON, that encloses the whole text, else the text."""
    if len(text) < 6 or not text.startswith("```") or not text.endswith("```"):
        return text
    inside = text[3:-3].strip()
    return inside[4:].strip() if inside[:4].lower() == "json" else inside


def _limited(text: str) -> str:
    if len(text) > MAX_ANSWER:
        raise Unreadable("too_complex")
    return text
