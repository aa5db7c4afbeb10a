"""Figures over seeds, and the rule by which tests/benchmarks/pocket_learning.py calls a gain real."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from currreft_nb.core.samples import TRAINED_TASKS
from currreft_nb.views import score_plots

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "pocket_learning.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("pocket_learning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(gains):
    """Return rows of results.csv for an arm that gains `gains[seed]` over the base in every cell."""
    rows = []
    for seed, gain in enumerate(gains):
        for task in TRAINED_TASKS:
            for split in ("test_id", "test_ood"):
                cell = {"task": task, "split": split, "stage": "open", "measure": "correct", "n": 100, "seed": seed}
                rows.append({"arm": "base", "mode": "forced", "mean": 0.4, **cell})
                rows.append({"arm": "rl", "mode": "natural", "mean": 0.4 + gain, **cell})
    return pd.DataFrame(rows)


RULE = [
    ([0.1, 0.2, 0.1, 0.2, 0.15], True, "every seed gains"),
    ([0.5, 0.0, -0.1, 0.6, -0.2], False, "the mean is above zero, its interval is not"),
    ([-0.1, -0.2, -0.1, -0.2, -0.1], False, "every seed loses"),
]


@pytest.mark.parametrize("gains, real, why", RULE, ids=[case[-1] for case in RULE])
def test_a_gain_is_real_where_its_interval_lies_above_zero(study, gains, real, why):
    rows = study.differences(results(gains), ("rl", "natural"), ("base", "forced"))
    assert len(rows) == 6 and rows["mean"].iloc[0] == pytest.approx(sum(gains) / 5)
    assert (
        (rows["low"] > 0).all() == real and (rows["low"] < rows["mean"]).all() and (rows["mean"] < rows["high"]).all()
    )
    assert study.claims(rows) == real


def test_a_claim_needs_both_splits_of_two_tasks(study):
    rows = study.differences(results([0.1, 0.2, 0.1, 0.2, 0.15]), ("rl", "natural"), ("base", "forced"))
    rows.loc[rows["task"] == "math", "low"] = -0.1
    assert study.claims(rows)
    rows.loc[(rows["task"] == "detection") & (rows["split"] == "test_ood"), "low"] = -0.1
    assert not study.claims(rows)


def test_the_figure_shows_every_seed_and_the_zero_line(study):
    rows = study.differences(results([0.1, 0.2, 0.3]), ("rl", "natural"), ("base", "forced"))
    figure = score_plots.gains(rows)
    assert len(figure.axes) == 6
    dots = figure.axes[0].lines[1].get_xdata()
    assert sorted(dots) == pytest.approx([0.1, 0.2, 0.3])
    assert "3 seeds" in figure._supxlabel.get_text()
