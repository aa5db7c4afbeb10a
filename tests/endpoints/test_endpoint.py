"""Endpoints are read strictly, and no key is ever shown."""

import base64
import io

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.endpoints.endpoint import Account, Endpoint, read_endpoint, user_message


def test_all_that_may_stand_behind_the_address():
    text = "m@https://h/v1 | key MY_KEY, concurrency 3, per_minute 60, timeout_s 9, attempts 2, dollars_in 1"
    found = read_endpoint(text)
    assert (found.model, found.url, found.key) == ("m", "https://h/v1", "MY_KEY")
    assert (found.concurrency, found.per_minute, found.timeout_s, found.attempts) == (3, 60, 9.0, 2)


@pytest.mark.parametrize(
    ("options", "sent", "why"),
    [
        ("", {"temperature": 0.0, "max_completion_tokens": 800, "seed": 7}, "what the caller wants"),
        ("temperature 1", {"temperature": 1.0, "max_completion_tokens": 800, "seed": 7}, "another temperature"),
        ("temperature omit, seed omit", {"max_completion_tokens": 800}, "less"),
        ("max_completion_tokens 4000", {"temperature": 0.0, "max_completion_tokens": 4000, "seed": 7}, "reasoner"),
        ("max_completion_tokens max_tokens", {"temperature": 0.0, "seed": 7, "max_tokens": 800}, "the older name"),
        ("max_completion_tokens omit", {"temperature": 0.0, "seed": 7}, "no limit, as the user says"),
    ],
)  # fmt: skip
def test_parameters_can_be_changed_or_left_out(options, sent, why):
    found = read_endpoint("m@http://h" + (f" | {options}" if options else ""))
    assert found.parameters({"temperature": 0.0, "max_completion_tokens": 800, "seed": 7}) == sent, why
    assert found.name == "m@http://h" + (f" | {options}" if options else "").replace("temperature 1", "temperature 1.0")


def test_what_nobody_wants_is_not_sent():
    assert read_endpoint("m@http://h | temperature 1, max_completion_tokens 9").parameters({"seed": 7}) == {"seed": 7}


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("org/m@http://127.0.0.1:8000/v1/", "org/m@http://127.0.0.1:8000/v1", "a slash at the end changes nothing"),
        ("/models/a@b@http://h", "/models/a@b@http://h", "a folder may hold an at sign"),
        (" m@http://h ", "m@http://h", "spaces around"),
    ],
)
def test_names(text, name, why):
    assert read_endpoint(text).name == name, why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpt-4o", "is not MODEL@ADDRESS"),
        ("@https://h", "is not MODEL@ADDRESS"),
        ("m@ftp://h", "is not MODEL@ADDRESS"),
        ("m@https:///v1", "must begin with http:// or https:// and name a host"),
        ("m@https://me:pass@h/v1", "set a key in the environment"),
        ("m@https://h/v1?api_key=x", "set a key in the environment"),
        ("m@http://h | concurency 3", r"unknown option 'concurency'; did you mean concurrency\?"),
        ("m@http://h | concurrency many", "concurrency is 'many'; write a whole number"),
        ("m@http://h | concurrency 0", "concurrency is '0'; write a whole number of at least 1"),
        ("m@http://h | temperature warm", "temperature is 'warm'; write a finite number, or omit"),
        ("m@http://h | temperature -1", "temperature must be 0 or more"),
        ("m@http://h | seed 7", "seed is '7'; write omit"),
        ("m@http://h | max_completion_tokens 0", "whole number of at least 1, or max_tokens or omit"),
        ("m@http://h | timeout_s 0", "timeout_s must be above 0"),
        ("m@http://h | dollars_in nan", "dollars_in is 'nan'; write a finite number"),
        ("m@http://h | dollars_out -1", "dollars_out 0 or more"),
        ("m@http://h | attempts 2, attempts 3", "duplicate 'attempts'"),
        ("m@http://h | key sk-abcdef123456", "never the key itself"),
    ],
)
def test_an_invalid_endpoint_is_refused(text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_endpoint(text)
    assert "sk-abcdef" not in str(caught.value) and "pass" not in str(caught.value)


def test_openai_needs_a_key_and_a_local_server_none(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="set the environment variable OPENAI_API_KEY"):
        read_endpoint("gpt-4o@https://api.openai.com/v1").secret()
    assert read_endpoint("m@http://127.0.0.1:8000/v1").secret() == ""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdef123456\n")
    assert read_endpoint("gpt-4o@https://api.openai.com/v1").secret() == "sk-abcdef123456"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Incorrect API key provided: zq9zq9zq9.", "the key itself, of whatever form"),
        ("Incorrect API key provided: sk-proj-********************abcd", "a key that the server masked in part"),
        ("headers: Bearer aGVsbG8gd29ybGQ", "the value of a header"),
        ("token hf_abcdefgh", "another key"),
    ],
)
def test_texts_are_cleaned_of_keys(monkeypatch, text, why):
    monkeypatch.setenv("MY_KEY", "zq9zq9zq9")
    cleaned = Endpoint(model="m", url="http://h", key="MY_KEY").clean(text + "\n" + "x" * 500)
    assert "[key]" in cleaned and len(cleaned) <= 200 and "\n" not in cleaned, why
    assert not {"zq9zq9zq9", "abcd", "aGVsbG8", "hf_abcdefgh"} & set(cleaned.replace(".", " ").split()), why


def test_an_account_is_one_line_of_text_and_plain_values():
    account = Account("m@http://h", requests=9, answers=7, tokens_in=100, tokens_out=20, dollars=0.123456, seconds=2.04)
    account.retries["status_429"] += 2
    assert (
        str(account)
        == "m@http://h: 9 requests, 7 answers; repeated: 2 status_429; 100 tokens in, 20 out; 0.12 dollars; 2.0 s"
    )
    assert account.record()["retries"] == {"status_429": 2} and account.record()["dollars"] == 0.1235


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [("a.png", "RGB", "png"), ("a.jpg", "RGB", "jpeg"), ("a.bmp", "RGB", "png"), ("a.png", "RGBA", "png")],
)
def test_an_image_arrives_as_the_pixels_that_the_local_model_sees(tmp_path, name, mode, kind):
    path = tmp_path / name
    Image.effect_noise((20, 30), 80).convert(mode).save(path)
    sample = Sample(
        id="a", task="general", split="pool", source="s", question="?", answer="x", image=str(path), size=(20, 30)
    )
    image, text = user_message("What?", sample)["content"]
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == f"data:image/{kind};base64" and text == {"type": "text", "text": "What?"}
    sent = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    assert sent.tobytes() == Image.open(path).convert("RGB").tobytes()


def test_half_a_character_does_not_break_a_request():
    assert user_message("a\ud800b")["content"][0]["text"] == "a?b"
