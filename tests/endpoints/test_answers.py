"""A teacher at an endpoint: `transformers serve` with the pocket model, and a server that fails now and then."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes import compose
from currreft_nb.endpoints.answers import completion_seed, endpoint_sampler
from currreft_nb.endpoints.endpoint import Endpoint
from currreft_nb.generation.generate import generate
from currreft_nb.method.prompts import Style
from currreft_nb.models.files import source_of
from currreft_nb.models.load import load_model
from currreft_nb.rejection.endpoint_judge import judge_over_http
from currreft_nb.rejection.select import sample_answers
from tests.helpers.scripted_server import completion, say, serving

POOL = [
    Sample(id=f"q{i}", task="general", split="pool", source="s", question=f"What is {i}?", answer=str(i))
    for i in range(6)
]


@pytest.fixture(scope="module")
def served():
    """Serve the pocket model with `transformers serve` and return it as an endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = source_of("pocket")
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--device", "cpu", "--dtype", "float32"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None and time.monotonic() < deadline, "transformers serve did not start"
            time.sleep(0.2)
        yield Endpoint(model=folder, url=f"http://127.0.0.1:{port}/v1", concurrency=2)
    finally:
        server.terminate()
        server.wait(20)


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_greedy_answers_are_those_of_the_same_model_in_this_process(served, tmp_path):
    """Images are sent, prompts are put alike: every answer is the same text, cut off where the same one is."""
    loaded = load_model("pocket")
    tasks = ("general", "detection", "classification", "math")
    samples = [s for task in tasks for s in compose.draw_samples(tmp_path, task, 6, "id", 3, "train")]
    assert any(sample.image for sample in samples) and any(sample.image is None for sample in samples)
    here = generate(loaded, samples, max_new_tokens=24)
    there = endpoint_sampler(served, loaded.style, completions=1, temperature=0.0, max_new_tokens=24)(samples)
    assert [found[0].text for found in there] == [found[0].text for found in here]
    assert [found[0].truncated for found in there] == [found[0].truncated for found in here]


@pytest.mark.slow
def test_a_real_server_without_response_format_can_be_asked_for_verdicts(served, tmp_path):
    """The pocket model knows no JSON: both of its replies are no verdict, and that is said."""
    pair = (POOL[0], "<think></think><answer>0</answer>")
    (verdict,), account = judge_over_http(served, [pair], tmp_path / "verdicts.jsonl", Style(wording="short"))
    assert verdict.total is None and verdict.reason.startswith("judge_failed: it is not one JSON object")
    assert account.requests == account.answers == 2 and account.tokens_in > 0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)  # in place of half a second


def endpoint(server, **changed):
    return Endpoint(**{"model": "m", "url": server.url, "attempts": 2} | changed)


def test_each_completion_is_asked_for_with_its_own_seed():
    with serving(lambda asked, n: say(str(asked["seed"]))) as server:
        options = {"completions": 3, "temperature": 0.7, "max_new_tokens": 9, "seed": 5}
        found = endpoint_sampler(endpoint(server), Style(), **options)(POOL[:2])
    assert [[c.text for c in row] for row in found] == [
        [str(completion_seed(sample.id, number, 5)) for number in range(3)] for sample in POOL[:2]
    ]
    assert {(r["temperature"], r["max_completion_tokens"], len(r["messages"])) for r in server.requests} == {
        (0.7, 9, 1)
    }
    assert len({r["seed"] for r in server.requests}) == 6


def test_what_could_not_be_had_is_asked_for_again_and_nothing_else(tmp_path, capsys):
    def script(asked, number):
        return say(status=500) if "What is 3?" in str(asked) and broken else say("x")

    broken = True
    with serving(script) as server:
        answer = endpoint_sampler(endpoint(server), Style(), completions=2)
        rows = sample_answers(answer, POOL, tmp_path / "a.jsonl")
        assert len(rows) == 10 and "no answer to 'q3': status 500" in capsys.readouterr().out
        broken, before = False, len(server.requests)
        assert len(sample_answers(answer, POOL, tmp_path / "a.jsonl")) == 12
        assert len(server.requests) - before == 2


def test_a_server_that_dies_costs_only_what_was_under_way(tmp_path):
    with serving(lambda asked, n: say("x") if n <= 7 else say(status=503)) as server:
        answer = endpoint_sampler(endpoint(server, concurrency=1), Style(), completions=8)
        with pytest.raises(InputError, match="in a row unanswered"):
            sample_answers(answer, POOL, tmp_path / "a.jsonl", batch_size=4)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 7


def test_an_answer_that_ended_within_its_thinking_is_told_as_that(capsys):
    """A server that shows no thinking shows an empty text; one that does shows where it stopped."""
    cut = {"role": "assistant", "content": "", "reasoning_content": "two and"}
    shown = json.dumps({"choices": [{"message": cut, "finish_reason": "length"}]}).encode()
    for body, text in ((completion("", "length", (5, 9)), ""), (shown, "<think>two and")):
        with serving(lambda asked, n, body=body: say(body=body)) as server:
            answer = endpoint_sampler(endpoint(server), Style(), completions=1, max_new_tokens=9)
            found = [row[0] for row in answer(POOL[:2])]
        assert [(reply.text, reply.truncated) for reply in found] == [(text, True)] * 2
        assert f"2 of 2 answers of m@{server.url} are empty: they were cut off" in capsys.readouterr().out


def test_a_parameter_is_found_not_to_be_taken_once_for_all_batches(capsys):
    def script(asked, number):
        return say(status=400, body=b"unknown field 'seed'") if "seed" in asked else say("x")

    with serving(script) as server:
        answer = endpoint_sampler(endpoint(server, concurrency=1), Style(), completions=1)
        answer(POOL[:2]), answer(POOL[2:4])
    assert len(server.requests) == 5 and capsys.readouterr().out.count("does not take seed") == 1


def test_a_refusal_is_a_missing_answer_not_an_empty_one(capsys):
    with serving(lambda asked, n: say(body=completion("", "content_filter"))) as server:
        answer = endpoint_sampler(endpoint(server), Style(), completions=1)
        assert answer(POOL[:2]) == [[None], [None]]
    assert "no answer to 'q0': the server withheld the answer (content_filter)" in capsys.readouterr().out


def test_equal_greedy_completions_are_refused():
    with pytest.raises(InputError, match="give a temperature above 0"):
        endpoint_sampler(Endpoint(model="m", url="http://h"), Style(), completions=2, temperature=0.0)
