"""Locks: whoever lives holds them and is named, whoever died does not."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from currreft_nb.records_locks import Held, holder, take

TAKER = "import sys, time; from pathlib import Path; from currreft_nb.records_locks import take\n"
TAKER += (
    "stream = take(Path(sys.argv[1]), sys.argv[2] == 'shared', 'a test'); print('held', flush=True); time.sleep(60)"
)


@contextlib.contextmanager
def other(path, how="alone"):
    with subprocess.Popen([sys.executable, "-c", TAKER, str(path), how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_the_holder_is_named_until_it_is_dead(tmp_path):
    path = tmp_path / "locks" / "step"
    for how, shared in (("alone", False), ("alone", True), ("shared", False)):
        with other(path, how) as process:
            with pytest.raises(Held) as refused:
                take(path, shared)
            assert str(refused.value).startswith(f"process {process.pid} on {socket.gethostname()} since 20")
            assert str(refused.value).endswith("(a test)")
        take(path, shared).close()  # killed, it left its note


def test_readers_share_and_the_one_that_is_left_is_named(tmp_path):
    path = tmp_path / "step"
    with other(path, "shared") as first:
        with other(path, "shared"), take(path, shared=True):
            pass
        with pytest.raises(Held, match=f"process {first.pid} on"):
            take(path)
    with take(path, doing="mine"):
        assert [json.loads(line)["doing"] for line in path.read_text().splitlines()] == ["mine"]  # it does not grow


@pytest.mark.parametrize(
    ("notes", "expected", "reason"),
    [
        ([], "another process", "caught before it wrote its note"),
        (["{"], "another process", "while it wrote"),
        (["[]", '{"pid": 1}'], "another process", "not a note of ours"),
        (
            [{"pid": os.getppid()}, {"pid": os.getpid()}, {"pid": 2**22 + 1}],
            f"process {os.getppid()} ",
            "the last one is dead",
        ),
        ([{"pid": 5, "host": "far"}], "process 5 on far ", "who can tell?"),
    ],
)
def test_who_holds_it_is_read_from_notes(notes, expected, reason):
    whole = {"host": socket.gethostname(), "since": "now", "doing": "x"}
    lines = [note if isinstance(note, str) else json.dumps(whole | note) for note in notes]
    assert holder("\n".join(lines)).startswith(expected), reason
