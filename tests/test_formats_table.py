"""Tables of every kind: the same rows whatever holds them, columns by name, images inside, damage named."""

import json
import os
import subprocess
import sys
from collections import Counter

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.formats import Rejected, llava, rows, table
from currreft_nb.samples import Sample

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "image": "a.png"} for n in range(5)]


def picture(path, size=(100, 80), color=(200, 0, 0)):
    Image.new("RGB", size, color).save(path)
    return path.read_bytes()


def write(path, listed):
    """Write rows as the file's suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(listed), path, row_group_size=2)
    elif path.suffix == ".json":
        path.write_text(json.dumps(listed))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in listed))
    elif path.suffix in (".csv", ".tsv"):
        mark = "," if path.suffix == ".csv" else "\t"
        lines = [mark.join(listed[0]), *(mark.join(str(value) for value in row.values()) for row in listed)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".arrow":
        whole = pyarrow.Table.from_pylist(listed)
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, whole.schema) as stream:
            stream.write_table(whole, max_chunksize=2)
    return path


def read(path, **options):
    items = list(table.read(path, **{"task": "math"} | options))
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Rejected)]


# ---- the same rows in every container


@pytest.mark.parametrize("suffix", rows.SUFFIXES)
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
    with pytest.raises(InputError, match=r"holds no file that fits data/val-\*"):
        read(tmp_path, files="data/val-*")
    with pytest.raises(InputError, match="is no table; the suffix"):
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
    with pytest.raises(InputError, match="its tables cannot be found"):
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
    # The layout of the hub's cache: a name for the newest revision, and a folder for each revision. Offline, as here,
    # the library looks nowhere else; the environment is read when it is imported, hence another process.
    snapshot = tmp_path / "datasets--somebody--sums" / "snapshots" / ("0" * 40)
    write(snapshot / "data" / "train-00000.parquet", [{"question": "1 + 1?", "answer": "2"}])
    write(snapshot / "data" / "test-00000.parquet", [{"question": "2 + 2?", "answer": "4"}])
    (tmp_path / "datasets--somebody--sums" / "refs").mkdir()
    (tmp_path / "datasets--somebody--sums" / "refs" / "main").write_text("0" * 40)
    code = """
from pathlib import Path
from currreft_nb import InputError
from currreft_nb.curation_sources import open_source, parse_sources
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
    assert absent.startswith("hf:/datasets/somebody/absent cannot be downloaded") and "give its folder" in absent


# ---- columns


def test_columns_have_the_names_that_are_given(tmp_path):
    picture(tmp_path / "a.png")
    path = write(tmp_path / "rows.jsonl", [{"Frage": "Wie viele?", "Lösung": 4, "Bild": "a.png", "Weg": "gezählt"}])
    [sample], _ = read(path, question="Frage", answer="Lösung", image="Bild", thinking="Weg")
    assert (sample.question, sample.answer, sample.thinking) == ("Wie viele?", "4", "gezählt")
    assert sample.image == str(tmp_path / "a.png") and sample.extra == {"origin": {"file": "rows.jsonl", "line": 1}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": "qestion"}, "no column 'qestion'; did you mean 'question'.*write question="),
        ({"image": "picture"}, "no column 'picture'.*There are question, answer, image; write image="),
        ({"task": ""}, r"no task ''; There are detection.*write for example rows.jsonl\?task=math"),
        ({"task": "maths"}, "no task 'maths'; did you mean 'math'"),
        ({"task": "detection", "box": "xyhw"}, "no form of box 'xyhw'; did you mean 'xywh'"),
    ],
)
def test_a_wrong_name_is_told_before_a_row_is_read(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "rows.jsonl", ROWS), **options)


def test_other_tasks_than_those_wanted_are_not_read(tmp_path):
    assert not list(table.read(tmp_path / "nowhere.csv", ["detection"], task="math"))


# ---- answers

BOX = [10, 20, 50, 60]


@pytest.mark.parametrize(
    ("task", "row", "form", "answer", "why"),
    [
        ("math", {"answer": "42"}, "xyxy", "42", "a text"),
        ("math", {"answer": 42}, "xyxy", "42", "a number"),
        ("math", {"answer": 2.5}, "xyxy", "2.5", "a fraction"),
        ("math", {"answer": "B", "options": ["3", "4"]}, "xyxy", "B", "a letter"),
        ("math", {"answer": "(B)", "options": ["3", "4"]}, "xyxy", "B", "a letter in brackets"),
        ("math", {"answer": "4", "options": ["3", "4"]}, "xyxy", "B", "an option's text"),
        ("math", {"answer": 0, "options": ["3", "4"]}, "xyxy", "A", "a number counts the options from 0"),
        ("math", {"answer": "B", "options": "['3', '4']"}, "xyxy", "B", "a list as Python writes it"),
        ("math", {"answer": "B", "options": '["3", "4"]'}, "xyxy", "B", "a list as JSON writes it"),
        ("math", {"answer": "6", "options": "[]"}, "xyxy", "6", "an empty list"),
        ("math", {"answer": "6", "options": None}, "xyxy", "6", "no list"),
        ("general", {"answer": None}, "xyxy", None, "general questions need no reference"),
        ("general", {"answer": "B", "options": ["x", "y"]}, "xyxy", "B", "general questions may have options"),
        ("classification", {"answer": ["cat", "dog"]}, "xyxy", ["cat", "dog"], "a list"),
        ("classification", {"answer": "cat, dog"}, "xyxy", ["cat", "dog"], "a text"),
        ("detection", {"answer": BOX}, "xyxy", [BOX], "corners"),
        ("detection", {"answer": [BOX, [0, 0, 9, 9]]}, "xyxy", [BOX, [0, 0, 9, 9]], "several boxes"),
        ("detection", {"answer": "[10, 20, 50, 60]"}, "xyxy", [BOX], "a text"),
        ("detection", {"answer": "[[10, 20, 50, 60]]"}, "xyxy", [BOX], "a list of one in a text"),
        ("detection", {"answer": '{"bbox_2d": [10, 20, 50, 60]}'}, "xyxy", [BOX], "as models write it"),
        ("detection", {"answer": [10, 20, 40, 40]}, "xywh", [BOX], "corner and size"),
        ("detection", {"answer": [0.1, 0.25, 0.5, 0.75]}, "normalized", [BOX], "parts of the sides"),
        ("detection", {"answer": [100, 250, 500, 750]}, "thousand", [BOX], "thousandths"),
    ],
)
def test_answers_in_every_form(tmp_path, task, row, form, answer, why):
    picture(tmp_path / "a.png")
    path = write(tmp_path / "rows.jsonl", [{"question": "?", "image": "a.png"} | row])
    [sample], rejected = read(path, task=task, box=form)
    assert sample.answer == answer and not rejected, why


