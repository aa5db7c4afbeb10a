"""Checks that stop a training: missing gradients, equal or truncated completions, an adapter that was not saved."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from currreft_nb import InputError
from currreft_nb.core.journal import append_journal
from currreft_nb.generation.generate import encode_answer, log_probabilities
from currreft_nb.generation.shared_images import shared_images
from currreft_nb.models.load import load_model, save_adapter
from currreft_nb.training import trl_config
from currreft_nb.training.checks import GradientCheck, check_first_steps, check_saved, is_zero
from currreft_nb.training.rows import sft_targets
from currreft_nb.training.train import train_sft
from tests.models.test_load import randomise_adapter
from tests.training.test_train import SMALL, adapter_weights, grpo, mixed_samples
from tests.training.test_trainers_sft import FINE


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return mixed_samples(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def pictured(samples):
    return [sample for sample in samples if sample.image]


TEXT = {"A": 1, "B": 1}  # gradients of a step without an image
IMAGE = {"A": 1, "B": 1, "vision_A": 1, "vision_B": 1}


class TestLoraOn:
    @pytest.mark.parametrize("lora_on", ["merger", "vision"])
    @pytest.mark.parametrize("four_bit", [False, True])
    def test_every_matrix_of_merger_and_tower_learns(self, pictured, tmp_path, lora_on, four_bit):
        options = {"four_bit": four_bit, "lora_on": lora_on}
        grpo(pictured, tmp_path, replace(SMALL, steps=3, save_every=0), **options)
        weights = adapter_weights(tmp_path)
        start = {n: w for n, w in load_model("pocket", trainable=True, **options).model.named_parameters()}
        # merger: two layers; tower: five layers in each of three blocks; language: seven in each of three
        assert len(weights) == 2 * (21 + {"merger": 2, "vision": 2 + 15}[lora_on])
        for name, weight in weights.items():
            assert weight.dtype == torch.float32 and weight.any()
            assert not torch.equal(weight, start[name.replace(".weight", ".default.weight")])

    @pytest.mark.parametrize("four_bit", [False, True])
    def test_gradients_pass_through_checkpointed_activations(self, pictured, tmp_path, monkeypatch, four_bit):
        """As on a GPU, where activations are computed again: the pixels themselves have no gradient to hand on."""
        plain = trl_config.common
        monkeypatch.setattr(trl_config, "common", lambda *given: plain(*given) | {"gradient_checkpointing": True})
        settings = replace(SMALL, steps=3, save_every=0)
        grpo(pictured, tmp_path, settings, four_bit=four_bit, lora_on="vision")
        assert all(weight.any() for weight in adapter_weights(tmp_path).values())

    def test_fine_tuning_reaches_them_too(self, pictured, tmp_path):
        loaded = load_model("pocket", trainable=True, lora_on="vision")
        rows = sft_targets(pictured, loaded.style)
        train_sft(loaded, rows, tmp_path, replace(FINE, prompts=8))
        assert all(weight.any() for weight in adapter_weights(tmp_path).values())

    def test_images_are_not_shared_while_the_merger_learns(self, pictured):
        """Features kept from before a step would hide what the step changed, and stop the gradient."""
        loaded = load_model("pocket", trainable=True, lora_on="merger")
        inputs = encode_answer(loaded, pictured[0])
        with shared_images(loaded.model, loaded.processor):
            before = loaded.model(**inputs).logits
            before.sum().backward()
            weight = next(w for n, w in loaded.model.named_parameters() if "merger" in n and "lora_B" in n)
            assert weight.grad.any()
            weight.data += 0.1
            assert not torch.equal(loaded.model(**inputs).logits, before)


class TestGradientCheck:
    """Steps of a small model: what each weight's gradient is, and whether that is fine."""

    NAMES = ("language.lora_A", "language.lora_B", "model.visual.lora_A", "model.visual.lora_B")

    class Small(torch.nn.Module):
        def __init__(self, names):
            super().__init__()
            self.weights = {name: torch.nn.Parameter(torch.zeros(2)) for name in names}

        def named_parameters(self, *args, **kwargs):
            return iter(self.weights.items())

        def set(self, **values):
            for name, weight in self.weights.items():
                value = values.get(("vision_" if "visual" in name else "") + name[-1])
                weight.grad = None if value is None else torch.full((2,), float(value))

    def steps(self, *steps, vision=False):
        model, check = self.Small(self.NAMES if vision else self.NAMES[:2]), GradientCheck()
        for step in steps:
            model.set(**step)
            check.look(model)
        return check

    @pytest.mark.parametrize(
        "steps",
        [
            [{"A": 0, "B": 1}, {"A": 1, "B": 1}],  # a new adapter
            [{"A": 1, "B": 1}, {"A": 1, "B": 1}],  # one that is continued
            [{"A": 0, "B": 0}, {"A": 0, "B": 1}, {"A": 0, "B": 0}, {"A": 1, "B": 1}],  # silent steps between
            [{"A": 0, "B": 1}, {"A": torch.inf, "B": 1}, {"A": 1, "B": 1}],  # a step that loss scaling skips
            [{"A": 0, "B": 1}, {"A": 1, "B": 1}, {"A": 0, "B": 1}],  # not looked at any more
        ],
    )
    def test_fine(self, steps):
        assert self.steps(*steps).signals["language"] > 0

    @pytest.mark.parametrize(
        "steps, message",
        [
            ([{"B": 1}], "no gradient reaches 1 of 2 adapter weights: language.lora_A"),
            ([{"A": 0, "B": 1}, {"A": 0, "B": 1}], "in 2 steps no gradient reached 1 of 2 adapter weights"),
            ([{"A": 1, "B": 0}, {"A": 1, "B": 0}], "language.lora_B"),
        ],
    )
    def test_not_fine(self, steps, message):
        with pytest.raises(RuntimeError, match=message):
            self.steps(*steps)

    def test_vision_may_wait_for_an_image(self):
        first = {"A": 0, "B": 1, "vision_A": 0, "vision_B": 1}
        self.steps(TEXT, TEXT, TEXT, first, TEXT, IMAGE, *[TEXT] * 20, vision=True)

    def test_a_vision_tower_without_gradients_is_noticed(self):
        self.steps(*[TEXT] * 9, vision=True)
        with pytest.raises(InputError, match="set lora_on to language"):
            self.steps(*[TEXT] * 10, vision=True)

    def test_part_of_the_tower_is_not_enough(self):
        with pytest.raises(RuntimeError, match=r"visual\.lora_A"):
            self.steps(*[{"A": 1, "B": 1, "vision_A": 0, "vision_B": 1}] * 2, vision=True)


