"""The parameters of a notebook: declared in its cell tagged `parameters`, checked before a kernel starts and in it.

    steps: int = 60                    # optimiser steps
    learning_rate: float = 1e-3        # of AdamW
    tasks: list[str] = ["math"]        # which tasks are trained

Values reach a notebook from YAML, from a command line or from Papermill, and YAML reads `1e-5` as text and `1e3` as
well. The type of the declaration decides, so every way in ends at the same value or at the same error.
"""

import ast
import difflib
import io
import json
import math
import os
import tokenize
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from currreft_nb import InputError

KINDS = ("str", "int", "float", "bool", "list[str]")


@dataclass(frozen=True)
class Declaration:
    """One parameter of a notebook: its name, type, default, the comment behind it and its line in the cell, from 1."""

    name: str
    kind: str
    default: Any
    help: str
    line: int


def code_cells(notebook: str | os.PathLike) -> list[tuple[str, list[str]]]:
    """Return the source and the tags of each code cell. Raises `InputError` when the file is absent or no notebook."""
    path = Path(notebook)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        return [("".join(cell["source"]), cell.get("metadata", {}).get("tags", [])) for cell in code]
    except FileNotFoundError:
        raise InputError(f"notebook {path} does not exist; check its name") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a notebook ({error}); open it in JupyterLab or restore it from git") from None


def declarations(notebook: str | os.PathLike) -> dict[str, Declaration]:
    """Return what the notebook's cell tagged `parameters` declares, by name.

    Raises `InputError` when there is no such cell or when a line is not a flat annotated literal.
    """
    for source, tags in code_cells(notebook):
        if "parameters" in tags:
            return parse_declarations(source, Path(notebook).name)
    raise InputError(
        f"{notebook} has no cell tagged 'parameters'; tag the cell that declares them (property inspector)"
    )


def parse_declarations(source: str, where: str = "parameters") -> dict[str, Declaration]:
    """Return the declarations in the source of a parameters cell, by name; `where` stands in front of errors.

    >>> parse_declarations("steps: int = 60  # optimiser steps")["steps"]
    Declaration(name='steps', kind='int', default=60, help='optimiser steps', line=1)
    >>> parse_declarations("steps: int = 6 * 10")
    Traceback (most recent call last):
    currreft_nb.InputError: parameters, line 1 of the parameters cell: 'steps: int = 6 * 10' is not 'name: type = \
literal' with a type out of str, int, float, bool, list[str]
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"{where}, line {error.lineno} of the parameters cell: {error.msg}") from None
    comments = _comments(source)
    declared = {}
    for statement in statements:
        found = _declaration(statement, comments)
        place = f"{where}, line {statement.lineno} of the parameters cell"
        if found is None:
            text = ast.get_source_segment(source, statement)
            raise InputError(f"{place}: {text!r} is not 'name: type = literal' with a type out of {', '.join(KINDS)}")
        if found.name in declared:
            raise InputError(f"{place}: {found.name} is declared twice; delete one of the two lines")
        declared[found.name] = found
    return declared


def _declaration(statement: ast.stmt, comments: dict[int, str]) -> Declaration | None:
    if (
        not isinstance(statement, ast.AnnAssign)
        or not isinstance(statement.target, ast.Name)
        or statement.value is None
    ):
        return None
    kind = ast.unparse(statement.annotation).strip("'\"")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        return None
    if kind not in KINDS or convert(default, kind) is None:
        return None
    lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    text = " ".join(comments[line] for line in lines if line in comments)
    return Declaration(statement.target.id, kind, convert(default, kind), text, statement.lineno)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def convert(value: Any, kind: str) -> Any:
    """Return `value` as the kind, where that loses nothing, else None.

    Text of a number becomes a number, because YAML 1.1 reads `1e-5` as text; nothing becomes a bool, or a text, that is
    not one.

    >>> convert("1e-5", "float"), convert(1, "float"), convert("1e3", "int"), convert(2.5, "int")
    (1e-05, 1.0, 1000, None)
    >>> convert(1, "bool"), convert(True, "int"), convert(["a"], "list[str]"), convert("a", "list[str]")
    (None, None, ['a'], None)
    """
    if kind in ("str", "bool"):
        return value if isinstance(value, str if kind == "str" else bool) else None
    if kind == "list[str]":
        fine = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return list(value) if fine else None
    return _number(value, kind)


def _number(value: Any, kind: str) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, int) and kind == "int":
        return value  # not through float, which would round a large seed
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return number if kind == "float" else int(number) if number.is_integer() else None


def settle(
    declared: Mapping[str, Declaration], given: Mapping[str, Any], place: Callable[[str], str]
) -> dict[str, Any]:
    """Return the value of every declared parameter: the given one in the declared type, else the default.

    `place(name)` says where a given value stands ("params/pocket.yaml:12 (step binary)"). Raises `InputError` for a
    name that is not declared and for a value of another type.
    """
    for name, value in given.items():
        if name not in declared:
            raise InputError(f"{place(name)}: unknown parameter {name!r}{did_you_mean(name, declared)}")
        kind = declared[name].kind
        if convert(value, kind) is None:
            raise InputError(f"{place(name)}: {name} is {value!r}, but must be {_describe(kind)}")
    return {
        name: convert(given[name], item.kind) if name in given else convert(item.default, item.kind)
        for name, item in declared.items()
    }


def _describe(kind: str) -> str:
    return {
        "str": 'a str (quote it; "" for none)',
        "int": "an int",
        "float": "a finite float",
        "bool": "a bool (true or false)",
        "list[str]": "a list[str] (quote its items)",
    }[kind]


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name.

    >>> did_you_mean("step", ["steps", "seed"])
    '; did you mean steps?'
    >>> did_you_mean("x", ["steps", "seed"])
    '; known are: seed, steps'
    """
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(sorted(names)) or 'none'}"


