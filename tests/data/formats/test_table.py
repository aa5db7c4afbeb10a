"""The table reader: columns by name, answers in every form, damage named."""

import json
from collections import Counter

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import table
from tests.helpers.table_files import ROWS, picture, read, write

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
        ({"question": "qestion"}, "no column 'qestion'; write question=COLUMN; did you mean question"),
        ({"image": "picture"}, "no column 'picture'; write image=COLUMN; columns are: answer, image, question"),
        ({"task": ""}, r"unknown task ''; write classification, detection"),
        ({"task": "maths"}, "unknown task 'maths'; did you mean math"),
        ({"task": "detection", "box": "xyhw"}, "unknown form of box 'xyhw'; did you mean xywh"),
    ],
)
def test_a_wrong_name_is_reported_before_a_row_is_read(tmp_path, options, message):
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


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Longest? Choices: (A) yes (B) no", "B", ("Longest?", ["yes", "no"], "B")),
        ("Longest? (a) yes (b) no", "b", ("Longest?", ["yes", "no"], "B")),
        ("Longest?\nA. 3;B. 4", "A. 3", ("Longest?", ["3", "4"], "A")),
        ("Longest? (A) yes (B) no", "yes", ("Longest? (A) yes (B) no", [], "yes")),
        ("Name the point. P(A) and P(B)", "14", ("Name the point. P(A) and P(B)", [], "14")),
    ],
)
def test_the_options_of_a_letter_may_be_in_the_question(tmp_path, question, answer, expected):
    [sample], rejected = read(write(tmp_path / "rows.jsonl", [{"question": question, "answer": answer}]))
    assert (sample.question, sample.options, sample.answer) == expected and not rejected


@pytest.mark.parametrize("suffix", [".tsv", ".parquet", ".jsonl"])
def test_options_may_have_a_column_each(tmp_path, suffix):
    rows = [{"question": f"Which, {n}?", "A": f"red {n}", "B": "blue", "C": "", "answer": "A"} for n in range(3)]
    samples, rejected = read(write(tmp_path / f"rows{suffix}", rows))
    assert [s.options for s in samples] == [[f"red {n}", "blue"] for n in range(3)] and not rejected


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("cells", "answer"),
    [
        ({"option1": "red", "option2": "blue"}, "option2"),
        ({"choices": "(A) red (B) blue"}, "1"),
        ({"a": "red", "b": "blue"}, "b"),
    ],
    ids=["numbered columns", "a column choices", "columns of small letters"],
)
def test_options_may_have_other_columns(tmp_path, suffix, cells, answer):
    path = write(tmp_path / f"rows{suffix}", [{"question": "Which?", "answer": answer} | cells])
    [sample], _ = read(path)
    assert (sample.options, sample.answer) == (["red", "blue"], "B")


