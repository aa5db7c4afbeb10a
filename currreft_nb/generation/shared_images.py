"""Prepare and encode each image once, although a group of completions and later passes use it many times.

With eight completions, processor and frozen vision tower would work on one image eight times in generation and eight
times in training. Each image is encoded alone, so its features do not depend on the rest of a batch, and an interrupted
run computes the same features again, bit for bit.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from transformers import BatchFeature

from currreft_nb.models.adapters import inner_model

KEPT = 64  # images whose features are kept; for a 401k-pixel image and a 3B model about 2 MiB each


@contextmanager
def shared_images(model: Any, processor: Any) -> Iterator[None]:
    """Let processor and vision tower work on each different image once within the context.

    A tower that is trained works on every copy. `image_free_batches` holds as well.
    """
    tower = inner_model(model).visual
    if "forward" in vars(tower):  # shared already
        yield
        return
    if not any(weight.requires_grad for weight in tower.parameters()):
        tower.forward = _encoding_once(tower.forward)
    images = processor.image_processor
    prepare = _preparing_once(images)
    try:
        # The class is patched, because attributes of the object would be saved with every checkpoint.
        with mock.patch.object(type(images), "preprocess", prepare), image_free_batches(model):
            yield
    finally:
        vars(tower).pop("forward", None)  # uncovers the method of the class


@contextmanager
def image_free_batches(model: Any) -> Iterator[None]:
    """Let the model accept batches without images whose pixel tensor is empty; transformers fails on them."""
    hook = inner_model(model).register_forward_pre_hook(_without_empty_pixels, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _without_empty_pixels(module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    pixels = kwargs.get("pixel_values")
    if pixels is not None and not len(pixels):
        kwargs = {name: value for name, value in kwargs.items() if name not in ("pixel_values", "image_grid_thw")}
    return args, kwargs


def _preparing_once(processor: Any) -> Callable:
    """Return a `preprocess` that works on each image object once for this processor, and as before for others."""
    prepare = type(processor).preprocess
    known: OrderedDict[int, tuple[Any, Any]] = OrderedDict()  # holding the object keeps its id from being used again

    def preprocess(self: Any, images: list, **kwargs: Any) -> BatchFeature:
        if self is not processor:
            return prepare(self, images, **kwargs)
        flat = [image for entry in images for image in (entry if isinstance(entry, list) else [entry])]
        for image in flat:
            if id(image) not in known:
                known[id(image)] = image, prepare(self, [image], **kwargs | {"return_tensors": "pt"})
            known.move_to_end(id(image))
        found = [known[id(image)][1] for image in flat]
        while len(known) > max(KEPT, len(flat)):
            known.popitem(last=False)
        return BatchFeature({name: torch.cat([made[name] for made in found]) for name in found[0]})

    return preprocess


def _encoding_once(encode: Callable) -> Callable:
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
    """Return a 64-bit code of each image's values: a sum with fixed random weights, exact in integers."""
    whole = torch.int32 if blocks[0].element_size() == 4 else torch.int16
    weights: dict[int, torch.Tensor] = {}
    sums = []
    for block in blocks:
        count = block.numel()
        if count not in weights:
            generator = torch.Generator().manual_seed(0)
            weights[count] = torch.randint(-(2**62), 2**62, (count,), generator=generator).to(block.device)
        sums.append((block.reshape(-1).view(whole) * weights[count]).sum())
    return torch.stack(sums).tolist()


def _joined(outputs: list[Any]) -> Any:
    """Return one output of the tower for several images, with the fields that the language model reads."""
    joined = {"pooler_output": torch.cat([output.pooler_output for output in outputs])}
    if "deepstack_features" in outputs[0]:  # Qwen3-VL passes on features of several layers
        layers = zip(*(output.deepstack_features for output in outputs))
        joined["deepstack_features"] = [torch.cat(layer) for layer in layers]
    return type(outputs[0])(**joined)
