"""Text that is long, damaged or hostile: each bad row is named, the others are read, and memory stays bounded."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import (
    clevr,
    coco,
    curr_reft,
    geometry3k,
    llava,
    math_vision,
    refcoco,
    science_qa,
    super_clevr,
    table,
    voc,
)
from currreft_nb.data.reading import json_streams, tables
from currreft_nb.data.reading.common import Rejected, files_in

GOOD = b'{"a": 1}'


def found_in(rows):
    """Return (line, row or reason) for each row."""
    return [(line, row.reason if isinstance(row, Rejected) else row) for _, line, row in rows]


# ---- JSON lines


@pytest.mark.parametrize(
    ("data", "lines", "why"),
    [
        (GOOD + b"\n" + GOOD, True, "two objects"),
        (b"\xef\xbb\xbf" + GOOD + b"\n\n" + GOOD[:3], True, "the second is cut short, the first tells"),
        (GOOD, False, "one object is a document"),
        (GOOD + b"\n\n", False, "with blank lines after it"),
        (b'{"a":\n1}', False, "an object on two lines"),
        (b"[" + GOOD + b",\n" + GOOD + b"]", False, "an array"),
        (b"1\n2", False, "numbers"),
        (b"", False, "nothing"),
    ],
)
def test_json_lines_are_known_whatever_the_file_is_named(tmp_path, data, lines, why):
    (tmp_path / "a.json").write_bytes(data)
    assert json_streams.is_json_lines(tmp_path / "a.json") == lines, why


def test_json_lines_named_json_are_read_by_line(tmp_path):
    (tmp_path / "a.json").write_bytes(GOOD + b"\n" + GOOD[:5])
    assert found_in(tables.read(tmp_path / "a.json")) == [(1, {"a": 1}), (2, "line is not JSON")]


@pytest.mark.parametrize(
    ("data", "found", "why"),
    [
        (GOOD + b"\n\n" + GOOD, [(1, {"a": 1}), (3, {"a": 1})], "blank lines are nothing, the last needs no newline"),
        (b"\xef\xbb\xbf" + GOOD + b"\r\n", [(1, {"a": 1})], "a byte order mark and Windows line ends"),
        (b"", [(None, "file is empty")], "0 bytes"),
        (b"\n \n", [(None, "file is empty")], "blanks only"),
        (GOOD + b"\n" + GOOD[:5], [(1, {"a": 1}), (2, "line is not JSON")], "cut short"),
        (b"\xff{}\n" + GOOD, [(1, "line is not JSON"), (2, {"a": 1})], "invalid UTF-8"),
        (b'{"a": NaN}\n{"a": -Infinity}', [(1, "line is not JSON"), (2, "line is not JSON")], "no numbers in JSON"),
        (b"[" * 100_000, [(1, "line is not JSON")], "deeper than Python can go"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", [(1, "line is not JSON")], "deeper than could be written again"),
        (b'{"a": "' + b"[" * 70 + b'"}', [(1, {"a": "[" * 70})], "brackets in a text are no nesting"),
        (b'{"a": ' + b"1" * 5000 + b"}", [(1, "line is not JSON")], "a number of 5000 digits"),
        (b'{"a": "\\ud800"}', [(1, "line is not JSON")], "half of a surrogate pair could not be written again"),
        (b'{"a": "\\ud83d\\ude00"}', [(1, {"a": "😀"})], "a whole pair is a character"),
        (b"[1]\n3\nnull", [(n, "line is not a JSON object") for n in (1, 2, 3)], "other JSON"),
    ],
)
def test_json_lines(tmp_path, data, found, why):
    (tmp_path / "rows.jsonl").write_bytes(data)
    assert found_in(json_streams.json_lines(tmp_path / "rows.jsonl")) == found, why


def test_a_line_of_100_megabytes_is_named_and_never_held(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as stream:
        stream.write(GOOD + b'\n{"a": "')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + GOOD)
    tracemalloc.start()
    found = found_in(json_streams.json_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [(1, {"a": 1}), (2, "line is too long"), (3, {"a": 1})]
    assert peak < 5 * json_streams.MAX_ROW  # the start of the line, and what readline copies


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_the_longest_line_that_is_read(tmp_path, monkeypatch, length):
    monkeypatch.setattr(json_streams, "MAX_ROW", 64)
    row = b'{"a": "' + b"x" * (64 + length - 10) + b'"}\n'
    (tmp_path / "rows.jsonl").write_bytes(row + GOOD)
    first, second = found_in(json_streams.json_lines(tmp_path / "rows.jsonl"))
    assert (first[1] == "line is too long") == (len(row) > 64) and second == (2, {"a": 1})


def test_rows_are_streamed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * 1000 + b'"}\n')
    with path.open("ab") as stream:
        for _ in range(20_000):
            stream.write(b'{"a": "' + b"x" * 1000 + b'"}\n')
    tracemalloc.start()
    count = sum(1 for _ in json_streams.json_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_001 and peak < 1_000_000  # of 20 MB


# ---- CSV


@pytest.mark.parametrize(
    ("data", "found", "why"),
    [
        (b"a,b\n1,2\n", [(2, {"a": "1", "b": "2"})], "plain"),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4", [(2, {"a": "1", "b": "2"}), (4, {"a": "3", "b": "4"})], "from Windows"),
        (b'a,b\n"1\n1","2,""2"""\n3,4', [(2, {"a": "1\n1", "b": '2,"2"'}), (4, {"a": "3", "b": "4"})], "quotes"),
        (b"", [(None, "file is empty")], "0 bytes"),
        (b"a,b\n1,2\n3", [(2, {"a": "1", "b": "2"}), (3, "row has another number of columns than the header")], "cut"),
        (b'a,b\n1,2\n3,"4', [(2, {"a": "1", "b": "2"}), (3, "line is not CSV")], "cut short inside quotes"),
        (b"a,b\n1,\xff\n3,4", [(2, "line is not UTF-8"), (3, {"a": "3", "b": "4"})], "invalid UTF-8"),
        (b"a,b\n1," + b"x" * 200_000 + b"\n3,4", [(2, "line is not CSV"), (3, {"a": "3", "b": "4"})], "a long field"),
    ],
)
def test_csv(tmp_path, data, found, why):
    (tmp_path / "rows.csv").write_bytes(data)
    assert found_in(json_streams.csv_rows(tmp_path / "rows.csv")) == found, why


