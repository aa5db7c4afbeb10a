"""Separate questions, options, answers and reasoning in the running text of data sets for chat models.

<image>\\nHint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\\n
Question: What fraction of the shape is blue?\\nChoices:\\n(A) 3/11\\n(B) 8/11     ->  "What fraction ...?", two options
Eight of the eleven parts are blue. The answer is B.                           ->  reasoning, and "B"
"""

import re
import unicodedata
from typing import Any

from currreft_nb.core.answers import parse_labels
from currreft_nb.core.box_answers import parse_boxes
from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import LETTERS, VALUES
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import fit_box
from currreft_nb.tasks import detection
from currreft_nb.tasks.math import read_option

ANSWER_IS = re.compile(
    r"(?:\b(?:so|thus|hence|therefore)[,:]? )?(?:\bthe )?(?:\b(?:final|correct|right) )?\banswer(?:(?: is)? ?:| is\b)"
    r"|^####(?= )",  # of GSM8K
    re.IGNORECASE | re.MULTILINE,
)
BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*+)\}")
TAGS = re.compile(r"</?(?:answer|think(?:ing)?)>", re.IGNORECASE)
ENDING = 500  # characters at the end of a text that may hold its answer
# A mark follows a space or a separator; one in two brackets may follow anything but a Latin letter: P(A) is a formula.
OPTION = re.compile(r"(?:(?:^|(?<=[\s;；,，、。]))[(（]?([A-Z])[.):．）：、]|(?<![A-Za-z0-9])[(（]([A-Z])[)）])\s*")
SMALL_OPTION = re.compile(r"(?:^|(?<=[\s;；,，、。]))(?:\(([a-z])\)|([a-z])\))\s*")
MARK_GLUED = r"(?<![A-Z]){}[.):．）：](?=[\s\d$\\])"  # a mark that follows the option before it directly: 4C. 5
PLACEHOLDER = re.compile(  # of LLaVA and others; numbered; an element of HTML
    r" ?<(?:(?:image|img)(?:[ _-]?(?:here|placeholder|token))?[ _]?(\d*)|img\s[^<>]*)>(?:</(?:image|img)>)?\n?",
    re.IGNORECASE,
)
OTHER_MEDIUM = re.compile(r"<(?:video|audio)>")
_SIGNS = r"[\s()\[\]*.:]*"
LETTER = re.compile(rf"(?:[Oo]ption\s)?{_SIGNS}([A-Za-z]){_SIGNS}|\$?\\(?:boxed|text|mathrm)\{{([A-Za-z])\}}\$?")
LETTER_ALONE = re.compile(r"[A-J](?:[.):].*)?|\([A-Ja-j]\)[.:]?(?:\s.*)?", re.DOTALL)  # options rarely go beyond J
INDEX = re.compile(r"(\d{1,2})(?:\.0)?")
PHRASES = [tuple(detection.QUESTION.split("{question}")), ("this sentence describes: ", ".")]
REQUESTS = [  # of LLaVA, MathV360K, Geo170K and The Cauldron: removed, because our prompts say how to answer
    re.compile(text, re.IGNORECASE)
    for text in (
        r"^Hint: Please answer the question [^\n]*?(?:\n+|(?=Question:))",
        r"^First perform reasoning, then finally select the question from the choices[^\n]*?(?:\n+|(?=Question:))",
        r"^Based on the image, directly select the correct answer for the following question:\s*\n+",
        r"^Question:\s*",
        r"\nAnswer the question (?:with a short (?:answer|phrase)|using a single word or phrase)\.?$",
        r"\nAnswer with the (?:option's letter from the given choices directly|given options directly|letter)\.?$",
    )
]


def clean_question(text: str) -> str:
    """Return the question without image placeholders and without the request how to answer.

    >>> clean_question("<image>\\nQuestion: How many?\\nAnswer the question with a short answer.")
    'How many?'
    """
    text = PLACEHOLDER.sub("", text).strip()
    for request in REQUESTS:
        text = request.sub("", text).strip()
    return text


def count_places(text: str) -> int:
    """Return how many pictures the text has places for; numbered places may all be in one picture and count as one.

    Raises `BadRow` for a place for a video or a sound.

    >>> count_places("<image>Why?"), count_places("<image> or <image>?"), count_places("<image1> or <image2>?")
    (1, 2, 1)
    """
    if "<" not in text:
        return 0
    if OTHER_MEDIUM.search(text):
        raise BadRow("question is about a video or a sound, and a sample holds a picture", fault=False)
    found = PLACEHOLDER.findall(text)
    return found.count("") + (len(found) > found.count(""))


