"""The reason codes of scores, explained.

Training writes them to `completions/*.jsonl`, evaluation to its records, and `currreft rewards` prints them. A score
has one: a fault of the answer comes before a fault of the text around it.
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
    "two_answers": "an answer tag occurs twice",
    "no_think": "there is no <think>",
    "unclosed_think": "the <think> is not closed",
    "two_thinks": "a think tag occurs twice",
    "wrong_order": "the blocks or their tags are in the wrong order",
    "text_outside": "there is text outside the two blocks",
    # the form of the answer
    "not_a_verdict": "not the single word yes (true, correct) or no (false, incorrect)",
    "not_letters": "not a list of option letters",
    "letter_out_of_range": "a letter beyond the options",
    "letter_twice": "the same letter twice",
    "several_letters": "several letters where one is asked for",
    "letter_and_text_differ": "a letter with the text of another option",
    "not_an_option": "neither a letter nor the text or value of an option",
    "not_labels": "a list that holds other things than labels",
    "no_box": "no box, or other text next to it",
    "two_boxes": "several boxes where one is asked for",
    "not_four_numbers": "a box of more or fewer than four numbers",
    "not_a_number": "a coordinate that is not a number",
    "box_reversed": "a box whose right is not right of its left, or whose bottom is not below its top",
    "key_twice": "a JSON object with a duplicate key",
    "not_an_expression": "neither a number nor a formula from end to end",
    "not_parsed": "a formula that math-verify cannot read",
    "gold_not_parsed": "the reference answer is a formula that math-verify cannot read: a fault of the data",
    "too_complex": "longer, larger or deeper nested than any answer needs",
    "verifier_timeout": "math-verify exceeded its time limit",
}
