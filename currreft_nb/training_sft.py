"""TRL's trainer for fine-tuning, with a loss that ends where an answer ends."""

from collections.abc import Collection
from typing import Any

import torch
from trl import SFTTrainer

IGNORED = -100  # the label of a token that the loss leaves out


class AnswerTrainer(SFTTrainer):
    """TRL's trainer; `end_tokens` are the ids of the tokens that end an answer."""

    data_collator: Any

    def __init__(self, *args: Any, end_tokens: Collection[int], **kwargs: Any):
        super().__init__(*args, **kwargs)
        collate = self.data_collator

        def collate_answers(examples: list[dict]) -> dict:
            batch = collate(examples)
            # TRL also trains on what the chat template writes after the end token, usually a line break. A model never
            # writes it, because decoding stops at the end token. So it is unlikely under the model, and in a loss over
            # the model's own answers it would outweigh all other tokens.
            return {**batch, "labels": cut_behind_end(batch["labels"], end_tokens)}

        self.data_collator = collate_answers


def cut_behind_end(labels: torch.Tensor, end_tokens: Collection[int]) -> torch.Tensor:
    """Return labels, shape (rows, tokens), in which everything after a row's first end token is ignored.

    >>> cut_behind_end(torch.tensor([[-100, 5, 2, 7], [-100, 5, 6, 7]]), [2]).tolist()
    [[-100, 5, 2, -100], [-100, 5, 6, 7]]
    """
    ends = torch.isin(labels, torch.tensor(list(end_tokens), device=labels.device))
    return labels.masked_fill(ends.cumsum(dim=1) > ends.int(), IGNORED)
