"""Rewards: the cases that the released code gets wrong, every rule with its boundary, and the way TRL calls them."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame, to_frame
from currreft_nb.core.samples import Sample
from currreft_nb.method.rewards import (
    REASONS,
    Rules,
    accuracy_reward,
    answered_boxes,
    columns,
    format_reward,
    score,
    score_format,
)
from currreft_nb.tasks.classification import _NAMES

TRUTH = [100.0, 100.0, 200.0, 200.0]


def math(answer, **more):
    return Sample(id="m", task="math", split="train", source="s", question="?", answer=answer, **more)


def classify(answer, **more):
    return Sample(id="c", task="classification", split="train", source="s", question="?", answer=answer, **more)


def detect(answer, **more):
    more = {"image": "/x.png", "size": (640, 480)} | more
    return Sample(id="d", task="detection", split="train", source="s", question="?", answer=answer, **more)


def verdict(truth):
    return math(truth, stage="binary", claim="41")


def choose(truth, count=5):
    return classify(list(truth), stage="choice", options=[[name] for name in _NAMES[:count]])


def complete(answer):
    return f"<think>so</think><answer>{answer}</answer>"


# method, table 8.6: what the released code pays, and what is right
DEFECTS = [
    (math("42"), "17", 0, 1, "wrong", "any tagged answer was paid"),
    (math("42"), "", 0, 0, "empty_answer", "even an empty one"),
    (math("4"), "14", 0, 1, "wrong", "and what contains the truth"),
    (math("B"), "A B C D", 0, 1, "wrong", "and all letters"),
    (math("B", options=["1", "2", "3", "4"]), "A B C D", 0, 1, "several_letters", "the same with options"),
    (math("√12"), "2√3", 1, 1, "ok", "right by accident, not by comparison"),
    (math("1/2"), "0.5", 1, 1, "ok", "right by accident, not by comparison"),
    (verdict(False), "No, it is not true", 0, 0, "not_a_verdict", "read as yes"),
    (verdict(True), "No, it is not true", 0, 0, "not_a_verdict", "never counted as yes"),
    (verdict(True), "not correct", 0, 0, "not_a_verdict", "read as yes"),
    (verdict(True), "yes or no", 0, 0, "not_a_verdict", "counted as yes"),
    (choose("AB"), "B,A", 1, 1, "ok", "order mattered"),
    (choose("AB"), "A", 0.2, 1, "partial", "the paper pays a part"),
    (choose("AB"), "A,B,C", 0, 1, "wrong", "not a part"),
    (choose("B"), "a dog, B", 0, 0, "not_letters", "the article was option A"),
    (classify(["dog", "cat"]), '["dog","cat"]', 1, 1, "ok", "a missing import made it 0"),
    (classify(["traffic light"]), "Traffic light.", 1, 1, "ok", "case, period and blank made it 0"),
    (classify(["dog"]), ", ".join(_NAMES), 1 / 80, 1, "partial", "evaluation called it correct"),
    (detect([TRUTH]), f"{TRUTH}; [0, 0, 9, 9]", 0, 0, "two_boxes", "the last of several boxes counted"),
    (detect(["B"], stage="choice", options=[[TRUTH], [[0, 0, 9, 9]]]), "B", 1, 1, "ok", "no format reward here"),
    (detect(True, stage="binary", claim=[TRUTH]), "yes", 1, 1, "ok", "nor here"),
    (detect([TRUTH]), '{"bbox_2d": [100.0, 100.0, 200.0, 200.5]}', 1, 1, "ok", "no format reward for decimals"),
    (math("3"), "1,2,3,4,5,6,7,8,9,10,0", 0, 1, "wrong", "counting aloud was correct"),
    (math("3", image=None), "3", 1, 1, "ok", "a row without an image crashed"),
]
TWENTY = math(["B"], stage="choice", options=["10", "20", "30", "42"])
PETS = classify(["A", "C"], stage="choice", options=[["dog"], ["cat"], ["salt and pepper"]])
RULES = [
    (verdict(True), "yes", 1, 1, "ok", "right"),
    (verdict(False), "no", 1, 1, "ok", "right"),
    (verdict(True), "no", 0, 1, "wrong", "wrong, in the right form"),
    (verdict(True), "A", 0, 0, "not_a_verdict", "an answer of another stage"),
    (choose("B"), "B", 1, 1, "ok", "right"),
    (choose("B"), "A", 0, 1, "wrong", "wrong, in the right form"),
    (choose("B"), "A, B", 0, 1, "wrong", "a single answer is right or wrong"),
    (choose("B"), "yes", 0, 0, "not_letters", "an answer of another stage"),
    (choose("B"), "F", 0, 0, "letter_out_of_range", "no such option"),
    (choose("AB"), "A, A", 0, 0, "letter_twice", "a letter twice"),
    (choose("ABC"), "A, B", 0.2, 1, "partial", "two of three pay as one of three"),
    (choose("ABC"), "A, D", 0, 1, "wrong", "one wrong letter spoils it"),
    (classify(["dog", "cat"]), "dog", 0.5, 1, "partial", "half of the labels"),
    (classify(["dog", "cat"]), "dog, bird", 1 / 3, 1, "partial", "one of three in all"),
    (detect([TRUTH]), "[100, 100, 200, 150]", 0, 1, "iou_too_low", "an IoU of one half is not above it"),
    (detect([TRUTH]), "[100, 100, 200, 151]", 1, 1, "ok", "just above"),
    (detect([TRUTH]), "[300, 300, 400, 400]", 0, 1, "no_overlap", "elsewhere"),
    (detect([TRUTH]), "[200, 100, 100, 200]", 0, 0, "box_reversed", "a reversed box"),
    (detect([TRUTH]), "in the middle", 0, 0, "no_box", "words"),
    (detect([[560, 400, 640, 480]]), "[560, 400, 900, 900]", 1, 1, "ok", "a box is clipped to the image"),
    (detect([TRUTH]), "[700, 500, 800, 600]", 0, 1, "no_overlap", "a box outside the image"),
    (detect([TRUTH, [0, 0, 50, 50]]), f"[0, 0, 50, 50], {TRUTH}", 1, 1, "ok", "two boxes where two are asked for"),
    (detect([TRUTH, [0, 0, 50, 50]]), f"[0, 0, 50, 20], {TRUTH}", 0.5, 1, "partial", "one of them fits"),
    (detect([TRUTH, [0, 0, 50, 50]]), f"{TRUTH}", 0.5, 1, "partial", "one of them is missing"),
    (detect([TRUTH, [0, 0, 50, 50]]), f"{TRUTH}; {TRUTH}", 0.5, 1, "partial", "the same one twice meets one"),
    (detect([TRUTH, [0, 0, 50, 50]]), "[0, 0, 50, 20]", 0, 1, "iou_too_low", "none fits"),
    (math("10^{10}"), "10^{10^{10}}", 0, 0, "too_complex", "what could keep a computer busy"),
    (math("B", options=["1", "2"]), "2", 1, 1, "ok", "the option's text"),
    (math("42"), "<think>42</think>", 0, 1, "not_an_expression", "tags in the answer"),
    (TWENTY, "B. 20", 1, 1, "ok", "a letter with the text of its option"),
    (TWENTY, "**(B) 20**", 1, 1, "ok", "the same in bold"),
    (TWENTY, "\\boxed{B}", 1, 1, "ok", "a letter in a box"),
    (TWENTY, "B。", 1, 1, "ok", "a Chinese stop"),
    (TWENTY, "B. 30", 0, 0, "letter_and_text_differ", "a letter with the text of another option"),
    (TWENTY, "A. 10, B. 20", 0, 1, "wrong", "two with their texts"),
    (TWENTY, "\\boxed{A}\\boxed{B}", 0, 1, "wrong", "two boxes"),
    (TWENTY, "\\boxed{A} or \\boxed{B}", 0, 0, "not_letters", "a hedge"),
    (TWENTY, "20", 0, 0, "not_letters", "a text without its letter, where letters are asked for"),
    (PETS, "A. dog, C. salt and pepper", 1, 1, "ok", "letters with their labels"),
    (PETS, "A，C", 1, 1, "ok", "a full-width comma"),
    (PETS, "A. dog, C. cat", 0, 0, "letter_and_text_differ", "the label of another"),
    (
        detect(["B"], stage="choice", options=[[TRUTH], [[0, 0, 9, 9]]]),
        f"B. {TRUTH}",
        0,
        0,
        "not_letters",
        "boxes are not read",
    ),
]


@pytest.mark.parametrize(("sample", "answer", "value", "form", "reason", "why"), DEFECTS + RULES)
def test_scores(sample, answer, value, form, reason, why):
    result = score(sample, complete(answer))
    if "<think>" in answer:
        form, reason = 0, "not_an_expression"
    assert result == (pytest.approx(value), form, reason), why
    assert score_format(sample, complete(answer))[0] == form, "both ways to the format reward agree"


FORMS = [
    ("<answer>42</answer>", 1, 0, "no_think", "the value counts without the form"),
    ("<answer>42</answer><think>so</think>", 1, 0, "wrong_order", "the same"),
    (complete("42") + " Yes!", 1, 0, "text_outside", "the same"),
    ("\n" + complete(" 42 ") + "\n", 1, 1, "ok", "whitespace is tolerated"),
    ("<answer>17</answer>", 0, 0, "wrong", "a fault of the value comes first"),
    (complete("42") * 2, 0, 0, "two_answers", "two answers are none"),
    ("42", 0, 0, "no_answer", "nothing is paid without the tag"),
    ("<think>so</think><answer>42", 0, 0, "unclosed_answer", "cut off"),
]


@pytest.mark.parametrize(("completion", "value", "form", "reason", "why"), FORMS)
def test_form_and_value_are_two_things(completion, value, form, reason, why):
    assert score(math("42"), completion) == (value, form, reason), why


@pytest.mark.parametrize(("partial", "some", "mixed"), [("subset", 0.3, 0), ("overlap", 0.3, 0.3), ("none", 0, 0)])
def test_partial_choices(partial, some, mixed):
    rules = Rules(partial=partial, partial_reward=0.3)
    assert score(choose("AB"), complete("A"), rules=rules).value == some
    assert score(choose("AB"), complete("A, C"), rules=rules).value == mixed
    assert score(choose("A"), complete("A, C"), rules=rules).value == 0, "a single answer is right or wrong"


def test_rules_are_checked():
    for wrong in ({"detection": "soft_above_tau"}, {"partial": "half"}, {"threshold": 50}, {"partial_reward": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Rules(**wrong)


@pytest.mark.parametrize("kind", ["resized", "thousand"])
def test_boxes_are_read_in_the_frame_they_were_written_in(kind):
    frame, sample = Frame(kind=kind), detect([TRUTH], size=(2000, 1500))
    written = complete(json.dumps({"bbox_2d": to_frame(TRUTH, (2000, 1500), frame)}))
    assert score(sample, written, frame, Rules(detection="soft")).value > 0.95
    assert score(sample, written, None, Rules(detection="soft")).value < 0.6, "read as stored pixels it is another box"
    assert answered_boxes(sample, written, frame)[0] == pytest.approx(TRUTH, abs=2)


def test_answered_boxes_are_empty_where_there_are_none():
    assert answered_boxes(detect([TRUTH]), "no") == []
    assert answered_boxes(math("42"), complete("42")) == []
    assert answered_boxes(detect([TRUTH]), complete("[700, 500, 800, 600]")) == [], "outside the image"


# in TRL's shape


def batch(samples):
    rows = [columns(sample) for sample in samples]
    return {name: [row[name] for row in rows] for name in rows[0]}


def as_trl_calls(function, samples, completions, **more):
    """Call a reward function with what GRPOTrainer 1.16 passes in addition to the columns."""
    return function(
        prompts=["?"] * len(samples),
        completions=completions,
        completion_ids=[[1]] * len(samples),
        trainer_state=object(),
        **batch(samples),
        **more,
    )


def test_both_rewards_as_trl_calls_them():
    samples = [sample for sample, *_ in DEFECTS]
    completions = [[{"role": "assistant", "content": complete(answer)}] for _, answer, *_ in DEFECTS]
    logged, metrics = {}, {}
    log = {"log_extra": logged.__setitem__, "log_metric": metrics.__setitem__}
    values = as_trl_calls(accuracy_reward, samples, completions, **log)
    forms = as_trl_calls(format_reward, samples, completions, **log)
    assert values == pytest.approx([value for _, _, value, *_ in DEFECTS])
    assert forms == [form for _, _, _, form, *_ in DEFECTS]
    assert logged["reason"] == [reason for *_, reason, _ in DEFECTS]
    assert logged["format_reason"][1] == "empty_answer"
    assert logged["id"] == [sample.id for sample in samples]
    assert all(len(column) == len(samples) for column in logged.values())
    math_values = [value for (sample, *_), value in zip(DEFECTS, values) if sample.task == "math"]
    assert metrics["accuracy/math"] == pytest.approx(sum(math_values) / len(math_values))
    assert metrics["verifier_timeout"] == 0
    assert all(type(value) is float for value in values + forms)


def test_settings_are_bound_as_training_does_it():
    reward = functools.partial(accuracy_reward, frame=Frame(kind="thousand"), rules=Rules(detection="soft"))
    sample = detect([TRUTH], size=(1000, 1000))
    assert as_trl_calls(reward, [sample], [complete("[100, 100, 200, 180]")]) == [pytest.approx(0.8)]


def test_content_in_parts_and_plain_text_are_the_same():
    forms = [complete("42"), [{"role": "assistant", "content": complete("42")}]]
    forms.append([{"role": "assistant", "content": [{"type": "text", "text": complete("42")}]}])
    forms.append([{"role": "assistant", "content": "..."}, {"role": "assistant", "content": complete("42")}])
    assert as_trl_calls(accuracy_reward, [math("42")] * 4, forms) == [1.0] * 4
    assert as_trl_calls(accuracy_reward, [math("42")] * 2, [[], [{"role": "assistant", "content": None}]]) == [0.0] * 2


def test_only_four_columns_are_needed():
    completions = [complete("yes"), complete("B"), complete("[1, 2, 3, 4]")]
    answers, stages = ["true", '["B"]', "[[1, 2, 3, 4]]"], ["binary", "choice", "open"]
    assert accuracy_reward(completions, answer=answers, task=["math", "math", "detection"], stage=stages) == [1.0] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ["42x"]}, "row 0: column answer holds '42x'; it must be JSON"),
        ({"answer": ["42"]}, "row 0 .*math, open.*string"),
        ({"answer": [None]}, "row 0 .*string"),
        ({"answer": ['"42"', '"42"']}, "column answer has 2 rows"),
        ({"task": ["maths"]}, "task must be one of"),
        ({"stage": ["binary"]}, "true or false"),
        ({"stage": ["choice"]}, "letters"),
        ({"options": ["A, B"]}, "column options"),
    ],
)
def test_a_row_that_cannot_be_scored_is_an_error_not_a_zero(change, message):
    row = {"answer": ['"42"'], "task": ["math"], "stage": ["open"], "options": ["[]"]}
    for reward in (accuracy_reward, format_reward):
        with pytest.raises(InputError, match=message):
            reward([complete("42")], **row | change)


@pytest.mark.parametrize("as_messages", [False, True])
def test_what_the_prompt_began_is_part_of_the_completion(as_messages):
    said = [
        "six sevens</think><answer>42</answer>",
        "42",
        "<think>hm</think><answer>42</answer>",
        "<answer>42</answer>",
    ]
    began = ["<think>", "<think>\n", "<think>", "<think>\n\n</think>\n\n"]
    given = [[{"role": "assistant", "content": text}] if as_messages else text for text in said]
    row = {"answer": ['"42"'] * 4, "task": ["math"] * 4, "stage": ["open"] * 4}
    assert format_reward(given, **row, prefill=began) == [1, 0, 0, 1]
    assert format_reward(given, **row) == [0, 0, 1, 0]
    assert accuracy_reward(given, **row, prefill=began) == accuracy_reward(given, **row) == [1, 0, 1, 1]


def test_a_frame_without_a_size_is_an_error():
    with pytest.raises(InputError, match="size"):
        accuracy_reward([complete("[1, 2, 3, 4]")], ["[[1, 2, 3, 4]]"], ["detection"], ["open"], frame=Frame())


# properties

labels = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=5, unique=True)


@given(labels, labels, st.randoms())
def test_the_order_of_labels_is_irrelevant(truth, answer, rng):
    value = score(classify(truth), complete(", ".join(answer)))
    rng.shuffle(truth)
    rng.shuffle(answer)
    assert score(classify(truth), complete(", ".join(answer))) == value
    assert 0 <= value.value <= 1


@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.permutations("ABCDE"), st.integers(1, 5), st.randoms())
def test_the_order_of_letters_is_irrelevant(truth, letters, count, rng):
    sample, answer = choose("".join(sorted(truth))), list(letters[:count])
    value = score(sample, complete(", ".join(answer)))
    rng.shuffle(answer)
    assert score(sample, complete(" ".join(answer))) == value
    assert value.value in (0, 0.2, 1)


corners = st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(1, 90), st.integers(1, 90))
boxes = st.lists(corners.map(lambda c: [c[0], c[1], c[0] + c[2], c[1] + c[3]]), min_size=1, max_size=4)


@given(boxes, boxes, st.sampled_from(["hard", "soft", "soft_above_threshold"]), st.randoms())
def test_the_order_of_boxes_is_irrelevant_and_no_answer_beats_the_truth(truth, answer, kind, rng):
    rules = Rules(detection=kind)
    value = score(detect(truth), complete(json.dumps(answer)), rules=rules)
    rng.shuffle(truth)
    rng.shuffle(answer)
    again = score(detect(truth), complete(json.dumps(answer)), rules=rules)
    assert again == (pytest.approx(value.value), value.format, value.reason)
    assert 0 <= value.value <= 1
    assert score(detect(truth), complete(json.dumps(truth)), rules=rules).value == pytest.approx(1)


@given(boxes.filter(lambda found: len(found) == 1), st.integers(2, 9))
def test_a_larger_image_changes_no_reward(answer, factor):
    """Everything scaled alike: the overlap, and with it the reward, is free of scale."""
    soft, enlarge = Rules(detection="soft"), lambda box: [factor * number for number in box]
    small = score(detect([[20, 30, 60, 90]]), complete(str(answer[0])), rules=soft)
    sample = detect([enlarge([20, 30, 60, 90])], size=(640 * factor, 480 * factor))
    assert score(sample, complete(str(enlarge(answer[0]))), rules=soft).value == pytest.approx(small.value)


EVERY = [verdict(True), choose("AB"), classify(["dog", "cat"]), math("42"), math("B", options=["1", "2"])]
EVERY += [detect([TRUTH]), detect([TRUTH, [0, 0, 9, 9]])]
EVERY += [detect(["B"], stage="choice", options=[[TRUTH], [[0, 0, 9, 9]]])]
words = st.sampled_from(["yes", "A", "B", "dog", "cat", "42", "[1, 2, 3, 4]", "<think>", "</think>", "<answer>"])


@settings(deadline=None)  # math-verify's worker may have to start
@given(st.sampled_from(EVERY), st.one_of(st.text(max_size=40), st.lists(words | st.text(max_size=3)).map(" ".join)))
def test_every_score_is_between_0_and_1_with_a_reason_in_words(sample, text):
    for completion in (text, complete(text)):
        result = score(sample, completion)
        assert 0 <= result.value <= 1 and result.format in (0, 1) and result.reason in REASONS
        assert score_format(sample, completion)[0] == result.format
        assert (result.reason == "ok") <= (result.value == result.format == 1)
