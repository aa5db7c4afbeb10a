"""Divide questions into train, val, test and pool by what their images show, never by row."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from currreft_nb.samples import SPLITS, Sample

LEARNT = ("train", "pool")  # the splits that a model learns from
HELD_OUT = ("val", "test_id", "test_ood")

Cell = tuple[str, str]  # split, task
Place = tuple[str, str, str]  # split, task, stage


@dataclass(frozen=True, kw_only=True)
class Row:
    """A checked question with where it may go (`splits`) and the text by which the user named its source.

    `content` is the fingerprint of its image, or of its text if it has none.
    """

    sample: Sample
    content: str
    splits: tuple[str, ...]
    source: str


def allocate(
    rows: Iterable[Row], wanted: dict[Cell, int], taken: Counter, owners: dict[str, str], seed: int
) -> tuple[list[tuple[Row, str]], Counter]:
    """Give each image to one split; return the (row, split) pairs asked for, and how many were left, by reason.

    `wanted` tells how many questions each (split, task) should get at each stage. `taken` (by split, task, stage) and
    `owners` (split of each content) hold what earlier calls gave and are continued. Images come in an order that
    depends only on the seed and on what they show; each goes to the split that still lacks the largest share of what
    the image can give, so that scarce data is shared out in proportion to what was asked for.
    """
    by_content: dict[str, list[Row]] = {}
    for row in rows:
        by_content.setdefault(row.content, []).append(row)
    chosen, left = [], Counter()
    for content in sorted(by_content, key=lambda content: shuffle_key(seed, content)):
        group = by_content[content]
        owner = owners.get(content) or _neediest(group, wanted, taken)
        for row in group:
            place = (owner, row.sample.task, row.sample.stage)
            if owner and owner not in row.splits:
                left["image is in another split"] += 1
            elif owner and taken[place] < wanted.get(place[:2], 0):
                owners[content] = owner
                taken[place] += 1
                chosen.append((row, owner))
            else:
                left["more questions than asked for"] += 1
    return chosen, left


def _neediest(group: list[Row], wanted: dict[Cell, int], taken: Counter) -> str | None:
    """Return the split that lacks most of what these rows can give, or None if none of them lacks any."""
    lacking = Counter()
    for split in SPLITS:
        for task, stage in {(row.sample.task, row.sample.stage) for row in group if split in row.splits}:
            asked = wanted.get((split, task), 0)
            lacking[split] += (asked - taken[split, task, stage]) / asked if asked else 0
    best = max(SPLITS, key=lambda split: lacking[split])
    return best if lacking[best] > 0 else None


def shuffle_key(seed: int, name: str) -> bytes:
    """Return what to sort by for an order that the seed shuffles and nothing else changes."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
