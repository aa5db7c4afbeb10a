"""Separate questions, options, answers and reasoning in the running text of data sets for chat models.

<image>\\nHint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\\n
Question: What fraction of the shape is blue?\\nChoices:\\n(A) 3/11\\n(B) 8/11     ->  "What fraction ...?", two options
Eight of the eleven parts are blue. The answer is B.                           ->  reasoning, and "B"
"""

import re
from typing import Any

from currreft_nb.core.answers import parse_boxes, parse_labels
from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import LETTERS, VALUES
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import fit_box
from currreft_nb.tasks import detection
from currreft_nb.tasks.math import read_option

ANSWER_IS = re.compile(
    r"(?:\b(?:so|thus|hence|therefore)[,:]? )?(?:\bthe )?(?:\b(?:final|correct|right) )?\banswer(?:(?: is)? ?:| is\b)",
    re.IGNORECASE,
)
ENDING = 500  # characters at the end of a text that may hold its answer
OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):]\s*")
PLACEHOLDER = re.compile(r" ?<image\d*>\n?")
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


def split_solution(text: str) -> tuple[str | None, str]:
    """Return the reasoning, or None, and the answer: the text in tags, else the whole text.

    >>> split_solution("<think>six sevens</think><answer>42</answer>"), split_solution(" 42 ")
    (('six sevens', '42'), (None, '42'))
    """
    thinking, answer = _block(text, "think"), _block(text, "answer")
    return _block(text, "thinking") if thinking is None else thinking, (text if answer is None else answer).strip()


def _block(text: str, name: str) -> str | None:
    """Return the text between the tags; the first may lack its bracket, as in some official rows."""
    _, start, rest = text.partition(f"{name}>")
    inside, end, _ = rest.partition(f"</{name}>")
    return inside if start and end else None


def split_prose(text: str) -> tuple[str | None, str]:
    """Return the reasoning, or None, and the answer of a text with tags or with "The answer is ..." at its end.

    >>> split_prose("Eight of eleven are blue.\\nThe answer is (B) 8/11.")
    ('Eight of eleven are blue.', '(B) 8/11')
    """
    text = text.strip()
    if _block(text, "answer") is not None:
        return split_solution(text)
    if (conclusion := _block(text, "CONCLUSION")) is not None:  # LLaVA-CoT
        return text.partition("<CONCLUSION>")[0].strip() or None, split_prose(conclusion)[1]
    for found in [*ANSWER_IS.finditer(text, max(0, len(text) - ENDING))][-1:]:
        answer = text[found.end() :].strip().removesuffix(".").strip()
        if answer and "\n" not in answer:
            return text[: found.start()].strip() or None, answer
    return None, text


def split_options(problem: str) -> tuple[str, list[str]]:
    """Return the question and its options in the order of their letters; no options if there are fewer than two.

    >>> split_options("What is it?\\nA. dog\\nB. cat"), split_options("How many? (A) 3 (B) 4")
    (('What is it?', ['dog', 'cat']), ('How many?', ['3', '4']))
    """
    marks = list(OPTION.finditer(problem))
    starts = [index for index, mark in enumerate(marks) if mark[1] == "A"]
    chain: list[re.Match[str]] = []
    for mark in marks[starts[-1] :] if starts else []:
        if len(chain) < len(LETTERS) and mark[1] == LETTERS[len(chain)]:
            chain.append(mark)
    if len(chain) < 2:
        return problem, []
    ends = [mark.start() for mark in chain[1:]] + [len(problem)]
    options = [problem[mark.end() : end].strip() for mark, end in zip(chain, ends)]
    options[-1], _, rest = options[-1].partition("\n")
    question = re.sub(r"(?:Options|Choices):?$", "", problem[: chain[0].start()].strip()).strip()
    return "\n".join(part for part in (question, rest.strip()) if part), [option.rstrip(" ,;") for option in options]


def chosen_letter(text: str, options: list[str]) -> str:
    """Return the letter of the option that the text names by letter or by value; raises `BadRow`.

    >>> chosen_letter("(B) 4", ["3", "4"]), chosen_letter("3", ["3", "4"])
    ('B', 'A')
    """
    letter, problem = read_option(text.removeprefix("option ").strip(), options)
    if letter is None:
        raise BadRow("answer is none of the options", f"{text!r}: {problem}")
    return letter


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
