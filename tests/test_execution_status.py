"""The line that says how far a step is: made from real lines, rewritten on a terminal, seldom in a file."""

import os
import pty
import re
import sys

import pytest

from currreft_nb import execution_status
from currreft_nb.curation_images import progress_line
from currreft_nb.execution_status import Status, progress
from currreft_nb.training_loop import StepLogger


@pytest.mark.parametrize(
    ("row", "shown", "expected"),
    [
        (
            {"accuracy": 0.5, "format": 1.0, "tokens": 142, "kl": None},
            ("accuracy", "format", "kl"),
            "step 12/60  accuracy 0.500  2.0 s/step  left 96 s",
        ),
        ({"loss": 0.25, "prompts": 16}, ("loss",), "step 12/60  loss 0.250  2.0 s/step  left 96 s"),
        ({"prompts": 16}, (), "step 12/60  2.0 s/step  left 96 s"),
    ],
)
def test_a_trainings_line_is_shortened(tmp_path, capsys, row, shown, expected):
    watch = StepLogger(tmp_path, 60, dict, shown)
    watch.started_s, watch.first_step = 0.0, 0
    watch._print({"step": 12, "seconds": 2.0, **row}, 24.0)
    assert progress(capsys.readouterr().out.rstrip("\n")) == expected


@pytest.mark.parametrize(
    ("line", "expected", "reason"),
    [
        (progress_line("pictures", 1200, 20_000, 4.0), "pictures 1,200/20,000 300/s 63 s left", "curation"),
        ("judged     40 of 120 by gpt", "judged 40 of 120 by gpt", "a judge"),
        ("\x1b[31mred\x1b[0m\tline", "[31mred [0m line", "no line may move the cursor"),
        ("   ", "", "nothing to say"),
        ("step by step", "step by step", "not a training's"),
    ],
)
def test_other_lines_are_taken_as_they_are(line, expected, reason):
    assert progress(line) == expected, reason


def follow(monkeypatch, seconds, every=1):
    """Let a step run so long that it says something each so many seconds, and show what is shown."""
    clock = [0.0]
    monkeypatch.setattr(execution_status.time, "monotonic", lambda: clock[0])
    status = Status("[1/2] rl")
    for now in range(0, seconds, every):
        clock[0] = float(now)
        status.note(f"step {now} of many")
        status.show()
    return status


@pytest.mark.parametrize(
    ("seconds", "least", "most"),
    [(9, 0, 0), (60, 4, 6), (3600, 25, 40), (86_400, 50, 70), (7 * 86_400, 65, 90)],
    ids=["short", "a minute", "an hour", "a day", "a week"],
)
def test_in_a_file_lines_are_bounded(monkeypatch, capsys, seconds, least, most):
    follow(monkeypatch, seconds, max(1, seconds // 20_000))
    lines = capsys.readouterr().out.splitlines()
    assert least <= len(lines) <= most
    assert all(re.fullmatch(r"\[1/2\] rl  \S+( \w+)*  step \d+ of many", line) for line in lines)


def test_in_a_file_what_says_nothing_new_is_not_repeated(monkeypatch, capsys):
    status = follow(monkeypatch, 31)
    assert capsys.readouterr().out.count("\n") == 3
    monkeypatch.setattr(execution_status.time, "monotonic", lambda: 5000.0)
    status.show()
    assert capsys.readouterr().out == ""
    status.note("step 31 of many")
    status.show()
    assert capsys.readouterr().out == "[1/2] rl  83 min  step 31 of many\n"


def test_warnings_stay_to_be_seen(capsys):
    status = Status("[1/2] rl")
    for line in ("a line", "warning: 30% of the answers were cut off", "resuming after step 8 of 40"):
        status.note(line)
    status.show()
    assert capsys.readouterr().out == (
        "      warning: 30% of the answers were cut off\n      resuming after step 8 of 40\n"
    )


def test_on_a_terminal_one_line_is_written_again_and_never_wraps(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "30")
        status = follow(monkeypatch, 4)
        status.note("x" * 200)
        status.show()
        monkeypatch.setattr(execution_status.time, "monotonic", lambda: 9.0)
        status.show()
        status.say("[1/2] rl: complete in 9 s")
        terminal.flush()
        text = ""
        while "\n" not in text:  # a terminal hands over what it has, in parts
            text += os.read(ours, 10_000).decode()
    os.close(ours)
    assert text.count("\n") == 1
    pictures = text.split("\r\x1b[2K")
    assert pictures[1] == "[1/2] rl  1 s  step 1 of many"[:29]
    assert pictures[-2] == "[1/2] rl  9 s  xxxxxxxxxxxxxxxxxxxx"[:29]
    assert pictures[-1] == "[1/2] rl: complete in 9 s\r\n"
