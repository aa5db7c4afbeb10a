"""Decode token by token: a prompt is read once for all its completions, and finished rows leave the batch.

Eight completions of a question about a 401k-pixel image share some 700 tokens of prompt. These pass the model once, and
their keys and values are repeated.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch.nn.functional import pad

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