def test_a_column_choices_is_no_matter_of_other_tasks(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"question": "Which?", "answer": "red", "choices": ["red", "blue"]}])
    assert [s.answer for s in read(path, task="classification")[0] + read(path, task="general")[0]] == [["red"], "red"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_letter_without_options_is_rejected_with_the_columns_there_are(tmp_path, suffix):
    rows = [{"question": "Which?", "answer": "B", "candidates": "red|blue"}]
    samples, [bad] = read(write(tmp_path / f"rows{suffix}", rows))
    assert not samples and bad.reason == "answer is the letter of an option, and no options can be found"
    assert "write options=COLUMN; columns are: question, answer, candidates" in bad.value


def test_a_letter_is_no_label(tmp_path):
    rows = [{"question": "Which animal? (A) dog (B) cat", "answer": "B"}, {"question": "Which letter?", "answer": "B"}]
    [sample], [bad] = read(write(tmp_path / "rows.jsonl", rows), task="classification")
    assert bad.reason == "answer is the letter of an option, and not a label" and sample.answer == ["B"]


def test_an_empty_list_of_options_says_that_a_letter_is_a_name(tmp_path):
    [sample], _ = read(write(tmp_path / "rows.jsonl", [{"question": "Which side?", "answer": "C", "options": []}]))
    assert (sample.answer, sample.options) == ("C", [])


def test_how_answers_are_read_can_be_said_for_a_source(tmp_path):
    rows = [{"question": "How long?", "answer": str(n), "options": ["4", "3", "2", "1"]} for n in range(4)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert [sample.answer for sample in read(path, answer_as="index")[0]] == ["A", "B", "C", "D"]
    samples, rejected = read(path, answer_as="text")
    assert [sample.answer for sample in samples] == ["D", "C", "B"] and rejected[0].line == 1
    with pytest.raises(InputError, match="unknown way to read an answer 'texts'; did you mean text"):
        read(path, answer_as="texts")


def test_the_share_of_the_people_who_agree_is_kept(tmp_path):
    rows = [
        {"question": "Red?", "answers": ["yes"] * 8 + ["no"] * 2},
        {"question": "Blue?", "answers": ["yes", "no"] * 5},
    ]
    for task, answer in (("math", "yes"), ("general", "yes"), ("classification", ["yes"])):
        [sample], [tie] = read(write(tmp_path / "rows.jsonl", rows), task=task, answer="answers")
        assert (sample.answer, sample.extra["share"]) == (answer, 0.8)
        assert (tie.reason, tie.line, tie.fault) == ("no answer is the most common", 2, False)


@pytest.mark.parametrize(
    ("answer", "expected", "thinking"),
    [
        ("<answer> 2 </answer>", "2", None),
        ("<think>one and one</think><answer>2</answer>", "2", "one and one"),
        ("<THINK>one and one</THINK> <ANSWER>2</ANSWER>", "2", "one and one"),
    ],
)
def test_tags_around_an_answer_are_taken_off(tmp_path, answer, expected, thinking):
    [sample], _ = read(write(tmp_path / "rows.jsonl", [{"question": "?", "answer": answer}]))
    assert (sample.answer, sample.thinking) == (expected, thinking)
    _, [bad] = read(write(tmp_path / "rows.jsonl", [{"question": "?", "answer": f"{answer}<answer>3</answer>"}]))
    assert bad.reason == "answer has several answers in tags"


@pytest.mark.parametrize(
    ("solution", "answer", "thinking"),
    [
        ("One and one.\n#### 2", "2", "One and one."),
        ("The answer is 2.", "2", None),
        (r"So $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}", r"So $x = \boxed{\frac{1}{2}}$."),
        ("<think>one and one</think> The answer is 2.", "2", "one and one"),
        ("<thinking>one and one</thinking>\n2", "2", "one and one"),
        (r"$\boxed{2}$", r"$\boxed{2}$", None),
        (r"2\text{ cm}", r"2\text{ cm}", None),
        (r"Either \boxed{2} or \boxed{3}", r"Either \boxed{2} or \boxed{3}", None),
    ],
)
def test_of_a_solution_in_words_the_answer_is_taken(tmp_path, solution, answer, thinking):
    path = write(tmp_path / "rows.jsonl", [{"question": "?", "answer": solution}])
    [sample], _ = read(path)
    assert (sample.answer, sample.thinking) == (answer, thinking)


def test_a_reference_in_words_stays_whole(tmp_path):
    rows = [{"question": "?", "answer": "It is late. The answer is no."}]
    assert read(write(tmp_path / "rows.jsonl", rows), task="general")[0][0].answer == rows[0]["answer"]


# ---- pictures


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_the_text_of_a_list_of_one_picture_is_read(tmp_path, suffix):
    picture(tmp_path / "a.png")
    picture(tmp_path / "[b.png")
    rows = [{"images": name, "question": "?", "answer": "4"} for name in ('["a.png"]', "['a.png']", "[b.png")]
    samples, rejected = read(write(tmp_path / f"rows{suffix}", rows))
    assert [sample.image[-6:] for sample in samples] == ["/a.png", "/a.png", "[b.png"] and not rejected


@pytest.mark.parametrize("name", ["img", "image_path", "frames", "photo"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("question", ["<image>How many?", "How many?"])
def test_a_picture_in_a_column_of_another_name_is_not_lost(tmp_path, name, suffix, question):
    picture(tmp_path / "a.png")
    rows = [{name: ["a.png"] if name == "frames" else "a.png", "question": question, "answer": "4", "id": 7}]
    path = write(tmp_path / f"rows{suffix}", rows)
    samples, [bad] = read(path)
    assert not samples and bad.line == 1 and bad.fault and ("<image>" in bad.reason) == ("<image>" in question)
    assert (
        f"column '{name}' probably holds it: write image={name}; columns are: {name}, question, answer, id" in bad.value
    )
    assert [sample.size for sample in read(path, image=name)[0]] == [(100, 80)]


def test_the_column_images_holds_a_picture_too(tmp_path):
    picture(tmp_path / "a.png")
    rows = [
        {"images": images, "question": "<image>How many?", "answer": "4"} for images in (["a.png"], ["a.png"] * 2, [])
    ]
    for suffix in (".jsonl", ".parquet"):
        [sample], rejected = read(write(tmp_path / f"rows{suffix}", rows))
        assert sample.image == str(tmp_path / "a.png")
        assert [item.reason for item in rejected] == [
            "row shows several images, and a sample holds one", "question says <image>, and the row gives no picture"
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "<image><image>?"}, "question says <image> several times"),
        ({"question": "?", "context": "<image> and <image>"}, "question says <image> several times"),
        ({"question": "<image 1> or <image 2>?"}, None),
        ({"question": "<img><IMAGE>?"}, "question says <image> several times"),
        ({"question": "<ImageHere>?", "image": ""}, "question says <image>, and the row gives no picture"),
        ({"question": "<image_placeholder>?", "image": ""}, "question says <image>, and the row gives no picture"),
        ({"question": '<img src="x.png"/>?', "image": ""}, "question says <image>, and the row gives no picture"),
        ({"question": "<imagery> <img2img>?", "image": ""}, None),
        ({"question": "<video>?"}, "question is about a video or a sound"),
        ({"question": "<image>?", "image": ""}, "question says <image>, and the row gives no picture"),
        ({"question": "?", "image": "", "source": "b.png"}, "row gives no picture, and another column seems to hold"),
        ({"question": "?", "image": "", "source": "b"}, None),
    ],
)
def test_places_for_pictures_and_pictures_fit(tmp_path, row, reason):
    picture(tmp_path / "a.png")
    rows = [{"image": "a.png", "answer": "4", "context": ""} | row]
    samples, rejected = read(write(tmp_path / "rows.jsonl", rows), context="context")
    assert [item.reason[: len(reason)] for item in rejected] == [reason] if reason else len(samples) == 1


def test_numbered_columns_of_several_pictures_are_no_row_of_one(tmp_path):
    picture(tmp_path / "a.png")
    rows = [{"question": "?", "answer": "4", "image_1": "a.png", "image_2": other} for other in ("a.png", None)]
    for suffix in (".jsonl", ".parquet"):
        [sample], [bad] = read(write(tmp_path / f"rows{suffix}", rows), image="image_1")
        assert sample.image and bad.reason == "row shows several images, and a sample holds one"


def test_a_table_without_pictures_can_be_said_to_have_none(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"question": "?", "answer": "4", "icon": "b.png"}])
    assert [sample.image for sample in read(path, image="")[0]] == [None]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_all_columns_of_a_columnar_file_are_listed(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}", [{"question": "?", "multiple_choice_answer": "yes", "question_id": 1}])
    with pytest.raises(
        InputError, match=r"no column 'answer'; .*columns are: multiple_choice_answer, question, question_id"
    ):
        read(path)


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
        with pytest.raises(InputError, match=r"rows\.json is not JSON, or damaged, after character"):
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


