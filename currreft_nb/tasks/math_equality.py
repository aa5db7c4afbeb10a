r"""Decide whether two mathematical answers are equal: as words, lists, units, exact numbers, and then as formulas.

    140° = 140 degrees = 140     8cm = 8     1/2 = 0.5 = 50%     2√3 = √12     {1, 2} = 2, 1     [0, 1) is not (0, 1)

What has one meaning is read in any notation; what has two is refused. The rules, each of which is a choice:

- *Numbers* are exact: 2024.002 is not 2024, nor is 2.51 2.5. A decimal of at least six digits is also equal to what it
  is the rounding of, up to a millionth: 0.333333 is 1/3, and 6.283185 is 2π. Where the question asks for a rounding
  (to the nearest tenth, two decimal places, three significant figures, 保留两位小数), a number that is rounded so is
  equal to all that round to it.
- *Percent* may be left out or added: 50% is 50 or 0.5, and 0.5 is 0.5 or 50%, but 50 is not 0.5%.
- *Units* may be left out or added, but not differ: 8 cm is 8, not 8 m; 2 m and 200 cm are not compared. A single letter
  is a unit only behind a number, m also behind a root or π: the last letters of 60t, πr²h and 1+√2m are variables. A
  word behind a number is a thing that is counted, unless it changes the number (5 dozen, 5 thirds, 5 negative).
- *Names* may be left out or added, in front or behind, but not differ: x = 5 is 5, not y = 5; ∠1 = 30° is 30°, and
  f(x) = x+1 is x+1. A word that denies is no name (not = 5). A word and a symbol may name one thing: slope = -4 is
  k = -4.
- *Equations* are equal if one is a multiple of the other: y = 3x-2 is 3x-y-2 = 0. Inequalities turn round. Neither is
  equal to one of its sides, but for the value of a name.
- *Ranges, dates and times of day* (10-20, 2024-01-02, 2:30) are read part by part, not worked out; 3:2 is a ratio, as
  is 3:20 where the question speaks of one.
- *Lists* without brackets and sets have no order; points and intervals do, and may lose their brackets only if both
  are round or both square. ±2 is 2, -2. `100,200` as the right answer is two numbers; write 100200 for one.
- *Signs without a rule* are compared as they are written: a prime (3' is 3 feet or minutes), an index of a number
  (10_2).

Plain numbers are compared as exact fractions, in microseconds. Only formulas from end to end go to the worker of
`math_verifier`: sentences, several guesses and true statements such as `5 = 5` are refused before.

Values with names may come in any order, `x=1, y=2` or `y=2, x=1`; without the names they must keep this order. The same
holds for `x_1=1, x_2=2`, which may be the unknowns of a system. Roots without an order are written `x=1 or x=2` or
`1, 2`, and an answer may number those in any way.
"""

import re
from fractions import Fraction
from functools import lru_cache

from currreft_nb.core.answers import Unreadable
from currreft_nb.tasks.math_notation import (
    MAX_LENGTH,
    bare_name,
    clean,
    is_plain,
    same_name,
    split_list,
    split_name,
    tidy,
)
from currreft_nb.tasks.math_numbers import PARTS, compare_parts, is_close, plain_number, rounding
from currreft_nb.tasks.math_units import split_unit
from currreft_nb.tasks.math_verifier import slack, verify, verify_near

MAX_ITEMS = 12

_TOKENS = re.compile(
    r"\\(?:begin|end)\{[pb]?matrix\}|\\[a-zA-Z]+|\\[{}\\|]|\d+(?:\.\d*)?|\.\d+|[a-zA-Z]+|[-+*/^_(){}\[\]|=<>,:;!&' ]"
)
_COMMAND_NAMES = """
frac sqrt pi cdot times div infty sin cos tan cot sec csc arcsin arccos arctan log ln lg exp le ge ne cup cap
in setminus emptyset varnothing mathbb binom circ angle triangle alpha beta gamma delta epsilon varepsilon zeta eta
theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi
Omega
"""
_COMMANDS = frozenset(_COMMAND_NAMES.split())
_SENTENCE_WORDS = frozenset(("and", "or", "not", "no", "yes", "is", "the", "are", "of", "to", "if", "all", "any"))
_BLANK = re.compile(r"(?<!\d)(?<!\d\.) | (?![\d.])")  # that parts no digits: 1 1/2 is not 11/2
_PARTED = re.compile(r"(?<![\d._^])\d[\d.]* \.?\d")  # but \log_2 8 is a formula
_TWO_OR_ONE = re.compile(r"\d{3}(?: \d{3})+")  # two numbers, or one with separators
_IGNORED = re.compile(r"[;']|:[^:]*:|(?<![\d.^{])\{? ?\d[\d.]* ?\}? ?_")  # by the parser: 3;3 and 3' are 3, so is 3_2
_BOTH_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-z])")
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![a-z])")


