"""Options and gold answers out of the cells of a table: what a letter, a number, a text or a list stands for.

    options                                       answer    gold
    ["4", "3", "2"]   {"A": "4", "B": "3", ...}   "B"       B, by its letter
    "A. 4;B. 3;C. 2"  "(A) 4 (B) 3 (C) 2"         "3"       B, by its text
    columns A, B, C   ["A. 4", "B. 3", "C. 2"]    1         B, counted from 0
    columns option1, option2, ...                 option2   B; a number alone may count from 0 or from 1, and is refused
    ["4", "3", "2", "1"]                          "1"       refused: the text of D, and the second option from 0
    ["B", "C", "D"]                               "B"       refused: the text of A, and the letter of the second option
                                                  ["14"]    14
                      answers of ten people       ["yes", "yes", "no", ...]   yes, and its share

What can be read in two ways is refused; the option `answer_as` of a source says how all its answers are read.
"""

import ast
import re
from collections import Counter
from typing import Any

from currreft_nb.core.answers import parse_labels
from currreft_nb.core.samples import LETTERS
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.wording import plain, split_options

ANSWER_AS = ("", "letter", "text", "index", "votes", "labels")
LONGEST_LIST = 10_000  # characters of a cell that may hold a list
COLUMNS = [  # that hold one option each
    [form.format(letter) for letter in LETTERS[:10]]
    for form in ("{}", "option_{}", "choice_{}", "option{}", "Option {}")
]
COLUMNS += [[form.format(letter) for letter in LETTERS[:10].lower()] for form in ("option_{}", "choice_{}")]
NUMBERED = [
    [form.format(number) for number in range(1, 11)] for form in ("option{}", "option_{}", "choice{}", "choice_{}")
]
COLUMNS += NUMBERED
COLUMN_NAMES = {name for names in [*COLUMNS, LETTERS[:10].lower()] for name in names}
GLUED = re.compile(r"""(['"])\s+(['"])""")  # Python joins 'a' 'b' to 'ab', and NumPy writes its lists so


def read_options(value: Any) -> list[str]:
    """Return the options of a cell: a list, a dict by letter, or the text of one of these or of lettered options.

    Raises `BadRow`.

    >>> read_options("['3', '4']"), read_options("(A) 3 (B) 4"), read_options({"A": "3", "B": "4"})
    (['3', '4'], ['3', '4'], ['3', '4'])
    """
    found = literal(value) if isinstance(value, str) and value.strip()[:1] in ("[", "{", "(") else value
    if found is None or found == "" or found != found:  # NaN is the empty cell of a table of numbers
        return []
    if isinstance(found, str):
        rest, options = split_options(found)
        if not options or rest:
            raise BadRow("options are no list", found)
        return options
    if isinstance(found, dict):
        found = found["text"] if {"text", "label"} <= found.keys() else _by_letters(found)
    if not isinstance(found, list | tuple):
        raise BadRow("options are no list", str(value))
    options = [str(option).strip() for option in found]
    if len(options) == 1:
        raise BadRow("there is only one option", str(value))
    return _unlettered(options)


def literal(text: str) -> Any:
    """Return the list or dict whose text this is, else the text. Raises `BadRow` for a list without commas."""
    if GLUED.search(text):
        raise BadRow("list has no commas", text)
    try:
        return ast.literal_eval(text) if len(text) <= LONGEST_LIST else text  # a long one can exhaust the parser
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _by_letters(options: dict) -> list:
    """Return the options of a dict by letter; one without a text is not there."""
    filled = {str(letter).strip().upper(): text for letter, text in options.items() if text not in (None, "")}
    return _in_order(filled, LETTERS[: len(filled)])


def _in_order(filled: dict[str, Any], names: Any) -> list:
    if list(filled) != list(names):
        raise BadRow("options are not in the order of their letters, or one is missing", ", ".join(filled))
    return [*filled.values()]


def _unlettered(options: list[str]) -> list[str]:
    """Return the options without their letters, if all begin with theirs: A. dog, B. cat.

    >>> _unlettered(["(A) 3", "(B) 4"]), _unlettered(["A. Smith", "C. Jones"])
    (['3', '4'], ['A. Smith', 'C. Jones'])
    """
    bare = [re.sub(rf"^\(?{letter}[.):]+\s*(?=\S)", "", option) for letter, option in zip(LETTERS, options)]
    changed = all(short != option for short, option in zip(bare, options))
    return bare if options and len(bare) == len(options) and changed else options


