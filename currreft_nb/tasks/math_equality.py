r"""Decide whether two mathematical answers are equal: as words, lists, units, exact numbers, and then as formulas.

    140° = 140 degrees = 140     8cm = 8     1/2 = 0.5 = 50%     2√3 = √12     {1, 2} = 2, 1     [0, 1) is not (0, 1)

What has one meaning is read in any notation; what has two is refused. The rules, each of which is a choice:

- *Numbers* are exact: 2024.002 is not 2024, nor is 2.51 2.5. A decimal of at least six digits is also equal to what it
  is the rounding of, up to a millionth: 0.333333 is 1/3, and 6.283185 is 2π. Where the question asks for a rounding (to
  the nearest tenth, two decimal places, three significant figures, 保留两位小数), a number that is rounded so is equal to
  all that round to it.
- *Percent* may be left out or added: 50% is 50 or 0.5, and 0.5 is 0.5 or 50%, but 50 is not 0.5%.
- *Units* may be left out or added, but not differ: 8 cm is 8, not 8 m; 2 m and 200 cm are not compared. A letter is a unit
  only where a number is in front, and m also behind a root or π: the last letters of 60t and πr²h are variables. A word
  behind a number is a thing that is counted, unless it changes the number (5 dozen, 5 thirds, 5 negative).
- *Names* may be left out or added, in front or behind, but not differ: x = 5 is 5, not y = 5; ∠1 = 30° is 30°, and f(x) =
  x+1 is x+1. A word that denies is no name (not = 5). A word and a symbol may name one thing: slope = -4 is k = -4.
- *Equations* are equal if one is a multiple of the other: y = 3x-2 is 3x-y-2 = 0. Inequalities turn round. Neither is
  equal to the formula alone, but for the value of a name.
- *Ranges, dates and times of day* (10-20, 2024-01-02, 2:30) are read part by part, not worked out; 3:2 is a ratio, as
  is every 3:20 where the question speaks of one.
- *Lists* without brackets and sets have no order; points and intervals do, and may lose their brackets only if both
  are round or both square. ±2 is 2, -2. `100,200` as the right answer is two numbers; write 100200 for one.
- *Signs without a rule* are compared as they are written: a prime (3' is 3 feet or minutes), an index of a number (10_2).

Plain numbers are compared as exact fractions, in microseconds. Only formulas from end to end go to the worker of
`math_verifier`: sentences, several guesses and true statements such as `5 = 5` are refused before.

Values with names may come in any order, `x=1, y=2` or `y=2, x=1`; without the names they must keep this order. The same
holds for `x_1=1, x_2=2`, which may be the unknowns of a system. Roots without an order are written `x=1 or x=2` or
`1, 2`, and an answer may number those in any way.
"""

import math
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
from currreft_nb.tasks.math_verifier import slack, verify, verify_near

MAX_ITEMS = 12

_UNIT_WORDS = """
mm: millimeter millimeters millimetre millimetres 毫米
cm: centimeter centimeters centimetre centimetres 厘米
dm: decimeter decimeters decimetre decimetres 分米
m: meter meters metre metres 米
km: kilometer kilometers kilometre kilometres 千米 公里
nm: nanometer nanometers nanometre nanometres 纳米
um: micrometer micrometers micrometre micrometres microns 微米
nmi: 海里
in: inch inches 英寸
ft: foot feet 英尺
yd: yd. yds yard yards
mi: mile miles 英里
ha: hectare hectares 公顷
acre: acres
s: sec secs second seconds 秒
ms: millisecond milliseconds 毫秒
min: mins minute minutes 分钟
h: hr hrs hour hours 小时
day: days 天
week: wk wks weeks 周
month: months 个月
year: yr yrs years 年 岁
g: gram grams 克
kg: kilogram kilograms 千克 公斤
mg: milligram milligrams 毫克
lb: lbs
oz: ounce ounces
t: tonne tonnes 吨
l: L liter liters litre litres 升
ml: mL milliliter milliliters millilitre millilitres 毫升
gal: gallon gallons
km/h: kmh kph km/hr
mi/h: mph
degree: deg degs degrees 度
rad: radian radians 弧度
%: percent pct percentage
$: dollar dollars USD
¥: yuan 元 RMB
€: euro euros EUR
£: pound pounds GBP
₹: rupee rupees INR
cent: cents ¢
N: newton newtons 牛 牛顿
J: joule joules 焦耳
kJ: kilojoule kilojoules
W: watt watts 瓦
kW: kilowatt kilowatts
V: volt volts 伏
A: ampere amperes amp amps
C: coulomb coulombs
K: kelvin kelvins
Hz: hertz
kHz: kilohertz
Pa: pascal pascals
kPa: kilopascal kilopascals
mol: mole moles
unit: units 个 只 条 支 本 张 次 人
"""
_UNITS: dict[str, str] = {}
for _line in _UNIT_WORDS.strip().splitlines():
    _unit, _words = _line.split(": ")
    _UNITS |= dict.fromkeys([_unit, *_words.split()], _unit)
