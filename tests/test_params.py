"""The parameter files that come with the kit: valid, fair, and explained."""

import re
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.experiment import read_experiment

FILES = sorted((Path(__file__).parent.parent / "params").glob("*.yaml"))
CURRICULUM = ("rl_binary", "rl_choice", "rl_open")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_file_is_valid(file):
    assert read_experiment(file).steps


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_arms_draw_the_same_number_of_questions(file):
    """What design and README call equal budget: prompts drawn, with repetition, summed over stages."""
    steps = {step.name: step.settings for step in read_experiment(file).steps}
    budget = sum(steps[name]["steps"] * steps[name]["prompts_per_step"] for name in CURRICULUM)
    assert steps["sft"]["prompts"] == budget
    if "rl" in steps:
        assert steps["rl"]["steps"] * steps["rl"]["prompts_per_step"] == budget


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_file_begins_by_saying_what_it_is_and_how_to_run_it(file):
    head = file.read_text(encoding="utf-8").split("\nshared:")[0]
    assert head.startswith("# ")
    assert f"currreft run params/{file.name}" in head


def test_shared_values_of_the_large_file_are_each_explained():
    text = (FILES[0].parent / "qwen2_5_vl_3b.yaml").read_text(encoding="utf-8")
    shared = text.split("\nshared:\n")[1].split("\nsteps:")[0]
    bare = [line for line in shared.splitlines() if not re.search(r"  # \S", line)]
    assert bare == ['  data: "@curate"', "  seed: 0"]


@pytest.mark.parametrize("step", ["sft", "rl_binary", "rl_open"])
def test_a_misspelt_task_stops_before_the_first_step(step):
    with pytest.raises(InputError, match=r"tasks contains 'clasification'.*did you mean classification\?"):
        read_experiment(FILES[0].parent / "pocket.yaml", [f"{step}.tasks=[detection, clasification]"])
