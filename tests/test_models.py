"""Loading: the right modules in 4 bit, adapters on the language model alone, and clear refusals."""

import json
import shutil

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from currreft_nb import InputError, models, models_adapters, pocket
from currreft_nb.boxes import resized_size

TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64}
VISION = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32}


def tiny_model(model_type):
    """Return a model of the family with its real module names and no weights."""
    config = AutoConfig.for_model(model_type, text_config=TEXT, vision_config=VISION)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def log_probabilities(loaded):
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        return loaded.model(input_ids=ids).logits.log_softmax(-1)


def randomise_adapter(loaded, scale=0.3):
    """Give the adapter an effect, as training would: a new one changes nothing."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data = scale * torch.randn(weight.shape, generator=generator)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a model whose adapter does something, and the folder it was saved to."""
    loaded = models.load("pocket", trainable=True)
    randomise_adapter(loaded)
    return loaded, models.save_adapter(loaded, tmp_path_factory.mktemp("run") / "adapter", "open")


@pytest.mark.parametrize("model_type", models.FAMILIES)
class TestFamilies:
    def test_class_is_the_one_of_the_table(self, model_type):
        assert type(tiny_model(model_type)).__name__ == models.FAMILIES[model_type].class_name

    def test_adapter_goes_on_every_language_layer_and_nowhere_else(self, model_type):
        family = models.FAMILIES[model_type]
        adapted = models_adapters.new_adapter(tiny_model(model_type), family.lora_targets, 2, seed=0)
        places = {name.rsplit(".lora_A", 1)[0] for name, _ in adapted.named_modules() if name.endswith(".lora_A")}
        assert len(places) == 2 * 7  # layers times q, k, v, o, gate, up, down
        assert all(".language_model.layers." in place for place in places)

    def test_four_bit_leaves_vision_and_head_alone(self, model_type):
        names = [n for n, m in tiny_model(model_type).named_modules() if isinstance(m, torch.nn.Linear)]
        converted = [n for n in names if should_convert_module(n, list(models.FAMILIES[model_type].kept_16_bit))]
        assert converted == [n for n in names if n.startswith("model.language_model.")] and len(converted) == 2 * 7


class TestFourBit:
    def test_language_layers_are_in_four_bit_and_double_quantised(self):
        loaded = models.load("pocket", four_bit=True)
        layers = {n: m for n, m in loaded.model.named_modules() if isinstance(m, Linear4bit)}
        assert len(layers) == 7 * loaded.model.config.text_config.num_hidden_layers
        assert all(layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested for layer in layers.values())
        assert type(loaded.model.lm_head) is torch.nn.Linear
        assert not any(isinstance(module, Linear4bit) for module in loaded.model.model.visual.modules())

    def test_pattern_that_matches_nothing_is_noticed(self):
        # "visual" looks right, but the pattern is anchored at the start of the name
        config = BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["visual", "lm_head"])
        model = AutoModelForImageTextToText.from_pretrained(pocket.folder("pocket"), quantization_config=config)
        with pytest.raises(TypeError, match="visual"):
            models.check_quantised(model)

    def test_quantising_nothing_is_noticed(self):
        with pytest.raises(TypeError, match="0 layers are in 4 bit"):
            models.check_quantised(models.load("pocket").model)


class TestProcessor:
    def test_pads_on_the_left(self):
        assert models.load("pocket").processor.tokenizer.padding_side == "left"

    @pytest.mark.parametrize(
        "size, budget",
        [
            ((64, 64), 4096),  # the pocket model's own
            ((64, 64), 1024),  # shrunk
            ((100, 31), 4096),  # rounded to multiples of 16
            ((640, 480), 16_384),
            ((10, 10), 16_384),  # enlarged to the smallest size
        ],
    )
    def test_frame_knows_the_size_that_the_processor_makes(self, size, budget):
        processor = models.load_processor(str(pocket.folder("pocket")), budget)
        frame = models.style_of(models.read_config(str(pocket.folder("pocket"))), processor).frame
        inputs = processor(text="<|image_pad|>", images=[Image.new("RGB", size)], return_tensors="pt")
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        patch = processor.image_processor.patch_size
        assert (columns * patch, rows * patch) == resized_size(size, frame)
        assert columns * rows * patch**2 <= budget


