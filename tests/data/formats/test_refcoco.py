"""RefCOCO and its like: phrases become questions about the right objects, and a pickle cannot do anything."""

import json
import os
import pickle
import struct
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import refcoco
from currreft_nb.data.reading.common import Rejected

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


# ---- pickles


@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.p"
    path.write_bytes(pickle.dumps(value, protocol))
    assert refcoco.load_pickle(path) == value


def test_shared_values_are_the_same_object_again(tmp_path):
    shared = ["a"]
    (tmp_path / "a.p").write_bytes(pickle.dumps([shared, shared, {"b": shared}]))
    first, second, third = refcoco.load_pickle(tmp_path / "a.p")
    assert first is second is third["b"]


def test_strings_of_python_2_are_text(tmp_path):
    (tmp_path / "a.p").write_bytes(b"(lp0\nS'na\\xc3\\xafve'\np1\naL12L\na.")  # ["naïve", 12L] as Python 2 wrote it
    assert refcoco.load_pickle(tmp_path / "a.p") == ["naïve", 12]


def test_a_large_memo_index_takes_no_memory(tmp_path):
    (tmp_path / "a.p").write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**31 - 5) + b".")
    tracemalloc.start()
    assert refcoco.load_pickle(tmp_path / "a.p") == [] and tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


class Command:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class State:
    def __setstate__(self, state):
        raise AssertionError("it was called")

    def __getstate__(self):
        return {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [{"ref_id": x}]], ids=["alone", "hidden"])
def test_a_pickle_that_runs_a_command_runs_nothing(tmp_path, protocol, wrap):
    trap = tmp_path / "trap"
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(wrap(Command(trap)), protocol))
    with pytest.raises(InputError, match=r"refs\(unc\)\.p is not a pickle of plain lists.*it names \w+\.system"):
        list(refcoco.read(tmp_path / "refs(unc).p"))
    assert not trap.exists()
    pickle.loads((tmp_path / "refs(unc).p").read_bytes())  # the trap works: another loader springs it
    assert trap.exists()


