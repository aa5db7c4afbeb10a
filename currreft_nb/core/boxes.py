"""Geometry of boxes, and the coordinate frames in which model families write them.

A box is `(x1, y1, x2, y2)`, floats, half-open: a box of one pixel is `(3, 4, 4, 5)`. Samples hold boxes in pixels of
the stored image; a model writes them in the frame of its family (`models.families`). Only `to_frame` and `from_frame`
convert.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from currreft_nb import InputError

Box = Sequence[float]
Size = tuple[int, int]


def area(box: Box) -> float:
    """Return the area in square pixels; 0 for a reversed or empty box.

    >>> area((0, 0, 4, 2)), area((4, 0, 0, 2))
    (8, 0)
    """
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def intersect(a: Box, b: Box) -> Box:
    """Return the common part of two boxes, which may be empty or reversed."""
    return (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union, in [0, 1]; 0 when either box is empty.

    >>> iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    common = area(intersect(a, b))
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def clip(box: Box, size: Size) -> tuple[float, float, float, float]:
    """Return the part of the box inside an image of (width, height).

    >>> clip((-2, 3, 90, 8), (64, 64))
    (0, 3, 64, 8)
    """
    x1, y1, x2, y2 = intersect(box, (0, 0, *size))
    return (x1, y1, x2, y2)


def scale(box: Box, size: Size, new_size: Size) -> tuple[float, float, float, float]:
    """Return the box after its image was resized from `size` to `new_size`, both (width, height).

    >>> scale((10, 10, 20, 30), (100, 100), (50, 200))
    (5.0, 20.0, 10.0, 60.0)
    """
    x, y = new_size[0] / size[0], new_size[1] / size[1]
    return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


@dataclass(frozen=True)
class Frame:
    """How a model family writes coordinates.

    `kind`: "resized" (whole pixels of the image after the processor's resizing: Qwen2.5-VL) or "thousand" (0 to 1000
    along each side: Qwen2-VL, Qwen3-VL). `factor`: patch size times merge size, in pixels; the processor rounds both
    sides to multiples of it. `min_pixels`, `max_pixels`: the processor's bounds on width times height.
    """

    kind: str = "resized"
    factor: int = 28
    min_pixels: int = 3136
    max_pixels: int = 401_408

    def __post_init__(self) -> None:
        if self.kind not in ("resized", "thousand"):
            raise InputError(f"frame kind is {self.kind!r}, but must be 'resized' or 'thousand'")


def resized_size(size: Size, frame: Frame) -> Size:
    """Return the (width, height) that a Qwen-VL processor resizes an image of `size` to.

    The rule is that of `smart_resize` in transformers' Qwen2-VL image processor: both sides rounded to multiples of
    the factor, then scaled so that the area lies between the frame's bounds. Raises `InputError` for an aspect ratio
    above 200.

    >>> resized_size((640, 480), Frame())
    (644, 476)
    """
    width, height = size
    if max(size) / min(size) > 200:
        raise InputError(f"image of {width} x {height} pixels: the aspect ratio is above 200; crop or split it")
    f = frame.factor
    new_width, new_height = round(width / f) * f, round(height / f) * f
    if new_width * new_height > frame.max_pixels:
        beta = math.sqrt(width * height / frame.max_pixels)
        new_width = max(f, math.floor(width / beta / f) * f)
        new_height = max(f, math.floor(height / beta / f) * f)
    elif new_width * new_height < frame.min_pixels:
        beta = math.sqrt(frame.min_pixels / (width * height))
        new_width, new_height = math.ceil(width * beta / f) * f, math.ceil(height * beta / f) * f
    return (new_width, new_height)


def to_frame(box: Box, size: Size, frame: Frame) -> list[int]:
    """Return the box of an image of `size` as the model writes it: four whole numbers, at least one apart.

    >>> to_frame((320, 240, 640, 480), (640, 480), Frame(kind="thousand"))
    [500, 500, 1000, 1000]
    """
    width, height = _frame_size(size, frame)
    x1, y1, x2, y2 = scale(box, size, (width, height))
    (left, right), (top, bottom) = _whole(x1, x2, width), _whole(y1, y2, height)
    return [left, top, right, bottom]


def _whole(low: float, high: float, end: int) -> tuple[int, int]:
    """Return two edges as the nearest whole numbers, or where these are equal the unit interval around their middle."""
    if round(low) < round(high):
        return round(low), round(high)
    unit = min(math.floor((low + high) / 2), end - 1)
    return unit, unit + 1


def from_frame(box: Box, size: Size, frame: Frame) -> tuple[float, float, float, float]:
    """Return a box that the model wrote in pixels of the stored image of `size`.

    >>> from_frame([500, 500, 1000, 1000], (640, 480), Frame(kind="thousand"))
    (320.0, 240.0, 640.0, 480.0)
    """
    return scale(box, _frame_size(size, frame), size)


def _frame_size(size: Size, frame: Frame) -> Size:
    return (1000, 1000) if frame.kind == "thousand" else resized_size(size, frame)
