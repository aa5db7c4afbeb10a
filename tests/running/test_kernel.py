"""A kernel's environment, and the lines that it prints."""

from pathlib import Path

import pytest

from currreft_nb.running import machine
from currreft_nb.running.kernel import BEGINS, Lines, kernel_environment, last_lines


@pytest.mark.parametrize(
    ("cards", "visible", "expected", "reason"),
    [
        (2, None, "0", "TRL refuses to train when a process sees several cards"),
        (2, "1", "1", "the user's choice is kept, so that two shells use two cards"),
        (2, "", "", "and so does the choice to use none"),
        (1, None, None, "nothing to choose"),
        (0, None, None, "no card"),
    ],
)
def test_a_kernel_sees_one_card(monkeypatch, cards, visible, expected, reason):
    monkeypatch.setattr(machine, "cards", lambda: [{}] * cards)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = kernel_environment(Path("a.ipynb"))
    assert found.get("CUDA_VISIBLE_DEVICES") == expected, reason
    assert found["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def test_lines_arrive_whole(tmp_path):
    said = []
    with (tmp_path / "log").open("w") as log:
        lines = Lines(log, said.append)
        for piece in ("step ", "1\nstep", " 2\n 10%\r100%\n", "end"):
            lines.write(piece)
        lines.close()
    assert said == ["step 1", "step 2", "100%", "end"]
    assert (tmp_path / "log").read_bytes() == b"step 1\nstep 2\n 10%\r100%\nend\n"


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        (None, [], "no log"),
        (f"{BEGINS}1 a\nold\n{BEGINS}2 a\n", [], "nothing was printed this time"),
        (f"{BEGINS}1 a\nold\n{BEGINS}2 a\none\n\n 10%\r100%\n", ["one", "100%"], "the last execution's"),
        (f"{BEGINS}1 a\n" + "".join(f"{i}\n" for i in range(20)), [str(i) for i in range(12, 20)], "eight at most"),
        (f"{BEGINS}1 a\n{'x' * 999}", ["x" * 200], "long lines are cut"),
    ],
)
def test_the_end_of_the_last_execution_is_shown(tmp_path, text, expected, reason):
    if text is not None:
        (tmp_path / "log.txt").write_text(text)
    assert last_lines(tmp_path) == expected, reason


def test_a_kernel_waits_for_no_other_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_USE_DEEPSPEED", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
        assert name not in kernel_environment(Path("a.ipynb")), "a kernel is one process"
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert kernel_environment(Path("a.ipynb"))["SLURM_PROCID"] == "1"
