"""Flaws, duplicates and quotas: a table of texts with the reason for each, then what holds for every text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.rejection.flaws import asked_key, duplicates, flaw, over_quota
from currreft_nb.rejection.settings import read_quotas

COMMON = {"id": "a", "split": "pool", "source": "s"}
ENGLISH = Sample(task="math", question="How many apples are left?", answer="42", **COMMON)
CHINESE = Sample(task="general", question="图中有什么？", answer="一只猫", **COMMON)
FREE = Sample(task="general", question="Why?", answer=None, **COMMON)
LIST = "\n".join(
    f"{number}. item number {number} costs {number * 7} and weighs {number * 3}" for number in range(1, 30)
)
PROSE = (
    "The tram left at nine and the second one ten minutes later, so that whoever missed the first could still be there"
    " when the doors opened; nobody did, as it happened, for the rain had kept them all inside until noon."
)


@pytest.mark.parametrize(
    ("sample", "text", "expected", "why"),
    [
        (ENGLISH, "<think>seven sixes</think><answer>42</answer>", None, "an ordinary answer"),
        (ENGLISH, PROSE, None, "long and well written"),
        (ENGLISH, LIST, None, "a list resembles itself, but says something new in each line"),
        (ENGLISH, "", None, "nothing said is no flaw of the text; it has no points either"),
        (ENGLISH, "x" * 8001, "too_long", "more than anyone should imitate"),
        (ENGLISH, "so it is. " * 30, "repeats", "a loop of words"),
        (ENGLISH, "the answer is " + "hm" * 12, "repeats", "a loop of letters"),
        (ENGLISH, "1" + "0" * 40, None, "a large number"),
        (ENGLISH, "| --- | --- |\n" + "-" * 60, None, "a ruled line"),
        (ENGLISH, "7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7", None, "numbers may repeat"),
        (ENGLISH, "六六 makes 42", "mixed_script", "a Chinese slip in an English answer"),
        (ENGLISH, "сорок", "mixed_script", "Cyrillic letters that look Latin, too"),
        (ENGLISH, "area πr², angle θ, 3 × 4 ≤ 12, naïve café", None, "Greek in formulas, accents"),
        (CHINESE, "图中有一只猫", None, "the script of the question"),
        (CHINESE, "a cat 猫", None, "Latin is fine everywhere"),
        (ENGLISH, "the value is \ufffd", "unreadable", "bytes were lost"),
        (ENGLISH, "beep \x07", "unreadable", "a control character"),
        (ENGLISH, "line\n\ttab", None, "layout"),
        (FREE, "no tags at all", "no_answer", "no rule would notice"),
        (FREE, "<think>x</think><answer>y</answer>", None, "an answer"),
        (ENGLISH, "no tags at all", None, "the rule notices and says why"),
    ],
)
def test_flaws(sample, text, expected, why):
    assert flaw(sample, {"completion": text, "truncated": False}) == expected, why


def test_a_truncated_answer_is_flawed_even_if_right():
    assert flaw(ENGLISH, {"completion": "<answer>42</answer>", "truncated": True}) == "truncated"
    assert flaw(ENGLISH, {"completion": "<answer>42</answer>"}) is None  # from a source that does not say


@given(st.text(max_size=300))
def test_every_text_can_be_looked_at(text):
    assert flaw(ENGLISH, {"completion": text}) in {None, "repeats", "mixed_script", "unreadable"}


def test_the_same_question_has_the_same_key_only_about_the_same_picture():
    def asked(question, image=None):
        size = (4, 4) if image else None
        return asked_key(Sample(task="general", question=question, answer="x", image=image, size=size, **COMMON))

    assert asked("How many?") == asked(" how  MANY? ") != asked("How many cats?")
    assert asked("How many?", "/a/1f.png") == asked("How many?", "/b/1f.png") != asked("How many?", "/a/2f.png")
    assert asked("How many?") != asked("How many?", "/a/1f.png")


def rows(*texts):
    return [{"completion": text, "asked": str(number)} for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("given_rows", "expected", "why"),
    [
        (rows("<answer>2</answer>", "<answer>2</answer>"), {}, "short answers to different questions may be equal"),
        (rows(PROSE, PROSE), {1: "near_identical"}, "a long text twice is boilerplate"),
        (rows(PROSE, PROSE.replace("noon", "one").upper()), {1: "near_identical"}, "nearly, in other letters"),
        (rows(PROSE, PROSE[: len(PROSE) // 2]), {}, "half of it is another text"),
        (rows(PROSE, LIST), {}, "different texts"),
        ([*rows("a"), *rows("b")], {1: "same_question"}, "one question under two ids"),
        ([*rows(PROSE), *rows("b"), *rows("c")], {1: "same_question", 2: "same_question"}, "three times"),
    ],
)
def test_doubles(given_rows, expected, why):
    assert duplicates(given_rows) == expected, why


@pytest.mark.parametrize("text", ["math", "700", "math -1", "math many", "", "math 1.5"])
def test_an_invalid_quota_is_refused(text):
    with pytest.raises(InputError, match=r"quotas: .*(is incomplete; write a name|write a whole number of at least 0)"):
        read_quotas([text])


def test_a_duplicate_quota_is_refused_and_a_source_may_have_spaces():
    assert read_quotas(["my source 3"]) == {"my source": 3}
    with pytest.raises(InputError, match="duplicate 'math'; keep one"):
        read_quotas(["math 3", "math 4"])


@given(st.lists(st.sampled_from(["s", "t"])), st.integers(0, 5), st.integers(0, 5))
def test_no_quota_is_exceeded_and_none_is_left_unused(sources, for_task, for_source):
    found = [{"task": "math", "source": source} for source in sources]
    left = over_quota(found, {"math": for_task, "s": for_source}, {"s", "t"})
    kept = [row for place, row in enumerate(found) if place not in left]
    assert len(kept) <= for_task and sum(row["source"] == "s" for row in kept) <= for_source
    for place in left:
        assert len(kept) == for_task or (sources[place] == "s" and sum(r["source"] == "s" for r in kept) == for_source)