def check_namespace(notebook: Path, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a notebook's globals hold, in their declared types.

    What was set is found where IPython keeps the executed cells: the last one that Papermill injected and the last one
    that declared parameters, so that a misspelt name is an error and not a silent default.
    """
    declared = declarations(notebook)
    where = notebook.name
    for name in assigned_names(namespace.get("In", []), declared):
        if name not in declared:
            raise InputError(f"{where}: unknown parameter {name!r}{did_you_mean(name, declared)}")
    if missing := [name for name in declared if name not in namespace]:
        raise InputError(f"{where}: {missing[0]} is not set; run the cell tagged 'parameters' first")
    return settle(declared, {name: namespace[name] for name in declared}, lambda name: where)


def assigned_names(cells: list[str], declared: Mapping[str, Any]) -> list[str]:
    """Return the names that the last injected cell and the last parameters cell among executed cells assign.

    >>> assigned_names(["steps: int = 6", "# Parameters\\nstep = 9"], {"steps": None})
    ['steps', 'step']
    """
    declaring, injected = [], []
    for cell in cells:
        try:
            statements = ast.parse(cell).body
        except SyntaxError:  # an IPython magic, or a cell that failed
            continue
        names = [target.id for item in statements for target in _targets(item) if isinstance(target, ast.Name)]
        if cell.startswith("# Parameters"):
            injected = names
        elif names and all(isinstance(item, ast.AnnAssign) for item in statements) and set(names) & set(declared):
            declaring = names
    return declaring + injected


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def read_yaml(path: str | os.PathLike) -> tuple[Any, dict[tuple, int]]:
    """Return a YAML file's content and the line of each value, by its path of keys and positions.

    Read as Papermill reads it (YAML 1.1), but a key that stands twice is an error. Raises `InputError` naming file and
    line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple, int] = {}
        if root is not None:
            _note_lines(root, (), lines, path)
        return yaml.safe_load(text), lines
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; the experiments that come with the kit are in params/") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file ({error})") from None
    except yaml.MarkedYAMLError as error:
        hint = '; write references in quotes: "@step"' if "'@'" in str(error.problem) else ""
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: {error.problem}{hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable YAML: {error}") from None


def _note_lines(node: yaml.Node, keys: tuple, lines: dict[tuple, int], path: Path) -> None:
    lines[keys] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*keys, index), lines, path)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # the constructor refuses it
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(f"{path}:{line}: {key.value!r} stands twice in one mapping; delete one of them")
            seen.add(key.value)
            _note_lines(value, (*keys, key.value), lines, path)
            lines[(*keys, key.value)] = line
