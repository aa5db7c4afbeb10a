"""What happens to a kernel in `tests/running/test_faults.py`: Python runs this file first
when it is on PYTHONPATH.

FAULT="kill */metrics.jsonl 2" kills the kernel when it opens a file of that name to write it for the second time, and
nothing in the package knows of it. Files are renamed rather than opened where `os.replace` puts them into place.
"""

import os
import signal
import sys
import time
from fnmatch import fnmatch

WRITES = os.O_WRONLY | os.O_RDWR


def happen(what):
    """Let it happen, as abruptly as it does in life."""
    runner = os.getppid()
    print(f"now: {what}", flush=True)
    time.sleep(0.3)  # until the runner has read what was printed
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "die":
        os._exit(1)
    elif what == "exit":
        sys.exit(0)
    elif what == "raise":
        raise ArithmeticError("a fault of our own")
    elif what == "full":
        fill(os.environ["FAULT_DISK"])
    else:
        numbers = {"terminate": signal.SIGTERM, "interrupt": signal.SIGINT, "kill-runner": signal.SIGKILL}
        os.kill(runner, numbers[what])
        time.sleep(600)


def fill(disk):
    """Leave no room on a disk."""
    with open(os.path.join(disk, "filler"), "ab", buffering=0) as stream:
        for size in (2**20, 2**10, 1):
            try:
                while stream.write(b"\0" * size):
                    pass
            except OSError:
                continue


def watch(what, pattern, number):
    """Let it happen when a file that fits the pattern is opened to be written, or renamed to, for that many times."""
    left = [int(number)]

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and mode.strip("rbt") != "") or (isinstance(flags, int) and flags & WRITES)
        elif event == "os.rename":
            path, writes = arguments[1], True
        else:
            return
        if left[0] and writes and fnmatch(os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path), pattern):
            left[0] -= 1
            if not left[0]:
                happen(what)

    sys.addaudithook(hook)


if os.environ.get("FAULT") and "ipykernel_launcher" in sys.orig_argv:
    watch(*os.environ["FAULT"].split())
