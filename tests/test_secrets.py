"""Keys in the environment are in no file of a run: not where all goes well, not where an endpoint repeats the key."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from currreft_nb.running.build_report import export_report
from tests.helpers.scripted_server import points, say, serving
from tests.helpers.tiny_project import record

ROOT = Path(__file__).parent.parent
SECRETS = {
    "OPENAI_API_KEY": "sk-planted-8f1c2b7e55aa4d",
    "HF_TOKEN": "hf_plantedQwErTzUiOpAsDfGh",
    "WANDB_API_KEY": "7c0ffee7planted7c0ffee7c0ffee7c0ffee7c0f",
    "MY_JUDGE_KEY": "planted judge key / with+signs=",
}
EXPERIMENT = """
steps:
  - name: curate
    notebook: 01_data_curation
    params: {train_questions: 3, val_questions: 1, test_questions: 1, pool_questions: 12}
  - name: reject
    notebook: 05_rejection_sampling
    params:
      data: "@curate"
      start_from: base
      questions: 12
      completions: 4
      epochs: 1
      batch_size: 4
      save_every: 1
      report_to: [tensorboard]
      judges: ["http:judge@JUDGE | key MY_JUDGE_KEY"]
"""


def traces(secret):
    """Return a secret as it may stand in a file: as it is, in JSON, in an address, as base64 at each offset."""
    raw = secret.encode()
    shifted = [base64.b64encode(b"x" * offset + raw)[4:-4] for offset in range(3)]
    return [raw, raw.replace(b"/", b"\\/"), raw.replace(b"+", b"%2B").replace(b" ", b"%20"), *shifted]


def test_a_secret_is_found_however_it_is_written(tmp_path):
    """The search below would find them."""
    for number, text in enumerate(
        [SECRETS["MY_JUDGE_KEY"], base64.b64encode(b"Bearer " + SECRETS["MY_JUDGE_KEY"].encode()).decode()]
    ):
        (tmp_path / f"{number}.bin").write_bytes(b"\0\xff" + text.encode() + b"\0")
    assert [path.name for path, _ in sorted(leaks(tmp_path))] == ["0.bin", "1.bin"]


def leaks(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        (path, name)
        for path in files
        for content in [path.read_bytes()]
        for name, secret in SECRETS.items()
        if any(trace in content for trace in traces(secret))
    ]


@pytest.mark.slow
def test_no_key_is_in_any_file_of_the_outputs(tmp_path):
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("results"))
    mood = ["refuse"]

    def script(asked, number):
        """Repeat the key in whatever is said: in refusals, in answers that are none, in the reason of a verdict."""
        echo = f"got Authorization: {server.requests[-1]['key']}"
        if mood[0] == "refuse":
            return say(status=401, body=f'{{"error": {{"message": "{echo}"}}}}'.encode())
        if number % 3 == 0:
            return say(status=500, body=echo.encode())
        return say(echo) if number % 3 == 1 else say(points(reason=echo))

    def command(*arguments):
        program = [sys.executable, "-c", "from currreft_nb.cli.app import main; main()", *arguments]
        done = subprocess.run(program, cwd=tmp_path, env=os.environ | SECRETS, capture_output=True, text=True)
        (tmp_path / "outputs" / f"said-{mood[0]}.txt").write_text(done.stdout + done.stderr)  # it is searched, too
        return done.returncode

    with serving(script) as server:
        (tmp_path / "params" / "keys.yaml").write_text(EXPERIMENT.replace("JUDGE |", f"{server.url} |"))
        folder = tmp_path / "outputs" / "keys" / "reject"
        assert command("run", "params/keys.yaml") == 1
        assert "does not accept the key; check the environment variable MY_JUDGE_KEY" in record(folder)["error"]
        assert server.requests[-1]["key"] == f"Bearer {SECRETS['MY_JUDGE_KEY']}"  # it was sent
        mood[0] = "answer"
        assert command("run", "params/keys.yaml") == 0
    export_report(folder / "notebook.ipynb", folder / "page.html")
    kinds = {path.suffix or path.name.split(".")[0] for path in folder.rglob("*") if path.is_file()}
    assert {".ipynb", ".html", ".json", ".jsonl", ".txt", ".safetensors", ".pt"} <= kinds
    assert list(folder.rglob("*tfevents*"))
    assert "[key]" in "".join(path.read_text() for path in folder.glob("verdicts*.jsonl")), "it was repeated"
    assert leaks(tmp_path / "outputs") == []
