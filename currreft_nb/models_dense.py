"""Dense copies of the language model's layers for the time of decoding: unpacked from 4 bit, the adapter added.

A 4-bit layer is unpacked anew for every token, and an adapter adds two small products to every layer. Decoding a
hundred tokens with fixed weights need not do either a hundred times. The copy is rounded to the precision that the
layer computes in: of float32 nothing is lost, of 16 bit what the sum of weight and adapter does not hold. The layers
themselves are not touched: merging into them and out again after every step would add up rounding errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch.nn.functional import linear


@contextmanager
def dense_layers(model: Any) -> Iterator[None]:
    """Let adapted and 4-bit layers compute with one dense weight each as long as the context lasts; no gradients.

    It takes 16 bits (32 where the model is in float32) for each weight of these layers.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    wrapped = {layer.get_base_layer() for layer in layers}
    layers += [module for module in model.modules() if isinstance(module, Linear4bit) and module not in wrapped]
    with torch.no_grad():
        for layer in layers:
            layer.forward = partial(_forward, *_dense(layer, model.dtype))
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the method of the class shows again


def _forward(weight: torch.Tensor, bias: torch.Tensor | None, values: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    return linear(values, weight, bias)


def _dense(layer: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
    base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    weight = base.weight
    if isinstance(base, Linear4bit):
        weight = dequantize_4bit(weight.data, weight.quant_state)
    if isinstance(layer, LoraLayer) and not layer.disable_adapters:
        added = sum(layer.get_delta_weight(name).float() for name in layer.active_adapters if name in layer.lora_A)
        weight = weight.float() + added
    return weight.to(dtype), None if base.bias is None else base.bias.to(dtype)