class TestAdapter:
    def test_new_adapter_changes_nothing(self):
        assert torch.equal(
            log_probabilities(models.load("pocket", trainable=True)), log_probabilities(models.load("pocket"))
        )

    def test_initialisation_follows_the_seed_and_leaves_other_randomness_alone(self):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        first, again, other = (models.load("pocket", trainable=True, seed=seed).model for seed in (1, 1, 2))
        assert torch.equal(torch.rand(1), expected)
        states = [{n: w for n, w in model.named_parameters() if "lora_A" in n} for model in (first, again, other)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not any(torch.equal(states[0][name], states[2][name]) for name in states[0])

    def test_only_the_adapter_is_trainable(self):
        model = models.load("pocket", trainable=True).model
        assert all(("lora_" in name) == weight.requires_grad for name, weight in model.named_parameters())
        assert not any(w.requires_grad for w in models.load("pocket").model.parameters())

    @pytest.mark.parametrize("trainable", [True, False])  # kept apart, and merged into the weights
    def test_reloaded_adapter_says_the_same(self, trained, trainable):
        loaded, folder = trained
        again = models.load("pocket", adapter=folder, trainable=trainable)
        torch.testing.assert_close(log_probabilities(again), log_probabilities(loaded), rtol=0, atol=2e-4)
        base = log_probabilities(models.load("pocket"))
        assert (log_probabilities(again) - base).abs().max() > 0.1  # the adapter is really there

    def test_files_tell_where_it_came_from_and_nothing_of_this_machine(self, trained):
        loaded, folder = trained
        provenance = json.loads((folder / "currreft.json").read_text())
        assert provenance["base"] == "pocket" and provenance["base_hash"] == loaded.base_hash
        assert provenance["parent"] is None and provenance["stage"] == "open"
        assert str(pocket.folder("pocket").parent) not in (folder / "adapter_config.json").read_text()

    def test_parent_is_noted(self, trained, tmp_path):
        child = models.load("pocket", adapter=trained[1], trainable=True)
        saved = models.save_adapter(child, tmp_path / "adapter", "choice")
        assert models_adapters.read_provenance(saved)["parent"] == models_adapters.hash_file(
            trained[1] / "adapter_model.safetensors"
        )

    def test_other_base_is_refused(self, trained, tmp_path):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        provenance = json.loads((folder / "currreft.json").read_text())
        (folder / "currreft.json").write_text(json.dumps({**provenance, "base": "Qwen/other", "base_hash": "0" * 16}))
        with pytest.raises(InputError, match="was made for the base model 'Qwen/other'"):
            models.load("pocket", adapter=folder)

    @pytest.mark.parametrize(
        "file, text, message",
        [
            ("currreft.json", None, "does not exist"),
            ("currreft.json", "{", "is damaged"),
            ("currreft.json", "[]", "is damaged"),
            ("adapter_model.safetensors", None, "does not exist"),
        ],
    )
    def test_incomplete_folder_is_refused(self, trained, tmp_path, file, text, message):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        if text is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(text)
        with pytest.raises(InputError, match=f"{file} {message}"):
            models.load("pocket", adapter=folder)

    @pytest.mark.filterwarnings("ignore:Found missing adapter keys")
    def test_unmatched_weight_is_refused(self, trained, tmp_path):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        weights = load_file(folder / "adapter_model.safetensors")
        name = sorted(weights)[0]
        weights[name.replace("language_model", "text_model")] = weights.pop(name)  # an older naming
        save_file(weights, folder / "adapter_model.safetensors")
        with pytest.raises(InputError, match="2 adapter weights do not match"):
            models.load("pocket", adapter=folder)

    def test_rank_zero_is_refused(self):
        with pytest.raises(InputError, match="lora_rank is 0"):
            models.load("pocket", trainable=True, lora_rank=0)


class TestRefusals:
    def test_unknown_family(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "llava"}')
        with pytest.raises(InputError, match=r"family 'llava', but only qwen2_vl.*FAMILIES"):
            models.load(str(tmp_path))

    def test_folder_without_a_model(self, tmp_path):
        with pytest.raises(InputError, match="holds no model"):
            models.load(str(tmp_path))

    def test_folder_without_a_processor(self, tmp_path):
        for name in ("config.json", "model.safetensors"):
            shutil.copy(pocket.folder("pocket") / name, tmp_path)
        with pytest.raises(InputError, match="has no processor"):
            models.load(str(tmp_path))

    def test_folder_without_weights(self, tmp_path):
        shutil.copytree(pocket.folder("pocket"), tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
        with pytest.raises(InputError, match="has no weights"):
            models.load(str(tmp_path / "copy"))

    def test_hub_that_does_not_answer(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match="neither a local folder nor"):
            models.load("nobody/has-this-model")


def test_weights_hash_notices_a_changed_weight_and_ignores_other_files(tmp_path):
    shutil.copytree(pocket.folder("pocket"), tmp_path / "copy")
    before = models.hash_weights(str(tmp_path / "copy"))
    (tmp_path / "copy" / "notes.txt").write_text("not a weight")
    assert models.hash_weights(str(tmp_path / "copy")) == before == models.hash_weights(str(pocket.folder("pocket")))
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    save_file({name: weight * 1.001 for name, weight in weights.items()}, tmp_path / "copy" / "model.safetensors")
    assert models.hash_weights(str(tmp_path / "copy")) != before
