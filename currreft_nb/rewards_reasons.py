"""Why a completion earned what it earned: every reason code that a score can carry, in words.

Codes are written to `completions/*.jsonl` during training, to the answers of an evaluation and by `currreft rewards`.
Of several, one is named: what is wrong with the answer before what is wrong around it.
"""

REASONS = {
    # the value was compared
    "ok": "right, and in the right form",
    "wrong": "readable, but not the right answer",
    "partial": "some of the right letters, labels or boxes",
    "iou_too_low": "no box overlaps a true one enough",
    "no_overlap": "no box touches a true one",
    "wrong_unit": "the number has another unit than the right answer",
    "no_reference": "the sample has no reference answer to compare with",
    # the blocks
    "no_answer": "there is no <answer>",
    "unclosed_answer": "the <answer> is not closed, as when the completion is cut off",
    "empty_answer": "there is nothing in the answer",
    "two_answers": "an answer tag stands there twice",
    "no_think": "there is no <think>",
    "unclosed_think": "the <think> is not closed",
    "two_thinks": "a think tag stands there twice",
    "wrong_order": "the blocks or their tags are in the wrong order",
    "text_outside": "there is text outside the two blocks",
    # the form of the answer
    "not_a_verdict": "neither yes (true, correct) nor no (false, incorrect), and nothing beside it",
    "not_letters": "something else than option letters",
    "letter_out_of_range": "a letter beyond the options",
    "letter_twice": "the same letter twice",
    "several_letters": "several letters where one is right",
    "letter_and_text_differ": "a letter with the text of another option",
    "not_an_option": "neither a letter nor the text or value of an option",
    "not_labels": "a list of something else than labels",
    "no_box": "no box, or something beside it",
    "two_boxes": "several boxes where one is asked for",
    "not_four_numbers": "a box of more or fewer than four numbers",
    "not_a_number": "a coordinate that is no number",
    "box_reversed": "a box whose right is not right of its left, or whose bottom is not below its top",
    "key_twice": "a JSON object that gives a key twice",
    "not_an_expression": "neither a number nor a formula from end to end",
    "not_parsed": "a formula that math-verify cannot read",
    "gold_not_parsed": "the right answer is a formula that math-verify cannot read: a fault of the data",
    "too_complex": "longer, larger or deeper nested than any answer needs",
    "verifier_timeout": "comparing it took math-verify too long",
}
