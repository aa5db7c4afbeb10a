"""Notebook 05 with a judge over HTTP: compared with the rule, replayed from its record, wrong words reported early."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from currreft_nb import InputError
from currreft_nb.endpoints.endpoint import Endpoint
from currreft_nb.rejection.endpoint_judge import verdicts_file
from currreft_nb.running.experiment import read_experiment
from tests.helpers.scripted_server import KEY, points, say, serving
from tests.helpers.tiny_project import record

BIN = Path(sys.executable).parent
EXPERIMENT = """
shared: {{model: pocket, data: "@curate", micro_batch: 8, batch_size: 8}}
steps:
  - name: curate
    notebook: 01_data_curation
    params: {{train_questions: 3, val_questions: 1, test_questions: 1, pool_questions: 12}}
  - name: judged
    notebook: 05_rejection_sampling
    params: {{start_from: base, questions: 12, completions: 3, epochs: 1, judges: ["http:m@{url}", rule]}}
  - name: replayed
    notebook: 05_rejection_sampling
    params: {{start_from: base, questions: 12, completions: 3, epochs: 1, judges: ["recorded:@judged/{file}"]}}
"""


def currreft(project, *command, **environment):
    command = [BIN / "currreft", *command]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_judge_over_http_is_compared_and_replayed_and_its_key_is_nowhere(project):
    with serving(lambda asked, n: say(points())) as server:
        name = verdicts_file(Endpoint(model="m", url=server.url))
        (project / "params" / "judged.yaml").write_text(EXPERIMENT.format(url=server.url, file=name))
        code, text = currreft(project, "run", "params/judged.yaml", OPENAI_API_KEY=KEY)
        assert code == 0, text[-3000:]
        assert {request["key"] for request in server.requests} == {f"Bearer {KEY}"}
    outputs = project / "outputs" / "judged"
    first, again = (record(outputs / step)["metrics"] for step in ("judged", "replayed"))
    assert first["accounts"][0]["requests"] == len(server.requests) <= 36
    assert again["accounts"] == [] and again["kept"] == first["kept"] > 0
    assert [path.name for path in (outputs / "judged").glob("verdicts*")] == [name]
    cells = json.loads((outputs / "judged" / "notebook.ipynb").read_text())["cells"]
    shown = "".join(str(output) for cell in cells for output in cell.get("outputs", []))
    assert "kappa" in shown and f"{len(server.requests)} requests" in shown
    files = [path for path in outputs.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("reject.judges=[rules]", "judges: unknown kind 'rules'; did you mean rule"),
        ("reject.judges=[]", "judges is empty"),
        ('reject.judges=["http:gpt-4o"]', "is not MODEL@ADDRESS"),
        ("reject.teacher=gpt-4o", "is not MODEL@ADDRESS"),
        ("reject.quotas=[math]", "quotas: 'math' is incomplete"),
    ],
)
def test_a_wrong_word_is_reported_before_the_first_kernel_starts(project, changed, message):
    with pytest.raises(InputError, match=message):
        read_experiment(project / "params" / "smoke.yaml", [changed])
