"""The README's commands work, its numbers are those of the committed tables, and its file tree is the real one."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import copy_project
from scipy.stats import ttest_1samp

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
# How each command is tried: as it stands; in tests/test_notebooks.py; what make would do. Commands that need a finished
# run are tried without one here, and with one in tests/test_notebooks.py.
AS_IT_STANDS = (
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
NOT_FINE_EVERYWHERE = ("currreft doctor",)  # its exit status says whether this machine is ready
IN_TEST_NOTEBOOKS = ("currreft run params/smoke.yaml",)
BENCHMARKS = ("mathvista_testmini_format", "mmbench_en_dev_static", "ai2d", "mmvet", "ocrbench")
AFTER_A_RUN = (
    "currreft report outputs/smoke",
    "currreft report outputs/smoke --beside outputs/pocket",
    "currreft probe params/pocket.yaml",
    *(f"currreft benchmark exported {name}" for name in BENCHMARKS),  # with a run: tests/test_cli_benchmark.py
)
MAKE = {  # and what it would run
    "make demo": "currreft run params/pocket.yaml",
    "make lab": "jupyter lab notebooks/00_start_here.ipynb",
    "make bench-env": "-c constraints-bench.txt lmms-eval",
}
IN_TEST_GENERATION_HTTP = ("transformers serve currreft_nb/weights/pocket --device cpu --dtype float32 --port 8000",)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a folder in which nothing was run yet, whatever other tests have run in theirs."""
    return copy_project(tmp_path_factory.mktemp("readme"))


def run(command, cwd):
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(command), cwd=cwd, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_every_command_of_the_readme_is_tried():
    tried = AS_IT_STANDS + NOT_FINE_EVERYWHERE + IN_TEST_NOTEBOOKS + AFTER_A_RUN + tuple(MAKE) + IN_TEST_GENERATION_HTTP
    assert set(COMMANDS) == {*tried, *IN_TEST_WORKED_EXAMPLES}


@pytest.mark.parametrize("command", AS_IT_STANDS)
def test_command_works(command, project):
    code, text = run(command, project)
    assert code == 0, text[-2000:]


@pytest.mark.parametrize("command", NOT_FINE_EVERYWHERE + AFTER_A_RUN)
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


def test_the_file_tree_is_the_real_one():
    named = set(re.findall(r"^\s*(\w+(?:\.py|/)) {2,}\S", README, flags=re.M))
    modules = {path.name for path in (ROOT / "currreft_nb").glob("*.py")} - {"__init__.py"}
    assert modules <= named, f"the README's tree does not name {sorted(modules - named)}"


def test_the_numbers_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "notebooks" / "results" / "pocket_seeds.csv")
    assert set(table["n"]) == {100} and sorted(set(table["seed"])) == [11, 12, 13, 14, 15]
    means = table.groupby(["arm", "mode", "task", "split"])["mean"].mean()
    rows = re.findall(r"^\| `(\w+)`(, format forced)?[^|]*\|((?: \d\.\d\d \|){8})$", README, flags=re.M)
    assert [arm for arm, _, _ in rows] == ["base", "base", "sft", "rl", "curr_rl", "curr_reft"]
    for arm, forced, numbers in rows:
        cells = means[arm, "forced" if forced else "natural"]
        tasks = ("detection", "classification", "math", "general")
        expected = [f"{cells[task, split]:.2f}" for task in tasks for split in ("test_id", "test_ood")]
        assert re.findall(r"\d\.\d\d", numbers) == expected, arm


def test_the_study_of_the_rule_is_told_as_its_table_says():
    table = pd.read_csv(ROOT / "notebooks" / "results" / "pocket_study.csv")
    assert sorted(set(table["seed"])) == [21, 22, 23, 24, 25]
    rows = re.findall(
        r"^\| (misled|`pocket`), (\w+) \| (.{4}) \| \w+ \| (.{4}) \| (.{4}) \| (\S+) \(", README, flags=re.M
    )
    assert len(rows) == 4
    for base, task, *told in rows:
        name = "pocket" if base == "`pocket`" else "pocket-misled"
        cell = table[(table["base"] == name) & (table["task"] == task) & (table["stage"] == "open")]
        right = cell[(cell["measure"] == "correct") & (cell["mode"] == "natural") & (cell["split"] == "test_id")]
        means = right.groupby("arm")["mean"].mean()
        support = cell[cell["measure"] == "pass_at_8"]["mean"].mean()
        expected = (support, means["rl_60"], means["curr_rl_60"], means["curr_rl_60"] - means["rl_60"])
        assert [float(number) for number in told] == pytest.approx(expected, abs=0.0051), (base, task)


