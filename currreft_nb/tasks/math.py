"""Mathematics: a number, a formula, or the letter of one of the question's own options.

    {"id": "geoqa-3", "task": "math", "stage": "open", "split": "train", "source": "geoqa", "image": "images/3.png",
     "size": [320, 240], "question": "AB is tangent to circle O at B, angle A = 36.0, then angle C is ()", "claim":
     null, "options": [], "answer": "27°", "thinking": null, "parent": null, "extra": {}}

Reward at the open stage: 1 if the answer equals the gold in value. If the question has `options`, the gold is a letter,
and the letter or the option's text is accepted.
"""

import math
import random
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from currreft_nb.core.answers import Unreadable, parse_letters
from currreft_nb.core.samples import LETTERS
from currreft_nb.tasks.math_equality import bare_formula, compare_math, is_expression, same_text
from currreft_nb.tasks.math_notation import MAX_LENGTH, clean

QUESTION = "{question}"
ANSWER = "Then give only the final result inside <answer></answer>."
MEASURES = ()
DENSE = ""
SEVERAL = False
OPTIONS = 4

MAX_VARIANTS = 4

_NAMED_VALUE = re.compile(r"[A-Za-z][A-Za-z ]*= ?([^=]+)")
_LITERAL = re.compile(r"(?<![\d.^])\d+(?:\.\d+)?(?![\d.])")
_FRACTION = re.compile(r"\\frac\{(\d+)\}\{(\d+)\}|(?<![\d.])(\d+)/(\d+)(?![\d.])")


def render(value: str) -> str:
    """Return the result, which is text."""
    return value


def other_forms(value: str) -> list[str]:
    """Return the result in a box, without what is in front of its equals sign, and a formula in brackets.

    >>> other_forms("Area = 94 cm"), other_forms("2√3")
    (['\\\\boxed{Area = 94 cm}', '94 cm', '94'], ['\\\\boxed{2√3}', '(2\\\\sqrt{3})'])
    """
    forms = [f"\\boxed{{{value}}}"]
    if named := _NAMED_VALUE.fullmatch(value):
        forms += [named[1], *re.findall(r"^-?[\d.]+(?= ?[A-Za-z]+$)", named[1])]
    formula = bare_formula(value)
    return [*forms, f"({formula})"] if formula else forms


def parse(text: str, sample: Any) -> str:
    """Return the answer's text without blanks at its ends; raises `Unreadable` if it is empty or too complex.

    What is too complex to be compared can still be the right answer word for word.
    """
    text = text.strip()
    try:
        empty = not clean(text)
    except Unreadable:
        if len(text) > MAX_LENGTH or not same_text(sample.answer, text):
            raise
        return text
    if empty:
        raise Unreadable("empty_answer")
    return text


def thought(text: str, sample: Any) -> str:
    """Return the result of a think block: the right side of its last line's last equation, or that line, if a formula.

    >>> thought("[3, 7, 12]=3", None), thought("3 + 4 = 7, so 2 * 7 = 14.", None)
    ('3', '14')
    """
    lines = text.splitlines() or [""]
    result = lines[-1].rpartition("=")[2].strip().rstrip(".").rstrip()
    if not is_expression(clean(result)):
        raise Unreadable("not_an_expression")
    return result


def accuracy(value: str, sample: Any, rules: Any) -> tuple[float, str]:
    """Return 1 or 0, and "ok" or why not: a code of `math_equality.compare_math` or, with options, of `read_option`."""
    question = getattr(sample, "question", "")
    if not sample.options:
        verdict = compare_math(sample.answer, value, question)
        return float(verdict == "ok"), verdict
    gold, _ = read_option(sample.answer, sample.options)
    letter, problem = read_option(value, sample.options, question)
    if gold is None:  # the gold is a value that is not among the options
        try:
            chosen = value if letter is None else sample.options[LETTERS.index(letter)]
            verdict = compare_math(sample.answer, chosen, question)
        except Unreadable as problem:  # of an option: curation does not check them
            verdict = problem.reason
        return float(verdict == "ok"), verdict
    return float(letter == gold), problem or ("ok" if letter == gold else "wrong")


def read_option(text: str, options: list[str], question: str = "") -> tuple[str | None, str]:
    """Return the letter that the text chooses, by letter, by the option's text or by both, or None with a reason.

    >>> [read_option(text, ["3", "4"]) for text in ("B", "4.0", "(A) 3", "A B")]
    [('B', ''), ('B', ''), ('A', ''), (None, 'several_letters')]
    """

    def fits(place: int, text: str) -> bool:
        return _is_option(options[place], text, question)

    try:
        letters = parse_letters(text, len(options), fits)
        return (letters[0], "") if len(letters) == 1 else (None, "several_letters")
    except Unreadable as problem:
        reason = problem.reason
    if reason in ("letter_and_text_differ", "verifier_timeout"):
        return None, reason
    try:
        # 5-4-3-2-1 and 1-2-3-4-5 have one value, but are two options
        for alike in (same_text, lambda option, text: _is_option(option, text, question)):
            found = [letter for letter, option in zip(LETTERS, options) if alike(option, text)]
            if len(found) == 1:
                return found[0], ""
    except Unreadable as problem:
        return None, problem.reason
    return None, reason if reason != "not_letters" else "not_an_option"


