"""What a server says when it refuses a request, and which parameter of the request it means.

{"error": {"message": "Unsupported value: 'temperature' does not support 0 …", "param": "temperature"}}    OpenAI
{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]} FastAPI
{"object": "error", "message": "…", "param": null}                                              vLLM, before 0.9
{"error": "json: unknown field \\"seed\\""}                                              Ollama, and many others
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

from currreft_nb.endpoints.endpoint import LIMIT

# In the order in which they are left out where a server does not say which it means: the least important first.
NAMES = {
    "response_format": re.compile(r"response[_ ]?format|json[_ ]?(mode|object|schema)|structured[_ ]?output", re.I),
    "seed": re.compile(r"(?<![\w/-])(random[_ ]?)?seed(?![\w/-])", re.I),  # not the model seed-oss
    LIMIT: re.compile(r"max(imum)?[_ ]?(completion|new|output)?[_ ]?tokens", re.I),
    "temperature": re.compile(r"temperature|\btemp\b|sampling[_ ]?param", re.I),
}
TOO_MUCH = re.compile(
    r"too (large|long|many|big)|context (length|window)|exceed|at (most|least)|reduce|greater|less|reached|higher", re.I
)
OF_PARAMETERS = re.compile(r"parameter|argument|keyword|\boption|\bfield|propert|extra input", re.I)
TEXTS = ("error", "message", "detail", "msg", "errors")  # where a server's words are, the outer before the inner
PLACES = ("param", "loc")
FILTERED = ("content_filter", "refusal", "safety")  # reasons for which a server withholds an answer

Complaint = tuple[str, str]


def complaints(body: str) -> list[Complaint]:
    """Return the place in the request, "" where none is named, and the words of each complaint in a response's body.

    >>> complaints('{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}')
    [('seed', 'Extra inputs are not permitted')]
    >>> complaints("Bad Gateway")
    [('', 'Bad Gateway')]
    """
    try:
        return _complaints(json.loads(body)) or [("", body)]
    except (ValueError, RecursionError):
        return [("", body)]


def _complaints(found: Any, place: str = "") -> list[Complaint]:
    if isinstance(found, str):
        return [(place, found)]
    if isinstance(found, list):
        return [complaint for item in found for complaint in _complaints(item, place)]
    if not isinstance(found, dict):
        return []
    named = next((found[name] for name in PLACES if found.get(name)), place)
    parts = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    place = ".".join(str(part) for part in parts if part not in ("body", "__root__"))
    return next((_complaints(found[name], place) for name in TEXTS if found.get(name)), [])


def sentence(body: str) -> str:
    """Return a server's words without the JSON around them.

    >>> sentence('{"error": {"message": "Unsupported value", "param": "temperature"}}')
    'temperature: Unsupported value'
    """
    return "; ".join(
        f"{place}: {words}" if place and place not in words else words for place, words in complaints(body)
    )


def refused_parameter(body: str, sent: Collection[str], accepted: Collection[str]) -> tuple[str, bool]:
    """Return the parameter that a server does not take, and whether it names it; "" where it refuses something else.

    `sent`: names of the parameters of the request; `accepted`: of those that an earlier answer shows to be taken. A
    server that means a parameter but does not name it is asked without the least important one. Only a request for JSON
    is left out on any other refusal, as servers say that in many ways.
    """
    found = complaints(body)
    for place, words in found:
        if name := _named(place or words, sent):
            return ("", False) if name == LIMIT and TOO_MUCH.search(words) else (name, True)
    text = " ".join(words for _, words in found)
    if any(place for place, _ in found) or TOO_MUCH.search(text):
        return "", False
    tried = NAMES if OF_PARAMETERS.search(text) else ("response_format",)
    return next((name for name in tried if name in sent and name not in accepted), ""), False


def _named(text: str, sent: Iterable[str]) -> str:
    """Return the parameter that a text names first, "" for none."""
    places = {name: match.start() for name in sent if name in NAMES and (match := NAMES[name].search(text))}
    return min(places, key=lambda name: places[name]) if places else ""
