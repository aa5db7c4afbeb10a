"""Provenance and comparisons of a report, from records small enough to check by eye."""

import subprocess

import pandas as pd
import pytest
import yaml

from currreft_nb.metrics.comparisons import COLUMNS
from currreft_nb.metrics.scores import summarise
from currreft_nb.report.comparisons import (
    compare_experiments,
    compared,
    fairest,
    join_experiments,
    over_trainings,
    verdict,
)
from currreft_nb.report.provenance import (
    by_label,
    by_source,
    chains,
    choice_text,
    commands,
    data_table,
    read_csv_rows,
    settings_tables,
)
from currreft_nb.views.tables import comparison_table


def run_record(name, *inputs, notebook="04_rl_open", commit=None, **settings):
    notes = [{"id": one, "given": f"outputs/x/{one}"} for one in inputs]
    return {"id": name, "notebook": notebook, "inputs": notes, "settings": settings, "commit": commit}


def answer(arm, number, correct, mode="natural", split="test_id", task="math", source="drawn", hash="h"):
    row = {
        "arm": arm,
        "id": f"{split}{number}",
        "hash": f"{hash}{number}",
        "mode": mode,
        "stage": "open",
        "image": None,
    }
    return row | {
        "split": split,
        "task": task,
        "source": source,
        "correct": float(correct),
        "value": 0.0,
        "format": 1.0,
    }


def answers(arm, correct, **changes):
    return [answer(arm, number, value, **changes) for number, value in enumerate(correct)]


def test_stages_that_follow_one_another_make_a_chain():
    records = {
        "binary": run_record("1"),
        "alone": run_record("2", "elsewhere"),
        "choice": run_record("3", "1"),
        "open": run_record("4", "3"),
        "open again": run_record("5", "3"),  # two trainings from one: two chains
    }
    assert chains(records) == {
        "alone": ["alone"],
        "open": ["binary", "choice", "open"],
        "open again": ["binary", "choice", "open again"],
    }
    assert chains({}) == {}


def test_settings_are_parted_by_whether_runs_differ_and_inputs_are_named():
    records = {
        "rl": run_record("1", "data", data="outputs/x/data", steps=60, tasks=["math", "general"], output="a"),
        "open": run_record("2", "data", "1", data="outputs/x/data", steps=30, start_from="outputs/x/1", output="b"),
    }
    differing, same = settings_tables(records, {"curate": run_record("data")})
    assert differing.values.tolist() == [["steps", "60", "30"]]
    assert same.values.tolist() == [
        ["data", "@curate", 2], ["tasks", "math, general", 1], ["start_from", "@rl", 1],
    ]  # fmt: skip


def test_data_are_listed_by_file_with_one_hash_for_all_pictures():
    files = {
        "train-open.jsonl": "a" * 64,
        "images/1.png": "c" * 64,
        "rejected.jsonl": "b" * 64,
        "images/0.png": "d" * 64,
    }
    manifest = {"files": files, "questions": {"train": {"open": {"math": 3, "detection": 2}}}}
    table = data_table(manifest)
    pictures = subprocess.run(["sha256sum"], input=f"{'c' * 64}\n{'d' * 64}", capture_output=True, text=True).stdout
    assert table.values.tolist() == [["train-open.jsonl", 5, "a" * 16], ["images/", 2, pictures[:16]]]


def test_an_experiment_file_makes_one_command_of_all(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "params/mine.yaml").write_text("steps: []")
    lines = commands(tmp_path / "outputs/mine", tmp_path, {"a": run_record("1", commit="abc")})
    assert lines.splitlines()[:2] == ["git checkout abc", "currreft run params/mine.yaml"]
    assert lines.splitlines()[-1] == "currreft report outputs/mine"
    several = {"a": run_record("1", commit="abc"), "b": run_record("2", commit="def+changes")}
    first, second, *_ = commands(tmp_path / "outputs/mine", tmp_path, several).splitlines()
    assert first.startswith("git checkout def  # the last of several commits") and "no commit holds" in second


