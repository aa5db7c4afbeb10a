"""Evaluation: one rule for every arm, decoded once, resumed without loss, and no choice by test questions."""

import json
import random
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import load_questions, load_samples
from currreft_nb.evaluation.arms import evaluate_arms
from currreft_nb.evaluation.evaluate import evaluate, headline
from currreft_nb.generation.generate import generate
from currreft_nb.metrics.scores import summarise
from currreft_nb.models.load import load_model, read_style

COMMON = {"split": "test_id", "source": "demo", "question": "?"}
SAMPLES = [Sample(id=f"m{i}", task="math", answer=str(i), **COMMON) for i in range(7)]
BOX = Sample(id="d", task="detection", answer=[[0.0, 0.0, 50.0, 100.0]], image="/x/a.png", size=(100, 100), **COMMON)


def tagged(answer):
    return f"<think></think><answer>{answer}</answer>"


class Model:
    """Answers even questions with tags and odd ones without; `stop_after` calls it is interrupted."""

    def __init__(self, stop_after=None):
        self.asked, self.forced, self.stop_after = [], [], stop_after

    def __call__(self, samples):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += [sample.id for sample in samples]
        return [tagged(s.answer) if int(s.answer) % 2 == 0 else f"<think>{s.answer}" for s in samples]

    def force(self, samples, answers):
        self.forced += [sample.id for sample in samples]
        return [f"{text}</think><answer>{s.answer}</answer>" for s, text in zip(samples, answers)]


def test_what_is_not_between_the_tags_counts_only_when_forced(tmp_path):
    model = Model()
    records = evaluate(model, SAMPLES, "base", tmp_path, force_function=model.force)
    assert [r["correct"] for r in records if r["mode"] == "natural"] == [1, 0, 1, 0, 1, 0, 1]
    assert [r["correct"] for r in records if r["mode"] == "forced"] == [1] * 7
    assert model.asked == [s.id for s in SAMPLES], "greedy decoding is done once"
    assert model.forced == ["m1", "m3", "m5"], "only what opened no answer is decoded again"


def test_a_record_has_question_answer_and_scores(tmp_path):
    generate = lambda samples: [Completion(tagged("[0, 0, 500, 1000]"), 12, True)]  # noqa: E731
    (record,) = evaluate(generate, [BOX], "rl", tmp_path, frame=Frame(kind="thousand"))
    assert record == {
        "arm": "rl", "author": "", "id": "d", "hash": record["hash"], "task": "detection", "stage": "open",
        "split": "test_id", "source": "demo", "image": "a.png", "mode": "natural",
        "completion": tagged("[0, 0, 500, 1000]"), "tokens": 12, "truncated": True,
        "correct": 1.0, "value": 1.0, "format": 1.0, "reason": "ok", "iou": 1.0, "iou_50": 1.0, "iou_75": 1.0,
        "boxes": [[0.0, 0.0, 50.0, 100.0]],
    }  # fmt: skip


def test_records_can_be_summarised(tmp_path):
    model = Model()
    summary = summarise(evaluate(model, SAMPLES, "base", tmp_path, force_function=model.force))
    means = summary.query("measure == 'correct'").set_index("mode")["mean"]
    assert means["natural"] == pytest.approx(4 / 7) and means["forced"] == 1
    assert headline(summary) == {"base, natural, test_id": 0.5714, "base, forced, test_id": 1.0}


def test_without_forcing_there_is_one_mode(tmp_path):
    assert {record["mode"] for record in evaluate(Model(), SAMPLES, "base", tmp_path)} == {"natural"}


def test_two_arms_share_a_file_and_keep_apart(tmp_path):
    first = evaluate(Model(), SAMPLES, "base", tmp_path)
    second = evaluate(lambda samples: [tagged("x")] * len(samples), SAMPLES, "rl", tmp_path)
    assert evaluate(Model(stop_after=0), SAMPLES, "base", tmp_path) == first
    assert sum(record["correct"] for record in second) == 0


def test_stopped_between_batches_only_the_rest_is_asked(tmp_path):
    first, second = Model(stop_after=3), Model()
    with pytest.raises(KeyboardInterrupt):
        evaluate(first, SAMPLES, "base", tmp_path, force_function=first.force, batch_size=3)
    records = evaluate(second, SAMPLES, "base", tmp_path, force_function=second.force, batch_size=3)
    assert first.asked + second.asked == [s.id for s in SAMPLES]
    undisturbed = Model()
    assert records == evaluate(undisturbed, SAMPLES, "base", tmp_path / "other", force_function=undisturbed.force)