class TestFirstSteps:
    def look(self, folder, completions, truncated, zero_variance, prompts=4, steps=3):
        """Write what a run leaves in its first steps, and look at it in the last of them."""
        settings = replace(SMALL, prompts_per_step=prompts)
        for step in range(1, steps + 1):
            rows = [{"id": f"q{question}", "completion": text} for question in range(prompts) for text in completions]
            append_journal(folder / "completions" / f"step-{step:05d}.jsonl", rows)
            row = {"step": step, "truncated": truncated, "zero_variance": zero_variance}
            check_first_steps(folder, row, settings)
            append_journal(folder / "metrics.jsonl", [row])

    @pytest.mark.parametrize(
        "completions, truncated, zero_variance, message",
        [
            (["a", "a"], 0.0, 1.0, "raise temperature, which is 1.3"),
            (["a", "a"], 1.0, 1.0, "100% of the completions .* raise it"),  # equal because they were cut
            (["a", "b"], 0.95, 1.0, "95% of .* max_new_tokens, which is 10, .* nothing can be learnt"),
        ],
    )
    def test_refused(self, tmp_path, completions, truncated, zero_variance, message):
        (tmp_path / "completions").mkdir()
        with pytest.raises(InputError, match=message):
            self.look(tmp_path, completions, truncated, zero_variance)

    @pytest.mark.parametrize(
        "truncated, zero_variance, said",
        [
            (1.0, 0.9, "100% of the completions"),  # cut off after the answer: there is something to learn
            (0.95, 0.5, "95% of the completions"),
            (0.85, 1.0, ""),
        ],
    )
    def test_warned(self, tmp_path, capsys, truncated, zero_variance, said):
        (tmp_path / "completions").mkdir()
        self.look(tmp_path, ["a", "b"], truncated, zero_variance)
        printed = capsys.readouterr().out
        assert said in printed and bool(printed) == bool(said)

    def test_few_groups_are_waited_for(self, tmp_path):
        (tmp_path / "completions").mkdir()
        self.look(tmp_path, ["a", "a"], 0.0, 1.0, prompts=1, steps=7)
        with pytest.raises(InputError, match="in the first 8 steps"):
            self.look(tmp_path, ["a", "a"], 0.0, 1.0, prompts=1, steps=8)

    def test_real_run_at_no_temperature_stops(self, samples, tmp_path):
        with pytest.raises(InputError, match=r"in the first 4 steps all completions .* raise temperature"):
            grpo(samples, tmp_path, replace(SMALL, steps=6, temperature=1e-4))

    def test_real_run_that_is_cut_off_stops(self, samples, tmp_path):
        with pytest.raises(InputError, match="max_new_tokens, which is 2, and no reward differed"):
            grpo(samples[:2], tmp_path, replace(SMALL, steps=6, max_new_tokens=2))  # boxes have more tokens


