"""Asking an endpoint: a real server that does everything wrong, and a bounded number of requests whatever it does."""

import json
import os
import signal
import threading
import time
from collections import Counter

import pytest

from currreft_nb import InputError
from currreft_nb.endpoints.client import Reply, Unanswered, ask_all
from currreft_nb.endpoints.endpoint import Endpoint
from tests.helpers.scripted_server import KEY, completion, say, serving


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)  # in place of half a second


def endpoint(server, **changed):
    return Endpoint(**{"model": "m", "url": server.url, "timeout_s": 5.0, "attempts": 3} | changed)


async def one(ask, item):
    return await ask([{"role": "user", "content": str(item)}], temperature=0.0)


def ask(found_endpoint, items):
    """Return the results by item, and the account."""
    results = {}
    account = ask_all(found_endpoint, one, items, results.update)
    return results, account


def test_each_is_asked_once_with_key_model_and_options():
    with serving(lambda asked, n: say(asked["messages"][0]["content"].upper())) as server:
        results, account = ask(endpoint(server, dollars_in=10, dollars_out=100), "abcde")
    assert {item: reply.text for item, reply in results.items()} == {item: item.upper() for item in "abcde"}
    assert Counter(r["messages"][0]["content"] for r in server.requests) == Counter("abcde")
    assert {(r["key"], r["model"], r["temperature"]) for r in server.requests} == {(f"Bearer {KEY}", "m", 0.0)}
    assert (account.requests, account.answers, account.tokens_in, account.tokens_out) == (5, 5, 500, 100)
    assert account.dollars == pytest.approx(500 * 10 / 1e6 + 100 * 100 / 1e6)


def test_finish_and_tokens_are_returned():
    bodies = {"a": completion("cut", "length"), "b": completion("whole", usage=None)}
    with serving(lambda asked, n: say(body=bodies[asked["messages"][0]["content"]])) as server:
        results, account = ask(endpoint(server), "ab")
    assert (results["a"].truncated, results["a"].tokens) == (True, 20)
    assert (results["b"].truncated, results["b"].tokens, account.uncounted) == (False, None, 1)


@pytest.mark.parametrize(
    ("text", "thinking", "truncated", "whole", "why"),
    [
        ("<answer>3</answer>", "", False, "<answer>3</answer>", "nothing was taken out"),
        ("<answer>3</answer>", "two and one", False, "<think>two and one</think><answer>3</answer>", "put back"),
        ("two</think><answer>2</answer>", "", False, "<think>two</think><answer>2</answer>", "the prompt began it"),
        ("<think>two</think><answer>2</answer>", "", False, "<think>two</think><answer>2</answer>", "whole already"),
        ("", "two and", True, "<think>two and", "cut off while thinking: it never closed the tag"),
    ],
)
def test_thinking_that_a_server_hands_over_apart_is_put_back(text, thinking, truncated, whole, why):
    assert Reply(text, 3, truncated, thinking).whole == whole, why


@pytest.mark.parametrize(
    ("bad", "reason", "why"),
    [
        (say(status=429), "status_429", "too many requests, without a word on how long to wait"),
        (say(status=429, headers={"Retry-After": "0.2"}), "status_429", "with one"),
        (say(status=500, body=b"oops"), "status_500", "a fault of the server"),
        (say(status=503, headers={"Retry-After": "soon"}), "status_503", "a wait that is no number"),
        (say("never", delay_s=60), "timeout", "it hangs"),
        (say("slowly" * 9, trickle_s=0.2), "timeout", "it trickles: each byte comes in time, the whole does not"),
        (say("cut off", stop_after=40), "connection", "it closes in the middle of the answer"),
        (say(body=b"<html>no JSON</html>"), "no_completion", "a proxy answers"),
        (say(body=b'{"choices": []}'), "no_completion", "JSON, but no answer in it"),
        (say(body=b"[" * 100_000), "no_completion", "JSON that breaks naive parsers"),
        (say(body=b""), "no_completion", "nothing"),
    ],
)
def test_what_may_pass_is_tried_again(bad, reason, why):
    with serving(lambda asked, n: bad if n == 1 else say("good")) as server:
        results, account = ask(endpoint(server, timeout_s=1.0), ["a"])
    assert results["a"].text == "good" and len(server.requests) == 2, why
    assert (account.retries, account.failures) == ({reason: 1}, {})


