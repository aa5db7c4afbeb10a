"""Classification sets of the hub: names of a ClassLabel, texts, rows without a label."""

import datasets
import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import hub_labels
from tests.helpers.annotated import divide, picture, reasons
from tests.helpers.table_files import write as write_table


@pytest.mark.parametrize("column", ["label", "fine_label"])
@pytest.mark.parametrize("is_saved", [False, True])
def test_names_of_a_class_label_are_read(tmp_path, column, is_saved):
    data = picture(tmp_path / "x.png").read_bytes()
    names = datasets.ClassLabel(names=["healthy", "angular leaf spot", "rust"])
    whole = datasets.Features({"image": datasets.Image(), column: names})
    rows = [{"image": {"bytes": data, "path": None}, column: number} for number in (2, 1, 2, -1)]
    made = datasets.Dataset.from_list(rows, features=whole)
    made.save_to_disk(tmp_path / "data") if is_saved else made.to_parquet(tmp_path / "data" / "train.parquet")
    samples, [bad] = divide(hub_labels.read(tmp_path / "data", extracted=tmp_path / "inside"))
    assert [s.answer for s in samples] == [["rust"], ["angular leaf spot"], ["rust"]]
    listed = ["angular leaf spot", "rust"]  # those that occur
    assert samples[0].extra["categories"] == listed
    assert samples[0].question == f"Which of these categories are in the image: {', '.join(listed)}?"
    assert (bad.reason, bad.line, bad.fault) == ("row has no label", 4, False)


def metadata(root, *labels, suffix=".jsonl"):
    picture(root / "a.png")
    rows = [{"file_name": "a.png", "label": label} for label in labels]
    return write_table(root / f"metadata{suffix}", rows).parent


@pytest.mark.parametrize(
    ("suffix", "given", "names", "answers"),
    [
        (".jsonl", ["cat", "dog"], "", [["cat"], ["dog"]]),
        (".csv", ["cat", "dog"], "", [["cat"], ["dog"]]),
        (".jsonl", [1, 0], "cat,dog", [["dog"], ["cat"]]),
        (".csv", [1, 0], "cat,dog", [["dog"], ["cat"]]),
        (".jsonl", [["dog", "cat"], ["cat"]], "", [["cat", "dog"], ["cat"]]),
    ],
)
def test_labels_of_an_image_folder(tmp_path, suffix, given, names, answers):
    samples, rejected = divide(hub_labels.read(metadata(tmp_path, *given, suffix=suffix), names=names))
    assert [s.answer for s in samples] == answers and not rejected
    assert [s.extra["origin"]["line"] for s in samples] == ([2, 3] if suffix == ".csv" else [1, 2])


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (2, "class number is unknown"),
        (0.5, "class number is unknown"),
        ("", "object has no label"),
        ("bird", "class is unknown"),
        (None, "row has no label"),
        ([], "row has no label"),
    ],
)
def test_a_bad_label_is_rejected_by_its_line(tmp_path, label, reason):
    samples, [bad] = divide(hub_labels.read(metadata(tmp_path, 1, label), names="cat,dog"))
    assert len(samples) == 1 and (bad.reason, bad.line) == (reason, 2)


def test_names_that_the_reward_takes_for_one_are_one_label(tmp_path):
    samples, _ = divide(hub_labels.read(metadata(tmp_path, "Cat", "cat", "dog")))
    assert [s.answer for s in samples] == [["Cat"], ["Cat"], ["dog"]]
    assert samples[0].extra["categories"] == ["Cat", "dog"]


def test_a_number_needs_a_name(tmp_path):
    assert reasons(hub_labels.read(metadata(tmp_path, 3))) == {
        "class is a number and has no name; write names=cat,dog or names=FILE": 1
    }


def test_the_question_can_be_given(tmp_path):
    [sample] = hub_labels.read(metadata(tmp_path, "wren"), question="What kind of bird is in the image?")
    assert sample.question == "What kind of bird is in the image?"


def test_messages_list_all_columns(tmp_path):
    root = metadata(tmp_path, "cat")
    with pytest.raises(InputError, match="no column kind; columns are: file_name, label; write label=COLUMN"):
        list(hub_labels.read(root, label="kind"))
    write_table(tmp_path / "p" / "rows.parquet", [{"picture": "a.png", "label": "cat", "n": 1}])
    with pytest.raises(InputError, match="columns are: picture, label, n; write image=COLUMN"):
        list(hub_labels.read(tmp_path / "p"))
    assert not list(hub_labels.read(root, ["detection"]))
