"""`currreft benchmark`: requests refused at once, and where `make bench-env` ran, lmms-eval itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.cli.benchmark import benchmark, model_type_of, pixel_budget
from currreft_nb.data.scenes import compose
from currreft_nb.evaluation.evaluate import evaluate_model
from currreft_nb.evaluation.export import export_model
from currreft_nb.method import prompts
from currreft_nb.models.files import source_of
from currreft_nb.models.load import load_model, read_style, save_adapter
from currreft_nb.training.rows import sft_targets
from currreft_nb.training.settings import SftSettings
from currreft_nb.training.train import train_sft
from tests.helpers.tiny_models import write_tiny

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-bench"
POCKET = Path(source_of("pocket"))
TASK = ROOT / "tests" / "helpers" / "lmms_eval_task"
README = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
in_environment = pytest.mark.skipif(
    not (ENVIRONMENT / "bin" / "lmms-eval").is_file(), reason="lmms-eval is not installed here: make bench-env"
)
TASKS = """\
import sys
from lmms_eval import utils
from lmms_eval.tasks import TaskManager
known = TaskManager("ERROR").task_index
for name in sys.argv[1:]:
    utils.load_yaml_config(known[name]["yaml_path"], mode="full")  # imports what scores it
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environment": Path("absent")}, "make bench-env"),
        ({"folder": TASK}, "no config.json"),
        ({"tasks_folder": Path("absent")}, "holds no task file"),
        ({}, "wrote no results of 'ai2d'"),  # the Python of the tests is no environment of lmms-eval
    ],
)
def test_what_is_missing_is_named(options, message, tmp_path):
    given = {"folder": POCKET, "environment": Path(sys.prefix), "output": tmp_path} | options
    with pytest.raises(InputError, match=message):
        benchmark(given.pop("folder"), "ai2d", **given)


def test_the_model_is_asked_with_pictures_of_its_own_size(tmp_path):
    assert pixel_budget(POCKET) == (1024, 4096)
    old = tmp_path / "preprocessor_config.json"
    old.write_text(json.dumps({"min_pixels": 3136, "max_pixels": 401408}))
    assert pixel_budget(tmp_path) == (3136, 401408)
    old.write_text("{}")
    with pytest.raises(InputError, match="no pixel bounds in"):
        pixel_budget(tmp_path)


def test_the_family_is_the_one_that_the_folder_names(tmp_path):
    assert model_type_of(write_tiny("qwen3_vl", tmp_path / "tiny")) == "qwen3_vl"
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="family 'bert'"):
        model_type_of(tmp_path)


@in_environment
@pytest.mark.slow
def test_the_benchmarks_that_the_readme_names_are_known():
    named = re.findall(r"^currreft benchmark exported (\S+)", README, flags=re.M)
    assert len(named) >= 5
    variables = os.environ | {
        "OPENAI_API_KEY": "none",
        "HF_HUB_OFFLINE": "1",
    }  # some ask for a key when they are loaded
    subprocess.run([ENVIRONMENT / "bin" / "python", "-c", TASKS, *named], env=variables, check=True)


def trained(folder):
    """Return the folder of a pocket model that was trained a little, then exported."""
    loaded = load_model("pocket", trainable=True)
    drawn = [s for task in ("math", "classification") for s in compose.draw_samples(folder, task, 24, "id", 1, "train")]
    train_sft(
        loaded, sft_targets(drawn, loaded.style), folder / "run", SftSettings(prompts=48, batch_size=8, micro_batch=8)
    )
    save_adapter(loaded, folder / "run" / "adapter", "open")
    export_model(folder / "run", folder / "exported")
    return folder / "exported"


def as_lmms_eval_shows_it(sample, folder):
    """Return the sample with its picture in 56 pixels: lmms-eval first rounds sides to multiples of 28."""
    path = folder / Path(sample.image).name
    Image.open(sample.image).convert("RGB").resize((56, 56)).save(path)
    return replace(sample, image=str(path), size=(56, 56))


def agreement(records, rows):
    """Return the share of questions with the same verdict, and of those with the same text."""
    texts = [row.get("resps", row["filtered_resps"]) for row in rows]  # before the thinking was taken off, if it was
    verdicts = sum(record["correct"] == row["correct"] for record, row in zip(records, rows, strict=True))
    same = sum(record["completion"] == text for record, text in zip(records, texts, strict=True))
    return verdicts / len(rows), same / len(rows)


@in_environment
@pytest.mark.slow
def test_lmms_eval_scores_an_exported_model_as_we_do(tmp_path, monkeypatch):
    for name, value in (("HF_HUB_OFFLINE", "1"), ("HF_DATASETS_OFFLINE", "1"), ("HF_HOME", str(tmp_path / "cache"))):
        monkeypatch.setenv(name, value)
    exported, task = trained(tmp_path), shutil.copytree(TASK, tmp_path / "task")
    samples = [
        s for name in ("math", "classification") for s in compose.draw_samples(task, name, 60, "ood", 2, "test_id")
    ]
    style = read_style(str(exported))
    with (task / "rows.jsonl").open("w") as stream:
        for sample in samples:
            asked, gold = prompts.render_question(sample, style), prompts.render_answer(sample, style)
            stream.write(json.dumps({"image": sample.image, "prompt": asked, "answer": gold}) + "\n")
    options = {"tasks_folder": task, "batch_size": 8, "environment": ENVIRONMENT, "output": tmp_path / "out"}
    results, numbers = benchmark(exported, "drawn_questions", **options)
    (log,) = results.parent.glob("*samples_drawn_questions.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    (score,) = numbers.values()
    assert score == pytest.approx(sum(row["correct"] for row in rows) / len(samples)) and 0.2 < score < 0.8

    plain = {"forced": False, "max_new_tokens": 64}
    loaded = load_model(str(exported))
    ours = evaluate_model(loaded, samples, "ours", tmp_path / "ours", **plain)
    assert agreement(ours, rows)[0] >= 0.95  # float32 here and bfloat16 there, and the pictures a little blurred there
    loaded.model.bfloat16()
    (tmp_path / "small").mkdir()
    shown = [as_lmms_eval_shows_it(sample, tmp_path / "small") for sample in samples]
    theirs = evaluate_model(loaded, shown, "theirs", tmp_path / "theirs", **plain)
    verdicts, texts = agreement(theirs, rows)
    assert verdicts >= 0.99 and texts >= 0.97  # both differences taken away, nothing is left but rounding
