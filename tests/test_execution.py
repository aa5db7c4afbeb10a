"""What stands around a kernel: the lock of its experiment, its environment, and the lines that it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from currreft_nb import InputError, machine
from currreft_nb.execution import Lines, kernel_environment, locked


def test_the_lock_of_a_dead_process_holds_nothing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".lock").write_text(json.dumps({"pid": gone.pid, "host": "here", "since": "yesterday"}))
    with locked(tmp_path), pytest.raises(InputError, match=f"by process {os.getpid()} on"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("cards", "visible", "expected", "reason"),
    [
        (2, None, "0", "TRL refuses to train when a process sees several cards"),
        (2, "1", "1", "the user's choice stands, so that two shells use two cards"),
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


def test_lines_arrive_whole(tmp_path, capsys):
    with (tmp_path / "log").open("w") as log:
        lines = Lines(log, show=True)
        for piece in ("step ", "1\nstep", " 2\n 10%\r100%\n", "end"):
            lines.write(piece)
        lines.close()
    assert capsys.readouterr().out.split("\n") == ["      step 1", "      step 2", "      100%", "      end", ""]
    assert (tmp_path / "log").read_bytes() == b"step 1\nstep 2\n 10%\r100%\nend"
