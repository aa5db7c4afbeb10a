"""The line of a step: its rate, and a time left that one slow step or a resumed run does not spoil."""

import re
from types import SimpleNamespace

import pytest

from currreft_nb.training import loop
from currreft_nb.training.loop import StepLogger, brief


def lines_of(folder, capsys, monkeypatch, seconds, steps, first=0, watched_s=0.0):
    """Return the lines of a run whose steps after `first` take these seconds, and its figure `watched_s` each time."""
    clock = SimpleNamespace(now=100.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(loop, "time", clock)
    row = {"accuracy": 0.5, "prompts": 8, "completions": 64, "tokens": 640}

    def live():
        clock.now += watched_s

    watch = StepLogger(folder, steps, lambda logs: dict(row), ("accuracy", "kl"), live=live)
    watch.on_train_begin(SimpleNamespace(save_steps=1), SimpleNamespace(global_step=first, max_steps=steps), None)
    for step, spent in enumerate(seconds, first + 1):
        clock.now += spent
        watch.on_log(None, SimpleNamespace(global_step=step), SimpleNamespace(), logs={"loss": 0.0, "grad_norm": 1.0})
    return capsys.readouterr().out.splitlines()


def left(lines):
    return [re.search(r"left (.*)$", line)[1] for line in lines]


def test_the_rate_is_that_of_the_step(tmp_path, capsys, monkeypatch):
    lines = lines_of(tmp_path, capsys, monkeypatch, [4.0, 2.0], steps=2)
    assert lines == [
        "step 1/2  accuracy 0.500    4.0 s  160.0 tokens/s  left 4 s",
        "step 2/2  accuracy 0.500    2.0 s  320.0 tokens/s  left 0 s",
    ]


def test_a_slow_first_step_is_not_taken_for_the_rule(tmp_path, capsys, monkeypatch):
    lines = lines_of(tmp_path, capsys, monkeypatch, [50.0, 1.0, 1.0, 1.0], steps=4)
    assert left(lines) == ["2 min", "2 s", "1 s", "0 s"]


def test_the_time_left_is_a_mean_over_steps(tmp_path, capsys, monkeypatch):
    lines = lines_of(tmp_path, capsys, monkeypatch, [1.0, 1.0, 3.0, 2.0], steps=10)
    assert left(lines)[1:] == ["8 s", "14 s", "12 s"]


def test_a_resumed_run_counts_its_own_steps_only(tmp_path, capsys, monkeypatch):
    lines = lines_of(tmp_path, capsys, monkeypatch, [2.0, 2.0, 2.0], steps=10, first=5)
    assert left(lines) == ["8 s", "6 s", "4 s"]


def test_what_watching_takes_counts_for_the_time_left_but_not_for_the_step(tmp_path, capsys, monkeypatch):
    lines = lines_of(tmp_path, capsys, monkeypatch, [1.0, 1.0, 1.0], steps=5, watched_s=1.0)
    assert left(lines)[2] == "3 s" and all("  1.0 s  " in line for line in lines)  # 3 s in two steps, two steps to go


@pytest.mark.parametrize("value", [0, 0.0625, 0.9999, 9.99, 12.345, 999.4, 1234.5, 99999])
def test_numbers_take_five_places(value):
    assert len(brief(value)) == 5 and float(brief(value)) == pytest.approx(value, rel=0.01, abs=1e-3)
