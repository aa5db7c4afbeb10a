r"""Bring mathematical notation of models and data sets to one form: LaTeX without decoration.

    "$\boxed{12\text{ cm}^2}$."  ->  "12 cm ^2"                 "√12"   ->  "\sqrt{12}"
    "∠A = 40°"                   ->  "\angle A = 40^{\circ}"    "2**3"  ->  "2^3"

Then split off the name in front ("x = ") and the items of a list. Every function is linear in the text.
"""

import re
import unicodedata
from functools import lru_cache

from currreft_nb.core.answers import Unreadable, visible

MAX_LENGTH, MAX_NESTING, MAX_DIGITS, MAX_EXPONENT, MAX_POWERS = 500, 10, 40, 999, 10
_TOO_COMPLEX = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"\d{{{MAX_DIGITS + 1}}}",
        rf"\^ ?[{{(]? ?[-+]? ?0*[1-9]\d{{{len(str(MAX_EXPONENT))}}}",
        r"\^ ?(?:\w|[{(] ?[-+]?[^{}()^]*\d ?\}?) ?\^ ?[\w{(]",  # a tower: 10^{10^10} or 9^9^9
        r"\d{4} ?!|! ?!",  # a large factorial, or that of a factorial
        r"(?:\^|!|\d{3}).*[)}\]|] ?!|[)}\]|] ?!.*(?:\^|!|\d{3})",  # that of a bracket, which may be as large
    )
]

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SYMBOLS = dict.fromkeys("−–—﹣－‐‑‒", "-") | dict.fromkeys("·⋅∙•", "\\cdot ") | dict.fromkeys("°º˚", "^{\\circ}")
_SYMBOLS |= {"÷": "/", "，": ",", "×": "\\times ", "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt ", "∠": "\\angle "}
_SYMBOLS |= {"△": "\\triangle ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ", "∪": "\\cup ", "∩": "\\cap "}
_SYMBOLS |= {"∈": "\\in ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "θ": "\\theta ", "λ": "\\lambda "}
_SYMBOLS |= {"φ": "\\phi ", "ω": "\\omega ", "′": "'", "″": "''", "∓": "\\mp ", "≈": "\\approx ", "≅": "\\cong "}
_SYMBOLS |= {"⩽": "\\le ", "⩾": "\\ge ", "∛": "\\sqrt[3]", "∜": "\\sqrt[4]", "∅": "\\emptyset ", "∣": "|", "∶": ":"}
_SYMBOLS |= dict.fromkeys("⁄∕", "/") | {
    "⟨": "(",
    "⟩": ")",
    "μ": "\\mu ",
    "ρ": "\\rho ",
    "σ": "\\sigma ",
    "δ": "\\delta ",
}
for _code in (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189):  # ½ and the other fractions of one character
    _top, _, _bottom = unicodedata.normalize("NFKC", chr(_code)).partition("⁄")
    _SYMBOLS[chr(_code)] = rf"\frac{{{_top}}}{{{_bottom}}}"
_TRANSLATED = str.maketrans(_SYMBOLS)
_FUNCTIONS = "arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp"
_UNIT_LETTERS = {
    "s": "seconds",
    "h": "hours",
    "g": "grams",
    "l": "liters",
    "L": "liters",
    "N": "newtons",
    "J": "joules",
}
_UNIT_LETTERS |= {"W": "watts", "V": "volts", "A": "amperes", "K": "kelvins", "t": "tonnes", "C": "coulombs"}
_TEXT = r"\\(?:(?:text|math)(?:rm|bf|it|sf|tt|sc|up|md|normal)|text|mbox|hbox|rm|boldsymbol|bm|operatorname\*?)\s*"
_PIECE = r"(?:[^{}]|\{[^{}]*\})*"  # with braces, but none in braces


def _repeating(match: re.Match) -> str:
    """Return a repeating decimal as a fraction: 0.1(6) is (16 - 1) / 90."""
    whole, part, repeated = match[1], match[2], re.sub(r"\D", "", match[3])
    top, nines = int(whole + part + repeated) - int(f"0{whole}{part}"), 10 ** len(repeated) - 1
    return rf"\frac{{{top}}}{{{nines * 10 ** len(part)}}}"


def _unit_in_words(match: re.Match) -> str:
    """Return a unit that is marked as text in words: behind a formula its letter alone would be a variable."""
    behind_number = match[1] in "shglL" and match.string[: match.start()].rstrip()[-1:].isdigit()
    return f" {match[1] if behind_number else _UNIT_LETTERS[match[1]]} "


_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\!\s*|\{,\}", ""),
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-z])|(?<!\\)\\[()\[\]]", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"(?<=\d)\\,(?=\d{3}(?!\d| ?/))", ""),  # thousands
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-z]))|~", " "),
        (rf"(?<![\\a-zA-Z{{]){_TEXT}\{{\s*([shglLNJWVAKtC])\s*\}}(?=[\s.$}}]*$)", _unit_in_words),
        (rf"{_TEXT}\{{([^{{}}]*)\}}", r" \1 "),
        (r"\{\\(?:rm|bf|it) ([^{}]*)\}", r" \1 "),
        (r"\\([%$])", r"\1"),
        (r"\\textdollar(?![a-z])", "$"),
        (r"\^\s*(?:\\circ|\\degree|\{\s*(?:\\degree|\\circ)\s*\})|\\degree|(?<=\d)\s*\\circ(?![a-z])", r"^{\\circ}"),
        (r"(?<=[\d})])\s*\^\s*(?:\{\s*o\s*\}|o(?![a-zA-Z]))", r"^{\\circ}"),
        (r"\^\s*(?:\\prime(?![a-z])|\{\s*\\prime\s*\})", "'"),
        (r"\\(le|ge|ne)q(?:slant)?(?![a-z])", r"\\\1"),
        (r"\\(le|ge)slant(?![a-z])", r"\\\1"),
        (r"\\lt(?![a-z])", "<"),
        (r"\\gt(?![a-z])", ">"),
        (r"\\[lr]vert(?![a-z])", "|"),
        (r"\\langle(?![a-z])", "("),
        (r"\\rangle(?![a-z])", ")"),
        (r"\\mu ?(?=m(?:\s*\^.*)?$)", "u"),
        (r"\\tg(?![a-z])", r"\\tan"),
        (r"\\ctg(?![a-z])", r"\\cot"),
        (r"\\measuredangle(?![a-z])", r"\\angle"),
        (r"[(\[]?\\begin\{array\}\{[clr|]*\}(.*?)\\end\{array\}[)\]]?", r"\\begin{pmatrix}\1\\end{pmatrix}"),
        (r"\\begin\{cases\}(.*?)\\end\{cases\}", lambda m: m[1].strip().removesuffix("\\\\").replace("\\\\", ", ")),
        (rf"\{{({_PIECE})\\over(?![a-z])({_PIECE})\}}", r"\\frac{\1}{\2}"),
        (r"^([^=,]+)\\over(?![a-z])([^=,]+)$", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d|[a-zA-Z](?![a-zA-Z]))", r"\\frac{\1}"),
        (r"(\\frac\{[^{}]*\})\s*(\d|[a-zA-Z](?![a-zA-Z]))", r"\1{\2}"),
        (r"(\d)\u0307", r"\\dot{\1}"),
        (r"(?<![\d.])(\d*)\.(\d*)(\\dot ?\{?\d\}?(?:\d*\\dot ?\{?\d\}?)?)(?!\d)", _repeating),
        (r"(?<![\d.])(\d*)\.(\d*)(\\(?:overline|bar) ?(?:\{\d+\}|\d)|(?:\d[\u0304\u0305])+|\(\d+\))(?!\d)", _repeating),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        (r"\\(?:cdot|times)\s*(?=\^\{\\circ\})", ""),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS}|pi|sqrt)(?![a-zA-Z])", r"\\\1 "),
        (r"(?<![\\a-zA-Z])sqrt(?=\d)", r"\\sqrt "),
        (r"\\sqrt(\[\d\])?\s*(\d+(?:\.\d+)?|[a-z](?![a-z]))", r"\\sqrt\1{\2}"),
        (r"\^(\{\d+\}|\d)\^", r"^\1"),  # cm^2^, as GeoQA writes it
        (r"\s+", " "),
        (r"(?<!\\)\{ | (?=\})", lambda m: m[0].strip()),
        (r"(\^(?:\d+|\{-?\d+\})) (?=\d)", r"\1\\cdot "),  # a product
    )
]
_TWO_OR_ONE = re.compile(r"\d{3}(?:,\d{3})+")  # two numbers, or one with separators
_QUOTES = ('""', "''", "``", "“”", "‘’")  # around an answer; one alone is no decoration: 3' is a prime, or feet
_PLAIN = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}(?:[./][0-9]{{1,{MAX_DIGITS}}})?")
_INDEX = r"(?: ?_ ?(?:\w|\{[^{}=]{1,16}\}))?'{0,2}"
_GREEK = r"\\(?:alpha|beta|gamma|delta|(?:var)?epsilon|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|(?:var)?phi|omega)"
_SYMBOL = rf"(?:[A-Za-z]{{1,4}}|{_GREEK}){_INDEX}"
_NAMES = "|".join(
    (
        _SYMBOL,
        rf"m? ?\\(?:angle|triangle) ?(?:\d|{_SYMBOL})",
        r"\|[A-Z]{2}\|",
        r"\\(?:overline|overrightarrow|widehat|vec|hat|bar) ?\{?[A-Za-z]{1,3}\}?",
        rf"[A-Za-z](?: ?\^ ?\{{?-1\}}?)?{_INDEX} ?\([^()=]{{1,12}}\)",  # f(x), P(A)
        rf"\\(?:{_FUNCTIONS}) ?(?:\\angle ?)?(?:[A-Za-z]{{1,3}}|{_GREEK})",
        r"\( ?[a-zA-Z](?: ?, ?[a-zA-Z]){1,2} ?\)",
        r"[A-Za-z][a-z'-]*(?: (?:[A-Za-z][a-z'-]*|[A-Z]{1,4})){0,7}",  # area of triangle ABC
    )
)
_NAMED = re.compile(rf"({_NAMES})? ?(?:=|\\approx) ?(.+)")
_NAMED_BEHIND = re.compile(rf"([^A-Za-z=<>]+?) ?= ?({_SYMBOL})")
_WORD_NAMED = re.compile(r"([A-Za-z][a-z]{2,}(?: [a-z]+){0,4}) ?: ?([^:=]+)")
_DENIAL_WORDS = """
no not non nor never neither none nothing without except but or if unless either else other otherwise another different
wrong false incorrect isn isnt cannot cant maybe perhaps possibly probably guess opposite negative minus less more than
about versus vs instead when where yes true ne neq neg
"""
_DENIALS = frozenset(_DENIAL_WORDS.split())  # that no value has as its name: not = 5
_BEHIND_BOX = re.compile(r"[\d=<>+*,;()\[\]|-]|\\(?:boxed|pm|mp|cdot|times|frac|sqrt|pi)")


