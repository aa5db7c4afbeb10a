"""Entries of start_from: one spelling, read strictly, before any kernel starts; and answers in a file."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.evaluation.sources import BASE, AnswerSource, read_recorded, read_source, read_sources
from currreft_nb.running.experiment import read_experiment

COMMON = {"task": "math", "split": "test_id", "source": "demo", "question": "?"}
SAMPLES = [Sample(id=f"m{i}", answer=str(i), **COMMON) for i in range(3)]
ROWS = [{"id": f"m{i}", "completion": f"<think></think><answer>{i}</answer>"} for i in range(3)]

READ = [
    ("base", BASE, "the bare model"),
    (" base ", BASE, "blanks around mean nothing"),
    ("outputs/pocket/rl", AnswerSource(kind="run", place="outputs/pocket/rl"), "a run"),
    ("model:org/name", AnswerSource(kind="model", place="org/name"), "a hub name"),
    (
        "model:./mine | four_bit false, max_pixels 4096",
        AnswerSource(kind="model", place="./mine", four_bit=False, max_pixels=4096),
        "a folder with its own loading",
    ),
    ("recorded:a b.jsonl", AnswerSource(kind="recorded", place="a b.jsonl"), "a file with a blank in its name"),
    (
        "recorded:a.jsonl|like qwen3_vl",
        AnswerSource(kind="recorded", place="a.jsonl", like="qwen3_vl"),
        "boxes as a family writes them",
    ),
]


@pytest.mark.parametrize(("text", "source", "why"), READ, ids=[case[2] for case in READ])
def test_an_entry_is_read(text, source, why):
    assert read_source(text) == source, why


def test_an_endpoint_has_its_own_numbers_and_ours():
    found = read_source("http:org/m@http://127.0.0.1:8000/v1/ | concurrency 32, like pocket, dollars_in 2.5")
    assert (found.kind, found.place, found.like) == ("http", "org/m@http://127.0.0.1:8000/v1", "pocket")
    assert (found.endpoint.concurrency, found.endpoint.dollars_in) == (32, 2.5)


def test_a_checkpoint_belongs_to_its_run():
    found = read_source("outputs/a/rl/checkpoints/checkpoint-40")
    assert found.place.endswith("checkpoint-40") and found.run == "outputs/a/rl"
    assert read_source("outputs/a/rl").run == "outputs/a/rl"


REFUSED = [
    ("", "write base or a run's folder", "an empty entry"),
    ("modle:org/name", r"unknown kind 'modle'; did you mean model\?", "a misspelt kind"),
    ("ftp:org/name", "unknown kind 'ftp'; write http, model, recorded", "an unknown kind"),
    ("model:", "write model:PLACE", "a kind without a name"),
    ("recorded: | like pocket", "write recorded:PLACE", "a file without a name"),
    ("base | max_pixels 9", "without options", "the base has the notebook's own settings"),
    ("outputs/rl | four_bit true", "without options", "and so has a run"),
    ("model:a/b | max_pixel 9", r"unknown option 'max_pixel'; did you mean max_pixels\?", "a misspelt option"),
    ("model:a/b | like pocket", "unknown option 'like'", "a model writes boxes as it does"),
    ("recorded:a | four_bit true", "unknown option 'four_bit'", "a file has no bits"),
    ("model:a/b | four_bit yes", "four_bit is 'yes'; write true or false", "no third value"),
    ("model:a/b | max_pixels 0", "max_pixels is '0'; write a whole number", "none is meant by leaving it out"),
    ("model:a/b | max_pixels -4", "max_pixels is '-4'; write a whole number", "a negative one"),
    ("model:a/b | max_pixels 1e5", "max_pixels is '1e5'; write a whole number", "a whole one"),
    ("model:a/b | max_pixels 4, max_pixels 8", "duplicate 'max_pixels'", "which of the two?"),
    ("recorded:a | like", "'like' is incomplete", "like whom?"),
    ("http:gpt-4o", "is not MODEL@ADDRESS", "no address"),
    (
        "http:m@http://h/v1 | concurrenzy 3",
        r"unknown option 'concurrenzy'; did you mean concurrency",
        "an endpoint's number",
    ),
    ("http:m@http://h/v1 | key sk-secret", "must be the name of an environment variable", "a key"),
]


@pytest.mark.parametrize(("text", "message", "why"), REFUSED, ids=[case[2] for case in REFUSED])
def test_what_is_no_source_is_refused(text, message, why):
    with pytest.raises(InputError, match=message):
        read_source(text)


@given(st.text())
def test_any_text_is_a_source_or_refused_in_words(text):
    with contextlib.suppress(InputError):
        assert read_source(text).kind in ("base", "run", "model", "recorded", "http")


@pytest.mark.parametrize(("arms", "texts"), [(["a"], ["base", "base"]), (["a", "a"], ["base", "base"]), ([], ["base"])])
def test_each_arm_has_a_name_and_an_entry(arms, texts):
    with pytest.raises(InputError, match="give each arm its own name and its own entry"):
        read_sources(arms, texts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            'evaluate.start_from=[base, "modle:x", base, base]',
            r"step evaluate\): start_from: unknown kind 'modle'; did you mean",
        ),
        ('evaluate.start_from=[base, "model:pokcet", base, base]', r"'pokcet' is neither a folder nor owner/name"),
        ('evaluate.start_from=[base, "recorded:no.jsonl", base, base]', "no.jsonl does not exist"),
        ('evaluate.start_from=[base, "http:gpt-4o", base, base]', "is not MODEL@ADDRESS"),
        ("evaluate.start_from=[base]", "give each arm its own name and its own entry"),
        ("evaluate.choose_among=[sft]", "name at least two different arms"),
        ("evaluate.choose_among=[sft, curr_rel]", r"contains 'curr_rel'.*did you mean curr_rl\?"),
        ("evaluate.temperature=-1", "temperature is -1.0, but must be at least 0"),
    ],
)
def test_a_wrong_arm_is_refused_before_the_first_kernel_starts(project, changed, message):
    with pytest.raises(InputError, match=message):
        read_experiment(project / "params" / "smoke.yaml", [changed])


def test_a_file_that_an_earlier_step_makes_need_not_be_there_yet(project):
    change = 'evaluate.start_from=[base, "recorded:@reject/answers.jsonl", "@rl_open/checkpoints/checkpoint-2", "@sft"]'
    step = next(s for s in read_experiment(project / "params/smoke.yaml", [change]).steps if s.name == "evaluate")
    assert step.settings["start_from"][1] == "recorded:outputs/smoke/reject/answers.jsonl"
    assert step.settings["start_from"][2] == "outputs/smoke/rl_open/checkpoints/checkpoint-2"
    assert {"reject", "rl_open", "sft"} <= set(step.needs)


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_recorded_answers_are_found_by_id(tmp_path):
    counted = {"tokens": 7, "truncated": True}
    found = read_recorded(write(tmp_path / "a.jsonl", [ROWS[2] | counted, "", *ROWS[:2]]), SAMPLES)
    assert found["m2"] == Completion("<think></think><answer>2</answer>", 7, True)
    assert found["m0"] == Completion("<think></think><answer>0</answer>")


def test_answers_to_other_questions_are_counted_and_printed(tmp_path, capsys):
    read_recorded(write(tmp_path / "a.jsonl", [*ROWS, {"id": "zz", "completion": "x"}]), SAMPLES)
    assert "a.jsonl: 1 answers belong to questions that are not asked here; " in capsys.readouterr().out


HOSTILE = [
    ([*ROWS, ROWS[1]], r"a.jsonl:4: duplicate id 'm1', first used on .*a.jsonl:2", "two answers: which one counts?"),
    (ROWS[:2], "no answer to 1 of 3 questions, such as 'm2'", "a question left out is no wrong answer"),
    ([ROWS[0], "{", ROWS[1]], r"a.jsonl:2: .* is not JSON", "a broken line"),
    ([ROWS[0], "[" * 100_000], r"a.jsonl:2: .* is not JSON", "brackets without end"),
    ([ROWS[0], '"m1"'], r"a.jsonl:2: .* has no id and no completion", "no object"),
    ([ROWS[0], {"id": "m1"}], r"a.jsonl:2: .* has no completion", "no answer"),
    ([ROWS[0], {"id": 1, "completion": "x"}], r"a.jsonl:2: id is 1; write it as text", "an id that is a number"),
    ([ROWS[0], {"id": ["m1"], "completion": "x"}], r"a.jsonl:2: id is \['m1'\]", "an id that cannot be looked up"),
    ([ROWS[0], {"id": "m1", "completion": None}], r"a.jsonl:2: completion is null", "null is no answer"),
    ([ROWS[0], {"id": "m1", "completion": [{"content": 3}]}], r"a.jsonl:2: completion is", "a message without text"),
    ([ROWS[0] | {"tokens": -1}], r"a.jsonl:1: tokens must be a number", "fewer than no tokens"),
    ([ROWS[0] | {"tokens": True}], r"a.jsonl:1: tokens must be a number", "true is no number"),
    ([ROWS[0] | {"truncated": "no"}], r"a.jsonl:1: tokens must be a number and truncated true or false", "a word"),
    ([], "a.jsonl is empty", "nothing at all"),
]


@pytest.mark.parametrize(("rows", "message", "why"), HOSTILE, ids=[case[2] for case in HOSTILE])
def test_hostile_rows_are_refused_with_their_line(tmp_path, rows, message, why):
    with pytest.raises(InputError, match=message):
        read_recorded(write(tmp_path / "a.jsonl", rows), SAMPLES)


@pytest.mark.parametrize(("name", "message"), [("none.jsonl", "does not exist"), ("", "is a folder")])
def test_a_file_that_is_none_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_recorded(tmp_path / name, SAMPLES)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"id": "m0", "completion": "\xff\xfe"}\n')
    with pytest.raises(InputError, match=r"a.jsonl cannot be read .* UTF-8"):
        read_recorded(tmp_path / "a.jsonl", SAMPLES)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_is_an_answer_and_comes_back_as_it_was(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("recorded") / "a.jsonl"
    samples = [replace(SAMPLES[0], id=f"q{i}") for i in range(len(texts))]
    write(path, [{"id": sample.id, "completion": text} for sample, text in zip(samples, texts)])
    found = read_recorded(path, samples)
    assert [found[sample.id].text for sample in samples] == texts
