"""An OpenAI-compatible endpoint (GPT-4o, vLLM, `transformers serve`): its parameters, and the account of its requests.

    gpt-4o@https://api.openai.com/v1 | per_minute 500, dollars_in 2.5, dollars_out 10
    Qwen/Qwen2.5-VL-72B-Instruct@http://127.0.0.1:8000/v1 | concurrency 32, key LOCAL_KEY
    gpt-5@https://api.openai.com/v1 | temperature omit, max_completion_tokens 4000

Judges and teachers both ask through `endpoints.client`. The key comes from the environment variable that `key` names.
It is never written, and it is removed from messages.
"""

import base64
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
from currreft_nb.core.environment import proxy_of
from currreft_nb.core.grammar import Convert, Options, number, parse_terms, whole
from currreft_nb.core.samples import Sample
from currreft_nb.data.images import ImageProblem, read_picture

OPENAI = "api.openai.com"
ADDRESS = re.compile(r"(?P<model>\S.*)@(?P<url>https?://\S+)")
KEY_LIKE = re.compile(r"\b(?:sk|pk|hf|gsk|xai)[-_][\w*.-]{6,}|\b(?i:bearer) +[^\s\"',]+")
LIMIT, OLD_LIMIT, OMIT = "max_completion_tokens", "max_tokens", "omit"
TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model answers, and the limits of asking it. Raises `InputError` for an unusable address."""

    model: str
    url: str
    key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: int = 8
    """Most requests under way at the same time."""
    per_minute: int = 0
    """Most requests begun in a minute, evenly spaced; 0 sets no limit."""
    timeout_s: float = 120.0
    """Deadline of one request, until the last byte of its answer."""
    attempts: int = 5
    """Most requests for one answer."""
    dollars_in: float = 0.0
    """Price of a million tokens sent."""
    dollars_out: float = 0.0
    """Price of a million tokens received."""
    max_completion_tokens: int | str = ""
    """Limit of an answer's tokens, thinking included, in place of the judge's 800 or the run's max_new_tokens.
    `max_tokens` sends their limit under that older name; `omit` sends none."""
    temperature: float | str = ""
    """Temperature in place of the judge's 0 or the run's; `omit` sends none, so that the server's own holds."""
    seed: str = ""
    """`omit` sends no seed."""
    response_format: str = ""
    """`omit` does not ask a judge's server for JSON."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"endpoint {self.name!r}: the address must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InputError(
                f"the address of {self.model!r} may have a host and a path only; set a key in the environment variable"
                " that 'key' names"
            )
        if self.timeout_s <= 0 or min(self.dollars_in, self.dollars_out) < 0:
            raise InputError(f"endpoint {self.name!r}: timeout_s must be above 0, dollars_in and dollars_out 0 or more")
        if isinstance(self.temperature, float) and self.temperature < 0:
            raise InputError(f"endpoint {self.name!r}: temperature must be 0 or more")

    @property
    def name(self) -> str:
        """Model, address and changed parameters, under which an endpoint and its answers are recorded."""
        changed = ", ".join(f"{name} {getattr(self, name)}" for name in PARAMETERS if getattr(self, name) != "")
        return f"{self.model}@{self.url}" + (f" | {changed}" if changed else "")

    def parameters(self, wanted: Mapping[str, Any], refused: Collection[str] = ()) -> dict[str, Any]:
        """Return the parameters to send of those that are wanted: changed by the options, without the refused ones.

        The limit of tokens is never left out because it is refused: it is sent under its older name, max_tokens.

        >>> wanted = {"temperature": 0.0, "max_completion_tokens": 800, "seed": 7}
        >>> read_endpoint("m@http://h | temperature omit").parameters(wanted)
        {'max_completion_tokens': 800, 'seed': 7}
        >>> read_endpoint("m@http://h | max_completion_tokens 4000").parameters(wanted, ["max_completion_tokens"])
        {'temperature': 0.0, 'seed': 7, 'max_tokens': 4000}
        """
        given = {name: getattr(self, name) for name in PARAMETERS if getattr(self, name) not in ("", OLD_LIMIT)}
        found = {name: given.get(name, value) for name, value in wanted.items()}
        found = {name: value for name, value in found.items() if value != OMIT}
        if LIMIT in found and (LIMIT in refused or self.max_completion_tokens == OLD_LIMIT):
            found[OLD_LIMIT] = found.pop(LIMIT)
        return {name: value for name, value in found.items() if name not in refused}

    def check(self) -> None:
        """Raise `InputError`, before any request, for a missing key and for a proxy that cannot be used."""
        self.secret()
        proxy_of(self.url)

    def secret(self) -> str:
        """Return the key, "" where none is set. Raises `InputError` if the endpoint is OpenAI's, which requires one."""
        found = os.environ.get(self.key, "").strip()
        if not found and urlsplit(self.url).hostname == OPENAI:
            raise InputError(f"{self.name} needs a key; set the environment variable {self.key} before Jupyter starts")
        return found

    def clean(self, text: str) -> str:
        """Return the first 200 characters of a text, on one line, without the key and anything that looks like one."""
        return _clean(self.hide(text))

    def hide(self, text: str) -> str:
        """Return a text without the key, in case a server repeats it."""
        secret = os.environ.get(self.key, "").strip()
        return text.replace(secret, "[key]") if secret else text


