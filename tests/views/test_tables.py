"""Tables of a report, from rows small enough to check by eye."""

from pathlib import Path

import pandas as pd

from currreft_nb.core.samples import STAGES, TRAINED_TASKS
from currreft_nb.views import tables


def row(arm, mode, task, split, mean, stage="open", measure="correct", n=10):
    names = ("arm", "mode", "task", "split", "stage", "measure", "n", "mean", "low", "high")
    return dict(zip(names, (arm, mode, task, split, stage, measure, n, mean, mean - 0.1, mean + 0.1)))


SUMMARY = pd.DataFrame(
    [
        row("base", "natural", "math", "test_id", 0.2),
        row("base", "natural", "detection", "test_ood", 0.5, n=8),
        row("base", "forced", "math", "test_id", 0.4),
        row("rl", "natural", "math", "test_id", 0.9),
        row("base", "natural", "math", "test_id", 0.7, stage="binary"),
        row("base", "natural", "detection", "test_ood", 0.6, measure="iou"),
        row("base", "forced", "math", "test_id", 0.3, measure="value"),
        row("base", "forced", "detection", "test_id", 0.5, measure="value"),
        row("base", "forced", "general", "test_id", 1.0, measure="value"),
    ]
)
RECORD = {
    "notebook": "04_rl_open",
    "metrics": {"prompts": 1440, "completions": 11520, "tokens": 120000.4, "seconds": 61.6},
    "fingerprint": "c0ffee",
    "package": "0.1.0",
    "commit": None,
    "settings": {"seed": 3},
    "seconds": 70.0,
    "machine": {"cores": 2, "cards": []},
    "versions": {"trl": "1.16.0"},
}


def test_scores_stand_by_arm_and_answers_with_detection_first():
    table = tables.score_table(SUMMARY)
    assert table[["arm", "answers", "n"]].values.tolist() == [
        ["base", "natural", 8],  # the smallest cell says how far the row can be trusted
        ["base", "forced", 10],
        ["rl", "natural", 10],
    ]
    assert list(table.columns[3:]) == ["detection, out-of-domain", "math, in-domain"]
    assert table.loc[0, "math, in-domain"] == "0.20 [0.10, 0.30]"


def test_every_measure_has_a_column_and_a_missing_one_is_a_gap():
    tokens = pd.DataFrame([row("rl", "natural", "math", "test_id", 14.04, measure="tokens")])
    table = tables.measure_table(pd.concat([SUMMARY, tokens]))
    assert table.columns.tolist() == ["arm", "task", "split", "correct", "iou", "tokens"]
    assert table["split"].tolist() == ["in-domain", "out-of-domain", "in-domain"]
    assert table["correct"].tolist() == ["0.20", "0.50", "0.90"]
    assert table["tokens"].isna().tolist() == [True, True, False] and table.loc[2, "tokens"] == "14.0"
    sources = tables.measure_table(SUMMARY.assign(source="drawn"))
    assert sources.columns.tolist()[:4] == ["arm", "task", "split", "source"] and set(sources["source"]) == {"drawn"}


def test_a_score_without_an_interval_says_so():
    alone = SUMMARY[:1].assign(low=float("nan"), high=float("nan"))
    assert tables.score_table(alone).loc[0, "math, in-domain"] == "0.20 (too few)"


def test_comparisons_show_the_difference_and_the_detectable_one():
    names = (
        "arm",
        "other",
        "against_mode",
        "task",
        "split",
        "n",
        "clusters",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
    )
    rows = [
        ("rl", "base", "natural", "math", "test_id", 100, 100, 0.25, 0.1, 0.4, 0.0004, 0.0008),
        ("rl", "base", "forced", "math", "test_ood", 100, 50, 0.0, -0.1, 0.1, 0.5, 0.5),
        ("rl", "base", "forced", "math", "val", 4, 4, 1.0, *[float("nan")] * 4),
    ]
    comparison = pd.DataFrame([dict(zip(names, row)) for row in rows])
    comparison = comparison.assign(minimum_detectable=[0.2, 0.14, float("nan")], note=["", "", "too few images"])
    table = tables.comparison_table(comparison)
    columns = ["arm", "compared with", "task", "split", "n", "difference", "p", "p, Holm", "detectable"]
    assert table.columns.tolist() == tables.comparison_table(comparison[:0]).columns.tolist() == columns
    assert table.drop(columns=["arm", "task"]).to_numpy().tolist() == [
        ["base, natural", "in-domain", "100", "+0.25 [+0.10, +0.40]", "< 0.001", "< 0.001", "0.20"],
        ["base, forced", "out-of-domain", "100 (50 images)", "+0.00 [-0.10, +0.10]", "0.500", "0.500", "0.14"],
        ["base, forced", "validation", "4", "+1.00 too few images", "–", "–", "–"],
    ]


def test_scores_for_a_terminal_show_natural_before_forced():
    lines = tables.score_text(SUMMARY).splitlines()
    assert lines[2].split() == ["base", "0.50/", "–", "0.20/0.40"]
    assert lines[3].split()[0] == "rl"


def test_the_same_arm_of_two_evaluations_stays_two_arms():
    rows = {Path("x/evaluate"): [{"arm": "base", "id": "a"}], Path("y/evaluate"): [{"arm": "base", "id": "a"}]}
    assert [row["arm"] for row in tables.by_evaluation(rows)] == ["base, x/evaluate", "base, y/evaluate"]
    assert tables.by_evaluation({Path("x/evaluate"): [{"arm": "base"}]}) == [{"arm": "base"}]


def test_costs_have_gaps_where_nothing_was_sampled():
    table = tables.cost_table({"rl": RECORD, "sft": {"notebook": "baseline_sft", "metrics": {"prompts": 32}}})
    assert table.loc[0].tolist() == ["rl", "04_rl_open", "1,440", "11,520", "120,000", "62"]
    assert table.loc[1, "prompts"] == "32"
    assert pd.isna(table.loc[1, "completions"])


def test_answers_that_rated_questions_are_a_cost_of_their_own():
    rated = {"notebook": "baseline_sft", "metrics": {"prompts": 32, "rating_completions": 5760, "seconds": 2}}
    table = tables.cost_table({"rl": RECORD, "sft_medium": rated})
    assert table.loc[1, ["prompts", "rating_completions", "seconds"]].tolist() == ["32", "5,760", "2"]
    assert pd.isna(table.loc[0, "rating_completions"])


def test_provenance_names_what_is_needed_to_make_it_again():
    assert tables.provenance({"rl": RECORD}).loc[0].tolist() == [
        "rl",
        "04_rl_open",
        "c0ffee",
        "0.1.0",
        "none",
        "3",
        70.0,
    ]


def test_the_card_as_a_table_keeps_models_and_forms_apart():
    def part(value, **more):
        return {"id": {task: {stage: {"accuracy": value, **more} for stage in STAGES} for task in TRAINED_TASKS}}

    card = {
        "pocket-clean": part(0.9),
        "pocket": part(0.4),
        "pocket, format forced": part(0.5),
        "pocket, sampled": part(0.3, **{"accuracy where misled": 0.01}),
    }
    table = tables.card_table(card)
    assert len(table) == 9 and set(table["form"]) == set(STAGES)
    assert table.iloc[0].tolist()[2:] == ["0.90", "0.40", "0.50", "0.30", "0.01"]
