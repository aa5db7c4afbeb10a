"""Sharing out: whole images, in proportion, the same every time."""

from collections import Counter

from currreft_nb.curation_splits import Row, allocate
from currreft_nb.samples import SPLITS, Sample


def row(content, task="math", splits=SPLITS, stage="open"):
    fields = {"stage": stage, "claim": "4"} if stage == "binary" else {}
    sample = Sample(
        task=task,
        answer={"binary": True}.get(stage, "3"),
        id=content,
        split="train",
        source="s",
        question="?",
        **fields,
    )
    return Row(sample=sample, content=content, splits=splits, source="s")


def test_scarce_images_are_shared_out_as_was_asked_for():
    wanted = {("train", "math"): 60, ("val", "math"): 20, ("test_id", "math"): 20}
    chosen, left = allocate([row(str(i)) for i in range(50)], wanted, Counter(), {}, seed=0)
    assert Counter(split for _, split in chosen) == {"train": 30, "val": 10, "test_id": 10} and not left


def test_rows_of_a_stage_do_not_take_the_place_of_another_stage():
    rows = [row(str(i), stage=stage) for i in range(4) for stage in ("binary", "open")]
    chosen, left = allocate(rows, {("train", "math"): 3}, Counter(), {}, seed=0)
    assert Counter(row.sample.stage for row, _ in chosen) == {"binary": 3, "open": 3}
    assert left == {"more questions than asked for": 2}


def test_an_image_stays_where_an_earlier_call_put_it():
    owners, taken, wanted = {"x": "val"}, Counter(), {("train", "math"): 5, ("val", "math"): 5}
    chosen, left = allocate([row("x"), row("x", splits=("train",)), row("y")], wanted, taken, owners, seed=0)
    assert [(r.content, split) for r, split in chosen if r.content == "x"] == [("x", "val")]
    assert left == {"image is in another split": 1}


def test_the_order_of_the_rows_changes_nothing():
    rows, wanted = [row(str(i)) for i in range(30)], {("train", "math"): 10, ("val", "math"): 5}
    forward, backward = (allocate(given, wanted, Counter(), {}, seed=3)[0] for given in (rows, rows[::-1]))
    assert forward == backward
    assert forward != allocate(rows, wanted, Counter(), {}, seed=4)[0]


def test_all_questions_of_an_image_go_to_one_split():
    rows = [row(str(i % 10)) for i in range(40)]
    wanted = {("train", "math"): 20, ("val", "math"): 20}
    chosen, _ = allocate(rows, wanted, Counter(), {}, seed=0)
    assert len(chosen) == 40
    assert len({(row.content, split) for row, split in chosen}) == 10
