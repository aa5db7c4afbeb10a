"""Write the generated parts of the README files: lists of modules, the import table and the tables of results.

    python tests/helpers/docs.py        (or: make docs)

A generated part is between `<!-- made by make docs: NAME -->` and `<!-- end -->`; PARTS lists the names. Statistics
come from the scripts in tests/benchmarks, so that a table and the verdict that a script prints never differ.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "currreft_nb"
RESULTS = ROOT / "notebooks" / "results"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]

import arm_scores  # noqa: E402
import forgetting  # noqa: E402
import sparse_map  # noqa: E402
from test_layers import MAY_IMPORT  # noqa: E402

PART = re.compile(r"(<!-- made by make docs: (\w+) -->\n).*?(<!-- end -->)", flags=re.S)
TASKS = {"detection": "detection", "classification": "classification", "math": "counting", "general": "general"}
BASE, FORCED = ("base", "natural"), ("base", "forced")
ARMS = {
    BASE: "`base`, before training",
    FORCED: "`base`, format forced",
    ("sft", "natural"): "`sft`, imitation of right answers",
    ("rl", "natural"): "`rl`, rewards on open questions only",
    ("curr_rl", "natural"): "`curr_rl`, the curriculum",
    ("curr_reft", "natural"): "`curr_reft`, and its own best answers",
}
TRAINED = tuple(arm for arm in ARMS if arm not in (BASE, FORCED))
CURR_RL, RL, CURR_REFT, SFT = ((arm, "natural") for arm in ("curr_rl", "rl", "curr_reft", "sft"))
CONDITIONS = {
    "demo": "pocket_seeds.csv",
    "clean": "pocket_forgetting_clean.csv",
    "harsh": "pocket_forgetting_harsh.csv",
}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("|", "\\|")


def packages() -> list[Path]:
    """Return the package folders from the ground up."""
    return [PACKAGE / name for name in MAY_IMPORT]


def modules() -> str:
    """Return a section per package: the first lines of the docstrings of the package and of its modules."""
    sections = []
    for package in packages():
        lines = [f"#### {package.name}\n", f"{first_line(package / '__init__.py')}\n"]
        lines += [f"- {_link(path)}: {first_line(path)}" for path in _files(package)]
        sections.append("\n".join(lines))
    return "\n" + "\n\n".join(sections) + "\n\n"


def _files(package: Path) -> Iterator[Path]:
    """Yield the modules of a package, a nested package before its modules."""
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)):
        if path != package / "__init__.py":
            yield path


def _link(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    return f"[{name}]({path.relative_to(PACKAGE).as_posix()})"


def imports() -> str:
    """Return which package may import which, from the table that tests/test_layers.py enforces."""
    rows = ((f"`{name}`", ", ".join(f"`{other}`" for other in others)) for name, others in MAY_IMPORT.items())
    return table(("package", "may import"), ((name, others or "no other package") for name, others in rows))


def summary() -> str:
    """Return the six rows of the demo: means over the seeds, in-domain / out-of-domain."""
    means = _means("pocket_seeds.csv")
    rows = ([label, *(_in_out(means[arm], task) for task in TASKS)] for arm, label in ARMS.items())
    return table(["arm", *TASKS.values()], rows)


def _means(name: str) -> pd.Series:
    return pd.read_csv(RESULTS / name).groupby(["arm", "mode", "task", "split"])["mean"].mean()


def _in_out(means: pd.Series, task: str) -> str:
    return " / ".join(f"{means[task, split]:.2f}" for split in forgetting.SPLITS)


def demo() -> str:
    """Return what each arm gained over the base with the format forced, with intervals over the seeds."""
    return _gains("pocket_seeds.csv", "in-domain", "test_id") + "\n" + _gains("pocket_seeds.csv", "out", "test_ood")


def dilemma() -> str:
    """Return the differences between arms of the demo, per split: the curriculum, open questions only, imitation."""
    results = pd.read_csv(RESULTS / "pocket_seeds.csv")
    rows = (
        [f"`{one[0]}` minus `{other[0]}`, {place}", *_differences(results, one, other, split)]
        for one, other in ((CURR_RL, RL), (CURR_RL, SFT), (RL, SFT))
        for split, place in sparse_map.SPLITS.items()
    )
    return table(["difference", *TASKS.values()], rows)


def _gains(name: str, title: str, split: str) -> str:
    results = pd.read_csv(RESULTS / name)
    rows = ([f"`{arm[0]}`", *_differences(results, arm, FORCED, split)] for arm in TRAINED)
    return table([f"gain, {title}", *TASKS.values()], rows)


def _differences(results: pd.DataFrame, one: tuple[str, str], other: tuple[str, str], split: str) -> list[str]:
    found = forgetting.differences(results, tuple(TASKS), one, other)
    return [interval(row) for row in found[found["split"] == split].to_dict("records")]


def interval(row: dict) -> str:
    """Return a mean difference with its 95 % interval, if it has one; -0.00 keeps its sign."""
    if pd.isna(row["low"]):
        return f"{row['mean']:.2f} (one seed)"
    return f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def clean() -> str:
    """Return the largest move of any seed from the base with the format forced, on the base without bad habits."""
    results = pd.read_csv(RESULTS / "pocket_clean_seeds.csv")
    rows = []
    for arm in TRAINED:
        found = forgetting.differences(results, tuple(TASKS), arm, FORCED)
        largest = found.assign(largest=found["seeds"].map(lambda seeds: max(map(abs, seeds))))
        rows.append([f"`{arm[0]}`", *(f"{largest[largest['task'] == task]['largest'].max():.2f}" for task in TASKS)])
    return table(["arm", *TASKS.values()], rows)


def sparse() -> str:
    """Return the map: what the curriculum brought over open questions only, per setting, base and budget."""
    cells = sparse_map.cells_of(pd.read_csv(RESULTS / "sparse_map.csv"))
    rows = []
    for (setting, support, base), part in cells.groupby(["setting", "pass_at_1", "base"], sort=False):
        found = {row["budget"]: interval(row) for row in part.to_dict("records")}
        shown = f"{base:g} ({support:.2%})"
        rows.append([sparse_map.SETTINGS[setting], shown, *(found[steps] for steps in sparse_map.BUDGETS)])
    return table(["setting", "base (open answers right)", *(f"{b} steps" for b in sparse_map.BUDGETS)], rows)


def arms() -> str:
    """Return how all arms of the map end in-domain / out-of-domain, where reinforcement learning was run."""
    results = pd.read_csv(RESULTS / "sparse_map.csv").query("measure == 'correct'")
    means = results.groupby(["setting", "base", "budget", "arm", "split"])["mean"].mean()
    names = ("rl", "curr_rl", "mixed", "sft")
    rows = []
    for setting, base in dict.fromkeys(zip(results["setting"], results["base"])):
        for budget in sparse_map.BUDGETS:
            cells = (means.get((setting, base, budget, name), pd.Series(dtype=float)) for name in names)
            shown = [
                " / ".join(f"{cell[split]:.2f}" for split in sparse_map.SPLITS) if len(cell) else "" for cell in cells
            ]
            if shown[0]:
                rows.append([sparse_map.SETTINGS[setting], base, budget, *shown])
    return table(["setting", "base", "steps", *(f"`{name}`" for name in names)], rows)


def thoughts() -> str:
    """Return the runs of the map whose think blocks hold the right list and whose answers do not, in-domain."""
    results = pd.read_csv(RESULTS / "sparse_map.csv").query("setting == 'listing' and split == 'test_id'")
    wide = results.pivot_table(index=["base", "arm", "budget", "seed"], columns="measure", values="mean")
    rows = (
        [base, f"`{arm}`", budget, seed, *(f"{row[name]:.2f}" for name in ("thought", "correct", "closed"))]
        for (base, arm, budget, seed), row in wide.dropna(subset=["thought"]).iterrows()
    )
    return table(
        ["base", "arm", "steps", "seed", "right in the think block", "right answer", "`yes`, `no` or a letter"], rows
    )


def verdicts() -> str:
    """Return the verdict on each hypothesis of the map."""
    found = sparse_map.hypotheses(pd.read_csv(RESULTS / "sparse_map.csv")).to_dict("records")
    rows = ((row["hypothesis"], row["what"], f"{row['better']} of {row['cells']}", row["verdict"]) for row in found)
    return table(("", "difference", "cells that are better", "verdict"), rows)


def predictors() -> str:
    """Return how many held-out cells of the map each predictor gets wrong."""
    scores = pd.read_csv(RESULTS / "sparse_map.csv")
    found = sparse_map.predictions(sparse_map.cells_of(scores), sparse_map.outcomes(scores)).to_dict("records")
    rows = ((row["predictor"], _limits(row), f"{row['held_out_wrong']} of {row['cells']}") for row in found)
    return table(("predictor", "the curriculum wins (limits from all cells)", "held-out cells wrong"), rows)


def _limits(row: dict) -> str:
    if row["rule"] not in ("below", "between"):
        return row["rule"]
    if row["high"] < 0:  # a limit below all values
        return f"{row['rule']}: never"
    return f"below {row['high']:.2g}" if row["rule"] == "below" else f"between {row['low']:.2g} and {row['high']:.2g}"


def general() -> str:
    """Return how general accuracy moved during reinforcement learning and in phase 2, per condition and split."""
    rows = []
    for condition, name in CONDITIONS.items():
        results = pd.read_csv(RESULTS / name)
        first = forgetting.differences(results, ("general",), CURR_RL, FORCED).to_dict("records")
        second = forgetting.differences(results, ("general",), CURR_REFT, CURR_RL).to_dict("records")
        for one, two, place in zip(first, second, ("in-domain", "out-of-domain")):
            rows.append([condition, place, interval(one), interval(two)])
    return table(("condition", "general questions", "reinforcement learning", "phase 2"), rows)


def kept(name: str) -> str:
    """Return what each arm of an experiment scored: means over its seeds, in-domain / out-of-domain."""
    scores = pd.read_csv(RESULTS / f"{name}.csv")
    found = arm_scores.in_and_out(scores).rename(columns=TASKS)
    if scores["seed"].nunique() > 1:
        found["detection, in-domain, each seed"] = arm_scores.each_seed(scores, "detection")
    rows = ([f"`{arm}`", *cells] for arm, cells in zip(found.index, found.to_numpy()))
    return table(["arm", *found.columns], rows)


def losses() -> str:
    """Return what each loss and way of sampling scored on the hard cell, and its difference to `grpo`."""
    rows = []
    for row in pd.read_csv(RESULTS / "pocket_losses.csv").to_dict("records"):
        in_domain, out, difference = (
            interval({part: row[name + suffix] for part, suffix in (("mean", ""), ("low", "_low"), ("high", "_high"))})
            for name in ("test_id", "test_ood", "to_grpo")
        )
        rows.append([f"`{row['arm']}`", in_domain, out, "" if row["arm"] in ("base", "grpo") else difference])
    return table(["arm", "in-domain", "out-of-domain", "minus `grpo`, in-domain"], rows)


MAP = (sparse, arms, thoughts, verdicts, predictors)
PARTS = {part.__name__: part for part in (modules, imports, summary, demo, dilemma, clean, *MAP, general, losses)}
KEPT = ("ablation", "curriculum_form", "curriculum_difficulty", "curriculum_capability")
PARTS |= {name: partial(kept, name) for name in KEPT}


def pages() -> list[Path]:
    """Return the README files of the project."""
    folders = ("", "notebooks", "params", "currreft_nb", "tests")
    found = [path for folder in folders[1:] for path in (ROOT / folder).rglob("README.md")]
    return [ROOT / "README.md", *sorted(found)]


def rewritten(text: str) -> str:
    """Return a page with its generated parts made anew."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


def main() -> None:
    """Rewrite the pages whose generated parts changed."""
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"rewrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