@pytest.mark.parametrize(
    ("bad", "reason", "requests"),
    [
        (say(status=500), "status_500", 3),
        (say("never", delay_s=60), "timeout", 3),
        (say("cut off", stop_after=40), "connection", 3),
        (say(status=400, body=b"too long"), "status_400", 1),  # it would be refused again
        (say(endless=b" " * 65536), "too_large", 1),
        (say(status=500, endless=b" " * 65536), "status_500", 3),
        (say(status=429, headers={"Retry-After": "3600"}), "status_429", 1),  # too long to wait
    ],
)
def test_what_does_not_pass_ends_and_spoils_nothing_else(bad, reason, requests):
    def script(asked, number):
        return bad if asked["messages"][0]["content"] == "bad" else say("good")

    started = time.monotonic()
    with serving(script) as server:
        results, account = ask(endpoint(server, timeout_s=0.5), ["a", "bad", "b"])
    assert isinstance(results["bad"], Unanswered) and results["bad"].reason == reason
    assert results["a"].text == results["b"].text == "good"
    assert len(server.requests) == account.requests == 2 + requests and account.failures == {reason: 1}
    assert time.monotonic() - started < 10
    assert server.sent < 3 * 20e6  # of 100 MB each: what lay in the buffers of the network


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"Incorrect API key provided: " + KEY.encode(), "does not accept the key; check .* OPENAI_API_KEY"),
        (404, b"no model m", "does not know the model or the path"),
        (429, b'{"error": {"code": "insufficient_quota"}}', "quota is used up"),
    ],
)
def test_what_is_hopeless_stops_everything(status, body, message):
    with (
        serving(lambda asked, n: say(status=status, body=body)) as server,
        pytest.raises(InputError, match=message) as e,
    ):
        ask(endpoint(server, concurrency=4), range(1000))
    assert len(server.requests) <= 8
    assert KEY not in str(e.value) and "s3cr3t" not in str(e.value)


def test_a_server_that_never_answers_is_not_asked_a_thousand_times():
    with serving(lambda asked, n: say(status=500)) as server:
        with pytest.raises(InputError, match="questions in a row unanswered, the last with: status 500"):
            ask(endpoint(server, concurrency=4), range(1000))
        assert len(server.requests) <= 3 * (10 + 4)


def test_an_unreachable_server_is_reported():
    with serving(lambda asked, n: say("x")) as server:
        pass
    with pytest.raises(InputError, match=r"in a row unanswered.*ConnectError"):
        ask(endpoint(server), range(1000))


def test_a_wait_that_the_server_wants_holds_for_all():
    with serving(lambda asked, n: say(status=429, headers={"Retry-After": "1"}) if n == 1 else say("x")) as server:
        ask(endpoint(server, concurrency=1), "abc")
    first, second = server.requests[0]["at"], server.requests[1]["at"]
    assert 0.95 <= second - first < 3


def test_retry_after_may_be_a_date():
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    with serving(lambda asked, n: say(status=503, headers={"Retry-After": soon}) if n == 1 else say("x")) as server:
        ask(endpoint(server), "a")
    assert 1.5 <= server.requests[1]["at"] - server.requests[0]["at"] < 8


def test_no_more_under_way_than_allowed_and_no_faster():
    with serving(lambda asked, n: say("x", delay_s=0.05)) as server:
        ask(endpoint(server, concurrency=3), range(12))
        assert server.most == 3
    with serving(lambda asked, n: say("x")) as server:
        ask(endpoint(server, per_minute=600), range(8))
    times = [request["at"] for request in server.requests]
    assert times[-1] - times[0] >= 0.6  # eight requests, a tenth of a second apart; the first may arrive late


@pytest.mark.usefixtures("interruptible")
def test_interrupted_it_cancels_what_is_under_way():
    with serving(lambda asked, n: say("x", delay_s=60)) as server:
        timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ask(endpoint(server, timeout_s=50), "ab")
        assert time.monotonic() - started < 5


def test_it_works_where_a_loop_runs_already():
    import asyncio

    async def in_a_notebook():
        return ask(endpoint(server), "a")

    with serving(lambda asked, n: say("x")) as server:
        results, _ = asyncio.run(in_a_notebook())
    assert results["a"].text == "x"


def test_a_fault_of_our_own_is_not_swallowed():
    async def faulty(ask, item):
        raise ZeroDivisionError

    with serving(lambda asked, n: say("x")) as server, pytest.raises(ZeroDivisionError):
        ask_all(endpoint(server), faulty, "ab", lambda results: None)


def test_a_disk_that_is_full_stops_the_asking():
    def done(results):
        raise OSError("no space left")

    with serving(lambda asked, n: say("x", delay_s=0.02)) as server:
        with pytest.raises(OSError, match="no space left"):
            ask_all(endpoint(server, concurrency=2), one, range(500), done)
        assert len(server.requests) < 20


