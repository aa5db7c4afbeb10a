"""Loading: the right modules in 4 bit, adapters on the language model alone, and clear refusals."""

import json
import re
import shutil
import time

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from currreft_nb import InputError
from currreft_nb.core.boxes import resized_size
from currreft_nb.core.files import file_digest
from currreft_nb.models import files
from currreft_nb.models.adapters import new_adapter, read_provenance
from currreft_nb.models.families import FAMILIES, LORA_ON
from currreft_nb.models.files import hash_weights, read_config
from currreft_nb.models.load import check_quantised, load_model, load_processor, read_style, save_adapter, style_of
from currreft_nb.models.weights import hash_model, pocket_folder
from tests.helpers.tiny_models import (
    DEEPSTACK,
    LANGUAGE_LAYERS,
    PREFILLS,
    TOWER_BLOCKS,
    tiny_model,
    write_thinking,
    write_tiny,
)


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
    loaded = load_model("pocket", trainable=True)
    randomise_adapter(loaded)
    return loaded, save_adapter(loaded, tmp_path_factory.mktemp("run") / "adapter", "open")


@pytest.mark.parametrize("model_type", FAMILIES)
class TestFamilies:
    def test_class_is_the_one_of_the_table(self, model_type):
        assert type(tiny_model(model_type)).__name__ == FAMILIES[model_type].class_name

    @pytest.mark.parametrize("lora_on", LORA_ON)
    def test_adapter_goes_on_every_layer_named_and_nowhere_else(self, model_type, lora_on):
        family, model = FAMILIES[model_type], tiny_model(model_type)
        linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)} - {"lm_head"}
        parts = {
            "language": {name for name in linear if ".language_model.layers." in name},
            "merger": {name for name in linear if "merger" in name},
            "vision": {name for name in linear if ".visual.blocks." in name},
        }
        assert linear == set().union(*parts.values())
        assert len(parts["language"]) == LANGUAGE_LAYERS * 7  # q, k, v, o, gate, up, down
        assert len(parts["merger"]) == 2 * (1 + DEEPSTACK.get(model_type, 0))
        assert len(parts["vision"]) == TOWER_BLOCKS * (5 if model_type == "qwen2_5_vl" else 4)
        adapted = new_adapter(model, family.lora_targets(lora_on), 2, seed=0)
        places = {name.rsplit(".lora_A", 1)[0] for name, _ in adapted.named_modules() if name.endswith(".lora_A")}
        wanted = LORA_ON[: LORA_ON.index(lora_on) + 1]
        assert {place.removeprefix("base_model.model.") for place in places} == set().union(*map(parts.get, wanted))

    def test_frame_is_that_of_the_released_sizes(self, model_type):
        vision = AutoConfig.for_model(model_type).vision_config
        assert FAMILIES[model_type].frame.factor == vision.patch_size * vision.spatial_merge_size

    @pytest.mark.parametrize("four_bit", [False, True])
    def test_folder_loads_answers_and_gets_an_adapter(self, model_type, four_bit, tmp_path):
        folder = str(write_tiny(model_type, tmp_path / "tiny"))
        loaded = load_model(folder, four_bit=four_bit, trainable=True, lora_on="vision")
        assert loaded.family is FAMILIES[model_type] and loaded.style.frame.kind == loaded.family.frame.kind
        assert log_probabilities(loaded).isfinite().all()
        towers = [
            module for name, module in loaded.model.named_modules() if name.endswith("base_layer") and "visual" in name
        ]
        assert towers and all(type(module) is torch.nn.Linear for module in towers)

    def test_four_bit_leaves_vision_and_head_alone(self, model_type):
        names = [n for n, m in tiny_model(model_type).named_modules() if isinstance(m, torch.nn.Linear)]
        converted = [n for n in names if should_convert_module(n, list(FAMILIES[model_type].kept_16_bit))]
        assert (
            converted == [n for n in names if n.startswith("model.language_model.")]
            and len(converted) == LANGUAGE_LAYERS * 7
        )


