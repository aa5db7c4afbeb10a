"""Detection: where the object is that a phrase describes; a list of boxes, nearly always one.

    {"id": "refcoco-1a2b", "task": "detection", "stage": "open", "split": "train", "source": "refcoco",
     "image": "images/1a2b.jpg", "size": [640, 480], "question": "the man in the red shirt", "claim": null, "options":
     [], "answer": [[12.0, 40.5, 210.0, 470.0]], "thinking": null, "parent": null, "extra": {"others": [{"label":
     "person", "question": "the woman at the left", "box": [300.0, 20.0, 420.0, 460.0]}]}}

Reward at the open stage: 1 if the overlap (IoU) with the true box is above 0.5, as in the paper, or the overlap itself.
"""

import random
import re
from collections.abc import Mapping
from typing import Any

from currreft_nb.core.answers import Unreadable
from currreft_nb.core.box_answers import parse_boxes
from currreft_nb.core.boxes import Box, Size, area, iou

QUESTION = "Find the region of the image that this phrase describes: {question}"
ANSWER = 'Then give the box inside <answer></answer> as JSON: {"bbox_2d": [x1, y1, x2, y2]}.'
MEASURES = ("iou", "iou_50", "iou_75")
DENSE = "detection_reward: soft"
SEVERAL = False
OPTIONS = 4

MAX_BOXES = 100
_LIST = re.compile(r"\[[^\[\]]*\]")
FALSE_IOU = 0.4  # a distractor overlaps the true box less than this
ALIKE_IOU = 0.7  # and another distractor less than this
JITTER_IOU = (0.05, 0.35)  # of a moved box with the box itself
ATTEMPTS = 200
LOOKED_AT = 50  # boxes of other pictures
LIKE_SHIFT = 0.1  # of their sides, by which these are moved
EDGE_PX = 1.0  # a box that is closer to an edge touches it
SWAP_SHARE = 0.2  # of false claims: the true box, but asked about another object
MOVED_SHARE = 3 / 8  # of the other false claims: the true box moved; the rest show another object's box


def render(value: list) -> str:
    """Return boxes as text.

    >>> render([[1, 2, 3, 4]])
    '[1, 2, 3, 4]'
    """
    return "; ".join(f"[{', '.join(str(v) for v in box)}]" for box in value)


def other_forms(value: list) -> list[str]:
    """Return boxes as the list of objects that Qwen writes."""
    return [str([{"bbox_2d": list(box), "label": "object"} for box in value])]


def parse(text: str, sample: Any) -> list[tuple]:
    """Return the boxes of an answer, in the coordinates of the text; raises `Unreadable`.

    To a question about one box, several boxes are unreadable: a second box is not a second guess.
    """
    boxes = parse_boxes(text)
    if len(sample.answer) == 1 and len(boxes) > 1:
        raise Unreadable("two_boxes")
    if len(boxes) > MAX_BOXES:
        raise Unreadable("too_complex")
    return boxes


def thought(text: str, sample: Any) -> list[tuple]:
    """Return the boxes of a think block that holds nothing else, or ends with the only list in it.

    >>> from currreft_nb.core.samples import Sample
    >>> sample = Sample(id="a", task="detection", split="val", source="s", question="dog", answer=[[1, 2, 3, 4]])
    >>> thought("It is at the left, so [1, 2, 3, 4].", sample)
    [(1.0, 2.0, 3.0, 4.0)]
    """
    lists = _LIST.findall(text)
    ends = len(lists) == 1 and text.rstrip(" .").endswith(lists[0])
    return parse(lists[0] if ends else text, sample)


def accuracy(value: list, sample: Any, rules: Any) -> tuple[float, str]:
    """Return the reward in [0, 1] of boxes in stored pixels, and "ok", "partial", "iou_too_low" or "no_overlap".

    `rules.detection`: "hard" pays 1 above the threshold (the paper), "soft" the IoU, "soft_above_threshold" the IoU
    above it and otherwise 0. Several boxes are matched one to one for the highest total, which is divided by the larger
    number of boxes.
    """
    reward = hits = _share_above(value, sample.answer, rules.threshold)
    if rules.detection == "soft":
        reward = best_match(value, sample.answer)
    elif rules.detection == "soft_above_threshold":
        reward = best_match(value, sample.answer, lambda v: v if v > rules.threshold else 0.0)
    if hits:
        return reward, "ok" if hits == 1 else "partial"
    return reward, "iou_too_low" if best_match(value, sample.answer) else "no_overlap"


