"""Parameters: what a cell may declare, what a value may become, and how a mistake is reported."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import InputError
from currreft_nb.core.settings import convert, settle
from currreft_nb.running.parameters import code_cells, declarations, parse_declarations, read_yaml
from tests.helpers.tiny_project import TRAIN, write_notebook


def test_declarations_carry_type_default_and_comment(tmp_path):
    found = declarations(write_notebook(tmp_path, "02_train", TRAIN))
    assert list(found) == ["seed", "steps", "learning_rate", "tasks", "four_bit", "model", "data", "output"]
    assert (found["steps"].kind, found["steps"].default, found["steps"].help) == ("int", 60, "optimiser steps")
    assert (found["learning_rate"].default, found["tasks"].default) == (1e-3, ["math"])
    assert found["seed"].help == ""


def test_a_list_over_several_lines_keeps_its_comments_together():
    source = 'tasks: list[str] = [\n    "math",  # numbers\n    "detection",  # boxes\n]\nseed: int = -1'
    found = parse_declarations(source)
    assert found["tasks"].help == "numbers boxes"
    assert (found["seed"].default, found["seed"].line) == (-1, 5)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("twice: int = 2 * 3", "a derived value is not computed again after injection"),
        ("steps = 3", "without its type nothing can be checked"),
        ("steps: int", "a declaration without a default has no value by hand"),
        ("judge: str | None = None", "Papermill cannot read a union"),
        ("model: dict = {}", "nested values cannot be overridden one by one"),
        ("tasks: list[str] = [1]", "an item of another type than declared"),
        ("four_bit: bool = 0", "0 is a number"),
        ("steps: int = 0.5", "half a step"),
        ("a, b = 1, 2", "one name a line"),
        ("import os", "not a declaration at all"),
        ("run.steps: int = 3", "an attribute is no parameter"),
        ("steps: int = 1\nsteps: int = 2", "which one would count?"),
        ("steps: int = (", "no Python"),
    ],
)
def test_other_lines_are_refused(source, reason):
    with pytest.raises(InputError, match=r"line \d of the parameters cell"):
        parse_declarations(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("not json", "is not a notebook"),
        ('{"cells": 3}', "is not a notebook"),
        ("[]", "is not a notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused(tmp_path, text, message):
    path = tmp_path / "a.ipynb"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        declarations(path)


def test_a_notebook_without_the_tag_is_refused(tmp_path):
    path = write_notebook(tmp_path, "a", "steps: int = 1")
    path.write_text(path.read_text().replace('"parameters"', '"parametres"'))
    with pytest.raises(InputError, match="no cell tagged 'parameters'"):
        declarations(path)
    assert len(code_cells(path)) == 2


@pytest.mark.parametrize(
    ("written", "kind", "value", "reason"),
    [
        ("1e-5", "float", 1e-5, "YAML 1.1 reads it as text, for it has no dot"),
        ("1.0e-5", "float", 1e-5, "the spelling that YAML 1.1 knows"),
        ("1", "float", 1.0, "an int where a float is meant"),
        ("1e3", "int", 1000, "text to YAML, and a whole number"),
        ("60.0", "int", 60, "nothing is lost"),
        ("60.5", "int", None, "half a step would be lost"),
        ("'60'", "int", 60, "quoted, still a number"),
        (str(2**60 + 1), "int", 2**60 + 1, "a seed does not pass through a float"),
        ("9" * 400, "float", None, "beyond the largest float"),
        ("many", "int", None, "not a number"),
        ("nan", "float", None, "no learning rate"),
        (".inf", "float", None, "no learning rate either"),
        ("1e999", "float", None, "infinite once it is read"),
        ("true", "bool", True, "a bool"),
        ("on", "bool", True, "YAML 1.1 calls this true"),
        ("1", "bool", None, "a number is never a bool"),
        ("'true'", "bool", None, "text is never a bool"),
        ("true", "int", None, "a bool is never a number, though Python says so"),
        ("off", "str", None, "YAML 1.1 made a bool of it; it must be quoted"),
        ("1.10", "str", None, "YAML made a number of it, and lost the 0"),
        ("''", "str", "", "empty text means none"),
        ("", "str", None, "an empty value is null"),
        ("[math, detection]", "list[str]", ["math", "detection"], "a list of text"),
        ("[]", "list[str]", [], "an empty list"),
        ("[1]", "list[str]", None, "a number in it"),
        ("math", "list[str]", None, "text is not a list of its letters"),
        ("{a: 1}", "str", None, "nested"),
    ],
)
def test_values_from_yaml(written, kind, value, reason):
    found = convert(yaml.safe_load(written), kind)
    assert found == value and type(found) is type(value), reason


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_as_number_and_as_text(number):
    assert convert(number, "float") == convert(str(number), "float") == number


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text() | st.integers())))
def test_a_converted_value_is_of_its_type_and_converts_to_itself(value):
    types = {"str": str, "int": int, "float": float, "bool": bool, "list[str]": list}
    for kind, expected in types.items():
        found = convert(value, kind)
        if found is not None:
            assert type(found) is expected
            assert convert(found, kind) == found
            assert kind != "float" or math.isfinite(found)


def test_settle_fills_in_defaults_without_sharing_them():
    declared = parse_declarations(TRAIN)
    first = settle(declared, {"learning_rate": "1e-5", "steps": 5}, str)
    assert (first["learning_rate"], first["steps"], first["tasks"]) == (1e-5, 5, ["math"])
    first["tasks"].append("detection")
    assert settle(declared, {}, str)["tasks"] == ["math"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learnin_rate": 1}, "here: unknown parameter 'learnin_rate'; did you mean learning_rate?"),
        ({"zzz": 1}, "here: unknown parameter 'zzz'; known are: data, four_bit, "),
        ({"steps": "many"}, "here: steps is 'many', but must be an int"),
        ({"model": None}, 'here: model is None, but must be a str (quote it; "" for none)'),
        ({"four_bit": "yes"}, "here: four_bit is 'yes', but must be a bool (true or false)"),
    ],
)
def test_mistakes_name_place_value_and_expected_type(given, message):
    with pytest.raises(InputError) as caught:
        settle(parse_declarations(TRAIN), given, lambda name: "here")
    assert str(caught.value).startswith(message)


def test_yaml_values_know_their_lines(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# first\nshared:\n  seed: 1\nsteps:\n  - name: a\n    params:\n      tasks:\n        - math\n")
    content, lines = read_yaml(path)
    assert content == {"shared": {"seed": 1}, "steps": [{"name": "a", "params": {"tasks": ["math"]}}]}
    assert lines["shared", "seed"] == 3
    assert lines["steps", 0, "params", "tasks"] == 7
    assert lines["steps", 0, "params", "tasks", 0] == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"a.yaml:3: duplicate key 'a'"),
        ("a:\n  data: @data\n", r'a.yaml:2: .*write references in quotes: "@step"'),
        ("a: [1\n", r"a.yaml:2: "),
        ("a: 1\n\tb: 2\n", r"a.yaml:2: "),
        ("a: !!python/object:os.system 1\n", r"a.yaml:1: "),
        ("? [a]\n: 1\n", r"a.yaml:1: "),
        ("a: &a [*a]\n", "a.yaml is not readable YAML"),
    ],
)
def test_bad_yaml_is_reported_with_its_line(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_absent_yaml_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="is not a YAML file"):
        read_yaml(tmp_path)