class TestFourBit:
    def test_language_layers_are_in_four_bit_and_double_quantised(self):
        loaded = load_model("pocket", four_bit=True)
        layers = {n: m for n, m in loaded.model.named_modules() if isinstance(m, Linear4bit)}
        assert len(layers) == 7 * loaded.model.config.text_config.num_hidden_layers
        assert all(layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested for layer in layers.values())
        assert type(loaded.model.lm_head) is torch.nn.Linear
        assert not any(isinstance(module, Linear4bit) for module in loaded.model.model.visual.modules())

    def test_pattern_that_matches_nothing_is_noticed(self):
        # "visual" looks right, but the pattern is anchored at the start of the name
        config = BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["visual", "lm_head"])
        model = AutoModelForImageTextToText.from_pretrained(pocket_folder("pocket"), quantization_config=config)
        with pytest.raises(TypeError, match="visual"):
            check_quantised(model, four_bit=True)

    def test_quantising_nothing_is_noticed(self):
        with pytest.raises(TypeError, match="0 layers are in 4 bit"):
            check_quantised(load_model("pocket").model, four_bit=True)

    def test_quantised_layers_that_nobody_asked_for_are_noticed(self):
        with pytest.raises(TypeError, match="21 layers are in 4 bit, expected 0"):
            check_quantised(load_model("pocket", four_bit=True).model, four_bit=False)


