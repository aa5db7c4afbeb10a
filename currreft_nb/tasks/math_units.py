r"""Units, currencies and counted things behind or in front of a value.

8 cm^2 -> 8, cm2     -$5 -> -5, $     60 miles per hour -> 60, mi/h     3 dogs -> 3, dog     5 dozen -> 5 dozen
"""

import re

from currreft_nb.tasks.math_numbers import plain_number

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


def split_unit(text: str) -> tuple[str, str]:
    """Return the value without its unit, and the unit under its first name, or "".

    A single letter behind a value (`5m`) is a unit only if the value is a number, m also if it has no other letter and
    is no sum that ends in m; a noun is one only after a number.

    >>> split_unit("8cm^{2}"), split_unit("140^{\\\\circ}"), split_unit("3 dogs"), split_unit("2x+3m")
    (('8', 'cm2'), ('140', 'degree'), ('3', 'dog'), ('2x+3m', ''))
    """
    if currency := _CURRENCY.match(text):
        value = currency[1].strip() + text[currency.end() :]
        return split_unit(value)[0], currency[2]
    if match := re.search(r" ?\^\{\\circ\} ?([CF]?)$", text):
        return text[: match.start()], "degree" + match[1]
    if match := _UNIT.search(text):
        body = text[: match.start()]
        if _takes_unit(body, match[2] or match[4]):
            return body.rstrip(), _unit_name(match)
    if match := _NOUN.search(text):
        body, noun = text[: match.start()].rstrip(), match[1].removesuffix("s")
        if plain_number(body) is not None and _is_noun(match[1]):
            return body, noun
    return text, ""


def _takes_unit(body: str, word: str) -> bool:
    body, attached = body.rstrip(), not body.endswith(" ")
    if not (body[-1:].isdigit() or body.endswith((")", "}", "\\pi"))):
        return False
    if len(word) > 1 or not (word.isascii() and word.isalpha()) or plain_number(body) is not None:
        return True
    if word != "m" or re.search(r"(?<![\\A-Za-z])[A-Za-z]", body):
        return False
    return not attached or not re.search(r".[+-]", re.sub(r"\(.*\)|\{.*\}", "", body))


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
