"""Decode token by token: a prompt is read once for all its completions, and finished rows leave the batch.

Eight completions of a question about a 401k-pixel image share about 700 tokens of prompt. These pass the model once,
and their keys and values are repeated. In float32, `dense_layers` saves the work of adapters and 4-bit layers.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch.nn.functional import linear, pad

from currreft_nb.models.adapters import inner_model

Choose = Callable[[torch.Tensor, list[int], int], torch.Tensor]
"""Choose a token for each row, given float32 logits (rows, vocabulary), the rows' numbers and the step's number."""


@torch.no_grad()
def decode(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    *,
    copies: int,
    max_new_tokens: int,
    choose: Choose,
    ends: Collection[int],
    banned: Collection[int] = (),
    is_over: Callable[[list[int]], bool] = lambda tokens: False,
) -> list[list[int]]:
    """Return `copies` completions of each prompt, as lists of tokens; those of one prompt are neighbours.

    `inputs`: the processor's output for the prompts, padded on the left. `ends`: tokens that end a completion and
    belong to it. `banned`: tokens never chosen. `is_over(tokens)` ends a completion given its tokens so far. Mode and
    precision are the model's own; gradient checkpointing must be off, since it forbids the cache.
    """
    positions = prompt_positions(model, inputs)
    output = model(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
    cache = output.past_key_values
    if copies > 1:
        cache.batch_repeat_interleave(copies)
    logits, seen, place = (
        tensor.repeat_interleave(copies, dim=0)
        for tensor in (output.logits[:, -1], inputs["attention_mask"].bool(), positions.amax(dim=(0, 2)))
    )
    found: list[list[int]] = [[] for _ in range(len(logits))]
    rows = list(range(len(logits)))
    for step in range(max_new_tokens):
        logits = logits.float()
        logits[:, list(banned)] = -torch.inf
        tokens = choose(logits, rows, step)
        for row, token in zip(rows, tokens.tolist()):
            found[row].append(token)
        going = [i for i, row in enumerate(rows) if found[row][-1] not in ends and not is_over(found[row])]
        if not going or step + 1 == max_new_tokens:
            break
        if len(going) < len(rows):
            rows, kept = [rows[i] for i in going], torch.tensor(going, device=tokens.device)
            cache.batch_select_indices(kept)
            tokens, seen, place = tokens[kept], seen[kept], place[kept]
        seen, place = pad(seen, (0, 1), value=True), place + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=seen[:, None, None],
            position_ids=place.expand(3, -1)[..., None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return found


def prompt_positions(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the positions of prompts in time, height and width: (3, prompts, tokens), 0 where there is padding."""
    kinds = inputs.get("mm_token_type_ids")
    return inner_model(model).get_rope_index(
        inputs["input_ids"],
        torch.zeros_like(inputs["input_ids"]) if kinds is None else kinds,
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )[0]


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
