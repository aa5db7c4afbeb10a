"""Merging: the exported folder is a plain model that answers as the adapter did."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from currreft_nb import InputError
from currreft_nb.core.files import file_digest
from currreft_nb.data.scenes import compose
from currreft_nb.evaluation.arms import evaluate_arms
from currreft_nb.evaluation.export import ROUNDING, export_model
from currreft_nb.models.files import hash_weights, source_of
from currreft_nb.models.load import load_model, save_adapter
from tests.helpers.tiny_models import write_tiny
from tests.models.test_load import log_probabilities, randomise_adapter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run folder with an adapter that does something."""
    folder = tmp_path_factory.mktemp("run")
    loaded = load_model("pocket", trainable=True)
    randomise_adapter(loaded)
    save_adapter(loaded, folder / "adapter", "open")
    return folder


def test_export_says_what_the_adapter_says(run, tmp_path):
    checks = export_model(run, tmp_path / "merged")
    assert checks["kl_merged"] < ROUNDING < checks["kl_base"]
    merged, attached = load_model(str(tmp_path / "merged")), load_model("pocket", adapter=run / "adapter")
    # weights are stored in 16 bit, so the last digits differ
    torch.testing.assert_close(log_probabilities(merged), log_probabilities(attached), rtol=0, atol=0.1)
    assert merged.style == attached.style and merged.base_hash != attached.base_hash


def test_exported_folder_loads_without_this_kit(run, tmp_path):
    export_model(run / "adapter", tmp_path / "merged")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert model.dtype == torch.float16 and not any("lora" in name for name, _ in model.named_parameters())
    assert AutoProcessor.from_pretrained(tmp_path / "merged").chat_template
    provenance = json.loads((tmp_path / "merged" / "currreft.json").read_text())
    assert provenance["base"] == "pocket" and provenance["adapter_hash"] and not list(tmp_path.glob("*.partial"))


