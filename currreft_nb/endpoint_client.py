"""Ask an endpoint many things at once, within its limits, and always come to an end.

Each request is bounded in time and in bytes, whatever the server does: hang, trickle, or send without end. What may
pass (429, 5xx, a lost connection, a body that is no answer) is tried again after a wait that doubles and varies, or
that the server asks for in Retry-After, which then holds for all. What will not pass (a refused key, a model that is
not there) stops everything; so do ten questions in a row without an answer.
"""

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread
import httpx2
import openai

from currreft_nb import InputError
from currreft_nb.endpoint import Account, Endpoint

GIVE_UP = 10  # questions in a row without an answer, after which no more are asked
LONGEST_WAIT_S = 300.0  # a server that wants a longer pause is not waited for
ERROR_BYTES = 20_000  # of the body of an error
HOPELESS = {
    401: "does not accept the key; check the environment variable {key}",
    402: "wants to be paid first",
    403: "does not allow it with the key in {key}",
    404: "does not know the model or the path; check both (an address usually ends in /v1)",
    405: "takes no chat completions at this path (an address usually ends in /v1)",
}

Ask = Callable[..., Awaitable["Reply"]]


@dataclass(frozen=True)
class Reply:
    """What a model said; `tokens` None where the server does not count; `truncated`: it had to stop before the end.

    `thinking`: what the server took out of the text and handed over apart, as `transformers serve` does, and vLLM
    with a reasoning parser.
    """

    text: str
    tokens: int | None
    truncated: bool
    thinking: str = ""

    @property
    def whole(self) -> str:
        """The text as the model wrote it, its thinking in front."""
        if not self.thinking:
            return self.text
        return f"<think>{self.thinking}" + ("" if self.truncated and not self.text else f"</think>{self.text}")


class Unanswered(Exception):
    """No answer could be had; `reason` is a code that can be counted, the message tells the particulars."""

    def __init__(self, reason: str, message: str = ""):
        super().__init__(message or reason)
        self.reason = reason


class _Problem(Exception):
    """One request failed: why, whether another may fare better, and how long the server wants to be left alone."""

    def __init__(self, reason: str, message: str = "", again: bool = True, wait_s: float | None = None):
        super().__init__(message or reason)
        self.reason, self.again, self.wait_s = reason, again, wait_s


class _Refused(Exception):
    """A status that is not 2xx, with as much of its body as is worth reading."""

    def __init__(self, status: int, headers: Any, body: str):
        super().__init__(f"status {status}")
        self.status, self.headers, self.body = status, headers, body


def ask_all(
    endpoint: Endpoint,
    work: Callable[[Ask, Any], Awaitable[Any]],
    items: Iterable[Any],
    done: Callable[[list[tuple[Any, Any]]], None],
) -> Account:
    """Do `work(ask, item)` for each item, `endpoint.concurrency` at a time; return what it cost.

    `ask(messages, **options)` returns a `Reply`. `done` is given (item, result) pairs as soon as they are there, an
    `Unanswered` for a result that could not be had; in a thread of its own, one call after the other, so that writing
    to a disk holds up no request. An exception or Ctrl-C cancels what is under way, and still hands over what is there.
    Raises `InputError` where asking on is hopeless.
    """
    account = Account(endpoint.name)
    secret, start = endpoint.secret(), time.monotonic()

    async def run() -> None:
        async with _client(endpoint, secret) as client:
            session = _Session(endpoint, client, account)
            waiting, ready = iter(items), asyncio.Queue()
            keeper = asyncio.create_task(_keep(ready, done))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(endpoint.concurrency):
                        group.create_task(_worker(session, work, waiting, ready, keeper))
            finally:
                ready.put_nowait(None)
                with anyio.CancelScope(shield=True):
                    await keeper

    try:
        # In a thread of its own, since a notebook's thread runs a loop already.
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.start_task_soon(run).result()
    except BaseExceptionGroup as errors:
        failed = _first(errors)
    else:
        return account
    finally:
        account.seconds = time.monotonic() - start
    raise failed  # out here, where no group is its context: a notebook would show that as text and no error


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _worker(
    session: "_Session", work: Callable, waiting: Iterator, ready: asyncio.Queue, keeper: asyncio.Task
) -> None:
    for item in waiting:
        try:
            result = await work(session.ask, item)
        except Unanswered as error:
            result = error
        ready.put_nowait((item, result))
        session.check()
        if keeper.done():
            return  # it failed; its exception is raised when all workers have ended


async def _keep(ready: asyncio.Queue, done: Callable) -> None:
    """Hand over results as they come, all that are there at once, until None comes."""
    more = True
    while more:
        batch = [await ready.get()]
        while not ready.empty():
            batch.append(ready.get_nowait())
        more = None not in batch
        if found := [pair for pair in batch if pair is not None]:
            await asyncio.to_thread(done, found)


def _client(endpoint: Endpoint, secret: str) -> openai.AsyncOpenAI:
    limits = httpx2.Limits(max_connections=endpoint.concurrency)
    network = openai.DefaultAsyncHttpxClient(event_hooks={"response": [_refuse]}, limits=limits)
    return openai.AsyncOpenAI(
        base_url=endpoint.url,
        api_key=secret or "none",  # the client wants some; a local server ignores it
        max_retries=0,
        timeout=endpoint.timeout_s,
        http_client=network,
        default_headers={"Accept-Encoding": "identity"},  # so that what is counted is what is kept
    )


async def _refuse(response: httpx2.Response) -> None:
    """Turn an error status into an exception before the library reads all of its body."""
    if response.is_success or response.is_redirect:
        return
    body = b""
    try:
        async for chunk in response.aiter_bytes():
            body += chunk[: ERROR_BYTES - len(body)]
            if len(body) >= ERROR_BYTES:
                break
    except httpx2.HTTPError:
        pass  # the status says enough
    raise _Refused(response.status_code, response.headers, body.decode("utf-8", "replace"))


