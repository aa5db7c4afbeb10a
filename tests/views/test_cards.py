"""The gallery: safe whatever a model or a data file wrote, and showing what it claims to show."""

import re

import numpy as np
import pandas as pd
import pytest

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample
from currreft_nb.data.images import read_image
from currreft_nb.method.prompts import Style
from currreft_nb.method.rewards import Rules, score
from currreft_nb.rejection.judges import rule_judge
from currreft_nb.rejection.select import select
from currreft_nb.views import cards, group_tables
from currreft_nb.views.html_parts import GOLD, OPTION, PREDICTED, draw_marks, heading, question_marks, table
from currreft_nb.views.plot_style import GREEN, RED
from currreft_nb.views.score_plots import before_after
from tests.helpers.jupyterlab_sanitiser import colour_at, draw_scene, pixels, read

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre></div><script>alert(1)</script>",
    "</details></td></tr></table><h1>taken over</h1>",
    '" onmouseover="alert(1)" x="',
    "<style>body{display:none}</style>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<!-- swallow the rest",
    "&lt;script&gt; &#60;b&#62;",
    "<svg/onload=alert(1)>",
    "\x00\x1b[31m\u202egnihtyna\u2066",
    "$\\href{javascript:alert(1)}{x}$",
    "**bold** [link](javascript:alert(1))",
]


EARNED = {"reward": 1.5, "accuracy": 1.0, "format": 1.0, "length": 7, "truncated": False}
EARNED |= {"task": "math", "stage": "open", "reason": "<b>ok</b>"}


@pytest.fixture
def scene(tmp_path):
    return draw_scene(tmp_path)


def samples_of(scene, text="the yellow square"):
    """Return a sample of each task and stage that the gallery shows, with `text` wherever a data file could put it."""
    common = {"split": "test_id", "source": text[:60], "question": text, "image": scene, "size": (64, 64)}
    box, other = [[10.0, 10.0, 30.0, 30.0]], [[40.0, 40.0, 60.0, 60.0]]
    return [
        Sample(id=f"{text[:60]}0", task="detection", answer=box, **common),
        Sample(id=f"{text[:60]}1", task="detection", stage="binary", claim=other, answer=False, **common),
        Sample(id=f"{text[:60]}2", task="detection", stage="choice", options=[other, box], answer=["B"], **common),
        Sample(id=f"{text[:60]}3", task="classification", answer=[text], **common),
        Sample(id=f"{text[:60]}4", task="math", stage="choice", options=[text, "2"], answer=["A"], **common),
        Sample(id=f"{text[:60]}5", task="general", split="pool", source="s", question=text, answer=None),
    ]


def record(sample, completion, arm="base", correct=0.0):
    scores = {"correct": correct, "value": correct, "format": 1.0, "reason": "ok", "boxes": []}
    return {
        "arm": arm,
        "mode": "natural",
        "id": sample.id,
        "task": sample.task,
        "stage": sample.stage,
        "completion": completion,
        **scores,
    }