def test_a_long_csv_line_of_short_fields_is_not_cut_to_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_streams, "MAX_ROW", 32)
    (tmp_path / "rows.csv").write_text("a,b,c\n" + "1,2," + "3" * 40 + "\n" + "1,2,3\n")
    assert found_in(json_streams.csv_rows(tmp_path / "rows.csv")) == [
        (2, "line is not CSV"),
        (3, dict(zip("abc", "123"))),
    ]


@pytest.mark.parametrize("head", [b"a,a\n1,2", b"\n1,2", b'a,"b'])
def test_csv_needs_names_for_its_columns(tmp_path, head):
    (tmp_path / "rows.csv").write_bytes(head)
    with pytest.raises(InputError, match=r"rows\.csv:1: the first line is not a list of different column names"):
        list(json_streams.csv_rows(tmp_path / "rows.csv"))


# ---- JSON documents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def items_of(document):
    """Return what a document should be read as."""
    if isinstance(document, list):
        return [(None, item) for item in document]
    return [
        (name, item)
        for name, value in document.items()
        for item in (value if isinstance(value, list) else [value])
    ]  # fmt: skip


@given(
    document=st.lists(JSON) | st.dictionaries(st.text(), JSON),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)
def test_documents_are_read_item_by_item_wherever_they_are_cut(tmp_path_factory, document, chunk, indent):
    path = tmp_path_factory.getbasetemp() / "document.json"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_streams, "CHUNK", chunk)
        assert list(json_streams.json_items(path)) == items_of(document)


@pytest.mark.parametrize(
    ("text", "before", "message"),
    [
        (b'[{"a": 1}, {"a": 2', 1, "damaged, after character"),
        (b'[{"a": 1}, {"a": 2}', 2, "expected , or ], found the end of the file"),
        (b'[{"a": 1}] 3', 1, "something follows its end"),
        (b'{"a": [1, 2}', 2, "expected , or ], found }"),
        (b'{"a" 1}', 0, "expected :, found 1"),
        (b'[{"a": NaN}]', 0, "NaN is not a number"),
        (b"[\xff]", 0, "utf-8"),
        (b"", 0, r"expected \[ or {, found the end"),
        (b"3", 0, r"expected \[ or {, found 3"),
        (b"[" * 100_000, 0, "nested too deeply|recursion"),
    ],
)
def test_a_damaged_document_is_named_after_what_could_be_read(tmp_path, text, before, message):
    (tmp_path / "document.json").write_bytes(text)
    items, found = json_streams.json_items(tmp_path / "document.json"), []
    with pytest.raises(InputError, match=rf"(?s)document\.json is not JSON.*({message})"):
        for item in items:
            found.append(item)
    assert len(found) == before