def check_size(text: str) -> None:
    """Raise `Unreadable("too_complex")` for text that would take long to compare, longer than any answer needs."""
    if len(text) > MAX_LENGTH:
        raise Unreadable("too_complex")
    depth = deepest = 0
    for character in text:
        depth = max(0, depth + (character in "([{") - (character in ")]}"))  # closing first opens nothing
        deepest = max(deepest, depth)
    powers = text.replace("**", "^").replace("^\\circ", "").replace("^{\\circ}", "")
    if deepest > MAX_NESTING or powers.count("^") > MAX_POWERS or any(sign.search(powers) for sign in _TOO_COMPLEX):
        raise Unreadable("too_complex")


@lru_cache(maxsize=65_536)
def clean(text: str) -> str:
    """Return the text in plain LaTeX, without math delimiters, spacing commands, decoration and final period.

    Raises `Unreadable` for text that is too long or too complex.

    >>> clean("$\\\\boxed{\\\\dfrac{1}{2}}$."), clean("2√3"), clean("**540 \\\\mathrm{~g}**")
    ('\\\\frac{1}{2}', '2\\\\sqrt{3}', '540 g')
    """
    if is_plain(text):
        return text
    check_size(text.strip(" *$."))  # bold marks are no power; later a tower of powers could look like cm^2^
    text = tidy(text)
    check_size(text)
    return text


