"""Decide whether two mathematical answers are equal: as words, lists, units, exact numbers, and then by math-verify.

    140° = 140 degrees = 140     8cm = 8     1/2 = 0.5 = 50%     2√3 = √12     {1, 2} = 2, 1     [0, 1) is not (0, 1)

Plain numbers are compared as exact fractions, in microseconds. Only formulas from end to end go to the symbolic
verifier: sentences, several guesses and true statements such as `5 = 5` are refused before, as are signs that
math-verify ignores: a prime (3' is 3 feet or minutes, not 3) or an index (10_2 is not 10).

Values with names may come in any order, `x=1, y=2` or `y=2, x=1`; without the names they must keep this order. The same
holds for `x_1=1, x_2=2`, which may be the unknowns of a system. Roots without an order are written `x=1 or x=2` or
`1, 2`, and an answer may number those in any way.
"""

import re
from fractions import Fraction
from functools import lru_cache

from currreft_nb.core.answers import Unreadable
from currreft_nb.tasks.math_notation import clean, is_plain, split_list, split_name
from currreft_nb.tasks.math_verifier import verify

TOLERANCE = Fraction(1, 10**6)  # relative, where a decimal or a rounded fraction is involved
MAX_ITEMS = 12

_UNIT_WORDS = """
mm: millimeter millimeters millimetre millimetres 毫米
cm: centimeter centimeters centimetre centimetres 厘米
dm: decimeter decimeters decimetre decimetres 分米
m: meter meters metre metres 米
km: kilometer kilometers kilometre kilometres 千米 公里
nmi: 海里
in: inch inches
ft: foot feet
yd: yard yards
mi: mile miles
s: sec secs second seconds 秒
min: mins minute minutes 分钟
h: hr hrs hour hours 小时
day: days 天
g: gram grams 克
kg: kilogram kilograms 千克
mg: milligram milligrams
l: L liter liters litre litres 升
ml: mL milliliter milliliters millilitre millilitres 毫升
km/h: kmh kph km/hr
m/s: 米/秒
mph: mi/h
degree: deg degs degrees 度
%: percent pct
$: dollar dollars USD
¥: yuan 元
€: euro euros
£: pound pounds
cent: cents
unit: units
"""
_UNITS: dict[str, str] = {}
for _line in _UNIT_WORDS.strip().splitlines():
    _unit, _words = _line.split(": ")
    _UNITS |= dict.fromkeys([_unit, *_words.split()], _unit)
_WORDS = "|".join(re.escape(word) for word in sorted(_UNITS, key=len, reverse=True))
_UNIT = re.compile(rf"(?<![A-Za-z\\])(square |sq\.? |cubic |平方|立方)?({_WORDS})(?: ?\^ ?\{{?([23])\}}?)? ?$")
_NOUN = re.compile(r"(?<=[\d ]) ?([a-z]{3,20})$")
_NO_NOUN_WORDS = """
and any are not the yes but true false right wrong correct incorrect maybe never none nothing about over under than
more less plus minus times squared cubed factorial modulo divided half halves third quarter fourth fifth sixth seventh
eighth ninth tenth hundredth thousandth dozen hundred thousand million billion trillion inf infinity
"""  # what a noun may not be, with or without an s: 2 thirds are not 2, nor are 2 thousand
_NO_NOUNS = frozenset(_NO_NOUN_WORDS.split())
_CURRENCY = re.compile(r"([$€£¥]) ?(?=[-\d.])")
_DEGREE = "^{\\circ}"

