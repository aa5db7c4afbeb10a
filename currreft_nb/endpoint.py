"""An OpenAI-compatible endpoint (GPT-4o, vLLM, `transformers serve`): what it is, and what asking it has cost.

    gpt-4o@https://api.openai.com/v1 | per_minute 500, dollars_in 2.5, dollars_out 10
    Qwen/Qwen2.5-VL-72B-Instruct@http://127.0.0.1:8000/v1 | concurrency 32, key LOCAL_KEY

Judges and teachers are asked alike, by `endpoint_client`. The key comes from the environment, where `key` names the
variable, and is written nowhere: texts of errors are cleaned of it.
"""

import base64
import difflib
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from urllib.parse import urlsplit

from currreft_nb import InputError
from currreft_nb.boxes import Size
from currreft_nb.formats.images import ImageProblem, read_picture
from currreft_nb.samples import Sample

OPENAI = "api.openai.com"
ADDRESS = re.compile(r"(?P<model>\S.*)@(?P<url>https?://\S+)")
KEY_LIKE = re.compile(r"\b(?:sk|pk|hf|gsk|xai)[-_][\w*.-]{6,}|\b(?i:bearer) +[^\s\"',]+")
TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model answers and how much may be asked of it. Raises `InputError` for what cannot be an endpoint."""

    model: str
    url: str
    key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: int = 8
    """Requests under way at the same time."""
    per_minute: int = 0
    """Most requests begun in a minute, evenly spaced; 0 sets no limit."""
    timeout_s: float = 120.0
    """Longest time for one request, from its first byte to the last byte of the answer."""
    attempts: int = 5
    """Most requests for one answer."""
    backoff_s: float = 1.0
    """The wait before the second attempt; it doubles with each further one, and varies by half."""
    longest_bytes: int = 1_000_000
    """An answer is read no further than this."""
    dollars_in: float = 0.0
    """Price of a million tokens sent."""
    dollars_out: float = 0.0
    """Price of a million tokens received."""

    def __post_init__(self):
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"endpoint {self.name!r}: the address must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InputError(
                f"the endpoint of {self.model!r} has more than host and path in its address; a key belongs into the"
                " environment, under the name that 'key' gives"
            )
        for name in ("concurrency", "attempts", "longest_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"endpoint {self.name!r}: {name} must be at least 1")
        for name in ("per_minute", "dollars_in", "dollars_out", "backoff_s", "timeout_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name == "timeout_s" and not value):
                raise InputError(f"endpoint {self.name!r}: {name} is {value}, which is no such quantity")

    @property
    def name(self) -> str:
        """Model and address: what is recorded of an endpoint."""
        return f"{self.model}@{self.url}"

    def secret(self) -> str:
        """Return the key, "" where none is set and none needed. Raises `InputError` where OpenAI would want one."""
        found = os.environ.get(self.key, "").strip()
        if not found and urlsplit(self.url).hostname == OPENAI:
            raise InputError(f"{self.name} needs a key; set the environment variable {self.key} before Jupyter starts")
        return found

    def clean(self, text: str) -> str:
        """Return the beginning of a text on one line, without the key and without what looks like one."""
        return " ".join(KEY_LIKE.sub("[key]", self.hide(text)).split())[:200]

    def hide(self, text: str) -> str:
        """Return a text without the key, in case a server repeats it."""
        secret = os.environ.get(self.key, "").strip()
        return text.replace(secret, "[key]") if secret else text


def read_endpoint(text: str) -> Endpoint:
    """Return the endpoint that a text describes: MODEL@ADDRESS, then after a bar any of its numbers.

    >>> found = read_endpoint("org/judge@http://127.0.0.1:8000/v1 | concurrency 32, dollars_in 2.5")
    >>> found.name, found.concurrency, found.dollars_in
    ('org/judge@http://127.0.0.1:8000/v1', 32, 2.5)
    """
    address, bar, terms = text.partition("|")
    match = ADDRESS.fullmatch(address.strip())
    if match is None:
        raise InputError(
            f"endpoint {Endpoint.clean(_NOWHERE, text)!r} is not MODEL@ADDRESS; write it like"
            " gpt-4o@https://api.openai.com/v1"
        )
    values = dict(_term(term) for term in terms.split(",")) if bar else {}
    return Endpoint(model=match["model"], url=match["url"].rstrip("/"), **values)


def _term(term: str) -> tuple[str, object]:
    kinds = {item.name: item.type for item in fields(Endpoint) if item.name not in ("model", "url")}
    name, _, value = term.strip().partition(" ")
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, n=1)
        raise InputError(f"endpoint: unknown {name!r}; {f'did you mean {close[0]}' if close else ', '.join(kinds)}?")
    if name == "key" and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        raise InputError("endpoint: key must be the name of an environment variable, in capitals, never the key itself")
    try:
        return name, kinds[name](value)
    except ValueError:
        raise InputError(f"endpoint: {term.strip()!r} is not {name} and a number") from None


_NOWHERE = Endpoint(model="none", url="http://localhost")


@dataclass
class Account:
    """What was asked and what it cost: requests with those repeated, answers, failures by reason, tokens, dollars.

    `uncounted`: answers whose tokens the server did not count.
    """

    name: str
    requests: int = 0
    answers: int = 0
    retries: Counter = field(default_factory=Counter)
    failures: Counter = field(default_factory=Counter)
    uncounted: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    seconds: float = 0.0

    def record(self) -> dict:
        """Return the account as plain values, for run.json."""
        whole = {name: value for name, value in vars(self).items() if not isinstance(value, (Counter, float))}
        counters = {"retries": dict(self.retries), "failures": dict(self.failures)}
        return whole | counters | {"dollars": round(self.dollars, 4), "seconds": round(self.seconds, 1)}

    def __str__(self) -> str:
        """Tell it in one line."""
        told = [f"{self.requests} requests, {self.answers} answers"]
        for what, counter in (("repeated", self.retries), ("failed", self.failures)):
            if counter:
                told.append(f"{what}: " + ", ".join(f"{number} {reason}" for reason, number in sorted(counter.items())))
        unknown = f" (and those of {self.uncounted} answers, which the server did not count)" if self.uncounted else ""
        told.append(f"{self.tokens_in} tokens in, {self.tokens_out} out{unknown}")
        if self.dollars:
            told.append(f"{self.dollars:.2f} dollars")
        return f"{self.name}: " + "; ".join(told) + f"; {self.seconds:.1f} s"


def summed(accounts: Iterable[Account]) -> list[Account]:
    """Return one account for each endpoint, of all that it was asked.

    >>> [account.requests for account in summed([Account("a", 2), Account("b", 1), Account("a", 3)])]
    [5, 1]
    """
    found: dict[str, Account] = {}
    for account in accounts:
        total = found.setdefault(account.name, Account(account.name))
        for name, value in vars(account).items():
            if name != "name":
                setattr(total, name, getattr(total, name) + value)
    return list(found.values())


def user_message(text: str, sample: Sample | None = None) -> dict:
    """Return a message with the sample's image, if it has one, and a text. Raises `InputError` for an unreadable image.

    A text that is not proper Unicode, as a model may write it, is made so.
    """
    shown = [image_address(sample.image, sample.size, sample.id)] if sample and sample.image else []
    images = [{"type": "image_url", "image_url": {"url": address}} for address in shown]
    text = text.encode("utf-8", "replace").decode("utf-8")
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


@lru_cache(maxsize=32)  # several answers to one question follow each other
def image_address(path: str, size: Size, sample_id: str) -> str:
    """Return an image as a data address: the file's own bytes, or PNG where these are not just its pixels."""
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