def test_without_an_experiment_file_each_run_has_a_command_that_a_shell_reads_back(tmp_path):
    values = {"title": "it's", "steps": 3, "rate": 1e-5, "tasks": ["math"], "four_bit": False, "note": ""}
    record = run_record("1", notebook="02_rl_binary", **values)
    (line, last) = commands(tmp_path / "outputs/mine", tmp_path, {"first": record}).splitlines()
    words = subprocess.run(
        ["bash", "-c", line.replace("papermill", "printf '%s\\n'", 1)], capture_output=True, text=True
    )
    words = words.stdout.splitlines()
    assert words[:2] == ["notebooks/02_rl_binary.ipynb", "first.ipynb"] and last == "currreft report outputs/mine"
    read = yaml.safe_load(words[3])
    assert words[2] == "-y" and len(words) == 4
    assert (
        read | {"rate": float(read["rate"])} == values
    )  # as notebooks read numbers such as 1e-05 that YAML leaves text


def test_one_arm_alone_and_arms_of_different_questions_are_reported_in_words():
    found, reason = compared(answers("base", [1, 0]), "base")
    assert found.empty and "Fewer than two arms" in reason
    rows = answers("base", [1] * 8) + answers("sft", [1] * 7)
    found, reason = compared(rows, "base")
    assert found.empty and reason.startswith("Not compared: ") and "only base" in reason
    assert tuple(found.columns) == COLUMNS and comparison_table(found).empty and verdict(found) == ""


def test_what_holds_is_counted_and_the_forced_baseline_is_preferred():
    rows = answers("base", [0] * 40) + answers("sft", [1] * 40) + answers("rl", [0] * 39 + [1])
    found, reason = compared(rows, "base")
    assert reason == "" and fairest(found).equals(found)  # nothing was forced
    assert verdict(found).startswith("1 of 2 differences hold")
    assert "1 upwards, 0 downwards" in verdict(found)
    forced, _ = compared(rows + answers("base", [0] * 40, mode="forced"), "base")
    assert set(fairest(forced)["against_mode"]) == {"forced"}


def test_gains_are_averaged_over_trainings_each_one_number():
    seeds = [
        summarise(answers("base", [0] * 10) + answers("base", [1] + [0] * 9, mode="forced") + answers("sft", right))
        for right in ([1] * 5 + [0] * 5, [1] * 7 + [0] * 3, [1] * 6 + [0] * 4)
    ]
    table, reason = over_trainings(seeds)
    assert reason == "" and table[["arm", "mode", "n"]].values.tolist() == [["sft", "natural", 3]]
    assert table["seeds"].iloc[0] == pytest.approx([0.4, 0.6, 0.5]) and table["mean"].iloc[0] == pytest.approx(0.5)
    assert over_trainings([seeds[0], summarise(answers("base", [1] * 10))])[1].startswith("The evaluations")
    lacking = summarise(answers("base", [0] * 9, split="val") + answers("sft", [1] * 9, split="val"))
    assert over_trainings([seeds[0], lacking])[1].startswith("Nothing is averaged: ")


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_no_rows_are_no_error(tmp_path, text):
    if text is not None:
        (tmp_path / "passes.csv").write_text(text)
    assert read_csv_rows(tmp_path / "passes.csv") == []


def test_experiments_are_compared_on_the_questions_that_are_the_same():
    ours, theirs = answers("base", [1, 0, 1]), answers("base", [0, 0], hash="h") + answers("base", [1], hash="other")
    theirs[2]["id"] = "test_id2"  # the same id, another question
    rows, sentence, comparable = join_experiments(ours, theirs, ("mine", "old"))
    assert comparable and "2 questions are the same" in sentence and "the 3 of mine and the 3 of old" in sentence
    assert [(row["arm"], row["id"]) for row in rows] == [
        (f"base · {name}", f"test_id{number}") for name in ("mine", "old") for number in range(2)
    ]


