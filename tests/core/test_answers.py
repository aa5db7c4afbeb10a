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
    ("{'bbox_2d': [12, 40, 210, 470], 'label': 'dog'}", [BOX], "a Python literal"),
    ("{'bbox_2d': [12, 40, 210, 470], 'label': \"the dog's\"}", [BOX], "with both kinds of quotes"),
    ("{'bbox_2d': (12, 40, 210, 470)}", [BOX], "with a tuple"),
    ('{"bbox_2d": [12, 40, 210, 470,]}', [BOX], "a comma too many in the list"),
    ('{"bbox_2d": [12, 40, 210, 470], "label": "dog",}', [BOX], "a comma too many in the object"),
    ('{"bbox_2d": ["12", "40", "210", "470"]}', [BOX], "numbers as text"),
    ('["12", "40.0", "210", "470"]', [BOX], "numbers as text in a bare list"),
    ('"bbox_2d": [12, 40, 210, 470]', [BOX], "no braces"),
    ("bbox_2d: [12, 40, 210, 470]", [BOX], "neither braces nor quotes"),
    ("bbox_2d = [12, 40, 210, 470]", [BOX], "an assignment"),
    ("{bbox_2d: [12, 40, 210, 470]}", [BOX], "a key without quotes"),
    ('```json\n[{"bbox_2d": [12, 40, 210, 470]}]', [BOX], "a fence that is not closed"),
    ("[12, 40, 210, 470]\n```", [BOX], "a fence that is not opened"),
    ("```python\n[12, 40, 210, 470]\n```", [BOX], "a fence of Python"),
    ("[12, 40, 210, 470].", [BOX], "a final period"),
    ("[12, 40, 210, 470]。", [BOX], "a Chinese stop"),
    ("\\boxed{[12, 40, 210, 470]}", [BOX], "a box around it"),
    ("**[12, 40, 210, 470]**", [BOX], "bold"),
    ("$[12, 40, 210, 470]$", [BOX], "dollars"),
    ("[12，40，210，470]", [BOX], "full-width commas"),
    ("［１２, 40, 210, 470］", [BOX], "full-width brackets and digits"),
    ("[12、40、210、470]", [BOX], "Chinese commas"),
    ("[12, 40, 210, 470]\u200b", [BOX], "a character without width"),
    ("[[12, 40], [210, 470]]", [BOX], "two points as lists"),
    ("[(12, 40), (210, 470)]", [BOX], "two points as tuples in a list"),
    ('{"bbox_2d": [[12, 40], [210, 470]]}', [BOX], "two points under the key"),
    ('{"x1": 12, "y1": 40, "x2": 210, "y2": 470}', [BOX], "corners by name"),
    ('{"xmin": 12, "ymin": 40, "xmax": 210, "ymax": 470}', [BOX], "corners as VOC names them"),
    ('{"bbox": {"x1": 12, "y1": 40, "x2": 210, "y2": 470}}', [BOX], "corners by name under the key"),
    ('{"box": [12, 40, 210, 470]}', [BOX], "another key"),
    ("[[012, 040, 210, 470]]", [BOX], "digits of one length, as CogVLM writes them"),
    ("<box>12 40 210 470</box>", [BOX], "MiniCPM-V"),
    ("<ref>dog</ref><box>12 40 210 470</box>", [BOX], "MiniCPM-V with the name"),
    ("<|ref|>dog<|/ref|><|det|>[[12, 40, 210, 470]]<|/det|>", [BOX], "DeepSeek-VL2"),
    ("<|begin_of_box|>[[12, 40, 210, 470]]<|end_of_box|>", [BOX], "GLM"),
    ("<ref>dog</ref><box>[[12, 40, 210, 470]]</box>", [BOX], "InternVL"),
    ("<loc0040><loc0012><loc0470><loc0210> dog", [BOX], "PaliGemma, y before x"),
    ("<loc0040><loc0012><loc0470><loc0210> dog ; <loc0002><loc0001><loc0004><loc0003> cat", [BOX, (1, 2, 3, 4)], "two"),
    ('```json\n[{"box_2d": [40, 12, 470, 210], "label": "dog"}]\n```', [BOX], "Gemma, y before x"),
    ("[{'bbox': [12, 40, 210, 470]}, {'bbox': [1, 2, 3, 4]}]", [BOX, (1, 2, 3, 4)], "two Python literals"),
    ("<box>12 40 210 470</box><box>1 2 3 4</box>", [BOX, (1, 2, 3, 4)], "two of MiniCPM-V are two boxes"),
    ("<|det|>[[12, 40, 210, 470], [1, 2, 3, 4]]<|/det|>", [BOX, (1, 2, 3, 4)], "two of DeepSeek-VL2"),
    (
        '{"bbox_2d": [12, 40, 210, 470], "box_2d": [2, 1, 4, 3]}',
        [BOX, (1, 2, 3, 4)],
        "keys of two families are two boxes",
    ),
    ('{"bbox": [12, 40, 210, 470], "x1": 1, "y1": 2, "x2": 3, "y2": 4}', [BOX, (1, 2, 3, 4)], "as are key and corners"),
]
NOT_BOXES = [
    ("", "empty_answer", "nothing"),
    ("the dog", "no_box", "words"),
    ("The box is [12, 40, 210, 470].", "no_box", "a sentence with a box in it"),
    ("12, 40, 210, 470", "no_box", "bare numbers"),
    ("{}", "no_box", "an empty object"),
    ("[]", "no_box", "an empty list"),
    ('{"place": [12, 40, 210, 470]}', "no_box", "another key"),
    ('{"bbox_2d": "12, 40, 210, 470"}', "no_box", "text under the key"),
    ('{"point_2d": [12, 40]}', "no_box", "a point"),
    ("[[12, 40, 210, 470], 5]", "no_box", "a number among the boxes"),
    ('{"bbox_2d": [12, 40, 210, 470]', "no_box", "cut off"),
    ("[12, 40, 210]", "not_four_numbers", "three numbers"),
    ("[12, 40, 210, 470, 1]", "not_four_numbers", "five numbers"),
    ('["12", "40", "210", "about 470"]', "not_a_number", "a number with a word"),
    ('["12", "40", "210", "470 or 480"]', "not_a_number", "two numbers in a text"),
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
    ("{'bbox_2d': [12, 40, 210, 470], 'bbox_2d': [1, 2, 3, 4]}", "key_twice", "a Python literal with two boxes"),
    ("{'bbox_2d': [12, 40, 210, 470]} or {'bbox_2d': [1, 2, 3, 4]}", "no_box", "a guess at two Python literals"),
    ('{"bbox_2d": [12, 40, 210, 470],, }', "no_box", "two commas too many"),
    ('"bbox_2d": [12, 40, 210, 470] or [1, 2, 3, 4]', "no_box", "a guess at two without braces"),
    ("not_bbox_2d: [12, 40, 210, 470]", "no_box", "another word without braces"),
    ("[12, 40, 210, 470] or [1, 2, 3, 4].", "no_box", "a guess at two with a period"),
    ("\\boxed{[12, 40, 210, 470]} or \\boxed{[1, 2, 3, 4]}", "no_box", "a guess at two boxes in boxes"),
    ("\\boxed{not [12, 40, 210, 470]}", "no_box", "a negation in a box"),
    ("```json\n[12, 40, 210, 470]\n``` or ```json\n[1, 2, 3, 4]\n```", "no_box", "a guess at two fences"),
    ("<box>12 40 210 470</box> or <box>1 2 3 4</box>", "no_box", "a guess at two in MiniCPM-V's form"),
    ("<box>12 40 210</box>", "no_box", "three numbers in that form"),
    ("12 40 210 470", "no_box", "and without the tags"),
    ("<|det|>not [[12, 40, 210, 470]]<|/det|>", "no_box", "a negation in DeepSeek-VL2's form"),
    ("<loc0040><loc0012><loc0470>", "no_box", "three of PaliGemma's places"),
    ("not <loc0040><loc0012><loc0470><loc0210>", "no_box", "a negation in that form"),
    ('{"box_2d": [12, 40, 11, 470]}', "box_reversed", "Gemma's key, but x before y"),
    ('{"x1": 12, "y1": 40, "x2": 210}', "no_box", "a corner is missing"),
    ("dog(12,40),(210,470)", "no_box", "a word in front"),
    ("(12,40)", "no_box", "one point is no box"),
    ("(12,40),(210,470),(1,2)", "no_box", "nor are three"),
    ("[[12, 40], [210, 470], [1, 2]]", "not_four_numbers", "three points"),
    ("[[210, 470], [12, 40]]", "box_reversed", "two points in the wrong order"),
    ("[[12, 40], [210]]", "not_four_numbers", "a point and a half"),
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


@pytest.mark.parametrize(("text", "boxes", "why"), BOXES)
def test_boxes(text, boxes, why):
    assert parse_boxes(text) == boxes, why


@pytest.mark.parametrize(("text", "reason", "why"), NOT_BOXES)
def test_what_are_no_boxes(text, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_boxes(text)
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


READERS = (undecorated, parse_verdict, lambda text: parse_letters(text, 4), parse_labels, parse_boxes)


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