def options_in_columns(row: dict) -> list[str]:
    """Return the options of a row that has a column for each, such as A, B, C and D, or nothing. Raises `BadRow`."""
    for names in COLUMNS:
        if names[0] in row and names[1] in row:
            cells = {name: str(row[name]).strip() for name in names if row.get(name) not in (None, "")}
            return _in_order(cells, names[: len(cells)]) if len(cells) > 1 else []
    return []


def named_option(value: Any, row: dict, options: list[str], answer_as: str) -> Any:
    """Return the letter of an option that an answer names by its numbered column; any other answer unchanged.

    Raises `BadRow` for a number alone, which may count from 0 or from 1.

    >>> named_option("option2", {"option1": "red", "option2": "blue"}, ["red", "blue"], "")
    'B'
    """
    names = next((names for names in NUMBERED if names[0] in row and names[1] in row), [])[: len(options)]
    text = str(value).strip()
    if text in names:
        return LETTERS[names.index(text)]
    if names and not answer_as and text.removesuffix(".0") in map(str, range(len(names) + 1)):
        raise BadRow("answer may count the options from 0 or from 1", f"{text!r}; write answer_as=index or text")
    return value


def one_answer(value: Any, column: str, answer_as: str) -> tuple[Any, float | None]:
    """Return the answer of a cell that may list several people's, and the share of the people who gave it, or None.

    A list of one is its answer. Answers of several people (with answer_as=votes, in a column `answers`, or as VQA's
    {"answer": ...}) become the most common one. Raises `BadRow` for two that are equally common, and for another list.

    >>> one_answer(["14"], "label", ""), one_answer(["yes", "no", "Yes"], "answers", "")
    (('14', None), ('yes', 0.6666666666666666))
    """
    items, of_people = listed(value)
    if items is None or answer_as == "text":
        return value, None
    return (items[0], None) if len(items) == 1 else _one_of([str(item) for item in items], column, answer_as, of_people)


def label_answer(value: Any, column: str, answer_as: str) -> tuple[list[str], float | None]:
    """Return the labels of a cell, or the most common of several people's answers and its share. Raises `BadRow`.

    Different labels are those of the picture, unless the column is `answers`; a list with repetitions is ambiguous.

    >>> label_answer(["cat", "dog"], "labels", ""), label_answer("cat, cat, dog", "labels", "labels")
    ((['cat', 'dog'], None), (['cat', 'dog'], None))
    """
    items, of_people = listed(value)
    labels = parse_labels(value) if items is None else [str(item) for item in items]
    distinct = list({plain(label): label for label in reversed(labels)}.values())[::-1]
    several = len(distinct) < len(labels) or (len(labels) > 1 and column.casefold() == "answers")
    if answer_as == "labels" or not (several or of_people or answer_as == "votes"):
        return distinct, None
    answer, share = _one_of(labels, column, answer_as, of_people)
    return [answer], share


def listed(value: Any) -> tuple[list | None, bool]:
    """Return the items of a list of answers, or of the text of a list of texts, and whether they name people's answers.

    None for any other value. Raises `BadRow` for a dict and for a list of lists.
    """
    if isinstance(value, str) and value.strip().startswith(("['", '["', "[{")):
        value = literal(value.strip())
    if isinstance(value, dict):
        raise BadRow("answer is no text, number or list", str(value))
    if not isinstance(value, list | tuple):
        return None, False
    items = [item["answer"] if isinstance(item, dict) and "answer" in item else item for item in value]
    if any(isinstance(item, dict | list | tuple) for item in items):
        raise BadRow("answer is no text, number or list of these", str(value))
    return items, any(isinstance(item, dict) for item in value)


def _one_of(said: list[str], column: str, answer_as: str, of_people: bool) -> tuple[str, float]:
    repeated = len({*map(plain, said)}) < len(said)
    if not (answer_as == "votes" or of_people or (repeated and column.casefold() == "answers")):
        remedy = "write answer_as=votes if it holds several people's answers, labels if what is in the picture"
        raise BadRow("answer is a list of several", f"{said}; {remedy}")
    return _most_common(said)


def _most_common(said: list[str]) -> tuple[str, float]:
    counts = Counter(map(plain, said))
    (first, number), *others = counts.most_common(2)
    if others and others[0][1] == number:
        raise BadRow("no answer is the most common", f"{dict(counts)}", fault=False)
    spellings = Counter(text for text in said if plain(text) == first)
    return spellings.most_common(1)[0][0].strip(), number / len(said)