@pytest.mark.parametrize("four_bit", [False, True])
class TestSaved:
    def saved(self, folder, four_bit):
        loaded = load_model("pocket", trainable=True, four_bit=four_bit, lora_on="vision")
        assert is_zero(loaded.model)
        randomise_adapter(loaded)
        assert not is_zero(loaded.model)
        loaded.model.eval()
        return loaded, save_adapter(loaded, folder / "adapter", "open")

    def test_reloaded_says_the_same_and_the_model_is_left_as_it_was(self, samples, tmp_path, four_bit):
        loaded, folder = self.saved(tmp_path, four_bit)
        before = {name: (weight.clone(), weight.requires_grad) for name, weight in loaded.model.named_parameters()}
        assert check_saved(loaded, folder, samples) == 0
        after = dict(loaded.model.named_parameters())
        assert before.keys() == after.keys() and list(loaded.model.peft_config) == ["default"]
        assert all(torch.equal(weight, after[name]) for name, (weight, _) in before.items())
        assert all(trained == after[name].requires_grad for name, (_, trained) in before.items())
        assert loaded.model.active_adapter == "default" and not loaded.model.training

    def test_changed_weight_is_noticed(self, samples, tmp_path, four_bit):
        loaded, folder = self.saved(tmp_path, four_bit)
        weights = load_file(folder / "adapter_model.safetensors")
        weights[sorted(weights)[0]][0, 0] += 1e-6
        save_file(weights, folder / "adapter_model.safetensors")
        with pytest.raises(RuntimeError, match="does not hold the weights that were trained"):
            check_saved(loaded, folder, samples)

    def test_changed_scale_is_noticed(self, samples, tmp_path, four_bit):
        """The weights alone do not tell: alpha and rank say how much they count."""
        loaded, folder = self.saved(tmp_path, four_bit)
        config = (folder / "adapter_config.json").read_text()
        (folder / "adapter_config.json").write_text(config.replace('"lora_alpha": 32', '"lora_alpha": 16'))
        with pytest.raises(RuntimeError, match="answers differently"):
            check_saved(loaded, folder, samples)


def test_comparison_sees_an_adapter(pictured):
    loaded = load_model("pocket", trainable=True)
    inputs = encode_answer(loaded, pictured[0])
    base = log_probabilities(loaded.model, inputs, 4)
    randomise_adapter(loaded)
    assert base.shape == (1, 4, loaded.model.config.text_config.vocab_size)
    assert (log_probabilities(loaded.model, inputs, 4) - base).abs().max() > 0.1
