"""Conversations in LLaVA's form and The Cauldron's: questions, options, answers and reasons out of running text."""

import base64
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data.formats import llava
from currreft_nb.data.reading import wording
from currreft_nb.data.reading.common import Rejected


def picture(path, size=(100, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = document if isinstance(document, list) and path.suffix == ".jsonl" else [document]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def divide(items):
    items = list(items)
    return [item for item in items if isinstance(item, Sample)], [item for item in items if isinstance(item, Rejected)]


def talk(asked, answered, image="a.png", **more):
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {"id": 1, "image": image, "conversations": turns, **more}


HINT = "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
GEO = "First perform reasoning, then finally select the question from the choices in the following format: Answer: xxx."
CHOICES = "\nChoices:\n(A) 3/11\n(B) 8/11"


@pytest.mark.parametrize(
    ("asked", "answered", "expected", "why"),
    [
        ("<image>What number of balls are there?", "0", {"question": "What number of balls are there?", "answer": "0"},
         "VLM-R1"),
        ("What is shown?\n<image>", "4", {"question": "What is shown?"}, "the image may come last"),
        (f"<image>\n{HINT}\nQuestion: How much is blue?{CHOICES}", "The answer is B.",
         {"question": "How much is blue?", "options": ["3/11", "8/11"], "answer": "B", "thinking": None}, "MathV360K"),
        (f"<image>\n{HINT}\nQuestion: How much?{CHOICES}", "Three of 11 are not. The correct answer is (B) 8/11",
         {"answer": "B", "thinking": "Three of 11 are not."}, "letter and text"),
        (f"<image>\n{GEO}\nQuestion:What is angle B?\nChoices:\nA:50°\nB:65°", "As AB = AC it is 65°.\nAnswer:B",
         {"question": "What is angle B?", "options": ["50°", "65°"], "answer": "B",
          "thinking": "As AB = AC it is 65°."},
         "Geo170K"),
        ("<image>6 * 7?", "The answer is 41. No, 6 * 7 is more.\n### The final answer is:\n42", {"answer": "42"},
         "the last one counts"),
        (f"<image>{HINT}\nQuestion: How much?{CHOICES}", "8/11", {"answer": "B"}, "the option's text"),
        ("<image>Hint: Please answer the question and provide the final answer at the end. Question: How many?", "4",
         {"question": "How many?", "answer": "4"}, "MathV360K on one line"),
        ("<image>How many?\nAnswer the question with a short answer.", "4", {"question": "How many?"}, "MathV360K"),
        ("<image>6 * 7?", "<think>six sevens</think><answer>42</answer>", {"answer": "42", "thinking": "six sevens"},
         "tags"),
        ("<image>6 * 7?", "<SUMMARY>I multiply.</SUMMARY><REASONING>...</REASONING><CONCLUSION>42</CONCLUSION>",
         {"answer": "42", "thinking": "<SUMMARY>I multiply.</SUMMARY><REASONING>...</REASONING>"}, "LLaVA-CoT"),
        (f"<image>How much?{CHOICES}", "<REASONING>...</REASONING>\n<CONCLUSION> So the answer is B. </CONCLUSION>",
         {"answer": "B", "thinking": "<REASONING>...</REASONING>"}, "LLaVA-CoT with options"),
        ("<image>6 * 7?", 42, {"answer": "42"}, "a number that is no text"),
        ("<image>\nHow long?\nA. 3;B. 4;C. 5;D. none", "A",
         {"question": "How long?", "options": ["3", "4", "5", "none"], "answer": "A"}, "We-Math"),
        ("<image>\nHow many?\nA. 4; B. 5 ;C. 2; D. none", "B", {"options": ["4", "5", "2", "none"]}, "We-Math"),
        ("<image>6 * 7?", ["42"], {"answer": "42"}, "a list of one"),
        ("<image>6 * 7?", "['42']", {"answer": "42"}, "its text"),
        ("<image>Is it? (A) Yes (B) No", "B", {"options": ["Yes", "No"], "answer": "B"}, "on one line"),
    ],
)  # fmt: skip
def test_conversations(tmp_path, asked, answered, expected, why):
    picture(tmp_path / "a.png")
    [sample] = llava.read(write(tmp_path / "chat.json", [talk(asked, answered)]))
    assert {name: getattr(sample, name) for name in expected} == expected, why
    assert (sample.task, sample.size, sample.extra["origin"]) == ("math", (100, 80), {"file": "chat.json", "line": 1})


@pytest.mark.parametrize(
    ("row", "reason", "fault"),
    [
        (talk("?", "4", image=["a.png", "a.png"]), "row shows several images, and a sample holds one", False),
        (talk("?", "4", image="b.png"), "image does not exist", True),
        (talk("?", "4", image="../a.png"), "image path leads out of the image folder", True),
        (talk(f"?{CHOICES}", "The answer is D."), "answer is none of the options", True),
        (talk("How long?", "B"), "answer is the letter of an option, and no options can be found", True),
        (talk("How long? A. 3 B. 4C. 5", "B"), "options in the text cannot be told apart", True),
        (talk("Which? (A) B (B) C (C) D", "B"), "answer means two options", True),
        (talk("<image><image>?", "4"), "question says <image> several times, and the row gives one picture", True),
        (talk("<image>?", "4", image=None, frames=["a.png"]), "question says <image>, and the row gives no", True),
        (talk("?", "4", image=None, image_path="a.png"), "row gives no picture, and another column seems", True),
        (talk("?", "<answer>4</answer> or <answer>5</answer>"), "answer has several answers in tags", True),
        (talk("<image>", "4"), "row is not a conversation", True),
        (talk("?", ""), "row is not a conversation", True),
        ({"image": "a.png"}, "row has no conversations or messages", True),
        ({"image": "a.png", "conversations": []}, "conversation does not begin with a question and its answer", True),
        ({"conversations": talk("?", "4")["conversations"][::-1]}, "conversation does not begin", True),
        ({"conversations": [{"from": "human"}]}, "row lacks a field", True),
        (talk("?", None), "conversation does not begin", True),
        (talk(None, "4"), "conversation does not begin", True),
        ({"conversations": "text"}, "row is not a conversation", True),
        ([1], "record is not a JSON object", True),
    ],
)
def test_conversations_that_cannot_be_used(tmp_path, row, reason, fault):
    picture(tmp_path / "a.png")
    path = write(tmp_path / "chat.json", [talk("<image>How many?", "4"), row])
    good, bad = llava.read(path)
    assert isinstance(good, Sample)
    assert bad.reason.startswith(reason) and (bad.line, bad.fault) == (2, fault)


def test_one_image_in_a_list_is_one_image_and_none_is_a_question_in_words(tmp_path):
    picture(tmp_path / "a.png")
    path = write(tmp_path / "chat.jsonl", [talk("?", "4", image=["a.png"]), talk("?", "4", image=None)])
    first, second = llava.read(path)
    assert first.image == str(tmp_path / "a.png") and (second.image, second.size) == (None, None)


def test_a_letter_is_no_label(tmp_path):
    picture(tmp_path / "a.png")
    rows = [talk("<image>Which animal? (A) dog (B) cat", "A"), talk("<image>Which letter is signed?", "A")]
    bad, sample = llava.read(write(tmp_path / "chat.jsonl", rows), task="classification")
    assert bad.reason == "answer is the letter of an option, and not a label" and sample.answer == ["A"]


def test_a_picture_under_another_key_is_named_and_read_where_it_is_said(tmp_path):
    picture(tmp_path / "a.png")
    row = talk("<image>How many?", "4") | {"image_path": "a.png"}
    del row["image"]
    path = write(tmp_path / "chat.json", [row])
    [bad] = llava.read(path)
    assert (
        bad.value
        == "column 'image_path' probably holds it: write image=image_path; columns are: id, conversations, image_path"
    )
    [sample] = llava.read(path, image="image_path")
    assert sample.size == (100, 80)


def test_of_a_long_conversation_the_first_question_is_taken_and_the_others_are_counted(tmp_path):
    row = talk("?", "4", image=None)
    row["conversations"] = [{"from": "system", "value": "Be brief."}, *row["conversations"] * 3]
    sample, *later = llava.read(write(tmp_path / "chat.jsonl", [row]))
    assert isinstance(sample, Sample) and len(later) == 2
    assert {(item.reason, item.fault) for item in later} == {("question needs the conversation before it", False)}


def pair(user, assistant):
    return {"user": user, "assistant": assistant, "source": "VSR"}


CAULDRON = [
    pair("Question: How many actions?\nChoices:\nA. 6.\nB. 4.\nAnswer with the letter.", "Answer: B"),
    pair("How long is side AB?", "The sum is 7.5 + 5.43. Therefore the final answer is 12.93."),
]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("math", [("How many actions?", ["6.", "4."], "B", None),
                  ("How long is side AB?", [], "12.93", "The sum is 7.5 + 5.43.")]),
        ("general", [("How many actions?", ["6.", "4."], "B", None),
                     ("How long is side AB?", [], "12.93", "The sum is 7.5 + 5.43.")]),
    ],
)  # fmt: skip
def test_each_text_of_the_cauldron_is_a_question(tmp_path, task, expected):
    picture(tmp_path / "a.png")
    rows = [{"images": ["a.png"], "texts": CAULDRON}, {"images": ["a.png"] * 2, "texts": CAULDRON[:1]},
            {"images": ["a.png"], "texts": [{"user": "?"}, 3, *CAULDRON]}]  # fmt: skip
    samples, rejected = divide(llava.read(write(tmp_path / "train.jsonl", rows), task=task))
    assert [(s.question, s.options, s.answer, s.thinking) for s in samples] == expected * 2
    assert [s.id for s in samples] == ["train-1", "train-1-2", "train-3-3", "train-3-4"]
    assert Counter((item.reason, item.line) for item in rejected) == {
        ("row shows several images, and a sample holds one", 2): 1,
        ("conversation does not begin with a question and its answer", 3): 2,
    }