@lru_cache(maxsize=100_000)
def compare_math(gold: str, answer: str, question: str = "") -> str:
    """Return "ok" if the answer equals the gold, else "wrong", "wrong_unit", "not_an_expression" or a verifier's code.

    The question may ask for a rounding or a ratio. Raises `Unreadable` for an answer that is too complex, unless the
    gold is the same word for word.

    >>> compare_math("140°", "140 degrees"), compare_math("5 cm", "5 m"), compare_math("42", "17 or 42")
    ('ok', 'wrong_unit', 'wrong')
    >>> compare_math("4√2", "5.7"), compare_math("4√2", "5.7", "Round to the nearest tenth.")
    ('wrong', 'ok')
    """
    try:
        cleaned = clean(answer)
    except Unreadable:
        if len(answer) > MAX_LENGTH or not same_text(gold, answer):
            raise
        return "ok"
    try:
        gold = clean(gold)
    except Unreadable:
        return "ok" if same_text(gold, answer) else "wrong"
    if is_plain(gold) and is_plain(cleaned):  # no name, list or unit to be taken off: most answers, ten times faster
        if gold == cleaned:
            return "ok"
        left, right = plain_number(gold), plain_number(cleaned)
        if left is not None and right is not None:
            return "ok" if is_close(gold, cleaned, left, right, 1, question) else "wrong"
    return _compare(gold, cleaned, question)


def same_text(a: str, b: str) -> bool:
    """Say whether two answers have the same text, up to notation, blanks and the case of words."""
    try:
        return _squash(tidy(a)) == _squash(tidy(b))
    except Unreadable:
        return _squash(a) == _squash(b)


def _compare(gold: str, answer: str, question: str) -> str:
    if _squash(gold) == _squash(answer):
        return "ok"
    gold_name, gold_value = split_name(gold)
    answer_name, answer_value = split_name(answer)
    if gold_name and answer_name and not same_name(gold_name, answer_name):
        return _compare_equations(gold, answer)
    verdict = _compare_unnamed(gold_value, answer_value, question)
    if verdict == "wrong" and gold_name != answer_name and "=" in gold and "=" in answer:
        return _compare_equations(gold, answer)
    return verdict


def _compare_unnamed(gold: str, answer: str, question: str) -> str:
    if _TWO_OR_ONE.fullmatch(gold):
        return "wrong"
    gold_list = split_list(gold)
    answer_list = split_list(answer, thousands=gold_list is None)
    if gold_list or answer_list:
        return _compare_lists(gold_list, answer_list, question) if gold_list and answer_list else "wrong"
    gold, gold_unit = split_unit(gold)
    answer, answer_unit = split_unit(answer)
    if gold_unit and answer_unit and gold_unit != answer_unit:
        return "wrong_unit"
    in_percent = (gold_unit == "%") - (answer_unit == "%")
    return _compare_values(gold, answer, {1: (1, 100), 0: (1,), -1: (1, Fraction(1, 100))}[in_percent], question)


def _compare_equations(gold: str, answer: str) -> str:
    """Compare two equations of which not both are a name and its value, or which name different things."""
    left, right = gold.split("="), answer.split("=")
    if len(left) == len(right) == 2 and [_squash(side) for side in left] == [_squash(side) for side in right[::-1]]:
        return "ok"
    if all(plain_number(split_name(text)[1]) is not None for text in (gold, answer)):
        return "wrong"  # x = 5 is not y = 5
    return _verify(gold, answer) if is_expression(gold) and is_expression(answer) else "wrong"