def test_without_a_common_question_nothing_is_compared_and_all_is_shown():
    rows, sentence, comparable = join_experiments(
        answers("base", [1, 0]), answers("base", [1], hash="x"), ("mine", "old")
    )
    assert not comparable and len(rows) == 3 and sentence.startswith("No question is the same")


def test_each_arm_is_compared_with_its_namesake_and_all_are_corrected_together():
    ours = answers("base", [0] * 30) + answers("sft", [0] * 30) + answers("rl", [1] * 30)
    theirs = answers("base", [0] * 29 + [1]) + answers("sft", [1] * 30)
    rows, _, _ = join_experiments(ours, theirs, ("mine", "old"))
    table, reason = compare_experiments(rows, ("mine", "old"))
    assert reason == ""
    assert table[["arm", "other"]].values.tolist() == [["base · old", "base · mine"], ["sft · old", "sft · mine"]]
    assert table["difference"].tolist() == pytest.approx([1 / 30, 1])
    assert table["p_holm"].tolist() == pytest.approx([1, 2 * table["p"][1]])
    none, reason = compare_experiments(
        [row for row in rows if not row["arm"].startswith(("base", "sft"))], ("mine", "old")
    )
    assert none.empty and reason == "No arm has the same name in both experiments."


def test_sources_have_rows_of_their_own_where_there_are_several():
    rows = answers("base", [1] * 6) + answers("base", [0] * 6, split="test_ood")
    assert by_source(rows)[1].startswith("Each task has one source")
    rows += [row | {"id": f"more {row['id']}", "source": "mine"} for row in answers("base", [0] * 6)]
    table, reason = by_source(rows)
    assert reason == "" and table[["split", "source", "n"]].values.tolist() == [
        ["in-domain", "drawn", 6], ["in-domain", "mine", 6],
    ]  # fmt: skip
    assert table["base"].str[:4].tolist() == ["1.00", "0.00"]


def test_the_choice_of_validation_is_a_sentence_and_so_is_none():
    choice = {"chosen": "late", "scores": {"early": 0.25, "late": 0.5}, "questions": 40}
    text = choice_text("evaluate", {"metrics": {"choice": choice}})
    assert text.startswith("In evaluate validation chose late (early 0.250, late 0.500, on 40 validation questions)")
    assert "no arm was chosen" in choice_text("evaluate", {"metrics": {}})


def test_labels_have_their_f1():
    rows = [
        row | {"task": "classification", "labels": ["cat"], "gold": gold}
        for row, gold in zip(answers("base", [1, 0] * 4), [["cat"], ["dog"]] * 4)
    ]
    table, reason = by_label(rows)
    assert reason == "" and dict(zip(table["label"], table["base"].str[:4])) == {"cat": "0.67", "dog": "0.00"}
    assert by_label(answers("base", [1]))[1].startswith("There are no open classification")


def test_differences_are_drawn_with_the_detectable_ones():
    from matplotlib.colors import to_hex

    from currreft_nb.views.plot_style import ARM_COLOURS, PALE
    from currreft_nb.views.score_plots import differences

    rows = answers("base", [0] * 30 + [1] * 10) + answers("sft", [1] * 40)
    found, _ = compared(rows + answers("base", [0, 1] * 20, mode="forced"), "base")
    (axis,) = differences(found).axes
    marks = [(line.get_xdata()[0], line.get_markerfacecolor()) for line in axis.lines if line.get_marker() == "o"]
    assert marks == [(0.75, ARM_COLOURS["sft"]), (0.5, "white")]
    spans = {to_hex(bar.get_color()[0]): bar.get_segments()[0][:, 0] for bar in axis.collections}
    least = found["minimum_detectable"].iloc[-1]
    assert list(spans[PALE]) == pytest.approx([-least, least])
    empty = differences(pd.DataFrame(columns=COLUMNS)).axes[0]
    assert empty.texts[0].get_text() == "no arms were compared"
