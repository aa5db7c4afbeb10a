"""Interactive views: static without a person at the notebook, the same views with controls in JupyterLab."""

import dataclasses
import json

import nbformat
import pytest
from nbclient import NotebookClient

from currreft_nb.core.boxes import Frame
from currreft_nb.core.journal import append_journal
from currreft_nb.core.samples import Sample
from currreft_nb.method.prompts import Style
from currreft_nb.method.rewards import Rules
from currreft_nb.views import cards, explore
from currreft_nb.views.group_tables import choosable, most_informative_group, repay, variants
from tests.helpers.jupyterlab_sanitiser import draw_scene, read
from tests.helpers.made_up_results import write_samples

STYLE = Style(wording="short", frame=Frame(factor=16, min_pixels=1024, max_pixels=4096))
BOX = "<think></think><answer>[{}, 10, 30, 30]</answer>"
LETTERS = "<think></think><answer>{}</answer>"
TEXTS = {
    "box": (BOX.format(10), BOX.format(18), BOX.format(21), "<answer>[10, 10, 30, 30]</answer>"),
    "letters": (LETTERS.format("A"), LETTERS.format("A, B, C"), "A, C", LETTERS.format("B")),
    "sum": ("2", "2", "2", "2"),
}


@pytest.fixture
def samples(tmp_path):
    common = {"split": "train", "source": "scenes", "image": draw_scene(tmp_path), "size": (64, 64)}
    return {
        "box": Sample(
            id="box", task="detection", question="the yellow square", answer=[[10.0, 10.0, 30.0, 30.0]], **common
        ),
        "letters": Sample(
            id="letters", task="classification", stage="choice", question="What?", answer=["A", "C"],
            options=[["dog"], ["bus"], ["cat"]], **common,
        ),
        "sum": Sample(id="sum", task="math", question="1 + 1", answer="2", **common),
    }  # fmt: skip


@pytest.fixture
def rows(samples):
    """Return what a training that paid soft boxes and one half for the form has written down."""
    found = []
    for number, (name, texts) in enumerate(TEXTS.items()):
        group = [{"completion": text} for text in texts]
        for row, paid in zip(group, repay(samples[name], group, STYLE, Rules(detection="soft"), 0.5)):
            sample = samples[name]
            row |= {"step": 3, "id": name, "task": sample.task, "stage": sample.stage, "group": number}
            row |= {key: value for key, value in paid.items() if key != "wins"} | {"length": 9, "truncated": False}
        found += group
    return found


def of(rows, name):
    return [row for row in rows if row["id"] == name]


@pytest.fixture
def run(tmp_path, rows):
    for step in (1, 2, 3, 20):
        append_journal(tmp_path / "completions" / f"step-{step:05d}.jsonl", [row | {"step": step} for row in rows])
    return tmp_path


@pytest.fixture
def shown(monkeypatch):
    """Return the list to which what is displayed without a notebook is added."""
    found = []
    monkeypatch.setattr(explore, "_show", found.append)
    return found


@pytest.mark.parametrize(
    ("name", "rules", "weight", "rewards", "winners"),
    [
        ("box", Rules(detection="soft"), 0.5, [1.5, 1.1, 0.95, 1.0], "1"),
        ("box", Rules(detection="hard"), 0.5, [1.5, 1.5, 0.5, 1.0], "12"),  # 0.6 is enough, 0.45 is not
        ("box", Rules(detection="hard"), 0.0, [1.0, 1.0, 0.0, 1.0], "124"),  # tags are no longer needed
        (
            "box",
            Rules(detection="hard", threshold=1.0),
            2.0,
            [2.0, 2.0, 2.0, 0.0],
            "123",
        ),  # none is above 1
        ("letters", Rules(), 0.5, [0.7, 0.5, 0.0, 0.5], "1"),
        ("letters", Rules(partial="none"), 0.5, [0.5, 0.5, 0.0, 0.5], "124"),
        ("letters", Rules(partial="overlap"), 0.5, [0.7, 0.7, 0.0, 0.5], "12"),  # choosing everything pays
        ("sum", Rules(), 0.5, [0.0] * 4, ""),  # equal: no winner
    ],
)
def test_a_group_is_paid_by_the_rules_given(samples, rows, name, rules, weight, rewards, winners):
    paid = repay(samples[name], of(rows, name), STYLE, rules, weight)
    assert [row["reward"] for row in paid] == pytest.approx(rewards)
    assert "".join(str(place) for place, row in enumerate(paid, 1) if row["wins"]) == winners
    assert sum(row["advantage"] for row in paid) == pytest.approx(0)
    if not winners:
        assert {row["advantage"] for row in paid} == {0.0}


