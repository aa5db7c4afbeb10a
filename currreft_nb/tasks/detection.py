"""Detection: where the object is that a phrase describes; a list of boxes, nearly always one.

    {"id": "refcoco-1a2b", "task": "detection", "stage": "open", "split": "train", "source": "refcoco",
     "image": "images/1a2b.jpg", "size": [640, 480], "question": "the man in the red shirt", "claim": null, "options":
     [], "answer": [[12.0, 40.5, 210.0, 470.0]], "thinking": null, "parent": null, "extra": {"others": [{"label":
     "person", "question": "the woman at the left", "box": [300.0, 20.0, 420.0, 460.0]}]}}

Reward at the open stage: 1 if the overlap (IoU) with the true box is above 0.5, as in the paper, or the overlap itself.
"""

import random
import re
from typing import Any

from currreft_nb.core.answers import Unreadable, parse_boxes
from currreft_nb.core.boxes import Box, clip, iou

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


def distractors(sample: Any, rng: random.Random, vocabulary: Any = None) -> list[list]:
    """Return wrong answers of one box each, with an IoU below 0.4 to the true one and below 0.7 to each other.

    First the other objects of the image, those with the label of the true one before the rest; then boxes jittered
    from the true one (IoU 0.05 to 0.35), boxes placed at random, and boxes jittered from those: if all were jittered
    from the truth, it would be the box in the middle, known without a look at the image. None for several true boxes.
    """
    if len(sample.answer) != 1:
        return []
    truth = sample.answer[0]
    chosen: list[Box] = []
    label, others = sample.extra.get("label"), sample.extra.get("others", ())
    shuffled = rng.sample(others, len(others))
    for other in sorted(shuffled, key=lambda other: other["label"] != label):
        _add(chosen, other["box"], truth)
    for _ in range(2):
        _add(chosen, _jittered(truth, sample.size, rng), truth)
        _add(chosen, _random_box(truth, sample.size, rng), truth)
        if chosen:
            _add(chosen, _jittered(rng.choice(chosen), sample.size, rng), truth)
    return [[box] for box in chosen]


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


def _add(chosen: list, box: Box | None, truth: Box) -> None:
    """Append the box if it clearly differs from the true one and from the chosen ones."""
    if box and iou(box, truth) < FALSE_IOU and all(iou(box, other) < ALIKE_IOU for other in chosen):
        chosen.append(list(box))


def _jittered(box: Box, size: tuple[int, int], rng: random.Random) -> Box | None:
    """Return the box moved and resized within the image to an IoU in `JITTER_IOU` with itself, or None."""
    for _ in range(ATTEMPTS):
        width, height = ((box[i + 2] - box[i]) * rng.uniform(0.5, 1.5) for i in (0, 1))
        x, y = (box[i] + (box[i + 2] - box[i]) * rng.uniform(-1, 1) for i in (0, 1))
        moved = _inside(x, y, width, height, size)
        if moved and JITTER_IOU[0] <= iou(moved, box) <= JITTER_IOU[1]:
            return moved
    return None


def _random_box(like: Box, size: tuple[int, int], rng: random.Random) -> Box | None:
    """Return a box of about the same size anywhere in the image, with an IoU below 0.4 to it, or None."""
    for _ in range(ATTEMPTS):
        width, height = (min((like[i + 2] - like[i]) * rng.uniform(0.7, 1.4), size[i]) for i in (0, 1))
        placed = _inside(rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height), width, height, size)
        if placed and iou(placed, like) < FALSE_IOU:
            return placed
    return None


def _inside(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> Box | None:
    """Return the part of the box inside the image, in tenths of a pixel; None if that is less than half of it."""
    x1, y1, x2, y2 = (round(v, 1) for v in clip((x, y, x + width, y + height), size))
    if x2 <= x1 or y2 <= y1 or (x2 - x1) * (y2 - y1) < 0.5 * width * height:
        return None
    return (x1, y1, x2, y2)
