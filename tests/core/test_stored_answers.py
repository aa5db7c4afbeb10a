"""Which completions of a training are shown: by step, and by what their groups have."""

import json

import pytest

from currreft_nb import InputError
from currreft_nb.core.stored_answers import choose_groups, read_completions

GROUPS = [  # task, stage, reason and reward of each of a group's two completions
    ("math", "open", ("ok", 1.5), ("wrong", 0.5)),
    ("math", "choice", ("wrong", 0.5), ("wrong", 0.5)),
    ("detection", "open", ("iou_too_low", 0.5), ("no_box", 0.5)),
    ("detection", "open", ("ok", 1.5), ("ok", 1.5)),
]
ROWS = [
    {"id": "the same", "group": number, "task": task, "stage": stage, "reason": reason, "reward": reward}
    for number, (task, stage, *answers) in enumerate(GROUPS)
    for reason, reward in answers
]


@pytest.mark.parametrize(
    ("wanted", "groups", "why"),
    [
        ({}, [0, 1, 2, 3], "nothing is asked for"),
        ({"task": "math"}, [0, 1], "a task"),
        ({"task": "math", "stage": "open"}, [0], "a task at a stage"),
        ({"reason": "ok"}, [0, 3], "one completion with the reason is enough, and its group stays whole"),
        ({"disagree": True}, [0], "equal rewards for other reasons are equal"),
        ({"reason": "wrong", "disagree": True}, [0], "both hold"),
        ({"task": "general"}, [], "there is none"),
    ],
)
def test_groups_are_chosen_whole(wanted, groups, why):
    chosen = choose_groups(ROWS, **wanted)
    assert [row["group"] for row in chosen] == [number for number in groups for _ in (0, 1)], why


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "completions").mkdir()
    for step in (1, 2, 10, 100):  # in the order of numbers, not of text
        path = tmp_path / "completions" / f"step-{step:05d}.jsonl"
        path.write_text(json.dumps({"step": step}) + "\n")
    return tmp_path


@pytest.mark.parametrize(("step", "read"), [("first", 1), ("middle", 10), ("last", 100), (2, 2)])
def test_a_step_is_a_number_or_named(folder, step, read):
    assert read_completions(folder, step) == [{"step": read}]


@pytest.mark.parametrize("step", [3, 0, "lst"])
def test_a_step_that_is_not_there_is_refused_with_those_that_are(folder, step):
    with pytest.raises(InputError, match="give first, middle, last or a number from 1 to 100"):
        read_completions(folder, step)


def test_before_the_first_step_there_are_none(tmp_path):
    assert read_completions(tmp_path, "last") == []