class _Session:
    """One client at work: the pace, the count of failures in a row, the account."""

    def __init__(self, endpoint: Endpoint, client: openai.AsyncOpenAI, account: Account):
        self.endpoint, self.client, self.account = endpoint, client, account
        self.next_s = self.quiet_until_s = 0.0  # the next free turn; the end of a pause that the server wants
        self.in_a_row, self.last = 0, ""

    async def ask(self, messages: list[dict], **options: Any) -> Reply:
        """Return the reply. Raises `Unanswered` when all attempts failed, `InputError` when asking on is hopeless."""
        for attempt in range(1, self.endpoint.attempts + 1):
            await self._pace()
            self.account.requests += 1
            try:
                reply = await self._once(messages, options)
            except _Problem as problem:
                wait_s = self._wait_s(problem, attempt)
                if problem.again and attempt < self.endpoint.attempts and wait_s <= LONGEST_WAIT_S:
                    self.account.retries[problem.reason] += 1
                    if problem.wait_s is not None:
                        self.quiet_until_s = max(self.quiet_until_s, time.monotonic() + problem.wait_s)
                    await asyncio.sleep(wait_s)
                    continue
                self.account.failures[problem.reason] += 1
                self.in_a_row, self.last = self.in_a_row + 1, str(problem)
                raise Unanswered(problem.reason, str(problem)) from None
            self.account.answers += 1
            self.in_a_row = 0
            return reply
        raise AssertionError("attempts is at least 1")

    def check(self) -> None:
        """Raise `InputError` when nothing has come back for long."""
        if self.in_a_row >= GIVE_UP:
            raise InputError(
                f"{self.endpoint.name} left {self.in_a_row} questions in a row unanswered, the last with: {self.last};"
                " see to the server and run this again, which asks only for what is missing"
            )

    async def _pace(self) -> None:
        """Wait for one's turn, so that requests begin evenly spaced and none during a pause that the server wants."""
        apart_s = 60 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        turn_s = max(self.next_s, time.monotonic())
        self.next_s = turn_s + apart_s
        while (left_s := max(turn_s, self.quiet_until_s) - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    def _wait_s(self, problem: _Problem, attempt: int) -> float:
        backoff_s = self.endpoint.backoff_s * random.uniform(0.5, 1.5)
        # Spread out after a pause, too, lest all come back in the same moment.
        return backoff_s * 2 ** (attempt - 1) if problem.wait_s is None else problem.wait_s + backoff_s / 4

    async def _once(self, messages: list[dict], options: dict) -> Reply:
        create = self.client.chat.completions.with_streaming_response.create
        try:
            async with (
                asyncio.timeout(self.endpoint.timeout_s),  # the client's own timeout starts anew with each byte
                create(model=self.endpoint.model, messages=messages, **options) as response,
            ):
                return self._read(await self._body(response))
        except TimeoutError:
            raise _Problem("timeout", f"no whole answer within {self.endpoint.timeout_s:g} s") from None
        except _Refused as refused:
            raise self._judge(refused) from None
        except (openai.APIError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            told = self.endpoint.clean(f"{type(cause).__name__}: {cause}")
            raise _Problem("timeout" if "Timeout" in told else "connection", told) from None

    async def _body(self, response: Any) -> bytes:
        body = b""
        async for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self.endpoint.longest_bytes:
                message = f"the answer is longer than {self.endpoint.longest_bytes} bytes"
                raise _Problem("too_large", message, again=False)
        return body

    def _read(self, body: bytes) -> Reply:
        """Return what a chat completion says and note its tokens."""
        try:
            found = json.loads(body)
            choice, usage = found["choices"][0], found.get("usage") or {}
            message = choice["message"]
            text = message.get("content") or ""
            thinking = message.get("reasoning_content") or message.get("reasoning") or ""
            sent, said = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
            counted = all(isinstance(number, (int, type(None))) for number in (sent, said))
            if not (isinstance(text, str) and isinstance(thinking, str) and counted):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            start = self.endpoint.clean(body[:100].decode("utf-8", "replace"))
            raise _Problem("no_completion", f"the answer is no chat completion: {start!r}") from None
        account, endpoint = self.account, self.endpoint
        account.uncounted += sent is None or said is None
        account.tokens_in += sent or 0
        account.tokens_out += said or 0
        account.dollars += ((sent or 0) * endpoint.dollars_in + (said or 0) * endpoint.dollars_out) / 1e6
        truncated = choice.get("finish_reason") == "length"
        return Reply(endpoint.hide(text), said, truncated, endpoint.hide(thinking))

    def _judge(self, refused: _Refused) -> _Problem:
        """Return what a refusal means. Raises `InputError` where every other request would be refused, too."""
        told = self.endpoint.clean(f"status {refused.status}: {refused.body}")
        what = HOPELESS.get(refused.status)
        if "insufficient_quota" in refused.body:
            what = "says that the account's quota is used up"
        if what:
            raise InputError(f"{self.endpoint.name} {what.format(key=self.endpoint.key)} ({told})") from None
        again = refused.status in (408, 409, 425, 429) or refused.status >= 500
        return _Problem(f"status_{refused.status}", told, again, _wait_asked_for(refused.headers))


def _wait_asked_for(headers: Any) -> float | None:
    """Return how long a server wants to be left alone in seconds, or None if it does not say so."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        text = headers.get("retry-after") or ""
        if text.strip().replace(".", "", 1).isdigit():
            return float(text)
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - time.time())
    except (ValueError, TypeError):
        return None
