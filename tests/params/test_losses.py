"""The experiment on losses and sampling: every word is tried, alone, and the table says what the runs say."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from currreft_nb.running.experiment import read_experiment
from currreft_nb.training.settings import LOSSES, SCALES

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "losses.py"


def test_every_loss_and_scale_is_tried_by_the_same_seeds():
    steps = [step for step in read_experiment(ROOT / "params" / "losses.yaml").steps if "loss" in step.settings]
    assert {step.settings["loss"] for step in steps} == set(LOSSES)
    assert {step.settings["scale"] for step in steps} == set(SCALES)
    assert any(step.settings["refill"] for step in steps) and any(step.settings["passes"] > 1 for step in steps)
    assert {step.settings["detection_reward"] for step in steps} == {"hard"}
    arms = {step.name.partition("-seed-")[0] for step in steps}
    assert len(steps) == 5 * len(arms)


def test_the_table_has_means_and_intervals_of_the_seeds(tmp_path):
    arms = {"base": [0.0, 0.1, 0.2], "grpo": [0.2, 0.3, 0.4], "passes": [0.5, 0.7, 0.9]}
    runs = [
        {"seed": seed, "arm": arm, "test_id": value, "test_ood": value / 2, "prompts": 480, "steps": 60}
        | {"zero_variance": 0.5, "entropy": 0.1, "contradiction": 0.0}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    pd.DataFrame(runs).to_csv(tmp_path / "runs.csv", index=False)
    command = [sys.executable, SCRIPT, "--table", tmp_path / "runs.csv", "--output", tmp_path / "table.csv"]
    subprocess.run(command, check=True, capture_output=True)
    table = pd.read_csv(tmp_path / "table.csv").set_index("arm")
    assert list(table.index) == list(arms) and set(table["seeds"]) == {3}
    assert table.loc["passes", "test_id"] == pytest.approx(0.7) and table.loc["grpo", "test_ood"] == pytest.approx(0.15)
    # differences of .3, .4 and .5: mean .4, deviation .1, and Student's t with two degrees of freedom is 4.303
    ends = table.loc["passes", ["to_grpo_low", "to_grpo", "to_grpo_high"]]
    assert list(ends) == pytest.approx([0.4 - 4.303 * 0.1 / 3**0.5, 0.4, 0.4 + 4.303 * 0.1 / 3**0.5], abs=1e-3)
    assert len(pd.read_csv(tmp_path / "table_runs.csv")) == 9
