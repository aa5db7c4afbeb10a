"""Options and gold answers of cells: read in every form, refused where two readings differ."""

import pytest

from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import golds, wording

FOUR = ["4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("cell", "options", "why"),
    [
        (["red", "blue"], ["red", "blue"], "a list"),
        ([3, 4.5], ["3", "4.5"], "numbers"),
        ("['red', 'blue']", ["red", "blue"], "a list as Python writes it"),
        ('["red", "blue"]', ["red", "blue"], "a list as JSON writes it"),
        ("A. 3;B. 4;C. 5;D. none", ["3", "4", "5", "none"], "letters with a separator only"),
        ("A. 3; B. 4 ;C. 5", ["3", "4", "5"], "spaces anywhere"),
        ("(A) Yes (B) No", ["Yes", "No"], "brackets"),
        ("A) 3\nB) 4", ["3", "4"], "lines"),
        ("A. 3,B. 4", ["3", "4"], "commas"),
        ("（A）左（B）右", ["左", "右"], "full width, without spaces"),
        ("A、3；B、4", ["3", "4"], "Chinese marks"),
        (["A. dog", "B. cat"], ["dog", "cat"], "a list with letters"),
        (["(A) dog", "(B) cat"], ["dog", "cat"], "with letters in brackets"),
        (["A. Smith", "C. Jones"], ["A. Smith", "C. Jones"], "initials are no letters of options"),
        ({"A": "dog", "B": "cat"}, ["dog", "cat"], "by letter"),
        ("{'A': 'dog', 'B': 'cat'}", ["dog", "cat"], "by letter, as text"),
        ({"A": "dog", "B": "cat", "C": None}, ["dog", "cat"], "the last one has no text"),
        ({"text": ["dog", "cat"], "label": ["A", "B"]}, ["dog", "cat"], "as in ARC"),
        ([], [], "none"),
        ("[]", [], "none, as text"),
        (None, [], "none"),
        (float("nan"), [], "an empty cell"),
    ],
)
def test_options_in_every_form(cell, options, why):
    assert golds.read_options(cell) == options, why


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("red;blue", "options are no list"),
        ("['red' 'blue']", "list has no commas"),  # Python reads it as one option, redblue
        (["red"], "there is only one option"),
        ("A. 3;C. 4", "options are no list"),
        ("A. 3; B. 4; D. 5", "options in the text cannot be told apart"),
        ("A. 3 B. 4C. 5", "options in the text cannot be told apart"),
        ({"A": "dog", "C": "cat"}, "options are not in the order"),
        ({"A": "dog", "B": "", "C": "cat"}, "options are not in the order"),
        (3, "options are no list"),
        ("What? A. 3 B. 4", "options are no list"),
    ],
)
def test_options_that_would_be_lost_or_run_together(cell, reason):
    with pytest.raises(BadRow, match=reason):
        golds.read_options(cell)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"A": "red", "B": "blue", "C": "", "D": None}, ["red", "blue"]),
        ({"option_a": "red", "option_b": "blue"}, ["red", "blue"]),
        ({"choice_A": "red", "choice_B": "blue", "A": "x"}, ["red", "blue"]),
        ({"option1": "red", "option2": "blue", "option3": None}, ["red", "blue"]),
        ({"choice_1": "red", "choice_2": "blue"}, ["red", "blue"]),
        ({"A": "red", "answer": "A"}, []),
        ({"a": "question", "b": "answer"}, []),
        ({"A": "", "B": ""}, []),
    ],
)
def test_options_in_a_column_each(row, options):
    assert golds.options_in_columns(row) == options


def test_a_gap_in_the_columns_is_refused():
    with pytest.raises(BadRow, match="one is missing: A, C"):
        golds.options_in_columns({"A": "red", "B": "", "C": "blue"})


