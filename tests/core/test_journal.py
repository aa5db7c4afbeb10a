"""A journal loses no whole row and keeps no half one, wherever the writer was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.journal import append_journal, read_journal

ROWS = [{"id": "a", "text": "naïve\nline\u2028break"}, {"id": "b", "text": ""}, {"id": "c", "values": [1, None, 0.5]}]


def test_rows_come_back_in_order(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert read_journal(path) == []  # nothing was written yet
    append_journal(path, ROWS[:1])
    append_journal(path, [])
    append_journal(path, ROWS[1:])
    assert read_journal(path) == ROWS


def test_killed_at_any_byte_only_the_half_row_is_lost(tmp_path):
    whole = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path = tmp_path / f"{length}.jsonl"
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends)
        assert read_journal(path) == ROWS[:kept]
        append_journal(path, ROWS[kept:])
        assert path.read_bytes() == whole


def test_a_half_row_longer_than_the_reading_block_is_removed(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_journal(path, ROWS)
    with path.open("ab") as stream:
        stream.write(b'{"text": "' + b"x" * 200_000)
    append_journal(path, [{"id": "d"}])
    assert read_journal(path) == [*ROWS, {"id": "d"}]


def test_a_process_killed_while_it_writes_leaves_whole_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    code = "import sys\nfrom currreft_nb.core.journal import append_journal\nn = 0\n"
    code += "while True:\n    append_journal(sys.argv[1], [{'n': n + i, 'x': 'y' * 5000} for i in range(20)])\n"
    code += "    n += 20\n"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    while not (path.exists() and path.stat().st_size > 500_000):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    count = len(read_journal(path))
    append_journal(path, [{"n": count}])
    assert [row["n"] for row in read_journal(path)] == list(range(count + 1))


@pytest.mark.parametrize("damage", [b"{]\n", b"[1]\n", b"\xff\xfe\n"], ids=["no JSON", "no object", "no UTF-8"])
def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path, damage):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n' + damage + b'{"id": 2}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl:2: the line is damaged"):
        read_journal(path)


def test_a_row_that_is_not_json_changes_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_journal(path, ROWS)
    with pytest.raises(ValueError, match="Out of range float"):
        append_journal(path, [{"id": "d"}, {"value": float("nan")}])
    assert read_journal(path) == ROWS


@given(st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), max_size=5))
def test_any_text_survives(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("journal") / "rows.jsonl"
    append_journal(path, rows)
    assert read_journal(path) == rows