def test_as_trained_is_what_the_training_paid(samples, rows):
    for name, sample in samples.items():
        rules, weight = variants(sample, Rules(detection="soft"), 0.5)["as trained"]
        for row, paid in zip(of(rows, name), repay(sample, of(rows, name), STYLE, rules, weight)):
            assert {key: row[key] for key in ("accuracy", "format", "reward", "reason")} == {
                key: paid[key] for key in ("accuracy", "format", "reward", "reason")
            }


def test_only_rules_that_matter_are_offered_and_none_twice(samples):
    assert list(variants(samples["sum"], Rules(), 0.0)) == ["as trained", "format pays 2"]
    assert list(variants(samples["box"], Rules(detection="soft"), 0.5))[1:2] == ["hard: 1 above an IoU of 0.5"]
    assert set(choosable([samples["sum"]], Rules(), 0.5)) == {"format_weight"}
    offered = choosable(samples.values(), Rules(detection="soft", threshold=0.55), 0.3)
    assert set(offered) == {"format_weight", "detection", "threshold", "partial", "partial_reward"}
    one_letter = dataclasses.replace(samples["letters"], answer=["A"])
    assert "partial" not in choosable([one_letter], Rules(), 0.5)  # there is nothing incomplete about one letter
    for options, value in offered.values():
        assert value in options  # a value of one's own parameters can be chosen again
    assert offered["threshold"][0] == sorted(offered["threshold"][0])


def test_shown_first_is_a_group_whose_winner_changes(samples, rows):
    found = [of(rows, "box"), of(rows, "sum")]
    assert most_informative_group(found, samples, STYLE, Rules(detection="soft"), 0.5) == 0
    only_silent = most_informative_group([of(rows, "sum")], samples, STYLE, Rules(), 0.5)
    assert only_silent == 2  # better a silent group than none


def test_without_a_notebook_the_group_is_shown_under_several_rules(samples, rows, shown):
    explore.change_reward(of(rows, "letters"), samples.values(), STYLE)
    text, pictures = read(shown[0])
    assert len(pictures) == 1
    assert all(name in text for name in ("as trained", "no partial credit", "any right letter pays 0.2"))
    assert "0.20 + 0.5 × 1 = 0.70 ★" in text and "advantage +0.92" in text
    explore.change_reward(of(rows, "sum"), samples.values(), STYLE)
    assert "silent: teaches nothing" in read(shown[1])[0]


def test_without_a_notebook_first_middle_and_last_step_are_shown_as_the_gallery_shows_them(samples, run, shown):
    explore.browse(run, samples.values(), STYLE)
    (html,) = shown
    texts = [f"step {step}: 2 of 3 groups" for step in (1, 3, 20)]
    assert [text for text in texts if text in read(html)[0]] == texts
    explore.browse(run, samples.values(), STYLE, disagree=True)
    assert "2 of 2 groups" in read(shown[1])[0] and "1 + 1" not in read(shown[1])[0]


def test_a_run_without_completions_says_so(samples, tmp_path, shown):
    explore.browse(tmp_path, samples.values(), STYLE)
    explore.change_reward([], samples.values(), STYLE)
    assert [read(html)[0] for html in shown] == ["no such groups"] * 2


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "<answer><img src=x onerror=alert(1)></answer>", "\u202e"]
)
def test_what_a_model_wrote_stays_text(samples, rows, shown, text):
    group = [row | {"completion": text} for row in of(rows, "sum")]
    explore.change_reward(group, samples.values(), STYLE)
    read(shown[0])  # the sanitiser refuses what a page would run