_N = r"(?:\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<plain>{_N})|(?P<top>{_N}) ?[/:] ?(?P<bottom>{_N})"
    rf"|\\frac ?\{{ ?(?P<over>-?{_N}) ?\}} ?\{{ ?(?P<under>-?{_N}) ?\}}"
    r"|(?P<whole>\d+) (?P<a>\d+) ?/ ?(?P<b>\d+)|(?P<wholes>\d+) ?\\frac ?\{ ?(?P<c>\d+) ?\} ?\{ ?(?P<d>\d+) ?\}"
    rf"|(?P<digits>{_N}) ?(?:[eE]|\\(?:times|cdot) ?10 ?\^) ?\{{? ?(?P<power>[-+]?\d{{1,3}}) ?\}}?)"
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])|^[-+]? ?\d{1,3}(?: \d{3})+(?=\.\d*$|$)")
_TOKENS = re.compile(
    r"\\(?:begin|end)\{[pb]?matrix\}|\\[a-zA-Z]+|\\[{}\\|]|\d+(?:\.\d*)?|\.\d+|[a-zA-Z]+|[-+*/^_(){}\[\]|=<>,:;!&' ]"
)
_COMMAND_NAMES = """
frac sqrt pi cdot times div pm mp infty sin cos tan cot sec csc arcsin arccos arctan log ln lg exp le ge ne cup cap
in setminus emptyset varnothing mathbb binom circ angle triangle alpha beta gamma delta epsilon varepsilon zeta eta
theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi
Omega
"""
_COMMANDS = frozenset(_COMMAND_NAMES.split())
_SENTENCE_WORDS = frozenset(("and", "or", "not", "no", "yes", "is", "the", "are", "of", "to", "if", "all", "any"))
_BLANK = re.compile(r"(?<!\d)(?<!\d\.) | (?![\d.])")  # that parts no digits: 1 1/2 is not 11/2
_PARTED = re.compile(r"(?<![\d._])\d[\d.]* \.?\d")  # but \log_2 8 is a formula
_IGNORED = re.compile(r"[;']|:[^:]*:|(?<![\d.^{])\{? ?\d[\d.]* ?\}? ?_")  # by math-verify: 3;3 and 3' are 3, so is 3_2
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![a-z])")


@lru_cache(maxsize=100_000)
def compare_math(gold: str, answer: str) -> str:
    """Return "ok" if the answer equals the gold, else "wrong", "wrong_unit", "not_an_expression" or a verifier's code.

    Raises `Unreadable` for an answer that is too complex; a gold that is too complex can be matched word for word.

    >>> compare_math("140°", "140 degrees"), compare_math("5 cm", "5 m"), compare_math("42", "17 or 42")
    ('ok', 'wrong_unit', 'wrong')
    """
    answer = clean(answer)
    try:
        gold = clean(gold)
    except Unreadable:
        return "ok" if _squash(gold) == _squash(answer) else "wrong"
    if is_plain(gold) and is_plain(answer):  # no name, list or unit to be taken off: most answers, ten times faster
        return _compare_values(gold, answer, (1,))
    return _compare(gold, answer)


def same_text(a: str, b: str) -> bool:
    """Say whether two answers have the same text, up to notation, blanks and the case of words."""
    try:
        return _squash(clean(a)) == _squash(clean(b))
    except Unreadable:
        return _squash(a) == _squash(b)


def _compare(gold: str, answer: str) -> str:
    if _squash(gold) == _squash(answer):
        return "ok"
    gold_name, gold = split_name(gold)
    answer_name, answer = split_name(answer)
    bare = _bare_name(answer_name)
    if gold_name and answer_name and _bare_name(gold_name) not in (bare, re.sub(r"_\d+$", "", bare)):
        return "wrong"
    gold_list, answer_list = split_list(gold), split_list(answer)
    if gold_list or answer_list:
        return _compare_lists(gold_list, answer_list) if gold_list and answer_list else "wrong"
    gold, gold_unit = split_unit(gold)
    answer, answer_unit = split_unit(answer)
    if gold_unit and answer_unit and gold_unit != answer_unit:
        return "wrong_unit"
    # percent may be left out or added: 50% is 50 or 0.5, and 0.5 is 0.5 or 50%, but 50 is not 0.5%
    in_percent = (gold_unit == "%") - (answer_unit == "%")
    return _compare_values(gold, answer, {1: (1, 100), 0: (1,), -1: (1, Fraction(1, 100))}[in_percent])


