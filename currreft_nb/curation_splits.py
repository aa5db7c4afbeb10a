"""Divide questions into train, val, test and pool by what their images show, never by row."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from currreft_nb.samples import SPLITS

LEARNT = ("train", "pool")  # the splits that a model learns from
HELD_OUT = ("val", "test_id", "test_ood")
ELSEWHERE = "image is in another split"
SURPLUS = "more questions than asked for"

Cell = tuple[str, str]  # split, task
Place = tuple[str, str, str]  # split, task, stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A checked question: what it is, the group of pictures (or the text) that it is about, and where it may go.

    `source` is the text by which the user named where it came from; `owner` the split that its group is in already.
    """

    number: int
    task: str
    stage: str
    group: str
    splits: tuple[str, ...]
    source: str
    owner: str | None = None


class Room:
    """How many questions still fit where: `wanted` by split and task at each stage, `limits` by split, task, source."""

    def __init__(self, wanted: Mapping[Cell, int], limits: Mapping[tuple[str, str, str], int] = {}):
        self.wanted, self.limits = wanted, limits
        self.taken: Counter[Place] = Counter()
        self._given: Counter[tuple[str, str, str, str]] = Counter()

    def left(self, split: str, task: str, stage: str, source: str) -> int:
        """Return how many more questions of a source fit in one place."""
        room = self.wanted.get((split, task), 0) - self.taken[split, task, stage]
        limit = self.limits.get((split, task, source))
        return room if limit is None else min(room, limit - self._given[split, task, stage, source])

    def take(self, split: str, row: Row) -> bool:
        """Count the row in a split, and say whether it fitted."""
        place = (split, row.task, row.stage)
        if self.left(*place, row.source) <= 0:
            return False
        self.taken[place] += 1
        self._given[*place, row.source] += 1
        return True

    def neediest(self, group: Iterable[Row]) -> str | None:
        """Return the split that lacks most of what these rows can give, or None if none of them lacks any."""
        lacking: dict[str, float] = dict.fromkeys(SPLITS, 0.0)
        for split in SPLITS:
            kinds = {}
            for row in group:
                if split in row.splits:
                    limited = row.source if (split, row.task, row.source) in self.limits else ""
                    kinds[row.task, row.stage, limited] = row
            for row in kinds.values():
                if room := self.left(split, row.task, row.stage, row.source):
                    lacking[split] += room / self.wanted[split, row.task]
        best = max(SPLITS, key=lambda split: lacking[split])
        return best if lacking[best] > 0 else None


def allocate(rows: Iterable[Row], room: Room) -> Iterator[tuple[Row, str | None, str]]:
    """Give each group of rows to one split; yield each row, that split, and the reason if the row does not get it.

    Rows of one group stand together. Each group goes to the split that still lacks the largest share of what the group
    can give, so that scarce data is shared out in proportion to what was asked for.
    """
    for _, members in groupby(rows, key=lambda row: row.group):
        group = list(members)
        owner = group[0].owner or room.neediest(group)
        for row in group:
            if owner and owner not in row.splits:
                yield row, owner, ELSEWHERE
            elif owner and room.take(owner, row):
                yield row, owner, ""
            else:
                yield row, owner, SURPLUS


def shuffle_key(seed: int, name: str) -> bytes:
    """Return what to sort by for an order that the seed shuffles and nothing else changes."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
