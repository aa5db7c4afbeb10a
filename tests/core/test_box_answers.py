"""Boxes: which forms are read, which texts are refused and why."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb.core.answers import Unreadable
from currreft_nb.core.box_answers import parse_boxes
from tests.core.test_answers import mutated

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


@pytest.mark.parametrize(("text", "boxes", "why"), BOXES)
def test_boxes(text, boxes, why):
    assert parse_boxes(text) == boxes, why


@pytest.mark.parametrize(("text", "reason", "why"), NOT_BOXES)
def test_what_are_no_boxes(text, reason, why):
    with pytest.raises(Unreadable) as refused:
        parse_boxes(text)
    assert refused.value.reason == reason, why


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(Unreadable):
        assert all(len(box) == 4 for box in parse_boxes(text))


def test_mutated_good_answers_never_raise_anything_else():
    for text in mutated([text for text, *_ in BOXES], 5_000):
        with contextlib.suppress(Unreadable):
            parse_boxes(text)
