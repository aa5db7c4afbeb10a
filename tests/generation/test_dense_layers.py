"""Dense copies compute what adapter and 4-bit layers compute, and leave both as they were."""

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer

from currreft_nb.generation.decode import dense_layers
from currreft_nb.models.load import load_model


def with_adapter(**options):
    """Return a pocket model with an adapter that does something: a new one changes nothing."""
    loaded = load_model("pocket", trainable=True, **options)
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return loaded.model.eval()


def logits(model):
    ids = torch.arange(4, 40).view(2, 18)  # more than one row and token: bitsandbytes has another kernel for those
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("four_bit", [False, True])
def test_logits_are_those_of_the_layers(four_bit):
    model = with_adapter(four_bit=four_bit)
    plain = logits(model)
    with model.disable_adapter():
        assert (logits(model) - plain).abs().max() > 1  # the adapter matters
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    with dense_layers(model):
        dense = logits(model)
        assert all("forward" in vars(module) for module in replaced(model))
    torch.testing.assert_close(dense, plain, rtol=0, atol=1e-3)
    torch.testing.assert_close(logits(model), plain, rtol=0, atol=0)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())


def replaced(model):
    """Return the outermost adapted or 4-bit layers."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    inner = {layer.get_base_layer() for layer in layers}
    return layers + [m for m in model.modules() if isinstance(m, Linear4bit) and m not in inner]


def test_four_bit_model_without_adapter_is_unpacked():
    model = load_model("pocket", four_bit=True).model
    plain = logits(model)
    with dense_layers(model):
        torch.testing.assert_close(logits(model), plain, rtol=0, atol=1e-3)
    assert not any("forward" in vars(module) for module in replaced(model))


def test_adapter_that_is_switched_off_is_not_added():
    model = with_adapter()
    with model.disable_adapter():
        plain = logits(model)
        with dense_layers(model):
            torch.testing.assert_close(logits(model), plain, rtol=0, atol=1e-5)


def test_context_ends_cleanly_after_an_error():
    model = with_adapter()
    with pytest.raises(KeyError), dense_layers(model):
        raise KeyError
    assert not any("forward" in vars(module) for module in replaced(model))
