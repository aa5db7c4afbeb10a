"""Dense copies of the language model's layers for decoding: unpacked from 4 bit, with the adapter added.

Otherwise every token unpacks each 4-bit layer again and computes the adapter's two small products. The copy is rounded
to the precision that the layer computes in: exact in float32; in 16 bit the sum of weight and adapter is rounded. The
layers themselves stay unchanged, because merging and unmerging at every step would accumulate rounding errors.
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
    """Let adapted and 4-bit layers compute with one dense weight each within the context; no gradients.

    Takes 16 bits (32 where the model is in float32) for each weight of these layers.
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
            del layer.forward  # uncovers the method of the class


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
