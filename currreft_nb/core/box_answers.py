"""Read the boxes of a model's answer, in the forms that current models write.

    {"bbox_2d": [12, 40, 210, 470], "label": "dog"}             Qwen
    <|box_start|>(12,40),(210,470)<|box_end|>                   Qwen2-VL
    <ref>dog</ref><box>[[12, 40, 210, 470]]</box>               InternVL
    <loc0040><loc0012><loc0470><loc0210> dog                    PaliGemma, y before x

A form that means one thing is read, and any other text is refused, as in `core.answers`.
"""

import re
from typing import Any

from currreft_nb.core.answers import Unreadable, limited, load_json, undecorated, unfenced

MAX_COORDINATE = 1e6  # pixels

_NUMBER = r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
_NUMBER_ALONE = re.compile(_NUMBER)
_NUMBERS = rf"({_NUMBER}) ?, ?({_NUMBER}) ?, ?({_NUMBER}) ?, ?({_NUMBER})"
_POINTS = rf"\( ?({_NUMBER}) ?, ?({_NUMBER}) ?\) ?,? ?\( ?({_NUMBER}) ?, ?({_NUMBER}) ?\)"
_PLAIN_BOX = re.compile(rf"(?:\[ ?{_NUMBERS} ?\]|\( ?{_NUMBERS} ?\)|{_POINTS}) ?[,;]? ?")
_MARKS = re.compile(
    r"<\|object_ref_start\|>[^<]*<\|object_ref_end\|>|<\|ref\|>[^<]*<\|/ref\|>|<ref>[^<]*</ref>"
    r"|<\|(?:box_(?:start|end)|(?:begin|end)_of_box|/?det|grounding)\|>|</?box>"
)
_BLANK_BOX = re.compile(rf"<box>\s*({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s*</box>")  # MiniCPM
_LOCATIONS = re.compile(r"<loc([0-9]{4})>" * 4 + r"[ \w]*;?")  # PaliGemma: y before x, then the name
_ANY_STRING = re.compile(r"""("(?:[^"\\]|\\.)*+(?:"|$)|'(?:[^'\\]|\\.)*+(?:'|$))""", re.DOTALL)
_BOX_KEYS = ("bbox_2d", "bbox", "box", "bounding_box")
_YX_KEY = "box_2d"  # Gemini and Gemma: [y1, x1, y2, x2]
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))
_BARE_KEY = re.compile(r"""["'`]?(?:bbox_2d|bbox|box_2d|box|bounding_box)["'`]? ?[:=]""")
_SQUARE = str.maketrans("()", "[]")
_RELAXED = [  # what Python, or haste, writes where JSON has something else
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r", ?(?=[\]}])", ""),
        (r"(?<![\w\"])([A-Za-z_]\w*) ?[:=]", r'"\1":'),
        (r"(?<![\d.\w])0+(?=\d)", ""),
    )
]


def parse_boxes(text: str) -> list[tuple[float, float, float, float]]:
    r"""Return the boxes `(x1, y1, x2, y2)` of an answer, in the coordinates of the text.

    Reads the forms of current models: `{"bbox_2d": [...]}`, `bbox`, `box` or `bounding_box`, a list of such objects,
    bare lists, also in a code fence, `\boxed{}` or box tokens; points `(x1,y1),(x2,y2)` or `[[x1,y1],[x2,y2]]`; corners
    by name, `{"x1": ...}`; as a Python literal or without braces. `box_2d` and `<loc0001>` are read as Gemma and
    PaliGemma write them, y before x. What the numbers are fractions of is the frame's business (`core.boxes`). The
    answer must hold nothing else.

    >>> parse_boxes('{"bbox_2d": [1, 2, 3, 4], "label": "dog"}'), parse_boxes("<|box_start|>(1,2),(3,4.5)<|box_end|>")
    ([(1.0, 2.0, 3.0, 4.0)], [(1.0, 2.0, 3.0, 4.5)])
    >>> parse_boxes("[3, 2, 1, 4]")
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: box_reversed
    """
    bare = unfenced(limited(text).strip())
    bare = " ".join((_MARKS.sub(" ", bare) if "<" in bare else bare).split())
    boxes = _plain_boxes(bare)
    if boxes is None:
        try:
            boxes = _json_boxes(load_json(bare))
        except Unreadable as problem:
            if problem.reason != "not_json":
                raise
            boxes = _dialect_boxes(text)
    if not boxes:
        raise Unreadable("empty_answer")
    return [_checked_box(box) for box in boxes]


def _dialect_boxes(text: str) -> list:
    """Return the raw boxes of an answer in a form that is neither plain nor JSON."""
    text = undecorated(text).replace("、", ",")
    text = _LOCATIONS.sub(lambda match: "[{1}, {0}, {3}, {2}] ".format(*map(int, match.groups())), text)
    text = _BLANK_BOX.sub(r"[\1, \2, \3, \4]", text)
    text = " ".join(_MARKS.sub(" ", text).split())
    boxes = _plain_boxes(text)
    if boxes is not None:
        return boxes
    try:
        return _json_boxes(load_json(_relaxed(f"{{{text}}}" if _BARE_KEY.match(text) else text)))
    except Unreadable as problem:
        raise Unreadable("no_box" if problem.reason == "not_json" else problem.reason) from None


def _relaxed(text: str) -> str:
    """Return a Python literal as JSON: single quotes, round brackets, a comma too many, keys without quotes."""
    parts = _ANY_STRING.split(text)
    for index, part in enumerate(parts):
        if index % 2 and part[0] == "'":
            parts[index] = '"' + part[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
        elif index % 2 == 0:
            if text[:1] in "[{":
                part = part.translate(_SQUARE)
            for pattern, replacement in _RELAXED:
                part = pattern.sub(replacement, part)
            parts[index] = part
    return "".join(parts)


def _plain_boxes(text: str) -> list | None:
    """Return the boxes of a sequence of bare lists or pairs of points, or None if the text is anything else."""
    boxes, position = [], 0
    while match := _PLAIN_BOX.match(text, position):
        boxes.append([float(number) for number in match.groups() if number is not None])
        position = match.end()
    return boxes if position == len(text) else None


def _json_boxes(value: Any) -> list:
    """Return the raw boxes of a JSON value: one object, box or pair of points, or a list of objects or of boxes."""
    if isinstance(value, dict):
        found = [box for key in _BOX_KEYS if key in value for box in _json_boxes(value[key])]
        if _YX_KEY in value:
            found += [_swapped(box) for box in _json_boxes(value[_YX_KEY])]
        if len(value) > 3:
            found += [[value[name] for name in names] for names in _CORNERS if all(name in value for name in names)]
        if not found:
            raise Unreadable("no_box")
        return found
    if not isinstance(value, list) or not value:
        raise Unreadable("no_box")
    if len(value) == 2 and all(map(_is_point, value)):
        return [value[0] + value[1]]
    if any(isinstance(item, (dict, list)) for item in value):
        return [box for item in value for box in _json_boxes(item)]
    return [value]


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(v, (dict, list)) for v in value)


def _swapped(box: list) -> list:
    return [box[1], box[0], box[3], box[2]] if len(box) == 4 else box


def _checked_box(box: list) -> tuple[float, float, float, float]:
    if len(box) != 4:
        raise Unreadable("not_four_numbers")
    if str in map(type, box):
        box = [float(v) if isinstance(v, str) and _NUMBER_ALONE.fullmatch(v.strip()) else v for v in box]
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