def every_view(samples, completion):
    """Return the HTML of every function of the gallery on these samples."""
    style = Style(wording="short", frame=Frame(factor=16, min_pixels=1024, max_pixels=4096))
    rows = [{"id": s.id, "completion": completion, "step": 3, "advantage": -0.5} for s in samples]
    before = [record(s, completion) for s in samples]
    after = [record(s, completion, arm="rl", correct=float(i % 2)) for i, s in enumerate(samples)]
    texts, known = [completion, "<answer>1</answer>"], samples[0]
    common = {"index": 0, "split": "pool", "total": 100.0, "reason": completion, "completion": completion}
    judged = select([{**common, "id": s.id} for s in samples])
    return [
        cards.questions(samples),
        cards.questions(samples, style),
        cards.questions(samples, Style()),
        group_tables.groups([row | EARNED | {"group": place} for place, row in enumerate(rows)], samples, style, 9),
        cards.answers(before, samples, 4),
        cards.answers(before, samples, 4, style),
        cards.changes([*before, *after], samples, "base", "rl", 2),
        cards.scored(known, texts, [score(known, text) for text in texts]),
        cards.judged(samples[-1], texts, [rule_judge(samples[-1], text) for text in texts]),
        cards.kept_and_rejected(samples, judged, 3),
        heading(completion, completion),
        table(pd.DataFrame({completion[:50]: [completion, None], "n": [1, 2], "x": [0.5, float("nan")]})),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_does_no_harm_anywhere(scene, text):
    samples = samples_of(scene, text)
    for html in every_view(samples, f"<think>{text}</think><answer>{text}</answer>{text}"):
        read(html)


def test_a_megabyte_of_text_is_cut_everywhere(scene):
    huge = "<b>" * 350_000
    for html in every_view(samples_of(scene, huge), huge):
        read(html)
        assert len(html) < 400_000
    sample = Sample(id="a", task="math", split="val", source="s", question="?", answer="1")
    assert "1,046,000 more characters" in cards.answers([record(sample, huge)], [sample], 1)


def test_text_of_models_is_in_pre_where_jupyter_typesets_nothing():
    sample = Sample(id="a", task="math", split="val", source="s", question="$q$", answer="$g$")
    html = cards.answers([record(sample, "<answer>$a$</answer>$c$")], [sample], 1, Style())
    html += cards.scored(sample, ["$c$"], [score(sample, "$c$")], picture=False)
    outside = re.sub(r"<pre[^>]*>.*?</pre>", "", html, flags=re.DOTALL)
    assert "$" not in outside.replace("$q$", "", 1).replace("gold: $g$", "")


def test_a_card_shows_question_gold_answer_reward_and_the_whole_completion(scene):
    style = Style(wording="short", frame=Frame(factor=16, min_pixels=1024, max_pixels=4096))
    sample = samples_of(scene)[0]
    completion = "<think>there</think><answer>[10, 10, 30, 25]</answer>"
    text, pictures = read(cards.answers([record(sample, completion, correct=1.0)], [sample], 1, style))
    for part in ("the yellow square", "gold[10, 10, 30, 30]", "answer[10, 10, 30, 25]", completion):
        assert part in text
    assert "accuracy 1.00, format 1: ok" in text
    assert len(pictures) == 1


@pytest.mark.parametrize(
    ("completion", "shown"),
    [("no tags", "none read (no_answer)"), ("<answer>1</answer><answer>2</answer>", "none read (two_answers)")],
)
def test_an_answer_that_cannot_be_read_says_why(completion, shown):
    sample = Sample(id="a", task="math", split="val", source="s", question="?", answer="1")
    text, _ = read(cards.answers([record(sample, completion)], [sample], 1))
    assert shown in text


def test_gold_and_prediction_are_drawn_in_their_colours(scene):
    sample = samples_of(scene)[0]
    answer = record(sample, "x") | {"boxes": [[40.0, 40.0, 60.0, 60.0]]}
    _, (address,) = read(cards.answers([answer], [sample], 1))
    image = pixels(address)
    assert colour_at(image, 80, 41) == GOLD and colour_at(image, 200, 161) == PREDICTED


def test_choices_show_every_option_the_right_one_and_the_chosen_one(scene):
    sample = samples_of(scene)[2]
    marks = question_marks(sample, record(sample, "<answer>A</answer>"))
    assert [(colour, letter) for _, colour, letter in marks] == [(PREDICTED, "A"), (GOLD, "B")]
    marks = question_marks(sample, record(sample, "<answer>a dog</answer>"))
    assert [(colour, letter) for _, colour, letter in marks] == [(OPTION, "A"), (GOLD, "B")]


def test_a_claim_is_drawn_without_giving_the_verdict_away(scene):
    ((_, colour, label),) = question_marks(samples_of(scene)[1])
    assert (colour, label) == (OPTION, "claim")


def test_the_first_of_each_task_and_stage_are_taken_in_order(scene):
    samples = samples_of(scene) + samples_of(scene, "more")
    chosen = cards.some_of_each(samples, 1)
    assert [s.id for s in chosen] == [s.id for s in samples[:6]]
    assert len(cards.some_of_each(samples, 5)) == 12


def paired(*corrects):
    old = {"id": "", "completion": ""}
    return [({**old, "id": str(i), "correct": a}, {**old, "correct": b}) for i, (a, b) in enumerate(corrects)]


def test_answers_are_sorted_into_improved_worse_and_unchanged():
    groups = cards.changed(paired((0, 1), (1, 0), (0, 0), (1, 1)))
    assert {name: [old["id"] for old, _ in found] for name, found in groups.items()} == {
        "improved": ["0"], "worse": ["1"], "unchanged, wrong": ["2"], "unchanged, right": ["3"],
    }  # fmt: skip


def test_changes_compare_the_questions_that_both_arms_answered(scene):
    samples = samples_of(scene)
    records = [record(samples[3], "<answer>before</answer>"), record(samples[4], "<answer>only once</answer>")]
    records += [record(samples[3], "<answer>after</answer>", arm="rl", correct=1.0)]
    records += [{**record(samples[3], "<answer>forced</answer>", arm="rl"), "mode": "forced"}]
    text, pictures = read(cards.changes(records, samples, "base", "rl", 3))
    assert text.index("improved: 1 of 1") < text.index("before") < text.index("after") < text.index("worse: 0 of 1")
    assert "only once" not in text and "forced" not in text and len(pictures) == 2


def test_the_draw_of_answers_is_fair_to_tasks_and_the_same_every_time(scene):
    samples = [
        Sample(id=f"{task}{i}", task=task, split="val", source="s", question="?", answer=answer)
        for task, answer, count in (("math", "1", 20), ("general", "1", 2), ("classification", ["a"], 2))
        for i in range(count)
    ]
    records = [record(sample, "x") for sample in samples]
    text, _ = read(cards.answers(records, samples, 3))
    assert all(f"{task} · open" in text for task in ("math", "general", "classification"))
    assert cards.answers(records[::-1], samples[::-1], 3) == cards.answers(records, samples, 3)


def test_verdicts_leave_empty_what_no_rule_can_judge(scene):
    sample = Sample(id="a", task="math", split="pool", source="s", question="6 * 7", answer="42")
    texts = ["<think></think><answer>42</answer>", "<answer>42</answer>"]
    text, _ = read(cards.judged(sample, texts, [rule_judge(sample, text) for text in texts]))
    assert "100100–100–ok" in text and "84100–0–no_think" in text


def test_a_by_hand_question_needs_no_picture_file():
    sample = Sample(
        id="a", task="detection", split="val", source="s", question="the dog", answer=[[0, 0, 9, 9]], image="/none.png",
        size=(64, 64),
    )  # fmt: skip
    soft = [score(sample, "<answer>[0, 0, 9, 9]</answer>", rules=Rules(detection="soft"))]
    text, pictures = read(cards.scored(sample, ["<answer>[0, 0, 9, 9]</answer>"], soft, picture=False))
    assert "cannot be shown" not in text and not pictures


def test_the_figure_of_answers_takes_the_shuffled_questions_and_any_text(scene, tmp_path):
    samples = [sample for sample in samples_of(scene, text="$\\frac{1}{") if sample.image]
    records = [record(sample, "<answer>$\\href{$</answer>") for sample in samples]
    records += [record(sample, "no tags", arm="rl", correct=1.0) for sample in samples[:4]]
    figure = before_after(records, samples, "base", "rl", count=3)
    figure.savefig(tmp_path / "drawn.png")
    shown = [(axis.get_ylabel(), axis.get_xlabel(), axis.xaxis.label.get_color()) for axis in figure.axes]
    assert (
        shown
        == [("base", "$\\href{$", RED)]
        + [("", "$\\href{$", RED)] * 2
        + [("rl", "no answer", GREEN)]
        + [("", "no answer", GREEN)] * 2
    )
    chosen = [old["id"] for old, _ in cards.answer_pairs(records, "base", "rl")][:3]
    asked = {sample.id: sample for sample in samples}
    drawn = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[:3]]
    expected = [draw_marks(read_image(scene), question_marks(asked[name], records[0])) for name in chosen]
    assert all((picture == np.asarray(image)).all() for picture, image in zip(drawn, expected))
    assert len(before_after(records, [], "base", "rl").axes) == 1  # which says that there is nothing
