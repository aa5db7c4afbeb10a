"""Numbers in mathematical answers: their values, when two are equal, ranges and dates, and rounding that is asked for.

3 1/2 = 7/2     1.2e3 = 1200     10-20 is not -10     5.66 = 5.7 where the question says "to the nearest tenth"
"""

import math
import re
from fractions import Fraction
from functools import lru_cache

from currreft_nb.tasks.math_verifier import slack

_N = r"(?:\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<plain>{_N})|(?P<top>{_N}) ?[/:] ?(?P<bottom>{_N})"
    rf"|\\frac ?\{{ ?(?P<over>-?{_N}) ?\}} ?\{{ ?(?P<under>-?{_N}) ?\}}"
    r"|(?P<whole>\d+) (?P<a>\d+) ?/ ?(?P<b>\d+)|(?P<wholes>\d+) ?\\frac ?\{ ?(?P<c>\d+) ?\} ?\{ ?(?P<d>\d+) ?\}"
    rf"|(?:(?P<digits>{_N}) ?(?:[eE]|\\(?:times|cdot) ?10 ?\^)|(?P<ten>10) ?\^) ?\{{? ?(?P<power>[-+]?\d{{1,3}}) ?\}}?)"
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])|^[-+]? ?\d{1,3}(?: \d{3})+(?=\.\d*$|$)")
PARTS = re.compile(  # ranges, dates, versions, ratios of three, and times of day
    rf"{_N}(?: ?- ?{_N})+|\d+(?: ?/ ?\d+){{2,}}|\d+(?:\.\d+){{2,}}|\d+(?: ?: ?\d+){{2,}}"
    r"|(?P<clock>[01]?\d|2[0-4]):[0-5]\d"
)
_RATIO = re.compile(r"\b(?:ratios?|odds|scale|proportion\w*)\b|比", re.IGNORECASE)
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_COUNTS |= {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5}
_COUNT = rf"(\d|{'|'.join(_COUNTS)})"
_PLACES = {
    "thousandth": -3,
    "hundredth": -2,
    "tenth": -1,
    "ten": 1,
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "cent": -2,
}
_PLACES |= {"千分位": -3, "百分位": -2, "十分位": -1, "整数": 0, "个位": 0}
_ROUNDED_TO = re.compile(
    rf"\b{_COUNT}[- ]decimals?\b|\b{_COUNT}[- ]?d\.?p\.?\b|\b{_COUNT} (?:digits|places) after the decimal"
    rf"|保留{_COUNT}位小数"
)
_FIGURES = re.compile(
    rf"\b{_COUNT}[- ](?:significant|sig\.?)[- ](?:fig|digit)|\b{_COUNT} ?s\.?f\.?\b|{_COUNT}位有效数字"
)
_NEAREST = re.compile(
    r"\bto (?:the )?(?:nearest |closest )(?:(?P<number>0\.0*1|10*)\b|(?P<word>(?:ten |ten-)?[a-z]+))"
    r"|精确到(?:(?P<zh_number>0\.0*1|1)|小数点后(?P<zh_count>\w)位|(?P<zh_word>\w分位|个位|整数))|保留(?P<zh_whole>整数)"
)
_WHOLE_WORDS = """
whole integer unit one degree dollar percent mile foot inch meter metre centimeter kilometer year day minute second
hour gram pound yuan
"""
_WHOLES = frozenset(_WHOLE_WORDS.split())


