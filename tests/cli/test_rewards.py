"""`currreft rewards`: completions are scored with reasons; an error in a file is reported with its line."""

import json
import sys
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.cli.app import main
from currreft_nb.cli.commands import score_file, score_lines
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.method.prompts import Style
from currreft_nb.method.rewards import Rules
from tests.helpers.made_up_results import write_samples

RIGHT = {"id": "sum", "completion": "<think>6 * 7</think><answer>42</answer>"}
BOX = {"id": "cat", "completion": "<think></think><answer>[0, 0, 50, 40]</answer>"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return a samples file and a file of completions."""
    monkeypatch.chdir(tmp_path)
    common = {"split": "test_id", "source": "demo"}
    image = {"image": str(tmp_path / "cat.png"), "size": (100, 100)}
    samples = [
        Sample(id="sum", task="math", question="6 * 7", answer="42", **common),
        Sample(id="why", task="general", question="Why?", answer=None, **common),
        Sample(id="cat", task="detection", question="the cat", answer=[[0, 0, 50, 50]], **image, **common),
    ]
    write_samples(tmp_path / "samples.jsonl", samples)
    rows = [
        RIGHT,
        {"id": "sum", "completion": [{"role": "assistant", "content": "<think></think><answer>17</answer>"}]},
        {"id": "sum", "completion": "42"},
        {"id": "why", "completion": "<think></think><answer>because</answer>"},
        BOX,
    ]
    write(tmp_path / "answers.jsonl", rows)
    return Path("samples.jsonl"), Path("answers.jsonl")


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["currreft", "rewards", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_each_completion_is_scored_with_its_reason(files, monkeypatch, capsys):
    assert call(monkeypatch, *files) == 0
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert rows[0] == {"id": "sum", "task": "math", "stage": "open", "value": 1.0, "format": 1.0, "reason": "ok"}
    assert [(row["id"], row["value"], row["reason"]) for row in rows] == [
        ("sum", 1.0, "ok"),
        ("sum", 0.0, "wrong"),
        ("sum", 0.0, "no_answer"),
        ("why", None, "no_reference"),  # no reference, so no value
        ("cat", 1.0, "ok"),
    ]
    lines = shown.err.splitlines()
    assert lines[0] == "5 completions, 4 scored by label table 2: value 0.500, format 0.750"
    assert "math, open: 3 completions, value 0.333, format 0.667" in lines
    assert "general, open: 1 completions, no reference answers" in lines
    assert lines[-1].split(maxsplit=2) == ["1", "no_reference", "the sample has no reference answer to compare with"]


def test_the_rule_for_boxes_can_be_chosen(files, monkeypatch, capsys):
    assert call(monkeypatch, *files, "--detection-reward", "soft") == 0
    assert '"value": 0.8' in capsys.readouterr().out.splitlines()[-1]
    assert call(monkeypatch, *files, "--detection-reward", "softly") == 1
    expected = "detection is 'softly', but must be one of hard, soft, soft_above_threshold; did you mean soft?"
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_boxes_are_read_in_the_frame_of_the_model(files, tmp_path):
    write(tmp_path / "answers.jsonl", [{**BOX, "completion": "<answer>[0, 0, 500, 400]</answer>"}])
    assert (
        score_file(*files, style=Style(frame=Frame(kind="thousand")), rules=Rules(detection="soft"))[0]["value"] == 0.8
    )
    assert score_file(*files, rules=Rules(detection="soft"))[0]["value"] == 0.25


def test_the_thinking_that_the_models_prompt_began_counts(files, tmp_path):
    write(tmp_path / "answers.jsonl", [{**RIGHT, "completion": "hm</think><answer>42</answer>"}])
    assert [score_file(*files, style=style)[0]["format"] for style in (None, Style(prefill="<think>"))] == [0, 1]


def test_a_summary_of_one_kind_has_no_parts(files, tmp_path):
    write(tmp_path / "answers.jsonl", [RIGHT, RIGHT])
    assert [line.split()[0] for line in score_lines(score_file(*files))] == ["2", "2"]


def test_separators_and_marks_of_other_systems_are_no_trouble(files, tmp_path):
    line = json.dumps(RIGHT)
    other = json.dumps({"id": "sum", "completion": "a\u2028b\x85c"}, ensure_ascii=False)
    (tmp_path / "answers.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n{other}\r\n".encode())
    assert [row["reason"] for row in score_file(*files)] == ["ok", "no_answer"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"id": "sun", "completion": "42"}',
            r"answers.jsonl:2: id 'sun' is not in samples.jsonl, .* 'sum'; give",
        ),
        ('{"id": "sum", "output": "42"}', r"answers.jsonl:2: .* has no completion; write \{\"id\""),
        ('{"completion": "42"}', r"answers.jsonl:2: .* has no id; write"),
        ("[]", r"answers.jsonl:2: '\[\]' has no id and no completion; write"),
        ("{", r"answers.jsonl:2: '\{' is not JSON \(.*\); write"),
        ('{"id": 7, "completion": "42"}', r"answers.jsonl:2: id is 7; write it as text"),
        ('{"id": "sum", "completion": null}', r"answers.jsonl:2: completion is null; write it as text"),
        ('{"id": "sum", "completion": {}}', r"answers.jsonl:2: completion is \{\}; write"),
        ('{"id": "sum", "completion": [1]}', r"answers.jsonl:2: completion is \[1\]; write .* messages"),
        ('{"id": "sum", "completion": [{"role": "user"}]}', r"answers.jsonl:2: completion is .*; write"),
        ('{"id": "sum", "completion": [{"content": ["x"]}]}', r"answers.jsonl:2: completion is .*; write"),
        ('{"id": "sum", "completion": [{"content": [{"text": 5}]}]}', r"answers.jsonl:2: completion is .*; write"),
        (
            '{"id": "sum", "question": "6 * 7"}',
            r"answers.jsonl:2: a sample in place of a completion; give",
        ),
    ],
)
def test_a_bad_completion_is_reported_with_its_line(files, line, message):
    files[1].write_text(json.dumps(RIGHT) + "\n" + line)
    with pytest.raises(InputError, match=message):
        score_file(*files)


@pytest.mark.parametrize(
    ("samples", "answers", "message"),
    [
        ("absent.jsonl", "answers.jsonl", "error: absent.jsonl does not exist; give a samples file"),
        ("samples.jsonl", "absent.jsonl", 'error: absent.jsonl does not exist; give a file with {"id"'),
        (".", "answers.jsonl", "error: . is a folder; give a samples file"),
        ("samples.jsonl", ".", 'error: . is a folder; give a file with {"id"'),
        (
            "answers.jsonl",
            "samples.jsonl",
            "error: samples.jsonl:1: a sample in place of a completion; give",
        ),
        ("answers.jsonl", "answers.jsonl", "error: answers.jsonl:1: unknown field 'completion'"),
        ("empty.jsonl", "answers.jsonl", "error: empty.jsonl holds no samples; give"),
        ("samples.jsonl", "empty.jsonl", "error: empty.jsonl is empty; give"),
        ("latin.jsonl", "answers.jsonl", "error: latin.jsonl:1: 'utf-8' codec"),
        ("samples.jsonl", "latin.jsonl", "error: latin.jsonl cannot be read ('utf-8' codec"),
        ("twice.jsonl", "answers.jsonl", "error: twice.jsonl:4: duplicate id 'sum', first used on line 1"),
    ],
)
def test_a_wrong_file_is_blamed_and_not_the_other(files, monkeypatch, capsys, samples, answers, message):
    Path("empty.jsonl").write_text("\n")
    Path("latin.jsonl").write_bytes(b'{"id": "caf\xe9"}\n')
    Path("twice.jsonl").write_text(files[0].read_text() * 2)
    assert call(monkeypatch, samples, answers) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(message) and shown.err.count("\n") == 1 and not shown.out