def test_killed_at_any_byte_the_records_become_the_same(tmp_path):
    model = Model()
    whole = evaluate(model, SAMPLES[:3], "base", tmp_path, force_function=model.force, batch_size=2)
    path = tmp_path / "records.jsonl"
    content = path.read_bytes()
    for length in random.Random(0).sample(range(len(content)), 40):
        path.write_bytes(content[:length])
        model = Model()
        assert evaluate(model, SAMPLES[:3], "base", tmp_path, force_function=model.force, batch_size=2) == whole
        stored = [(record["id"], record["mode"]) for record in read_journal(path)]
        assert len(stored) == len(set(stored)) == 6


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([replace(SAMPLES[0], split="train")], "'m0' is of split train"),
        ([replace(SAMPLES[0], split="pool")], "'m0' is of split pool"),
        ([Sample(id="g", task="general", answer=None, **COMMON)], "'g' has no reference answer"),
        ([SAMPLES[0], SAMPLES[0]], "duplicate id 'm0'"),
    ],
)
def test_what_cannot_be_scored_stops_before_the_model_is_asked(tmp_path, samples, message):
    model = Model()
    with pytest.raises(InputError, match=message):
        evaluate(model, samples, "base", tmp_path)
    assert model.asked == []


@pytest.mark.parametrize(
    ("samples", "author", "message"),
    [
        ([replace(SAMPLES[0], question="new?")], "", "holds an answer to another question with the id 'm0'"),
        (SAMPLES, "other weights", "holds answers of arm 'base' by '', not by 'other weights'"),
    ],
)
def test_old_records_are_never_taken_for_new_ones(tmp_path, samples, author, message):
    evaluate(Model(), SAMPLES, "base", tmp_path)
    with pytest.raises(InputError, match=message):
        evaluate(Model(), samples, "base", tmp_path, author=author)


def test_a_missing_answer_is_an_error_and_no_score(tmp_path):
    with pytest.raises(InputError, match="7 questions got 6 answers"):
        evaluate(lambda samples: ["x"] * 6, SAMPLES, "base", tmp_path)
    assert not (tmp_path / "records.jsonl").exists()


def test_an_answer_that_could_not_be_had_is_asked_for_again_and_nothing_else_is(tmp_path):
    """A server may fail: that is no wrong answer, and an evaluation without it is not finished."""
    model = Model()
    fails = {"m2", "m5"}

    def ask(samples):
        return [None if sample.id in fails else answer for sample, answer in zip(samples, model(samples))]

    with pytest.raises(InputError, match="arm 'base': 2 of 7 questions could not be answered, such as 'm2'"):
        evaluate(ask, SAMPLES, "base", tmp_path, force_function=model.force, batch_size=3)
    assert model.forced == ["m1", "m3"]
    model.asked.clear()
    fails.clear()
    records = evaluate(ask, SAMPLES, "base", tmp_path, force_function=model.force, batch_size=3)
    assert model.asked == ["m2", "m5"]
    undisturbed = Model()
    assert records == evaluate(undisturbed, SAMPLES, "base", tmp_path / "other", force_function=undisturbed.force)


def refuse(*arguments, **options):
    raise AssertionError("no model was to be loaded")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    numbers = {"train_questions": 4, "val_questions": 4, "test_questions": 4, "pool_questions": 4}
    curate(folder, tasks=TASKS, **numbers)
    return folder


def test_questions_are_the_first_of_each_task_stage_and_split(data):
    samples = load_questions(data, ["test_id", "test_ood"], 2)
    cells = pd.Series([(s.split, s.stage, s.task) for s in samples]).value_counts()
    assert set(cells) == {2}
    assert ("test_ood", "open", "general") in cells.index  # what training may cost is asked, too
    whole = load_samples(data, "test_id", "open")
    first = [s for s in whole if s.task == "math"][:2]
    assert [s for s in samples if (s.split, s.stage, s.task) == ("test_id", "open", "math")] == first


def test_a_real_model_is_scored_by_its_own_answers_and_loaded_once(data, tmp_path, monkeypatch):
    samples = load_questions(data, ["test_id"], 2)
    options = {"max_new_tokens": 16, "batch_size": 8}
    records = evaluate_arms({"base": None}, samples, tmp_path, **options)
    assert [(r["id"], r["mode"]) for r in records] == [(s.id, m) for m in ("natural", "forced") for s in samples]
    loaded = load_model("pocket")
    alone = [generate(loaded, [sample], max_new_tokens=16)[0][0].text for sample in samples[:4]]
    assert [record["completion"] for record in records[:4]] == alone
    assert all("<answer>" in record["completion"] for record in records if record["mode"] == "forced")
    assert loaded.base_hash in records[0]["author"]
    monkeypatch.setattr("currreft_nb.evaluation.arms.load_model", refuse)  # stored answers need no model
    assert evaluate_arms({"base": None}, samples, tmp_path, **options) == records


def test_the_style_of_a_model_is_known_without_its_weights():
    assert read_style("pocket") == load_model("pocket").style


def test_an_adapter_of_another_base_stops_before_any_model_is_loaded(data, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file({"lora_A": torch.zeros(1)}, adapter / "adapter_model.safetensors")
    (adapter / "currreft.json").write_text(json.dumps({"base": "other", "base_hash": "0" * 16}))
    monkeypatch.setattr("currreft_nb.evaluation.arms.load_model", refuse)
    with pytest.raises(InputError, match="was made for the base model 'other'"):
        evaluate_arms({"base": None, "rl": adapter}, load_questions(data, ["test_id"], 1), tmp_path)