@pytest.mark.parametrize(
    ("task", "asked", "answered", "expected"),
    [
        ("general", f"Which?{CHOICES}", "The answer is B.",
         {"question": "Which?", "options": ["3/11", "8/11"], "answer": "B"}),
        ("general", f"Which?{CHOICES}", "Both are fractions.",
         {"question": f"Which?{CHOICES}", "options": [], "answer": "Both are fractions."}),
        ("classification", "Which animals?", "dog, cat", {"answer": ["dog", "cat"]}),
        ("detection", "Please provide the bounding box coordinate of the region this sentence describes: the dog.",
         '{"bbox_2d": [1, 2, 30, 40]}', {"question": "the dog", "answer": [[1, 2, 30, 40]]}),
        ("detection", "the dog", [1, 2, 30, 40], {"answer": [[1, 2, 30, 40]]}),
    ],
)  # fmt: skip
def test_conversations_serve_the_task_that_is_named(tmp_path, task, asked, answered, expected):
    picture(tmp_path / "a.png")
    path = write(tmp_path / "chat.json", [talk(asked, answered)])
    [sample] = llava.read(path, task=task)
    assert {name: getattr(sample, name) for name in expected} == expected
    assert not list(llava.read(path, ["math"], task=task))
    with pytest.raises(InputError, match="unknown task 'genral'; did you mean general"):
        list(llava.read(path, task="genral"))