def split_solution(text: str) -> tuple[str | None, str]:
    """Return the reasoning, or None, and the answer: the text in tags, else the whole text.

    Tags may be in capitals; after a think block without an answer block, all that follows is the answer. Raises
    `BadRow` for two answers in tags.

    >>> split_solution("<think>six sevens</think><answer>42</answer>"), split_solution(" 42 ")
    (('six sevens', '42'), (None, '42'))
    """
    text = TAGS.sub(lambda tag: tag[0].lower(), text)
    if text.count("</answer>") > 1:
        raise BadRow("answer has several answers in tags", text)
    name = "thinking" if _block(text, "think") is None else "think"
    thinking, answer = _block(text, name), _block(text, "answer")
    if answer is None:
        answer = text if thinking is None else text.partition(f"</{name}>")[2]
    return thinking, answer.strip()


def _block(text: str, name: str) -> str | None:
    """Return the text between the tags; the first may lack its bracket, as in some official rows."""
    _, start, rest = text.partition(f"{name}>")
    inside, end, _ = rest.partition(f"</{name}>")
    return inside if start and end else None


def split_prose(text: str) -> tuple[str | None, str]:
    """Return the reasoning, or None, and the answer of a text with tags, or with one of these at its end.

    "The answer is ...", "#### ..." as in GSM8K, and `\\boxed{...}` in a sentence, as in MATH.

    >>> split_prose("Eight of eleven are blue.\\nThe answer is (B) 8/11.")
    ('Eight of eleven are blue.', '(B) 8/11')
    """
    text = text.strip()
    if TAGS.search(text):
        thinking, answer = split_solution(text)
        return thinking, answer if thinking is None or "</answer>" in text.lower() else _concluded(answer)[1]
    if (conclusion := _block(text, "CONCLUSION")) is not None:  # LLaVA-CoT
        return text.partition("<CONCLUSION>")[0].strip() or None, _concluded(conclusion.strip())[1]
    return _concluded(text)


def _concluded(text: str) -> tuple[str | None, str]:
    """Return the reasoning, or None, and the answer of a text without tags."""
    for found in [*ANSWER_IS.finditer(text, max(0, len(text) - ENDING))][-1:]:
        answer = text[found.end() :].strip().removesuffix(".").strip()
        if answer and "\n" not in answer:
            return text[: found.start()].strip() or None, answer
    boxed = BOXED.findall(text, max(0, len(text) - ENDING))
    if len(boxed) == 1 and re.search(r"[^\W\d_]{2}", BOXED.sub("", text)):
        return text, boxed[0].strip()
    return None, text


def split_options(problem: str, small: bool = False) -> tuple[str, list[str]]:
    """Return the question and its options in the order of their letters; no options if there are fewer than two.

    Options may follow each other on one line, with or without a separator. `small`: by (a) or a) instead of capitals.
    Raises `BadRow` where letters are left over, because options would be lost or run together.

    >>> split_options("What is it?\\nA. dog\\nB. cat"), split_options("How many? A. 3;B. 4")
    (('What is it?', ['dog', 'cat']), ('How many?', ['3', '4']))
    """
    marks = [(mark, (mark[1] or mark[2]).upper()) for mark in (SMALL_OPTION if small else OPTION).finditer(problem)]
    starts = [index for index, (_, letter) in enumerate(marks) if letter == "A"]
    chain: list[re.Match[str]] = []
    left = ""
    for mark, letter in marks[starts[-1] :] if starts else []:
        if len(chain) < len(LETTERS) and letter == LETTERS[len(chain)]:
            chain.append(mark)
            left = ""
        elif letter > LETTERS[len(chain)]:
            left = left or letter
    if len(chain) < 2:
        return problem, []
    ends = [mark.start() for mark in chain[1:]] + [len(problem)]
    options = [problem[mark.end() : end].strip() for mark, end in zip(chain, ends)]
    options[-1], _, rest = options[-1].partition("\n")
    if left or re.search(MARK_GLUED.format(LETTERS[len(chain) % 26]), options[-1]):
        raise BadRow("options in the text cannot be told apart", f"the last one is {options[-1]!r}")
    question = re.sub(r"(?:Options|Choices):?$", "", problem[: chain[0].start()].strip()).strip()
    asked = "\n".join(part for part in (question, rest.strip()) if part)
    return asked, [option.rstrip(" ,;；，、|").removesuffix(" /") for option in options]


def letter_in(text: str) -> str | None:
    """Return the letter that is all of an answer, in upper case.

    >>> letter_in("(b)"), letter_in("\\\\boxed{C}"), letter_in("AB")
    ('B', 'C', None)
    """
    found = LETTER.fullmatch(unicodedata.normalize("NFKC", text).strip())
    return (found[1] or found[2]).upper() if found else None


