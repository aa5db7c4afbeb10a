"""Trackers: off by default, checked at once, and given the numbers of metrics.jsonl in a real training."""

import os
import struct
from dataclasses import replace

import pytest

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.models.load import load_model
from currreft_nb.training.settings import TRACKERS, GrpoSettings, SftSettings
from currreft_nb.training.trl_config import grpo_config, trackers_in
from tests.training.test_train import SMALL, assert_same_adapter, grpo, mixed_samples


@pytest.fixture
def only_tensorboard(monkeypatch):
    """Make TensorBoard's usual package the only tracker that seems to be installed."""
    found = lambda package: package == "tensorboard" or None  # noqa: E731
    monkeypatch.setattr("currreft_nb.training.settings.find_spec", found)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tensorbord"], "'tensorbord', but may only contain tensorboard, trackio, wandb; did you mean tensorboard?"),
        (["excel"], "report_to contains 'excel', but may only contain tensorboard, trackio, wandb"),
        (
            ["all"],
            "report_to contains 'all', but may only contain",
        ),  # would send numbers wherever something is installed
        (["tensorboard", "wandb"], "report_to contains 'wandb', which is not installed; pip install wandb"),
    ],
)
@pytest.mark.parametrize("kind", [GrpoSettings, SftSettings])
def test_a_tracker_that_cannot_work_stops_before_anything_is_loaded(only_tensorboard, kind, names, message):
    with pytest.raises(InputError) as caught:
        kind(report_to=names)
    assert message in str(caught.value)


def test_none_is_the_default_and_an_installed_one_passes(only_tensorboard, tmp_path):
    assert GrpoSettings().report_to == SftSettings().report_to == ()
    assert GrpoSettings(report_to=["tensorboard"]).report_to == ("tensorboard",)
    assert grpo_config(load_model("pocket"), tmp_path, SMALL).report_to == []


def test_trackers_write_into_the_run_folder_unless_the_environment_says_where(tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setenv("WANDB_DIR", "mine")
    with trackers_in(tmp_path, list(TRACKERS)):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "trackers" / "tensorboard")
        assert os.environ["WANDB_DIR"] == "mine"
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ and os.environ["WANDB_DIR"] == "mine"
    assert [path.name for path in (tmp_path / "trackers").iterdir()] == ["tensorboard"]


def scalars(folder):
    """Return the values that a folder of TensorBoard's event files holds, by name and step, and all their bytes."""
    from tensorboardX.proto.event_pb2 import Event

    values, raw = {}, b""
    for path in folder.glob("events*"):
        data = path.read_bytes()
        raw += data
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            values |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            data = data[16 + length :]
    return values, raw


def test_tensorboard_gets_the_rows_and_no_secret_and_decides_nothing(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    monkeypatch.setenv("MY_API_KEY", "s3cr3t-Zq9")
    samples = mixed_samples(tmp_path)
    settings = replace(SMALL, steps=2, report_to=["tensorboard"])
    grpo(samples, tmp_path / "run", settings)
    values, raw = scalars(tmp_path / "run" / "trackers" / "tensorboard")
    for row in read_journal(tmp_path / "run" / "metrics.jsonl"):
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name != "step"}
        assert len(numbers) > 20
        for name, value in numbers.items():
            assert values[f"train/{name}", row["step"]] == pytest.approx(value, rel=1e-5), name
    assert b"s3cr3t-Zq9" not in raw
    without = replace(settings, report_to=[])
    grpo(samples, tmp_path / "plain", without)
    assert_same_adapter(tmp_path / "run", tmp_path / "plain")
    grpo(samples, tmp_path / "run", without)  # the same run: its checkpoints are not refused
