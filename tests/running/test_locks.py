"""Locks: an error names the living holder; a dead process holds nothing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from currreft_nb.running.locks import LockHeld, acquire, acquire_shared, holder

TAKER = """
import sys, time
from pathlib import Path
from currreft_nb.running.locks import acquire, acquire_shared
path, how = Path(sys.argv[1]), sys.argv[2]
held = acquire(path, "a test") if how == "one" else acquire_shared(path, read=how == "read")
print("held", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def other(path, how):
    with subprocess.Popen([sys.executable, "-c", TAKER, str(path), how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_the_holder_is_named_until_it_is_dead(tmp_path):
    path = tmp_path / "step"
    with other(path, "one") as process:
        with pytest.raises(LockHeld) as refused:
            acquire(path)
        assert str(refused.value).startswith(f"process {process.pid} on {socket.gethostname()} since 20")
        assert str(refused.value).endswith("(a test)")
    acquire(path).lock.release()  # the killed process left its note


@pytest.mark.parametrize(("how", "read"), [("write", False), ("write", True), ("read", False)])
def test_a_writer_shares_with_no_one(tmp_path, how, read):
    path = tmp_path / "locks" / "step"
    with other(path, how) as process, pytest.raises(LockHeld, match=f"process {process.pid} on .* {how}\\)$"):
        acquire_shared(path, read)
    acquire_shared(path, read).lock.release()


def test_readers_share_and_the_remaining_one_is_named(tmp_path):
    path, notes = tmp_path / "step", tmp_path / "step.json"
    with other(path, "read") as first:
        with other(path, "read"), acquire_shared(path, read=True):
            pass
        with pytest.raises(LockHeld, match=f"process {first.pid} on"):
            acquire_shared(path, read=False)
    with acquire_shared(path, read=False):
        assert [json.loads(line)["pid"] for line in notes.read_text().splitlines()] == [os.getpid()]  # it does not grow


@pytest.mark.parametrize(
    ("notes", "expected", "reason"),
    [
        ([], "another process", "before it wrote its note"),
        (["{"], "another process", "while it wrote"),
        (["[]", '{"pid": 1}'], "another process", "not a note of ours"),
        (
            [{"pid": os.getppid()}, {"pid": os.getpid()}, {"pid": 2**22 + 1}],
            f"process {os.getppid()} ",
            "the last one is dead",
        ),
        ([{"pid": 5, "host": "far"}], "process 5 on far ", "another machine's processes cannot be checked"),
    ],
)
def test_who_holds_it_is_read_from_notes(notes, expected, reason):
    whole = {"host": socket.gethostname(), "since": "now", "doing": "x"}
    lines = [note if isinstance(note, str) else json.dumps(whole | note) for note in notes]
    assert holder("\n".join(lines)).startswith(expected), reason
