"""The parameter files that come with the kit: valid, fair, and explained."""

import re
import shlex
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.evaluation.sources import AnswerSource
from currreft_nb.memory.estimate import estimate_step
from currreft_nb.running.experiment import read_experiment

FILES = sorted((Path(__file__).parents[2] / "params").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_file_is_valid(file):
    assert read_experiment(file).steps


def budget(folder, steps):
    """Return how many questions were drawn for an adapter, in its own step and in those that it continues."""
    if folder == "base":
        return 0
    run = AnswerSource(kind="run", place=folder).run
    settings = steps[Path(run).name].settings
    if run != folder:  # a checkpoint
        drawn = int(folder.rpartition("-")[2]) * settings.get("prompts_per_step", settings.get("batch_size"))
    elif "group_size" in settings:
        drawn = settings["steps"] * settings["prompts_per_step"]
    else:
        drawn = 0 if "completions" in settings else settings["prompts"]  # rejection sampling is counted apart
    return drawn + budget(settings.get("start_from", "base"), steps)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_arms_draw_the_same_number_of_questions(file):
    """What design and README call equal budget: prompts drawn, with repetition, summed over stages."""
    steps = {step.name: step for step in read_experiment(file).steps}
    if not any("lora_rank" in step.settings for step in steps.values()):
        return  # nothing is trained: what others trained is only scored
    compared = [step.settings for step in steps.values() if "arms" in step.settings]
    for settings in compared:
        budgets = {arm: budget(given, steps) for arm, given in zip(settings["arms"], settings["start_from"])}
        untrained = {arm for arm, drawn in budgets.items() if drawn == 0}
        assert untrained <= {"base", "reft"}, "phase 2 is counted apart"
        for said in {arm.rpartition("_")[2] for arm in set(budgets) - untrained if arm[-1].isdigit()} or {""}:
            drawn = {arm: budgets[arm] for arm in set(budgets) - untrained if arm.endswith(said)}
            assert len(set(drawn.values())) <= 1, drawn
    assert any(len(settings["arms"]) > 1 and "base" in settings["arms"] for settings in compared)


@pytest.mark.parametrize(
    ("file", "axis"),
    [("curriculum_form", "stages"), ("curriculum_difficulty", "order"), ("curriculum_capability", "tasks")],
)
def test_there_is_an_example_of_each_axis(file, axis):
    steps = read_experiment(FILES[0].parent / f"{file}.yaml").steps
    values = {str(step.settings[axis]) for step in steps if "group_size" in step.settings}
    assert len(values) > 1


def test_the_ablation_asks_for_all_arms_and_orders_over_seeds():
    steps = [step.settings for step in read_experiment(FILES[0].parent / "ablation.yaml").steps]
    evaluations = [settings for settings in steps if "arms" in settings]
    assert len({settings["seed"] for settings in evaluations}) == len(evaluations) > 1
    paper = {"base", "sft", "rl", "curr_rl", "curr_reft", "reft", "rl_reft"}
    orders = {"reverse", "mixed", "rehearsed", "binary_only", "choice_only"}
    others = {"sft_rl", "sft_medium", "distilled"}
    for settings in evaluations:
        assert set(settings["arms"]) == paper | orders | others
        used = [folder for folder in settings["start_from"] if folder != "base"]
        assert all(folder.endswith(f"seed-{settings['seed']}") for folder in used), "no arm is of another seed"


def test_the_arms_of_the_ablation_differ_in_what_they_are_named_for():
    steps = {step.name: step.settings for step in read_experiment(FILES[0].parent / "ablation.yaml").steps}
    medium, sft = steps["sft_medium-seed-0"], steps["sft-seed-0"]
    assert medium["drop"] == ["never", "always"] and medium["rate_completions"] and not sft["drop"]
    assert {name for name in sft if sft[name] != steps["distilled-seed-0"][name]} == {"teacher", "output"}
    first, then = steps["sft_first-seed-0"], steps["sft_rl-seed-0"]
    assert first["prompts"] == then["steps"] * then["prompts_per_step"] == sft["prompts"] / 2, "half each"
    for stage in ("choice", "open"):
        rehearsed, forward = steps[f"rehearsed_{stage}-seed-0"], steps[f"forward_{stage}-seed-0"]
        differing = {name for name in forward if forward[name] != rehearsed[name]} - {"output"}
        assert differing == {"rehearse_share"} | ({"start_from"} if stage == "open" else set())


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


LARGE = FILES[0].parent / "qwen2_5_vl_3b.yaml"
CARDS = re.findall(r"^#   (\d+) GB +(.*?) +([\d.]+) GiB$", LARGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_readme_estimates_what_the_file_does():
    readme = (FILES[0].parent.parent / "README.md").read_text(encoding="utf-8")
    for card, _, gib in CARDS:
        assert re.search(rf"^\| GPU of {card} GB \| .* \| {gib} GiB, estimated \|", readme, flags=re.MULTILINE)
    head = LARGE.read_text(encoding="utf-8").split("\nshared:")[0]
    hours = [int(n) for n in re.findall(r"^#   (?:rl_binary|rl|sft|reject|evaluate) .*?: (\d+) h", head, re.MULTILINE)]
    hours += 2 * [int(n) for n in re.findall(r"^#   rl_choice, rl_open .*: (\d+) h each", head, re.MULTILINE)]
    assert len(hours) == 7 and f"| {sum(hours)} h, of which `evaluate` {hours[4]} h, estimated |" in readme


def changes_of(text):
    return [word for word in shlex.split(text) if word != "--set"]


def test_three_cards_are_planned_for():
    assert [card for card, _, _ in CARDS] == ["16", "24", "80"]


@pytest.mark.parametrize(("card", "changes", "gib"), CARDS)
def test_memory_that_the_large_file_states_is_what_preflight_says(card, changes, gib):
    steps = [step for step in read_experiment(LARGE, changes_of(changes)).steps if "micro_batch" in step.settings]
    peaks = {step.name: estimate_step(step.settings)[-1]["gib"] for step in steps}
    assert len(peaks) == 6 and round(max(peaks.values()), 1) == float(gib) < int(card)


def test_the_smoke_run_of_the_large_file_takes_five_steps_of_every_training():
    (line,) = re.findall(r"currreft run params/qwen2_5_vl_3b.yaml (--set steps=.*)", LARGE.read_text(encoding="utf-8"))
    long, short = read_experiment(LARGE), read_experiment(LARGE, changes_of(line))
    for before, step in zip(long.steps, short.steps, strict=True):
        if step.name in ("curate", "report"):
            assert step.settings == before.settings  # the data are made once
        if "steps" in step.settings:
            assert step.settings["steps"] == 5
        if "prompts" in step.settings:
            assert step.settings["prompts"] == 5 * step.settings["batch_size"]
    assert short.folder == long.folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mixed.stages=[binary, chioce]", r"stages contains 'chioce'.*did you mean choice\?"),
        ("single.stages=[]", "stages is empty"),
        ("single.order=hard_to_easy", "order is 'hard_to_easy', but must be one of shuffled, easy_to_hard"),
        ("single.drop=[sometimes]", "drop contains 'sometimes', but may only contain never, always"),
        ("single.target_rate=0.5", "need pass rates; set rate_completions"),
        ("mixed.rehearse_share=0.25", r"but stages is \[binary, choice, open\]; set stages to \[choice\] or \[open\]"),
        ("forward_binary.rehearse_share=0.25", r"but stages is \[binary\]"),
        ("patience=2", "patience is 2, but validate_every is 0"),
        ("report_to=[tensorbord]", "report_to contains 'tensorbord', .*; did you mean tensorboard?"),
    ],
)
def test_a_curriculum_that_makes_no_sense_stops_before_the_first_step(change, message):
    with pytest.raises(InputError, match=message):
        read_experiment(FILES[0].parent / "curriculum_form.yaml", [change])


@pytest.mark.parametrize("step", ["sft", "rl_binary", "rl_open"])
def test_a_misspelt_task_stops_before_the_first_step(step):
    with pytest.raises(InputError, match=r"tasks contains 'clasification'.*did you mean classification\?"):
        read_experiment(FILES[0].parent / "pocket.yaml", [f"{step}.tasks=[detection, clasification]"])
