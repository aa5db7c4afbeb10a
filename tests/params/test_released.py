"""params/eval_released.yaml as a sceptic runs it: official rows, a base and a merged checkpoint, one command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from currreft_nb.data.formats import curr_reft
from currreft_nb.data.scenes import compose
from currreft_nb.evaluation.export import export_model
from currreft_nb.memory.shapes import shape_of
from currreft_nb.models.load import load_model, save_adapter
from currreft_nb.running.experiment import read_experiment
from tests.helpers.pictures import photograph
from tests.models.test_load import randomise_adapter

BIN = Path(sys.executable).parent
FILE = Path(__file__).parents[2] / "params" / "eval_released.yaml"
COUNTING = "test/superclever/superclevr_test200_counting_problems.jsonl"
COUNT = 5  # rows in each file


def official(root, name, task, seed):
    """Write drawn questions as official rows, pictures in the folder that the documentation names."""
    drawn = compose.draw_samples(root / "images" / task, task, COUNT, "id", seed, "train")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    curr_reft.write(path, drawn, root / "images")


def refgta(root):
    """Write rows of a JSON array with one box in three frames; the picture is the copy shrunk by 2.2."""
    rows = []
    for n in range(COUNT):
        (root / "images" / "gta").mkdir(parents=True, exist_ok=True)
        photograph(n, (872, 490)).save(root / "images" / "gta" / f"{n}.jpg")
        box = [220 + 110 * n, 330, 440 + 110 * n, 770]
        rows.append(
            {
                "image": f"gta/{n}.jpg",
                "problem": "Please provide the bounding box coordinate of the region this sentence describes: "
                f"a man in black, number {n}.",
                "solution": box,
                "normalized_solution": [box[0] / 1920, box[1] / 1080, box[2] / 1920, box[3] / 1080],
                "resize_solution": [value / 2.2 for value in box],
            }
        )
    (root / "test" / "Refgta").mkdir(parents=True)
    (root / "test" / "Refgta" / "refgta_subsample_resize.json").write_text(json.dumps(rows))


def counting(root):
    """Write counting rows: the published ones where they are at hand, pictures of the first under their names."""
    published = Path(os.environ.get("CURRREFT_DATA", "")) / "curr_reft_official" / Path(COUNTING).name
    rows = [
        {"image": f"/elsewhere/superCLEVR_new_{n}.png", "problem": "How many different items are there?", "solution": n}
        for n in range(3, 3 + COUNT)
    ]
    text = published.read_text() if published.is_file() else "".join(json.dumps(row) + "\n" for row in rows)
    (root / COUNTING).parent.mkdir(parents=True)
    (root / COUNTING).write_text(text)
    for n, line in enumerate(text.splitlines()[:COUNT]):
        photograph(100 + n, (96, 64)).save(root / "images" / Path(json.loads(line)["image"]).name)
    return len(text.splitlines())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("official") / "grpo_data"
    official(root, "train/open/coco_3k_2task/detection_coco_test.jsonl", "detection", 1)
    official(root, "train/open/coco_3k_2task/classify_v2_coco_test.jsonl", "classification", 2)
    official(root, "train/open/openr1_8k/math_math_test.jsonl", "math", 3)
    official(root, "test/pascal/classify_pascal_voc_test.jsonl", "classification", 4)
    refgta(root)
    counting(root)
    return root.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a merged folder, as a released checkpoint is one."""
    folder = tmp_path_factory.mktemp("released")
    loaded = load_model("pocket", trainable=True)
    randomise_adapter(loaded)
    export_model(save_adapter(loaded, folder / "adapter", "open"), folder / "merged")
    return folder / "merged"


@pytest.mark.slow
def test_one_command_scores_checkpoints_and_bases_on_official_files(project, data, checkpoint):
    changes = {
        "curate.data_root": data,
        "evaluate_3b.model": "pocket",
        "evaluate_3b.start_from": f'[base, "model:{checkpoint}"]',
        "evaluate_7b.model": "pocket-clean",
        "evaluate_7b.start_from": f'[base, "model:{checkpoint}"]',
        "max_pixels": 4096,  # what the pocket model sees
        "max_new_tokens": 16,
        "questions": 3,
        "batch_size": 32,
    }
    command = [BIN / "currreft", "run", "params/eval_released.yaml"]
    command += [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=os.environ.copy())
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    assert "report: outputs/eval_released/report.html" in text
    outputs = project / "outputs" / "eval_released"
    curated = json.loads((outputs / "curate" / "run.json").read_text())["metrics"]
    cells = {"detection": COUNT, "classification": COUNT, "math": COUNT}
    for split in ("test_id", "test_ood"):
        assert curated["questions"][split]["open"] == cells, split
    assert set(curated["questions"]) == {"test_id", "test_ood"}
    for step in ("evaluate_3b", "evaluate_7b"):
        scores = pd.read_csv(outputs / step / "scores.csv")
        found = scores[(scores["measure"] == "correct") & (scores["stage"] == "open")]
        assert set(found["n"]) == {3} and len(found) == 2 * 2 * 2 * 3  # arms, modes, splits, tasks
    authors = {
        json.loads(line)["author"] for line in (outputs / "evaluate_3b" / "records.jsonl").read_text().splitlines()
    }
    assert len(authors) == 2 and sum("merged" in author for author in authors) == 1


def test_the_weights_that_the_file_states_are_those_of_the_shapes():
    stated = re.search(r"weights alone take ([\d.]+) GiB \(3B\) and ([\d.]+) GiB \(7B\)", FILE.read_text())
    found = [shape_of(f"Qwen/Qwen2.5-VL-{size}-Instruct").weights * 2 / 2**30 for size in ("3B", "7B")]
    assert list(stated.groups()) == [f"{gib:.1f}" for gib in found]


def test_pairs_differ_in_nothing_but_the_weights():
    small, large = (step.settings for step in read_experiment(FILE).steps if "arms" in step.settings)
    different = {name for name in small if small[name] != large[name]} - {"output"}
    assert different == {"model", "start_from"}


def test_the_changes_that_its_head_names_are_possible():
    head = FILE.read_text().split("\nshared:")[0]
    changes = [found.strip("'") for found in re.findall(r"--set ('[^']+'|\S+[\w\]])", head)]
    assert len(changes) == 5 and read_experiment(FILE, changes).steps


def test_every_value_that_all_share_is_explained():
    shared = FILE.read_text().split("\nshared:\n")[1].split("\nsteps:")[0]
    bare = [line for line in shared.splitlines() if not re.search(r"  # \S", line)]
    assert bare == ['  data: "@curate"', "  seed: 0"]
