"""All arms side by side, each with real parts: models of two families, adapters, files, a server; and a SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import TASKS
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import load_questions, load_samples
from currreft_nb.evaluation.arms import answerer_of, choose_arms, evaluate_arms
from currreft_nb.evaluation.export import export_model
from currreft_nb.evaluation.pass_at_k import probe_arms
from currreft_nb.evaluation.settings import Decoding
from currreft_nb.evaluation.sources import AnswerSource, read_source
from currreft_nb.generation.generate import generate
from currreft_nb.method.prompts import Style, render_answer
from currreft_nb.models.families import FAMILIES
from currreft_nb.models.load import load_model, save_adapter
from currreft_nb.training.settings import GrpoSettings
from currreft_nb.training.train import train_grpo
from tests.helpers.scripted_server import KEY, say, serving, text_of
from tests.helpers.tiny_models import write_tiny
from tests.models.test_load import randomise_adapter

SHORT = {"max_new_tokens": 16, "batch_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    numbers = {"train_questions": 4, "val_questions": 4, "test_questions": 4, "pool_questions": 4}
    curate(folder, tasks=TASKS, **numbers)
    return folder


@pytest.fixture(scope="module")
def samples(data):
    return load_questions(data, ["test_id", "test_ood"], 2)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """Return the folder of an adapter on the pocket model that changes what it says."""
    folder = tmp_path_factory.mktemp("run") / "adapter"
    loaded = load_model("pocket", trainable=True)
    randomise_adapter(loaded)
    return save_adapter(loaded, folder, "open")


@pytest.fixture(scope="module")
def other_family(tmp_path_factory):
    """Return a tiny Qwen3-VL with random weights, which writes boxes from 0 to 1000."""
    return write_tiny("qwen3_vl", tmp_path_factory.mktemp("tiny"))


def completions(records, mode="natural"):
    return {record["id"]: record["completion"] for record in records if record["mode"] == mode}


def write_answers(path, answers):
    rows = [{"id": name, "completion": text} for name, text in answers.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return f"recorded:{path}"


def test_a_merged_folder_answers_as_its_adapter_does(samples, adapter, tmp_path):
    export_model(adapter, tmp_path / "merged")
    merged = read_source(f"model:{tmp_path / 'merged'}")
    arms = {"base": None, "attached": adapter, "merged": merged}
    records = evaluate_arms(arms, samples, tmp_path, **SHORT)
    said = {arm: completions(r for r in records if r["arm"] == arm) for arm in arms}
    assert said["attached"] != said["base"], "the adapter changes nothing, so this test shows nothing"
    same = sum(said["attached"][name] == said["merged"][name] for name in said["attached"])
    assert same >= 0.9 * len(samples), "weights merged in 16 bit may tip a token now and then, not more"
    authors = {record["arm"]: record["author"] for record in records}
    assert len(set(authors.values())) == 3 and authors["merged"].endswith(authors["attached"].split()[1])
    assert {record["mode"] for record in records if record["arm"] == "merged"} == {"natural", "forced"}


def test_a_model_of_another_family_is_asked_in_its_own_style(samples, other_family, tmp_path):
    source = read_source(f"model:{other_family} | max_pixels 4096")
    records = evaluate_arms({"base": None, "other": source}, samples, tmp_path, **SHORT)
    said = completions(record for record in records if record["arm"] == "other")
    loaded = load_model(str(other_family), max_pixels=4096)
    assert loaded.style.wording == "full" and loaded.style.frame.kind == "thousand"
    alone = [generate(loaded, [sample], max_new_tokens=16)[0][0].text for sample in samples]
    assert [said[sample.id] for sample in samples] == alone


def test_a_right_box_counts_in_the_frame_of_its_answerer(data, tmp_path):
    """The same boxes as Qwen3-VL and as Qwen2.5-VL write them, and in pixels of the stored picture."""
    boxes = [s for s in load_samples(data, "test_id", "open") if s.task == "detection"]
    right = {"pixels": {s.id: f"<think></think><answer>{json.dumps(list(s.answer[0]))}</answer>" for s in boxes}}
    for family in ("qwen3_vl", "qwen2_5_vl"):
        style = Style(frame=FAMILIES[family].frame)
        right[family] = {s.id: f"<think></think><answer>{render_answer(s, style)}</answer>" for s in boxes}
    assert right["qwen3_vl"] != right["qwen2_5_vl"]
    for name, answers in right.items():
        text = write_answers(tmp_path / f"{name}.jsonl", answers)
        own = {"like": "" if name == "pixels" else f" | like {name}", "wrong": " | like qwen3_vl" * (name == "pixels")}
        for how, option in own.items():
            records = evaluate_arms({how: read_source(text + option)}, boxes, tmp_path / name)
            share = sum(record["correct"] for record in records) / len(records)
            assert (share == 1) == (how == "like"), f"{name} read {how}"


def test_recorded_answers_have_natural_records_only_and_are_distinguished(samples, tmp_path, capsys):
    model = evaluate_arms({"base": None}, samples, tmp_path / "model", **SHORT)
    text = write_answers(tmp_path / "a.jsonl", completions(model))
    source = read_source(f"{text} | like pocket")
    records = evaluate_arms({"file": source}, samples, tmp_path)
    assert {record["mode"] for record in records} == {"natural"}
    assert "file: the format of its answers cannot be forced" in capsys.readouterr().out
    scores = {record["id"]: record["correct"] for record in model if record["mode"] == "natural"}
    assert {record["id"]: record["correct"] for record in records} == scores
    write_answers(tmp_path / "a.jsonl", dict.fromkeys(completions(model), "changed"))
    with pytest.raises(InputError, match="holds answers of arm 'file' by"):
        evaluate_arms({"file": source}, samples, tmp_path)


def test_all_arms_are_checked_before_the_first_model_is_loaded(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "currreft_nb.evaluation.arms.load_model", lambda *a, **o: pytest.fail("no model was to be loaded")
    )
    text = write_answers(tmp_path / "a.jsonl", {samples[0].id: "x"})
    with pytest.raises(InputError, match="has no answer to"):
        evaluate_arms({"base": None, "file": read_source(text)}, samples, tmp_path)
    with pytest.raises(InputError, match="neither a local folder nor a name on the Hugging Face hub"):
        evaluate_arms({"base": None, "other": read_source("model:nowhere")}, samples, tmp_path)


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"max_new_tokens": 0}, {"batch_size": 0}])
def test_decoding_that_cannot_be_is_refused(samples, tmp_path, options):
    with pytest.raises(InputError, match="must be at least"):
        evaluate_arms({"base": None}, samples, tmp_path, **options)


def test_sampled_answers_are_those_of_their_seed(samples, tmp_path):
    def sampled(folder, seed, arms=None):
        options = SHORT | {"temperature": 1.0, "seed": seed, "forced": False}
        return evaluate_arms(arms or {"base": None}, samples, tmp_path / folder, **options)

    first, again, other = sampled("1", 0), sampled("2", 0), sampled("3", 1)
    assert first == again and completions(first) != completions(other)
    assert first[0]["author"].endswith("T=1.0 seed 0")
    with pytest.raises(InputError, match="holds answers of arm"):
        sampled("1", 1)


def test_an_adapter_is_evaluated_at_the_pixel_budget_that_it_was_trained_with(samples, adapter, tmp_path):
    with pytest.raises(InputError, match=r"rl was trained with max_pixels 4096 but would be evaluated with 8192.*set"):
        evaluate_arms({"rl": adapter}, samples, tmp_path, max_pixels=8192)
    export_model(adapter, tmp_path / "merged")
    merged = read_source(f"model:{tmp_path / 'merged'}")
    with pytest.raises(InputError, match="trained with max_pixels 4096"):
        answerer_of(merged, max_pixels=8192)
    assert answerer_of(merged).frame.max_pixels == 4096
    on_purpose = read_source(f"model:{tmp_path / 'merged'} | max_pixels 8192")
    assert answerer_of(on_purpose).frame.max_pixels == 8192


def test_another_precision_than_that_of_the_training_is_printed(adapter, capsys):
    answerer_of(adapter, arm="rl", four_bit=True)
    assert "rl was trained in 16 bit and is evaluated in 4 bit" in capsys.readouterr().out
    answerer_of(adapter, arm="rl")
    assert capsys.readouterr().out == ""


def test_a_checkpoint_of_a_training_can_be_an_arm(data, tmp_path):
    """Checkpoints hold PEFT's files and no card of ours; the file on their origin is next to them."""
    small = {"prompts_per_step": 4, "group_size": 4, "micro_batch": 16, "max_new_tokens": 16, "temperature": 1.3}
    settings = GrpoSettings(steps=2, save_every=1, beta=0.04, learning_rate=0.01, **small)
    run = tmp_path / "run"
    train_grpo(load_model("pocket", trainable=True), load_samples(data, "train", "binary"), run, settings)
    samples = load_questions(data, ["val"], 2)
    arms = {f"step_{n}": run / "checkpoints" / f"checkpoint-{n}" for n in (1, 2)} | {"end": run / "adapter"}
    records = evaluate_arms(arms, samples, tmp_path, **SHORT, forced=False)
    said = {arm: completions(r for r in records if r["arm"] == arm) for arm in arms}
    assert said["step_2"] == said["end"]
    assert len({record["author"] for record in records}) == 2  # the last checkpoint is the adapter
    with pytest.raises(InputError, match="would be evaluated with 8192"):
        answerer_of(arms["step_1"], max_pixels=8192)


