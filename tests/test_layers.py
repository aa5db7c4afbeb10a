"""The packages: what each may import, no circle of files, no torch where the table says no."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "currreft_nb"
# From the ground up: each package, and the packages that its files may import.
MAY_IMPORT = {
    "core": (),
    "tasks": ("core",),
    "method": ("core", "tasks"),
    "metrics": ("core", "tasks", "method"),
    "data": ("core", "tasks", "method", "metrics"),
    "models": ("core", "method"),
    "endpoints": ("core", "method", "data"),
    "views": ("core", "tasks", "method", "data", "metrics"),
    "generation": ("core", "method", "data", "models"),
    "rejection": ("core", "method", "data", "endpoints"),
    "training": ("core", "method", "data", "metrics", "models", "generation"),
    "evaluation": ("core", "tasks", "method", "data", "metrics", "models", "endpoints", "generation", "training"),
    "memory": ("core", "models", "generation", "training"),
    "pocket": ("core", "method", "data", "metrics", "models", "generation"),
    "report": ("core", "metrics", "views"),
    "running": ("core", "tasks", "data", "models", "views", "rejection", "training", "evaluation", "report"),
    "cli": ("core", "tasks", "method", "data", "models", "endpoints", "evaluation", "memory", "running"),
}
HEAVY = {"torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"}
MAY_LOAD_TORCH = {"models", "generation", "training", "evaluation", "memory", "pocket"}
# Files of those packages that start without torch, because `running` and `cli` import them before a kernel starts.
LIGHT = {
    "models.families",
    "models.weights",
    "training.settings",
    "evaluation.settings",
    "evaluation.sources",
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path):
    """Return a file's module name below currreft_nb."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def is_light(path):
    package = name_of(path).split(".")[0]
    return package not in MAY_LOAD_TORCH or name_of(path) in LIGHT


def imported_names(path):
    """Yield every name that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needed_modules(path):
    """Return the files of the package that a file imports, by module name."""
    found = set()
    for name in imported_names(path):
        inside = name.removeprefix("currreft_nb.")
        if inside != name:
            found.add(inside if inside in MODULES else inside.rpartition(".")[0])
    return {name for name in found if name in MODULES} - {name_of(path)}


def test_every_file_belongs_to_a_package_of_the_table():
    assert {name.split(".")[0] for name in MODULES} == set(MAY_IMPORT)


def test_the_table_goes_one_way():
    order = list(MAY_IMPORT)
    for package, others in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(package) for other in others), package


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_what_the_table_allows(path):
    package = name_of(path).split(".")[0]
    others = {name.split(".")[0] for name in needed_modules(path)} - {package}
    assert others <= set(MAY_IMPORT[package]), f"{name_of(path)} imports {others - set(MAY_IMPORT[package])}"


def test_the_table_allows_nothing_that_nobody_uses():
    used = {package: set() for package in MAY_IMPORT}
    for path in FILES:
        package = name_of(path).split(".")[0]
        used[package] |= {name.split(".")[0] for name in needed_modules(path)} - {package}
    assert used == {package: set(others) for package, others in MAY_IMPORT.items()}


def test_no_circle_of_files():
    """Imports inside functions count, too: a file can be read after those that it needs."""
    needs = {name_of(path): needed_modules(path) for path in FILES}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        pytest.fail(f"these files need each other: {' -> '.join(error.args[1])}")
    length = {}
    for name in order:
        length[name] = 1 + max((length[other] for other in needs[name]), default=0)
    assert max(length.values()) <= 15  # files from the command line down to the one that needs no other


@pytest.mark.parametrize("path", [path for path in FILES if is_light(path)], ids=name_of)
def test_light_files_name_no_heavy_library(path):
    heavy = {name.split(".")[0] for name in imported_names(path)} & HEAVY
    assert not heavy, f"{name_of(path)} imports {heavy}"


def test_core_uses_the_standard_library_only():
    for path in FILES:
        if name_of(path).startswith("core"):
            tops = {name.split(".")[0] for name in imported_names(path)} - {"currreft_nb"}
            assert tops <= sys.stdlib_module_names, f"{name_of(path)} imports {tops - sys.stdlib_module_names}"


def test_light_files_start_without_torch():
    """Static reading misses what a dependency pulls in, so a real interpreter imports them all."""
    modules = [f"currreft_nb.{name_of(path)}" for path in FILES if is_light(path) and path.stem != "__main__"]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_name_their_place_in_full(path):
    """Relative imports would pass the tests here unseen."""
    levels = [n.level for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom)]
    assert not any(levels), "write from currreft_nb... instead of from ."


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_is_for(path):
    first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
    assert first.endswith((".", "?", ":")), f"{name_of(path)} does not begin with a line that is a sentence"


def test_names_of_a_package_are_defined_in_it():
    """No layer that only hands on: an import names the file that defines the name."""
    defined = {name: bound_names(path) for name, path in MODULES.items()}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("currreft_nb."):
                module = node.module.removeprefix("currreft_nb.")
                for alias in node.names:
                    if f"{module}.{alias.name}" not in MODULES:
                        assert alias.name in defined[module], f"{name_of(path)}: {module} does not define {alias.name}"


def bound_names(path):
    """Return the names that a file defines or assigns at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(part.name)
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                found.add(part.id)
    return found