def _clean(text: str) -> str:
    return " ".join(KEY_LIKE.sub("[key]", text).split())[:200]


def read_endpoint(text: str) -> Endpoint:
    """Return the endpoint that a text describes: MODEL@ADDRESS, then after a bar any of `OPTIONS`.

    >>> found = read_endpoint("org/judge@http://127.0.0.1:8000/v1 | concurrency 32, dollars_in 2.5")
    >>> found.name, found.concurrency, found.dollars_in
    ('org/judge@http://127.0.0.1:8000/v1', 32, 2.5)
    """
    address, bar, terms = text.partition("|")
    return endpoint_at(address, parse_terms(terms.split(",") if bar else (), OPTIONS, "endpoint"))


def endpoint_at(address: str, values: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint at MODEL@ADDRESS with the given values of `OPTIONS`."""
    match = ADDRESS.fullmatch(address.strip())
    if match is None:
        raise InputError(
            f"endpoint {_clean(address)!r} is not MODEL@ADDRESS; write it like gpt-4o@https://api.openai.com/v1"
        )
    return Endpoint(model=match["model"], url=match["url"].rstrip("/"), **values)


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", text):
        raise ValueError("must be the name of an environment variable, in capitals, never the key itself")
    return text


def _or(*words: str, convert: Convert | None = None) -> Convert:
    """Return what converts the text of an option whose value may also be a word."""

    def read(text: str) -> Any:
        if text in words:
            return text
        if convert is None:
            raise ValueError(f"is {text!r}; write {' or '.join(words)}")
        try:
            return convert(text)
        except ValueError as problem:
            raise ValueError(f"{problem}, or {' or '.join(words)}") from None

    return read


PARAMETERS: Options = {
    LIMIT: _or(OLD_LIMIT, OMIT, convert=whole),
    "temperature": _or(OMIT, convert=number),
    "seed": _or(OMIT),
    "response_format": _or(OMIT),
}
OPTIONS: Options = {
    **PARAMETERS,
    "key": _variable,
    "concurrency": whole,
    "per_minute": partial(whole, least=0),
    "timeout_s": number,
    "attempts": whole,
    "dollars_in": number,
    "dollars_out": number,
}


@dataclass
class Account:
    """The cost of asking. `requests` includes repeated ones; `retries` and `failures` are counted by reason.

    `uncounted`: answers whose tokens the server did not count. `sent`: answers by the parameters really sent for them.
    `refused`: refused parameters, each with the server's words, by how often they were refused.
    """

    name: str
    requests: int = 0
    answers: int = 0
    retries: Counter = field(default_factory=Counter)
    failures: Counter = field(default_factory=Counter)
    sent: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    uncounted: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    seconds: float = 0.0

    def record(self) -> dict:
        """Return the account as plain values, for run.json."""
        counted = {name: dict(value) for name, value in vars(self).items() if isinstance(value, Counter)}
        return vars(self) | counted | {"dollars": round(self.dollars, 4), "seconds": round(self.seconds, 1)}

    def __str__(self) -> str:
        parts = [f"{self.requests} requests, {self.answers} answers"]
        for what, counter in (("repeated", self.retries), ("failed", self.failures)):
            if counter:
                parts.append(f"{what}: " + ", ".join(f"{count} {reason}" for reason, count in sorted(counter.items())))
        if self.refused:
            parts.append("not taken: " + ", ".join(sorted({name.partition(":")[0] for name in self.refused})))
        unknown = f" (without {self.uncounted} answers, which the server did not count)" if self.uncounted else ""
        parts.append(f"{self.tokens_in} tokens in, {self.tokens_out} out{unknown}")
        if self.dollars:
            parts.append(f"{self.dollars:.2f} dollars")
        return f"{self.name}: " + "; ".join(parts) + f"; {self.seconds:.1f} s"


def summed(accounts: Iterable[Account]) -> list[Account]:
    """Return one account for each endpoint, the sum of its accounts.

    >>> [account.requests for account in summed([Account("a", 2), Account("b", 1), Account("a", 3)])]
    [5, 1]
    """
    found: dict[str, Account] = {}
    for account in accounts:
        total = found.setdefault(account.name, Account(account.name))
        for name in vars(account).keys() - {"name"}:
            setattr(total, name, getattr(total, name) + getattr(account, name))
    return list(found.values())


def user_message(text: str, sample: Sample | None = None) -> dict:
    """Return a message of the sample's image, if it has one, and a text, in which lone surrogates become "?".

    Raises `InputError` for an unreadable image.
    """
    content: list[dict] = [{"type": "text", "text": text.encode("utf-8", "replace").decode()}]
    if sample and sample.image:
        url = image_address(sample.image, sample.size, sample.id)
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return {"role": "user", "content": content}


@lru_cache(maxsize=32)  # one question's several answers are requested one after the other
def image_address(path: str, size: Size, sample_id: str) -> str:
    """Return an image as a data URL: the file's own bytes, or PNG where these hold more than the pixels."""
    try:
        found = read_picture(path, size)
    except ImageProblem as problem:
        raise InputError(f"sample {sample_id!r}: {path}: {problem}; run notebook 01_data_curation again") from None
    data, suffix = found.data, found.suffix
    if data is None or suffix not in TYPES:
        stream = io.BytesIO()
        found.pixels.save(stream, "PNG")
        data, suffix = stream.getvalue(), ".png"
    return f"data:{TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