SETUP = """
from pathlib import Path
from ipywidgets.widgets.widget import _instances
from currreft_nb.views import explore
from currreft_nb.method.prompts import Style
from currreft_nb.core.boxes import Frame
from currreft_nb.core.stored_answers import read_completions
from currreft_nb.method.rewards import Rules
from currreft_nb.core.samples import read_samples
explore.interactive = lambda: {interactive}
folder = Path({folder!r})
samples = read_samples(folder / "samples.jsonl")
style = Style(wording="short", frame=Frame(factor=16, min_pixels=1024, max_pixels=4096))
def control(name):
    return [w for w in _instances.values() if getattr(w, "description", "") == name][-1]
"""
STEPS = {
    "browse": "explore.browse(folder, samples, style)",
    "step": 'control("step").value = 1',
    "task": 'control("task").value = "math"',
    "options": 'print(control("reason").options, [label for label, _ in control("group").options])',
    "other": 'control("task").value = "any"; control("reason").value = "no_answer"; control("group").value = 2',
    "gone": 'control("reason").value = "iou_too_low"; print(control("group").value)',
    "reward": 'explore.change_reward(read_completions(folder, 3), samples, style, Rules(detection="soft"))',
    "hard": 'control("group").value = 0; control("detection").value = "hard"',
    "weight": 'control("format weight").value = 2.0',
}


def execute(folder, samples, interactive, **cells):
    """Return the outputs of each cell after all of them were executed in one real kernel."""
    write_samples(folder / "samples.jsonl", samples.values())
    setup = SETUP.format(interactive=interactive, folder=str(folder))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (setup, *cells.values())])
    NotebookClient(notebook, kernel_name="python3").execute()
    return dict(zip(cells, (cell.outputs for cell in notebook.cells[1:])))


def html_of(outputs):
    (html,) = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    return html


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_a_control_changes_the_view_below_it(samples, run):
    seen = execute(run, samples, True, **{name: STEPS[name] for name in ("browse", "step", "task", "options")})
    assert len([output for output in seen["browse"] if "widget-view" in json.dumps(output.get("data", {}))]) == 1
    text, pictures = read(html_of(seen["browse"]))
    assert "step 1: 1 of 1 groups" in text and "1 + 1" in text and len(pictures) == 1
    assert printed(seen["options"]) == "('any', 'no_answer') ['2 shuffled by hash', '2: math · open · sum']\n"
    seen = execute(run, samples, True, **{name: STEPS[name] for name in ("browse", "other", "gone")})
    assert "the yellow square" in read(html_of(seen["browse"]))[0]
    assert printed(seen["gone"]) == "any\n"  # a group that the new reason leaves out is no longer chosen


def test_another_rule_and_weight_change_who_wins(samples, run):
    cells = {name: STEPS[name] for name in ("reward", "hard")}
    assert "0.60 + 0.5 × 1 = 1.10" in (text := read(html_of(execute(run, samples, True, **cells)["reward"]))[0])
    assert text.count("1.00 + 0.5 × 1 = 1.50 ★") == 3  # one as trained, two now
    cells["weight"] = STEPS["weight"]
    assert "1.00 + 2 × 1 = 3.00 ★" in read(html_of(execute(run, samples, True, **cells)["reward"]))[0]


def test_an_executed_notebook_holds_no_widgets_and_the_same_html(samples, run, shown):
    seen = execute(run, samples, False, browse=STEPS["browse"])
    assert [set(output.data) for output in seen["browse"]] == [{"text/html", "text/plain"}]
    explore.browse(run, samples.values(), STYLE)
    assert read(html_of(seen["browse"]))[0] == read(shown[0])[0]


def test_under_papermill_and_nbconvert_there_are_no_controls(samples, run):
    assert not explore.interactive()  # no notebook at all
    seen = execute(run, samples, True, real="import importlib; print(importlib.reload(explore).interactive())")
    assert printed(seen["real"]) == "False\n"


def test_what_was_kept_is_sifted_by_outcome(samples, tmp_path, shown):
    rows = [
        {"id": name, "completion": f"answer {place}", "total": 100 * place, "reason": "ok", "kept": bool(place)}
        | {"outcome": "kept" if place else "too low", "why": ""}
        for name in ("box", "sum")
        for place in range(2)
    ]
    explore.browse_rejection(samples.values(), rows)
    assert shown == [cards.kept_and_rejected(samples.values(), rows, 3)]
    cells = {
        "browse_rejection": f"explore.browse_rejection(samples, {rows!r})",
        "one": 'control("question").value = "sum"',
    }
    text, pictures = read(html_of(execute(tmp_path, samples, True, **cells)["browse_rejection"]))
    assert len(pictures) == 1 and "1 + 1" in text
