"""Exchange between the processes of one training. A process that trains alone gets back its own values.

Only rank 0 writes to the run folder, and only its lines are shown.
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
    """Return whether this is the process that writes."""
    return rank() == 0


def from_first(make: Callable[[], T]) -> T:
    """Call `make` in the first process only, and return its result in every process."""
    found: list[Any] = [make() if is_first() else None]
    if count() > 1:
        distributed.broadcast_object_list(found, src=0)
    return found[0]


def from_all(rows: Sequence[T]) -> list[T]:
    """Return the rows of all processes in every process, in the order of ranks."""
    parts: list[Any] = [list(rows)]
    if count() > 1:
        parts = [None] * count()
        distributed.all_gather_object(parts, list(rows))
    return list(chain.from_iterable(parts))


def share(rows: Sequence[T]) -> list[T]:
    """Return this process's part of the rows; `from_all` joins the parts in their order."""
    start, end = (len(rows) * number // count() for number in (rank(), rank() + 1))
    return list(rows[start:end])