def test_one_of_several_is_chosen_by_validation_and_tested_alone(data, adapter, tmp_path):
    arms = {
        "base": read_source("base"),
        "one": AnswerSource(kind="run", place=str(adapter)),
        "two": AnswerSource(kind="model", place="pocket-clean"),
    }
    tested, choice = choose_arms(arms, ["one", "two"], tmp_path / "choice", data, 2, **SHORT)
    assert list(tested) == ["base", "two"] and choice["chosen"] == "two"
    stored = read_journal(tmp_path / "choice" / "records.jsonl")
    assert {record["split"] for record in stored} == {"val"} and {record["arm"] for record in stored} == {"one", "two"}
    cells = {}
    for record in stored:
        if record["arm"] == "two":
            cells.setdefault((record["task"], record["stage"]), []).append(record["correct"])
    mean = sum(sum(cell) / len(cell) for cell in cells.values()) / len(cells)
    scores = choice["scores"]
    assert scores["two"] == pytest.approx(mean, abs=1e-6) and scores["two"] > scores["one"]
    assert choice["questions"] == len(stored) / 2
    assert choose_arms(arms, [], tmp_path, data, 2) == (arms, {})


def test_an_endpoint_is_asked_and_scored_like_a_model(samples, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_KEY", KEY)
    accounts = []
    with serving(lambda asked, n: say("<think></think><answer>yes</answer>")) as server:
        source = read_source(f"http:m@{server.url} | key MY_KEY, concurrency 2, dollars_in 10, like qwen3_vl")
        records = evaluate_arms({"far": source}, samples, tmp_path, max_new_tokens=9, accounts=accounts)
        assert len(server.requests) == len(samples)
        assert {r["key"] for r in server.requests} == {f"Bearer {KEY}"}
        assert {(r["temperature"], r["max_completion_tokens"]) for r in server.requests} == {(0.0, 9)}
        assert all("inside <answer></answer>" in text_of(r) for r in server.requests), "the wording of a real model"
        again = evaluate_arms({"far": source}, samples, tmp_path, max_new_tokens=9, accounts=accounts)
        assert again == records and len(server.requests) == len(samples)
    binary = [r for r in records if r["stage"] == "binary"]
    truths = {sample.id: sample.answer for sample in samples}
    assert [r["correct"] == 1 for r in binary] == [truths[r["id"]] is True for r in binary]
    assert {r["mode"] for r in records} == {"natural"} and {r["tokens"] for r in records} == {20}
    assert sum(account.answers for account in accounts) == len(samples) and sum(a.dollars for a in accounts) > 0
    assert KEY not in (tmp_path / "records.jsonl").read_text() + capsys.readouterr().out


def test_questions_that_an_endpoint_left_open_are_no_wrong_answers(samples, tmp_path):
    def script(asked, number):
        return say(status=400) if number == 3 else say("<answer>yes</answer>")

    with serving(script) as server:
        source = read_source(f"http:m@{server.url} | concurrency 1")
        with pytest.raises(InputError, match=r"1 of .* questions could not be answered"):
            evaluate_arms({"far": source}, samples, tmp_path)
        assert len(evaluate_arms({"far": source}, samples, tmp_path)) == len(samples)
        assert len(server.requests) == len(samples) + 1


def test_a_key_that_is_missing_is_reported_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="needs a key; set the environment variable OPENAI_API_KEY"):
        answerer_of(read_source("http:gpt-4o@https://api.openai.com/v1"))