@pytest.mark.parametrize(
    ("value", "answer_as", "found"),
    [("option2", "", "B"), ("blue", "", "blue"), ("3", "", "3"), ("2", "index", "2"), (1, "text", 1), ("B", "", "B")],
)
def test_an_option_may_be_named_by_its_numbered_column(value, answer_as, found):
    row = {"option1": "red", "option2": "blue", "option3": ""}
    assert golds.named_option(value, row, ["red", "blue"], answer_as) == found


@pytest.mark.parametrize("value", ["0", "2", 1, 2.0])
def test_a_number_beside_numbered_columns_may_count_from_0_or_from_1(value):
    with pytest.raises(BadRow, match="may count the options from 0 or from 1"):
        golds.named_option(value, {"choice_1": "red", "choice_2": "blue"}, ["red", "blue"], "")
    assert golds.named_option(value, {"A": "red", "B": "blue"}, ["red", "blue"], "") == value


@pytest.mark.parametrize(
    ("value", "options", "answer_as", "letter", "why"),
    [
        ("B", ["x", "y"], "", "B", "a letter"),
        ("(b)", ["x", "y"], "", "B", "a small letter in brackets"),
        ("Ｂ", ["x", "y"], "", "B", "of full width"),
        (r"\boxed{B}", ["x", "y"], "", "B", "in a box"),
        ("B.", ["x", "y"], "", "B", "with a full stop"),
        ("option B", ["x", "y"], "", "B", "with a word"),
        ("B. 4", ["3", "4"], "", "B", "letter and text"),
        ("Dog", ["cat", "dog"], "", "B", "a text in other case"),
        ("0.5", ["1/3", "1/2"], "", "B", "a value"),
        (1, FOUR, "", "B", "a whole number counts from 0"),
        (0, FOUR, "", "A", "from 0"),
        ("0", FOUR, "", "A", "so does its text"),
        ("2", FOUR, "", "C", "text and place agree"),
        ("1", ["cat", "dog"], "", "B", "a place as text, as AI2D has it"),
        ("1.0", ["cat", "dog"], "", "B", "a place in a column of fractions"),
        (1.0, ["cat", "dog"], "", "B", "and as a number"),
        ("AE", ["B", "C", "D", "AE", "x"], "", "D", "a text that could be two letters"),
        ("B", ["A", "B", "C"], "", "B", "text and letter agree"),
        ("1", FOUR, "index", "B", "as the source says"),
        ("1", FOUR, "text", "D", "as the source says"),
        ("C", ["B", "C", "D"], "text", "B", "as the source says"),
        ("C", ["B", "C", "D"], "letter", "C", "as the source says"),
    ],
)
def test_answers_to_questions_with_options(value, options, answer_as, letter, why):
    assert wording.chosen_letter(value, options, answer_as, counted=True) == letter, why


@pytest.mark.parametrize(
    ("value", "options", "answer_as", "reason"),
    [
        ("1", FOUR, "", "answer means two options: '1' is D as text, B as index; write answer_as="),
        (1.0, FOUR, "", "answer means two options"),
        ("C", ["B", "C", "D", "AE"], "", "answer means two options: 'C' is C as letter, B as text"),
        ("C", ["x", "y"], "", "none of the options"),
        ("4", ["w", "x", "y", "z"], "", "none of the options: '4' of 4, counted from 0"),
        (4, FOUR, "", "none of the options"),
        (-1, FOUR, "", "none of the options"),
        ("A", FOUR, "text", "none of the options"),
        ("dog", ["cat", "dog"], "letter", "none of the options"),
        ("A B", ["x", "y"], "", "none of the options"),
        ("(B) 3", ["3", "4"], "", "none of the options"),
    ],
)
def test_answers_that_mean_no_option_or_two(value, options, answer_as, reason):
    with pytest.raises(BadRow) as problem:
        wording.chosen_letter(value, options, answer_as, counted=True)
    assert reason in str(problem.value)


def test_a_number_in_words_counts_nothing():
    with pytest.raises(BadRow, match="none of the options"):
        wording.chosen_letter("1", ["cat", "dog"])


