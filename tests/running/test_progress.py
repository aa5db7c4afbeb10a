"""The status line of a step: made from metrics.jsonl or printed lines, rewritten on a terminal, rare in a file."""

import json
import os
import pty
import re
import sys
import time

import pytest

from currreft_nb.data.pictures import progress_line
from currreft_nb.running import progress
from currreft_nb.running.progress import Status, last_rows, one_line, training_line


@pytest.mark.parametrize(
    ("row", "steps", "expected"),
    [
        ({"accuracy": 0.5, "loss": 1.0, "kl": None}, 60, "step 12/60  accuracy 0.500  2.0 s/step  left 96 s"),
        ({"loss": 0.25, "prompts": 16}, 60, "step 12/60  loss 0.250  2.0 s/step  left 96 s"),
        ({"prompts": 16}, 60, "step 12/60  2.0 s/step  left 96 s"),
        ({"accuracy": None, "steps": 13}, 60, "step 12/13  2.0 s/step  left 2 s"),
        ({}, None, "step 12  2.0 s/step"),
    ],
)
def test_a_training_shows_its_last_row(row, steps, expected):
    assert training_line([{"step": 12, "seconds": 2.0, **row}], steps) == expected


def test_the_time_left_is_of_usual_steps():
    rows = [{"step": step, "seconds": 30.0 if step == 1 else 2.0} for step in (1, 2, 3)]
    assert training_line(rows, 6).endswith("left 6 s")


@pytest.mark.parametrize(
    ("line", "expected", "reason"),
    [
        (progress_line("pictures", 1200, 20_000, 4.0), "pictures 1,200/20,000 300/s 63 s left", "curation"),
        ("judged     40 of 120 by gpt", "judged 40 of 120 by gpt", "a judge"),
        ("\x1b[31mred\x1b[0m\tline", "[31mred [0m line", "no line may move the cursor"),
        ("   ", "", "an empty line"),
    ],
)
def test_printed_lines_become_one_line(line, expected, reason):
    assert one_line(line) == expected, reason


def test_only_whole_last_rows_are_read(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    assert last_rows(path) == []
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(9)) + '{"step"')
    assert last_rows(path) == [{"step": step} for step in range(9)]
    monkeypatch.setattr(progress, "TAIL_BYTES", 40)
    assert last_rows(path) == [{"step": 7}, {"step": 8}]
    path.write_text("{\n")
    assert last_rows(path) == []


def test_rows_of_this_execution_are_shown_until_the_notebook_prints_something_later(tmp_path, monkeypatch, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 3, "loss": 0.5, "seconds": 1.0}) + "\n")
    now_s = time.time()
    os.utime(path, (now_s - 60, now_s - 60))
    status = Status("[1/2] rl", path, 4)
    status.note("loading the model")
    assert status.training() == "", "an earlier attempt wrote that row"

    def shown_at(elapsed_s):
        monkeypatch.setattr(progress.time, "monotonic", lambda: status.began_s + elapsed_s)
        status.show()
        return capsys.readouterr().out.strip()

    assert shown_at(20) == "[1/2] rl  20 s  loading the model"
    os.utime(path, (now_s + 5, now_s + 5))
    monkeypatch.setattr(progress.time, "time", lambda: now_s + 6)
    status.note("step 3/4  loss 0.500  and more columns")  # the training's own line for that row
    assert shown_at(40) == "[1/2] rl  40 s  step 3/4  loss 0.500  1.0 s/step  left 1 s"
    monkeypatch.setattr(progress.time, "time", lambda: now_s + 60)
    status.note("drawing figures")
    assert shown_at(99) == "[1/2] rl  99 s  drawing figures"
    assert status.training() == "step 3/4  loss 0.500  1.0 s/step  left 1 s"


def follow(monkeypatch, seconds, every=1):
    """Let a step run for so many seconds and print a line every so many."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
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


def test_in_a_file_no_line_is_repeated(monkeypatch, capsys):
    status = follow(monkeypatch, 31)
    assert capsys.readouterr().out.count("\n") == 3
    monkeypatch.setattr(progress.time, "monotonic", lambda: 5000.0)
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
        monkeypatch.setattr(progress.time, "monotonic", lambda: 9.0)
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
