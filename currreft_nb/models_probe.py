"""What a model expects to read next: log-probabilities, and how far two models are apart in them."""

from typing import Any

import torch

from currreft_nb import prompts
from currreft_nb.generation import picture
from currreft_nb.models import Loaded
from currreft_nb.samples import Sample


def encode_answer(loaded: Loaded, sample: Sample, answer: str = "") -> Any:
    """Return the model's inputs for a question, followed by an answer to it; one row."""
    talk = prompts.messages(sample, loaded.style)
    text = loaded.processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) + answer
    pictures = [picture(sample)] if sample.image else None
    return loaded.processor(text=[text], images=pictures, return_tensors="pt").to(loaded.device)


@torch.no_grad()
def log_probabilities(loaded: Loaded, inputs: Any, positions: int) -> torch.Tensor:
    """Return the next token's log-probabilities at the last places of one row: (positions, vocabulary), float32."""
    logits = loaded.model(**inputs, logits_to_keep=positions).logits[0, -positions:]
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence of the second from the first at each place, in nats; not below 0."""
    return (first.exp() * (first - second)).sum(dim=-1).clamp(min=0)
