"""Read each picture once, in several processes: open it, mend it, compute its fingerprints, store it if wanted.

The result for a picture depends on its file alone, and results come in the order of the jobs, so the number of
processes changes no byte.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import TypeVar

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
from currreft_nb.curation_likeness import likeness
from currreft_nb.formats.images import ImageProblem, content_hash, read_picture, store_picture

Item = TypeVar("Item")
BATCH = 8  # pictures that a process takes at a time
WORTH_A_PROCESS = 100  # a process takes half a second to start, in which it would have read as many pictures
REPORT_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A picture to read: its file, its (width, height) as annotated, the size to store it at, and where (None: not)."""

    path: str
    size: Size
    stored_size: Size
    folder: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFacts:
    """The hash of a picture's pixels, its likeness (63 float32), its stored file's name, and what was mended.

    A picture with a `reason` cannot be used; `value` gives the details.
    """

    content: str = ""
    likeness: bytes = b""
    stored: str | None = None
    mended: tuple[str, ...] = ()
    reason: str = ""
    value: str = ""


Waiting = deque[tuple[list[Job], Future[list[PictureFacts]]]]  # batches and their results, the oldest first


def inspect(job: Job) -> PictureFacts:
    """Read the picture of a job, and store it if the job has a folder."""
    try:
        picture = read_picture(job.path, job.size)
    except ImageProblem as problem:
        return PictureFacts(reason=problem.reason, value=problem.value)
    return PictureFacts(
        content=content_hash(picture.pixels),
        likeness=likeness(picture.pixels).tobytes(),
        stored=store_picture(picture, job.stored_size, job.folder) if job.folder else None,
        mended=picture.mended,
    )


def count_workers(asked: int, jobs: int) -> int:
    """Return the number of processes: `asked` (0: one per core), at most one per 100 pictures, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or cores, jobs // WORTH_A_PROCESS))


def in_order(jobs: Iterable[Job], workers: int) -> Iterator[PictureFacts]:
    """Yield the facts about the picture of each job, in order; several workers read in as many processes.

    Raises `InputError` if a process dies. No process outlives the iterator, however it ends.
    """
    if workers <= 1:
        yield from map(inspect, jobs)
        return
    jobs = iter(jobs)
    waiting: Waiting = deque()
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare_process)
    try:
        while batch := list(islice(jobs, BATCH)):
            with _without_main_file():
                waiting.append((batch, pool.submit(_inspect_batch, batch)))
            if len(waiting) > 4 * workers:  # enough to keep all busy, and no more in memory
                yield from _first_result(waiting)
        while waiting:
            yield from _first_result(waiting)
    except BrokenProcessPool:
        started = [job.path for batch, _ in list(waiting)[:workers] for job in batch]
        raise InputError(
            f"a process died that was reading one of {started[0]} to {started[-1]}; if memory ran out, set workers "
            f"to fewer than {workers}"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _first_result(waiting: Waiting) -> list[PictureFacts]:
    found = waiting[0][1].result()
    waiting.popleft()
    return found


def _inspect_batch(batch: list[Job]) -> list[PictureFacts]:
    return [inspect(job) for job in batch]


def _prepare_process() -> None:
    """Let the parent handle Ctrl-C, and end this process when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)


@contextmanager
def _without_main_file() -> Iterator[None]:
    """Hide the main file from new processes, which would import it: a script without a main guard would run again."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def with_progress(items: Iterable[Item], name: str, total: int | None = None) -> Generator[Item, None, None]:
    """Yield the items; print every few seconds how many were done, the rate, and the time left."""
    start = reported = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - reported >= REPORT_EVERY_S:
            reported = now
            print(progress_line(name, done, total, now - start), flush=True)


def progress_line(name: str, done: int, total: int | None, seconds: float) -> str:
    """Return the printed line.

    >>> progress_line("pictures", 1200, 20_000, 4.0)
    'pictures  1,200/20,000  300/s  63 s left'
    """
    rate = done / seconds
    if total is None:
        return f"{name}  {done:,}  {rate:,.0f}/s"
    return f"{name}  {done:,}/{total:,}  {rate:,.0f}/s  {(total - done) / rate:,.0f} s left"
