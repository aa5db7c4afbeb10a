"""One grammar for parameters of the form `KIND:PLACE | name value, name value`.

The functions that convert a value raise `ValueError` with a text that continues the option's name, as in "is 'yes';
write true or false". Every message begins with the caller's `where`; apart from those texts none repeats a value, since
it may be a secret.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean

Convert = Callable[[str], Any]
Options = Mapping[str, Convert]  # each option's name, and what converts the text of its value


def parse(
    text: str, kinds: Mapping[str, Options], where: str, bare: Collection[str] = ()
) -> tuple[str, str, dict[str, Any]]:
    """Return the kind, the place and the values of the options of a text. Raises `InputError`.

    `kinds`: the options of each kind; the kinds in `bare` are written without a place.

    >>> kinds = {"rule": {}, "http": {"concurrency": whole}}
    >>> parse("http:org/m@http://h | concurrency 4", kinds, "judges", bare=["rule"])
    ('http', 'org/m@http://h', {'concurrency': 4})
    >>> parse("rule", kinds, "judges", bare=["rule"])
    ('rule', '', {})
    """
    head, bar, terms = text.partition("|")
    kind, _, place = (part.strip() for part in head.partition(":"))
    if kind not in kinds:
        raise InputError(f"{where}: unknown kind {kind!r}{did_you_mean(kind, kinds, 'write {}, as in KIND:PLACE')}")
    if bool(place) == (kind in bare):
        raise InputError(f"{where}: write {f'{kind!r} alone' if place else f'{kind}:PLACE, with a place'}")
    if bar and not kinds[kind]:
        raise InputError(f"{where}: {kind} has no options; delete the text after the bar")
    return kind, place, parse_terms(terms.split(",") if bar else (), kinds[kind], where)


def parse_terms(terms: Iterable[str], options: Options | Convert, where: str) -> dict[str, Any]:
    """Return the values of terms by name; a function in place of the options permits any name. Raises `InputError`.

    A term is "name value"; with an option "" it may be a value alone. Where any name is permitted, it may contain
    spaces, but the value may not.

    >>> parse_terms(["math 5", "weight 0.5", "20"], {"math": whole, "weight": number, "": whole}, "source 'a'")
    {'math': 5, 'weight': 0.5, '': 20}
    >>> parse_terms(["my source 3"], whole, "quotas")
    {'my source': 3}
    """
    values: dict[str, Any] = {}
    for term in (term.strip() for term in terms):
        name, value, convert = _split(term, options, where)
        if not value:
            raise InputError(f"{where}: {term!r} is incomplete; write a name, a space and a value")
        if name in values:
            raise InputError(f"{where}: {f'duplicate {name!r}' if name else 'two values without a name'}; keep one")
        try:
            values[name] = convert(value)
        except ValueError as problem:
            raise InputError(f"{where}: {name or 'the number'} {problem}") from None
    return values


def _split(term: str, options: Options | Convert, where: str) -> tuple[str, str, Convert]:
    if callable(options):
        name, _, value = term.rpartition(" ")
        return name.strip(), value if name else "", options
    if "" in options and " " not in term and term not in options:
        return "", term, options[""]
    name, _, value = term.partition(" ")
    if term and name not in options:
        raise InputError(f"{where}: unknown option {name!r}{did_you_mean(name, [known for known in options if known])}")
    return name, value.strip(), options.get(name, str)


def whole(text: str, least: int = 1) -> int:
    """Return a whole number, not below `least`. Raises `ValueError`."""
    try:
        if (value := int(text)) >= least:
            return value
    except ValueError:
        pass
    raise ValueError(f"is {text!r}; write a whole number of at least {least}")


def number(text: str) -> float:
    """Return a finite number. Raises `ValueError`.

    >>> number("1e-3")
    0.001
    """
    try:
        if math.isfinite(value := float(text)):
            return value
    except ValueError:
        pass
    raise ValueError(f"is {text!r}; write a finite number")


def true_or_false(text: str) -> bool:
    """Return the truth value that "true" or "false" names. Raises `ValueError`."""
    if text not in ("true", "false"):
        raise ValueError(f"is {text!r}; write true or false")
    return text == "true"
