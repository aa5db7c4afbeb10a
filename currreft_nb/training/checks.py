"""Stop a training that would fail silently: in its first steps, and after its adapter is saved."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import Sample
from currreft_nb.generation.generate import encode_answer, log_probabilities
from currreft_nb.models.load import Loaded
from currreft_nb.training.settings import GrpoSettings

FIRST_STEPS, FIRST_GROUPS = 3, 8  # examined before a run is stopped because it cannot learn
TRUNCATED = 0.9  # share of completions that counts as nearly all
UNSEEN_STEPS = 10  # with a gradient, but none for the vision tower
PROBES, POSITIONS = 4, 16  # questions, and tokens of each, at which a reloaded adapter is compared
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}  # nats; kernels may round differently


class GradientCheck:
    """Checks that gradients reach every matrix of the adapter, in the first two steps that have any.

    Two, because a new adapter's B matrices are zero: in the first step the A matrices have a gradient of zero. Vision
    layers are counted apart, because questions without an image give them none. Steps whose groups are all silent, or
    whose gradients are not finite, do not count.
    """

    def __init__(self) -> None:
        self.signals: Counter[str] = Counter()  # steps with a gradient, by part of the model
        self.pending: dict[str, set[str]] = {}  # weights that have had no gradient yet

    def look(self, model: Any) -> None:
        """Check the gradients of a step. Raises `RuntimeError`, and `InputError` for an unused vision adapter."""
        parts: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                parts["vision" if ".visual." in name else "language"][name] = weight.grad
        for part, gradients in parts.items():
            if self.pending.setdefault(part, set(gradients)) or (part == "language" and not self._vision_done(parts)):
                self._look_at(part, gradients)
        if not self._vision_done(parts) and not self.signals["vision"] and self.signals["language"] == UNSEEN_STEPS:
            raise InputError(
                f"in {UNSEEN_STEPS} steps no gradient reached the vision tower's adapter; train on questions with"
                " images, or set lora_on to language"
            )

    def _vision_done(self, parts: Mapping[str, dict]) -> bool:
        return "vision" not in parts or self.pending.get("vision") == set()

    def _look_at(self, part: str, gradients: Mapping[str, Any]) -> None:
        if part == "language" and (absent := [name for name, gradient in gradients.items() if gradient is None]):
            raise RuntimeError(f"no gradient reaches {len(absent)} of {len(gradients)} adapter weights: {absent[0]} …")
        reached = {name for name, gradient in gradients.items() if gradient is not None and bool(gradient.any())}
        if not reached or not all(bool(gradients[name].isfinite().all()) for name in reached):
            return
        self.signals[part] += 1
        self.pending[part] -= reached
        if self.signals[part] >= 2 and (unmoved := sorted(self.pending[part])):
            raise RuntimeError(
                f"in {self.signals[part]} steps no gradient reached {len(unmoved)} of {len(gradients)} adapter weights:"
                f" {unmoved[0]} …"
            )


def is_zero(model: PeftModel) -> bool:
    """Return whether the adapter changes nothing: all its B matrices are zero."""
    return not any(bool(weight.any()) for name, weight in model.named_parameters() if ".lora_B.default." in name)


def check_first_steps(folder: Path, row: dict, settings: GrpoSettings) -> None:
    """Stop a run whose first steps show that nothing can be learnt, and warn if most completions are cut off.

    Called after each step with its row, which is not in metrics.jsonl yet; checks once, after three steps or eight
    groups, whichever is later, from the run folder, so that a resumed run is judged the same. Raises `InputError` if
    nearly all completions are cut off and no reward differs, or if each question's completions are equal.
    """
    last = max(FIRST_STEPS, math.ceil(FIRST_GROUPS / settings.prompts_per_step))
    if row["step"] != last:
        return
    rows = [*read_journal(folder / "metrics.jsonl"), row][:last]
    truncated = sum(row["truncated"] for row in rows) / len(rows)
    cut = f"completions of the first {last} steps were cut off at max_new_tokens, which is {settings.max_new_tokens}"
    if truncated >= TRUNCATED and all(row["zero_variance"] == 1 for row in rows):
        raise InputError(f"{truncated:.0%} of the {cut}, and no reward differed: nothing can be learnt; raise it")
    texts: dict[tuple, set[str]] = defaultdict(set)
    for step in range(1, last + 1):
        for found in read_journal(folder / "completions" / f"step-{step:05d}.jsonl"):
            texts[step, found["id"]].add(found["completion"])
    if all(len(different) == 1 for different in texts.values()):
        raise InputError(
            f"in the first {last} steps all completions of each question were equal, so there is nothing to compare;"
            f" raise temperature, which is {settings.temperature}, or choose questions that the model is less sure of"
        )
    if truncated >= TRUNCATED:
        print(f"warning: {truncated:.0%} of the {cut}; raise it, unless the answers come before that")


def check_saved(loaded: Loaded, folder: Path, samples: Sequence[Sample]) -> float:
    """Compare a saved adapter with the trained one; return the largest difference of log-probabilities in nats.

    Compares every weight bit by bit, then the last tokens of a few questions. The model stays as it was. Raises
    `RuntimeError` where they differ.
    """
    in_file = load_file(folder / "adapter_model.safetensors")
    trained = get_peft_model_state_dict(loaded.model, save_embedding_layers=False)
    if in_file.keys() != trained.keys() or any(not torch.equal(in_file[n], trained[n].cpu()) for n in in_file):
        raise RuntimeError(f"{folder} does not hold the weights that were trained; this is a bug, please report it")
    probes = [encode_answer(loaded, sample) for sample in samples[:: math.ceil(len(samples) / PROBES)]]
    trained_log_probs = [log_probabilities(loaded.model, inputs, POSITIONS) for inputs in probes]
    loaded.model.load_adapter(str(folder), "reloaded")
    try:
        loaded.model.set_adapter("reloaded")
        reloaded_log_probs = [log_probabilities(loaded.model, inputs, POSITIONS) for inputs in probes]
    finally:
        loaded.model.set_adapter("default")
        loaded.model.delete_adapter("reloaded")
    difference = max(float((a - b).abs().max()) for a, b in zip(trained_log_probs, reloaded_log_probs))
    if not difference <= TOLERANCE[loaded.model.dtype]:
        raise RuntimeError(
            f"the adapter in {folder}, loaded again, answers differently from the trained one (by {difference:.2g}"
            " nats); this is a bug, please report it"
        )
    return difference
