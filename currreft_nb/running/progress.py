"""The status line of a running step, for a terminal or a file.

    [3/9] rl_binary  42 s  step 12/60  accuracy 0.44  0.9 s/step  left 43 s

During a training it shows the last row of `metrics.jsonl`, otherwise the last line that the notebook printed. On a
terminal it is rewritten in place. Elsewhere it is printed at growing intervals, about 60 lines a day. log.txt holds
everything that the notebook prints. Steps that run at the same time print lines, on a terminal too.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

KEPT = ("warning", "resuming")  # lines that start so stay visible
FIRST_S = 10.0  # before the first line in a file
SHARE = 0.125  # of the time so far: the interval between two lines in a file
REFRESH_S = 0.5  # between two updates of the line on a terminal
LAG_S = 2.0  # the line that the training prints for a row may arrive so much later than the row
TAIL_BYTES = 65536  # of metrics.jsonl that are read: enough for dozens of rows


def one_line(text: str) -> str:
    """Return a printed line without characters that move a terminal's cursor, and with single spaces.

    >>> one_line("sft:    100 of 600 questions    12.3 s")
    'sft: 100 of 600 questions 12.3 s'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def training_line(rows: Sequence[Mapping], steps: int | None) -> str:
    """Return how far a training is, by the last rows of its metrics.jsonl; `steps` is their number in all.

    >>> training_line([{"step": 12, "accuracy": 0.441, "loss": 0.1, "seconds": 0.9}], 60)
    'step 12/60  accuracy 0.441  0.9 s/step  left 43 s'
    >>> training_line([{"step": 12, "loss": 0.1, "seconds": 0.9}], None)
    'step 12  loss 0.100  0.9 s/step'
    """
    row = rows[-1]
    steps = row.get("steps") or steps
    name = next((name for name in ("accuracy", "loss") if row.get(name) is not None), None)
    parts = [f"step {row['step']}" + (f"/{steps}" if steps else "")]
    parts += [f"{name} {row[name]:.3f}"] if name else []
    parts += [f"{row['seconds']:.1f} s/step"]
    parts += [f"left {spell(seconds_left(rows, steps))}"] if steps else []
    return "  ".join(parts)


def seconds_left(rows: Sequence[Mapping], steps: int) -> float:
    """Return the seconds that the rest of a training takes at its median pace, since some steps save or validate."""
    return max(0, steps - rows[-1]["step"]) * statistics.median(row["seconds"] for row in rows)


def last_rows(path: Path) -> list[dict]:
    """Return the last whole rows of a journal that may be growing; none when it cannot be read."""
    try:
        with path.open("rb") as stream:
            start = max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES)
            stream.seek(start)
            lines = stream.read().split(b"\n")[1 if start else 0 : -1]
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []


def spell(seconds: float) -> str:
    """Return a duration in words.

    >>> [spell(seconds) for seconds in (0.2, 48.2, 150, 2220, 9000)]
    ['0 s', '48 s', '2 min 30 s', '37 min', '2.5 h']
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Status:
    """A step's status line. Any thread may call `note`; the thread that waits calls `show` and `say`.

    `metrics` is the journal that the step's training writes, `steps` the number of its steps, where that is known.
    `alone`: no other step prints meanwhile, so that a line can be rewritten in place.
    """

    def __init__(self, head: str, metrics: Path | None = None, steps: int | None = None, alone: bool = True):
        self.head, self.metrics, self.steps = head, metrics, steps
        self.printed, self.shown, self.kept = "", "", list[str]()
        self.rewrites = alone and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.began_s = time.monotonic()
        self.due_s = REFRESH_S if self.rewrites else FIRST_S
        self.printed_at_s = self.began_at_s = time.time()  # as the clock of the file system

    def note(self, line: str) -> None:
        """Take a line that the notebook printed."""
        if text := one_line(line):
            self.printed, self.printed_at_s = text, time.time()
        if line.startswith(KEPT):
            self.kept.append(line)

    def training(self, since_s: float = 0.0) -> str:
        """Return how far the step's training is, "" when it has written no row in this execution or since then."""
        if self.metrics is None or not self.metrics.exists():
            return ""
        if self.metrics.stat().st_mtime < max(self.began_at_s, since_s):
            return ""
        rows = last_rows(self.metrics)
        return training_line(rows, self.steps) if rows else ""

    def show(self) -> None:
        """Show how far the step is, if it is time."""
        while self.kept:
            self.say(f"      {self.kept.pop(0)}")
        elapsed_s = time.monotonic() - self.began_s
        if elapsed_s < self.due_s:
            return
        last = self.training(self.printed_at_s - LAG_S) or self.printed
        text = f"{self.head}  {spell(elapsed_s)}  {last}".rstrip()
        if self.rewrites:
            self.shown = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[2K{self.shown}", end="", flush=True)
            self.due_s = elapsed_s + REFRESH_S
        elif last != self.shown:  # nothing is repeated
            self.shown = last
            print(text, flush=True)
            self.due_s = elapsed_s + max(FIRST_S, SHARE * elapsed_s)

    def say(self, text: str) -> None:
        """Print a line that stays, in place of the status line on a terminal."""
        if self.rewrites and self.shown:
            print("\r\x1b[2K", end="")
            self.shown = ""
        print(text, flush=True)
