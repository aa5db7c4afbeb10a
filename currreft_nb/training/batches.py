"""Rows of a training batch, with their pixels, which are stored image after image: choose some, or join two batches.

A batch is what TRL's trainer makes of a step's completions: a dict of tensors with a row for each completion. Prompts
are padded on the left, completions on the right.
"""

from typing import Any

import torch
from torch.nn.functional import pad
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

IMAGES = ("pixel_values", "image_grid_thw")
PADDED = {  # tensors by token: which are widened on the left, and which on the right
    "prompt_ids": (True, False),
    "prompt_mask": (True, False),
    "completion_ids": (False, True),
    "completion_mask": (False, True),
    "old_per_token_logps": (False, True),
    "ref_per_token_logps": (False, True),
    "mm_token_type_ids": (True, True),
}


def select_rows(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Return some rows of a training batch."""
    count = len(inputs["advantages"])

    def choose(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim():
            return value[rows] if len(value) == count else value
        by_row = isinstance(value, (list, tuple)) and len(value) == count
        return [value[row] for row in rows] if by_row else value

    by_name = split_pixel_values_by_grid(inputs)
    return unsplit_pixel_values_by_grid({name: choose(value) for name, value in by_name.items()})


def join_rows(first: dict[str, Any], second: dict[str, Any], pad_token: int) -> dict[str, Any]:
    """Return the rows of both batches as one, padded to the longer prompt and completion.

    Either may hold no image at all. `num_items_in_batch`, the number of tokens that have a loss, is that of both.
    """
    pictured = "num_images" in first or "num_images" in second
    batches = [_with_images(batch) if pictured else batch for batch in (first, second)]
    prompt, completion = (max(batch[name].shape[1] for batch in batches) for name in ("prompt_ids", "completion_ids"))

    def widened(batch: dict[str, Any], name: str) -> Any:
        left, right = PADDED[name]
        spare = prompt - batch["prompt_ids"].shape[1], completion - batch["completion_ids"].shape[1]
        value = pad_token if name in ("prompt_ids", "completion_ids") else 0
        return pad(batch[name], (spare[0] * left, spare[1] * right), value=value)

    joined: dict[str, Any] = {}
    for name in {**batches[0], **batches[1]}:
        parts = [widened(batch, name) if name in PADDED else batch[name] for batch in batches if name in batch]
        if name == "num_images":
            joined[name] = parts[0] + parts[1]
        elif name != "num_items_in_batch":
            joined[name] = torch.cat(parts)
    return joined | {"num_items_in_batch": joined["completion_mask"].sum()}


def _with_images(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch with entries that say of each row that it has no image, where it has none about images."""
    if "num_images" in batch:
        return batch
    tokens = torch.zeros_like(torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1))
    return batch | {"num_images": [0] * len(batch["prompt_ids"]), "mm_token_type_ids": tokens}
