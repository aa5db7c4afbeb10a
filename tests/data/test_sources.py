"""The one line that names a source: format, path and options, understood or refused with a remedy."""

import inspect
import json
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import TASKS
from currreft_nb.data.reading import tables
from currreft_nb.data.sources import READERS, open_source, options_of, parse_sources

ROOT = Path("/data")
COLUMNS = (
    "question",
    "answer",
    "image",
    "options",
    "candidates",
    "context",
    "thinking",
    "task",
)  # explained together in the table's reader


def parse(text, root=ROOT):
    [source] = parse_sources({"train": [text]}, root)
    return source


@pytest.mark.parametrize(
    ("text", "format", "path", "options"),
    [
        ("scenes", "scenes", None, {}),
        ("voc:VOC2012", "voc", "/data/VOC2012", {}),
        ("voc:/elsewhere/VOC2012", "voc", "/elsewhere/VOC2012", {}),
        ("coco:a folder/coco?images=more images", "coco", "/data/a folder/coco", {"images": "/data/more images"}),
        ("refcoco:refer/refcoco+?by=unc&split=val", "refcoco", "/data/refer/refcoco+", {"by": "unc", "split": "val"}),
        ("table:a.csv?task=math&answer=the+answer&question=Q%26A", "table", "/data/a.csv",
         {"task": "math", "answer": "the answer", "question": "Q&A"}),
        ("table:a.csv?task=math&image=", "table", "/data/a.csv", {"task": "math", "image": ""}),
        ("table:hf://datasets/a/b@refs/convert/parquet?files=x/*.parquet", "table",
         "hf:/datasets/a/b@refs/convert/parquet", {"files": "x/*.parquet"}),
    ],
)  # fmt: skip
def test_a_source_has_a_format_a_path_and_options(text, format, path, options):
    source = parse(text)
    assert (source.format, source.text, source.options) == (format, text, options)
    assert source.path == (Path(path) if path else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coko:data", r"unknown kind 'coko'; did you mean coco\?"),
        ("xml:data", r"unknown kind 'xml'; write clevr, coco, .*, as in KIND:PLACE"),
        ("", "unknown kind ''"),
        ("voc", "write voc:PLACE, with a place"),
        ("voc:", "write voc:PLACE, with a place"),
        ("scenes:data", "write 'scenes' alone"),
        ("scenes?a=b", "unknown option of scenes 'a'; write math"),
        ("geometry3k:data?images=x", "the format geometry3k has no options"),
        ("coco:data?image=x", "unknown option of coco 'image'; did you mean images"),
        ("table:a.csv?tusk=math", "unknown option of table 'tusk'; did you mean task"),
        ("table:a.csv?extracted=x", "unknown option of table 'extracted'"),
        ("table:a.csv?math", "cannot read the options .*write .name=value&name=value"),
        ("table:a.csv?task=math&&", "cannot read the options"),
        ("table:a.csv?answer=%ff", "cannot read the options"),
        ("table:a.csv?task=math&task=general", "duplicate option; keep one"),
        ("voc:hf://datasets/a/b", "only hub_labels, hub_objects, llava, table read hub datasets"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_remedy(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


def test_a_source_serves_the_splits_that_name_it():
    sources = parse_sources({"train": ["scenes", "voc:a"], "val": ["voc:a"], "test_ood": ["scenes"]}, ROOT)
    assert [(source.text, source.splits) for source in sources] == [
        ("scenes", ("train", "test_ood")), ("voc:a", ("train", "val")),
    ]  # fmt: skip
    with pytest.raises(InputError, match="train_sources and ood_sources"):
        parse_sources({"train": ["voc:a"], "test_ood": ["voc:a"]}, ROOT)


@pytest.mark.parametrize("format", READERS)
def test_readers_take_a_path_tasks_and_options_in_words(format):
    parameters = list(inspect.signature(READERS[format]).parameters.values())
    assert [p.name for p in parameters[:2]] == ["path", "tasks"] and set(parameters[1].default) <= set(TASKS)
    assert all(isinstance(p.default, str) for p in parameters[2:] if p.name != "extracted")


@pytest.mark.parametrize("format", READERS)
def test_every_option_is_documented(format):
    options = set(options_of(format)) - set(COLUMNS)
    assert all(f"`{name}`" in READERS[format].__doc__ for name in options)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("voc:a?images=b&annotations=/c", {"images": "/data/b", "annotations": "/c"}),
        ("open_images:a?classes=b.csv", {"classes": "/data/b.csv"}),
        ("yolo:a?names=cat,dog", {"names": "cat,dog"}),
        (f"yolo:a?names={'cat,' * 999}dog", {"names": f"{'cat,' * 999}dog"}),  # too long for the name of a file
    ],
)
def test_folders_and_files_in_options_start_from_the_data_root(query, options):
    assert parse(query).options == options


def test_a_file_of_names_starts_from_the_data_root(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert parse("yolo:a?names=names.txt", tmp_path).options == {"names": str(tmp_path / "names.txt")}


def test_options_reach_the_reader(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "6 * 7?", "a": 42}))
    source = parse("table:rows.jsonl?task=math&question=q&answer=a", tmp_path)
    [sample] = open_source(source, ("math",), tmp_path)
    assert (sample.question, sample.answer) == ("6 * 7?", "42")


@pytest.mark.parametrize(
    ("path", "name", "revision"),
    [
        ("hf://datasets/a/b", "a/b", None),
        ("hf:/datasets/a/b", "a/b", None),  # as pathlib writes it
        ("hf://datasets/a/b@main", "a/b", "main"),
        ("hf://datasets/a", None, None),
        ("hf://a/b", None, None),
        ("datasets/a/b", None, None),
    ],
)
def test_names_on_the_hub(path, name, revision):
    found = tables.HUB.fullmatch(path)
    assert (found.groups() if found else (None, None)) == (name, revision)
    assert tables.is_hub(path) == bool(name)
