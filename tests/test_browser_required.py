"""Where a browser is required, a run of the whole suite in which no browser test passed is no success."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SETTINGS = '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\npythonpath = ["."]\n'
SETTINGS += 'testpaths = ["tests"]\nmarkers = ["browser: needs Chromium"]\n'
PLAIN = "def test_plain(): pass\n"
WORKERS = ("-n", "2", "--dist", "loadfile")
MARKED = "import pytest\n@pytest.mark.browser\ndef test_marked(): {}\n"


def run(folder, *arguments, required="required", **tests):
    (folder / "tests" / "helpers").mkdir(parents=True)
    for name in ("__init__.py", "conftest.py", "helpers/browser.py", "helpers/commands.py"):
        shutil.copy(HERE / name, folder / "tests" / name)
    for name, text in tests.items():
        (folder / "tests" / f"test_{name}.py").write_text(text)
    (folder / "pyproject.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"CURRREFT_BROWSER": required}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("tests", "arguments", "required", "fails"),
    [
        ({"plain": PLAIN, "marked": MARKED.format("pass")}, (), "required", False),
        ({"plain": PLAIN}, (), "required", True),  # there is none
        ({"plain": PLAIN, "marked": MARKED.format("pytest.skip('no')")}, (), "required", True),
        ({"plain": PLAIN, "marked": MARKED.format("pass")}, ("-m", "not browser"), "required", True),
        ({"plain": PLAIN}, (), "", False),  # none is required
        ({"plain": PLAIN}, ("tests/test_plain.py",), "required", False),  # not the whole suite
        ({"plain": PLAIN, "marked": MARKED.format("pass")}, WORKERS, "required", False),  # each sees one file of two
        ({"plain": PLAIN}, WORKERS, "required", True),
    ],
)
def test_a_run_without_a_browser_test_fails_where_one_is_required(tmp_path, tests, arguments, required, fails):
    code, text = run(tmp_path, *arguments, required=required, **tests)
    assert code == (1 if fails else 0), text
    assert ("no browser test passed" in text) == fails


def test_a_failure_keeps_its_own_status(tmp_path):
    code, text = run(tmp_path, plain="def test_plain(): assert False\n", marked=MARKED.format("pass"))
    assert code == 1 and "no browser test passed" not in text