def _compare_values(gold: str, answer: str, scales: tuple, question: str = "") -> str:
    """Compare two single values; the answer, if a number, may be meant in any of the scales."""
    if _squash(gold) == _squash(answer):
        return "ok"
    if (verdict := compare_parts(gold, answer, question)) is not None:
        return verdict
    left, right = plain_number(gold), plain_number(answer)
    if left is not None and right is not None:
        close = any(is_close(gold, answer, left, right, scale, question) for scale in scales)
        return "ok" if close else "wrong"
    if not is_expression(gold):
        return "wrong"  # gold is words, which the answer does not repeat
    if not is_expression(answer):
        return "not_an_expression"
    if bool(_RELATION.search(gold)) != bool(_RELATION.search(answer)):
        return "wrong"
    distance = max((rounding(question, value) / 2 for value in (left, right) if value is not None), default=Fraction(0))
    return _verify(_exact(gold, left), _exact(answer, right), distance)


def _verify(gold: str, answer: str, distance: Fraction = Fraction(0)) -> str:
    """Ask the worker, unless a sign that it ignores has to be compared, or a letter with another."""
    if any(sign.search(text) for sign in (_IGNORED, _BOTH_SIGNS) for text in (gold, answer)):
        return "ok" if _unbraced(gold) == _unbraced(answer) else "wrong"
    if len(gold) == len(answer) == 1:
        return "wrong"
    return verify_near(gold, answer, distance) if distance else verify(gold, answer)


def _exact(text: str, value: Fraction | None) -> str:
    """Return a number as the worker reads it, to whom 1e6 is six times e; a decimal as it is, because it is rounded."""
    if value is None or slack(text):
        return text
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _compare_lists(gold: tuple, answer: tuple, question: str) -> str:
    """Compare bracketed or bare lists: sets and bare lists in any order, tuples and intervals in theirs.

    Items that the gold gives different names keep their order where the answer leaves the names out.
    """
    kinds = {gold[0] + gold[1], answer[0] + answer[1]}
    if len(kinds - {""}) > 1 or len(gold[2]) != len(answer[2]) or ("" in kinds and kinds & {"(]", "[)"}):
        return "wrong"
    if len(gold[2]) > MAX_ITEMS:
        return "too_complex"
    left = list(answer[2])
    names = {bare_name(split_name(item)[0]) for item in gold[2]} - {""}
    ordered = not kinds <= {"", "{}"} or (len(names) > 1 and not any(split_name(item)[0] for item in left))
    for item in gold[2]:
        for place in range(1 if ordered else len(left)):
            verdict = _compare(item, left[place], question)
            if verdict == "verifier_timeout":
                return verdict
            if verdict == "ok":
                del left[place]
                break
        else:
            return "wrong"
    return "ok"


def bare_formula(text: str) -> str | None:
    """Return what only the verifier can compare: a formula without its name and unit; None for other text.

    >>> bare_formula("AB = 2√3 cm"), bare_formula("12 cm"), bare_formula("10-20"), bare_formula("x > 2")
    ('2\\\\sqrt{3}', None, None, None)
    """
    try:
        value = split_unit(split_name(clean(text))[1])[0]
    except Unreadable:
        return None
    other = len(value) == 1 or split_list(value) or plain_number(value) is not None or PARTS.fullmatch(value)
    signs = any(sign.search(value) for sign in (_RELATION, _IGNORED, _BOTH_SIGNS))
    return value if is_expression(value) and not other and not signs else None


def is_expression(text: str) -> bool:
    """Say whether the text is a formula from end to end: numbers, short variables, operators and known commands.

    Words are not products of letters: `IV` is not `VI`, and a word of letters alone is compared as a word. Adjacent
    numbers, `1 2`, are not a formula.

    >>> [is_expression(text) for text in ("\\\\frac{1}{2}x^2", "2ab + c", "17 is it", "IV", "\\\\write18")]
    [True, True, False, False, False]
    """
    position, formula = 0, re.search(r"[\d+*/^=<>\\-]", text)
    for match in _TOKENS.finditer(text):
        if match.start() != position:
            return False
        token, position = match[0], match.end()
        if token[0] == "\\" and token[1:].isalpha() and token[1:] not in _COMMANDS:
            return False
        word = token[0].isalpha() and len(token) > 1
        if word and (len(token) > 3 or not token.islower() or token in _SENTENCE_WORDS or not formula):
            return False
    return position == len(text) and bool(text) and not _PARTED.search(text)


def _unbraced(text: str) -> str:
    return re.sub(r"_ ?\{([^{}]*)\}", r"_\1", _squash(text))


def _squash(text: str) -> str:
    """Return the text without blanks, except those between digits, and in lower case where it holds words."""
    squashed = _BLANK.sub("", " ".join(text.split()))
    return squashed.casefold() if "\\" not in squashed and re.search(r"[A-Za-z]{2}", squashed) else squashed
