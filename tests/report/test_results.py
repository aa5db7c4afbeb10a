"""The results for programs: the same numbers in both files, every column explained, nothing that JSON does not know."""

import json

import pandas as pd
import pytest

from currreft_nb.report.results import COLUMNS, write_results


def test_both_files_hold_the_same_scores_and_json_explains_them(tmp_path):
    cell = {"arm": 'a, "b" · ü', "mode": "natural", "task": "math", "stage": "open", "split": "test_id"}
    scores = pd.DataFrame([cell | {"measure": "correct", "n": 3, "mean": 1 / 3, "low": float("nan"), "high": 0.9}])
    run = {"notebook": "04_rl_open", "fingerprint": "c0", "settings": {"seed": 3}, "metrics": {"tokens": 7}, "id": "x"}
    further = pd.DataFrame([{"p": float("nan"), "seeds": [1.0, 2.0], "note": "few"}])
    write_results(tmp_path, scores, {"rl": run}, experiment="mine", title="T", tables={"comparisons": further})
    table = pd.read_csv(tmp_path / "results.csv")
    whole = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    (row,) = whole["scores"]
    assert row["low"] is None and row["mean"] == table["mean"][0] == 1 / 3 and row["arm"] == table["arm"][0]
    assert list(table.columns) == list(row) == list(whole["columns"])
    assert set(whole["columns"]) <= set(COLUMNS) and all(whole["columns"].values())
    assert whole["comparisons"] == [{"p": None, "seeds": [1.0, 2.0], "note": "few"}]
    assert whole["runs"]["rl"]["metrics"] == {"tokens": 7}
    assert whole["runs"]["rl"]["settings"] == {"seed": 3} and whole["runs"]["rl"]["commit"] is None
    assert (whole["title"], whole["scores"][0]["experiment"]) == ("T", "mine")
    assert not list(tmp_path.glob("*.partial"))