@pytest.mark.parametrize(
    ("data", "message", "why"),
    [
        (b"", "it ends too early", "0 bytes"),
        (pickle.dumps([1] * 50)[:-20], "truncated|exhausted|too early", "cut short"),
        (b"not a pickle", "", "another file"),
        (pickle.dumps(State()), "it names .*State|copyreg", "an object with a state"),
        (pickle.dumps({1, 2}, 4), "it holds a set", "a set is not among what readers know"),
        (pickle.dumps([b"bytes"], 4), "it holds a bytes", "nor are bytes"),
        (pickle.dumps(bytearray(3), 5), "it holds a bytearray", "nor bytearrays"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "it holds a bytearray", "would take a terabyte"),
        (b"\x80\x02X" + struct.pack("<I", 2**31 - 5) + b"a.", "too early", "a text that is longer than the file"),
        (b"cos\nsystem\n(S'true'\ntR.", "it names os.system", "a call written by hand"),
        (b"(S'true'\nios\nsystem\n.", "it names os.system", "and in the oldest form"),
        (b"\x82\x01.", "it uses extension 1", "an extension that the process may have registered"),
        (b"Pid\n.", "persistent", "a persistent id, which a subclass might look up"),
        (b"a.", "", "an empty stack"),
        (b"0.", "", "nothing to take away"),
        (b"}(NNe.", "attribute", "appending to something that is no list"),
        (b"](NNu.", "list", "naming items of something that is no dict"),
        (b"}]Ns.", "unhashable", "a list as a name"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, data, message, why):
    (tmp_path / "a.p").write_bytes(data)
    with pytest.raises(InputError, match=rf"(?s)a\.p is not a pickle of plain lists.*({message})"):
        refcoco.load_pickle(tmp_path / "a.p")


@given(data=st.binary(max_size=60))
def test_no_bytes_do_anything_but_give_a_value_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.p"
    path.write_bytes(data)
    try:
        value = refcoco.load_pickle(path)
    except InputError:
        return
    assert isinstance(value, list | tuple | dict | str | int | float | bool | None)


# ---- the reader

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]


def ref(ann, *sentences, id=0, image=0, split="train"):
    listed = [{"sent": text, "sent_id": 10 * id + n, "raw": text.upper()} for n, text in enumerate(sentences)]
    return {"ref_id": id, "ann_id": ann, "image_id": image, "category_id": 1, "split": split, "sentences": listed}


def refer_set(root, refs, boxes=((5, 5, 20, 30), (50, 10, 20, 30), (60, 50, 30, 20)), images=1, by="unc", crowd=()):
    """Write a folder as the refer toolkit has it: persons for all boxes but the last, which is a dog."""
    folder = root / "refcoco"
    (root / "train2014").mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    entries = []
    for number in range(images):
        Image.new("RGB", (100, 80)).save(root / "train2014" / f"{number}.jpg")
        entries.append({"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80})
    labels = [1] * (len(boxes) - 1) + [2]
    annotations = [
        {"id": i, "image_id": 0, "category_id": label, "bbox": box, "iscrowd": int(i in crowd)}
        for i, (label, box) in enumerate(zip(labels, boxes))
    ]
    document = {"images": entries, "annotations": annotations, "categories": CATEGORIES}
    (folder / "instances.json").write_text(json.dumps(document))
    (folder / f"refs({by}).p").write_bytes(pickle.dumps(refs, 2))
    return folder


def divide(items):
    items = list(items)
    samples = {item.id: item for item in items if isinstance(item, Sample)}
    return samples, [item for item in items if isinstance(item, Rejected)]


def test_each_sentence_is_a_question_about_its_object(tmp_path):
    refs = [ref(0, "left man", "man in red"), ref(1, "right man", id=1, split="val")]
    samples, rejected = divide(refcoco.read(refer_set(tmp_path, refs), ["detection"]))
    assert not rejected and set(samples) == {"refcoco-0-0", "refcoco-0-1", "refcoco-1-10"}
    first = samples["refcoco-0-1"]
    assert (first.question, first.answer, first.size) == ("man in red", [[5, 5, 25, 35]], (100, 80))
    assert first.extra["label"] == "person" and first.extra["split"] == "train"
    assert first.extra["others"] == [
        {"label": "person", "question": "right man", "box": [50, 10, 70, 40]},
        {"label": "dog", "question": None, "box": [60, 50, 90, 70]},
    ]


def test_classification_asks_for_the_categories_of_all_objects(tmp_path):
    samples, _ = divide(refcoco.read(refer_set(tmp_path, [ref(0, "left man")]), ["classification"]))
    [sample] = samples.values()
    assert (sample.answer, sample.extra["counts"]) == (["dog", "person"], {"dog": 1, "person": 2})
    assert sample.question == "Which of these categories are in the image: person, dog, cat?"


@pytest.mark.parametrize(
    ("refs", "reason", "fault"),
    [
        ([ref(0, "the man"), ref(1, "The man", id=1)], "phrase describes several objects of the image", False),
        ([ref(9, "a ghost")], "phrase of an object without a usable box", True),
        ([ref(0, " ")], "phrase is empty or not UTF-8", True),
        ([ref(0, "man", image=7)], "phrase of an unknown image, or without sentences", True),
        ([ref(0, "man") | {"sentences": 3}], "phrase of an unknown image, or without sentences", True),
        ([ref(0, "man") | {"sentences": [3]}], "row is not a sentence of a refs entry", True),
        ([ref(0, "man") | {"sentences": [{"sent": "man"}]}], "row lacks a field", True),
        ([ref(0, "man") | {"sentences": [{"sent_id": 3}]}], "row lacks a field", True),
    ],
)
def test_phrases_that_cannot_be_asked_are_rejected_and_the_others_kept(tmp_path, refs, reason, fault):
    folder = refer_set(tmp_path, [*refs, ref(2, "the dog", id=9)])
    samples, rejected = divide(refcoco.read(folder, ["detection"]))
    assert set(samples) == {"refcoco-9-90"}
    assert {(item.reason, item.fault) for item in rejected} == {(reason, fault)}


def test_crowds_and_bad_boxes_are_no_objects(tmp_path):
    refs = [ref(0, "the people"), ref(1, "right man", id=1), ref(2, "the dog", id=2)]
    folder = refer_set(tmp_path, refs, boxes=((5, 5, 20, 30), (95, 10, 20, 30), (60, 50, 30, 20)), crowd=(0,))
    samples, rejected = divide(refcoco.read(folder, ["detection"]))
    assert set(samples) == {"refcoco-2-20"} and samples["refcoco-2-20"].extra["others"] == []
    assert Counter(item.reason for item in rejected) == {
        "annotation is of a crowd": 1,
        "box lies outside the image": 1,
        "phrase of an object without a usable box": 2,
    }


def test_splits_and_makers_are_chosen_by_name(tmp_path):
    folder = refer_set(tmp_path, [ref(0, "left man"), ref(1, "right man", id=1, split="testA")])
    assert len(divide(refcoco.read(folder, ["detection"], split="testA"))[0]) == 1
    with pytest.raises(InputError, match="unknown split 'tesA'; did you mean testA"):
        list(refcoco.read(folder, split="tesA"))
    refer_set(tmp_path, [ref(0, "left man")], by="google")
    with pytest.raises(InputError, match="holds the splits of google, unc; choose one, as in by=google"):
        list(refcoco.read(folder))
    assert len(divide(refcoco.read(folder, ["detection"], by="google"))[0]) == 1
    with pytest.raises(InputError, match="unknown refs file by 'umd'"):
        list(refcoco.read(folder, by="umd"))


def test_images_are_looked_for_and_may_be_named(tmp_path):
    folder = refer_set(tmp_path, [ref(0, "left man")])
    (tmp_path / "train2014").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="give their folder by images="):
        list(refcoco.read(folder))
    samples, _ = divide(refcoco.read(folder, images=str(tmp_path / "elsewhere")))
    assert samples["refcoco-0-0"].image == str(tmp_path / "elsewhere" / "0.jpg")


@pytest.mark.parametrize("place", refcoco.IMAGE_FOLDERS)
def test_images_are_found_where_they_usually_lie(tmp_path, place):
    folder = refer_set(tmp_path, [ref(0, "left man")])
    (tmp_path / "train2014").rename(tmp_path / "elsewhere")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").rename(tmp_path / place)
    samples, _ = divide(refcoco.read(folder))
    assert samples["refcoco-0-0"].image == str(tmp_path / place / "0.jpg")


def test_what_refgta_notes_about_each_sentence_is_plain_data(tmp_path):
    refs = [ref(0, "a man in black by the car", split="test")]
    refs[0]["sentences"][0] |= {"tokens": ["a", "man"], "info": [{"if_true": True, "time": 2940.5}]}
    folder = refer_set(tmp_path, refs, by="utokyo")
    assert set(divide(refcoco.read(folder, ["detection"], by="utokyo"))[0]) == {"refcoco-0-0"}


@pytest.mark.parametrize("value", [{"a": 1}, [3], "text", None])
def test_a_pickle_of_something_else_is_named(tmp_path, value):
    with pytest.raises(InputError, match="does not hold a list of phrases"):
        list(refcoco.read(refer_set(tmp_path, value)))
