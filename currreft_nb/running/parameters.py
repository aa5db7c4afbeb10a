"""The parameters of a notebook: what its cell tagged `parameters` shows, and all others that its settings class has.

    steps: int = 60                    # optimiser steps
    learning_rate: float = 1e-3        # of AdamW
    tasks: list[str] = ["math"]        # which tasks are trained

They are checked before a kernel starts and again in it, so that plain Papermill is as strict.
"""

import ast
import contextlib
import dataclasses
import io
import json
import os
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.settings import KINDS, Declaration, convert, settle
from currreft_nb.running.notebook_settings import check_together, declared_by


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
    """Return all parameters that a notebook takes, by name: those of its cell, then the others of its settings class.

    The cell decides the default of what it shows: a user may have edited it.
    """
    shown, known = cell_declarations(notebook), declared_by(Path(notebook).stem)
    merged = {
        name: dataclasses.replace(known[name], default=item.default, line=item.line)
        if name in known and known[name].kind == item.kind
        else item
        for name, item in shown.items()
    }
    return merged | {name: item for name, item in known.items() if name not in shown}


def cell_declarations(notebook: str | os.PathLike) -> dict[str, Declaration]:
    """Return what the notebook's cell tagged `parameters` declares, by name.

    Raises `InputError` when there is no such cell or when a line is not a flat annotated literal.
    """
    for source, tags in code_cells(notebook):
        if "parameters" in tags:
            return parse_declarations(source, Path(notebook).name)
    raise InputError(f"{notebook} has no cell tagged 'parameters'; add that tag to the cell that declares them")


def parse_declarations(source: str, where: str = "parameters") -> dict[str, Declaration]:
    """Return the declarations in the source of a parameters cell, by name; errors begin with `where`.

    >>> declared = parse_declarations("steps: int = 60  # optimiser steps")["steps"]
    >>> declared.kind, declared.default, declared.help, declared.line
    ('int', 60, 'optimiser steps', 1)
    >>> parse_declarations("steps: int = 6 * 10")
    Traceback (most recent call last):
    currreft_nb.InputError: parameters, line 1 of the parameters cell: 'steps: int = 6 * 10' is not 'name: type = \
literal'; types are str, int, float, bool, list[str]
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(
            f"{where}, line {error.lineno} of the parameters cell: {error.msg}; correct the line"
        ) from None
    comments = _comments(source)
    declared = {}
    for statement in statements:
        found = _declaration(statement, comments)
        place = f"{where}, line {statement.lineno} of the parameters cell"
        if found is None:
            text = ast.get_source_segment(source, statement)
            raise InputError(f"{place}: {text!r} is not 'name: type = literal'; types are {', '.join(KINDS)}")
        if found.name in declared:
            raise InputError(f"{place}: {found.name} is declared twice; delete one of the two lines")
        declared[found.name] = found
    return declared


def _declaration(statement: ast.stmt, comments: dict[int, str]) -> Declaration | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
            kind = ast.unparse(statement.annotation).strip("'\"")
        case _:
            return None
    try:
        default = convert(ast.literal_eval(value), kind) if kind in KINDS else None
    except ValueError:
        return None
    if default is None:
        return None
    lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    meaning = " ".join(comments[line] for line in lines if line in comments)
    return Declaration(name=name, kind=kind, default=default, help=meaning, line=statement.lineno)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def check_namespace(notebook: Path, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a notebook: what its globals hold, in the declared types, and defaults for the rest.

    IPython keeps the executed cells in `In`. The names that count are those of the last parameters cell and of the last
    cell that Papermill injected, so that a misspelt name is an error and not a silent default.
    """
    declared, shown = declarations(notebook), cell_declarations(notebook)
    where = notebook.name
    assigned = assigned_names(namespace.get("In", []), declared)
    for name in assigned:
        if name not in declared:
            raise InputError(f"{where}: unknown parameter {name!r}{did_you_mean(name, declared)}")
    if missing := [name for name in shown if name not in namespace]:
        raise InputError(f"{where}: {missing[0]} is not set; run the cell tagged 'parameters' first")
    given = {name: namespace[name] for name in dict.fromkeys([*shown, *assigned]) if name in namespace}
    values = settle(declared, given, lambda name: where)
    with located(where):
        check_together(notebook.stem, values)
    return values


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


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Put a place, such as file and line, in front of an `InputError` from inside the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def read_yaml(path: str | os.PathLike) -> tuple[Any, dict[tuple, int]]:
    """Return a YAML file's content and the line of each value, by its path of keys and positions.

    It is YAML 1.1, as for Papermill, but a duplicate key is an error. Raises `InputError` naming file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple, int] = {}
        if root is not None:
            _note_lines(root, (), lines, path)
        return yaml.safe_load(text), lines
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; the experiments that come with the kit are in params/") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file ({error}); give a file in params/") from None
    except yaml.MarkedYAMLError as error:
        hint = '; write references in quotes: "@step"' if "'@'" in str(error.problem) else ""
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: {error.problem}{hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable YAML ({error}); correct it") from None


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
                raise InputError(f"{path}:{line}: duplicate key {key.value!r}; delete one of the two lines")
            seen.add(key.value)
            _note_lines(value, (*keys, key.value), lines, path)
            lines[(*keys, key.value)] = line