@pytest.mark.parametrize("answer", ["A", "J", "(B)", "(b)", "B.", "B. 4", "(B) yes", r"\boxed{C}", "Ｂ", " D "])
def test_a_letter_without_options_is_refused(answer):
    with pytest.raises(BadRow, match="no options can be found"):
        wording.refuse_letter(answer)


@pytest.mark.parametrize("answer", ["a", "x", "R", "2A", "AB", "A + B", "-A", "(b)^2", "14", "E = mc^2", r"\sqrt{A}"])
def test_a_formula_is_no_letter(answer):
    wording.refuse_letter(answer)


YES = ["yes"] * 7 + ["no", "no", "YES"]
VQA = [{"answer": text, "answer_confidence": "yes", "answer_id": n} for n, text in enumerate(YES)]


@pytest.mark.parametrize(
    ("value", "column", "answer_as", "answer", "share", "why"),
    [
        ("14", "answer", "", "14", None, "a text"),
        (["14"], "label", "", "14", None, "a list of one"),
        ([14], "label", "", 14, None, "of one number"),
        ("['14']", "label", "", "14", None, "as text"),
        ('["14"]', "label", "", "14", None, "as JSON"),
        ("[1, 2]", "answer", "", "[1, 2]", None, "numbers in brackets are an answer of their own"),
        (YES, "answers", "", "yes", 0.8, "ten people's"),
        (str(YES), "answers", "", "yes", 0.8, "as text"),
        (VQA, "answers", "", "yes", 0.8, "as VQAv2 has them"),
        (VQA, "people", "", "yes", 0.8, "under any name"),
        (["a", "b", "b"], "gold", "votes", "b", 2 / 3, "as the source says"),
        (["a", "b"], "gold", "text", ["a", "b"], None, "as the source says"),
    ],
)
def test_one_answer_of_a_list(value, column, answer_as, answer, share, why):
    assert golds.one_answer(value, column, answer_as) == (answer, share), why


@pytest.mark.parametrize(
    ("value", "column", "reason", "fault"),
    [
        (["3", "4"], "answer", "answer is a list of several", True),
        (["3", "3", "4"], "answer", "answer is a list of several", True),
        (["3", "4"], "answers", "answer is a list of several", True),
        (["3", "3", "4", "4"], "answers", "no answer is the most common", False),
        ({"value": "3"}, "answer", "answer is no text, number or list", True),
        ([["3"], ["4"]], "answer", "answer is no text, number or list", True),
    ],
)
def test_lists_without_one_answer(value, column, reason, fault):
    with pytest.raises(BadRow, match=reason) as problem:
        golds.one_answer(value, column, "")
    assert problem.value.fault == fault


@pytest.mark.parametrize(
    ("value", "column", "answer_as", "labels", "share", "why"),
    [
        ("cat, dog", "answer", "", ["cat", "dog"], None, "a text"),
        (["cat", "dog"], "labels", "", ["cat", "dog"], None, "a list"),
        ("['cat', 'dog']", "labels", "", ["cat", "dog"], None, "its text"),
        (["cat"], "answers", "", ["cat"], None, "one"),
        (YES, "answers", "", ["yes"], 0.8, "ten people's"),
        (", ".join(YES), "answers", "", ["yes"], 0.8, "as text"),
        (["car", "car", "bus"], "objects", "labels", ["car", "bus"], None, "as the source says"),
        (["car", "car", "bus"], "objects", "votes", ["car"], 2 / 3, "as the source says"),
        (["cat", "dog"], "answers", "labels", ["cat", "dog"], None, "as the source says"),
    ],
)
def test_labels_or_answers_of_people(value, column, answer_as, labels, share, why):
    assert golds.label_answer(value, column, answer_as) == (labels, share), why


@pytest.mark.parametrize(("value", "column"), [(["car", "car", "bus"], "objects"), (["cat", "dog"], "answers")])
def test_labels_that_may_be_answers_of_people_are_refused(value, column):
    with pytest.raises(BadRow, match=r"answer is a list of several: .*; write answer_as=votes if .*, labels if"):
        golds.label_answer(value, column, "")