# ---- candidates


@pytest.mark.parametrize(
    ("task", "answer", "cell", "known", "why"),
    [
        ("math", "4", ["3", 4, 5], ["3", "4", "5"], "texts or numbers"),
        ("math", 4, "[3, 4, 5]", ["3", "4", "5"], "a list as text"),
        ("classification", "red", ["red", "blue", "red"], ["red", "blue"], "labels, each once"),
        ("classification", ["red", "blue"], "['red', 'blue', 'teal']", ["red", "blue", "teal"], "several are right"),
        ("detection", BOX, [BOX, [0, 0, 9, 9]], [BOX, [0, 0, 9, 9]], "boxes"),
        ("math", "4", None, None, "none in this row"),
    ],
)
def test_candidates_of_a_row_are_its_wrong_answers(tmp_path, task, answer, cell, known, why):
    picture(tmp_path / "a.png")
    row = {"image": "a.png", "question": "What?", "answer": answer, "choices": cell}
    [sample], rejected = read(write(tmp_path / "rows.jsonl", [row]), task=task, candidates="choices")
    assert sample.extra.get("candidates") == known and not rejected, why


@pytest.mark.parametrize(
    ("cell", "reason"),
    [(["3", "5"], "answer is none of the candidates"), ("3 or 4", "candidates are no list")],
)
def test_candidates_that_do_not_fit_reject_the_row(tmp_path, cell, reason):
    samples, [rejected] = read(write(tmp_path / "rows.jsonl", [{"question": "?", "answer": "4", "candidates": cell}]))
    assert not samples and rejected.reason == reason