@lru_cache(maxsize=10_000)
def plain_number(text: str) -> Fraction | None:
    """Return the value of a plain number: integer, decimal, fraction, mixed number, ratio or power of ten; else None.

    >>> plain_number("3 1/2"), plain_number("\\\\frac{-3}{4}"), plain_number("1,234.5"), plain_number("√2")
    (Fraction(7, 2), Fraction(-3, 4), Fraction(2469, 2), None)
    """
    match = _NUMBER.fullmatch(_THOUSANDS.sub(lambda found: re.sub("[, ]", "", found[0]), text))
    if not match:
        return None
    part = match.groupdict()
    if part["plain"]:
        value = Fraction(part["plain"])
    elif part["digits"]:
        value = Fraction(part["digits"]) * Fraction(10) ** int(part["power"])
    elif part["ten"]:
        value = Fraction(10) ** int(part["power"])
    else:
        whole = Fraction(part["whole"] or part["wholes"] or 0)
        top, bottom = next((part[x], part[y]) for x, y in ("cd", "ab", ("over", "under"), ("top", "bottom")) if part[x])
        if not Fraction(bottom):
            return None
        value = whole + Fraction(top) / Fraction(bottom)
    return -value if part["sign"] == "-" else value


def is_close(gold: str, answer: str, left: Fraction, right: Fraction, scale: Fraction | int, question: str) -> bool:
    """Say whether two numbers are equal, or one is the rounding of the other, as asked for or to six digits."""
    right *= scale
    if left == right:
        return True
    distance = abs(left - right)
    asked = _asked_rounding(question) if question else None
    if not asked and distance * 10**5 > abs(left):
        return False  # most wrong answers, without a look at their digits
    allowed = max(slack(gold), slack(answer) * scale) if "." in gold or "." in answer else Fraction(0)
    if asked:
        allowed = max(allowed, *(rounding(question, value) / 2 for value in (left, right)))
    return distance <= allowed


def compare_parts(gold: str, answer: str, question: str) -> str | None:
    """Compare two ranges, dates or times of day part by part; None for other values."""
    found = [PARTS.fullmatch(text) for text in (gold, answer)]
    if _RATIO.search(question) if question else False:
        found = [match if match and not match["clock"] else None for match in found]
    if not any(found):
        return None
    (a, a_signs), (b, b_signs) = ((_numbers_in(text), re.sub(rf"{_N}| ", "", text)) for text in (gold, answer))
    return "ok" if all(found) and a_signs == b_signs and a == b else "wrong"


def _numbers_in(text: str) -> list[Fraction]:
    return [Fraction(number) for number in re.findall(_N, text)]


def rounding(question: str, value: Fraction | None) -> Fraction:
    """Return the place to which the question asks to round, if the value is rounded so, else 0."""
    asked = _asked_rounding(question) if question and value else None
    if asked is None or not value:
        return Fraction(0)
    place, digits = asked
    if digits:
        size = math.log10(abs(value.numerator)) - math.log10(value.denominator)
        place = Fraction(10) ** (math.floor(size) + 1 - digits)
    return place if value % place == 0 else Fraction(0)


@lru_cache(maxsize=10_000)
def _asked_rounding(question: str) -> tuple[Fraction, int] | None:
    """Return the place that a question asks to round to, or 0 and a number of significant digits; None if neither.

    >>> _asked_rounding("Round to the nearest tenth."), _asked_rounding("Give 3 significant figures.")
    ((Fraction(1, 10), 0), (Fraction(0, 1), 3))
    """
    question = question.casefold()
    if match := _FIGURES.search(question):
        return Fraction(0), _count(match)
    if match := _ROUNDED_TO.search(question):
        return Fraction(10) ** -_count(match), 0
    if not (match := _NEAREST.search(question)):
        return None
    part = match.groupdict()
    if number := part["number"] or part["zh_number"]:
        return Fraction(number), 0
    if part["zh_count"]:
        return (Fraction(10) ** -_COUNTS[part["zh_count"]], 0) if part["zh_count"] in _COUNTS else None
    word = part["word"] or part["zh_word"] or part["zh_whole"]
    if word in _WHOLES:
        return Fraction(1), 0
    return (Fraction(10) ** _PLACES[word], 0) if word in _PLACES else None


def _count(match: re.Match) -> int:
    text = next(group for group in match.groups() if group)
    return _COUNTS[text] if text in _COUNTS else int(text)
