"""What a terminal or a file shows of a step while it runs: one line, made of what its notebook printed last.

    [3/9] rl_binary  42 s  step 12/60  accuracy 0.44  0.9 s/step  left 43 s

On a terminal that line is written again in place. Elsewhere it comes now and then, the later the seldomer: some sixty
lines a day. Everything that the notebook prints is in its log.txt.
"""

import os
import re
import shutil
import sys
import time

STEP = re.compile(r"step +(\d+/\d+)(?:  (\S+) +(\S+))?.*?  +([\d.]+) s  .*  left (.+)")
STEP_SHOWN = re.compile(r"step \d+\/\d+  ")
NOTEWORTHY = ("warning", "resuming")  # lines that stay to be seen
FIRST_S = 10.0  # before the first line in a file
SHARE = 0.125  # between two of them, of the time so far
REFRESH_S = 0.5  # between two pictures of the line on a terminal


def progress(line: str) -> str:
    """Return what a printed line says of how far a notebook is: of a training's line the most important, or itself.

    >>> progress("step 12/60  accuracy 0.441  format 0.912  silent 0.250    0.9 s  142.4 tokens/s  left 43 s")
    'step 12/60  accuracy 0.441  0.9 s/step  left 43 s'
    >>> progress("sft:    100 of 600 questions    12.3 s")
    'sft: 100 of 600 questions 12.3 s'
    """
    if found := STEP.match(line):
        place, name, value, seconds, left = found.groups()
        return f"step {place}" + (f"  {name} {value}" if name else "") + f"  {seconds} s/step  left {left}"
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())


def spell(seconds: float) -> str:
    """Return a span of time for people.

    >>> [spell(seconds) for seconds in (0.2, 48.2, 150, 2220, 9000)]
    ['0 s', '48 s', '2 min 30 s', '37 min', '2.5 h']
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Status:
    """A step's line. `note` takes what is printed, in any thread; `show` is called by the one that waits."""

    def __init__(self, head: str):
        self.head, self.last, self.shown = head, "", ""
        self.kept: list[str] = []
        self.rewrites = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.began_s = time.monotonic()
        self.due_s = REFRESH_S if self.rewrites else FIRST_S

    @property
    def is_training(self) -> bool:
        """Say whether the last line is that of a training's step."""
        return STEP_SHOWN.match(self.last) is not None

    def note(self, line: str) -> None:
        """Take a line that the notebook printed."""
        if text := progress(line):
            self.last = text
        if line.startswith(NOTEWORTHY):
            self.kept.append(line)

    def show(self) -> None:
        """Show how far the step is, if it is time."""
        while self.kept:
            self.say(f"      {self.kept.pop(0)}")
        elapsed_s = time.monotonic() - self.began_s
        if elapsed_s < self.due_s:
            return
        text = f"{self.head}  {spell(elapsed_s)}  {self.last}".rstrip()
        if self.rewrites:
            self.shown = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[2K{self.shown}", end="", flush=True)
            self.due_s = elapsed_s + REFRESH_S
        elif self.last != self.shown:  # nothing new is no news
            self.shown = self.last
            print(text, flush=True)
            self.due_s = elapsed_s + max(FIRST_S, SHARE * elapsed_s)

    def say(self, text: str) -> None:
        """Print a line that stays, in the place of the one that is written again and again."""
        if self.rewrites and self.shown:
            print("\r\x1b[2K", end="")
            self.shown = ""
        print(text, flush=True)