def best_match(boxes: list[Box], truth: list[Box], worth: Any = float) -> float:
    """Return the highest total of `worth(iou)` over one-to-one pairs, divided by the larger number of boxes.

    >>> best_match([(0, 0, 2, 2), (4, 4, 6, 6)], [(4, 4, 6, 6)])
    0.5
    """
    if len(boxes) == len(truth) == 1:
        return worth(iou(boxes[0], truth[0]))
    from scipy.optimize import linear_sum_assignment  # slow to import, and questions about several boxes are rare

    matrix = [[worth(iou(box, true)) for true in truth] for box in boxes]
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    return sum(matrix[row][column] for row, column in zip(rows, columns)) / max(len(boxes), len(truth))


def same(a: list, b: list) -> bool:
    """Say whether two answers are equal by the paper's rule: as many boxes, matched with an IoU above 0.5 each."""
    return len(a) == len(b) and _share_above(a, b, 0.5) == 1


def _share_above(boxes: list[Box], truth: list[Box], threshold: float) -> float:
    return best_match(boxes, truth, lambda v: float(v > threshold))


def measures(value: list | None, sample: Any) -> dict:
    """Return the mean IoU over the boxes, 0 where unreadable, and whether each box has an IoU above 0.5 and 0.75.

    Above, as in the paper's reward, not equal to it.
    """
    if value is None:
        return dict.fromkeys(MEASURES, 0.0)
    iou_50, iou_75 = (float(_share_above(value, sample.answer, threshold) == 1) for threshold in (0.5, 0.75))
    return {"iou": best_match(value, sample.answer), "iou_50": iou_50, "iou_75": iou_75}


def distractors(sample: Any, rng: random.Random, alike: Mapping[Box, Any] = {}) -> list[list]:
    """Return wrong answers of one box each, with an IoU below 0.4 to the true one and below 0.7 to each other.

    First the other objects of the image, those with the label of the true one before the rest. An object of another
    label must be of usual size for the question: nobody takes a large box for the small thing that is asked for. Then
    boxes that answer the same kind of question in other pictures (`alike`, in shares of the sides): they lie and touch
    the edges as true boxes do. Where these are too few: the true box moved (IoU 0.05 to 0.35), placed at random, and a
    wrong one moved; if all were moved from the truth, it would be the box in the middle. The last is near the true box.
    None for several true boxes.
    """
    if len(sample.answer) != 1:
        return []
    truth, size = sample.answer[0], sample.size
    known = [_like(box, size, rng) for box in rng.sample(list(alike), min(len(alike), LOOKED_AT))]
    chosen: list[Box] = []
    label, others = sample.extra.get("label"), sample.extra.get("others", ())
    shuffled = rng.sample(others, len(others))
    for other in sorted(shuffled, key=lambda other: other["label"] != label):
        if other["label"] == label or _is_usual(other["box"], known):
            _add(chosen, other["box"], truth)
    for box in known:
        if len(chosen) < OPTIONS:
            _add(chosen, box, truth, FALSE_IOU)  # farther apart from each other, the true box would be recognised
    for _ in range(2 if len(chosen) < OPTIONS - 1 else 0):
        _add(chosen, _moved(truth, size, rng, JITTER_IOU), truth)
        _add(chosen, _moved(truth, size, rng, (0, FALSE_IOU)), truth)
        if chosen:
            _add(chosen, _moved(rng.choice(chosen), size, rng, JITTER_IOU), truth)
    near = (box for box in known if JITTER_IOU[0] <= iou(box, truth) <= JITTER_IOU[1])
    _add(chosen, next(near, None) or _moved(truth, size, rng, JITTER_IOU), truth)
    return [[box] for box in chosen]


