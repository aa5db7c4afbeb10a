r"""Bring mathematical notation of models and data sets to one form: LaTeX without decoration.

    "$\boxed{12\text{ cm}^2}$."  ->  "12 cm ^2"                 "√12"   ->  "\sqrt{12}"
    "∠A = 40°"                   ->  "\angle A = 40^{\circ}"    "2**3"  ->  "2^3"

Then split off the name in front ("x = ") and the items of a list. Every function is linear in the text.
"""

import re
import unicodedata
from functools import lru_cache

from currreft_nb.core.answers import Unreadable

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

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SYMBOLS = dict.fromkeys("−–—﹣－", "-") | dict.fromkeys("·⋅∙", "\\cdot ") | dict.fromkeys("°º˚", "^{\\circ}")
_SYMBOLS |= {"÷": "/", "，": ",", "×": "\\times ", "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt ", "∠": "\\angle "}
_SYMBOLS |= {"△": "\\triangle ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "±": "\\pm ", "∪": "\\cup ", "∩": "\\cap "}
_SYMBOLS |= {"∈": "\\in ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "θ": "\\theta ", "λ": "\\lambda "}
_SYMBOLS |= {"φ": "\\phi ", "ω": "\\omega ", "′": "'", "″": "''"}
_SYMBOLS |= {symbol: rf"\frac{{{top}}}{{{bottom}}}" for symbol, top, bottom in ("½12", "⅓13", "⅔23", "¼14", "¾34")}
_TRANSLATED = str.maketrans(_SYMBOLS)
_FUNCTIONS = "arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp"
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|\\!|\{,\}|\\[()\[\]]", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"(?<=\d)\\,(?=\d{3}(?!\d| ?/))", ""),  # thousands
        (r"\\(?:[,;:> ]|quad|qquad)|~", " "),
        (r"\\(?:text|textrm|textbf|textit|mathrm|mathbf|mathit|mbox|rm|operatorname)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\([%$])", r"\1"),
        (r"\\textdollar(?![a-z])", "$"),
        (r"\^\s*(?:\\circ|\\degree|\{\s*\\degree\s*\})|\\degree", r"^{\\circ}"),
        (r"\^\{\s*\\circ\s*\}", r"^{\\circ}"),
        (r"\^\s*(?:\\prime(?![a-z])|\{\s*\\prime\s*\})", "'"),
        (r"\\(le|ge|ne)q(?![a-z])", r"\\\1"),
        (r"\\tg(?![a-z])", r"\\tan"),
        (r"\\ctg(?![a-z])", r"\\cot"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        (rf"(?<![\\a-zA-Z])({_FUNCTIONS}|pi|sqrt)(?![a-zA-Z])", r"\\\1 "),
        (r"(?<![\\a-zA-Z])sqrt(?=\d)", r"\\sqrt "),
        (r"\\sqrt\s*(\d+(?:\.\d+)?|[a-z](?![a-z]))", r"\\sqrt{\1}"),
        (r"\^(\{\d+\}|\d)\^", r"^\1"),  # cm^2^, as GeoQA writes it
        (r"\s+", " "),
    )
]
_QUOTES = ('""', "''", "``", "“”", "‘’")  # around an answer; one alone is no decoration: 3' is a prime, or feet
_PLAIN = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}(?:[./][0-9]{{1,{MAX_DIGITS}}})?")
_NAME = re.compile(
    r"((?:\\(?:angle|triangle) ?)?(?:[A-Za-z]{1,4}|\\[a-z]{2,7})(?: ?_ ?(?:\w|\{\w{1,4}\}))?'{0,2}) ?= ?(.+)"
)


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
    check_size(text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATED))
    text = _unwrap(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _brace_roots(_unwrap(text))
    check_size(text)
    return text


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
        if text.startswith("\\boxed{") and _closing(text, 6) == len(text) - 1:
            text = text[7:-1]
        if re.fullmatch(r"\([A-Za-z]\)", text):
            text = text[1]
    return text


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
    """Return the name in front of an equals sign, without blanks, or "", and the rest.

    >>> split_name("x = 5"), split_name("5 = 5")
    (('x', '5'), ('', '5 = 5'))
    """
    match = _NAME.fullmatch(text)
    if not match or "=" in match[2]:
        return "", text
    return match[1].replace(" ", ""), match[2]


def split_list(text: str) -> tuple[str, str, list[str]] | None:
    """Return opening bracket, closing bracket and items of a list, tuple, interval or set; None for a single thing.

    >>> split_list("[0, 1)"), split_list("1 or 2"), split_list("1,234")
    (('[', ')', ['0', '1']), ('', '', ['1', '2']), None)
    """
    if match := re.fullmatch(r"\\pm ?([^-+,]+)", text):
        return "", "", [match[1], f"-{match[1]}"]
    inner = re.sub(r"\\([{}])", r"\1", text)
    bracketed = inner[:1] in ("(", "[", "{") and _closing(inner, 0) == len(inner) - 1
    if not bracketed:
        joined = re.sub(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])", lambda match: match[0].replace(",", ""), text)
        inner = re.sub(r",? (?:and|or) ", ",", joined)
    items = _split_top(inner[1:-1] if bracketed else inner)
    if len(items) < 2:
        return None
    return (inner[0], inner[-1], items) if bracketed else ("", "", items)


def _split_top(text: str) -> list[str]:
    """Split at the commas and semicolons outside of brackets."""
    items, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth == 0:
            items.append(text[start:index].strip())
            start = index + 1
    return [*items, text[start:].strip()]