def test_what_is_there_is_handed_over_before_an_error_is_raised():
    kept = []
    with serving(lambda asked, n: say("x") if n <= 5 else say(status=401)) as server, pytest.raises(InputError):
        ask_all(endpoint(server, concurrency=1), one, range(9), kept.extend)
    assert [item for item, _ in kept] == [0, 1, 2, 3, 4]


def chat(content, finish="stop", usage=None, **message):
    """Return the body of a chat completion with a message of any shape."""
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


@pytest.mark.parametrize(
    ("body", "words", "why"),
    [
        (chat(None, "content_filter"), "withheld the answer (content_filter)", "nothing of it came"),
        (chat("Once upon", "content_filter"), "withheld the answer", "a part of it came"),
        (chat(None, refusal="I cannot help."), "the model refused: I cannot help.", "the model's own field"),
        (chat("", "refusal"), "withheld the answer (refusal)", "another server's word"),
    ],
)
def test_a_refusal_is_no_answer_and_is_not_asked_for_again_at_once(body, words, why):
    with serving(lambda asked, n: say(body=body)) as server:
        results, account = ask(endpoint(server), ["a"])
    assert isinstance(results["a"], Unanswered) and results["a"].reason == "refused" and words in str(results["a"]), why
    assert len(server.requests) == 1 and (account.failures, account.retries) == ({"refused": 1}, {})


def test_a_refused_prompt_is_a_refusal_too():
    body = b'{"error": {"code": "content_filter", "message": "The prompt was filtered; change a parameter."}}'
    with serving(lambda asked, n: say(status=400, body=body)) as server:
        results, account = ask(endpoint(server), ["a"])
    assert results["a"].reason == "refused" and len(server.requests) == 1 and account.failures == {"refused": 1}


def test_a_text_in_parts_is_read():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
    with serving(lambda asked, n: say(body=chat(parts))) as server:
        results, _ = ask(endpoint(server), ["a"])
    assert results["a"].text == "42"


WANTED = {"temperature": 0.0, "seed": 7, "max_completion_tokens": 800, "response_format": {"type": "json_object"}}


async def wanting(ask, item):
    return await ask([{"role": "user", "content": str(item)}], **WANTED)


def refusing(words, *names, status=400):
    """Return a script that refuses parameters, the first of them first, in its own words."""

    def script(asked, number):
        found = [name for name in names if name in asked]
        return say(status=status, body=words(found[0]).encode()) if found else say("good")

    return script


def named(name):
    return json.dumps({"error": {"message": f"Unsupported: '{name}'", "param": name}})


def unnamed(name):
    return json.dumps({"error": "a parameter is not supported"})


