"""Locks that name their holder. The system releases a lock when its process ends, however it ends.

`<name>.json` next to a lock file is a note on its holder (of a shared lock: one line for each):

    {"pid": 4711, "host": "desk", "since": "2026-11-23 08:00:00", "doing": "currreft run params/pocket.yaml"}

The note only serves the error message: one that a killed process left locks nothing. filelock supports Windows as well,
where this package is untested.
"""

import datetime
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, ReadWriteLock, Timeout


class LockHeld(Exception):
    """Another process holds the lock; the message names it."""


def acquire(path: Path, doing: str = "", timeout_s: float = 0.0) -> AcquireReturnProxy:
    """Lock a file until the returned context ends or its `lock` is released.

    `doing` goes into the note, by default the command line. Raises `LockHeld` when another process still holds the lock
    after `timeout_s` seconds.
    """
    return _acquire(path, FileLock(path).acquire, doing or _command(), timeout_s)


def acquire_shared(path: Path, read: bool) -> AcquireReturnProxy:
    """Lock a file as `acquire` does, together with other readers where `read` is set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = ReadWriteLock(path, is_singleton=False)
    return _acquire(path, lock.acquire_read if read else lock.acquire_write, _command(), append=read)


def _acquire(
    path: Path, take: Callable[..., AcquireReturnProxy], doing: str, timeout_s: float = 0.0, append: bool = False
) -> AcquireReturnProxy:
    notes = path.with_name(f"{path.name}.json")
    try:
        held = take(timeout=timeout_s)
    except Timeout:
        raise LockHeld(holder(notes.read_text(encoding="utf-8") if notes.exists() else "")) from None
    since = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "doing": doing}
    with notes.open("a" if append else "w", encoding="utf-8") as stream:
        stream.write(json.dumps(note, ensure_ascii=False) + "\n")
    return held


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def holder(text: str) -> str:
    """Return who holds a lock with these notes, one a line: the last of them that may be alive.

    >>> holder('{"pid": 1, "host": "far", "since": "2026-11-23 08:00:00", "doing": "currreft run a.yaml"}')
    'process 1 on far since 2026-11-23 08:00:00 (currreft run a.yaml)'
    >>> holder("")
    'another process'
    """
    for line in reversed(text.splitlines()):
        try:
            note = json.loads(line)
            if _may_live(note):
                return f"process {note['pid']} on {note['host']} since {note['since']} ({note['doing']})"
        except (json.JSONDecodeError, KeyError, TypeError):  # the holder has not finished writing its note
            continue
    return "another process"


def _may_live(note: dict) -> bool:
    if note["host"] != socket.gethostname() or os.name == "nt":  # on Windows, os.kill would end the process
        return True
    if note["pid"] == os.getpid():  # of an earlier lock: a process does not ask for one that it holds
        return False
    try:
        os.kill(note["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        pass
    return True
