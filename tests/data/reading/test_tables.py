"""Tables of every kind: the same rows whatever holds them, images inside, folders, saved and hub datasets."""

import os
import subprocess
import sys

import datasets
import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import llava
from currreft_nb.data.reading import tables
from tests.helpers.table_files import ROWS, picture, read, write


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_rows_are_the_same_in_every_kind_of_file(tmp_path, suffix):
    picture(tmp_path / "a.png")
    samples, rejected = read(write(tmp_path / f"rows{suffix}", ROWS))
    assert not rejected
    assert [(s.question, s.answer, s.size) for s in samples] == [(r["question"], r["answer"], (100, 80)) for r in ROWS]
    assert len({s.id for s in samples}) == 5 and samples[0].source == "rows"


def test_a_folder_gives_the_files_that_fit(tmp_path):
    picture(tmp_path / "a.png")
    for name in ("train-0.parquet", "train-1.parquet", "test-0.parquet"):
        write(tmp_path / "data" / name, ROWS)
    assert len(read(tmp_path / "data", images=str(tmp_path))[0]) == 15
    assert len(read(tmp_path, files="data/train-*.parquet")[0]) == 10
    with pytest.raises(InputError, match=r"holds no file that matches data/val-\*"):
        read(tmp_path, files="data/val-*")
    with pytest.raises(InputError, match="is not a table; give a file that ends in"):
        read(tmp_path / "a.png")
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "nowhere.csv")


def test_a_dataset_that_was_saved_to_disk(tmp_path):
    picture(tmp_path / "a.png")
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "saved")
    samples, _ = read(tmp_path / "saved", images=str(tmp_path))
    assert [s.answer for s in samples] == [row["answer"] for row in ROWS]
    datasets.DatasetDict(train=whole, test=whole.select([3, 1])).save_to_disk(tmp_path / "both")
    with pytest.raises(InputError, match="holds the splits test, train; give the folder of one of them"):
        read(tmp_path / "both")
    assert [s.answer for s in read(tmp_path / "both" / "test", images=str(tmp_path))[0]] == ["6", "2"]


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"_data_files": [3]}', '{"_data_files": [{"filename": "/etc/*"}]}'])
def test_a_damaged_list_of_a_saved_dataset_is_named(tmp_path, state):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(InputError, match="cannot find its tables"):
        read(tmp_path)


def test_no_table_outside_the_folder_is_read(tmp_path):
    write(tmp_path / "secret.csv", ROWS)
    (tmp_path / "data").mkdir()
    for files in ("../*.csv", "../secret.csv"):
        samples, [bad] = read(tmp_path / "data", files=files)
        assert not samples and bad.reason == "file is outside of its folder, or a link out of it"
    (tmp_path / "data" / "state.json").write_text('{"_data_files": [{"filename": "../secret.csv"}]}')
    assert [bad.reason for bad in read(tmp_path / "data")[1]] == ["file is outside of its folder, or a link out of it"]
    with pytest.raises(InputError, match="correct files=, a pattern such as"):
        read(tmp_path, files=str(tmp_path / "*.csv"))


def test_a_dataset_with_images_inside(tmp_path):
    red, blue = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", (60, 40), (0, 0, 200))
    features = datasets.Features({name: datasets.Value("string") for name in ("question", "answer")})
    features["image"] = datasets.Image()
    listed = [row | {"image": {"bytes": red if n else blue, "path": "x.png"}} for n, row in enumerate(ROWS)]
    listed[4]["image"] = None
    datasets.Dataset.from_list(listed, features=features).to_parquet(tmp_path / "rows.parquet")
    samples, rejected = read(tmp_path / "rows.parquet", extracted=tmp_path / "inside")
    assert not rejected and [s.size for s in samples] == [(60, 40), (100, 80), (100, 80), (100, 80), None]
    files = sorted((tmp_path / "inside").iterdir())
    assert {path.read_bytes() for path in files} == {red, blue} and len(files) == 2  # one file for one content
    assert all(path.suffix == ".png" for path in files)
    assert {item.reason for item in read(tmp_path / "rows.parquet")[1]} == {
        "image is inside the table, and no folder was named to write it to"
    }


def test_conversations_in_parquet(tmp_path):
    data = picture(tmp_path / "a.png")
    turns = [{"from": "human", "value": "<image>How many?"}, {"from": "gpt", "value": "The answer is 4."}]
    listed = [{"id": "1", "image": {"bytes": data, "path": "a.png"}, "conversations": turns}]
    [sample] = llava.read(write(tmp_path / "geo170k.parquet", listed), extracted=tmp_path / "inside")
    assert (sample.question, sample.answer, sample.size) == ("How many?", "4", (100, 80))


def test_the_cauldron_in_parquet(tmp_path):
    data = {"bytes": picture(tmp_path / "a.png"), "path": None}
    texts = [{"user": f"Is it {n}?\nAnswer yes or no.", "assistant": "Yes.", "source": "VSR"} for n in range(2)]
    samples = list(
        llava.read(
            write(tmp_path / "vsr" / "train-0.parquet", [{"images": [data], "texts": texts}]).parent.parent,
            task="general", files="vsr/*.parquet", extracted=tmp_path / "inside",
        )
    )  # fmt: skip
    assert [(s.id, s.answer, s.size) for s in samples] == [
        ("train-0-1", "Yes.", (100, 80)), ("train-0-1-2", "Yes.", (100, 80))
    ]  # fmt: skip


