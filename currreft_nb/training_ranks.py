"""What the processes of one training tell each other. A process that trains alone gets back what it gave.

Each process has a rank; the first, rank 0, is the only one that writes to the run folder and whose lines are seen.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")


def rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Say whether this is the process that writes."""
    return rank() == 0


def from_first(make: Callable[[], T]) -> T:
    """Return, in every process, what `make` returns in the first one, the only one that calls it."""
    found: list[Any] = [make() if is_first() else None]
    if count() > 1:
        distributed.broadcast_object_list(found, src=0)
    return found[0]


def from_all(rows: Sequence[T]) -> list[T]:
    """Return, in every process, the rows of all of them, in the order of ranks."""
    parts: list[Any] = [list(rows)]
    if count() > 1:
        parts = [None] * count()
        distributed.all_gather_object(parts, list(rows))
    return list(chain.from_iterable(parts))


def share(rows: Sequence[T]) -> list[T]:
    """Return this process's part of the rows; `from_all` puts the parts together again, in their order."""
    start, end = (len(rows) * number // count() for number in (rank(), rank() + 1))
    return list(rows[start:end])
