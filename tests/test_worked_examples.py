"""The worked examples of the README files, put into a copy of the project and run as written."""

import csv
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.drawing import COLORS, SHAPES, Scene, Thing, draw_scene
from tests.helpers.tiny_models import write_tiny_glm4v
from tests.test_readme import IN_TEST_WORKED_EXAMPLES, README, ROOT

FIVE_MINUTES, TASK, FORMAT, FAMILY = IN_TEST_WORKED_EXAMPLES
SECTIONS = {FIVE_MINUTES: "In five minutes", TASK: "Add a task", FORMAT: "Add a format", FAMILY: "Add a model family"}
QUESTIONS = 40  # rows that each source has; those that params/mine.yaml asks for, and a few more


def blocks(command):
    """Return kind, file and text of each block of the section that ends in the command."""
    section = README.split(f"### {SECTIONS[command]}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert command in section
    return re.findall(r"```(\w+)\n# (\S+)\n(.*?)```", section, flags=re.S)


def put(kind, path, text):
    """Write a block's file, or change the file as the block says."""
    if kind != "diff":
        assert not path.exists(), f"{path.name} exists already, so the example adds nothing"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    lines = text.splitlines(keepends=True)
    before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
    whole = path.read_text(encoding="utf-8")
    assert whole.count(before) == 1, f"the README's lines must occur once in {path.name}"
    path.write_text(whole.replace(before, after), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the project in which the page's data example is in place, with enough rows."""
    for name in ("notebooks", "params", "currreft_nb"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for kind, path, text in blocks(FIVE_MINUTES):
        put(kind, tmp_path / path, text)
    samples = compose.draw_samples(tmp_path / "mine", "classification", QUESTIONS, "id", 0, "train")
    rows = [(Path(s.image).relative_to(tmp_path / "mine"), s.question, *s.answer) for s in samples]
    write_table(tmp_path / "mine" / "rows.csv", rows)
    return tmp_path


def write_table(path, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "question", "answer"), *rows])


def draw_in_a_row(colors, rng):
    """Return a picture with a thing of each colour, from left to right; places differ, so that pictures do."""
    tops = [rng.randint(2, 45) for _ in colors]
    boxes = [(3 + 20 * place, top, 17 + 20 * place, top + 14) for place, top in enumerate(tops)]
    things = (Thing(color, rng.choice(SHAPES), box) for color, box in zip(colors, boxes))
    return draw_scene(Scene(tuple(things), "id"), rng)


def run(command, folder):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def posed(folder):
    """Return how many training questions a copy's curation made, by task and stage."""
    counts = {}
    for path in (folder / "outputs/mine/curate/data").glob("train-*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            counts[row["task"], row["stage"]] = counts.get((row["task"], row["stage"]), 0) + 1
    return counts


def last_step(folder, step):
    lines = (folder / "outputs/mine" / step / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])


@pytest.mark.slow
def test_own_data(copy):
    run(FIVE_MINUTES, copy)
    assert posed(copy) == {("classification", stage): 24 for stage in ("binary", "choice", "open")}
    for step in ("binary", "choice", "open"):
        assert json.loads((copy / "outputs/mine" / step / "run.json").read_text())["status"] == "complete"
        assert last_step(copy, step)["step"] == 4


REMAINING = """
shared: {model: pocket, data: outputs/mine/curate, questions: 4, max_new_tokens: 16, four_bit: true}
steps:
  - {name: start, notebook: 00_start_here, params: {steps: 1, prompts_per_step: 4, group_size: 4}}
  - {name: reject, notebook: 05_rejection_sampling, params: {start_from: outputs/mine/open, questions: 24, epochs: 1}}
  - name: evaluate
    notebook: 06_evaluation
    params:
      arms: [base, rl, reft]
      start_from: [base, outputs/mine/open, "@reject"]
      splits: [test_id]
      forced: false
      samples_per_question: 2
      pass_questions: 2
  - name: report
    notebook: 07_report
    params: {evaluations: ["@evaluate"], trainings: [outputs/mine/open, "@reject"]}
"""  # the notebooks that params/mine.yaml leaves out


@pytest.mark.slow
def test_a_task_goes_through_all_notebooks_and_export(copy):
    """A task is one module and one line: no other file stands in the way of it, from notebook 00 to a merged model."""
    (module, line) = blocks(TASK)
    assert module[:2] == ("python", "currreft_nb/tasks/order.py") and line[:2] == (
        "diff",
        "currreft_nb/core/samples.py",
    )
    assert re.findall("^[+-]", line[2], flags=re.M) == ["+"]
    for block in (module, line):
        put(block[0], copy / block[1], block[2])
    rng, rows = random.Random(0), []
    (copy / "order").mkdir()
    for number in range(QUESTIONS):
        colors = rng.sample(list(COLORS), 3)
        draw_in_a_row(colors, rng).save(copy / "order" / f"{number}.png")
        rows.append((f"{number}.png", "Which colors, from left to right?", ", ".join(colors)))
    write_table(copy / "order" / "rows.csv", rows)
    run(f"""{TASK} --set four_bit=true --set 'pool_sources=["scenes"]' --set pool_questions=24""", copy)
    assert posed(copy) == {("order", stage): 24 for stage in ("binary", "choice", "open")}
    for step in ("binary", "choice", "open"):
        assert last_step(copy, step)["accuracy/order"] >= 0
    assert any(row["reason"] in ("ok", "partial") for row in completions(copy, "open")), "no answer earned anything"
    (copy / "params/remaining.yaml").write_text(REMAINING)
    run("currreft run params/remaining.yaml", copy)
    scores = (copy / "outputs/remaining/evaluate/scores.csv").read_text()
    assert {"binary", "choice", "open"} == set(re.findall(r"^reft,natural,order,(\w+),", scores, flags=re.M))
    for path in (copy / "outputs/mine/curate/data").glob("val-*.jsonl"):
        path.unlink()  # without validation questions, the shift of a 4-bit run is measured on drawn scenes
    run("currreft export outputs/mine/open outputs/merged", copy)
    assert (copy / "outputs/merged/model.safetensors").is_file()


def completions(folder, step):
    for path in (folder / "outputs/mine" / step / "completions").glob("step-*.jsonl"):
        yield from map(json.loads, path.read_text().splitlines())


@pytest.mark.slow
def test_a_format(copy):
    for block in blocks(FORMAT):
        put(block[0], copy / block[1], block[2])
    rng = random.Random(0)
    for number in range(QUESTIONS):
        color = rng.choice(["red", "blue", "green", "yellow"])
        (copy / "pets" / color).mkdir(parents=True, exist_ok=True)
        draw_in_a_row([color], rng).save(copy / "pets" / color / f"{number}.png")
    run(FORMAT, copy)
    assert posed(copy) == {("classification", stage): 24 for stage in ("binary", "choice", "open")}


@pytest.mark.slow
def test_a_family(copy):
    for block in blocks(FAMILY):
        put(block[0], copy / block[1], block[2])
    write_tiny_glm4v(copy / "models" / "glm")
    # Random weights earn nothing: only where silent groups are not passed over is there a backward pass to look at.
    # And they end no answer, which a training of more steps than two refuses to go on with.
    passed_over = """ --only curate --only binary --set steps=2 --set 'shortcuts=["images", "prompts", "weights"]'"""
    run(FAMILY + passed_over, copy)
    assert last_step(copy, "binary")["entropy"] > 0
    config = json.loads((copy / "outputs/mine/binary/adapter/adapter_config.json").read_text())
    assert "gate_up" in config["target_modules"]
