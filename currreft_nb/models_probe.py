"""Log-probabilities of a model's next tokens, and how far two models differ in them."""

from typing import Any

import torch

from currreft_nb import generation
from currreft_nb.core.samples import Sample
from currreft_nb.models.load import Loaded


def encode_answer(loaded: Loaded, sample: Sample, answer: str = "") -> dict[str, torch.Tensor]:
    """Return the model's inputs for a question followed by an answer; one row."""
    return generation.encode(loaded, [sample], [generation.prompt_text(loaded, sample) + answer])


@torch.no_grad()
def log_probabilities(model: Any, inputs: Any, positions: int = 0) -> torch.Tensor:
    """Return the next token's log-probabilities: (rows, tokens, vocabulary), float32.

    `positions`: how many of the last tokens to look behind; 0 is all.
    """
    logits = model(**inputs, logits_to_keep=positions).logits[:, -positions:]
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence of the second from the first at each token, in nats."""
    return (first.exp() * (first - second)).sum(dim=-1)