_WRITTEN_OUT = frozenset("NJWVACKt")  # `5 N` may be five times N
_LENGTHS = "mm|cm|dm|m|km|in|ft|yd|mi|um|nm"
_WORDS = "|".join(re.escape(word) for word in sorted(set(_UNITS) - _WRITTEN_OUT, key=len, reverse=True))
_POWER = r"(?: ?\^ ?\{?([23])\}?)?"
_UNIT = re.compile(
    rf"(?<![A-Za-z\\])(square |sq\.? ?|cubic |cu\.? |平方|立方)?(?:({_LENGTHS})([23])|({_WORDS}){_POWER})"
    rf"(?: ?(?:/|per |每) ?({_WORDS}){_POWER})? ?$"
)
_NOUN = re.compile(r" ([a-z]{4,20}|[a-z][aeiou][a-z])$")  # 3 dogs, but not 3 abc
_NO_NOUN_WORDS = """
and any are not the yes but true false right wrong correct incorrect maybe never none nothing about over under than
more less plus minus times squared cubed modulo half halves quarter third fifth ninth twelfth dozen score gross pair
couple trio brace myriad ten twenty thirty forty fifty sixty seventy eighty ninety hundred thousand lakh crore grand
double triple quadruple twice thrice once power root square cube factorial percentile permille mod inverse reciprocal
opposite complement conjugate infinity inf nan approximately approx around roughly almost nearly above below beyond
negative positive imaginary without except nor neither either perhaps possibly probably unsure wait actually instead
rather versus else error unknown undefined invalid mil bar
"""  # what a noun may not be, with or without an s: 2 dozen are not 2
_NO_NOUNS = frozenset(_NO_NOUN_WORDS.split())
_NO_NOUN_ENDS = re.compile(r"(?:th|fold|illion|illiard|googol|ed|ly|teen|ty|ish)s?$")  # thirtieths, trebled, nearly
_NOUN_ENDS = re.compile(
    r"(?:bed|seed|feed|weed|shed|sled|breed|reed|deed|steed|creed|speed|ely|lily|bully|belly|jelly|fly|"
    r"family|cloth|moth|tooth|path|bath|booth|mouth|month|youth|myth|party|county|city|beauty|duty|property|penalty|fish"
    r"|dish|radish)(?:es|s)?$"
)
_CURRENCY = re.compile(r"([-+]? ?)(?:US|HK|CA|AU)?([$€£¥₹]) ?(?=-?[.\d])")

_N = r"(?:\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<plain>{_N})|(?P<top>{_N}) ?[/:] ?(?P<bottom>{_N})"
    rf"|\\frac ?\{{ ?(?P<over>-?{_N}) ?\}} ?\{{ ?(?P<under>-?{_N}) ?\}}"
    r"|(?P<whole>\d+) (?P<a>\d+) ?/ ?(?P<b>\d+)|(?P<wholes>\d+) ?\\frac ?\{ ?(?P<c>\d+) ?\} ?\{ ?(?P<d>\d+) ?\}"
    rf"|(?:(?P<digits>{_N}) ?(?:[eE]|\\(?:times|cdot) ?10 ?\^)|(?P<ten>10) ?\^) ?\{{? ?(?P<power>[-+]?\d{{1,3}}) ?\}}?)"
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])|^[-+]? ?\d{1,3}(?: \d{3})+(?=\.\d*$|$)")
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
_PARTS = re.compile(  # ranges, dates, versions, ratios of three, and times of day
    rf"{_N}(?: ?- ?{_N})+|\d+(?: ?/ ?\d+){{2,}}|\d+(?:\.\d+){{2,}}|\d+(?: ?: ?\d+){{2,}}|(?P<clock>[01]?\d|2[0-4]):[0-5]\d"
)
_TWO_OR_ONE = re.compile(r"\d{3}(?: \d{3})+")  # two numbers, or one with separators
_IGNORED = re.compile(r"[;']|:[^:]*:|(?<![\d.^{])\{? ?\d[\d.]* ?\}? ?_")  # by math-verify: 3;3 and 3' are 3, so is 3_2
_BOTH_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-z])")
_RATIO = re.compile(r"\b(?:ratios?|odds|scale|proportion\w*)\b|比", re.IGNORECASE)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![a-z])")