def test_a_document_is_not_held(tmp_path):
    path = tmp_path / "document.json"
    with path.open("w") as stream:
        stream.write('{"info": {}, "rows": [')
        for _ in range(20_000):
            stream.write(json.dumps({"a": "x" * 1000}) + ",")
        stream.write('{"a": ""}]}')
    tracemalloc.start()
    count = sum(1 for _ in json_streams.json_items(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_002 and peak < 8 * json_streams.CHUNK  # of 20 MB


def test_an_item_without_end_is_not_read_to_the_end_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_streams, "MAX_ROW", 1000)
    (tmp_path / "document.json").write_text('[{"a": "' + "x" * json_streams.CHUNK * 4)
    with pytest.raises(InputError, match="no value that ends within 1000 characters"):
        list(json_streams.json_items(tmp_path / "document.json"))


# ---- every reader, whatever its file holds

BAD_FILES = {
    "0 bytes": b"",
    "blanks": b" \n\n",
    "invalid UTF-8": b"\xff\xfe\x00",
    "deeply nested": b"[" * 100_000,
    "cut short": b'{"images": [{"id": 1',
    "another type": b'{"images": 3, "a": {"b": null}}',
    "text": b"<html>Not found</html>",
    "nulls": b"\x00" * 100,
}
FILES = [  # reader, place of its file in the folder, options
    (coco.read, "annotations/instances_a.json", {}),
    (curr_reft.read, "open/rows.jsonl", {}),
    (curr_reft.read, "refgta.json", {}),
    (math_vision.read, "testmini.jsonl", {}),
    (voc.read, "Annotations/a.xml", {}),
    (table.read, "rows.jsonl", {"task": "math"}),
    (table.read, "rows.csv", {"task": "math"}),
    (table.read, "rows.parquet", {"task": "math"}),
    (table.read, "rows.arrow", {"task": "math"}),
    (llava.read, "chat.jsonl", {"task": "math"}),
    (llava.read, "chat.json", {"task": "math", "files": "*.json"}),
    (geometry3k.read, "1/data.json", {}),
    (science_qa.read, "problems.json", {}),
    (clevr.read, "scenes/a_scenes.json", {}),
    (super_clevr.read, "scenes/a.json", {}),
    (super_clevr.read, "superCLEVR_scenes.json", {}),
    (refcoco.read, "refs(unc).p", {}),
]


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize(("read", "name", "options"), FILES, ids=[name for _, name, _ in FILES])
def test_a_file_of_nonsense_gives_a_named_rejection_or_error_and_nothing_else(tmp_path, read, name, options, data):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    try:
        found = list(read(tmp_path, ("detection", "classification", "math", "general"), **options))
    except InputError as error:
        assert path.name in str(error)
    else:
        assert found and all(isinstance(item, Rejected) and path.name in item.file for item in found)


VALUES = JSON | st.sampled_from(
    ["a.png", "3", ["3", "4"], "A", [1, 2, 30, 40], "yes", 0, 10**400, 1e308, "\0", "<image>"]
)
NAMES = """id image images problem solution normalized_solution resize_solution task messages role content question
options answer conversations from value problem_text choices bbox width height file_name"""
FIELDS = NAMES.split()
TURNS = st.lists(st.fixed_dictionaries({name: VALUES for name in ("from", "value", "role", "content")}), max_size=3)
READERS = [
    (curr_reft.read, "open.jsonl", {}),
    (curr_reft.read, "judge.jsonl", {}),
    (curr_reft.read, "choice.jsonl", {}),
    (math_vision.read, "rows.jsonl", {}),
    (llava.read, "rows.jsonl", {"task": "math"}),
    (llava.read, "rows.jsonl", {"task": "detection"}),
    (geometry3k.read, "1/data.json", {}),
]


@settings(max_examples=60)
@given(row=st.dictionaries(st.sampled_from(FIELDS), VALUES | TURNS, max_size=len(FIELDS)))
@pytest.mark.parametrize(("read", "name", "options"), READERS, ids=[f"{n}-{o.get('task')}" for _, n, o in READERS])
def test_whatever_a_row_holds_it_becomes_samples_or_rejections(tmp_path_factory, read, name, options, row):
    folder = tmp_path_factory.getbasetemp() / "any"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64)).save(path.parent / "a.png")
    Image.new("RGB", (64, 64)).save(path.parent / "img_diagram.png")
    path.write_text(json.dumps(row))
    found = list(read(folder if name.endswith("data.json") else path, **options))
    assert found and all(isinstance(item, Sample | Rejected) for item in found)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "link.png", "a/../../secret.png", "", "x" * 5000, "a\0b", 7, {"a": 1}, []]
)
def test_no_image_outside_its_folder_is_read(tmp_path, name):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    row = {"id": "1", "question": "How many?", "options": [], "answer": "6", "image": name}
    official = {"problem": "How many?", "solution": 3, "image": name}
    (data / "rows.jsonl").write_text(json.dumps(row))
    (data / "open.jsonl").write_text(json.dumps(official))
    found = [*math_vision.read(data / "rows.jsonl"), *table.read(data / "rows.jsonl", task="math")]
    found += curr_reft.read(data / "open.jsonl")
    assert len(found) == 3
    for item in found:
        text_only = name in ("", []) and isinstance(item, Sample) and item.image is None
        assert isinstance(item, Rejected) or text_only


def test_files_that_are_links_out_of_the_folder_are_named(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.xml").write_text("<annotation/>")
    (data / "a.xml").write_text("<annotation/>")
    (data / "b.xml").symlink_to(tmp_path / "secret.xml")
    (data / "c.xml").symlink_to(data / "a.xml")
    first, second, third = files_in(data, "*.xml")
    assert (first, third) == (data / "a.xml", data / "c.xml")
    assert second == Rejected(file=str(data / "b.xml"), reason="file is outside of its folder, or a link out of it")
