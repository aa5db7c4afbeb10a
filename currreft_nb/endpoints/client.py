"""Ask an endpoint many questions at once, within its limits; every request has a deadline and a maximum size.

The openai client repeats temporary failures (429, 5xx, a lost connection, a body that is no completion). It waits as
long as Retry-After says, and then all workers do, or else a time that doubles. A permanent refusal (a wrong key, an
unknown model) and ten unanswered questions in a row stop everything. A request whose temperature, seed, limit of tokens
or response_format the server does not take is sent again without it, at most once for each of them.
"""

import email.utils
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
import httpx2
import openai

from currreft_nb import InputError
from currreft_nb.core.environment import proxy_of
from currreft_nb.endpoints.endpoint import LIMIT, OLD_LIMIT, Account, Endpoint
from currreft_nb.endpoints.refusals import FILTERED, refused_parameter, sentence

GIVE_UP = 10  # unanswered questions in a row, after which no more are asked
LONGEST_BYTES = 1_000_000  # of an answer
LONGEST_WAIT_S = 120.0  # the openai client does not repeat a request for which the server wants a longer wait
HOPELESS = {
    401: "does not accept the key; check the environment variable {key}",
    402: "demands a payment first",
    403: "does not allow it with the key in {key}",
    404: "does not know the model or the path; check both (an address usually ends in /v1)",
    407: "is not reached, because the proxy wants a name and a password; write them into its variable",
    405: "takes no chat completions at this path (an address usually ends in /v1)",
}

NOT_TAKEN = (400, 422)  # statuses of a request with a parameter that the server does not take
REFUSED = "refused"  # the reason where the model or the server's filter withholds an answer
FINAL = ("too_large", REFUSED)  # reasons for which the same request would fail again
UNSHOWN = ("seed", "response_format")  # values that differ with each request, or have only one

Ask = Callable[..., Awaitable["Reply"]]


@dataclass(frozen=True)
class Reply:
    """A model's answer; `tokens` None where the server does not count; `truncated`: the limit of tokens cut it off.

    `thinking`: separated by the server, as `transformers serve` does, and vLLM with a reasoning parser.
    """

    text: str
    tokens: int | None
    truncated: bool
    thinking: str = ""

    @property
    def whole(self) -> str:
        """The text as the model wrote it, its thinking in front, with the `<think>` that its prompt had begun."""
        if not self.thinking:
            begun = "</think>" in self.text and "<think>" not in self.text
            return "<think>" * begun + self.text
        return f"<think>{self.thinking}" + (f"</think>{self.text}" if self.text or not self.truncated else "")


class Unanswered(httpx2.RequestError):
    """No answer; `reason` is a code to count by, the message gives details. The openai client repeats this class."""

    def __init__(self, reason: str, message: str = ""):
        super().__init__(message or reason)
        self.reason = reason


def ask_all(
    endpoint: Endpoint,
    work: Callable[[Ask, Any], Awaitable[Any]],
    items: Iterable[Any],
    done: Callable[[list[tuple[Any, Any]]], None],
    refused: dict[str, str] | None = None,
) -> Account:
    """Run `work(ask, item)` for each item, `endpoint.concurrency` at a time; return the account.

    `ask(messages, **options)` returns a `Reply`. `done` receives (item, result) pairs as they arrive; the result is an
    `Unanswered` where there is no answer. It is called in a thread, so that writing to a disk blocks no request, and
    once at a time. `refused`: parameters known not to be taken, with the server's words; found ones are added, so that
    a next call does not ask again. An exception or Ctrl-C cancels the requests under way; results that have arrived
    still reach `done`. Raises `InputError` where asking on is hopeless.
    """
    account, start = Account(endpoint.name), time.monotonic()
    http = _HttpClient(endpoint, account, {} if refused is None else refused)
    client = openai.AsyncOpenAI(
        base_url=endpoint.url,
        api_key=endpoint.secret() or "none",  # the client requires one; a local server ignores it
        max_retries=endpoint.attempts - 1,
        timeout=None,  # it would start anew with each byte; `_HttpClient` sets a deadline
        http_client=http,
    )
    ask = partial(http.ask, client.chat.completions.with_raw_response.create)
    waiting, ready, writing = iter(items), [], anyio.Lock()

    async def worker() -> None:
        for item in waiting:
            try:
                result = await work(ask, item)
            except Unanswered as error:
                result = error
            ready.append((item, result))
            with anyio.CancelScope(shield=True):
                async with writing:  # one call hands over all results that came while it waited
                    batch, ready[:] = ready[:], []
                    if batch:
                        await anyio.to_thread.run_sync(done, batch)
            http.check()

    async def run() -> None:
        async with client, anyio.create_task_group() as group:
            for _ in range(endpoint.concurrency):
                group.start_soon(worker)

    try:
        # In a thread of its own, since a notebook's thread runs a loop already.
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.start_task_soon(run).result()
    except BaseExceptionGroup as errors:
        failed: BaseException = errors
        while isinstance(failed, BaseExceptionGroup):
            failed = failed.exceptions[0]
    else:
        return account
    finally:
        account.seconds = time.monotonic() - start
    raise failed  # here, where no group is its context: a notebook would show the group in place of the error


