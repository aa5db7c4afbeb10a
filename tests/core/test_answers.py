"""Answers: which are read, which are refused and why; no text of a model takes long or raises another error."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb.core.answers import (
    Unreadable,
    parse_boxes,
    parse_completion,
    parse_labels,
    parse_letters,
    parse_verdict,
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
    ("dog," * 9000, "too_complex", "beyond every sensible length"),
]
BOX = (12.0, 40.0, 210.0, 470.0)
BOXES = [
    ('{"bbox_2d": [12, 40, 210, 470]}', [BOX], "the requested form"),
    ('{"bbox": [12, 40, 210, 470]}', [BOX], "the shorter key"),
    ('{"bbox_2d": [12, 40, 210, 470], "label": "dog"}', [BOX], "what Qwen2.5-VL writes"),
    ('{"label": "dog", "bbox_2d": [12, 40, 210, 470]}', [BOX], "label first"),
    ('[{"bbox_2d": [12, 40, 210, 470], "label": "dog"}]', [BOX], "a list of one object"),
    ('```json\n[{"bbox_2d": [12, 40, 210, 470], "label": "dog"}]\n```', [BOX], "in a JSON fence"),
    ("```\n[12, 40, 210, 470]\n```", [BOX], "in a plain fence"),
    ("[12, 40, 210, 470]", [BOX], "a bare list"),
    ("[12,40,210,470]", [BOX], "without blanks"),
    ("[[12, 40, 210, 470]]", [BOX], "a list of one list"),
    ('{"bbox_2d": [[12, 40, 210, 470]]}', [BOX], "a list of one list under the key"),
    ("[12.0, 40.00, 210, 470.0]", [BOX], "decimals"),
    ("[1.2e1, 4e1, 2.1e2, 4.7e2]", [BOX], "exponents are JSON"),
    ('```json {"bbox_2d": [12, 40, 210, 470]} ```', [BOX], "a fence in one line"),
    ('```JSON\r\n{\r\n\t"bbox_2d": [\r\n12, 40,\r\n210, 470]\r\n}\r\n```', [BOX], "lines and tabs of another system"),
    ("[12 , 40 , 210 , 470]", [BOX], "blanks before the commas"),
    ("[12.000000000000000000001, 40, 210, 470]", [BOX], "more decimals than a float keeps"),
    ("(12.0,40.0),(210.0,470.0)", [BOX], "points with decimals"),
    ("(12 ,40) , (210, 470)", [BOX], "points with blanks before the commas"),
    ("(12,40)\n(210,470)", [BOX], "points in two lines"),
    ("<|box_start|> (12,40),(210,470) <|box_end|>", [BOX], "blanks within the box tokens"),
    ("<box>[[12, 40, 210, 470]]</box>", [BOX], "lists within box tags"),
    ('<|box_start|>{"bbox_2d": [12, 40, 210, 470]}<|box_end|>', [BOX], "an object within box tokens"),
    ('{"bbox_2d": [12, 40, 210, 470], "label": "a [framed] {picture}"}', [BOX], "brackets in a label"),
    ('{"bbox_2d": [12, 40, 210, 470], "label": "the \\"]\\" sign"}', [BOX], "an escaped quote in a label"),
    ("(12,40),(210,470);(1,2),(3,4)", [BOX, (1, 2, 3, 4)], "two pairs of points"),
    (
        "<|box_start|>(12,40),(210,470)<|box_end|><|box_start|>(1,2),(3,4)<|box_end|>",
        [BOX, (1, 2, 3, 4)],
        "two tokens",
    ),
    ('{"bbox_2d": [[12, 40, 210, 470], [1, 2, 3, 4]]}', [BOX, (1, 2, 3, 4)], "two under one key"),
    ("[[12, 40, 210, 470], [1, 2, 3, 4]]", [BOX, (1, 2, 3, 4)], "a list of two lists"),
    ("(12,40),(210,470)", [BOX], "points, as Qwen2-VL writes them"),
    ("(12, 40), (210, 470)", [BOX], "points with blanks"),
    ("<|box_start|>(12,40),(210,470)<|box_end|>", [BOX], "box tokens"),
    ("<|object_ref_start|>dog<|object_ref_end|><|box_start|>(12,40),(210,470)<|box_end|>", [BOX], "reference tokens"),
    ("<ref>dog</ref><box>(12,40),(210,470)</box>", [BOX], "as Qwen-VL wrote them"),
    ("(12, 40, 210, 470)", [BOX], "a tuple"),
    ("[12, 40, 210, 470]; [1, 2, 3, 4]", [BOX, (1, 2, 3, 4)], "as the kit writes several"),
    ("[12, 40, 210, 470], [1, 2, 3, 4]", [BOX, (1, 2, 3, 4)], "with a comma"),
    ("[12, 40, 210, 470]\n[1, 2, 3, 4]", [BOX, (1, 2, 3, 4)], "in lines"),
    ('[{"bbox_2d": [12, 40, 210, 470]}, {"bbox_2d": [1, 2, 3, 4]}]', [BOX, (1, 2, 3, 4)], "two objects"),
    ('{"bbox_2d": [12, 40, 210, 470], "bbox": [1, 2, 3, 4]}', [BOX, (1, 2, 3, 4)], "both keys are two boxes"),
    ("[-5, 0, 10, 10]", [(-5, 0, 10, 10)], "negative numbers are clipped later"),
]
NOT_BOXES = [
    ("", "empty_answer", "nothing"),
    ("the dog", "no_box", "words"),
    ("The box is [12, 40, 210, 470].", "no_box", "a sentence with a box in it"),
    ("12, 40, 210, 470", "no_box", "bare numbers"),
    ("{}", "no_box", "an empty object"),
    ("[]", "no_box", "an empty list"),
    ('{"box_2d": [12, 40, 210, 470]}', "no_box", "another key"),
    ('{"bbox_2d": "12, 40, 210, 470"}', "no_box", "text under the key"),
    ('{"point_2d": [12, 40]}', "no_box", "a point"),
    ("[[12, 40, 210, 470], 5]", "no_box", "a number among the boxes"),
    ('{"bbox_2d": [12, 40, 210, 470]', "no_box", "cut off"),
    ("[12, 40, 210]", "not_four_numbers", "three numbers"),
    ("[12, 40, 210, 470, 1]", "not_four_numbers", "five numbers"),
    ('["12", "40", "210", "470"]', "not_a_number", "numbers as text"),
    ("[12, 40, 210, null]", "not_a_number", "null"),
    ("[0, 0, true, true]", "not_a_number", "true is no 1"),
    ("[0, 0, NaN, 1]", "not_a_number", "what Python's JSON lets in"),
    ("[0, 0, Infinity, 1]", "not_a_number", "the same"),
    ("[0, 0, 1e400, 1]", "too_complex", "infinity in disguise"),
    ("[0, 0, 1" + "0" * 400 + ", 1]", "too_complex", "larger than any float"),
    ("[0, 0, 1" + "0" * 5000 + ", 1]", "no_box", "more digits than Python reads"),
    ("[0, 0, 2000000, 1]", "too_complex", "no image is that wide"),
    ("[210, 40, 12, 470]", "box_reversed", "right of left"),
    ("[12, 470, 210, 40]", "box_reversed", "below above"),
    ("[12, 40, 12, 470]", "box_reversed", "no width"),
    ('{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [5, 6, 7, 8]}', "key_twice", "two boxes under one key"),
    ("[" * 20 + "1" + "]" * 20, "too_complex", "nested beyond reason"),
    ("__import__('os').getcwd()", "no_box", "nothing is evaluated"),
    ("[12+0, 40, 210, 470]", "no_box", "nothing is computed"),
    ("{'bbox_2d': [12, 40, 210, 470]}", "no_box", "a Python object is no JSON"),
    ('{"bbox_2d": [12, 40, 210, 470,]}', "no_box", "nor is a list with a comma too many"),
    ("dog(12,40),(210,470)", "no_box", "a word in front"),
    ("(12,40)", "no_box", "one point is no box"),
    ("(12,40),(210,470),(1,2)", "no_box", "nor are three"),
    ("[[12, 40], [210, 470]]", "not_four_numbers", "two lists of two may be points or boxes cut short"),
    ("١٢,٤٠,٢١٠,٤٧٠", "no_box", "digits of another script"),
    ("```", "no_box", "half a fence"),
    ("``````", "empty_answer", "a fence around nothing"),
    ("<|box_start|><|box_end|>", "empty_answer", "tokens around nothing"),
    ('{"label": "' + "]" * 3000 + '", "bbox_2d": ' + "[" * 3000 + "]" * 3000 + "}", "too_complex", "hidden nesting"),
    ('[{"label": "\\"' + "]}" * 900 + '"}, ' + '{"bbox": ' * 900 + "1" + "}" * 900 + "]", "too_complex", "the same"),
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


@pytest.mark.parametrize(("text", "labels", "why"), LABELS)
def test_labels(text, labels, why):
    assert parse_labels(text) == labels, why


@pytest.mark.parametrize(("text", "reason", "why"), NOT_LABELS)
def test_what_are_no_labels(text, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_labels(text)
    assert refused.value.reason == reason, why


@pytest.mark.parametrize(("text", "boxes", "why"), BOXES)
def test_boxes(text, boxes, why):
    assert parse_boxes(text) == boxes, why


@pytest.mark.parametrize(("text", "reason", "why"), NOT_BOXES)
def test_what_are_no_boxes(text, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_boxes(text)
    assert refused.value.reason == reason, why


READERS = (parse_verdict, lambda text: parse_letters(text, 4), parse_labels, parse_boxes)


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


def test_mutated_good_answers_never_raise_anything_else():
    rng = random.Random(0)
    good = [text for text, _, _ in BOXES] + [text for text, _, _ in LABELS] + [text for text, *_ in COMPLETIONS]
    for _ in range(20_000):
        text = list(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text) + 1)
            text[place : place + rng.randint(0, 2)] = rng.choice(
                ["", "<", "[", "]", "\\", '"', "1", "e9", "\x00", "ü", ","]
            )
        parse_completion("".join(text))
        for read in READERS:
            with contextlib.suppress(Unreadable):
                read("".join(text))
