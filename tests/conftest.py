"""What several test files share: a project to run notebooks in, an experiment, real data, a browser, Ctrl-C."""

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from tests.helpers.browser import chromium, chromium_path
from tests.helpers.commands import BIN, run

ROOT = Path(__file__).parent.parent

hypothesis.settings.register_profile("no clock", deadline=None)  # a test fails by what it finds, not by a busy machine
hypothesis.settings.load_profile("no clock")
_passed_browser_tests = []


def pytest_runtest_logreport(report):
    """Note each test that a browser took part in."""
    if report.when == "call" and report.passed and "browser" in report.keywords:
        _passed_browser_tests.append(report.nodeid)


def pytest_collection_modifyitems(config, items):
    """Where several workers share the files, start those with most slow tests first."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


def pytest_sessionfinish(session):
    """Let a run of the whole suite fail where CURRREFT_BROWSER=required and no browser test passed.

    Of several workers each sees its own tests only: the process that started them, and got their reports, decides.
    """
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    whole = whole and not hasattr(session.config, "workerinput")
    if whole and os.environ.get("CURRREFT_BROWSER") == "required" and not _passed_browser_tests:
        print("\nno browser test passed, and CURRREFT_BROWSER=required")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Return a folder with copies of notebooks/ and params/, whose outputs/ no other test writes to."""
    return copy_project(tmp_path_factory.mktemp("project"))


def copy_project(folder):
    """Copy notebooks/ and params/ into a folder and return it."""
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("results", ".ipynb_checkpoints"))
    return folder


@pytest.fixture(scope="session")
def smoke(project, tmp_path_factory):
    """Run params/smoke.yaml once, as a user would; return the exit status and the printed text.

    Of several workers the first that asks runs it; the others wait, and go on with a copy of what it left.
    """
    command = (BIN / "currreft", "run", "params/smoke.yaml")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return run(*command, cwd=project)
    outputs, place = project / "outputs" / "smoke", tmp_path_factory.getbasetemp().parent  # that of all workers
    with FileLock(place / "smoke.lock"):
        if (place / "smoke.json").exists():
            shutil.copytree(place / "smoke", outputs)
        else:
            done = run(*command, cwd=project)
            shutil.copytree(outputs, place / "smoke")
            (place / "smoke.json").write_text(json.dumps(done))
    return tuple(json.loads((place / "smoke.json").read_text()))


@pytest.fixture
def interruptible():
    """Let Ctrl-C raise, also where the tests were started in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def real_data():
    """Return the folder with real data sets that CURRREFT_DATA names, or skip the test."""
    folder = os.environ.get("CURRREFT_DATA")
    if not folder:
        pytest.skip("CURRREFT_DATA names no folder with real data sets")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def browser():
    """Return a running Chromium. Without one the test is skipped, but fails where CURRREFT_BROWSER=required.

    Each file has its own, for as long as it is driven an event loop runs, in which others cannot start theirs.
    """
    if chromium_path() is None:
        message = "no Chromium here: apt-get install chromium, or name one in CURRREFT_CHROMIUM"
        if os.environ.get("CURRREFT_BROWSER") == "required":
            pytest.fail(message)
        pytest.skip(message)
    with chromium() as running:
        yield running
