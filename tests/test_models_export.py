"""Merging: the exported folder is a plain model that answers as the adapter did."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from test_models import log_probabilities, randomise_adapter
from transformers import AutoModelForImageTextToText, AutoProcessor

from currreft_nb import InputError, models, models_export


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run folder with an adapter that does something."""
    folder = tmp_path_factory.mktemp("run")
    loaded = models.load("pocket", trainable=True)
    randomise_adapter(loaded)
    models.save_adapter(loaded, folder / "adapter", "open")
    return folder


def test_export_says_what_the_adapter_says(run, tmp_path):
    checks = models_export.export(run, tmp_path / "merged")
    assert checks["kl_merged"] < models_export.ROUNDING < checks["kl_base"]
    merged, attached = models.load(str(tmp_path / "merged")), models.load("pocket", adapter=run / "adapter")
    # weights are stored in 16 bit, so the last digits differ
    torch.testing.assert_close(log_probabilities(merged), log_probabilities(attached), rtol=0, atol=0.1)
    assert merged.style == attached.style and merged.base_hash != attached.base_hash


def test_exported_folder_loads_without_this_kit(run, tmp_path):
    models_export.export(run / "adapter", tmp_path / "merged")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert model.dtype == torch.float16 and not any("lora" in name for name, _ in model.named_parameters())
    assert AutoProcessor.from_pretrained(tmp_path / "merged").chat_template
    provenance = json.loads((tmp_path / "merged" / "currreft.json").read_text())
    assert provenance["base"] == "pocket" and provenance["adapter_hash"] and not list(tmp_path.glob("*.partial"))


def test_merge_that_changes_nothing_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self, **options: self.unload(), raising=False)
    with pytest.raises(InputError, match="lost the adapter"):
        models_export.export(run, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_full_folder_is_not_overwritten(run, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="exists and is not empty"):
        models_export.export(run, tmp_path)


def test_adapter_of_another_base_is_refused(run, tmp_path):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    provenance = json.loads((folder / "currreft.json").read_text())
    (folder / "currreft.json").write_text(json.dumps({**provenance, "base_hash": "0" * 16}))
    with pytest.raises(InputError, match="was made for the base model"):
        models_export.export(folder, tmp_path / "merged")
