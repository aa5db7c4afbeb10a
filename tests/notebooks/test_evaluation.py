"""Notebook 06 with an arm of every kind, one of them chosen by validation, killed in the middle and run again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import read_samples
from tests.helpers.scripted_server import KEY, say, serving

BIN = Path(sys.executable).parent
EXPERIMENT = """
shared: {{model: pocket, data: "@curate"}}
steps:
  - name: curate
    notebook: 01_data_curation
    params: {{train_questions: 12, val_questions: 2, test_questions: 2, pool_questions: 2}}
  - name: rl
    notebook: 02_rl_binary
    params: {{start_from: base, steps: 2, save_every: 1, prompts_per_step: 4, group_size: 4, validation_questions: 1}}
  - name: evaluate
    notebook: 06_evaluation
    params:
      arms: [base, step_1, step_2, clean, file, far]
      start_from:
        - base
        - "@rl/checkpoints/checkpoint-1"
        - "@rl"
        - model:pocket-clean
        - "recorded:answers/theirs.jsonl | like pocket"
        - "http:m@{url} | key MY_KEY, concurrency 2, dollars_in 10"
      choose_among: [step_1, step_2]
      questions: 2
      samples_per_question: 2
      pass_questions: 1
"""
RIGHT = "<think></think><answer>yes</answer>"


def currreft(project, *arguments):
    environment = os.environ | {"MY_KEY": KEY}
    command = [BIN / "currreft", "run", "params/arms.yaml", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_arms_of_every_kind_are_scored_alike_and_a_killed_run_goes_on(project):
    with serving(lambda asked, n: say(RIGHT)) as server:
        (project / "params" / "arms.yaml").write_text(EXPERIMENT.format(url=server.url))
        code, text = currreft(project, "--only", "curate")
        assert code == 1 and "answers/theirs.jsonl does not exist" in text  # reported before the first kernel
        outputs = project / "outputs" / "arms"
        theirs = project / "answers" / "theirs.jsonl"
        theirs.parent.mkdir()
        theirs.write_text("{}\n")
        code, text = currreft(project, "--only", "curate")
        assert code == 0, text[-3000:]
        files = [path for path in (outputs / "curate" / "data").glob("test_*.jsonl") if "-" in path.name]
        samples = [sample for path in files for sample in read_samples(path)]
        rows = [{"id": sample.id, "completion": RIGHT} for sample in samples]
        theirs.write_text("".join(json.dumps(row) + "\n" for row in rows))

        command = [str(BIN / "currreft"), "run", "params/arms.yaml"]
        first = subprocess.Popen(
            command, cwd=project, env=os.environ | {"MY_KEY": KEY}, stdout=subprocess.DEVNULL, start_new_session=True
        )
        path, deadline = outputs / "evaluate" / "records.jsonl", time.monotonic() + 400
        while not path.exists():
            assert first.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        before = [json.loads(line) for line in path.read_text().splitlines()]
        code, text = currreft(project)
        assert code == 0, text[-3000:]
        assert len(server.requests) == len(samples) + 2 * 9  # each question once, and pass@2
        assert {request["key"] for request in server.requests} == {f"Bearer {KEY}"}

    records = read_journal(path)
    assert records[: len(before)] == before, "stored answers are not asked again"
    metrics = json.loads((outputs / "evaluate" / "run.json").read_text())["metrics"]
    chosen = metrics["choice"]["chosen"]
    assert metrics["choice"]["split"] == "val" and set(metrics["choice"]["scores"]) == {"step_1", "step_2"}
    modes = {}
    for record in records:
        modes.setdefault(record["arm"], []).append(record["mode"])
    assert set(modes) == {"base", chosen, "clean", "file", "far"}, "arms that were not chosen are not tested"
    assert {record["split"] for record in records} == {"test_id", "test_ood"}
    for arm, found in modes.items():
        expected = {"natural"} if arm in ("file", "far") else {"natural", "forced"}
        assert set(found) == expected and len(found) == len(samples) * len(expected)
    scores = {arm: {r["id"]: r["correct"] for r in records if r["arm"] == arm} for arm in ("file", "far")}
    assert scores["file"] == scores["far"], "the same answers, whichever way they came"
    assert sum(account["answers"] for account in metrics["accounts"]) >= 2 * 9
    assert set(pd.read_csv(outputs / "evaluate" / "passes.csv")["arm"]) == set(modes) - {"file"}
    assert not [p for p in outputs.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
