"""What servers say when they refuse a parameter: the one that they mean is found, and nothing else is taken for one."""

import json

import pytest

from currreft_nb.endpoints.refusals import refused_parameter, sentence

SENT = ("temperature", "max_completion_tokens", "response_format", "seed")
LIMIT = "max_completion_tokens"


def openai(message, param=None):
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": "x"}})


def fastapi(*where, message="Extra inputs are not permitted"):
    """Return the complaint of pydantic, which repeats what was sent."""
    detail = {"type": "extra_forbidden", "loc": list(where), "msg": message, "input": {"temperature": 0, "seed": 7}}
    return json.dumps({"detail": [detail]})


@pytest.mark.parametrize(
    ("body", "expected", "why"),
    [
        (openai("Unsupported value: 'temperature' does not support 0.0 with this model."), "temperature", "in words"),
        (openai("Unsupported value. Only the default is supported.", "temperature"), "temperature", "in `param` only"),
        (openai("Unsupported parameter: 'max_completion_tokens' ... temperature", LIMIT), LIMIT, "`param` first"),
        (openai("Unknown parameter: 'seed'. Did you mean 'temperature'?"), "seed", "the first of two names"),
        (openai("Unrecognized request argument supplied: max_completion_tokens"), LIMIT, "an older server of OpenAI"),
        (fastapi("body", "seed"), "seed", "a list of details, as FastAPI writes them"),
        (fastapi("body", LIMIT), LIMIT, "another of them"),
        (fastapi("body", "params", "seed"), "seed", "deeper"),
        (json.dumps({"error": 'json: unknown field "seed"'}), "seed", "an error that is a text, as of Go servers"),
        (json.dumps({"detail": "temperature must be strictly positive"}), "temperature", "a detail that is a text"),
        (json.dumps({"object": "error", "message": "seed is not supported", "param": None}), "seed", "vLLM before 0.9"),
        (json.dumps({"message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra"}]}}), "seed", "Mistral's"),
        (json.dumps([{"error": {"code": 400, "message": "json mode is not enabled"}}]), "response_format", "in a list"),
        (json.dumps({"errors": ["max completion tokens: not allowed"]}), LIMIT, "with spaces"),
        (json.dumps({"error": "maxCompletionTokens is no property"}), LIMIT, "in camel case"),
        (json.dumps({"error": "max_tokens is required"}), LIMIT, "it wants the older name"),
        ("unknown response_format", "response_format", "no JSON at all"),
        ("random_seed: no such option", "seed", "another name of it"),
        ("this model takes no custom sampling parameters", "temperature", "by what it is for"),
        ("litellm.BadRequestError: {'error': {'message': \"bad 'temperature'\"}}", "temperature", "JSON within a text"),
    ],
)  # fmt: skip
def test_the_refused_parameter_is_found(body, expected, why):
    assert refused_parameter(body, SENT, ()) == (expected, True), why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (openai("This model's maximum context length is 4096 tokens. Please reduce it."), "long"),
        (openai("'max_tokens' or 'max_completion_tokens' is too large: 800. The input has 4000."), "vLLM"),
        (openai("max_completion_tokens: at most 512"), "taken, but not of this size"),
        (openai("Could not finish the message because max_tokens was reached. Try higher max_tokens."), "cut off"),
        (openai("Invalid type for 'temperature' of nobody", "messages[0].content"), "`param` names something else"),
        (fastapi("body", "messages", 0, "content", message="no image"), "what was sent is repeated, not refused"),
    ],
)  # fmt: skip
def test_another_complaint_is_no_refused_parameter(body, why):
    assert refused_parameter(body, SENT, ()) == ("", False), why


@pytest.mark.parametrize(
    ("body", "sent", "accepted", "expected", "why"),
    [
        ("Bad Request", SENT, (), "response_format", "many servers say no more when they know no JSON mode"),
        ("Bad Request", ("seed", "temperature"), (), "", "no reason to think of these"),
        ("Bad Request", SENT, ("response_format",), "", "it was taken before"),
        ("unknown parameter", ("seed", "temperature", LIMIT), (), "seed", "a parameter, without its name"),
        ("unknown parameter", ("temperature", LIMIT), (), LIMIT, "the next, were it not that"),
        ("unknown parameter", ("temperature", "max_tokens"), (), "temperature", "the last"),
        ("unknown parameter", ("max_tokens",), (), "", "nothing is left to leave out"),
        ("unknown parameter", SENT, SENT, "", "all were taken before"),
        ("the model org/seed-oss-36b is overloaded", ("seed",), (), "", "a model's name"),
        ("[" * 100_000, ("seed",), (), "", "JSON that breaks naive parsers"),
        ('{"error": null}', ("seed",), (), "", "no words at all"),
    ],
)  # fmt: skip
def test_what_is_not_named_is_guessed_from_the_least_important_on(body, sent, accepted, expected, why):
    assert refused_parameter(body, sent, accepted) == (expected, False), why


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (openai("Bad value", "seed"), "seed: Bad value"),
        (openai("seed is bad", "seed"), "seed is bad"),
        (fastapi("body", "seed"), "seed: Extra inputs are not permitted"),
        ('{"error": "model not loaded"}', "model not loaded"),
        ("<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        ("", ""),
        ("null", "null"),
        ('{"choices": []}', '{"choices": []}'),
    ],
)
def test_the_servers_words_stand_alone(body, expected):
    assert sentence(body) == expected