@pytest.mark.parametrize(
    ("task", "answer", "options", "reason"),
    [
        ("math", "", [], "row is not a math question"),
        ("math", None, [], "answer is empty or no number"),
        ("math", "D", ["3", "4"], "answer is none of the options"),
        ("math", 2, ["3", "4"], "answer is none of the options"),
        ("math", -1, ["3", "4"], "answer is none of the options"),
        ("math", "A", "no list", "options are no list"),
        ("classification", [], [], "row is not a classification question"),
        ("classification", 3, [], "row is not a classification question"),
        ("detection", [1, 2, 3], [], "box has a coordinate that is missing or no number"),
        ("detection", [1, 2, 3, "x"], [], "box has a coordinate that is missing or no number"),
        ("detection", [1, 2, 3, True], [], "box has a coordinate that is missing or no number"),
        ("detection", [], [], "box has a coordinate that is missing or no number"),
        ("detection", {}, [], "box has a coordinate that is missing or no number"),
        ("detection", "[1, 2, nan, 4]", [], "box has a coordinate that is missing or no number"),
        ("detection", [1, 2, 10**400, 4], [], "box has a coordinate that is not finite"),
        ("detection", [1, 2, 1e999, 4], [], "box has a coordinate that is not finite"),
        ("detection", [50, 20, 10, 60], [], "box is empty or reversed"),
        ("detection", [50, 20, 300, 60], [], "box lies outside the image"),
        ("detection", "left", [], "answer cannot be read (no_box)"),
        ("detection", "[" * 100_000, [], "box has a coordinate that is missing or no number"),
        ("math", "A", "[" + "-" * 100_000 + "1]", "options are no list"),
    ],
)
def test_answers_that_cannot_be_used(tmp_path, task, answer, options, reason):
    picture(tmp_path / "a.png")
    row = {"question": "?", "image": "a.png", "answer": answer, "options": options}
    text = json.dumps(row).replace("Infinity", "1e999")  # which JSON allows, and which is infinite once read
    (tmp_path / "rows.jsonl").write_text(text)
    samples, [bad] = read(tmp_path / "rows.jsonl", task=task)
    assert not samples and bad.reason.startswith(reason) and bad.line == 1 and bad.fault


# ---- damage


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("cut", ["tail", "head", "middle", "all"])
def test_a_damaged_columnar_file_is_named(tmp_path, suffix, cut):
    path = write(tmp_path / f"rows{suffix}", ROWS * 50)
    data = path.read_bytes()
    third = len(data) // 3
    damaged = {
        "tail": data[:-third],
        "head": data[third:],
        "middle": data[:third] + b"\xff" * third + data[2 * third :],
    }
    path.write_bytes(damaged.get(cut, b""))
    with pytest.raises(InputError, match=rf"rows\{suffix} cannot be read after row \d+ \(.*get the file again"):
        read(path)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv"])
def test_of_a_text_that_is_cut_short_the_last_row_is_named(tmp_path, suffix):
    picture(tmp_path / "a.png")
    path = write(tmp_path / f"rows{suffix}", ROWS)
    path.write_bytes(path.read_bytes()[:-9])
    if suffix == ".json":
        with pytest.raises(InputError, match=r"rows\.json is no JSON document, or damaged, after character"):
            read(path)
    else:
        samples, [bad] = read(path)
        assert len(samples) == 4 and bad.line == (5 if suffix == ".jsonl" else 6)


def test_bad_rows_do_not_hide_the_others(tmp_path):
    picture(tmp_path / "a.png")
    listed = [
        ROWS[0],
        ROWS[1] | {"image": "b.png"},
        ROWS[2] | {"question": ""},
        ROWS[3] | {"image": ["a.png"] * 2},
        ROWS[4],
    ]
    samples, rejected = read(write(tmp_path / "rows.jsonl", listed))
    assert [s.extra["origin"]["line"] for s in samples] == [1, 5]
    assert Counter((item.reason, item.line, item.fault) for item in rejected) == {
        ("image does not exist", 2, True): 1,
        ("row is not a math question", 3, True): 1,
        ("row shows several images, and a sample holds one", 4, False): 1,
    }
