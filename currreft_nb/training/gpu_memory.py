"""GPU memory of a training: measure its peak, and rehearse its largest step before the first one.

So memory runs out in the first minute or never.

The longest prompts and the largest image go through the trainer's own generation, loss and backward pass, with answers
of full length, and AdamW's moments and an earlier batch's pixels in memory. Then gradients, random state and the
trainer's attributes are restored: the training is the same, bit for bit, as without a rehearsal.
"""

import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import Trainer

from currreft_nb import InputError
from currreft_nb.core.boxes import resized_size
from currreft_nb.core.samples import Sample
from currreft_nb.generation.generate import prompt_text
from currreft_nb.models.adapters import inner_model
from currreft_nb.models.load import Loaded

GIB = 1024**3
ADVICE = {  # the parameters to lower, by the phase in which memory ran out
    "loading": "set four_bit, or take a smaller model",
    "baseline": "set validation_questions and rate_completions to 0, or lower prompts_per_step or group_size, then"
    " max_new_tokens",
    "vision": "lower max_pixels, or set four_bit",
    "generation": "lower prompts_per_step or group_size, then max_new_tokens and max_pixels, or set four_bit",
    "training": "lower micro_batch, then max_pixels and max_new_tokens, or set four_bit",
}
NOTES = ("_metrics", "_logs", "_pending_extra_logs", "generation_config")  # attributes that the trainer mutates


def schedule(
    when: str,
    watch: Any,
    trainer: Trainer,
    loaded: Loaded,
    drawn: Sequence[tuple[Sample, str]],
    make_row: Callable[[Sample, str], dict],
) -> dict[str, dict]:
    """Let the trainer rehearse before its first step; return a dict that will then hold each phase's seconds and GiB.

    `when`: always, never, or auto (on a GPU only).
    """
    found: dict[str, dict] = {}

    def run() -> None:
        sizes = token_counts(loaded, drawn)
        copies, rows = getattr(trainer, "num_generations", 1), trainer.args.per_device_train_batch_size
        rows *= trainer.args.gradient_accumulation_steps if hasattr(trainer, "num_generations") else 1
        chosen = heaviest(sizes, math.ceil(rows / copies))
        batch = [make_row(*drawn[index]) for index in chosen for _ in range(copies)]
        found["rehearsal"] = rehearse(trainer, loaded, batch[:rows])
        if trainer.accelerator.is_main_process:
            print(rehearsal_line(found["rehearsal"], sizes))

    if when == "always" or (when == "auto" and loaded.device.type == "cuda"):
        watch.before_first_step = run
    return found


def token_counts(loaded: Loaded, drawn: Sequence[tuple[Sample, str]]) -> list[tuple[int, int]]:
    """Return for each sample the tokens of its question and text, and those of its image."""
    words = [prompt_text(loaded, sample, text) for sample, text in drawn]
    counts = map(len, loaded.processor.tokenizer(words)["input_ids"])
    return [(count - bool(s.image), _image_tokens(loaded, s)) for count, (s, _) in zip(counts, drawn, strict=True)]


def _image_tokens(loaded: Loaded, sample: Sample) -> int:
    if not sample.image or not sample.size:
        return 0
    return math.prod(resized_size(sample.size, loaded.style.frame)) // loaded.style.frame.factor**2


def heaviest(sizes: Sequence[tuple[int, int]], count: int) -> list[int]:
    """Return the indices of the largest batch: the longest samples, the largest image among them; too few repeat.

    >>> heaviest([(10, 5), (30, 1), (12, 6), (2, 9)], 2)
    [1, 3]
    """
    chosen = sorted(range(len(sizes)), key=lambda index: -sum(sizes[index]))[:count]
    largest_image = max(range(len(sizes)), key=lambda index: sizes[index][1])
    if len(chosen) > 1 and sizes[largest_image][1] > max(sizes[index][1] for index in chosen):
        chosen[-1] = largest_image
    return [chosen[place % len(chosen)] for place in range(count)]


def rehearse(trainer: Trainer, loaded: Loaded, rows: Sequence[dict]) -> dict[str, dict]:
    """Take the largest step and undo it; return seconds and, on a GPU, GiB of each phase.

    `rows`: a batch of the trainer's data set, for reinforcement learning a row for each completion. `trainer`: before
    its first step. Raises `InputError`, with the parameter to lower, when memory runs out.
    """
    found: dict[str, dict] = {}
    with _undone(trainer):
        with _measured(found, "vision", trainer):
            pixels = _encode_largest(loaded, rows)
        _take_step(trainer, rows, pixels, found)
    return found