class TestWeights:
    """Every weight of the model is in its files, and nothing else."""

    @staticmethod
    def rewritten(folder, change):
        """Copy the pocket model with the tensors that `change` returns for a name and its tensor."""
        shutil.copytree(pocket_folder("pocket"), folder)
        weights = load_file(folder / "model.safetensors")
        weights = {name: value for old in weights for name, value in change(old, weights[old])}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return str(folder)

    @pytest.mark.parametrize(
        "change, message",
        [
            (
                lambda n, v: [(n, v)] if "visual" not in n else [],
                r"42 missing, first model\.visual\.blocks\.0.*download",
            ),
            (
                lambda n, v: [(n, v)] if ".layers.1.mlp" not in n else [],
                r"3 missing, first .*layers\.1\.mlp\.down_proj",
            ),
            (lambda n, v: [(n, v)] if "embed_tokens" not in n else [], r"2 missing, first lm_head\.weight"),
            (
                lambda n, v: [("module." + n, v)],
                r"81 missing.*80 unexpected, first module\.model.*module\. is the name",
            ),
            (
                lambda n, v: [("base_model.model." + n, v)],
                r"80 unexpected.*base_model\.model\. is the name of a wrapper",
            ),
            (lambda n, v: [("_orig_mod." + n, v)], r"80 unexpected.*_orig_mod\. is the name of a wrapper"),
            (
                lambda n, v: [(n.replace("q_proj.weight", "q_proj.base_layer.weight"), v)],
                "3 missing.*3 unexpected.*belong to an adapter: merge it",
            ),
            (
                lambda n, v: [(n, v), (n.replace(".weight", ".lora_A.weight"), v[:2].clone())],
                r"unexpected, first .*lora_A.*merge_and_unload",
            ),
            (lambda n, v: [(n, v), (n + ".absmax", v[:1].clone())], "stored quantised: give the 16-bit model"),
            (
                lambda n, v: [(n, v[:-1].clone() if n.endswith("layers.0.mlp.gate_proj.weight") else v)],
                r"1 of another shape, first .*layers\.0\.mlp\.gate_proj\.weight \(383, 128\) for \(384, 128\)",
            ),
        ],
    )
    def test_weights_that_do_not_fit_are_named(self, tmp_path, change, message):
        folder = self.rewritten(tmp_path / "copy", change)
        with pytest.raises(InputError, match=rf"the weights of '.*copy' do not fit its config\.json: .*{message}"):
            load_model(folder)

    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda v: [], r"1 missing, first model\.language_model\.layers\.0\.mlp\.gate_proj\.weight;"),
            (
                lambda v: [v[:-1].clone()],
                r"1 of another shape, first .*gate_proj\.weight \(383, 128\) for \(384, 128\);",
            ),
        ],
        ids=["missing", "shape"],
    )
    def test_layers_to_put_into_four_bit_are_looked_at_too(self, tmp_path, change, message):
        place = "layers.0.mlp.gate_proj.weight"
        folder = self.rewritten(
            tmp_path / "copy", lambda n, v: [(n, w) for w in (change(v) if n.endswith(place) else [v])]
        )
        with pytest.raises(InputError, match=message):
            load_model(folder, four_bit=True)

    @pytest.mark.parametrize(
        "change",
        [
            lambda n, v: [(n.replace("model.language_model.", "model.").replace("model.visual.", "visual."), v)],
            lambda n, v: [
                (n.replace("model.layers.", "model.language_model.layers.").replace("visual.", "model.visual."), v)
            ],
            lambda n, v: [(n, v)] + [("lm_head.weight", v.clone())] * ("embed_tokens" in n),
            lambda n, v: (
                [(n, v)]
                + [(n.replace("q_proj.weight", "rotary_emb.inv_freq"), v[0].clone())] * n.endswith("q_proj.weight")
            ),
            lambda n, v: [(n, v)] + [("visual.rotary_pos_emb.inv_freq", torch.ones(4))] * ("embed_tokens" in n),
        ],
        ids=["old names", "new names", "tied head", "rotary buffers", "rotary buffer of the tower"],
    )
    def test_other_names_tied_heads_and_computed_buffers_are_no_fault(self, tmp_path, change):
        loaded = load_model(self.rewritten(tmp_path / "copy", change))
        assert torch.equal(log_probabilities(loaded), log_probabilities(load_model("pocket")))

    @pytest.mark.parametrize("tied", [True, False])
    def test_shards_load_and_an_untied_head_must_be_there(self, tmp_path, tied):
        folder = write_tiny("qwen2_vl", tmp_path / "tiny", tied=tied, max_shard_size="100KB")
        load_model(str(folder))
        for path in folder.glob("model-*.safetensors"):
            weights = load_file(path)
            weights.pop("lm_head.weight", None)
            save_file(weights, path, metadata={"format": "pt"})
        if tied:
            load_model(str(folder))
        else:
            with pytest.raises(InputError, match=r"1 missing, first lm_head\.weight"):
                load_model(str(folder))

    @pytest.mark.parametrize("four_bit", [False, True])
    def test_a_model_that_is_stored_in_four_bit_is_refused(self, tmp_path, four_bit):
        source, folder = pocket_folder("pocket"), tmp_path / "copy"
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        AutoModelForImageTextToText.from_pretrained(source, quantization_config=config).save_pretrained(folder)
        for path in source.iterdir():
            if not (folder / path.name).exists():
                shutil.copy(path, folder)
        with pytest.raises(
            InputError, match=r"copy' is stored in 4 bit \(bitsandbytes\) already; give the 16-bit model"
        ):
            load_model(str(folder), four_bit=four_bit)
        settings = json.loads((folder / "config.json").read_text())
        del settings["quantization_config"]  # so that only the weights say it
        (folder / "config.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match="they are stored quantised: give the 16-bit model"):
            load_model(str(folder), four_bit=four_bit)


class TestProcessor:
    def test_pads_on_the_left(self):
        assert load_model("pocket").processor.tokenizer.padding_side == "left"

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
        processor = load_processor(str(pocket_folder("pocket")), budget)
        frame = style_of(read_config(str(pocket_folder("pocket"))), processor).frame
        inputs = processor(text="<|image_pad|>", images=[Image.new("RGB", size)], return_tensors="pt")
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        patch = processor.image_processor.patch_size
        assert (columns * patch, rows * patch) == resized_size(size, frame)
        assert columns * rows * patch**2 <= budget


class TestPrefill:
    """What the chat template writes of the model's turn is part of its style."""

    def test_most_templates_write_nothing(self):
        assert load_model("pocket").style.prefill == ""

    @pytest.mark.parametrize("prefill", PREFILLS)
    def test_an_opened_or_empty_think_block_is_noticed(self, tmp_path, prefill):
        assert read_style(str(write_thinking(tmp_path / "copy", prefill))).prefill == prefill

    def test_a_tokenizer_that_would_take_the_thinking_apart_is_not_asked_to(self, tmp_path):
        folder = write_thinking(tmp_path / "copy", "<think>")
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"response_template": {"fields": {}}}))
        assert load_processor(str(folder), 4096).tokenizer.response_template is None


