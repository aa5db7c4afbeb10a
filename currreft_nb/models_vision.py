"""Encode each image once: the copies of a group, and the same image again in the next pass, share their features.

A group of eight completions asks about one image eight times in generation and eight times in training, and the vision
tower, which is frozen, would do the same work sixteen times. Each image is encoded by itself, so that its features do
not depend on its neighbours in a batch: a run that was interrupted gets the same ones again, bit for bit.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

KEPT = 64  # images whose features are kept; for a 401k-pixel image and a 3B model about 2 MiB each


@contextmanager
def shared_images(model: Any) -> Iterator[None]:
    """Let the model's vision tower encode every different image once, as long as the context lasts and it is frozen.

    Batches in which no row has an image are handled, too; transformers fails on those where pixels are passed but
    empty.
    """
    inner = (model.get_base_model() if isinstance(model, PeftModel) else model).model
    tower = inner.visual
    if "forward" in vars(tower):  # shared already
        yield
        return
    hook = inner.register_forward_pre_hook(_without_empty_pixels, with_kwargs=True)
    if not any(weight.requires_grad for weight in tower.parameters()):
        tower.forward = _sharing(tower.forward)
    try:
        yield
    finally:
        hook.remove()
        vars(tower).pop("forward", None)  # the method of the class shows again


def _without_empty_pixels(module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    pixels = kwargs.get("pixel_values")
    if pixels is not None and not len(pixels):
        kwargs = {name: value for name, value in kwargs.items() if name not in ("pixel_values", "image_grid_thw")}
    return args, kwargs


def _sharing(encode: Callable) -> Callable:
    features: OrderedDict[tuple, Any] = OrderedDict()

    def forward(hidden_states: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        blocks = hidden_states.split(grid_thw.prod(dim=-1).tolist())  # one (patches, values) per image
        keys = [(*grid, code) for grid, code in zip(grid_thw.tolist(), _codes(blocks))]
        for key, block, grid in zip(keys, blocks, grid_thw):
            if key not in features:
                with torch.no_grad():
                    features[key] = encode(block, grid[None], **kwargs)
            features.move_to_end(key)
        output = _joined([features[key] for key in keys])
        while len(features) > max(KEPT, len(set(keys))):
            features.popitem(last=False)
        return output

    return forward


def _codes(blocks: tuple[torch.Tensor, ...]) -> list[int]:
    """Return a 64-bit code of each image's values: a sum with fixed random weights, exact in whole numbers."""
    whole = torch.int32 if blocks[0].element_size() == 4 else torch.int16
    weights = {}
    sums = []
    for block in blocks:
        count = block.numel()
        if count not in weights:
            generator = torch.Generator().manual_seed(0)
            weights[count] = torch.randint(-(2**62), 2**62, (count,), generator=generator).to(block.device)
        sums.append((block.reshape(-1).view(whole) * weights[count]).sum())
    return torch.stack(sums).tolist()


def _joined(outputs: list[Any]) -> Any:
    """Return one output of the tower for several images; what the language model does not read is left out."""
    joined = {"pooler_output": torch.cat([output.pooler_output for output in outputs])}
    if "deepstack_features" in outputs[0]:  # Qwen3-VL hands down features of several layers
        layers = zip(*(output.deepstack_features for output in outputs))
        joined["deepstack_features"] = [torch.cat(layer) for layer in layers]
    return type(outputs[0])(**joined)
