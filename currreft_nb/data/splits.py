"""Divide questions into train, val, test and pool by whole images, never by row."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from currreft_nb.core.samples import SPLITS

LEARNT = ("train", "pool")  # the splits that a model learns from
HELD_OUT = ("val", "test_id", "test_ood")
ELSEWHERE = "image is in another split"
SURPLUS = "more questions than asked for"

Cell = tuple[str, str]  # split, task
Place = tuple[str, str, str]  # split, task, stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A checked question, the group of pictures (or the text) that it is about, and the splits that it may go to.

    `source` is the source as the user wrote it; `owner` the split that the group is in already.
    """

    number: int
    task: str
    stage: str
    group: str
    splits: tuple[str, ...]
    source: str
    owner: str | None = None


class Quotas:
    """Count questions against quotas: `wanted` by split and task at each stage, `limits` by split, task, source."""

    def __init__(self, wanted: Mapping[Cell, int], limits: Mapping[tuple[str, str, str], int] = {}):
        self.wanted, self.limits = wanted, limits
        self.taken: Counter[Place] = Counter()
        self._given: Counter[tuple[str, str, str, str]] = Counter()

    def left(self, split: str, task: str, stage: str, source: str) -> int:
        """Return how many more questions of a source a split can take at a stage."""
        free = self.wanted.get((split, task), 0) - self.taken[split, task, stage]
        limit = self.limits.get((split, task, source))
        return free if limit is None else min(free, limit - self._given[split, task, stage, source])

    def take(self, split: str, row: Row) -> bool:
        """Count the row in a split; return False if its quota is used up."""
        place = (split, row.task, row.stage)
        if self.left(*place, row.source) <= 0:
            return False
        self.taken[place] += 1
        self._given[*place, row.source] += 1
        return True

    def split_most_short(self, group: Iterable[Row]) -> str | None:
        """Return the split that is furthest from its quotas for these rows, or None if all are filled."""
        lacking: dict[str, float] = dict.fromkeys(SPLITS, 0.0)
        for split in SPLITS:
            kinds = {}
            for row in group:
                if split in row.splits:
                    limited = row.source if (split, row.task, row.source) in self.limits else ""
                    kinds[row.task, row.stage, limited] = row
            for row in kinds.values():
                if left := self.left(split, row.task, row.stage, row.source):
                    lacking[split] += left / self.wanted[split, row.task]
        best = max(SPLITS, key=lambda split: lacking[split])
        return best if lacking[best] > 0 else None


def allocate(rows: Iterable[Row], quotas: Quotas) -> Iterator[tuple[Row, str | None, str]]:
    """Assign each group of rows to a split; yield each row, that split, and the reason if the row is left out.

    Rows of one group must be consecutive. Each group goes to the split that is furthest from its quotas, so that
    scarce data is divided in proportion to the quotas.
    """
    for _, members in groupby(rows, key=lambda row: row.group):
        group = list(members)
        owner = group[0].owner or quotas.split_most_short(group)
        for row in group:
            if owner and owner not in row.splits:
                yield row, owner, ELSEWHERE
            elif owner and quotas.take(owner, row):
                yield row, owner, ""
            else:
                yield row, owner, SURPLUS


def shuffle_key(seed: int, name: str) -> bytes:
    """Return the sort key of a name for a shuffle that depends on the seed alone."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()