class _HttpClient(openai.DefaultAsyncHttpxClient):
    """Limits each attempt of the openai client in rate, time and size, and counts it."""

    def __init__(self, endpoint: Endpoint, account: Account, refused: dict[str, str]):
        variable, proxy = proxy_of(endpoint.url) or ("", None)
        # With a transport of its own the client reads no proxy variable, and so asks this machine directly.
        transport = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=endpoint.concurrency), proxy=proxy)
        super().__init__(
            transport=transport,
            headers={"Accept-Encoding": "identity"},  # so that the bytes counted are the bytes kept
        )
        self.endpoint, self.account, self.refused = endpoint, account, refused
        self.accepted: set[str] = set()  # parameters of requests that were answered
        self.by = f" (through the proxy in {variable})" if variable else ""
        self.next_s = self.quiet_until_s = 0.0  # the next free turn; the end of a pause that the server asked for
        self.in_a_row, self.last = 0, ""  # unanswered questions in a row, and the reason of the last one

    async def ask(self, create: Callable, messages: list[dict], **options: Any) -> Reply:
        """Return the reply. Raises `Unanswered` when all attempts failed, `InputError` when asking on is hopeless."""
        left_out: dict[str, str] = {}  # parameters that this request shows not to be taken, with the server's words
        guessed: list[str] = []  # those that the server did not name: the last of them was meant
        while True:
            sent = self.endpoint.parameters(options, {**self.refused, **left_out})
            try:
                response = await create(model=self.endpoint.model, messages=messages, **sent)
            except openai.APIStatusError as error:
                failed = Unanswered(_reason(error.response), self._status(error.response))
                name, named = self._not_taken(error.response, sent)
                if not name:
                    raise self._failed(failed) from None
                left_out[name] = str(failed)
                guessed += [] if named else [name]
            except openai.APIConnectionError as error:
                assert isinstance(error.__cause__, Unanswered)  # `send` raises no other
                raise self._failed(error.__cause__) from None
            else:
                self._note_answer(sent, {name: left_out[name] for name in left_out if name not in guessed[:-1]})
                return response.http_response.extensions["reply"]

    def _not_taken(self, response: httpx2.Response, sent: dict[str, Any]) -> tuple[str, bool]:
        if response.status_code not in NOT_TAKEN or _reason(response) == REFUSED:
            return "", False
        return refused_parameter(response.text, sent, self.accepted)

    def _note_answer(self, sent: dict[str, Any], left_out: dict[str, str]) -> None:
        self.in_a_row = 0
        self.accepted |= sent.keys()
        self.account.answers += 1
        shown = [name if name in UNSHOWN else f"{name} {value}" for name, value in sent.items()]
        self.account.sent[", ".join(shown) or "no parameters"] += 1
        for name, words in left_out.items():
            self.account.refused[f"{name}: {words}"] += 1
            if name not in self.refused:
                self.refused[name] = words
                instead = f"with {OLD_LIMIT} instead" if name == LIMIT else "without it"
                print(f"{self.endpoint.name} does not take {name}, and is asked {instead}: {words}", flush=True)

    def _failed(self, failed: Unanswered) -> Unanswered:
        """Count a question without an answer."""
        self.account.retries -= Counter([failed.reason])  # the last attempt was not followed by another
        self.account.failures[failed.reason] += 1
        self.in_a_row, self.last = self.in_a_row + 1, str(failed)
        return failed

    def check(self) -> None:
        """Raise `InputError` when many questions in a row had no answer."""
        if self.in_a_row >= GIVE_UP:
            raise InputError(
                f"{self.endpoint.name} left {self.in_a_row} questions in a row unanswered, the last with: {self.last};"
                " check the server and run this again, which asks only for the missing answers"
            )

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send one attempt; return its response with the body read and, for a success, the `Reply` as an extension.

        Raises `Unanswered` without a proper response, `InputError` where every other request would fail, too.
        """
        await self._wait_for_turn()
        self.account.requests += 1
        try:
            response, body = await self._exchange(request, options)
            reply = self._reply(body) if response.is_success else None
        except Unanswered as error:
            self.account.retries[error.reason] += 1
            if error.reason in FINAL:  # not worth repeating, and an APIConnectionError is not repeated
                raise openai.APIConnectionError(request=request) from error
            raise
        headers = {name: value for name, value in response.headers.items() if name.startswith(("retry", "x-"))}
        response = httpx2.Response(response.status_code, headers=headers, content=body, request=request)
        response.extensions["reply"] = reply
        if reply is None:
            self._note_refusal(response)
        return response

    async def _wait_for_turn(self) -> None:
        apart_s = 60 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        turn_s = max(self.next_s, time.monotonic())
        self.next_s = turn_s + apart_s
        while (left_s := max(turn_s, self.quiet_until_s) - time.monotonic()) > 0:
            await anyio.sleep(left_s)

    async def _exchange(self, request: httpx2.Request, options: dict) -> tuple[httpx2.Response, bytes]:
        body = b""
        try:
            with anyio.fail_after(self.endpoint.timeout_s):
                response = await super().send(request, **options | {"stream": True})
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LONGEST_BYTES:
                        break
                await response.aclose()
        except (TimeoutError, httpx2.TimeoutException):
            problem = f"no complete answer within {self.endpoint.timeout_s:g} s{self.by}"
            raise Unanswered("timeout", problem) from None
        except (httpx2.HTTPError, OSError, anyio.EndOfStream) as error:
            raise Unanswered("connection", self.endpoint.clean(f"{type(error).__name__}: {error}") + self.by) from None
        if response.is_success and len(body) > LONGEST_BYTES:
            raise Unanswered("too_large", f"the answer is longer than {LONGEST_BYTES} bytes")
        return response, body

    def _reply(self, body: bytes) -> Reply:
        """Return the reply in a chat completion and add its tokens to the account. Raises `Unanswered` for none."""
        try:
            found = json.loads(body)
            choice, usage = found["choices"][0], found.get("usage") or {}
            message = choice["message"]
            text = _text(message.get("content") or "")
            thinking = message.get("reasoning_content") or message.get("reasoning") or ""
            refusal, finish = message.get("refusal") or "", choice.get("finish_reason") or ""
            sent, said = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
            counted = all(isinstance(number, (int, type(None))) for number in (sent, said))
            if not (all(isinstance(part, str) for part in (text, thinking, refusal, finish)) and counted):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            start = self.endpoint.clean(body[:100].decode("utf-8", "replace"))
            raise Unanswered("no_completion", f"the answer is no chat completion: {start!r}{self.by}") from None
        account, endpoint = self.account, self.endpoint
        account.uncounted += sent is None or said is None
        account.tokens_in += sent or 0
        account.tokens_out += said or 0
        account.dollars += ((sent or 0) * endpoint.dollars_in + (said or 0) * endpoint.dollars_out) / 1e6
        if finish.lower() in FILTERED or (refusal and not text):
            how = f"the model refused: {refusal}" if refusal else f"the server withheld the answer ({finish})"
            raise Unanswered(REFUSED, endpoint.clean(how))
        return Reply(endpoint.hide(text), said, finish == "length", endpoint.hide(thinking))

    def _note_refusal(self, response: httpx2.Response) -> None:
        """Count a refusal and let all wait as the server asks. Raises `InputError` for one that is permanent."""
        reason = HOPELESS.get(response.status_code)
        if "insufficient_quota" in response.text:
            reason = "reports that the account's quota is used up"
        if reason:
            status = self._status(response)
            raise InputError(f"{self.endpoint.name} {reason.format(key=self.endpoint.key)} ({status})")
        self.account.retries[_reason(response)] += 1
        if 0 < (wait_s := _wait_asked_for(response.headers)) <= LONGEST_WAIT_S:
            self.quiet_until_s = max(self.quiet_until_s, time.monotonic() + wait_s)

    def _status(self, response: httpx2.Response) -> str:
        return self.endpoint.clean(f"status {response.status_code}: {sentence(response.text)}") + self.by


def _reason(response: httpx2.Response) -> str:
    """Return the code to count a refused request by."""
    return REFUSED if '"content_filter"' in response.text else f"status_{response.status_code}"


def _text(content: Any) -> Any:
    """Return a message's text, which some servers give in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content


def _wait_asked_for(headers: httpx2.Headers) -> float:
    """Return how many seconds a server asks to wait, by a number or a date; 0 if it does not."""
    text = headers.get("retry-after", "")
    try:
        if date := email.utils.parsedate_tz(text):
            return email.utils.mktime_tz(date) - time.time()
        return float(text)
    except (ValueError, OverflowError):
        return 0.0
