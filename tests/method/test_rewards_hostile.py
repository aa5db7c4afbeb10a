"""Rewards of hostile completions: a megabyte of brackets, random bytes, fragments of answers."""

import contextlib
import random
import signal

import pytest

from currreft_nb.core.samples import Sample
from currreft_nb.method.rewards import REASONS, score
from currreft_nb.metrics.scores import measure
from currreft_nb.tasks import math_equality, math_verifier

COMMON = {"id": "s", "split": "train", "source": "s", "question": "?"}
VALUES = {  # the right value and a wrong one
    "detection": ([[10, 20, 30, 40]], [[50, 60, 70, 80]]),
    "classification": (["dog", "traffic light"], ["cat"]),
    "math": ("\\frac{1}{2}", "7"),
}


def samples():
    """Return a sample of every task at every stage that it has."""
    for task, (right, wrong) in VALUES.items():
        fields = COMMON | ({"image": "/x.png", "size": (100, 100)} if task == "detection" else {})
        yield Sample(task=task, answer=right, **fields)
        yield Sample(task=task, stage="binary", answer=True, claim=right, **fields)
        yield Sample(task=task, stage="choice", answer=["B"], options=[wrong, right], **fields)
    yield Sample(task="math", answer="A", options=["3", "four"], **COMMON)
    yield Sample(task="general", answer="Jupiter", **COMMON)


SAMPLES = list(samples())
NAMES = [f"{sample.task}-{sample.stage}{'-options' * bool(sample.options)}" for sample in SAMPLES]
PIECES = """[ { ( ] [] [" <answer> </answer> <think> <think></think> \\ " \\" ' , 9 9. 1, - . (1,2), [1,2,3,4]; 1e9
<|box_start|> <ref> A, AandA yes, {"bbox_2d": ```json ``` $ ^ ^{ \\frac{ \\sqrt( \\text{ \\sin{ \\pm _ | ! 5! √ 𝟙 ½ a=
x_ x' 1/ % cm, ** the, 、 x +1"""
PIECES = [*PIECES.split(), " ", "\n", "A and ", "no ", "1 ", "\\sin ", "\x00", "\ud800", "\u0301"]
MEGABYTE, LONGEST, LONGEST_FORMULA = 1_000_000, 20_000, 500


@contextlib.contextmanager
def seconds_of_work(limit):
    """Stop the block when this process has computed that long: the machine's load is not counted."""

    def stop(signum, frame):
        raise AssertionError(f"it took more than {limit} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("sample", SAMPLES, ids=NAMES)
def test_a_hostile_megabyte_is_read_at_once(sample):
    """Whole, just within the limits of an answer and of a formula, and almost of one form; usual are milliseconds."""
    for piece in PIECES:
        text = piece * (MEGABYTE // len(piece))
        for inner in (text, text[:LONGEST], text[: LONGEST - 1] + "x", text[: LONGEST_FORMULA - 1]):
            with seconds_of_work(0.5):
                score(sample, f"<think></think><answer>{inner}</answer>")
        with seconds_of_work(0.5):
            assert score(sample, text).value == 0


def test_the_alarm_of_the_test_above_rings():
    import re

    with pytest.raises(AssertionError, match="processor time"), seconds_of_work(0.1):
        re.match("(a|a)*$", "a" * 40 + "b")


GOOD = ["yes", "No.", "B", "A, B", "(C) and A", "dog, traffic light", '["dog"]', '{"bbox_2d": [10, 20, 30, 40]}']
GOOD += ["```json\n[10, 20, 30, 40.5]\n```", "<|box_start|>(10,20),(30,40)<|box_end|>", "1/2", "$\\boxed{0.5}$", "50%"]
GOOD += ["$2\\sqrt{3}$ cm", "{1, 2}", "x = 5", "3 or 4", "140°", "A. 3", "Jupiter"]


def anything(rng):
    """Return random bytes read as text, random characters, a good completion cut or changed, or a heap of pieces."""
    good = f"<think>so</think><answer>{rng.choice(GOOD)}</answer>"
    cut = rng.randrange(len(good) + 1)
    match rng.randrange(6):
        case 0:
            text = rng.randbytes(rng.randrange(60)).decode(rng.choice(["utf-8", "latin-1", "utf-16"]), "replace")
        case 1:
            text = "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(30)))
        case 2:
            return good[:cut] + rng.choice(["", good[cut:][::-1], "</answer>"])
        case 3:
            text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(12)))
        case _:
            return good[:cut] + rng.choice(PIECES) + good[cut + rng.randrange(4) :]
    return f"<think></think><answer>{text}</answer>" if rng.random() < 0.7 else text


def test_a_hundred_thousand_fuzzed_completions_are_scored_without_an_exception(monkeypatch):
    """Every task and stage. Of the comparisons by math-verify, which take too long for so many, the first 200 are made;
    what such text can do to it is tested by test_math_equality and test_math_verifier.
    """
    asked = 0

    def verify(gold, answer, real=math_verifier.verify):
        nonlocal asked
        asked += 1
        return real(gold, answer) if asked <= 200 else "wrong"

    monkeypatch.setattr(math_equality, "verify", verify)
    rng, reasons, right = random.Random(1), set(), set()
    for number in range(100_000):
        place = number % len(SAMPLES)
        result = measure(SAMPLES[place], anything(rng))
        assert 0 <= result["value"] <= 1 and result["format"] in (0, 1)
        reasons.add(result["reason"])
        right |= {NAMES[place]} if result["correct"] else set()
    math_equality.compare_math.cache_clear()  # of what was not compared
    assert asked > 200
    assert reasons <= set(REASONS) and len(reasons) > 20, "they are of many kinds, and each is explained"
    assert right == set(NAMES), "some are right, so what was fuzzed is near good answers"