def tidy(text: str) -> str:
    """Return the same for any text that is not too long, however large its numbers are."""
    if len(text) > MAX_LENGTH:
        raise Unreadable("too_complex")
    text = visible(text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda match: f"^{{{match[0].translate(_RAISED)}}}", text)
    text = re.sub("[₀-₉]+", lambda match: f"_{{{match[0].translate(_LOWERED)}}}", text)
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATED)).translate(_TRANSLATED)
    text = _unwrap(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return _brace_roots(_unwrap(text))


def is_plain(text: str) -> bool:
    """Say whether the text is an integer, decimal or fraction in its plainest form, which needs no cleaning."""
    return _PLAIN.fullmatch(text) is not None


def _unwrap(text: str) -> str:
    """Strip the decoration of an answer: blanks, quotes, bold marks, dollars in pairs, a final period, a box."""
    before = None
    while text != before:
        before = text
        text = text.strip()
        if len(text) > 1 and text[0] + text[-1] in _QUOTES:
            text = text[1:-1]
        if text.startswith("**") and text.endswith("**"):
            text = text.strip("*")
        if len(re.findall(r"(?<!\\)\$", text)) % 2 == 0:
            text = re.sub(r"(?<!\\)\$", "", text)
        if text.endswith((".", "。")):
            text = text[:-1]
        text = _unboxed(text)
        if re.fullmatch(r"\([A-Za-z]\)", text):
            text = text[1]
    return text


def _unboxed(text: str) -> str:
    """Return the text without its only box, if nothing is in front of it but a name, and behind it but a unit."""
    head, box, rest = text.partition("\\boxed{")
    end = _closing(box + rest, 6) if box else -1
    if end < 0 or (head.strip(" $") and not head.rstrip(" $").endswith("=")):
        return text
    inside, tail = (box + rest)[7:end], (box + rest)[end + 1 :]
    if _BEHIND_BOX.search(re.sub(r"\^ ?\{?[23]\}?", "", tail)) or (
        tail.strip(" .$") and re.search(r"\S ?[-+]", inside)
    ):
        return text
    return f"{head}{inside} {tail}".strip()


def _closing(text: str, start: int) -> int:
    """Return the index of the bracket that closes the one at `start`, or -1."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] in "([{") - (text[index] in ")]}")
        if depth == 0:
            return index
    return -1


def _brace_roots(text: str) -> str:
    """Return the text with `\\\\sqrt(x+1)` written as `\\\\sqrt{x+1}`."""
    while (match := re.search(r"\\sqrt ?\(", text)) and (end := _closing(text, match.end() - 1)) > 0:
        text = f"{text[: match.start()]}\\sqrt{{{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


def split_name(text: str) -> tuple[str, str]:
    r"""Return the name in front of an equals sign, or behind it, without blanks, or "", and the rest.

    A name is a symbol, an angle, a length, `f(x)`, a tuple of letters or some words, none of which denies. An equals
    sign without anything in front is left out.

    >>> split_name("x = 5"), split_name("5 = 5"), split_name("area of ABC = 5 cm"), split_name("not = 5")
    (('x', '5'), ('', '5 = 5'), ('areaofABC', '5 cm'), ('', 'not = 5'))
    """
    if match := _NAMED.fullmatch(text) or _WORD_NAMED.fullmatch(text):
        name, rest = match[1] or "", match[2]
    elif match := _NAMED_BEHIND.fullmatch(text):
        name, rest = match[2], match[1]
    else:
        return "", text
    if "=" in rest or _DENIALS.intersection(re.findall(r"[a-z]+", name.casefold())):
        return "", text
    return name.replace(" ", ""), rest


def same_name(gold: str, answer: str) -> bool:
    r"""Say whether two names may stand for one thing: the same, in the other direction, or a word and a symbol.

    >>> same_name("AB", "BA"), same_name("\\angleA", "A"), same_name("slope", "k"), same_name("x", "y")
    (True, True, True, False)
    """
    if _is_word(gold) != _is_word(answer):
        return True
    gold, answer = bare_name(gold), bare_name(answer)
    if _is_word(gold):
        return gold.casefold() == answer.casefold()
    return gold in (answer, re.sub(r"_\d+$", "", answer)) or (gold.isupper() and len(gold) < 4 and gold == answer[::-1])


def bare_name(name: str) -> str:
    """Return a name without blanks, braces and the signs of angles, triangles and lengths."""
    return re.sub(r"m?\\(?:angle|triangle)|\\(?:overline|bar)|[{}| ]", "", name)


def _is_word(name: str) -> bool:
    """Say whether a name is a word: with a vowel behind a letter, so neither `AB` nor the product `xyz`."""
    return re.fullmatch(r"[A-Za-z'-]*[A-Za-z][aeiou][A-Za-z'-]*", name) is not None and len(name) > 2


def split_list(text: str, thousands: bool = False) -> tuple[str, str, list[str]] | None:
    """Return opening bracket, closing bracket and items of a list, tuple, interval or set; None for a single thing.

    `1 ± √2` is a list of two. `100,200` is one, too, unless `thousands` says that a single number is expected.

    >>> split_list("[0, 1)"), split_list("1 or 2"), split_list("1,234"), split_list("100,200", thousands=True)
    (('[', ')', ['0', '1']), ('', '', ['1', '2']), None, None)
    """
    inner = re.sub(r"\\([{}])", r"\1", text)
    bracketed = inner[:1] in ("(", "[", "{") and _closing(inner, 0) == len(inner) - 1
    if bracketed:
        brackets, inner = (inner[0], inner[-1]), inner[1:-1]
    else:
        brackets, inner = ("", ""), text
        if thousands or not _TWO_OR_ONE.fullmatch(text):
            inner = re.sub(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])", lambda match: match[0].replace(",", ""), text)
        inner = re.sub(r",? (?:and|or) ", ",", inner)
    items = _split_top(inner)
    if brackets[0] in ("", "{"):
        items = [sign for item in items for sign in _both_signs(item)]
    return (*brackets, items) if len(items) > 1 else None


def _both_signs(text: str) -> list[str]:
    """Return the two values of a text with one plus-or-minus sign, or the text."""
    if text.count("\\pm") != 1 or "\\mp" in text:
        return [text]
    return [re.sub(r"^\+ ?", "", re.sub(r"\\pm ?", sign, text)) for sign in "+-"]


def _split_top(text: str) -> list[str]:
    """Split at the commas and semicolons outside of brackets."""
    items, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0:
            items.append(text[start:index].strip())
            start = index + 1
    return [*items, text[start:].strip()]
