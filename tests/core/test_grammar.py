"""The grammar of `KIND:PLACE | name value`: what it accepts, and that each message names the place and the remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.grammar import number, parse, parse_terms, true_or_false, whole

KINDS = {"rule": {}, "file": {}, "model": {"four_bit": true_or_false, "max_pixels": whole, "like": str}}


def read(text):
    return parse(text, KINDS, "judges", bare=["rule"])


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("rule", ("rule", "", {})),
        (" file: a b.jsonl ", ("file", "a b.jsonl", {})),
        ("model:a:b|four_bit true", ("model", "a:b", {"four_bit": True})),
        ("model:a | like my folder/b,  max_pixels  9", ("model", "a", {"like": "my folder/b", "max_pixels": 9})),
    ],
)
def test_texts_that_are_read(text, parsed):
    assert read(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown kind ''; write file, model, rule, as in KIND:PLACE"),
        ("modle:a", "unknown kind 'modle'; did you mean model?"),
        ("rule:a", "write 'rule' alone"),
        ("model: | four_bit true", "write model:PLACE, with a place"),
        ("file:a | like b", "file has no options; delete the text after the bar"),
        ("model:a |", "'' is incomplete; write a name, a space and a value"),
        ("model:a | like", "'like' is incomplete"),
        ("model:a | lik b", "unknown option 'lik'; did you mean like?"),
        ("model:a | max_pixels 4, max_pixels 8", "duplicate 'max_pixels'; keep one"),
        ("model:a | max_pixels 1e5", "max_pixels is '1e5'; write a whole number of at least 1"),
        ("model:a | four_bit yes", "four_bit is 'yes'; write true or false"),
    ],
)
def test_texts_that_are_refused(text, message):
    with pytest.raises(InputError) as caught:
        read(text)
    assert str(caught.value).startswith(f"judges: {message}")


@pytest.mark.parametrize("term", ["700", "math", "", "math -1", "math 1.5"])
def test_any_name_needs_a_value_and_any_value_a_name(term):
    with pytest.raises(InputError, match="quotas: "):
        parse_terms([term], whole, "quotas")


@pytest.mark.parametrize("value", ["nan", "inf", "many"])
def test_numbers_are_finite(value):
    with pytest.raises(InputError, match=rf"weight is '{value}'; write a finite number"):
        parse_terms([f"weight {value}"], {"weight": number}, "source")


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        assert read(text)[0] in KINDS
    except InputError as problem:
        assert str(problem).startswith("judges: ")
