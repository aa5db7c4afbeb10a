"""Read each picture once: open it, mend it, tell what it shows, and store it if it is wanted; in several processes.

The work on a picture depends on nothing but the file, and results come in the order of the jobs: one process or
sixteen, the outcome is the same bytes.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from currreft_nb import InputError
from currreft_nb.boxes import Size
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
class Seen:
    """What was found: the hash of the pixels, the likeness (63 float32), the stored file's name, and what was mended.

    Where `reason` is given the picture cannot be used, and `value` tells the particulars.
    """

    content: str = ""
    likeness: bytes = b""
    stored: str | None = None
    mended: tuple[str, ...] = ()
    reason: str = ""
    value: str = ""


def look(job: Job) -> Seen:
    """Read the picture of a job, and store it if the job says where."""
    try:
        picture = read_picture(job.path, job.size)
    except ImageProblem as problem:
        return Seen(reason=problem.reason, value=problem.value)
    return Seen(
        content=content_hash(picture.pixels),
        likeness=likeness(picture.pixels).tobytes(),
        stored=store_picture(picture, job.stored_size, job.folder) if job.folder else None,
        mended=picture.mended,
    )


def count_workers(asked: int, jobs: int) -> int:
    """Return how many processes to use: `asked`, or one a core where that is 0, but none without enough to do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or cores, jobs // WORTH_A_PROCESS))


def in_order(jobs: Iterable[Job], workers: int) -> Iterator[Seen]:
    """Yield what is found for each job, in order; with several workers in as many processes."""
    if workers <= 1:
        yield from map(look, jobs)
        return
    jobs, idle = iter(jobs), queue.SimpleQueue[subprocess.Popen]()
    waiting: deque[Future[list[Seen]]] = deque()
    processes = [_start_process() for _ in range(workers)]
    threads = ThreadPoolExecutor(workers)  # each waits for one process
    for process in processes:
        idle.put(process)
    try:
        while batch := list(islice(jobs, BATCH)):
            waiting.append(threads.submit(_ask, idle, batch))
            if len(waiting) > 4 * workers:  # enough to keep all busy, and no more in memory
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for process in processes:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.communicate()


def _start_process() -> subprocess.Popen:
    """Start a process that serves: afresh, never forked, and without the main file, which a notebook does not have."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from currreft_nb.curation_images import serve; serve()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _ask(idle: queue.SimpleQueue, batch: list[Job]) -> list[Seen]:
    """Let a process that has nothing to do look at a batch of pictures."""
    process = idle.get()
    try:
        pickle.dump(batch, process.stdin)
        process.stdin.flush()
        found = pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise InputError(
            f"a process that reads pictures ended with status {process.wait()} at one of {batch[0].path} to "
            f"{batch[-1].path}; if memory ran out, set workers to 1"
        ) from None
    finally:
        idle.put(process)
    if isinstance(found, Exception):
        raise found
    return found


def serve() -> None:
    """Look at batches of pictures from standard input until it ends: what a process of `in_order` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt in the notebook is the parent's matter
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not pass for a reply
    while True:
        try:
            batch = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            found: list[Seen] | Exception = [look(job) for job in batch]
        except Exception as error:  # a full disk, say: the parent raises it
            found = error
        pickle.dump(found, replies)
        replies.flush()


def with_progress(items: Iterable[Item], name: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, and print a line every few seconds: how many, how many a second, how long it will take."""
    start = reported = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - reported >= REPORT_EVERY_S:
            reported = now
            print(progress_line(name, done, total, now - start), flush=True)


def progress_line(name: str, done: int, total: int | None, seconds: float) -> str:
    """Return what is printed.

    >>> progress_line("pictures", 1200, 20_000, 4.0)
    'pictures  1,200/20,000  300/s  63 s left'
    """
    rate = done / seconds
    if total is None:
        return f"{name}  {done:,}  {rate:,.0f}/s"
    return f"{name}  {done:,}/{total:,}  {rate:,.0f}/s  {(total - done) / rate:,.0f} s left"