def test_school_questions_from_the_hub_keep_what_they_are_about(tmp_path):
    red = {"bytes": picture(tmp_path / "a.png"), "path": "image.png"}
    problem = {"image": red, "question": "Which is north?", "choices": ["Ohio", "Utah"], "answer": 0, "hint": "A map.",
               "solution": "Look."}  # fmt: skip
    listed = [problem, problem | {"image": None, "hint": "", "solution": ""}, problem | {"question": ""}]
    features = datasets.Features({
        "image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("int8"),
        "choices": datasets.List(datasets.Value("string")), "hint": datasets.Value("string"),
        "solution": datasets.Value("string"),
    })  # fmt: skip
    datasets.Dataset.from_list(listed, features=features).to_parquet(tmp_path / "train.parquet")
    options = {"task": "general", "options": "choices", "context": "hint", "thinking": "solution"}
    samples, [bad] = read(tmp_path / "train.parquet", extracted=tmp_path / "inside", **options)
    assert [(s.question, s.answer, s.thinking, s.size) for s in samples] == [
        ("A map.\nWhich is north?", "A", "Look.", (100, 80)), ("Which is north?", "A", None, None)
    ]  # fmt: skip
    assert (bad.reason, bad.line) == ("row is not a general question", 3)


# ---- the hub


def test_a_hub_dataset_is_read_from_the_cache_and_an_absent_one_is_named(tmp_path):
    # The layout of the hub's cache: a name for the newest revision, a folder for each revision, and in it links to the
    # files themselves. Offline, as here, the library looks nowhere else; the environment is read when it is imported,
    # hence another process.
    snapshot = tmp_path / "datasets--somebody--sums" / "snapshots" / ("0" * 40)
    (snapshot / "data").mkdir(parents=True)
    for name, row in (
        ("train", {"question": "1 + 1?", "answer": "2"}),
        ("test", {"question": "2 + 2?", "answer": "4"}),
    ):
        blob = write(snapshot.parents[1] / "blobs" / f"{name}.parquet", [row])
        (snapshot / "data" / f"{name}-00000.parquet").symlink_to(f"../../../blobs/{blob.name}")
    (tmp_path / "datasets--somebody--sums" / "refs").mkdir()
    (tmp_path / "datasets--somebody--sums" / "refs" / "main").write_text("0" * 40)
    code = """
from pathlib import Path
from currreft_nb import InputError
from currreft_nb.data.sources import open_source, parse_sources
for name in ("sums?task=math&files=data/train-*", "sums@main?task=math", "absent?task=math"):
    [source] = parse_sources({"train": [f"table:hf://datasets/somebody/{name}"]}, Path("data"))
    try:
        print([sample.answer for sample in open_source(source, ("math",), None)])
    except InputError as error:
        print(error)
"""
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    train, both, absent = done.stdout.splitlines()
    assert (train, both) == ("['2']", "['4', '2']"), done.stderr
    assert (
        absent.startswith("hf:/datasets/somebody/absent cannot be downloaded") and "give the folder of a copy" in absent
    )


def test_a_folder_that_only_looks_like_the_cache_is_not_trusted(tmp_path):
    snapshot = tmp_path / "datasets--somebody--sums" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "a.csv").symlink_to(write(tmp_path / "secret.csv", ROWS))
    samples, [bad] = read(snapshot)
    assert not samples and bad.reason == "file is outside of its folder, or a link out of it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question": "?", "answer": "4"}', "is one JSON object, and none of its members has rows: question, answer"),
        (
            '{"question": ["?", "!"], "answer": ["4", "5"]}',
            "none of its members has rows: question, answer; write a list",
        ),
        (
            '{\n"question": "?",\n"answer": "4"\n}\n{\n"question": "?"\n}',
            "follows its end: another document, as in JSON",
        ),
        ("{}{}", "follows its end: another document"),
        ("[] x", "something follows its end\\)"),
    ],
)
def test_a_json_file_without_rows_is_one_error(tmp_path, text, message):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(InputError, match=message):
        list(tables.read(tmp_path / "rows.json"))


def test_rows_in_a_member_of_a_json_object(tmp_path):
    (tmp_path / "rows.json").write_text('{"version": "1.0", "tags": ["a", "b"], "data": [{"n": 1}, {"n": 2}, 3]}')
    *rows, bad, told = [found for _, _, found in tables.read(tmp_path / "rows.json")]
    assert rows == [{"n": 1}, {"n": 2}] and bad.reason == "record is not a JSON object"
    assert (told.value, told.fault) == ("version, tags", False)


def test_columns_of_a_table_by_their_usual_names(tmp_path):
    path = write(tmp_path / "rows.parquet", [{"picture": "a.png", "label": 1, "n": 2}])
    wanted = {"label": ("label", "labels")}
    assert [row for _, _, row in tables.read_columns(path, "", wanted)] == [{"label": 1}]
    with pytest.raises(InputError, match="no column image or img; columns are: picture, label, n; write image=COLUMN"):
        list(tables.read_columns(path, "", wanted | {"image": ("image", "img")}))
    with pytest.raises(InputError, match="columns are: picture, label, n"):  # a file that has none of the wanted ones
        list(tables.read_columns(path, "", {"objects": ("objects",)}))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_names_of_class_labels(tmp_path, suffix):
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    whole = datasets.Features({"label": kinds, "objects": datasets.List({"category": kinds})})
    made = datasets.Dataset.from_list([{"label": 0, "objects": [{"category": 1}]}], features=whole)
    made.save_to_disk(tmp_path / "saved") if suffix == ".arrow" else made.to_parquet(tmp_path / "rows.parquet")
    [path] = tmp_path.rglob(f"*{suffix}")
    assert tables.class_names(path) == {"label": ["cat", "dog"], "objects.category": ["cat", "dog"]}
    assert tables.class_names(write(tmp_path / f"plain{suffix}", ROWS)) == {}