def test_merge_that_changes_nothing_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self, **options: self.unload(), raising=False)
    with pytest.raises(InputError, match="lost the adapter"):
        export_model(run, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_full_folder_is_not_overwritten(run, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="exists and is not empty"):
        export_model(run, tmp_path)


def test_adapter_of_another_base_is_refused(run, tmp_path):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    provenance = json.loads((folder / "currreft.json").read_text())
    (folder / "currreft.json").write_text(json.dumps({**provenance, "base_hash": "0" * 16}))
    with pytest.raises(InputError, match="was made for the base model"):
        export_model(folder, tmp_path / "merged")


def trained_adapter(base, folder, four_bit=False, lora_on="language"):
    """Save an adapter on a base that does something, as a training would leave it."""
    loaded = load_model(base, trainable=True, four_bit=four_bit, lora_on=lora_on)
    randomise_adapter(loaded)
    save_adapter(loaded, folder / "adapter", "open")
    return folder


def shapes(folder):
    """Return names and shapes of the weights in a folder, and which files they are in."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return found


# One weight of each family as it was released; in memory all are called model.language_model and model.visual.
RELEASED = {
    "qwen2_vl": ("model.layers.0.mlp.up_proj.weight", "visual.blocks.0.mlp.fc1.weight"),
    "qwen2_5_vl": ("model.layers.0.mlp.up_proj.weight", "visual.blocks.0.mlp.up_proj.weight"),
    "qwen3_vl": ("model.language_model.layers.0.mlp.up_proj.weight", "model.visual.blocks.0.mlp.linear_fc1.weight"),
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", RELEASED)
def test_every_family_is_written_as_it_was_released(model_type, tied, tmp_path, monkeypatch):
    monkeypatch.setattr("currreft_nb.evaluation.export.SHARD", "40KB")
    base = write_tiny(model_type, tmp_path / "base", tied, max_shard_size="60KB")
    (base / "LICENSE").write_text("free")
    checks = export_model(trained_adapter(str(base), tmp_path, lora_on="vision"), tmp_path / "merged")
    assert checks["kl_merged"] < checks["kl_base"] / 10
    merged = tmp_path / "merged"
    assert shapes(merged) == shapes(base) and shapes(merged).keys() > set(RELEASED[model_type])
    assert ("lm_head.weight" in shapes(merged)) == (not tied)
    others = [{path.name for path in place.iterdir() if "safetensors" not in path.name} for place in (base, merged)]
    assert others[1] == others[0] | {"currreft.json"}
    index = json.loads((merged / "model.safetensors.index.json").read_text())["weight_map"]
    assert index.keys() == shapes(merged).keys() and len(set(index.values())) > 2
    model, found = AutoModelForImageTextToText.from_pretrained(merged, output_loading_info=True)
    assert not any(found.values()) and model.dtype == torch.bfloat16
    attached, again = load_model(str(base), adapter=tmp_path / "adapter"), load_model(str(merged))
    apart = (log_probabilities(again) - log_probabilities(attached)).abs().max()
    assert apart < 0.2 < (log_probabilities(load_model(str(base))) - log_probabilities(attached)).abs().max()


def test_files_of_an_older_release_stay_what_they_are(tmp_path):
    """Released folders are older than today's libraries: a flat configuration, a budget under other names."""
    base = write_tiny("qwen2_5_vl", tmp_path / "base")
    settings = json.loads((base / "processor_config.json").read_text())["image_processor"]
    size = settings.pop("size")
    older = settings | {"min_pixels": size["shortest_edge"], "max_pixels": 12_845_056}
    (base / "preprocessor_config.json").write_text(json.dumps(older))
    (base / "processor_config.json").unlink()
    config = json.loads((base / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    text = config.pop("text_config") | config.pop("rope_parameters", {})
    flat = {name: value for name, value in text.items() if name != "model_type"} | config
    (base / "config.json").write_text(json.dumps(flat))
    export_model(trained_adapter(str(base), tmp_path), tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text()) == flat
    assert not (tmp_path / "merged" / "processor_config.json").exists()
    images = json.loads((tmp_path / "merged" / "preprocessor_config.json").read_text())
    assert images["max_pixels"] == images["size"]["longest_edge"] == 401_408  # the budget of the training
    assert images["min_pixels"] == images["size"]["shortest_edge"] == 1024
    processor = AutoProcessor.from_pretrained(tmp_path / "merged")
    assert processor.image_processor.size["longest_edge"] == 401_408


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_unmatched_adapter_weight_is_refused(run, tmp_path):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    name = sorted(weights)[0]
    weights[name.replace("language_model.layers", "layers")] = weights.pop(name)
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match="2 adapter weights do not match"):
        export_model(folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_shift_from_four_bits_is_measured_and_stored(tmp_path, capsys):
    run = trained_adapter("pocket", tmp_path, four_bit=True)
    checks = export_model(run, tmp_path / "merged", max_new_tokens=12)
    shift = checks["shift"]
    assert shift["asked"] == "drawn scenes" and shift["questions"] == 24 and shift["tokens"] > 24
    assert 0 < shift["kl_per_token"] < 0.5  # nats: 4-bit weights are other weights, but not very
    assert 0 <= shift["changed_answers"] <= shift["changed_completions"] < 1
    assert json.loads((tmp_path / "merged" / "currreft.json").read_text())["shift"] == shift


def test_adapter_of_sixteen_bits_has_no_shift(run, tmp_path):
    assert set(export_model(run, tmp_path / "merged")) == {"kl_merged", "kl_base"}


def test_records_say_which_of_the_two_was_scored(tmp_path):
    run = trained_adapter("pocket", tmp_path, four_bit=True)
    export_model(run, tmp_path / "merged", max_new_tokens=2)
    samples = compose.draw_samples(tmp_path, "math", 2, "id", 0, "val")
    options = {"max_new_tokens": 2, "forced": False}
    adapter = {"open": run / "adapter"}
    in_four_bit = evaluate_arms(adapter, samples, tmp_path / "4", four_bit=True, **options)
    attached = evaluate_arms(adapter, samples, tmp_path / "16", **options)
    exported = str(tmp_path / "merged")
    merged = evaluate_arms({"open": None}, samples, tmp_path / "m", model=exported, **options)
    base, own = hash_weights(source_of("pocket")), hash_weights(exported)
    adapter_hash = file_digest(run / "adapter" / "adapter_model.safetensors")
    authors = [{record["author"] for record in records} for records in (in_four_bit, attached, merged)]
    assert authors == [{f"{base} {adapter_hash} 4-bit"}, {f"{base} {adapter_hash}"}, {f"{own} merged {adapter_hash}"}]
    with pytest.raises(InputError, match="holds answers of arm"):  # one file holds one of them only
        evaluate_arms({"open": None}, samples, tmp_path / "4", model=exported, **options)
