"""The README files: their commands work, their links lead somewhere, and their generated parts are up to date."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import copy_project
from tests.helpers import docs

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PAGES = {path: path.read_text(encoding="utf-8") for path in docs.pages()}
FIRST = PAGES[ROOT / "README.md"]
README = "\n".join(PAGES.values())  # all pages, for tests/test_worked_examples.py
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
# How each command is tried: as written; by a test named here; by what make would do. Commands that need a finished run
# are tried here without one, where they must fail in words, and with one by the tests of notebooks and benchmarks.
AS_WRITTEN = (
    "currreft preflight params/qwen2_5_vl_3b.yaml",
    "currreft run params/qwen2_5_vl_3b.yaml --dry-run",
    "currreft run params/pocket.yaml --dry-run",
    "currreft run params/real_smoke.yaml --dry-run",
    """currreft run params/pocket.yaml --dry-run --set 'reject.judges=["http:gpt-4o@https://api.openai.com/v1 \
| per_minute 500, dollars_in 2.5, dollars_out 10"]'""",
    """currreft run params/pocket.yaml --dry-run --set 'reject.judges=["http:org/judge@http://127.0.0.1:8000/v1 \
| concurrency 32", rule]'""",
    """currreft run params/pocket.yaml --dry-run --set 'reject.judges=["recorded:@rl/verdicts.jsonl"]'""",
    "currreft run params/eval_released.yaml --dry-run",
    """currreft run params/eval_released.yaml --dry-run --set evaluate_3b.model=pocket \
--set 'evaluate_3b.start_from=[base, "model:currreft_nb/weights/pocket"]'""",
    """currreft run params/pocket.yaml --dry-run --set 'evaluate.arms=[base, other]' \
--set 'evaluate.start_from=[base, "http:gpt-4o@https://api.openai.com/v1 | like qwen2_5_vl"]'""",
    "currreft formats",
    "currreft formats yolo",
    "currreft rewards --help",
    "currreft export --help",
    "currreft run params/pocket.yaml --set seed=1 --only curate",
    "papermill notebooks/01_data_curation.ipynb curated.ipynb -p train_questions 24 -p test_questions 6",
)
IN_TEST_WORKED_EXAMPLES = (
    "currreft run params/mine.yaml",
    """currreft run params/mine.yaml --set 'tasks=["order"]' \
--set 'train_sources=["table:order/rows.csv?task=order"]'""",
    """currreft run params/mine.yaml --only curate --set 'train_sources=["folders:pets"]'""",
    "currreft run params/mine.yaml --set model=models/glm",
)
IN_TEST_NOTEBOOKS = ("currreft run params/smoke.yaml",)
IN_TEST_GENERATION_HTTP = ("transformers serve currreft_nb/weights/pocket --device cpu --dtype float32 --port 8000",)
BENCHMARKS = ("mathvista_testmini_format", "mmbench_en_dev_static", "ai2d", "mmvet", "ocrbench")
MAY_FAIL_IN_WORDS = (
    "currreft look 'voc:VOC2012' --data-root path/to/sets",  # with a data set: tests/data/test_look.py
    "currreft doctor",  # its exit status says whether this machine is ready
    "currreft report outputs/smoke",
    "currreft report outputs/smoke --beside outputs/pocket",
    "currreft probe params/pocket.yaml",
    *(f"currreft benchmark exported {name}" for name in BENCHMARKS),  # with a run: tests/cli/test_benchmark.py
)
MAKE = {  # and what it would run
    "make demo": "currreft run params/pocket.yaml --jobs 2",
    "make lab": "jupyter lab notebooks/00_start_here.ipynb",
    "make test": "-m pytest",
    "make lint": "mypy",
    "make docs": "tests/helpers/docs.py",
    "make bench": "tests/benchmarks/rewards.py",
    "make bench-env": "-c constraints-bench.txt lmms-eval",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a folder in which nothing was run yet, whatever other tests have run in theirs."""
    return copy_project(tmp_path_factory.mktemp("readme"))


def run(command, cwd):
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(command), cwd=cwd, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_every_command_of_the_pages_is_tried():
    elsewhere = IN_TEST_WORKED_EXAMPLES + IN_TEST_NOTEBOOKS + IN_TEST_GENERATION_HTTP
    assert set(COMMANDS) == {*AS_WRITTEN, *MAY_FAIL_IN_WORDS, *MAKE, *elsewhere}


@pytest.mark.parametrize("command", AS_WRITTEN)
def test_command_works(command, project):
    code, text = run(command, project)
    assert code == 0, text[-2000:]


@pytest.mark.parametrize("command", MAY_FAIL_IN_WORDS)
def test_command_without_what_it_needs_says_so_in_words(command, project):
    code, text = run(command, project)
    assert code in (0, 1)
    assert "Traceback" not in text


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target(command):
    code, text = run(command + " --dry-run --always-make", ROOT)
    assert code == 0, text[-2000:]
    assert MAKE[command] in text


def test_make_bench_runs_every_benchmark():
    scripts = {path.name for path in (ROOT / "tests" / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert set(re.findall(r"tests/benchmarks/(\w+\.py)", (ROOT / "Makefile").read_text())) == scripts


def test_the_first_page_is_one_page():
    lines = FIRST.splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 160] == []


def test_the_first_page_links_every_package():
    linked = {target.split("/")[1] for target in targets(FIRST) if re.match(r"currreft_nb/\w+/", target)}
    assert {package.name for package in docs.packages()} <= linked


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_parts_are_up_to_date(path):
    assert docs.rewritten(PAGES[path]) == PAGES[path], "run make docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    assert [target for target in targets(PAGES[path]) if not leads_somewhere(path, target)] == []


def leads_somewhere(path, target):
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    return file.exists() and (not anchor or anchor in anchors(PAGES[file]))


def targets(text):
    """Return the files and headings that a page links to; not web addresses."""
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return [target for target in found if not target.startswith(("http:", "https:"))]


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