def _take_step(trainer: Trainer, rows: Sequence[dict], pixels: int, found: dict[str, dict]) -> None:
    moments = _moments_of_adamw(trainer)
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps  # set when an epoch begins
    if hasattr(trainer, "num_generations"):
        _force(trainer)
        held = 3 if getattr(trainer, "refill", 0) else 1  # the batch before; with refill also those that it joins
        earlier = torch.empty(held * pixels * len(rows), dtype=torch.uint8, device=trainer.accelerator.device)
        with _measured(found, "generation", trainer):
            inputs = trainer._prepare_inputs(trainer.data_collator(list(rows)))
        del earlier
    else:
        inputs = trainer._prepare_inputs(trainer.data_collator(list(rows)))
    with _measured(found, "training", trainer):
        trainer.model_wrapped.train()
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(trainer.model_wrapped, inputs)
        trainer.accelerator.backward(loss)
    del moments


def _encode_largest(loaded: Loaded, rows: Sequence[dict]) -> int:
    """Send the largest image through the vision tower, without its cache; return the bytes of its pixels."""
    pictures = [picture for row in rows for picture in row["images"]]
    if not pictures:
        return 0
    largest = max(pictures, key=lambda picture: picture.width * picture.height)
    inputs = loaded.processor.image_processor(images=[largest], return_tensors="pt").to(loaded.device)
    tower = inner_model(loaded.model).visual
    with torch.no_grad():
        type(tower).forward(tower, inputs["pixel_values"].to(tower.dtype), inputs["image_grid_thw"])
    return inputs["pixel_values"].nbytes


def _moments_of_adamw(trainer: Trainer) -> list[torch.Tensor]:
    """Return tensors of the size of the optimiser's future state; none where it exists."""
    if trainer.optimizer.state:
        return []
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    return [torch.zeros_like(weight) for weight in weights for _ in range(2)]


def _force(trainer: Trainer) -> None:
    """Force every completion to its full length, and rewards that differ in each group, so that all give gradients."""
    trainer.end_tokens = []  # for the loop in `generation.decode`
    trainer.generation_config.min_new_tokens = trainer.generation_config.max_new_tokens  # for transformers' loop
    trainer.mask_truncated_completions = False  # they would all be cut off, and the loss would leave them out

    def rewards(inputs: list, prompts: list, *others: Any) -> torch.Tensor:
        turns = torch.arange(len(prompts), device=trainer.accelerator.device) % 2
        return turns[:, None].float().expand(-1, len(trainer.reward_funcs)).contiguous()

    trainer._calculate_rewards = rewards
    trainer.note = lambda rows, measures: None


@contextmanager
def _undone(trainer: Trainer) -> Iterator[None]:
    """Restore gradients, random state and the trainer's attributes afterwards."""
    notes, state = dict(vars(trainer)), dict(vars(trainer.state))
    for name in NOTES:
        if name in notes:
            vars(trainer)[name] = copy.deepcopy(notes[name])
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        for changed, before in ((vars(trainer), notes), (vars(trainer.state), state)):
            changed.clear()
            changed.update(before)
        trainer.model.zero_grad(set_to_none=True)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _measured(found: dict[str, dict], phase: str, trainer: Trainer) -> Iterator[None]:
    reset_peak()
    started_s = time.perf_counter()
    try:
        yield
    except torch.OutOfMemoryError:
        place = f"in the rehearsal of the largest step, in {phase}{_sizes(trainer, phase)}"
        raise InputError(f"the GPU ran out of memory {place}; {ADVICE[phase]}") from None
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    found[phase] = {"seconds": round(time.perf_counter() - started_s, 2), "gib": measured_peak()}


def _sizes(trainer: Trainer, phase: str) -> str:
    micro_batch = trainer.args.per_device_train_batch_size
    if phase == "generation":
        return f" of {micro_batch * trainer.args.steps_per_generation} completions at once"
    return f" with micro_batch {micro_batch}" if phase == "training" else ""


def rehearsal_line(found: Mapping[str, Mapping], sizes: Sequence[tuple[int, int]]) -> str:
    """Return the line that is printed after a rehearsal.

    >>> rehearsal_line({"training": {"seconds": 1.5, "gib": None}}, [(200, 512)])
    'rehearsed the largest step: 712 tokens before the answer; training 1.5 s (no GPU)'
    """
    parts = [
        f"{name} {row['seconds']:.1f} s ({'no GPU' if row['gib'] is None else format(row['gib'], '.1f') + ' GiB'})"
        for name, row in found.items()
    ]
    return f"rehearsed the largest step: {max(map(sum, sizes))} tokens before the answer; {', '.join(parts)}"


def card_gib() -> float | None:
    """Return the memory of the GPU in use in GiB; None without one."""
    return round(torch.cuda.get_device_properties(0).total_memory / GIB, 1) if torch.cuda.is_available() else None


def reset_peak() -> None:
    """Free cached GPU memory and restart the measurement of the peak; without a GPU do nothing."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measured_peak() -> float | None:
    """Return PyTorch's peak of GPU memory in GiB since `reset_peak`; None without a GPU."""
    return round(torch.cuda.max_memory_reserved() / GIB, 2) if torch.cuda.is_available() else None