def _like(box: Box, size: Size, rng: random.Random) -> Box:
    """Return a box in pixels much like one in shares of the sides: a learner must not know it as that of a picture."""
    (x1, x2), (y1, y2) = (_shifted(box[i] * size[i], box[i + 2] * size[i], size[i], rng) for i in (0, 1))
    return (x1, y1, x2, y2)


def _shifted(low: float, high: float, end: float, rng: random.Random) -> tuple[float, float]:
    """Return the interval with each free end moved by up to a tenth of its length; an end on an edge stays there."""
    reach = (high - low) * LIKE_SHIFT
    first = low if low <= EDGE_PX else low + rng.uniform(max(-reach, 2 * EDGE_PX - low), reach)
    last = high if high >= end - EDGE_PX else high + rng.uniform(-reach, min(reach, end - 2 * EDGE_PX - high))
    return (round(first, 1), round(last, 1)) if first < last else (low, high)


def _is_usual(box: Box, known: list[Box]) -> bool:
    """Say whether the box is not larger and not smaller than nine of ten known ones; without any it is."""
    areas = sorted(map(area, known))
    return not areas or areas[len(areas) // 10] <= area(box) <= areas[-1 - len(areas) // 10]


def false_claim(sample: Any, wrong: list, rng: random.Random) -> dict:
    """Return the fields of a question whose claim is a wrong box, or the true box with another object asked for."""
    claim = wrong[0]
    if not sample.extra.get("candidates"):
        objects = [list(other["box"]) for other in sample.extra.get("others", ())]
        low, high = JITTER_IOU
        moved = [value for value in wrong if value[0] not in objects and low <= iou(value[0], sample.answer[0]) <= high]
        if moved and rng.random() < MOVED_SHARE:
            claim = moved[0]
    if (others := _other_questions(sample)) and rng.random() < SWAP_SHARE:
        other = rng.choice(others)
        return {"claim": sample.answer, "question": other["question"], "thinking": other.get("thinking")}
    return {"claim": claim}


def _other_questions(sample: Any) -> list[dict]:
    """Return the image's other objects that have a question to which no box near the answer's belongs.

    If the sample has reference thinking, the other object must bring its own: that of the sample would be wrong.
    """
    others = sample.extra.get("others", ())
    near = [other for other in others if any(iou(other["box"], box) >= FALSE_IOU for box in sample.answer)]
    asked = {sample.question, *(other.get("question") for other in near)}
    free = [other for other in others if other.get("question") and other["question"] not in asked]
    return [other for other in free if sample.thinking is None or other.get("thinking")]


def _add(chosen: list, box: Box | None, truth: Box, apart: float = ALIKE_IOU) -> None:
    """Append the box if it clearly differs from the true one and from the chosen ones."""
    if box and iou(box, truth) < FALSE_IOU and all(iou(box, other) < apart for other in chosen):
        chosen.append(list(box))


def _moved(box: Box, size: Size, rng: random.Random, limits: tuple[float, float]) -> Box | None:
    """Return the box moved, and resized by half to twice its sides, to an IoU within `limits`, or None.

    It touches those edges of the image that the box touches, and no others: cut off at an edge, it would be known as
    wrong by its place alone.
    """
    for _ in range(ATTEMPTS):
        sides = (_moved_side(box[i], box[i + 2], size[i], rng, bool(limits[0])) for i in (0, 1))
        (x1, x2), (y1, y2) = sides
        if x1 < x2 and y1 < y2 and limits[0] <= iou((x1, y1, x2, y2), box) <= limits[1]:
            return (x1, y1, x2, y2)
    return None


def _moved_side(low: float, high: float, end: float, rng: random.Random, near: bool) -> tuple[float, float]:
    """Return an interval within 0 to `end`, if `near` overlapping this one; it touches the ends that this one does."""
    first, last = low <= EDGE_PX, high >= end - EDGE_PX
    least, most = 0 if first else 2 * EDGE_PX, end if last else end - 2 * EDGE_PX
    length = min((high - low) * 2 ** rng.uniform(-1, 1), most - least)
    if first or last:
        return (0, end if last else round(length, 1)) if first else (round(end - length, 1), end)
    start = (
        rng.uniform(max(least, low - length), min(most - length, high)) if near else rng.uniform(least, most - length)
    )
    return round(start, 1), round(start + length, 1)
