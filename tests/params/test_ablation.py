"""The ablation's own ways of training, really run from its file, with one seed and as little of each as there can be.

The other steps train as those of params/smoke.yaml do.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_project import record

CURRREFT = Path(sys.executable).with_name("currreft")
STEPS = ("curate", "sft_medium", "distilled", "forward_binary", "rehearsed_choice", "mixed")
LEAST = {
    "steps": 1,
    "prompts_per_step": 2,
    "group_size": 4,
    "micro_batch": 8,
    "prompts": 4,
    "batch_size": 4,
    "curate.train_questions": 8,
    "curate.val_questions": 2,
    "curate.test_questions": 2,
    "curate.pool_questions": 8,
}


@pytest.mark.slow
def test_arms_that_no_other_experiment_has_are_trained(project):
    file = project / "params" / "one_seed.yaml"
    text = (project / "params" / "ablation.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("{seed: [0, 1, 2]}", "{seed: [0]}"), encoding="utf-8")
    changes = [part for name, value in LEAST.items() for part in ("--set", f"{name}={value}")]
    only = [part for name in STEPS for part in ("--only", f"{name}-seed-0")]
    done = subprocess.run([CURRREFT, "run", file, *only, *changes], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in STEPS:
        assert record(project / "outputs" / "one_seed" / f"{name}-seed-0")["status"] == "complete"