def test_files_have_no_passes_and_endpoints_have(samples, tmp_path, capsys):
    text = write_answers(tmp_path / "a.jsonl", {"x": "y"})
    with serving(lambda asked, n: say("<think></think><answer>yes</answer>")) as server:
        arms = {"file": read_source(text), "far": read_source(f"http:m@{server.url}")}
        table = probe_arms(arms, samples[:4], tmp_path, completions=2)
    assert set(table["arm"]) == {"far"} and len(server.requests) == 8
    assert "file: a file of answers cannot be sampled" in capsys.readouterr().out
    with pytest.raises(InputError, match="the format cannot be forced"):
        answerer_of(arms["far"]).open(Decoding(), 2, True)


SCRIPT = """
import sys
from currreft_nb.data.folder import load_questions
from currreft_nb.evaluation.arms import evaluate_arms
from currreft_nb.evaluation.sources import read_source
samples = load_questions(sys.argv[1], ["val", "test_id", "test_ood"], 10)
arms = {"base": None, "clean": read_source("model:pocket-clean")}
evaluate_arms(arms, samples, sys.argv[2], max_new_tokens=16, batch_size=64)
"""


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on_to_the_same_records(tmp_path):
    data = tmp_path / "data"
    numbers = {"train_questions": 4, "val_questions": 10, "test_questions": 10, "pool_questions": 4}
    curate(data, tasks=TASKS, **numbers)

    def command(folder):
        return [sys.executable, "-c", SCRIPT, str(data), str(tmp_path / folder)]

    killed = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
    path, deadline = tmp_path / "killed" / "records.jsonl", time.monotonic() + 300
    while not path.exists():
        assert killed.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = path.read_text().splitlines()
    subprocess.run(command("killed"), check=True, capture_output=True)
    subprocess.run(command("undisturbed"), check=True, capture_output=True)
    after = path.read_text().splitlines()
    whole = (tmp_path / "undisturbed" / "records.jsonl").read_text().splitlines()
    assert 0 < len(before) < len(whole), "it was killed in the middle"
    assert after[: len(before)] == before, "what was there is not asked again"
    assert sorted(after) == sorted(whole)
