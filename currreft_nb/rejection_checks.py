"""What makes an answer a bad example whatever its points: flaws of its text, doubles, and more than was asked for.

A flaw is found before a judge is asked, so that no judge is paid for it. What each reason means:

    truncated       the model had to stop before it was done
    too_long        more characters than anyone should imitate
    repeats         the same few words, or the same piece of text, again and again
    mixed_script    letters of a script that neither question nor reference uses (Latin and Greek are fine)
    unreadable      characters that stand for bytes lost, or control characters
    no_answer       no answer block, where there is no reference by which a rule would notice
    same_question   the same words about the same picture under another id, answered better there
    near_identical  nearly the same text as a better answer to another question
    over_quota      its task or source has enough already
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.answers import parse_completion
from currreft_nb.curation_checks import words_of
from currreft_nb.samples import TASKS, Sample

LONGEST = 8_000  # characters
REPEATED = 0.5  # share of runs of four words that occurred before
FEWEST_WORDS = 20  # shorter texts are neither said to repeat themselves nor to be like others
NEARLY = 0.8  # share of runs of three words in common
FOREIGN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI", "THAI")
UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ud800-\udfff\ufffd]")
PIECE_AGAIN = re.compile(r"([^\n]{1,40}?)\1{9}")  # ten times in a row


def flaw(sample: Sample, row: Mapping) -> str | None:
    """Return what is wrong with an answer as an example, or None; `row` as `journal_answers` stores it.

    >>> sample = Sample(id="a", task="math", split="pool", source="s", question="6 * 7", answer="42")
    >>> flaw(sample, {"completion": "six sevens " * 20, "truncated": False})
    'repeats'
    """
    text = row["completion"]
    if row.get("truncated"):
        return "truncated"
    if len(text) > LONGEST:
        return "too_long"
    if UNREADABLE.search(text):
        return "unreadable"
    if repeats(text):
        return "repeats"
    if scripts(text) - scripts(" ".join(_given(sample))):
        return "mixed_script"
    return "no_answer" if sample.answer is None and parse_completion(text).answer is None else None


def _given(sample: Sample) -> list[str]:
    return [sample.question, str(sample.answer), str(sample.options), sample.thinking or ""]


def repeats(text: str) -> bool:
    """Say whether a text says the same again and again.

    >>> repeats("ha" * 10), repeats("=" * 50), repeats("1000000000000")
    (True, False, False)
    """
    runs = _runs(text, 4)
    often = len(runs) >= FEWEST_WORDS and 1 - len(set(runs)) / len(runs) > REPEATED
    return often or any(re.search(r"[^\W\d_]", piece[1]) for piece in PIECE_AGAIN.finditer(text))


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def scripts(text: str) -> set[str]:
    """Return which scripts out of `FOREIGN` the letters of a text belong to.

    >>> sorted(scripts("the 红 square, πr²"))
    ['CJK']
    """
    first = {unicodedata.name(letter, "").split(" ")[0] for letter in set(text) if letter.isalpha()}
    return first & set(FOREIGN)


def asked_key(sample: Sample) -> str:
    """Return a text that is equal for questions with the same words about the same picture, whatever their ids."""
    return f"{words_of(sample.question).hex()[:16]} {Path(sample.image).name if sample.image else '-'}"


def doubles(rows: Sequence[Mapping]) -> dict[int, str]:
    """Return the reason for each of the rows, best first, that repeats a better one: by its place in the list."""
    found: dict[int, str] = {}
    asked: set[str] = set()
    texts: list[frozenset] = []
    for place, row in enumerate(rows):
        runs = frozenset(_runs(row["completion"], 3))
        if row.get("asked") in asked:
            found[place] = "same_question"
        elif len(runs) >= FEWEST_WORDS and any(_alike(runs, other) for other in texts):
            found[place] = "near_identical"
        else:
            asked |= {row["asked"]} if row.get("asked") else set()
            texts.append(runs)
    return found


def _alike(one: frozenset, other: frozenset) -> bool:
    if min(len(one), len(other)) < NEARLY * max(len(one), len(other)):
        return False  # too different in length to share so much
    return len(one & other) >= NEARLY * len(one | other)


def read_quotas(texts: Sequence[str]) -> dict[str, int]:
    """Return the most answers to keep by task or source. Raises `InputError` for what is no quota.

    >>> read_quotas(["math 700", "geo170k 100"])
    {'math': 700, 'geo170k': 100}
    """
    quotas: dict[str, int] = {}
    for text in texts:
        name, _, number = text.strip().rpartition(" ")
        if not name or not number.isdecimal() or name in quotas:
            raise InputError(f"quota {text!r} is not a task or source, once, and a number; write it like 'math 700'")
        quotas[name] = int(number)
    return quotas


def over_quota(rows: Sequence[Mapping], quotas: Mapping[str, int], sources: Collection[str | None]) -> set[int]:
    """Return the places of the rows, best first, that go beyond what their task or their source may give.

    Raises `InputError` for a quota of a name that is neither a task nor one of the sources.
    """
    known = {*TASKS, *sources} - {None}
    if unknown := sorted(set(quotas) - known):
        raise InputError(f"quota for {unknown[0]!r}: no such task or source; there are {', '.join(sorted(known))}")
    taken: Counter = Counter()
    beyond = set()
    for place, row in enumerate(rows):
        names = [name for name in (row.get("task"), row.get("source")) if name in quotas]
        if any(taken[name] >= quotas[name] for name in names):
            beyond.add(place)
        else:
            taken.update(names)
    return beyond