class TestAdapter:
    def test_new_adapter_changes_nothing(self):
        assert torch.equal(
            log_probabilities(load_model("pocket", trainable=True)), log_probabilities(load_model("pocket"))
        )

    def test_initialisation_follows_the_seed_and_leaves_other_randomness_alone(self):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        first, again, other = (load_model("pocket", trainable=True, seed=seed).model for seed in (1, 1, 2))
        assert torch.equal(torch.rand(1), expected)
        states = [{n: w for n, w in model.named_parameters() if "lora_A" in n} for model in (first, again, other)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not any(torch.equal(states[0][name], states[2][name]) for name in states[0])

    def test_only_the_adapter_is_trainable(self):
        model = load_model("pocket", trainable=True).model
        assert all(("lora_" in name) == weight.requires_grad for name, weight in model.named_parameters())
        assert not any(w.requires_grad for w in load_model("pocket").model.parameters())

    @pytest.mark.parametrize("trainable", [True, False])  # kept apart, and merged into the weights
    def test_reloaded_adapter_says_the_same(self, trained, trainable):
        loaded, folder = trained
        again = load_model("pocket", adapter=folder, trainable=trainable)
        torch.testing.assert_close(log_probabilities(again), log_probabilities(loaded), rtol=0, atol=2e-4)
        base = log_probabilities(load_model("pocket"))
        assert (log_probabilities(again) - base).abs().max() > 0.1  # the adapter is really there

    def test_files_tell_where_it_came_from_and_nothing_of_this_machine(self, trained):
        loaded, folder = trained
        provenance = json.loads((folder / "currreft.json").read_text())
        assert provenance["base"] == "pocket" and provenance["base_hash"] == loaded.base_hash
        assert provenance["parent"] is None and provenance["stage"] == "open"
        assert str(pocket_folder("pocket").parent) not in (folder / "adapter_config.json").read_text()

    def test_parent_is_noted(self, trained, tmp_path):
        child = load_model("pocket", adapter=trained[1], trainable=True)
        saved = save_adapter(child, tmp_path / "adapter", "choice")
        assert read_provenance(saved)["parent"] == file_digest(trained[1] / "adapter_model.safetensors")

    def test_other_base_is_refused(self, trained, tmp_path):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        provenance = json.loads((folder / "currreft.json").read_text())
        (folder / "currreft.json").write_text(json.dumps({**provenance, "base": "Qwen/other", "base_hash": "0" * 16}))
        with pytest.raises(InputError, match="was made for the base model 'Qwen/other'"):
            load_model("pocket", adapter=folder)

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
            load_model("pocket", adapter=folder)

    @pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "currreft.json"])
    def test_a_pointer_of_git_lfs_is_refused(self, trained, tmp_path, name):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 42000000\n")
        with pytest.raises(InputError, match=rf"{name} is only a pointer of git-lfs"):
            load_model("pocket", adapter=folder)

    def test_weights_that_are_cut_off_are_refused(self, trained, tmp_path):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        with (folder / "adapter_model.safetensors").open("r+b") as stream:
            stream.truncate(20_000)
        with pytest.raises(InputError, match=r"adapter_model\.safetensors is cut off: it has 20,000 bytes"):
            load_model("pocket", adapter=folder)

    @pytest.mark.filterwarnings("ignore:Found missing adapter keys")
    def test_unmatched_weight_is_refused(self, trained, tmp_path):
        folder = shutil.copytree(trained[1], tmp_path / "adapter")
        weights = load_file(folder / "adapter_model.safetensors")
        name = sorted(weights)[0]
        weights[name.replace("language_model", "text_model")] = weights.pop(name)  # an older naming
        save_file(weights, folder / "adapter_model.safetensors")
        with pytest.raises(InputError, match="2 adapter weights do not match"):
            load_model("pocket", adapter=folder)

    @pytest.mark.parametrize("lora_on", LORA_ON)
    def test_folder_remembers_its_layers(self, lora_on, tmp_path):
        loaded = load_model("pocket", trainable=True, lora_on=lora_on)
        randomise_adapter(loaded)
        folder = save_adapter(loaded, tmp_path / "adapter", "open")
        again = load_model("pocket", adapter=folder, trainable=True)  # its own layers hold, whatever the default
        trained = [{n: w for n, w in m.named_parameters() if w.requires_grad} for m in (loaded.model, again.model)]
        assert trained[0].keys() == trained[1].keys()
        assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
        assert any(".visual.blocks." in name for name in trained[1]) == (lora_on == "vision")

    def test_unknown_layers_are_refused(self):
        with pytest.raises(InputError, match="lora_on is 'tower'; it must be one of language, merger, vision"):
            load_model("pocket", trainable=True, lora_on="tower")

    def test_rank_zero_is_refused(self):
        with pytest.raises(InputError, match="lora_rank is 0"):
            load_model("pocket", trainable=True, lora_rank=0)


