"""The ablation, really run from its file, with one seed and as little of everything as there can be."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

CURRREFT = Path(sys.executable).with_name("currreft")
LEAST = {
    "steps": 1,
    "prompts_per_step": 2,
    "group_size": 4,
    "micro_batch": 8,
    "prompts": 4,
    "batch_size": 4,
    "questions": 2,
    "epochs": 1,
    "curate.train_questions": 8,
    "curate.val_questions": 2,
    "curate.test_questions": 2,
    "curate.pool_questions": 8,
}


@pytest.mark.slow
def test_every_arm_and_order_comes_to_a_report(project):
    file = project / "params" / "one_seed.yaml"
    text = (project / "params" / "ablation.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("{seed: [0, 1, 2]}", "{seed: [0]}"), encoding="utf-8")
    changes = [part for name, value in LEAST.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run([CURRREFT, "run", file, *changes], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = project / "outputs" / "one_seed"
    assert (folder / "report.html").is_file()
    scores = pd.read_csv(folder / "evaluate-seed-0" / "scores.csv")
    settings = json.loads((folder / "evaluate-seed-0" / "run.json").read_text())["settings"]
    assert set(scores["arm"]) == set(settings["arms"])