# ---- words


OPTION_TEXT = st.text("abcxyz0123456789 .°", min_size=1).map(str.strip).filter(lambda text: text.strip(" .")).map(
    lambda text: text.rstrip(" .,;")
)  # fmt: skip


@given(
    question=st.text("abc xyz?", min_size=1).map(str.strip).filter(bool),
    options=st.lists(OPTION_TEXT, min_size=2, max_size=26),
    mark=st.sampled_from(["({})", "{}.", "{})", "{}:"]),
    between=st.sampled_from(["\n", " ", " | ", " / ", "; "]),
)
def test_options_are_found_again_however_they_are_marked(question, options, mark, between):
    listed = between.join(f"{mark.format(letter)} {text}" for letter, text in zip(LETTERS, options))
    found = wording.split_options(f"{question}\n{listed}")
    assert found == (question, options)


@pytest.mark.parametrize(
    "piece",
    ["<answer>", "<think>a</think>", "answer is ", "answer:", " ", "\n", "<image>", "<img ", "A. ", "(A) Choices:", "[",
     r"\boxed{", r"\boxed{a}"],
    ids=repr,
)  # fmt: skip
def test_text_made_to_be_slow_is_read_at_once(piece):
    text = piece * (200_000 // len(piece))
    wording.split_prose(text), wording.split_options(text), wording.clean_question(f"a{text}b")
    wording.asked_phrase(text)


# ---- ShareGPT's and OpenAI's forms


def said(*turns, role="role", text="content"):
    return [{role: who, text: what} for who, what in turns]


def by_address(url):
    return {"type": "image_url", "image_url": {"url": url}}


PARTS = [{"type": "image"}, {"type": "text", "text": "How many?"}]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"images": ["a.png"], "messages": said(("user", "<image>How many?"), ("assistant", "4"))}, "LLaMA-Factory"),
        ({"images": ["a.png"], "conversations": said(("human", "<image>How many?"), ("gpt", "4"), role="from",
                                                     text="value")}, "ShareGPT"),
        ({"image": "a.png", "conversations": said(("user", "<image>\nHow many?"), ("assistant", "4"))}, "MiniCPM-V"),
        ({"image": "a.png", "messages": said(("system", "Be brief."), ("user", "How many?"), ("assistant", "4"))},
         "a system prompt"),
        ({"images": ["a.png"], "messages": said(("user", PARTS), ("assistant", [{"type": "text", "text": "4"}]))},
         "llava-instruct-mix-vsft"),
        ({"messages": said(("user", [{"type": "image", "image": "a.png"}, PARTS[1]]), ("assistant", "4"))}, "Qwen"),
        ({"messages": said(("user", [by_address("a.png"), PARTS[1]]),
                           ("assistant", "4"))}, "OpenAI"),
        ({"messages": said(("user", [{"type": "input_image", "image_url": "a.png"},
                                     {"type": "input_text", "text": "How many?"}]), ("assistant", "4"))}, "Responses"),
    ],
)  # fmt: skip
def test_conversations_of_other_tools(tmp_path, row, why):
    picture(tmp_path / "a.png")
    [sample] = llava.read(write(tmp_path / "rows.jsonl", [row]))
    assert (sample.question, sample.answer, sample.size) == ("How many?", "4", (100, 80)), why
    assert sample.image == str(tmp_path / "a.png")