def _is_option(option: str, text: str, question: str) -> bool:
    """Say whether the text is the option; raises `Unreadable` where that took too long: the others would as well."""
    try:
        verdict = compare_math(option, text, question)
    except Unreadable:
        return option.strip() == text.strip()
    if verdict == "verifier_timeout":
        raise Unreadable(verdict)
    return verdict == "ok"


def same(a: str, b: str) -> bool:
    """Say whether two results are equal; a too complex one equals only itself."""
    try:
        return compare_math(a, b) == "ok"
    except Unreadable:
        return a.strip() == b.strip()


def distractors(sample: Any, rng: random.Random, alike: Mapping[str, Mapping[str, int]] = {}) -> list[str]:
    """Return wrong results of the same kind and unit, best first: from a closed set such as counts, or near the gold.

    The verifier refuses each, and no two are equal. `alike`: the closed set, drawn from as often as each was right.
    Without it they are steps and doublings of the gold's numbers: members of one sequence in which the gold's place is
    random, because a gold that is always in the middle would give itself away.
    """
    closed = sorted(alike, key=lambda value: rng.random() ** (1 / alike[value][value]), reverse=True)
    chosen: list[str] = []
    for value in (*closed, *_variants(sample.answer, rng)):
        if not any(same(known, value) for known in (sample.answer, *chosen)):
            chosen.append(value)
        if len(chosen) == MAX_VARIANTS:
            break  # each further one costs more comparisons than the last
    return chosen


def false_claim(sample: Any, wrong: list[str], rng: random.Random) -> dict:
    """Return the fields of a question whose claim is false."""
    return {"claim": wrong[0]}


def _variants(gold: str, rng: random.Random) -> Iterator[str]:
    """Yield the gold with one of its numbers replaced; for a formula without a number, multiples of it."""
    try:
        expression = is_expression(clean(gold)) or re.search(r"\d", gold)
    except Unreadable:
        return
    if not expression or re.fullmatch(r"\s*[A-Z]\s*", gold):  # a lone capital names a point or a part: 2C is none
        return
    reduced = _is_reduced(gold)
    for literal in _LITERAL.finditer(gold):
        for value in _sequence(literal[0], rng):
            text = gold[: literal.start()] + value + gold[literal.end() :]
            if not reduced or _is_reduced(text):
                yield text
    if not _LITERAL.search(gold):
        yield from (f"{factor}{gold}" for factor in rng.sample((2, 3, 4, 5), 4))


def _sequence(literal: str, rng: random.Random) -> Iterator[str]:
    """Yield positive numbers of an arithmetic or doubling sequence in which the literal has a random place.

    Steps change the first or second digit of a decimal, of a whole number the third or one before: 6.2831 beside 6.2832
    would be another rounding of the gold.
    """
    value = Decimal(literal)
    last = Decimal(1).scaleb(int(value.as_tuple().exponent))  # a literal is finite, so this is a number
    unit = max(last, Decimal(1).scaleb(value.adjusted() - (1 if last < 1 else 2)))
    sizes = [size for size in (10, 5, 1) if value % (size * unit) == 0 and value > 3 * size * unit] or [1]
    steps = [sizes[0] * factor * unit for factor in (1, 2, 3) if value > 3 * sizes[0] * factor * unit] or [unit]
    step = rng.choice(steps)
    if value and value % (8 * last) == 0 and rng.random() < 0.5:
        sequences = [[value * Decimal(2) ** (index - place) for index in range(4)] for place in range(4)]
    else:
        sequences = [[value + step * (index - place) for index in range(4)] for place in range(4)]
    allowed = [sequence for sequence in sequences if min(sequence) > 0] or sequences
    further = [value + step * offset for offset in (4, 5, 6, 7)]
    for number in (*rng.sample(rng.choice(allowed), 4), *further):
        if number > 0 and number != value:
            yield str(number.quantize(last))


def _is_reduced(text: str) -> bool:
    """Say whether every plain fraction in the text is in lowest terms and none is a whole number."""
    for match in _FRACTION.finditer(text):
        top, bottom = (int(digits) for digits in match.groups() if digits)
        if bottom < 2 or math.gcd(top, bottom) > 1:
            return False
    return True
