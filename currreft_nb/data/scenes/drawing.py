"""Draw scenes: coloured shapes in two looks, their places, and the picture."""

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64  # of a picture, in pixels
CELL = 16  # pixels: counting lists the cells of a grid of 4 x 4, numbered row by row from 0
COLORS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 40),
    "purple": (150, 60, 190),
    "orange": (240, 140, 30),
}
SHAPES = ("circle", "square", "triangle", "star")
UNSEEN = (("red", "star"), ("blue", "circle"), ("yellow", "square"), ("green", "triangle"))  # drawn only out-of-domain
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Thing:
    """One drawn object; `box` is half-open, in pixels."""

    color: str
    shape: str
    box: Box

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"

    @property
    def middle(self) -> float:
        return (self.box[0] + self.box[2]) / 2

    @property
    def area(self) -> int:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def cell(self) -> int:
        return cell_of(self.box)


@dataclass(frozen=True)
class Scene:
    """The content of a picture; `spare` are boxes that could hold an object but are empty."""

    things: tuple[Thing, ...]
    look: str
    spare: tuple[Box, ...] = ()


def cell_of(box: Box) -> int:
    """Return the cell, 0 to 15, that holds the middle of a box.

    >>> cell_of((16, 0, 30, 12)), cell_of((50, 50, 63, 63))
    (1, 15)
    """
    return (box[1] + box[3]) // 2 // CELL * (SIDE // CELL) + (box[0] + box[2]) // 2 // CELL


def pairs(look: str) -> list[tuple[str, str]]:
    """Return the (color, shape) pairs that a look can show."""
    every = [(color, shape) for color in COLORS for shape in SHAPES]
    return every if look == "ood" else [pair for pair in every if pair not in UNSEEN]


def place(rng: random.Random, count: int, look: str) -> list[Box]:
    """Return `count` boxes that do not touch, each with its middle in a cell of its own."""
    smallest, largest = (4, 12) if look == "ood" else (5, 10)
    largest -= 2 if count >= 4 else 0
    while True:
        boxes: list[Box] = []
        for _ in range(12 * count):
            half = [rng.randint(smallest, largest)] * 2
            if look == "ood":
                half[1] = min(largest, max(smallest, round(half[0] * rng.uniform(0.75, 1.3))))
            x, y = (rng.randint(h, SIDE - 2 - h) for h in half)
            box = (x - half[0], y - half[1], x + half[0] + 1, y + half[1] + 1)
            if all(_apart(box, other) and cell_of(box) != cell_of(other) for other in boxes):
                boxes.append(box)
            if len(boxes) == count:
                rng.shuffle(boxes)  # boxes placed first are larger on average, which would reveal the true box
                return boxes


def _apart(a: Box, b: Box) -> bool:
    return a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def draw_scene(scene: Scene, rng: random.Random) -> Image.Image:
    """Return the scene as an RGB picture of 64 x 64 pixels; `rng` sets shades, texture and rotation."""
    image = _background(scene.look, rng)
    pencil = ImageDraw.Draw(image)
    for thing in scene.things:
        shade = tuple(min(255, max(0, value + rng.randint(-15, 15))) for value in COLORS[thing.color])
        turn = rng.uniform(-0.35, 0.35) if scene.look == "ood" else 0.0
        outlined = scene.look == "ood" and rng.random() < 0.3
        outline = rng.choice([(30, 30, 30), (245, 245, 245)]) if outlined else None
        pencil.polygon(_points(thing.shape, thing.box, turn), fill=shade, outline=outline)
    return image


def _background(look: str, rng: random.Random) -> Image.Image:
    if look == "id":
        return Image.new("RGB", (SIDE, SIDE), tuple(rng.randint(205, 255) for _ in range(3)))
    base = np.array([rng.randint(140, 205) for _ in range(3)])
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    period = rng.choice([4, 6, 8])
    checks = ((y // period + x // period) % 2)[..., None] * rng.randint(8, 24)
    noise = np.random.RandomState(rng.randrange(1 << 30)).randint(-10, 11, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(base + checks + noise, 0, 255).astype(np.uint8))


def _points(shape: str, box: Box, turn: float) -> list[tuple[float, float]]:
    """Return the outline of a shape, turned by `turn` radians and scaled to fill the box."""
    corners = {"circle": 24, "square": 4, "triangle": 3, "star": 10}[shape]
    start = turn - math.pi / 2 + (math.pi / 4 if shape == "square" else 0)
    xs, ys = [], []
    for corner in range(corners):
        radius = 0.42 if shape == "star" and corner % 2 else 1.0
        angle = start + 2 * math.pi * corner / corners
        xs.append(radius * math.cos(angle))
        ys.append(radius * math.sin(angle))
    return list(zip(_stretch(xs, box[0], box[2]), _stretch(ys, box[1], box[3])))


def _stretch(values: list[float], low: int, high: int) -> list[float]:
    least, most = min(values), max(values)
    return [low + (value - least) / (most - least) * (high - 1 - low) for value in values]
