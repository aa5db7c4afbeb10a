"""What `currreft doctor` says: facts of this machine, and what follows from them on machines of other kinds."""

import contextlib
import http.server
import re
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from currreft_nb.cli import doctor
from currreft_nb.cli.app import main
from currreft_nb.cli.doctor import address_answers, examine, machine_table, prospects
from currreft_nb.core import environment
from currreft_nb.models.weights import pocket_folder
from currreft_nb.running import machine

ROOT = Path(__file__).parents[2]
SOUND = [("torch", "2.11 (tested)", True), ("CUDA", "torch uses a card", True), ("hub", "answers", True)]
LARGE = "params/qwen2_5_vl_3b.yaml"


def with_(**changes):
    """Return sound facts with other verdicts."""
    return [(what, text, changes.get(what, fine)) for what, text, fine in SOUND]


def card(monkeypatch, gib):
    monkeypatch.setattr(machine, "cards", lambda: [{"name": "a card", "memory_gib": gib, "driver": "1"}])


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # its session works all the same
    monkeypatch.setattr(machine, "cards", list)


@pytest.mark.parametrize(
    ("gib", "facts", "expected"),
    [
        (None, with_(CUDA=None), "needs a CUDA GPU: largest step about 9.6 GiB, estimated"),
        (24.0, with_(), "about 9.6 GiB of 24 GiB in generation: fits, with 14.4 GiB to spare"),
        (8.0, with_(), "about 9.6 GiB of 8 GiB in generation: does not fit; lower prompts_per_step"),
        (24.0, with_(CUDA=False), "needs a CUDA GPU"),  # the card is there, and torch cannot use it
        (None, with_(), "needs a CUDA GPU"),  # nvidia-smi does not say how large it is
        (24.0, with_(hub=None), "; Qwen/Qwen2.5-VL-3B-Instruct must be downloaded first"),
    ],
)
def test_a_large_experiment_works_where_its_estimate_fits(monkeypatch, gib, facts, expected):
    if gib:
        card(monkeypatch, gib)
    rows = {what: (text, fine) for what, text, fine in prospects(ROOT, facts)}
    text, fine = rows[LARGE]
    assert expected in text
    assert fine is None  # that a file asks for more than this machine has is no fault of the machine
    assert rows["params/pocket.yaml"][0] == "runs with or without a card"
    assert "no training, so no estimate" in rows["params/eval_released.yaml"][0]
    assert rows["demo"] == ("works: the pocket model, on the processor", True)


def test_every_params_file_is_judged():
    named = {what for what, _, _ in prospects(ROOT, SOUND)}
    assert named == {"demo", "judges", *(f"params/{file.name}" for file in (ROOT / "params").glob("*.yaml"))}


@pytest.mark.parametrize("what", ["torch", "disk"])
def test_nothing_is_promised_on_what_is_broken(what):
    rows = prospects(ROOT, [*(fact for fact in SOUND if fact[0] != what), (what, "bad", False)])
    assert rows[0] == ("demo", "fix the rows marked above first", False)
    assert [what for what, _, _ in rows] == ["demo", "judges"]


def test_a_file_that_needs_a_model_made_first_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("results"))
    rows = {what: text for what, text, _ in prospects(tmp_path, SOUND)}
    assert re.match("needs outputs/(detection|colors)-0.001, which is not here yet", rows["params/sparse_map.yaml"])


def test_a_file_that_is_wrong_says_why_instead(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "params").mkdir()
    text = (ROOT / "params" / "smoke.yaml").read_text().replace("shared:", "shraed:", 1)
    (tmp_path / "params" / "mine.yaml").write_text(text)
    rows = {what: text for what, text, _ in prospects(tmp_path, SOUND)}
    assert "did you mean shared" in rows["params/mine.yaml"]


def test_a_file_whose_model_was_not_downloaded_in_full_says_so(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "params").mkdir()
    model = shutil.copytree(pocket_folder("pocket"), tmp_path / "model")
    with (model / "model.safetensors").open("r+b") as stream:
        stream.truncate(500_000)
    text = (ROOT / "params" / "smoke.yaml").read_text().replace("model: pocket", f"model: {model}")
    (tmp_path / "params" / "mine.yaml").write_text(text)
    expected = "model.safetensors is cut off: it has 500,000 bytes"
    assert expected in {what: text for what, text, _ in prospects(tmp_path, SOUND)}["params/mine.yaml"]
    for command in (["preflight"], ["run", "--dry-run"]):
        monkeypatch.setattr("sys.argv", ["currreft", *command, str(tmp_path / "params" / "mine.yaml")])
        with pytest.raises(SystemExit, match="1"):
            main()
        assert expected in capsys.readouterr().err


def test_a_key_is_mentioned_and_never_shown(monkeypatch):
    assert "OPENAI_API_KEY is not set" in prospects(ROOT / "tests", SOUND)[-1][1]
    monkeypatch.setenv("OPENAI_API_KEY", "s3cr3t-Zq9")
    assert "OPENAI_API_KEY is set" in (text := prospects(ROOT / "tests", SOUND)[-1][1])
    assert "s3cr3t" not in text


@contextlib.contextmanager
def listening(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Answering(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


def test_a_hub_that_answers_is_found(monkeypatch):
    with listening(Answering) as address:
        assert address_answers(address)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", address)  # a mirror
        assert doctor._hub_row() == ("hub", f"{address} answers: models can be downloaded", True)


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.com")
    monkeypatch.setenv("ALL_PROXY", "socks://p:1080")
    _, text, fine = doctor._hub_row()
    assert "ALL_PROXY begins with socks://" in text and "write socks5://" in text and fine is None
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert "http://hub.example.com does not answer through the proxy in ALL_PROXY" in doctor._hub_row()[1]


def test_variables_of_a_launcher_are_shown(monkeypatch):
    monkeypatch.setattr(environment, "_left", [])
    assert doctor._cluster_rows() == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    ((what, text, fine),) = doctor._cluster_rows()
    assert (what, fine) == ("cluster", None) and ": RANK, WORLD_SIZE; num_processes" in text
    environment.leave_cluster()
    assert doctor._cluster_rows() == [(what, text, fine)], "a command has removed them before it looks"


def test_a_hub_that_hangs_or_is_not_there_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert not address_answers(address, timeout_s=0.5)
        assert time.monotonic() - began < 3
    assert not address_answers(address)  # closed: refused at once
    assert not address_answers("no address")


def test_this_machine_is_examined_offline():
    rows = {what: (text, fine) for what, text, fine in examine(ROOT)}
    assert {"python", "torch", "CUDA", "cores", "memory", "disk", "hub", "demo", LARGE, "judges"} <= set(rows)
    assert "(tested " in rows["trl"][0]


def test_a_notebook_shows_the_same_with_sound_packages_in_one_row(monkeypatch):
    rows = [("trl", "1.16 (tested <1.17)", True), ("peft", "9 (tested <1)", False), ("cores", "2", None)]
    monkeypatch.setattr(doctor, "examine", lambda folder: rows)
    assert machine_table(ROOT).to_dict("records") == [
        {"what": "packages", "found": "1 in their tested ranges", "verdict": "ok"},
        {"what": "peft", "found": "9 (tested <1)", "verdict": "look here"},
        {"what": "cores", "found": "2", "verdict": ""},
    ]
