"""Think blocks that contradict the answer: which are found, and which say nothing."""

import json

import pytest

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.method.curriculum import pose_all
from currreft_nb.method.prompts import target
from currreft_nb.method.rewards import columns, score
from currreft_nb.method.thinking import contradictions, contradicts
from currreft_nb.pocket.lessons import STYLE
from currreft_nb.tasks import TASK_MODULES

COMMON = {"id": "s", "split": "train", "source": "s", "question": "?"}
IMAGE = {"image": "/x.png", "size": (100, 100)}
COUNT = Sample(task="math", answer="3", **COMMON)
LENGTH = Sample(task="math", answer="8 cm", **COMMON)
LETTER = Sample(task="math", answer="A", options=["3", "4"], **COMMON)
LABELS = Sample(task="classification", answer=["cat", "dog"], **COMMON)
BOX = Sample(task="detection", answer=[[10, 10, 50, 50]], **COMMON, **IMAGE)
CLAIM = Sample(task="math", stage="binary", answer=False, claim="4", **COMMON)
BOX_CLAIM = Sample(task="detection", stage="binary", answer=True, claim=[[10, 10, 50, 50]], **COMMON, **IMAGE)
CHOICE = Sample(task="math", stage="choice", answer=["A"], options=["3", "4"], **COMMON)
SEVERAL = Sample(
    task="classification", stage="choice", answer=["A", "C"], options=[["cat"], ["cow"], ["dog"]], **COMMON
)


@pytest.mark.parametrize(
    "sample, thinking, answer, expected, why",
    [
        (COUNT, "[3, 7, 12]=3", "3", False, "the pocket model's way of counting"),
        (COUNT, "[3, 7]=2", "3", True, "right for a wrong reason"),
        (COUNT, "[3, 7, 12]=3", "4", True, "wrong against its own reason"),
        (COUNT, "[3, 7]=2", "2", False, "wrong, but of one mind"),
        (COUNT, "3.0", "3", False, "equal in value"),
        (COUNT, "Two are left, so 5 - 2 = 3.", "3", False, "the last equation of a sentence"),
        (COUNT, "5 - 2 = 3\nbut one is hidden", "4", None, "another line follows the equation"),
        (COUNT, "2 or 3", "3", None, "a hedge"),
        (COUNT, "there are three", "3", None, "prose"),
        (COUNT, "", "3", None, "no thought"),
        (COUNT, "3", "three of them, I think", True, "the answer is prose, which the rewards call wrong"),
        (LENGTH, "4 cm + 4 cm = 8 cm", "8 m", True, "another unit"),
        (LETTER, "1 + 2 = 3", "A", False, "the value of the option"),
        (LETTER, "1 + 2 = 3", "B", True, "the letter of the other option"),
        (LABELS, "dog, cat", "cat, dog", False, "the order does not matter"),
        (LABELS, "cat", "cat, dog", True, "a label more"),
        (LABELS, "a cat or a dog", "cat", None, "a hedge"),
        (LABELS, "I see a cat, and there is a dog", "cat", None, "prose"),
        (BOX, "[12, 10, 50, 50]", '{"bbox_2d": [10, 10, 50, 50]}', False, "nearly the same box"),
        (BOX, "It ends at the right, so [60, 60, 90, 90].", "[10, 10, 50, 50]", True, "another place"),
        (BOX, "[1, 1, 9, 9] or [60, 60, 90, 90]", "[10, 10, 50, 50]", None, "a hedge"),
        (BOX, "not [60, 60, 90, 90] but right of it", "[10, 10, 50, 50]", None, "the box is not the end"),
        (CLAIM, "[3, 7, 12]=3", "no", False, "3 is not the claimed 4"),
        (CLAIM, "[3, 7, 12]=3", "yes", True, "the verdict does not follow"),
        (CLAIM, "yes", "no", True, "a verdict in the think block"),
        (CLAIM, "maybe", "no", None, "a hedge"),
        (BOX_CLAIM, "[60, 60, 90, 90]", "yes", True, "it saw the object elsewhere"),
        (BOX_CLAIM, "[12, 10, 50, 50]", "yes", False, "it saw the object there"),
        (CHOICE, "1 + 2 = 3", "A", False, "the option of that value"),
        (CHOICE, "1 + 2 = 3", "B", True, "another option"),
        (CHOICE, "B", "A", True, "letters in the think block"),
        (CHOICE, "2 + 3 = 5", "A", None, "no option has that value, so nothing follows"),
        (SEVERAL, "dog, cat", "A, C", False, "both options"),
        (SEVERAL, "dog", "A, C", True, "an option that it did not see"),
    ],
)
def test_contradictions(sample, thinking, answer, expected, why):
    text = f"<think>{thinking}</think><answer>{answer}</answer>"
    assert contradicts(sample, text) is expected, why


@pytest.mark.parametrize(
    "text",
    ["3", "<think>2</think>", "<think>2<answer>3</answer>", "<answer>3</answer>", "<think>2</think><answer></answer>"],
)
def test_without_two_readable_blocks_nothing_is_said(text):
    assert contradicts(COUNT, text) is None


def test_boxes_are_compared_in_the_stored_image_s_pixels():
    """The claim is stored in pixels of 100, the model writes thousandths."""
    thought = "<think>[120, 100, 500, 500]</think><answer>yes</answer>"
    assert contradicts(BOX_CLAIM, thought, Frame("thousand")) is False
    assert contradicts(BOX_CLAIM, thought) is True


@pytest.mark.parametrize("stage", ["open", "binary", "choice"])
def test_ideal_completions_of_drawn_questions_never_contradict_themselves(tmp_path, stage):
    """All are readable: the share of them that is so is the denominator of the measure."""
    for task in TRAINED_TASKS:
        samples = compose.draw_samples(tmp_path, task, 6, "id", 0, "train")
        if stage != "open":
            samples, _ = pose_all(samples, stage, seed=0)
        for sample in samples:
            text = target(sample, STYLE)
            assert score(sample, text, STYLE.frame).value == 1
            assert contradicts(sample, text, STYLE.frame) is False, (sample, text)


def test_columns_are_those_of_the_rewards():
    rows = [columns(sample) for sample in (COUNT, CLAIM, SEVERAL)]
    texts = ["<think>2</think><answer>3</answer>", "<think>?</think><answer>no</answer>"]
    texts.append("<think>dog, cat</think><answer>A, C</answer>")
    given = {name: [row[name] for row in rows] for name in rows[0]}
    assert json.loads(given["answer"][0]) == "3"
    assert contradictions(texts, **given) == [True, None, False]


def test_thinking_that_the_prompt_began_is_read():
    row = {name: [value] for name, value in columns(COUNT).items()}
    assert contradictions(["2</think><answer>3</answer>"], **row, prefill=["<think>"]) == [True]


def test_a_task_that_reads_no_thoughts_says_nothing_of_them():
    general = Sample(task="general", answer="Jupiter", **COMMON)
    assert contradicts(general, "<think>Mars</think><answer>Jupiter</answer>") is None


@pytest.mark.parametrize("name", TRAINED_TASKS)
def test_every_trained_task_reads_thoughts(name):
    assert callable(TASK_MODULES[name].thought)
