"""Boxes and frames: the geometry everything else relies on."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame, area, clip, from_frame, iou, resized_size, scale, to_frame

coordinates = st.floats(0, 1000, allow_nan=False)
boxes = st.tuples(coordinates, coordinates, st.floats(1, 500), st.floats(1, 500)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)

OVERLAPS = [
    ((0, 0, 2, 2), (0, 0, 2, 2), 1, "the same box"),
    ((0, 0, 2, 2), (2, 0, 4, 2), 0, "half-open boxes that touch share no pixel"),
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, "one of seven pixels in common"),
    ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, "a box inside another"),
    ((0, 0, 2, 2), (5, 5, 9, 9), 0, "far apart: the product of two negative sides is no overlap"),
    ((2, 2, 0, 0), (0, 0, 2, 2), 0, "a reversed box has no area"),
    ((1, 1, 1, 1), (1, 1, 1, 1), 0, "two empty boxes: no division by zero"),
]


@pytest.mark.parametrize(("a", "b", "expected", "reason"), OVERLAPS)
def test_iou(a, b, expected, reason):
    assert iou(a, b) == pytest.approx(expected), reason


@given(boxes, boxes, st.floats(0.1, 10))
def test_iou_is_symmetric_bounded_and_free_of_scale(a, b, factor):
    value = iou(a, b)
    assert 0 <= value <= 1
    assert value == pytest.approx(iou(b, a))
    assert value == pytest.approx(iou([v * factor for v in a], [v * factor for v in b]), abs=1e-6)


@given(boxes)
def test_a_box_overlaps_itself_fully(box):
    assert iou(box, box) == pytest.approx(1)


def test_clip_leaves_nothing_of_a_box_outside():
    assert area(clip((70, 0, 90, 10), (64, 64))) == 0
    assert clip((1, 2, 3, 4), (64, 64)) == (1, 2, 3, 4)


def test_scale_back_and_forth():
    box = (3.0, 5.0, 17.0, 29.0)
    assert scale(scale(box, (64, 48), (640, 96)), (640, 96), (64, 48)) == pytest.approx(box)


def test_resized_size_is_what_transformers_does():
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    rng = random.Random(0)
    sizes = [(rng.randint(1, 4000), rng.randint(1, 4000)) for _ in range(3000)]
    sizes += [(rng.randint(1, 120), rng.randint(1, 120)) for _ in range(2000)]
    sizes += [(1, 1), (14, 14), (42, 42), (70, 98), (27, 29), (28, 5600), (5600, 28), (200, 1), (633, 635)]
    frames = [
        Frame(),
        Frame(factor=32, min_pixels=65_536, max_pixels=1_048_576),
        Frame(factor=16, min_pixels=256, max_pixels=4096),
        Frame(max_pixels=12_845_056),
    ]
    compared = 0
    for frame in frames:
        for width, height in sizes:
            if max(width, height) / min(width, height) > 200:
                continue
            expected = smart_resize(height, width, frame.factor, frame.min_pixels, frame.max_pixels)
            assert resized_size((width, height), frame) == (expected[1], expected[0]), (width, height, frame)
            compared += 1
    assert compared > 19_000


def test_resized_size_refuses_what_transformers_refuses():
    with pytest.raises(InputError, match="aspect ratio"):
        resized_size((6000, 20), Frame())


def test_an_unknown_frame_kind_is_refused():
    with pytest.raises(InputError, match="hundred"):
        Frame(kind="hundred")


@given(st.sampled_from(["resized", "thousand"]), st.integers(40, 2000), st.integers(40, 2000), st.data())
def test_frames_round_trip_within_one_unit(kind, width, height, data):
    """What is written comes back within one unit of the frame on each side, and is a box of whole numbers within it."""
    frame = Frame(kind=kind)
    x1, y1 = data.draw(st.floats(0, width - 2)), data.draw(st.floats(0, height - 2))
    box = (x1, y1, data.draw(st.floats(x1 + 1, width)), data.draw(st.floats(y1 + 1, height)))
    written = to_frame(box, (width, height), frame)
    target = (1000, 1000) if kind == "thousand" else resized_size((width, height), frame)
    assert all(isinstance(v, int) for v in written)
    assert 0 <= written[0] < written[2] <= target[0] and 0 <= written[1] < written[3] <= target[1]
    back = from_frame(written, (width, height), frame)
    units = (width / target[0], height / target[1]) * 2
    assert all(abs(a - b) <= 1.001 * unit for a, b, unit in zip(back, box, units))


def test_a_box_smaller_than_a_unit_becomes_the_unit_that_it_lies_in():
    assert to_frame((0, 1280, 1, 1281), (1442, 1489), Frame()) == [0, 529, 1, 530]  # at 529.54 to 529.95


def test_a_box_at_the_far_edge_keeps_a_width():
    assert to_frame((639.9, 479.9, 640, 480), (640, 480), Frame(kind="thousand")) == [999, 999, 1000, 1000]
