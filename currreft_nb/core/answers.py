"""Read a model's text: the `<think>` and `<answer>` blocks, verdicts, letters and labels.

    <think>The dog is at the left, the cat on the chair.</think><answer>dog, cat</answer>

Rewards and evaluation share these strict readers. What has one meaning is read in the form that the model's family
writes: in a fence, a box, bold or full-width characters, a letter with the text of its own option. What has two is
refused: a hedge, a second answer, a letter with another option's text, words around the answer. Boxes are read in
`core.box_answers`. Characters that nobody sees count for nothing (`visible`).
No text is evaluated as code, every function takes time linear in its input, and a refusal carries a reason code.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_ANSWER = 20_000  # characters; 80 labels or 100 labelled boxes take less than half of it
MAX_NESTING = 8  # brackets in brackets, in JSON

_VERDICTS = {"yes": True, "true": True, "correct": True, "no": False, "false": False, "incorrect": False}
_QUOTES = " \t\n\r\"'`*“”‘’«»„"
_STRAIGHT = str.maketrans("“”‘’", "\"\"''")
_UNSEEN = re.compile(  # controls, soft hyphens, characters without width, marks of direction, selectors of glyphs
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_FENCE = re.compile(r"```(?:(?:json|python|plaintext|text|markdown|latex)\b)?", re.IGNORECASE)
_AROUND = re.compile(  # of an answer: opening and closing text
    r"\\(?:boxed|fbox|text\w{0,6}|math(?:rm|bf|it|sf|tt)) ?\{(?P<inside>.*)\}|\$+(?P<math>[^$]+)\$+"
    r"|\\\((?P<inline>.*)\\\)|\\\[(?P<display>.*)\\\]|\*\*(?P<bold>[^*]+)\*\*|`(?P<code>[^`]+)`"
    r"|<\|begin_of_box\|>(?P<glm>[^<]*)<\|end_of_box\|>|\"(?P<quote>[^\"]*)\"|“(?P<typographic>[^”]*)”",
    re.DOTALL,
)
_BRACKETS_AND_PERIODS = str.maketrans("", "", "()[]{}.\"'`*")
_DECORATION = str.maketrans("、", ",", "()[]{}.\"'`*$。【】「」“”‘’")
_COMMANDS = re.compile(r"\\(?:boxed|fbox|text\w{0,6}|math\w{2}) ?(?=\{)")
_LETTERS = re.compile(r"[A-Z](?: ?(?:[,;/&] ?(?:and ?)?|and ?)?[A-Z])*+")  # possessive: no backtracking
_LETTER_AND_TEXT = re.compile(r"\(?([A-Z])\)?\s*[.:)、]\s*(\S.*)", re.DOTALL)
_NEXT_LETTER = re.compile(r"[\n,;]\s*(?=\(?[A-Z]\)?\s*[.:)、])")
_NUMBERED = re.compile(r"(?:^|[\s,;])\(?([1-9][0-9]?)[.)][ \t]+")
_BULLET = re.compile(r"\s*[-*•·◦▪‣●○–—]\s+")
_PLAIN_LABELS = re.compile(r"(?: *[A-Za-z][A-Za-z ]*,)*+ *[A-Za-z][A-Za-z ]*")  # most answers, five times faster
_LABEL_KEYS = ("labels", "label", "categories", "category", "classes", "class", "objects", "object", "answer")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)', re.DOTALL)  # or its beginning, so that no place is tried twice


class Unreadable(ValueError):
    """The text has no answer in the requested form; `reason` is a code such as `two_answers`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Parsed(NamedTuple):
    """The blocks of a completion.

    `thinking`: the text of the only think block, or None. `answer`: the text of the only answer block, or None if it is
    missing, empty or not the only one. `format`: one think block, then one answer block, otherwise only whitespace.
    `reason`: "ok" or a fault; a fault of the answer block comes first.
    """

    thinking: str | None
    answer: str | None
    format: bool
    reason: str


def parse_completion(text: str) -> Parsed:
    """Return the blocks of a completion; never raises.

    >>> parse_completion("<think>six sevens</think> <answer>42</answer>")
    Parsed(thinking='six sevens', answer='42', format=True, reason='ok')
    >>> parse_completion("<answer>42</answer>")
    Parsed(thinking=None, answer='42', format=False, reason='no_think')
    >>> parse_completion("<answer>4</answer><answer>2</answer>").reason
    'two_answers'
    """
    answer, answer_start, answer_end, answer_reason = _block(text, "answer")
    thinking, think_start, think_end, think_reason = _block(text, "think")
    if answer is not None and not answer_reason and not answer.strip():
        answer_reason = "empty_answer"
    if answer is None or answer_reason:
        return Parsed(thinking, None, False, answer_reason)
    reason = think_reason
    if not reason and think_end > answer_start:
        reason = "wrong_order"
    if not reason and (text[:think_start].strip() or text[think_end:answer_start].strip() or text[answer_end:].strip()):
        reason = "text_outside"
    return Parsed(thinking, answer.strip(), not reason, reason or "ok")


