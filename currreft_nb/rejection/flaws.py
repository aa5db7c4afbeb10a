"""Reasons to reject an answer as an example despite its points: flaws of its text, duplicates, a full quota.

Flaws are found before a judge is asked, so that no judge is paid for them. The reasons:

    truncated       the limit of tokens cut it off
    too_long        more than 8,000 characters
    repeats         the same few words, or the same piece of text, again and again
    mixed_script    letters of a script that neither question nor reference uses (Latin and Greek are fine)
    unreadable      replacement, private or control characters
    no_answer       no answer block, and no reference by which the rule judge would notice it
    same_question   a duplicate question (same words, same picture, another id) has a better answer
    near_identical  nearly the same text as a better answer to another question
    over_quota      the quota of its task or source is full
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.answers import parse_completion
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data.checks import words_of

LONGEST = 8_000  # characters
REPEATED = 0.5  # share of runs of four words that occurred before
FEWEST_WORDS = 20  # shorter texts count neither as repetitive nor as similar to others
NEARLY = 0.8  # share of runs of three words in common
FOREIGN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI", "THAI")
UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ud800-\udfff\ufffd]")
PIECE_AGAIN = re.compile(r"([^\n]{1,40}?)\1{9}")  # ten times in a row


def flaw(sample: Sample, row: Mapping) -> str | None:
    """Return the flaw of an answer as an example, or None; `row` as `core.stored_answers` stores it.

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
    if scripts(text) - scripts(f"{sample.question} {sample.answer} {sample.options} {sample.thinking or ''}"):
        return "mixed_script"
    return "no_answer" if sample.answer is None and parse_completion(text).answer is None else None


def repeats(text: str) -> bool:
    """Return whether a text repeats itself.

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
    """Return the scripts in `FOREIGN` to which letters of a text belong.

    >>> sorted(scripts("the 红 square, πr²"))
    ['CJK']
    """
    first = {unicodedata.name(letter, "").split(" ")[0] for letter in set(text) if letter.isalpha()}
    return first & set(FOREIGN)


def asked_key(sample: Sample) -> str:
    """Return a key that is equal for questions with the same words about the same picture."""
    return f"{words_of(sample.question).hex()[:16]} {Path(sample.image).name if sample.image else '-'}"


def duplicates(rows: Sequence[Mapping]) -> dict[int, str]:
    """Return why rows duplicate a better one, by position; `rows`: best first."""
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
        return False  # too different in length to share enough
    return len(one & other) >= NEARLY * len(one | other)


def over_quota(rows: Sequence[Mapping], quotas: Mapping[str, int], sources: Collection[str | None]) -> set[int]:
    """Return the positions of the rows, best first, that exceed the quota of their task or their source.

    Raises `InputError` for a quota of a name that is neither a task nor one of the sources.
    """
    known = {*TASKS, *filter(None, sources)}
    if unknown := sorted(set(quotas) - known):
        hint = did_you_mean(unknown[0], known, "there are {}")
        raise InputError(f"quota for {unknown[0]!r}: unknown task or source{hint}")
    taken: Counter = Counter()
    beyond = set()
    for place, row in enumerate(rows):
        names = [name for name in quotas if name in (row.get("task"), row.get("source"))]
        if any(taken[name] >= quotas[name] for name in names):
            beyond.add(place)
        else:
            taken.update(names)
    return beyond