@pytest.mark.parametrize(
    ("words", "names", "missing", "requests", "why"),
    [
        (named, ["temperature"], {"temperature"}, 2, "one parameter"),
        (named, ["seed", "temperature"], {"seed", "temperature"}, 3, "two, one after the other"),
        (named, ["max_completion_tokens"], {"max_completion_tokens"}, 2, "sent under its older name"),
        (named, list(WANTED), set(WANTED), 5, "all of them"),
        (unnamed, ["response_format"], {"response_format"}, 2, "the first that is guessed"),
        (unnamed, ["temperature"], set(WANTED), 5, "the last that is guessed"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_taken_is_left_out(words, names, missing, requests, why, capsys):
    results, refused = {}, {}
    with serving(refusing(words, *names)) as server:
        account = ask_all(endpoint(server), wanting, ["a"], results.update, refused)
        assert results["a"].text == "good" and len(server.requests) == requests, why
        assert not missing & server.requests[-1].keys() and WANTED.keys() - missing <= server.requests[-1].keys()
        assert server.requests[-1].get("max_tokens") == (800 if "max_completion_tokens" in missing else None)
        assert (account.answers, account.failures) == (1, {}) and account.requests == requests
        said = capsys.readouterr().out
        assert all(f"m@{server.url} does not take {name}, and is asked" in said for name in names), "and says so once"
        assert set(refused) == set(names), "of those that were guessed only the last is remembered"
        ask_all(endpoint(server), wanting, "bc", results.update, refused)
        assert not set(names) & server.requests[-1].keys() and not capsys.readouterr().out
        assert words is unnamed or len(server.requests) == requests + 2, "it is not found out again"


def test_what_was_really_sent_is_in_the_account():
    with serving(refusing(named, "temperature")) as server:
        account = ask_all(endpoint(server, concurrency=1), wanting, "abc", dict().update)
    assert account.sent == {"seed, max_completion_tokens 800, response_format": 3}
    assert account.refused == {"temperature: status 400: Unsupported: 'temperature'": 1}
    assert account.record()["sent"] == dict(account.sent) and "not taken: temperature" in str(account)
    assert account.requests == 4 and account.retries == {"status_400": 1}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("words", "requests", "why"),
    [
        ('{"error": {"message": "The context length is 4096 tokens; reduce max_tokens."}}', 1, "it is too long"),
        ('{"detail": [{"loc": ["body", "messages"], "msg": "no image"}]}', 1, "something else is named"),
        ('{"error": "parameter"}', 5, "a parameter, which none of ours is"),
        ('{"error": {"message": "temperature and seed, always"}}', 4, "it says this whatever is sent"),
    ],
)
def test_another_refusal_ends_and_its_words_are_shown(status, words, requests, why, capsys):
    results = {}
    with serving(lambda asked, n: say(status=status, body=words.encode())) as server:
        account = ask_all(endpoint(server), wanting, ["a"], results.update)
    assert results["a"].reason == f"status_{status}" and len(server.requests) == account.requests == requests, why
    assert str(results["a"]).startswith(f"status {status}: ") and "{" not in str(results["a"])
    assert account.failures == {f"status_{status}": 1} and not account.refused, "nothing is said to be not taken"
    assert "does not take" not in capsys.readouterr().out


def test_a_server_that_refuses_everything_is_given_up():
    with serving(lambda asked, n: say(status=400, body=b'{"error": "a parameter"}')) as server:
        with pytest.raises(
            InputError, match="10 questions in a row unanswered, the last with: status 400: a parameter"
        ):
            ask_all(endpoint(server, concurrency=1), wanting, range(1000), dict().update)
        assert len(server.requests) == 10 * 5


PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture
def proxy(monkeypatch):
    """Return a function that sets a proxy variable, and only that."""

    def set_only(variable, value):
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, value)

    return set_only


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("value", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks://127.0.0.1:9"])
def test_this_machine_is_asked_directly(proxy, variable, value):
    proxy(variable, value)
    with serving(lambda asked, n: say("good")) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert ask(endpoint(server, url=url), ["a"])[0]["a"].text == "good"


def test_another_machine_is_asked_through_the_proxy(proxy):
    with serving(lambda asked, n: say("by the proxy")) as server:
        proxy("http_proxy", server.url.removesuffix("/v1"))
        assert ask(endpoint(server, url="http://far.example.com/v1"), ["a"])[0]["a"].text == "by the proxy"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (say(status=502, body=b"Bad Gateway"), "status 502: Bad Gateway"),
        (say(body=b"<html>log in first</html>"), "no chat completion"),
        (say("never", delay_s=60), "no complete answer"),
    ],
)
def test_the_variable_is_named_where_a_proxy_refuses(proxy, answer, words):
    with serving(lambda asked, n: answer) as server:
        proxy("ALL_PROXY", server.url.replace("http://", "http://me:s3cr3t@").removesuffix("/v1"))
        results, _ = ask(endpoint(server, url="http://far.example.com/v1", attempts=1, timeout_s=0.5), ["a"])
    assert words in str(results["a"]) and str(results["a"]).endswith("(through the proxy in ALL_PROXY)")
    assert "s3cr3t" not in str(results["a"])


def test_a_proxy_that_is_not_there_or_wants_a_password_is_named(proxy):
    proxy("http_proxy", "http://127.0.0.1:9")
    far = {"model": "m", "url": "http://far.example.com/v1", "attempts": 1}
    assert str(ask(Endpoint(**far), ["a"])[0]["a"]).endswith("(through the proxy in http_proxy)")
    with serving(lambda asked, n: say(status=407, body=b"Proxy Authentication Required")) as server:
        proxy("http_proxy", server.url.removesuffix("/v1"))
        with pytest.raises(InputError, match=r"the proxy wants a name and a password.*in http_proxy"):
            ask(Endpoint(**far), ["a"])


def test_a_proxy_that_cannot_be_used_stops_before_any_request(proxy):
    proxy("ALL_PROXY", "socks://127.0.0.1:1080")
    far = Endpoint(model="m", url="http://far.example.com/v1")
    for first in (far.check, lambda: ask(far, ["a"])):
        with pytest.raises(InputError, match=r"ALL_PROXY begins with socks://.*write socks5://"):
            first()
