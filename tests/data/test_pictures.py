"""Likeness: the same picture stored differently is found again, different pictures are kept apart, quickly."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from currreft_nb.data.images import shrunk_size
from currreft_nb.data.pictures import NEAR, Job, group_alike, inspect, likeness, versions


def photograph(seed, size=(320, 240)):
    """Return a made-up picture with structure of all sizes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    return Image.blend(coarse, fine, 0.2)


def diagram(*corners):
    """Return a black line drawing on white."""
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).polygon(corners, outline="black", width=2)
    return image


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def distance(a, b):
    return float(np.linalg.norm(likeness(a) - likeness(b)))


@pytest.mark.parametrize("original", [photograph(1), diagram((20, 180), (150, 20), (280, 180))], ids=["photo", "lines"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda image: jpeg(image, 90), "good quality"),
        (lambda image: jpeg(image, 25), "poor quality"),
        (lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), "half the size"),
        (lambda image: image.resize((image.width * 2, image.height * 2)), "twice the size"),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.7), "darker"),
        (lambda image: ImageEnhance.Contrast(image).enhance(0.6), "less contrast"),
        (lambda image: image.convert("L"), "grey"),
        (lambda image: jpeg(image.quantize(64).convert("RGB"), 80), "a palette, then JPEG"),
    ],
)
def test_the_same_picture_stored_differently_is_near(original, change, why):
    assert distance(original, change(original)) <= NEAR, why


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (photograph(1), photograph(2), "another picture"),
        (photograph(1), photograph(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored: other boxes are right"),
        (diagram((20, 180), (150, 20), (280, 180)), diagram((20, 20), (150, 180), (280, 20)), "a triangle upside down"),
        (diagram((20, 180), (150, 20), (280, 180)), diagram((20, 180), (20, 20), (280, 180)), "another triangle"),
        (diagram((20, 180), (150, 20), (280, 180)), Image.new("RGB", (300, 200), "white"), "an empty page"),
    ],
)
def test_different_pictures_are_apart(one, other, why):
    assert distance(one, other) > 2 * NEAR, why


def test_pictures_that_show_nothing_are_alike():
    empty = [Image.new("RGB", (50, 50), color) for color in ("white", "black", "#123456")]
    assert all(distance(empty[0], other) == 0 for other in empty[1:])


def chains(seed, count):
    """Return likenesses of which some form chains, each link of which is near the next."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 63)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for place in range(1, count):
        if rng.random() < 0.5:
            step = rng.normal(size=63)
            rows[place] = rows[place - 1] + step / np.linalg.norm(step) * rng.uniform(0, 1.5 * NEAR)
    return rows[rng.permutation(count)].astype(np.float32)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 400))
def test_groups_are_those_of_comparing_all_with_all(seed, count):
    rows = chains(seed, count)
    near = np.min([np.linalg.norm(each[:, None] - rows[None], axis=2) for each in versions(rows)], axis=0) <= NEAR
    reach = np.linalg.matrix_power(near.astype(float), 1) > 0
    while True:
        further = (reach.astype(np.float32) @ near.astype(np.float32)) > 0
        if (further == reach).all():
            break
        reach = further
    groups = group_alike(rows)
    assert ((groups[:, None] == groups[None]) == reach).all()


def test_a_set_in_which_all_are_alike_is_one_group():
    rows = np.tile(likeness(photograph(3)), (3000, 1)) + np.random.default_rng(0).normal(0, 1e-3, (3000, 63))
    assert len(set(group_alike(rows.astype(np.float32)))) == 1


@pytest.mark.parametrize(("max_pixels", "fits"), [(0, True), (50_000, False), (80_000, True)])
def test_a_thin_picture_is_measured_at_the_size_at_which_it_is_stored(tmp_path, max_pixels, fits):
    size = (50, 9990)  # a ratio of 199.8; 15 x 3160 is one of 210.7
    Image.new("L", size).save(tmp_path / "a.png")
    facts = inspect(Job(path=str(tmp_path / "a.png"), size=size, stored_size=shrunk_size(size, max_pixels)))
    assert (facts.reason, facts.value) == (
        ("", "") if fits else ("aspect ratio is above 200", "(50, 9990), stored as (15, 3160)")
    )


@pytest.mark.parametrize("change", list(Image.Transpose), ids=lambda change: change.name)
def test_mirrored_and_turned_copies_are_of_one_group(change):
    pictures = [
        photograph(1),
        photograph(2),
        photograph(1).transpose(change),
        jpeg(photograph(2).transpose(change), 60),
    ]
    groups = group_alike(np.stack([likeness(picture) for picture in pictures]))
    assert groups[0] == groups[2] and groups[1] == groups[3] and groups[0] != groups[1]


def test_different_pictures_are_apart_even_if_turned():
    rows = np.stack([likeness(photograph(number)) for number in range(60)])
    assert len(set(group_alike(rows))) == 60


@pytest.mark.parametrize(("kept", "least", "most"), [(0.98, 0.75, 0.95), (0.95, 0.08, 0.3), (0.9, 0, 0.1)])
def test_where_crops_are_lost(real_data, kept, least, most):
    """The docstring of `likeness` has these shares."""
    rng, found = np.random.default_rng(0), []
    for path in sorted((real_data / "coco_tiny" / "images").glob("*/*.jpg")):
        picture = Image.open(path).convert("RGB")
        sides = [int(side * kept) for side in picture.size]
        x, y = (int(rng.integers(0, side - left + 1)) for side, left in zip(picture.size, sides))
        found.append(distance(picture, picture.crop((x, y, x + sides[0], y + sides[1]))) <= NEAR)
    assert len(found) == 38 and least <= np.mean(found) <= most, np.mean(found)
