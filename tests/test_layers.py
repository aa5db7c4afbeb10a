"""The floors of the package: imports go only downward, and what needs no torch never imports it."""

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "currreft_nb"
FLOORS = (
    ("samples", "boxes", "answers", "journal", "errors", "files", "grammar"),
    ("settings", "tasks", "curriculum", "prompts", "rewards", "metrics", "formats", "scenes", "curation"),
    ("models", "pocket", "memory", "endpoint", "generation", "training", "judges", "rejection", "evaluation"),
    ("plots", "gallery", "tables", "live", "explore"),
    ("machine", "notebook", "parameters", "records", "runs", "execution", "experiment", "runner", "report", "cli"),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS, 1) for name in names}
HEAVY = {"torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def floor_of(path):
    top = path.relative_to(PACKAGE).parts[0].removesuffix(".py").split("_")[0]
    assert top in FLOOR_OF, f"{path.name} belongs to no floor: add it to FLOORS"
    return FLOOR_OF[top]


def imported_names(path, nodes=ast.walk):
    """Yield every name that is imported, wherever it stands, or with `at_start` what is when the module is."""
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_start(node):
    """Yield the nodes that are run when the module is imported: not those in functions, nor those for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from at_start(child)


def name_of(path):
    return ".".join(("currreft_nb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


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
    modules = [name_of(path) for path in FILES if floor_of(path) != 3]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_types_are_checked_on_the_floors_of_words_ideas_and_running():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["mypy"]
    checked = {path for pattern in settings["files"] for path in PACKAGE.parent.glob(pattern)}
    assert checked - {PACKAGE / "__init__.py"} == {path for path in FILES if floor_of(path) in (1, 2, 5)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_name_their_place_in_full(path):
    """Relative imports would pass the tests here unseen."""
    levels = [n.level for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom)]
    assert not any(levels), "write from currreft_nb... instead of from ."


def test_no_modules_need_each_other_to_start():
    """Within a floor, too, there is an order: a module can be read with what stands before it, and nothing else."""
    names = {name_of(path) for path in FILES}
    needs = {name_of(path): set(imported_names(path, at_start)) & names - {name_of(path)} for path in FILES}
    assert list(TopologicalSorter(needs).static_order())  # raises CycleError, which names them


def test_views_draw_plain_data():
    """No view loads a model or trains one: what it shows is handed to it."""
    for path in FILES:
        for name in imported_names(path) if floor_of(path) == 4 else ():
            package, _, rest = name.partition(".")
            assert package != "currreft_nb" or FLOOR_OF.get(rest.split(".")[0].split("_")[0]) != 3, (path.name, name)


def test_every_file_says_what_it_is_for():
    for path in FILES:
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert text.split("\n")[0].endswith((".", "?", ":")), (
            f"{path.name} does not begin with a line that is a sentence"
        )