def _block(text: str, name: str) -> tuple[str | None, int, int, str]:
    """Return content, start and end of the only block of that name, and "" or its fault."""
    opening, closing = f"<{name}>", f"</{name}>"
    opened, closed = text.count(opening), text.count(closing)
    if opened > 1 or closed > 1:
        return None, 0, 0, f"two_{'thinks' if name == 'think' else name + 's'}"
    if not opened:
        return None, 0, 0, f"no_{name}"
    if not closed:
        return None, 0, 0, f"unclosed_{name}"
    start, end = text.index(opening), text.index(closing)
    if end < start:
        return None, 0, 0, "wrong_order"
    return text[start + len(opening) : end], start, end + len(closing), ""


def visible(text: str) -> str:
    """Return the text without characters that nobody sees, and with composed accents (NFC): as people compare it.

    >>> visible("\ufeffdog\u200b") == "dog", visible("cafe\u0301") == "caf\xe9"
    (True, True)
    """
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text))


def plain_characters(text: str) -> str:
    """Return the visible text in plain characters (NFKC) and with straight quotes.

    >>> plain_characters("\uff22"), plain_characters("it\u2019s\u200b")
    ('B', "it's")
    """
    return unicodedata.normalize("NFKC", visible(text)).translate(_STRAIGHT)


def undecorated(text: str) -> str:
    r"""Return the text in plain characters (NFKC), without what models put around an answer, and the final period.

    That is a code fence, also half of one, LaTeX's box, text and dollars, bold, quotes, and GLM's box tokens.

    >>> undecorated("**\\boxed{\\text{B}}**."), undecorated("\uff22"), undecorated("\\boxed{A} \\boxed{B}")
    ('B', 'B', '\\boxed{A} \\boxed{B}')
    """
    text = unicodedata.normalize("NFKC", visible(limited(text))).strip()
    for _ in range(MAX_NESTING):
        inner = unfenced(text)
        if inner.endswith((".", "。")) and not inner.endswith(".."):
            inner = inner[:-1].rstrip()
        if (match := _AROUND.fullmatch(inner)) and _is_balanced(match[match.lastgroup or 0]):
            inner = match[match.lastgroup or 0].strip()
        if inner == text:
            return text
        text = inner
    return text


def _is_balanced(text: str) -> bool:
    """Say whether every brace is closed within the text: `A} and \\boxed{B` is not one thing in braces."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def parse_verdict(text: str) -> bool:
    r"""Return the verdict of a yes/no answer, the single word yes, true, correct, no, false or incorrect.

    >>> parse_verdict("Yes."), parse_verdict("\\boxed{false}")
    (True, False)
    >>> parse_verdict("No, it is not true")
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: not_a_verdict
    """
    word = _bare_word(limited(text))
    if word not in _VERDICTS:
        word = _bare_word(undecorated(text))
    if word not in _VERDICTS:
        raise Unreadable("not_a_verdict" if word else "empty_answer")
    return _VERDICTS[word]


def _bare_word(text: str) -> str:
    return text.strip(_QUOTES).rstrip(_QUOTES + ".,;:!").lower()


def parse_letters(text: str, count: int, fits: Callable[[int, str], bool] | None = None) -> list[str]:
    """Return the sorted option letters of an answer to a question with `count` options.

    Letters may be separated by commas, semicolons, slashes, ampersands, "and" or nothing; brackets and periods are
    ignored; a word, a repeated letter or a letter beyond the options is refused. A letter may be followed by the text
    of its option where `fits(place, text)` says whether that is the text of the option at that place.

    >>> parse_letters("(B) and A.", 4), parse_letters("B. 20", 4, lambda place, text: text == ["10", "20"][place])
    (['A', 'B'], ['B'])
    >>> parse_letters("a dog, B", 4)
    Traceback (most recent call last):
    currreft_nb.core.answers.Unreadable: not_letters
    """
    plain = " ".join(limited(text).translate(_BRACKETS_AND_PERIODS).split())
    if not plain:
        raise Unreadable("empty_answer")
    if not _LETTERS.fullmatch(plain):
        bare = undecorated(text)
        plain = " ".join(_COMMANDS.sub("", bare).translate(_DECORATION).split())
        if not _LETTERS.fullmatch(plain):
            plain = "".join(_letters_with_texts(bare, count, fits)) if fits else ""
    letters = [character for character in plain if character.isupper()]
    if not letters:
        raise Unreadable("not_letters")
    if max(letters) >= chr(ord("A") + count):
        raise Unreadable("letter_out_of_range")
    if len(set(letters)) < len(letters):
        raise Unreadable("letter_twice")
    return sorted(letters)


def _letters_with_texts(text: str, count: int, fits: Callable[[int, str], bool]) -> list[str]:
    """Return the letters of an answer that gives each with its option's text; none if it has no such form."""
    whole = _LETTER_AND_TEXT.fullmatch(text)
    parts = [_LETTER_AND_TEXT.fullmatch(part.strip()) for part in _NEXT_LETTER.split(text)] if whole else []
    for found in ([whole], parts):
        pairs = [(match[1], match[2]) for match in found if match]
        known = all(letter < chr(ord("A") + count) for letter, _ in pairs)
        if pairs and known and all(fits(ord(letter) - ord("A"), option) for letter, option in pairs):
            return [letter for letter, _ in pairs]
    if whole and whole[1] < chr(ord("A") + count):
        raise Unreadable("letter_and_text_differ")
    return [whole[1]] if whole else []


def parse_labels(text: str) -> list[str]:
    """Return the labels of a list with commas, semicolons, newlines, bullets or numbers, or of a JSON list of strings.

    The JSON list may be the only thing in an object, `{"labels": [...]}`.

    >>> parse_labels("traffic light, dog"), parse_labels('["cat", "dog"]'), parse_labels("1. dog 2. cat")
    (['traffic light', 'dog'], ['cat', 'dog'], ['dog', 'cat'])
    """
    if _PLAIN_LABELS.fullmatch(limited(text)):
        return [label.strip() for label in text.split(",")]
    text = undecorated(text)
    bracketed = text[:1] + text[-1:] in ("[]", "{}")
    try:
        labels = _json_labels(load_json(text)) if bracketed else _split_labels(text)
    except Unreadable as problem:
        if problem.reason != "not_json" or text[0] == "{":
            raise Unreadable("not_labels" if problem.reason == "not_json" else problem.reason) from None
        labels = _split_labels(text[1:-1])  # a list in single quotes or without any
    if not all(isinstance(label, str) for label in labels):
        raise Unreadable("not_labels")
    labels = [stripped for label in labels if (stripped := label.strip(_QUOTES))]
    if not labels:
        raise Unreadable("empty_answer")
    return labels


def _json_labels(value: Any) -> list:
    """Return the list that a JSON value is, or that is the only thing in an object."""
    if isinstance(value, list):
        return value
    ((key, found),) = value.items() if len(value) == 1 else (("", None),)
    if key not in _LABEL_KEYS or not isinstance(found, (list, str)):
        raise Unreadable("not_labels")  # {"absent": [...]} and {"certain": [...], "possible": [...]} are no answers
    return found if isinstance(found, list) else _split_labels(found)


def _split_labels(text: str) -> list[str]:
    """Return the items of a list; numbers in front of them count as such only if they run from 1."""
    marks = list(_NUMBERED.finditer(text))
    if marks and marks[0].start() == 0 and [int(mark[1]) for mark in marks] == list(range(1, len(marks) + 1)):
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        text = ",".join(text[mark.end() : end] for mark, end in zip(marks, ends))
    return [
        _BULLET.sub("", label, count=1) if _BULLET.match(label) else label for label in re.split(r"[,;\n，；、]", text)
    ]


def load_json(text: str) -> Any:
    """Return the JSON value of the text; refuses deep nesting, duplicate keys, NaN and Infinity."""
    depth = 0
    for character in _JSON_STRING.sub("", text):  # a bracket in a label would hide how deep the others go
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_NESTING:
            raise Unreadable("too_complex")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except Unreadable:
        raise
    except ValueError:
        raise Unreadable("not_json") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise Unreadable("key_twice")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise Unreadable("not_a_number")


def unfenced(text: str) -> str:
    """Return the inside of a markdown code fence around the whole text, also if its beginning or end is missing."""
    if len(text) < 6:
        return text
    if "```" not in text:
        return text
    if opening := _FENCE.match(text):
        text = text[opening.end() :]
    return text.removesuffix("```").strip()


def limited(text: str) -> str:
    """Return the text; raises `Unreadable` if it is too long."""
    if len(text) > MAX_ANSWER:
        raise Unreadable("too_complex")
    return text
