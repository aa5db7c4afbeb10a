"""Sharing out: whole images, in proportion, the same every time."""

from collections import Counter

import pytest

from currreft_nb.core.samples import SPLITS
from currreft_nb.data.splits import ELSEWHERE, SURPLUS, Quotas, Row, allocate


def row(group, number=0, task="math", splits=SPLITS, stage="open", source="s", owner=None):
    return Row(number=number, task=task, stage=stage, group=group, splits=splits, source=source, owner=owner)


def share(rows, wanted, limits=None):
    """Return the rows that got a split, with it, and how many got none, by reason."""
    found = list(allocate(rows, Quotas(wanted, limits or {})))
    chosen = [(row, split) for row, split, reason in found if not reason]
    return chosen, Counter(reason for *_, reason in found if reason)


def test_scarce_images_are_shared_out_as_was_asked_for():
    wanted = {("train", "math"): 60, ("val", "math"): 20, ("test_id", "math"): 20}
    chosen, left = share([row(str(i)) for i in range(50)], wanted)
    assert Counter(split for _, split in chosen) == {"train": 30, "val": 10, "test_id": 10} and not left


def test_rows_of_a_stage_do_not_take_the_place_of_another_stage():
    rows = [row(str(i), stage=stage) for i in range(4) for stage in ("binary", "open")]
    chosen, left = share(rows, {("train", "math"): 3})
    assert Counter(row.stage for row, _ in chosen) == {"binary": 3, "open": 3}
    assert left == {SURPLUS: 2}


def test_an_image_stays_where_an_earlier_call_put_it():
    rows = [row("x", owner="val"), row("x", splits=("train",), owner="val"), row("y")]
    chosen, left = share(rows, {("train", "math"): 5, ("val", "math"): 5})
    assert [split for found, split in chosen if found.group == "x"] == ["val"]
    assert left == {ELSEWHERE: 1}


def test_all_questions_of_an_image_go_to_one_split():
    rows = [row(str(i // 4)) for i in range(40)]
    chosen, _ = share(rows, {("train", "math"): 20, ("val", "math"): 20})
    assert len(chosen) == 40
    assert len({(row.group, split) for row, split in chosen}) == 10


@pytest.mark.parametrize(("limit", "number"), [(0, 0), (3, 3), (50, 10)])
def test_a_limit_holds_for_its_source_only(limit, number):
    rows = [row(f"{source}{i}", source=source) for i in range(10) for source in "ab"]
    chosen, _ = share(rows, {("train", "math"): 20}, {("train", "math", "a"): limit})
    assert Counter(found.source for found, _ in chosen) == Counter({"a": number, "b": 10})


def test_a_source_at_its_limit_in_one_split_serves_the_others():
    rows = [row(str(i), source="a") for i in range(10)]
    wanted = {("train", "math"): 8, ("val", "math"): 2}
    chosen, _ = share(rows, wanted, {("train", "math", "a"): 1})
    assert Counter(split for _, split in chosen) == {"train": 1, "val": 2}