@lru_cache(maxsize=100_000)
def compare_math(gold: str, answer: str, question: str = "") -> str:
    """Return "ok" if the answer equals the gold, else "wrong", "wrong_unit", "not_an_expression" or a verifier's code.

    The question may ask for a rounding or a ratio. Raises `Unreadable` for an answer that is too complex, unless the gold
    is the same word for word.

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
        return _compare_values(gold, cleaned, (1,), question)
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
    if (verdict := _compare_parts(gold, answer, question)) is not None:
        return verdict
    left, right = plain_number(gold), plain_number(answer)
    if left is not None and right is not None:
        close = any(_is_close(gold, answer, left, right, scale, question) for scale in scales)
        return "ok" if close else "wrong"
    if not is_expression(gold):
        return "wrong"  # gold is words, which the answer does not repeat
    if not is_expression(answer):
        return "not_an_expression"
    if bool(_RELATION.search(gold)) != bool(_RELATION.search(answer)):
        return "wrong"
    distance = max(
        (_rounding(question, value) / 2 for value in (left, right) if value is not None), default=Fraction(0)
    )
    return _verify(_exact(gold, left), _exact(answer, right), distance)


def _verify(gold: str, answer: str, distance: Fraction = Fraction(0)) -> str:
    """Ask the worker, unless a sign that it ignores has to be compared, or a letter with another."""
    if any(sign.search(text) for sign in (_IGNORED, _BOTH_SIGNS) for text in (gold, answer)):
        return "ok" if _unbraced(gold) == _unbraced(answer) else "wrong"
    if len(gold) == len(answer) == 1:
        return "wrong"
    return verify_near(gold, answer, distance) if distance else verify(gold, answer)


def _exact(text: str, value: Fraction | None) -> str:
    """Return a number as the worker reads it: 1e6 would be six times e; but a decimal as it is, because it is rounded."""
    if value is None or slack(text):
        return text
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _compare_parts(gold: str, answer: str, question: str) -> str | None:
    """Compare two ranges, dates or times of day part by part; None for other values."""
    found = [_PARTS.fullmatch(text) for text in (gold, answer)]
    if _RATIO.search(question) if question else False:
        found = [match if match and not match["clock"] else None for match in found]
    if not any(found):
        return None
    (a, a_signs), (b, b_signs) = ((_numbers_in(text), re.sub(rf"{_N}| ", "", text)) for text in (gold, answer))
    return "ok" if all(found) and a_signs == b_signs and a == b else "wrong"


def _numbers_in(text: str) -> list[Fraction]:
    return [Fraction(number) for number in re.findall(_N, text)]


def _is_close(gold: str, answer: str, left: Fraction, right: Fraction, scale: Fraction, question: str) -> bool:
    """Say whether two numbers are equal, or one is the rounding of the other: as asked for, or to six digits or more."""
    right *= scale
    if left == right:
        return True
    allowed = max(slack(gold), slack(answer) * scale) if "." in gold or "." in answer else Fraction(0)
    if question:
        allowed = max(allowed, *(_rounding(question, value) / 2 for value in (left, right)))
    return abs(left - right) <= allowed


def _rounding(question: str, value: Fraction | None) -> Fraction:
    """Return the place to which the question asks to round, if the value is rounded so, else 0."""
    asked = _asked_rounding(question) if question and value else None
    if asked is None or not value:
        return Fraction(0)
    place, digits = asked
    if digits:
        size = math.log10(abs(value.numerator)) - math.log10(value.denominator)
        place = Fraction(10) ** (math.floor(size) + 1 - digits)
    return place if value % place == 0 else Fraction(0)


_COUNTS = dict(zip("one two three four five six 一 两 三 四 五 二".split(), (1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 2)))
_COUNT = rf"(\d|{'|'.join(_COUNTS)})"
_PLACE_WORDS = "thousandth hundredth tenth one ten hundred thousand million"
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
    rf"\b{_COUNT}[- ]decimals?\b|\b{_COUNT}[- ]?d\.?p\.?\b|\b{_COUNT} (?:digits|places) after the decimal|保留{_COUNT}位小数"
)
_FIGURES = re.compile(
    rf"\b{_COUNT}[- ](?:significant|sig\.?)[- ](?:fig|digit)|\b{_COUNT} ?s\.?f\.?\b|{_COUNT}位有效数字"
)
_NEAREST = re.compile(
    r"\bto (?:the )?(?:nearest |closest )(?:(?P<number>0\.0*1|10*)\b|(?P<word>(?:ten |ten-)?[a-z]+))"
    r"|精确到(?:(?P<zh_number>0\.0*1|1)|小数点后(?P<zh_count>\w)位|(?P<zh_word>\w分位|个位|整数))|保留(?P<zh_whole>整数)"
)
_WHOLES = frozenset(
    "whole integer unit one degree dollar percent mile foot inch meter metre centimeter kilometer year day minute second hour"
    " gram pound yuan".split()
)


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


def split_unit(text: str) -> tuple[str, str]:
    """Return the value without its unit, and the unit under its first name, or "".

    A single letter behind a value (`5m`) is a unit only if the value is a number, m also if it has no other letter; a
    noun is one only after a number.

    >>> split_unit("8cm^{2}"), split_unit("140^{\\\\circ}"), split_unit("3 dogs"), split_unit("2x+3m")
    (('8', 'cm2'), ('140', 'degree'), ('3', 'dog'), ('2x+3m', ''))
    """
    if currency := _CURRENCY.match(text):
        value = currency[1].strip() + text[currency.end() :]
        return split_unit(value)[0], currency[2]
    if match := re.search(r" ?\^\{\\circ\} ?([CF]?)$", text):
        return text[: match.start()], "degree" + match[1]
    if match := _UNIT.search(text):
        body = text[: match.start()].rstrip()
        if _takes_unit(body, match[2] or match[4]):
            return body, _unit_name(match)
    if match := _NOUN.search(text):
        body, noun = text[: match.start()].rstrip(), match[1].removesuffix("s")
        if plain_number(body) is not None and _is_noun(match[1]):
            return body, noun
    return text, ""


def _takes_unit(body: str, word: str) -> bool:
    if not (body[-1:].isdigit() or body.endswith((")", "}", "\\pi"))):
        return False
    if len(word) > 1 or not (word.isascii() and word.isalpha()) or plain_number(body) is not None:
        return True
    return word == "m" and not re.search(r"(?<![\\A-Za-z])[A-Za-z]", body)


def _unit_name(match: re.Match) -> str:
    """Return the unit that was found, as the table names it, with its power, and what it is per."""
    prefix, length, digit, word, power, other, other_power = match.groups()
    squared = {"s": "2", "平": "2", "c": "3", "立": "3"}.get((prefix or " ")[0], digit or power or "")
    unit = _UNITS[length or word] + squared
    if other:
        unit += f"/{_UNITS[other]}{other_power or ''}"
    return "" if unit == "unit" else unit


def _is_noun(word: str) -> bool:
    """Say whether a word may be what is counted, and not a number or a doubt."""
    if {word, word.removesuffix("s"), word.removesuffix("es")} & _NO_NOUNS:
        return False
    return not _NO_NOUN_ENDS.search(word) or _NOUN_ENDS.search(word) is not None


def bare_formula(text: str) -> str | None:
    """Return what only the verifier can compare: a formula without its name and unit; None for other text.

    >>> bare_formula("AB = 2√3 cm"), bare_formula("12 cm"), bare_formula("10-20"), bare_formula("x > 2")
    ('2\\\\sqrt{3}', None, None, None)
    """
    try:
        value = split_unit(split_name(clean(text))[1])[0]
    except Unreadable:
        return None
    other = len(value) == 1 or split_list(value) or plain_number(value) is not None or _PARTS.fullmatch(value)
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