class TestRefusals:
    def test_unknown_family(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "llava"}')
        with pytest.raises(InputError, match=r"family 'llava'; known are qwen2_vl.*FAMILIES"):
            load_model(str(tmp_path))

    def test_folder_without_a_model(self, tmp_path):
        with pytest.raises(InputError, match="holds no readable model"):
            load_model(str(tmp_path))

    def test_folder_without_a_processor(self, tmp_path):
        for name in ("config.json", "model.safetensors"):
            shutil.copy(pocket_folder("pocket") / name, tmp_path)
        with pytest.raises(InputError, match="has no processor"):
            load_model(str(tmp_path))

    @pytest.mark.parametrize("name, value", [("patch_size", 16), ("merge_size", 1), ("temporal_patch_size", 1)])
    def test_processor_of_another_model(self, tmp_path, name, value):
        folder = shutil.copytree(pocket_folder("pocket"), tmp_path / "copy")
        settings = json.loads((folder / "processor_config.json").read_text())
        settings["image_processor"][name] = value
        (folder / "processor_config.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match=rf"has {name} {value}, but the model's config\.json has.*; copy"):
            load_model(str(folder))

    def test_tokenizer_of_another_model(self, tmp_path):
        folder = shutil.copytree(pocket_folder("pocket"), tmp_path / "copy")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"image_token_id": 5}))
        with pytest.raises(InputError, match=r"the image token 6, but the model's config\.json has 5"):
            load_model(str(folder))

    @pytest.mark.parametrize(
        "old, new, message",
        [
            ("<|image_pad|>", "", "writes <|image_pad|> 0 times for one image"),  # a template for text
            ("<|image_pad|>", "<|image_pad|><|image_pad|>", "writes <|image_pad|> 2 times"),
            ("{%- if add_generation_prompt", "{%- if false", "has no generation prompt"),
            ("{{- part['text'] -}}", "", "leaves the question out"),
            ("{%- for message in messages -%}", "{%- for message -%}", " fails ("),
        ],
    )
    def test_chat_template_that_does_not_ask(self, tmp_path, old, new, message):
        folder = shutil.copytree(pocket_folder("pocket"), tmp_path / "copy")
        template = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").write_text(template.replace(old, new))
        with pytest.raises(InputError, match=re.escape(message)):
            load_model(str(folder))

    def test_folder_without_weights(self, tmp_path):
        shutil.copytree(pocket_folder("pocket"), tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
        with pytest.raises(InputError, match="has no weights"):
            load_model(str(tmp_path / "copy"))

    def test_large_model_to_train_without_a_gpu(self, tmp_path, monkeypatch):
        folder = shutil.copytree(pocket_folder("pocket"), tmp_path / "copy")
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["hidden_size"] = 1536
        (folder / "config.json").write_text(json.dumps(config))
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(InputError, match="needs a CUDA GPU, and torch finds none here"):
            load_model(str(folder), trainable=True)

    def test_hub_that_may_not_be_asked(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match="neither a local folder nor"):
            load_model("nobody/has-this-model")

    @pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
    def test_hub_that_does_not_answer_is_asked_once(self, monkeypatch, endpoint):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        start = time.monotonic()
        with pytest.raises(InputError, match=r"hub does not answer .*check the name and the network"):
            load_model("nobody/has-that-model")
        assert time.monotonic() - start < files.HUB_TIMEOUT_S + 2

    def test_model_that_is_here_needs_no_hub(self, monkeypatch, tmp_path, capsys):
        snapshot = tmp_path / "models--somebody--pocket" / "snapshots" / ("0" * 40)
        shutil.copytree(pocket_folder("pocket"), snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
        for name, value in (("HF_HUB_OFFLINE", False), ("ENDPOINT", "http://127.0.0.1:9"), ("HF_HUB_CACHE", tmp_path)):
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        assert load_model("somebody/pocket").name == "somebody/pocket"
        assert "does not answer: using the cached files of somebody/pocket" in capsys.readouterr().out


def test_weights_hash_notices_a_changed_weight_and_ignores_other_files(tmp_path):
    shutil.copytree(pocket_folder("pocket"), tmp_path / "copy")
    before = hash_weights(str(tmp_path / "copy"))
    (tmp_path / "copy" / "notes.txt").write_text("not a weight")
    assert hash_weights(str(tmp_path / "copy")) == before == hash_model("pocket", tmp_path)
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    save_file({name: weight * 1.001 for name, weight in weights.items()}, tmp_path / "copy" / "model.safetensors")
    assert hash_weights(str(tmp_path / "copy")) != before