def test_the_gains_at_a_third_of_the_budget_are_those_of_their_table():
    table = pd.read_csv(ROOT / "notebooks" / "results" / "pocket_seeds_20.csv")
    means = table[table["split"] == "test_id"].groupby(["arm", "mode", "task"])["mean"].mean()
    told = re.search(r"gains (.{4}), open questions alone (.{4}) and imitation (.{4}) ", README).groups()
    told_too = re.search(r"bring nothing: (.{4}) against (.{4}) for `rl` and (.{4}) for `sft`", README).groups()
    for task, numbers in (("classification", told), ("detection", told_too)):
        gains = [means[arm, "natural", task] - means["base", "forced", task] for arm in ("curr_rl", "rl", "sft")]
        assert [f"{gain:.2f}" for gain in gains] == list(numbers)


def test_nothing_is_gained_where_there_is_no_habit_to_unlearn():
    table = pd.read_csv(ROOT / "notebooks" / "results" / "pocket_clean_seeds.csv")
    table = table[table["task"] != "general"]
    means = table.set_index(["arm", "mode", "task", "split", "seed"])["mean"].sort_index()
    for arm in ("sft", "rl", "curr_rl", "curr_reft"):
        assert (means[arm, "natural"] - means["base", "forced"]).abs().max() < 0.071
    assert "moves by more than 0.07 in any task, split and seed" in README


def test_what_is_said_of_forgetting_is_what_the_table_says():
    table = pd.read_csv(ROOT / "notebooks" / "results" / "pocket_seeds.csv")
    means = table.set_index(["arm", "mode", "task", "split", "seed"])["mean"].sort_index()

    def interval(one, other, split):
        found = means.loc[(*one, "general", split)] - means.loc[(*other, "general", split)]
        return found.mean(), *ttest_1samp(found, 0).confidence_interval(0.95)

    base, after, second = ("base", "forced"), ("curr_rl", "natural"), ("curr_reft", "natural")
    told = re.search(
        r"by (\S+) in-domain \(interval (\S+) to (\S+)\) and (\S+) out-of-domain \((\S+) to (\S+)\)", README
    )
    expected = [*interval(after, base, "test_id"), *interval(after, base, "test_ood")]
    assert list(told.groups()) == [f"{value:.2f}" for value in expected]
    told = re.search(r"Phase 2 then adds (\S+) \((\S+) to (\S+)\) and (\S+) \((\S+) to (\S+)\)", README)
    expected = [*interval(second, after, "test_id"), *interval(second, after, "test_ood")]
    assert list(told.groups()) == [f"{value:.2f}" for value in expected]


@pytest.mark.parametrize("condition", ["clean", "harsh"])
def test_what_is_said_of_forgetting_on_purpose_is_what_the_tables_say(condition):
    table = pd.read_csv(ROOT / "notebooks" / "results" / f"pocket_forgetting_{condition}.csv")
    means = table.set_index(["arm", "mode", "task", "split", "seed"])["mean"].sort_index()
    base, after, second = ("base", "forced"), ("curr_rl", "natural"), ("curr_reft", "natural")

    def told(one, other, split, sign=1):
        found = sign * (means.loc[(*one, "general", split)] - means.loc[(*other, "general", split)])
        low, high = ttest_1samp(found, 0).confidence_interval(0.95)
        return f"{found.mean():.2f}", f"{low:.2f} to {high:.2f}"

    changes = [told(after, base, split, 1 if condition == "clean" else -1) for split in ("test_id", "test_ood")]
    assert all(f"{mean} " in README and f"({interval})" in README for mean, interval in changes), changes
    if condition == "harsh":
        gains = [told(second, after, split) for split in ("test_id", "test_ood")]
        assert f"{gains[0][0]} ({gains[0][1]}) and {gains[1][0]} ({gains[1][1]}), most of it" in README, gains


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README):
        assert (ROOT / target).exists(), target