def _compare_values(gold: str, answer: str, scales: tuple) -> str:
    """Compare two single values; the answer, if a number, may be meant in any of the scales."""
    if _squash(gold) == _squash(answer):
        return "ok"
    left, right = plain_number(gold), plain_number(answer)
    if left is not None and right is not None:
        tolerance = TOLERANCE if "." in gold or "." in answer else 0
        scaled = [right * scale for scale in scales]
        close = any(abs(left - value) <= tolerance * max(abs(left), abs(value)) for value in scaled)
        return "ok" if close else "wrong"
    if not is_expression(gold):
        return "wrong"  # gold is words, which the answer does not repeat
    if not is_expression(answer):
        return "not_an_expression"
    if _IGNORED.search(gold) or _IGNORED.search(answer):
        return "ok" if _unbraced(gold) == _unbraced(answer) else "wrong"
    if len(gold) == len(answer) == 1 or bool(_RELATION.search(gold)) != bool(_RELATION.search(answer)):
        return "wrong"
    return verify(gold, answer)


def _compare_lists(gold: tuple, answer: tuple) -> str:
    """Compare bracketed or bare lists: sets and bare lists in any order, tuples and intervals in theirs.

    Items that the gold gives different names keep their order where the answer leaves the names out.
    """
    kinds = {gold[0] + gold[1], answer[0] + answer[1]}
    if len(kinds - {""}) > 1 or len(gold[2]) != len(answer[2]):
        return "wrong"
    if len(gold[2]) > MAX_ITEMS:
        return "too_complex"
    left = list(answer[2])
    names = {_bare_name(split_name(item)[0]) for item in gold[2]} - {""}
    ordered = not kinds <= {"", "{}"} or (len(names) > 1 and not any(split_name(item)[0] for item in left))
    for item in gold[2]:
        for place in range(1 if ordered else len(left)):
            verdict = _compare(item, left[place])
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
    else:
        whole = Fraction(part["whole"] or part["wholes"] or 0)
        top, bottom = next((part[x], part[y]) for x, y in ("cd", "ab", ("over", "under"), ("top", "bottom")) if part[x])
        if not Fraction(bottom):
            return None
        value = whole + Fraction(top) / Fraction(bottom)
    return -value if part["sign"] == "-" else value


def split_unit(text: str) -> tuple[str, str]:
    """Return the value without its unit, and the unit under its first name, or "".

    A single letter right after a value (`5m`) is a unit only if the value has no other letter; a noun is one only after
    a number.

    >>> split_unit("8cm^{2}"), split_unit("140^{\\\\circ}"), split_unit("3 dogs"), split_unit("2x+3m")
    (('8', 'cm2'), ('140', 'degree'), ('3', 'dog'), ('2x+3m', ''))
    """
    if currency := _CURRENCY.match(text):
        return split_unit(text[currency.end() :])[0], currency[1]
    if text.endswith(_DEGREE):
        return text[: -len(_DEGREE)].rstrip(), "degree"
    if match := _UNIT.search(text):
        front, word = text[: match.start()], match[2]
        body = front.rstrip()
        attached = len(word) == 1 and word.isascii() and word.isalpha() and not front.endswith(" ")
        lonely = not re.search(r"(?<![\\A-Za-z])[A-Za-z]", body)
        if body and (body[-1].isdigit() or body[-1] in ")}" or body.endswith("\\pi")) and (lonely or not attached):
            power = {"s": "2", "平": "2", "c": "3", "立": "3"}.get((match[1] or " ")[0], match[3] or "")
            unit = _UNITS[word]
            return body, "" if unit == "unit" else unit + power
    if match := _NOUN.search(text):
        body, noun = text[: match.start()].rstrip(), match[1].removesuffix("s")
        if plain_number(body) is not None and not {noun, match[1]} & _NO_NOUNS:
            return body, noun
    return text, ""


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


def _bare_name(name: str) -> str:
    return re.sub(r"\\(?:angle|triangle)|[{}]", "", name)


def _unbraced(text: str) -> str:
    return re.sub(r"_ ?\{([^{}]*)\}", r"_\1", _squash(text))


def _squash(text: str) -> str:
    """Return the text without blanks, except those between digits, and in lower case where it holds words."""
    squashed = _BLANK.sub("", " ".join(text.split()))
    return squashed.casefold() if "\\" not in squashed and re.search(r"[A-Za-z]{2}", squashed) else squashed
