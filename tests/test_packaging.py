"""The ways to install name the same packages, and committed files are clean."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers import commands

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def by_name(requirements):
    return {canonicalize_name(r.name): r for r in map(Requirement, requirements)}


def pip_section():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return next(entry["pip"] for entry in entries if isinstance(entry, dict))


def test_conda_and_pip_users_get_the_same_bounds():
    listed = by_name(entry for entry in pip_section() if not entry.startswith("-"))
    declared = by_name(PROJECT["dependencies"])
    assert {name: (r.specifier, r.extras) for name, r in listed.items()} == {
        name: (r.specifier, r.extras) for name, r in declared.items()
    }
    assert "-c constraints.txt" in pip_section()
    assert "-e ." in pip_section()


def test_every_tested_version_is_inside_the_declared_bounds():
    pinned = by_name(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
    )
    wanted = by_name(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])
    for name, requirement in wanted.items():
        assert name in pinned, f"{name} has no tested version in constraints.txt"
        (version,) = (s.version for s in pinned[name].specifier)
        assert version in requirement.specifier, f"{name}: tested with {version}, but declared {requirement.specifier}"


def test_the_python_floor_is_the_same_everywhere():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python{PROJECT['requires-python']}" in entries
    assert "(3, 11)" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_clean(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "strip the outputs (pre-commit does)"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3", "another kernel name fails headless"
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_stays_readable(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    settings = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    lines = sorted(len("".join(cell["source"]).splitlines()) for cell in code if cell not in settings)
    shown = sum(len("".join(cell["source"]).splitlines()) for cell in settings)
    assert shown <= 20, "the parameters cell has more than 20 lines: show only what the lesson turns"
    prose = " ".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    assert lines[-1] <= 20, "a code cell has more than 20 lines: move it into the package"
    assert lines[len(lines) // 2] <= 6, "the median code cell has more than 6 lines"
    assert 500 <= len(re.findall(r"\w+", prose)) <= 1500


def test_all_nine_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == sorted(commands.NOTEBOOKS)
