"""Leaks: no test question is learnt from, by pixels, by looks or by words, unless the settings allow it."""

import io
import json

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.data import curate as curation
from currreft_nb.data import folder as data_folder
from currreft_nb.data.folder import checked, load_samples, read_manifest
from tests.helpers.pictures import photograph, voc_set

SIZE = (400, 300)


def curate(folder, train, ood=(), pool=(), **changes):
    numbers = {"train_questions": 6, "val_questions": 0, "test_questions": 6, "pool_questions": 6}
    sources = {"train_sources": [train], "ood_sources": list(ood), "pool_sources": list(pool)}
    return curation.curate(folder, tasks=["detection", "classification"], **sources, **(numbers | changes))


def encode_again(root, quality, count=8):
    """Store the first pictures of a set again as JPEG files of some quality."""
    for number in range(count):
        path = root / "JPEGImages" / f"q{number}.png"
        stream = io.BytesIO()
        Image.open(path).save(stream, "JPEG", quality=quality)
        Image.open(stream).save(path)  # other pixels, the same name and size


def two_sets(tmp_path, quality=None, shade=0):
    """Return two sources of which the first eight pictures show the same."""
    train = voc_set(tmp_path / "a", 8, size=SIZE)
    ood = voc_set(tmp_path / "b", 14, name="q", labels=("cow", "sheep", "horse", "car"), size=SIZE, shade=shade)
    if quality:
        encode_again(tmp_path / "b", quality)
    return train, ood


@pytest.mark.parametrize("quality", [None, 95, 60, 30])
def test_a_test_picture_among_those_to_learn_from_stops_the_run(tmp_path, quality):
    train, ood = two_sets(tmp_path, quality)
    with pytest.raises(InputError, match=r"would be learnt from and tested on: the pictures .*\.png and .*\.png show"):
        curate(tmp_path / "data", train, [ood])
    with pytest.raises(InputError, match="would be learnt from and tested on"):
        curate(tmp_path / "data", train, ["scenes"], [ood])
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("quality", [None, 60])
def test_with_skip_a_picture_stays_in_one_split(tmp_path, quality):
    train, ood = two_sets(tmp_path, quality)
    result = curate(tmp_path / "data", train, [ood], on_leak="skip")
    assert result["left_out"]["image is in another split"] > 0 and result["leaks"] == 0
    table = data_folder.leaks(tmp_path / "data")
    assert not table[["same picture", "same looks"]].to_numpy().any() and not table["leak"].any()


@pytest.mark.parametrize(("quality", "kind"), [(None, "same picture"), (60, "same looks")])
def test_with_allow_the_leak_is_reported(tmp_path, quality, kind):
    train, ood = two_sets(tmp_path, quality)
    result = curate(tmp_path / "data", train, [ood], on_leak="allow")
    leaks = {row["splits"]: row for row in read_manifest(tmp_path / "data")["leaks"]}
    found = leaks["train / test_ood"]
    assert result["leaks"] > 0 and found["leak"] and found[kind] > 0
    one, other = found["example"].split(" / ")
    assert one.startswith("voc-p") and other.startswith("voc-q") and one[5] == other[5]
    assert load_samples(tmp_path / "data", "train", "open")  # it can be opened all the same


def test_sets_that_share_nothing_are_clean_under_every_rule(tmp_path):
    train, ood = two_sets(tmp_path, shade=100)
    results = [curate(tmp_path / rule, train, [ood], on_leak=rule) for rule in ("stop", "skip", "allow")]
    assert [result["leaks"] for result in results] == [0, 0, 0]
    assert results[0]["questions"] == results[1]["questions"]


def test_pictures_of_one_source_that_look_alike_go_to_one_split(tmp_path):
    source = voc_set(tmp_path / "a", 12, size=SIZE)
    for number in range(6):  # the second half shows what the first half shows
        path = tmp_path / "a" / "JPEGImages" / f"p{number + 6}.png"
        stream = io.BytesIO()
        Image.open(tmp_path / "a" / "JPEGImages" / f"p{number}.png").save(stream, "JPEG", quality=70)
        Image.open(stream).save(path)
    numbers = {"train_questions": 12, "val_questions": 6, "test_questions": 6}
    curate(tmp_path / "data", source, **numbers)
    where = splits_of(tmp_path / "data", lambda sample: int(sample.id.split("-")[1][1:]) % 6)
    assert len(where) == 6 and all(len(splits) == 1 for splits in where.values())
    assert set.union(*where.values()) == {"train", "val", "test_id"}


def splits_of(folder, name):
    """Return the splits of each original picture; `name(sample)` tells which that is."""
    where = {}
    for split in ("train", "val", "test_id"):
        for sample in load_samples(folder, split, "open"):
            where.setdefault(name(sample), set()).add(split)
    return where