def test_a_picture_in_base64_among_the_parts(tmp_path):
    picture(tmp_path / "x.png")
    data = base64.b64encode((tmp_path / "x.png").read_bytes()).decode()
    address = by_address(f"data:image/png;base64,{data}")
    row = {"messages": said(("user", [PARTS[1], address]), ("assistant", "4"))}
    [sample] = llava.read(write(tmp_path / "rows.jsonl", [row]), extracted=tmp_path / "inside")
    assert sample.size == (100, 80) and sample.image.startswith(str(tmp_path / "inside"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": said(("user", [by_address("https://x.org/a.png"), PARTS[1]]),
                           ("assistant", "4"))}, "image is a web address; store the file, and write its path"),
        ({"messages": said(("user", [{"type": "image", "image": "../a.png"}, PARTS[1]]), ("assistant", "4"))},
         "image path leads out of the image folder"),
        ({"messages": said(("user", [by_address("data:image/png;base64,xx"), PARTS[1]]),
                           ("assistant", "4"))}, "image is not base64"),
        ({"messages": said(("user", PARTS), ("assistant", "4"))},
         "question says <image>, and the row gives no picture"),
        ({"messages": said(("assistant", "4"), ("user", "How many?"))},
         "conversation does not begin with a question and its answer"),
        ({"dialog": [], "n": 1}, "row has no conversations or messages"),
    ],
)  # fmt: skip
def test_conversations_of_other_tools_that_cannot_be_used(tmp_path, row, reason):
    [bad] = llava.read(write(tmp_path / "rows.jsonl", [row]))
    assert bad.reason == reason and bad.line == 1


def test_rows_without_a_conversation_list_all_columns(tmp_path):
    [bad] = llava.read(write(tmp_path / "rows.jsonl", [{"dialog": [], "n": 1}]))
    assert bad.value == "columns are: dialog, n"