def options_asked(question: str, answer: str) -> tuple[str, list[str]]:
    """Return the question and the options in its text, if the answer is a letter; else the question and none."""
    if not (letter_in(answer) or LETTER_ALONE.fullmatch(answer.strip())):
        return question, []
    text, options = split_options(question)
    return (text, options) if options else split_options(question, small=True)


def refuse_letter_label(question: str, labels: list[str]) -> None:
    """Raise `BadRow` if the only label is the letter of an option in the question: it says nothing about the picture.

    >>> refuse_letter_label("Which animal?", ["A"])
    """
    if len(labels) == 1 and letter_in(labels[0]) and options_asked(question, labels[0])[1]:
        raise BadRow("answer is the letter of an option, and not a label", f"{labels[0]!r}; write task=math or general")


def refuse_letter(answer: str, listed: str = "") -> None:
    """Raise `BadRow` for an answer to a question without options that is the letter of one; `listed`: what there is.

    The letters A to J are refused, because a gold `B` would be taken for a formula.
    """
    plain = unicodedata.normalize("NFKC", answer).strip()
    letter = letter_in(plain)
    if LETTER_ALONE.fullmatch(plain) or (letter and len(plain) > 1 and letter in LETTERS[:10]):
        raise BadRow("answer is the letter of an option, and no options can be found", f"{answer!r}{listed}")


def chosen_letter(value: Any, options: list[str], answer_as: str = "", counted: bool = False) -> str:
    """Return the letter of the option that an answer means, by its letter or by its text. Raises `BadRow`.

    `answer_as`: only by "letter", "text" or "index". A whole number counts the options from 0; so does its text if
    `counted`. An answer that means one option by its letter or place and another by its text is refused.

    >>> chosen_letter("(B) 4", ["3", "4"]), chosen_letter("3", ["3", "4"]), chosen_letter(1, ["3", "4"])
    ('B', 'A', 'B')
    """
    text, letters = str(value).strip(), LETTERS[: len(options)]
    index = INDEX.fullmatch(text)
    ways = {
        "letter": letter if (letter := letter_in(text)) and letter in letters else None,
        "text": _by_text(text, options),
        "index": letters[int(index[1])] if index and int(index[1]) < len(letters) else None,
    }
    if type(value) is int and not answer_as:
        answer_as = "index"
    if answer_as in ways:
        ways = {answer_as: ways[answer_as]}
    elif not (counted or isinstance(value, float)):
        del ways["index"]
    found = {way: letter for way, letter in ways.items() if letter}
    if not found:
        counting = ", counted from 0" if "index" in ways and index else ""
        raise BadRow("answer is none of the options", f"{text!r} of {len(options)}{counting}")
    if len({*found.values()}) > 1:
        readings = ", ".join(f"{letter} as {way}" for way, letter in found.items())
        raise BadRow("answer means two options", f"{text!r} is {readings}; write answer_as=letter, text or index")
    return next(iter(found.values()))


def _by_text(text: str, options: list[str]) -> str | None:
    """Return the letter of the only option with this text, else of the one with this value."""
    for alike in (str.strip, plain):
        same = [letter for letter, option in zip(LETTERS, options) if alike(option) == alike(text)]
        if len(same) == 1:
            return same[0]
    return None if letter_in(text) else read_option(text.removeprefix("option ").strip(), options)[0]


def plain(text: str) -> str:
    """Return the text in lower case and one Unicode form, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_value(task: str, text: str, size: Size | None) -> Any:
    """Return the structured value of the text; boxes are fitted into an image of (width, height)."""
    if VALUES[task] == "labels":
        return list(dict.fromkeys(parse_labels(text)))
    if VALUES[task] != "boxes":
        return text.strip()
    if size is None:
        raise BadRow("row has no image")
    return [list(fit_box(box, size)) for box in parse_boxes(text)]


def asked_phrase(question: str) -> str:
    """Return the phrase that a detection question asks for, without the request around it."""
    for before, after in PHRASES:
        _, found, phrase = question.partition(before)
        if found and phrase.strip():
            return phrase.removesuffix(after).strip()
    return question


def first_exchange(turns: list[dict], role: str, text: str) -> tuple[str, str, int]:
    """Return the first question of a conversation, its answer, and how many questions follow.

    `role` and `text` are the names of a turn's fields. System prompts are skipped. Raises `BadRow`.
    """
    said = [(turn[role], turn[text]) for turn in turns if turn[role] != "system"]
    fine = len(said) >= 2 and said[0][0] in ("human", "user") and said[1][0] in ("gpt", "assistant")
    if not fine or said[0][1] is None or said[1][1] is None:
        raise BadRow("conversation does not begin with a question and its answer")
    return said[0][1], said[1][1], (len(said) - 1) // 2
