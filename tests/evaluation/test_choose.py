"""One of several candidates is chosen by validation questions and by nothing else, and only that one is tested."""

import pytest

from currreft_nb import InputError
from currreft_nb.evaluation.arms import RULE, choose
from currreft_nb.evaluation.sources import check_candidates


def records_of(split, **scores):
    return [
        {"arm": arm, "mode": "natural", "task": task, "stage": stage, "split": split, "id": str(n), "correct": value}
        for arm, cells in scores.items()
        for n, (task, stage, value) in enumerate(cells)
    ]


MANY = [("math", "open", 1.0)] * 9 + [("detection", "open", 0.0)]  # 0.9 of the records, but half of the cells
BALANCED = [("math", "open", 0.8)] * 9 + [("detection", "open", 0.8)]
CASES = [
    ({"many": MANY, "balanced": BALANCED}, "balanced", "tasks count alike, however many questions they have"),
    ({"balanced": BALANCED, "many": MANY}, "balanced", "whatever the order"),
    ({"b": BALANCED, "a": BALANCED}, "b", "of equals the earliest, not the first of the alphabet"),
    (
        {
            "one": [("math", "open", 1.0), ("math", "binary", 0.0), ("math", "choice", 0.0)],
            "two": [("math", "open", 0.0), ("math", "binary", 1.0), ("math", "choice", 1.0)],
        },
        "two",
        "stages count alike",
    ),
]


@pytest.mark.parametrize(("scores", "chosen", "why"), CASES, ids=[case[2] for case in CASES])
def test_the_rule(scores, chosen, why):
    found = choose(records_of("val", **scores), list(scores))
    assert found["chosen"] == chosen, why
    assert found["rule"] == RULE and found["split"] == "val" and found["scores"].keys() == scores.keys()


def test_the_numbers_that_decided_are_returned():
    found = choose(records_of("val", many=MANY, balanced=BALANCED), ["many", "balanced"])
    assert found["scores"] == {"many": 0.5, "balanced": 0.8} and found["questions"] == 10


def test_the_format_that_was_forced_decides_nothing():
    forced = [record | {"mode": "forced", "correct": 1.0} for record in records_of("val", many=MANY)]
    records = records_of("val", many=MANY, balanced=BALANCED) + forced
    assert choose(records, ["many", "balanced"])["chosen"] == "balanced"


@pytest.mark.parametrize("split", ["test_id", "test_ood", "train", "pool"])
def test_nothing_is_chosen_by_another_split(split):
    records = records_of("val", a=MANY, b=MANY) + records_of(split, a=MANY)
    with pytest.raises(InputError, match=f"cannot choose by split {split}; choose by val"):
        choose(records, ["a", "b"])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no natural records to choose by"),
        (records_of("val", a=MANY, b=MANY[1:]), "'b' and 'a' answered different questions"),
        (records_of("val", a=MANY), "'b' and 'a' answered different questions"),
    ],
)
def test_a_choice_needs_the_same_questions(records, message):
    with pytest.raises(InputError, match=message):
        choose(records, ["a", "b"])


@pytest.mark.parametrize(
    ("among", "message"),
    [
        (["one"], "name at least two different arms"),
        (["one", "one"], "name at least two different arms"),
        (["one", "tow"], r"contains 'tow', which is not an arm; did you mean two\?"),
        (["one", "x"], "the arms are one, two"),
    ],
)
def test_candidates_are_arms(among, message):
    with pytest.raises(InputError, match=message):
        check_candidates(among, ["one", "two"])


def test_no_candidates_no_choice():
    check_candidates([], ["one", "two"])