def test_copies_that_roboflow_names_alike_share_a_split_whatever_they_look_like(tmp_path):
    for number in range(8):
        source = voc_set(tmp_path / "a", 3, size=SIZE, name=f"cell-{number}_png.rf.", shade=10 * number)
    curate(tmp_path / "data", source, train_questions=12, val_questions=6)
    where = splits_of(tmp_path / "data", lambda sample: sample.id.split(".rf.")[0])
    assert len(where) == 8 and all(len(splits) == 1 for splits in where.values())
    assert set.union(*where.values()) == {"train", "val", "test_id"}


def export(root, shade, labels):
    """Write six originals with two copies each, named as Roboflow names them."""
    for number in range(6):
        voc_set(root, 2, size=SIZE, name=f"{number}_png.rf.", shade=shade + 10 * number, labels=labels)
    return f"voc:{root}"


def test_the_same_names_are_copies_within_one_export_only(tmp_path):
    train, ood = (
        export(tmp_path / "a", 0, ("dog", "cat", "bird")),
        export(tmp_path / "b", 500, ("cow", "sheep", "horse", "car")),
    )
    assert curate(tmp_path / "data", train, [ood], train_questions=4, test_questions=4)["leaks"] == 0


def test_the_folders_of_one_export_are_compared(tmp_path):
    train = export(tmp_path / "a" / "train", 0, ("dog", "cat", "bird"))
    ood = export(tmp_path / "a" / "test", 500, ("cow", "sheep", "horse", "car"))
    with pytest.raises(InputError, match="would be learnt from and tested on: the pictures"):
        curate(tmp_path / "data", train, [ood], train_questions=4, test_questions=4)


@pytest.mark.parametrize("change", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180])
def test_mirrored_and_turned_copies_are_leaks(tmp_path, change):
    train, ood = two_sets(tmp_path)
    for number in range(8):
        path = tmp_path / "b" / "JPEGImages" / f"q{number}.png"
        Image.open(path).transpose(change).save(path)
    with pytest.raises(InputError, match="would be learnt from and tested on"):
        curate(tmp_path / "data", train, [ood])
    assert curate(tmp_path / "data", train, [ood], on_leak="skip")["leaks"] == 0


def words(path, texts):
    """Write questions in words only, as official rows."""
    rows = [{"task": "math", "problem": text, "solution": f"<answer>{len(text)}</answer>"} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"curr_reft:{path}"


def test_a_question_in_words_is_the_same_whatever_its_spacing_and_case(tmp_path):
    train = words(tmp_path / "a.jsonl", [f"What is {n} plus {n}?" for n in range(6)])
    ood = words(tmp_path / "b.jsonl", ["what  is 3 PLUS 3? "] + [f"What is {n} times {n}?" for n in range(6)])
    settings = {"tasks": ["math"], "train_questions": 6, "val_questions": 0, "test_questions": 6}
    sources = {"train_sources": [train], "ood_sources": [ood], "pool_sources": []}
    with pytest.raises(InputError, match="both ask the same in words only"):
        curation.curate(tmp_path / "data", **sources, **settings)
    curation.curate(tmp_path / "data", **sources, **settings, on_leak="allow")
    table = data_folder.leaks(tmp_path / "data").set_index("splits")
    shared = table["same words, no picture"]
    assert shared["train / test_ood"] + shared["test_id / test_ood"] == 1


def test_the_same_question_in_two_sources_is_a_leak_where_it_is_tested_and_none_where_it_is_learnt(tmp_path):
    train, other = voc_set(tmp_path / "a", 8, size=SIZE), voc_set(tmp_path / "b", 8, size=SIZE)
    with pytest.raises(InputError, match="would be learnt from and tested on"):
        curate(tmp_path / "data", train, [other], on_bad="skip")
    result = curate(tmp_path / "data", train, (), [other], test_questions=0)
    used = checked(tmp_path / "data").set_index("source")["used"]
    assert used[train] > 0 and used[other] > 0 and result["leaks"] == 0
    table = data_folder.leaks(tmp_path / "data").set_index("splits")
    assert table.loc["train / pool", "same picture"] == 0 and not result["rejected"]


def test_where_nothing_is_tested_nothing_leaks(tmp_path):
    train, pool = two_sets(tmp_path)
    result = curate(tmp_path / "data", train, (), [pool], test_questions=0)
    assert result["left_out"]["image is in another split"] > 0 and result["leaks"] == 0


def test_the_same_words_about_other_pictures_are_shown_and_no_leak(tmp_path):
    source = voc_set(tmp_path / "a", 9, size=SIZE)
    curate(tmp_path / "data", source, val_questions=4)
    table = data_folder.leaks(tmp_path / "data").set_index("splits")
    assert table.loc["train / val", "same words"] > 0 and not table["leak"].any()


def test_photographs_are_unlike_each_other():
    assert len({photograph(number, SIZE).tobytes() for number in range(20)}) == 20
