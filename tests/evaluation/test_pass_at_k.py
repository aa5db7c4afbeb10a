"""The probe: pass@k with its chance level, the share of groups with contrast, resumed without loss."""

from dataclasses import replace

import pandas as pd
import pytest

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import Sample
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import load_questions
from currreft_nb.evaluation.pass_at_k import chance_level, probe, probe_arms

COMMON = {"split": "test_id", "source": "demo", "question": "?"}
BOX = Sample(id="d", task="detection", answer=[[0.0, 0.0, 50.0, 100.0]], image="/x/a.png", size=(100, 100), **COMMON)


def tagged(answer):
    return f"<think></think><answer>{answer}</answer>"


POSED = [
    Sample(id="b", task="math", stage="binary", claim="3", answer=True, **COMMON),
    Sample(id="c", task="math", stage="choice", options=["1", "2", "3", "4"], answer=["C"], **COMMON),
    Sample(id="o", task="math", answer="3", **COMMON),
]


@pytest.mark.parametrize(
    ("sample", "chance", "why"),
    [
        (POSED[0], 1 / 2, "yes or no"),
        (POSED[1], 1 / 4, "one of four"),
        (replace(POSED[1], answer=["A", "C"]), 1 / 6, "one of the six pairs of four options"),
        (POSED[2], 0, "a number of unknown size"),
        (replace(POSED[2], extra={"candidates": list("0123456")}), 1 / 7, "an open answer from a closed vocabulary"),
        (
            replace(POSED[2], task="classification", answer=["a", "b"], extra={"candidates": list("abcd")}),
            1 / 6,
            "one of the six pairs of four labels",
        ),
        (replace(POSED[2], options=["1", "3"], answer="B"), 1 / 2, "an open question with options of its own"),
        (BOX, 0, "boxes are not guessed"),
        (replace(BOX, extra={"candidates": [[0, 0, 9, 9]]}), 0, "boxes cannot be guessed without the image"),
    ],
)
def test_chance(sample, chance, why):
    assert chance_level(sample) == pytest.approx(chance), why


def drawn(right_of):
    """Return a sample function of eight answers each, of which `right_of[stage]` are right."""
    texts = {"binary": tagged("yes"), "choice": tagged("C"), "open": tagged("3")}
    return lambda samples: [
        [texts[s.stage]] * right_of[s.stage] + [tagged("?")] * (8 - right_of[s.stage]) for s in samples
    ]


def test_a_probe_measures_pass_at_k_with_the_chance_level(tmp_path):
    table = probe(drawn({"binary": 8, "choice": 2, "open": 0}), POSED, tmp_path, arm="base")
    cell = table.set_index(["stage", "k"])
    assert cell.loc[("binary", 1), "pass_at_k"] == 1
    assert cell.loc[("choice", 1), "pass_at_k"] == pytest.approx(1 / 4)
    assert cell.loc[("choice", 2), "pass_at_k"] == pytest.approx(1 - (6 * 5) / (8 * 7))  # both of the six wrong ones
    assert cell.loc[("choice", 2), "chance"] == pytest.approx(1 - (3 / 4) ** 2)
    assert cell.loc[("open", 8), "pass_at_k"] == 0
    # of two answers, 2 right and 6 wrong ones: 2 * 6 of the 28 pairs hold one of each
    contrast = {("binary", 8): 0, ("choice", 1): 0, ("choice", 2): 12 / 28, ("choice", 8): 1, ("open", 8): 0}
    assert {key: cell.loc[key, "contrast"] for key in contrast} == pytest.approx(contrast)
    assert set(table["questions"]) == {1} and set(table["completions"]) == {8}


def test_a_probe_goes_on_where_it_stopped(tmp_path):
    asked = []
    inner = drawn({"binary": 8, "choice": 2, "open": 0})

    def draw(samples):
        asked.extend(s.id for s in samples)
        return inner(samples)

    probe(draw, POSED[:2], tmp_path)
    probe(draw, POSED, tmp_path)
    assert asked == ["b", "c", "o"]


def test_pass_at_k_is_never_guessed_from_fewer_answers(tmp_path):
    few = lambda samples: [[tagged("yes")] * 3 for _ in samples]  # noqa: E731
    with pytest.raises(InputError, match="pass@4 cannot be estimated from 3 answers"):
        probe(few, POSED[:1], tmp_path)


def test_always_right_is_no_certainty(tmp_path):
    """Eight right answers to each of twenty questions: the interval says how few the questions were."""
    posed = [replace(POSED[0], id=f"b{i}") for i in range(20)]
    cell = probe(drawn({"binary": 8}), posed, tmp_path).set_index("k").loc[1]
    assert cell["pass_at_k"] == cell["high"] == 1 and cell["low"] == pytest.approx(0.832, abs=1e-3)


def test_a_probe_needs_references(tmp_path):
    with pytest.raises(InputError, match="no reference"):
        probe(drawn({}), [Sample(id="g", task="general", answer=None, **COMMON)], tmp_path)


def test_no_completions_no_passes():
    assert probe_arms({"base": None}, POSED, "nowhere", completions=0).empty


def refuse(*arguments, **options):
    raise AssertionError("no model was to be loaded")


def test_a_real_model_is_probed(tmp_path, monkeypatch):
    numbers = {"train_questions": 4, "val_questions": 4, "test_questions": 4, "pool_questions": 4}
    curate(tmp_path / "data", **numbers)
    samples = load_questions(tmp_path / "data", ["val"], 1)
    table = probe_arms({"base": None}, samples, tmp_path, completions=2, max_new_tokens=12, forced=True)
    assert len(table) == 2 * len(samples) and set(table["k"]) == {1, 2}
    stored = read_journal(tmp_path / "passes-base.jsonl")
    assert all("<answer>" in row["completion"] for row in stored) and len(stored) == 2 * len(samples)
    monkeypatch.setattr("currreft_nb.evaluation.arms.load_model", refuse)  # stored answers need no model
    again = probe_arms({"base": None}, samples, tmp_path, completions=2, max_new_tokens=12, forced=True)
    pd.testing.assert_frame_equal(again, table)
    with pytest.raises(InputError, match="holds answers by"):
        probe_arms({"base": None}, samples, tmp_path, completions=2, max_new_tokens=12, forced=True, seed=1)
