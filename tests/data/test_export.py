"""Exports: other readers open the files and find the same content."""

import json
from collections import Counter

import pytest
from PIL import Image

from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import STAGES
from currreft_nb.data.curate import curate
from currreft_nb.data.export import export_official, export_parquet
from currreft_nb.data.folder import load_samples
from currreft_nb.data.formats import curr_reft
from currreft_nb.method import rewards
from currreft_nb.method.prompts import Style, render_question, target
from currreft_nb.training.rows import grpo_dataset
from tests.helpers.pictures import NO_DRAWN, contents, voc_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a data folder with boxes and labels of resized photographs, and drawn general questions."""
    root = tmp_path_factory.mktemp("export")
    source = voc_set(root / "voc", 6)
    labels = voc_set(root / "more", 6, shade=50, name="q", labels=("cow", "sheep", "horse"))
    numbers = {"train_questions": 6, "val_questions": 0, "test_questions": 0, "pool_questions": 3}
    settings = {"tasks": ["detection", "classification"], "max_pixels": 2000}
    sources = {"train_sources": [source, labels], "pool_sources": ["scenes"]}
    curate(root / "data", **(NO_DRAWN | sources), **numbers, **settings)
    return root / "data"


def values(sample):
    return sample.task, sample.stage, sample.question, sample.answer, sample.claim, sample.options, sample.size


def test_official_rows_read_back_say_the_same(folder, tmp_path):
    counts = export_official(folder, tmp_path)
    assert counts == {"written": 36, "the format has no general questions": 3}
    for stage in STAGES:
        path = tmp_path / f"train-{stage}.jsonl"
        row = json.loads(path.read_text().splitlines()[0])
        assert set(row) == {"image", "task", "problem", "solution"} and row["solution"].startswith("<answer>")
        read = list(curr_reft.read(path, images=folder))
        assert [values(sample) for sample in read] == [values(s) for s in load_samples(folder, "train", stage)]


def test_parquet_opens_with_its_pictures(folder, tmp_path):
    import datasets

    assert export_parquet(folder, tmp_path / "a") == {"written": 39}
    export_parquet(folder, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    file = str(tmp_path / "a" / "train-choice.parquet")
    rows = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
    samples = load_samples(folder, "train", "choice")
    assert len(rows) == len(samples)
    for row, sample in zip(rows, samples):
        assert (row["id"], json.loads(row["answer"]), tuple(row["size"])) == (sample.id, sample.answer, sample.size)
        with Image.open(sample.image) as image:
            assert row["image"].tobytes() == image.tobytes()
    text = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "a" / "pool-open.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert [row["image"] is None for row in text] == [s.image is None for s in load_samples(folder, "pool", "open")]


@pytest.mark.parametrize("stage", STAGES)
def test_the_data_set_asks_and_pays_as_the_samples_say(folder, stage):
    style = Style(frame=Frame(kind="thousand"))
    samples = load_samples(folder, "train", stage)
    rows = grpo_dataset(folder, "train", stage, style)
    assert Counter(rows["task"]) == Counter(sample.task for sample in samples)
    for row, sample in zip(rows, samples):
        parts = row["prompt"][0]["content"]
        assert [part["type"] for part in parts] == ["image", "text"] and parts[1]["text"] == render_question(
            sample, style
        )
        assert row["images"][0].size == sample.size
    columns = {name: rows[name] for name in ("task", "stage", "answer", "claim", "options", "size", "extra")}
    ideal = [target(sample, style) for sample in samples]
    assert rewards.accuracy_reward(ideal, **columns, frame=style.frame) == [1.0] * len(samples)


def test_a_question_in_words_has_no_picture(folder):
    rows = grpo_dataset(folder, "pool", "open", Style())
    assert [len(row["images"]) for row in rows] == [
        int(s.image is not None) for s in load_samples(folder, "pool", "open")
    ]
