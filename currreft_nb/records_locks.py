"""Locks that name their holder: files that a living process holds, with a note of who it is, since when, doing what.

    {"pid": 4711, "host": "desk", "since": "2026-11-23 08:00:00", "doing": "currreft run params/pocket.yaml"}

The system lets go of a lock when its process ends, however it ends: a note that was left behind holds nothing.
"""

import datetime
import fcntl
import json
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import TextIO


class Held(Exception):
    """Another process holds the lock; the message says which."""


def take(path: Path, shared: bool = False, doing: str = "") -> TextIO:
    """Lock a file for as long as the returned stream is open, with others where all of them take it `shared`.

    `doing` is told to those who want it meanwhile, the command line by default. Raises `Held` where another process
    holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+", encoding="utf-8")
    alone = _lock(stream, fcntl.LOCK_EX)
    if alone:
        stream.truncate(0)  # notes of those who are gone
    if not (_lock(stream, fcntl.LOCK_SH) if shared else alone):
        with stream:
            stream.seek(0)
            raise Held(holder(stream.read()))
    since = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "doing": doing or _command()}
    stream.write(json.dumps(note, ensure_ascii=False) + "\n")
    stream.flush()
    return stream


def _lock(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
        except (json.JSONDecodeError, KeyError, TypeError):  # caught between its locking and its writing
            continue
    return "another process"


def _may_live(note: dict) -> bool:
    if note["host"] != socket.gethostname():
        return True
    if note["pid"] == os.getpid():  # from earlier: what this process holds it does not take again
        return False
    try:
        os.kill(note["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
