"""Answers: which are read, which are refused and why; no text of a model takes long or raises another error."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb.core.answers import (
    Unreadable,
    parse_completion,
    parse_labels,
    parse_letters,
    parse_verdict,
    undecorated,
    visible,
)

COMPLETIONS = [
    ("<think>a</think><answer>b</answer>", "b", True, "ok", "the form that is asked for"),
    (" \n<think>a</think>\n\n<answer> b </answer>\n", "b", True, "ok", "whitespace around is tolerated"),
    ("<think></think><answer>b</answer>", "b", True, "ok", "no thought is a thought: stage targets have empty ones"),
    ("<think>a\nb</think><answer>c\nd</answer>", "c\nd", True, "ok", "blocks may have several lines"),
    ("<answer>b</answer>", "b", False, "no_think", "the answer counts, the form does not"),
    ("<think>a<answer>b</answer>", "b", False, "unclosed_think", "thinking never ended"),
    ("a</think><answer>b</answer>", "b", False, "no_think", "an end without a beginning"),
    ("<think>a</think><think>b</think><answer>c</answer>", "c", False, "two_thinks", "one block, not two"),
    ("<think><think>a</think><answer>b</answer>", "b", False, "two_thinks", "nested beginnings"),
    ("<answer>b</answer><think>a</think>", "b", False, "wrong_order", "thinking after the answer is no thinking"),
    ("<think>a<answer>b</answer></think>", "b", False, "wrong_order", "an answer within the thought"),
    ("</think>a<think><answer>b</answer>", "b", False, "wrong_order", "end before beginning"),
    ("Sure! <think>a</think><answer>b</answer>", "b", False, "text_outside", "text in front"),
    ("<think>a</think>So: <answer>b</answer>", "b", False, "text_outside", "text between"),
    ("<think>a</think><answer>b</answer> Done.", "b", False, "text_outside", "text behind"),
    ("<think>a</think>b", None, False, "no_answer", "no answer block: nothing is searched in the rest"),
    ("", None, False, "no_answer", "nothing"),
    ("<think>a</think><answer>b", None, False, "unclosed_answer", "cut off by the token limit"),
    ("<think>a</think>b</answer>", None, False, "no_answer", "an end without a beginning"),
    ("<think>a</think><answer>b</answer><answer>b</answer>", None, False, "two_answers", "two guesses, even equal"),
    ("<think>a</think><answer>b</answer></answer>", None, False, "two_answers", "a doubled end was a reward hack"),
    ("<think>a</think><answer><answer>b</answer>", None, False, "two_answers", "a doubled beginning"),
    ("<think><answer>a</answer></think><answer>b</answer>", None, False, "two_answers", "one in the thought"),
    ("</answer>b<answer>", None, False, "wrong_order", "end before beginning"),
    ("<think>a</think><answer></answer>", None, False, "empty_answer", "nothing in it"),
    ("<think>a</think><answer> \n </answer>", None, False, "empty_answer", "only whitespace in it"),
    ("<THINK>a</THINK><ANSWER>b</ANSWER>", None, False, "no_answer", "tags are lower case"),
    ("<think>a</think><answer >b</answer>", None, False, "no_answer", "tags have no blanks"),
    ("<thinking>a</thinking><answer>b</answer>", "b", False, "no_think", "another tag"),
]
VERDICTS = [
    ("yes", True, "plain"),
    ("Yes.", True, "capital and period"),
    ("YES", True, "capitals"),
    (" yes\n", True, "whitespace"),
    ("true", True, "a synonym"),
    ("correct", True, "a synonym"),
    ('"yes"', True, "quoted"),
    ("**Yes**", True, "bold"),
    ("“yes”", True, "typographic quotes"),
    ("yes!", True, "emphasis"),
    ("no", False, "plain"),
    ("No.", False, "capital and period"),
    ("false", False, "a synonym"),
    ("Incorrect", False, "a synonym"),
    ("`no`", False, "code"),
    ("\\boxed{Yes}", True, "a box"),
    ("$\\boxed{\\text{no}}$", False, "a text in a box"),
    ("Ｙｅｓ。", True, "full-width characters and stop"),
    ("yes\u200b", True, "a character without width"),
    ("<|begin_of_box|>No<|end_of_box|>", False, "GLM's box tokens"),
]
NOT_VERDICTS = [
    ("No, it is not true", "negations were read as yes by the released code"),
    ("not correct", "the same"),
    ("yes or no", "both words"),
    ("yes, no", "both words"),
    ("yes yes", "twice is not once"),
    ("yeah", "another word"),
    ("y", "an abbreviation"),
    ("1", "a number"),
    ("!yes", "a programmer's no"),
    ('{"yes":1}', "JSON"),
    ("The answer is yes", "a sentence"),
    ("yes" * 10_000, "much of the same"),
    ("<think>a</think>yes", "a block within the answer"),
    ("nο", "a Greek omicron"),
    ("\\boxed{yes} \\boxed{no}", "two boxes"),
    ("\\boxed{yes}, \\boxed{no}", "two boxes with a comma"),
    ("\\boxed{not yes}", "a negation in a box"),
    ("\\neg\\text{yes}", "a negation before the box"),
    ("<|begin_of_box|>yes<|end_of_box|> <|begin_of_box|>no<|end_of_box|>", "two of GLM's boxes"),
]
LETTERS = [
    ("A", 4, "A", "one letter"),
    (" b ", 4, None, "lower case is text"),
    ("(A)", 4, "A", "in brackets"),
    ("A.", 4, "A", "a period"),
    ("[A, C]", 4, "AC", "a list"),
    ('["A", "C"]', 4, "AC", "a JSON list"),
    ("B,A", 4, "AB", "order does not matter"),
    ("B A", 4, "AB", "blanks"),
    ("AB", 4, "AB", "nothing between"),
    ("A and B", 4, "AB", "a word between"),
    ("A, B, and C", 4, "ABC", "the Oxford comma"),
    ("A & B", 4, "AB", "an ampersand"),
    ("A;B/C", 4, "ABC", "other separators"),
    ("A\nB", 4, "AB", "lines"),
    ("**C**", 4, "C", "bold"),
    ("Z", 26, "Z", "the last letter there is"),
    ("\\boxed{B}", 4, "B", "a box"),
    ("$\\boxed{\\text{B}}$", 4, "B", "a text in a box"),
    ("\\text{B}", 4, "B", "a text"),
    ("\\mathrm{B}", 4, "B", "in roman"),
    ("\\boxed{A, C}", 4, "AC", "two in a box"),
    ("\\boxed{A}, \\boxed{C}", 4, "AC", "two in two boxes are two letters"),
    ("Ｂ", 4, "B", "a full-width letter"),
    ("A，C", 4, "AC", "a full-width comma"),
    ("A、C", 4, "AC", "a Chinese comma"),
    ("B。", 4, "B", "a Chinese stop"),
    ("【B】", 4, "B", "Chinese brackets"),
    ("```\nB\n```", 4, "B", "a fence"),
    ("\ufeffB\u200b", 4, "B", "characters without width"),
    ("<|begin_of_box|>B<|end_of_box|>", 4, "B", "GLM's box tokens"),
]
TEXTS = ["10", "20", "B or C", "a, b"]
LETTERS_WITH_TEXTS = [
    ("B. 20", "B", "letter and text"),
    ("(B) 20", "B", "brackets"),
    ("B: 20", "B", "a colon"),
    ("B、20", "B", "a Chinese comma"),
    ("**B. 20**", "B", "bold"),
    ("\\boxed{B. 20}", "B", "in a box"),
    ("D. a, b", "D", "a text with a comma"),
    ("A. 10, B. 20", "AB", "two"),
    ("A. 10\nB. 20", "AB", "two in lines"),
    ("B. 10", "letter_and_text_differ", "the text of another option"),
    ("B. 20 or 10", "letter_and_text_differ", "two texts"),
    ("A. 10, B. 10", "letter_and_text_differ", "one of two is of another"),
    ("B. 20, C", "letter_and_text_differ", "a second letter without its text"),
    ("E. 20", "letter_out_of_range", "beyond the options"),
    ("A. 10, A. 10", "letter_twice", "the same twice"),
    ("B 20", "not_letters", "nothing between letter and text"),
    ("20", "not_letters", "the text alone"),
    ("B or C", "not_letters", "a hedge, though it is the text of an option"),
]
NOT_LETTERS = [
    ("a dog, B", 4, "not_letters", "the article is no option"),
    ("A dog", 4, "not_letters", "nor is a capital one"),
    ("B. dog", 4, "not_letters", "letter and text"),
    ("Option A", 4, "not_letters", "a word in front"),
    ("A or B", 4, "not_letters", "a guess at both"),
    ("none", 4, "not_letters", "no letter"),
    ("1", 4, "not_letters", "a number"),
    ("A,,B", 4, "not_letters", "an item is missing"),
    ("A B C D E", 4, "letter_out_of_range", "the fifth of four"),
    ("E", 4, "letter_out_of_range", "beyond the options"),
    ("A, A", 4, "letter_twice", "the same one twice"),
    ("()", 4, "empty_answer", "brackets around nothing"),
    ("A" + " " * 30_000, 4, "too_complex", "beyond every sensible length"),
    ("Α", 4, "not_letters", "a Greek capital alpha"),
    ("\\boxed{A} or \\boxed{B}", 4, "not_letters", "a guess at both, in boxes"),
    ("\\boxed{B}, not \\boxed{C}", 4, "not_letters", "a negation"),
    ("\\boxed{b}", 4, "not_letters", "lower case in a box"),
    ("\\boxed{A or B}", 4, "not_letters", "a guess at both in a box"),
    ("\\boxed{A}\\boxed{A}", 4, "letter_twice", "the same box twice"),
    ("\\beta", 4, "not_letters", "a command"),
    ("A？B", 4, "not_letters", "a doubt"),
    ("A或B", 4, "not_letters", "the Chinese or"),
    ("\\boxed{}", 4, "not_letters", "an empty box"),
]
LABELS = [
    ("dog", ["dog"], "one"),
    ("dog, cat", ["dog", "cat"], "commas"),
    ("dog,cat;bird\nfish", ["dog", "cat", "bird", "fish"], "all separators"),
    ("traffic light", ["traffic light"], "words of one name stay together"),
    ('["dog", "cat"]', ["dog", "cat"], "a JSON list"),
    ("['dog', 'cat']", ["dog", "cat"], "a Python list, which the released code lost to a missing import"),
    ("[dog, cat]", ["dog", "cat"], "a list without quotes"),
    ('```json\n["dog"]\n```', ["dog"], "fenced"),
    ("dog, , cat,", ["dog", "cat"], "empty items are none"),
    ("'dog'", ["dog"], "quoted"),
    ("dog，cat、bird", ["dog", "cat", "bird"], "full-width commas"),
    ("The image contains a dog", ["The image contains a dog"], "a sentence is one strange label"),
    ("1. dog\n2. traffic light", ["dog", "traffic light"], "numbers"),
    ("1. dog 2. cat", ["dog", "cat"], "numbers in a line"),
    ("1) dog, 2) cat", ["dog", "cat"], "numbers and commas"),
    ("(1) dog (2) cat", ["dog", "cat"], "numbers in brackets"),
    ("• dog\n• traffic light", ["dog", "traffic light"], "bullets"),
    ("- dog\n- cat", ["dog", "cat"], "dashes"),
    ("* dog\n* cat", ["dog", "cat"], "stars"),
    ('{"labels": ["dog", "cat"]}', ["dog", "cat"], "one list in an object"),
    ('```json\n{"categories": ["dog"]}\n```', ["dog"], "the same in a fence"),
    ('{"label": "dog"}', ["dog"], "one label in an object"),
    ("\\boxed{dog, cat}", ["dog", "cat"], "a box"),
    ("**dog, cat**", ["dog", "cat"], "bold"),
    ("[“dog”, “cat”]", ["dog", "cat"], "typographic quotes in a list"),
    ('```json\n["dog"]', ["dog"], "a fence that is not closed"),
    ("2. dog 3. cat", ["2. dog 3. cat"], "numbers that do not begin with 1 number nothing"),
    ("1. dog 1. cat", ["1. dog 1. cat"], "nor do those that do not go on"),
]
NOT_LABELS = [
    ("", "empty_answer", "nothing"),
    (" , ;", "empty_answer", "separators only"),
    ("[]", "empty_answer", "an empty list"),
    ("[1, 2]", "not_labels", "numbers"),
    ('[["dog"]]', "not_labels", "a list in a list"),
    ('[{"label": "dog"}]', "not_labels", "objects"),
    ("[" * 5000 + "]" * 5000, "too_complex", "nested beyond reason"),
    ('["' + "]" * 3000 + '", ' + "[" * 3000 + "]" * 3000 + "]", "too_complex", "and hidden behind brackets in a label"),
    ("[null]", "not_labels", "nothing in a list"),
    ("```json\n[]\n```", "empty_answer", "an empty list in a fence"),
    ("[NaN]", "not_a_number", "what Python's JSON lets in"),
    ('{"labels": ["dog"], "maybe": ["cat"]}', "not_labels", "two lists: which of them is meant"),
    ('{"absent": ["dog"]}', "not_labels", "a list of what is not there"),
    ('{"labels": {"dog": 0.9, "cat": 0.1}}', "not_labels", "labels with shares"),
    ('{"labels": ["dog"], "labels": ["cat"]}', "key_twice", "two lists under one key"),
    ('{"labels": []}', "empty_answer", "an empty list in an object"),
    ("{dog, cat}", "not_labels", "no object"),
    ("dog," * 9000, "too_complex", "beyond every sensible length"),
]


@pytest.mark.parametrize(("text", "answer", "form", "reason", "why"), COMPLETIONS)
def test_completions(text, answer, form, reason, why):
    parsed = parse_completion(text)
    assert (parsed.answer, parsed.format, parsed.reason) == (answer, form, reason), why


def test_thinking_is_kept_as_written():
    assert parse_completion("<think> a\n</think><answer>b</answer>").thinking == " a\n"
    assert parse_completion("<answer>b</answer>").thinking is None


@pytest.mark.parametrize(("text", "verdict", "why"), VERDICTS)
def test_verdicts(text, verdict, why):
    assert parse_verdict(text) is verdict, why


@pytest.mark.parametrize(("text", "why"), NOT_VERDICTS)
def test_what_is_no_verdict(text, why):
    with pytest.raises(Unreadable, match=r"not_a_verdict|too_complex"):
        parse_verdict(text)


@pytest.mark.parametrize(("text", "count", "letters", "why"), LETTERS)
def test_letters(text, count, letters, why):
    if letters is None:
        with pytest.raises(Unreadable, match="not_letters"):
            parse_letters(text, count)
    else:
        assert parse_letters(text, count) == list(letters), why


@pytest.mark.parametrize(("text", "count", "reason", "why"), NOT_LETTERS)
def test_what_are_no_letters(text, count, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_letters(text, count)
    assert refused.value.reason == reason, why


@pytest.mark.parametrize(("text", "letters", "why"), LETTERS_WITH_TEXTS)
def test_letters_with_the_texts_of_their_options(text, letters, why):
    def fits(place, option):
        return TEXTS[place] == option

    if letters.isupper():
        assert parse_letters(text, 4, fits) == list(letters), why
    else:
        with pytest.raises(Unreadable) as refused:
            parse_letters(text, 4, fits)
        assert refused.value.reason == letters, why
    if "." in text:
        with pytest.raises(Unreadable):  # not without knowing the texts
            parse_letters(text, 4)


@pytest.mark.parametrize(("text", "labels", "why"), LABELS)
def test_labels(text, labels, why):
    assert parse_labels(text) == labels, why


@pytest.mark.parametrize(("text", "reason", "why"), NOT_LABELS)
def test_what_are_no_labels(text, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_labels(text)
    assert refused.value.reason == reason, why


UNSEEN = [
    ("dog\u200b", "dog", "no width"),
    ("\ufeffdog", "dog", "a byte order mark"),
    ("\u200edog\u202c", "dog", "marks of direction"),
    ("traffic\u00adlight", "trafficlight", "a soft hyphen"),
    ("12\x00", "12", "a control character"),
    ("cafe\u0301", "caf\u00e9", "an accent apart from its letter"),
    ("2\u2062x", "2x", "an invisible times"),
    ("a\nb\tc", "a\nb\tc", "lines and tabs are seen"),
]


@pytest.mark.parametrize(("text", "seen", "why"), UNSEEN)
def test_what_nobody_sees_is_left_out(text, seen, why):
    assert visible(text) == seen, why


@pytest.mark.parametrize(
    "text",
    [
        "**x**",
        "`x`",
        '"x"',
        "“x”",
        "x.",
        "x。",
        "$x$",
        "\\(x\\)",
        "\\boxed{x}",
        "\\text{x}",
        "ｘ",
        "```json\nx\n```",
        "$$\\boxed{x}$$.",
    ],
)
def test_decoration_is_taken_off(text):
    assert undecorated(text) == "x"


@pytest.mark.parametrize("text", ["\\boxed{x} \\boxed{y}", "**x** **y**", "$x$, $y$", '"x", "y"', "x...", "x}", "{x"])
def test_two_things_are_not_one_in_decoration(text):
    assert undecorated(text) == text


READERS = (undecorated, parse_verdict, lambda text: parse_letters(text, 4), parse_labels)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    parsed = parse_completion(text)
    assert parsed.answer is None or text.count("<answer>") == 1
    for read in READERS:
        try:
            read(text)
        except Unreadable as refused:
            assert refused.reason.replace("_", "").isalpha()


@given(
    st.sets(st.sampled_from("ABCDE"), min_size=1), st.sampled_from([",", ", ", " ", "", " and ", ";", "\n"]), st.data()
)
def test_the_order_and_separator_of_letters_are_irrelevant(letters, separator, data):
    shuffled = data.draw(st.permutations(sorted(letters)))
    assert parse_letters(separator.join(shuffled), 5) == sorted(letters)


def mutated(good, number):
    """Yield good texts of which a few characters were changed."""
    rng = random.Random(0)
    for _ in range(number):
        text = list(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text) + 1)
            text[place : place + rng.randint(0, 2)] = rng.choice(
                ["", "<", "[", "]", "\\", '"', "1", "e9", "\x00", "ü", ","]
            )
        yield "".join(text)


def test_mutated_good_answers_never_raise_anything_else():
    for text in mutated([text for text, *_ in [*LABELS, *COMPLETIONS]], 15_000):
        parse_completion(text)
        for read in READERS:
            with contextlib.suppress(Unreadable):
                read(text)
