"""Batches of lessons as tensors: tokens, attention masks, targets of supervised heads, pictures and labels of cells.

A row is `prefix | turn | turn | ...`. Every turn sees the prefix (with the picture) and itself, never another turn, and
its positions start after the prefix: each turn equals a prompt with that one question.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from currreft_nb.data.scenes.drawing import COLORS, SHAPES, Scene
from currreft_nb.pocket.lessons import CELLS, GRID, MERGE, PATCH, Encoder, Turn

SINK = 0  # the first token of a row: the target of attention that has nothing to look at
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of the Qwen-VL processors
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass
class Batch:
    """Rows of T tokens; `look_at`, `collects`, `points` hold (row, position, ...); `allowed` is rows x T x T."""

    tokens: torch.Tensor
    weights: torch.Tensor
    soft: torch.Tensor
    positions: torch.Tensor  # 3 x rows x T: time, row and column
    allowed: torch.Tensor
    look_at: torch.Tensor
    look_targets: torch.Tensor  # wanted attention over the cells and, last, the sink
    collects: torch.Tensor
    points: torch.Tensor
    pixels: torch.Tensor | None = None
    labels: dict[str, torch.Tensor] | None = None


def make_batch(encoder: Encoder, rows: list[list[Turn]], pictures: list[tuple[Image.Image, Scene]] | None) -> Batch:
    """Return the rows as tensors, padded on the right."""
    prefix = encoder.image_prefix if pictures else encoder.prefix
    length = max(len(prefix) + sum(len(turn.tokens) for turn in turns) for turns in rows)
    shape = (len(rows), length)
    tokens = np.full(shape, encoder.tokenizer.pad_token_id)
    weights, soft, segments = np.zeros(shape, np.float32), np.zeros(shape, bool), np.full(shape, -1)
    places = np.tile(_prefix_positions(encoder, bool(pictures), length)[:, None], (1, len(rows), 1))
    after = int(places[:, 0, len(prefix) - 1].max()) + 1
    looks, targets, collects, points = [], [], [], []
    for row, turns in enumerate(rows):
        tokens[row, : len(prefix)], segments[row, : len(prefix)] = prefix, 0
        start = len(prefix)
        for number, turn in enumerate(turns, 1):
            span = slice(start, start + len(turn.tokens))
            tokens[row, span], weights[row, span], soft[row, span] = turn.tokens, turn.weights, turn.soft
            segments[row, span], places[:, row, span] = number, after + np.arange(len(turn.tokens))
            looks += [(row, start + position) for position, _ in turn.looks]
            targets += [_look_target(cells) for _, cells in turn.looks]
            collects += [(row, start + at, *(start + i if i >= 0 else -1 for i in back)) for at, back in turn.collects]
            points += [(row, start + at, SINK if end is None else start + end) for at, end in turn.points]
            start = span.stop
    return Batch(
        tokens=torch.from_numpy(tokens),
        weights=torch.from_numpy(weights),
        soft=torch.from_numpy(soft),
        positions=torch.from_numpy(places),
        allowed=_allowed(torch.from_numpy(segments)),
        look_at=torch.tensor(looks).view(-1, 2),
        look_targets=torch.from_numpy(np.array(targets, np.float32)).view(-1, CELLS + 1),
        collects=torch.tensor(collects).view(-1, 6),
        points=torch.tensor(points).view(-1, 3),
        pixels=pixels([image for image, _ in pictures]) if pictures else None,
        labels=dense_labels([scene for _, scene in pictures]) if pictures else None,
    )


def _prefix_positions(encoder: Encoder, image: bool, length: int) -> np.ndarray:
    """Return 3 x length positions as Qwen2.5-VL counts them; `make_batch` fills in those of turns."""
    places = np.tile(np.arange(length), (3, 1))
    if image:
        start, cells = len(encoder.before_image), np.arange(CELLS)
        places[:, start : start + CELLS] = start + np.stack([0 * cells, cells // GRID, cells % GRID])
        places[:, start + CELLS :] -= CELLS - GRID
    return places


def _look_target(cells: list[int]) -> np.ndarray:
    target = np.zeros(CELLS + 1, np.float32)
    target[cells if cells else [CELLS]] = 1.0
    return target / target.sum()


def _allowed(segments: torch.Tensor) -> torch.Tensor:
    own = segments[:, :, None] == segments[:, None, :]
    shared = (segments == 0)[:, None, :]
    length = segments.shape[1]
    return (own | shared) & torch.ones(length, length, dtype=torch.bool).tril()


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """Return the patches of 64 x 64 pictures in the order of the processor, which is slow."""
    values = (np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255 - MEAN) / DEVIATION
    count = len(values)
    values = values.reshape(count, GRID, MERGE, PATCH, GRID, MERGE, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
    values = np.repeat(values[:, :, :, :, :, :, None], 2, axis=6)  # a still picture fills both frames of a patch
    return torch.from_numpy(np.ascontiguousarray(values).reshape(count * (GRID * MERGE) ** 2, -1))


def dense_labels(shown: list[Scene]) -> dict[str, torch.Tensor]:
    """Return each cell's colour (6 for empty), shape (-100 for empty) and box of the thing in it."""
    colors = torch.full((len(shown), CELLS), len(COLORS))
    shapes = torch.full((len(shown), CELLS), -100)
    boxes = torch.zeros(len(shown), CELLS, 4)
    for row, scene in enumerate(shown):
        for thing in scene.things:
            colors[row, thing.cell] = list(COLORS).index(thing.color)
            shapes[row, thing.cell] = SHAPES.index(thing.shape)
            boxes[row, thing.cell] = torch.tensor(thing.box, dtype=torch.float)
    return {"colors": colors, "shapes": shapes, "boxes": boxes}
