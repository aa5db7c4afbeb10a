"""The floors of the package: imports go only downward, and what needs no torch never imports it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "currreft_nb"
FLOORS = (
    ("samples", "boxes", "answers", "journal"),
    ("tasks", "curriculum", "prompts", "rewards", "metrics", "formats", "scenes", "images", "curation"),
    ("models", "pocket", "memory", "endpoint", "generation", "training", "judges", "rejection", "evaluation"),
    ("plots", "gallery", "tables", "live", "explore"),
    ("machine", "parameters", "records", "runs", "execution", "experiment", "runner", "report", "cli"),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS, 1) for name in names}
HEAVY = {"torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def floor_of(path):
    top = path.relative_to(PACKAGE).parts[0].removesuffix(".py").split("_")[0]
    assert top in FLOOR_OF, f"{path.name} belongs to no floor: add it to FLOORS"
    return FLOOR_OF[top]


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_only_downward(path):
    for name in imported_names(path):
        package, _, rest = name.partition(".")
        module = rest.split(".")[0].split("_")[0]
        if package == "currreft_nb" and module in FLOOR_OF:
            assert FLOOR_OF[module] <= floor_of(path), f"{path.name} imports {name}, which stands on a higher floor"


@pytest.mark.parametrize("path", [p for p in FILES if floor_of(p) != 3], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_light_floors_name_no_heavy_library(path):
    heavy = {name.split(".")[0] for name in imported_names(path)} & HEAVY
    assert not heavy, f"{path.name} imports {heavy}"


def test_floor_one_uses_the_standard_library_only():
    for path in FILES:
        if floor_of(path) == 1:
            tops = {name.split(".")[0] for name in imported_names(path)} - {"currreft_nb"}
            assert tops <= sys.stdlib_module_names, f"{path.name} imports {tops - sys.stdlib_module_names}"


def test_light_floors_start_without_torch():
    """Static reading misses what a dependency pulls in, so a real interpreter imports them all."""
    modules = [
        ".".join(("currreft_nb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        if floor_of(path) != 3
    ]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr
