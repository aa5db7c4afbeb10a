"""Pack the completions of a question behind one copy of its prompt, for one forward and backward pass.

    rows     prompt completion_1 | prompt completion_2 | prompt completion_3
    packed   prompt-but-its-last-token | last completion_1 | last completion_2 | last completion_3

Every token is computed exactly as in a row of its own, so log-probabilities and gradients are the same up to rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch.nn.functional import pad

PROMPT = 0  # number of the piece that all others see


@dataclass(frozen=True)
class Packed:
    """Groups as rows of T tokens, padded on the right, and where each completion's predictions are in them."""

    tokens: torch.Tensor  # (groups, T)
    labels: torch.Tensor  # (groups, T): the token that is predicted here, or -100
    kinds: torch.Tensor  # (groups, T): which tokens stand for images
    positions: torch.Tensor  # (3, groups, T): time, height, width
    allowed: torch.Tensor  # (groups, 1, T, T): who sees whom
    places: torch.Tensor  # (completions, C): each prediction's index in a flattened (groups, T); 0 after the end


def pack(
    prompts: Mapping[str, torch.Tensor],
    positions: torch.Tensor,
    completions: torch.Tensor,
    completion_mask: torch.Tensor,
    sizes: Sequence[int],
) -> Packed:
    """Pack completions (n, C) behind their prompts: the first `sizes[0]` behind the first prompt, and so on.

    `prompts`: `input_ids`, `attention_mask` and `mm_token_type_ids`, each (groups, P); `positions`: (3, groups, P).
    """
    rows: list[tuple] = []
    offsets: list[int] = []
    start = 0
    for number, size in enumerate(sizes):
        whole = prompts["attention_mask"][number].bool()
        prompt, kinds = (prompts[name][number][whole] for name in ("input_ids", "mm_token_type_ids"))
        said = [completions[row][completion_mask[row].bool()] for row in range(start, start + size)]
        rows.append(_row(prompt, kinds, positions[:, number][:, whole], said))
        lengths = [len(prompt) - 1, *map(len, said[:-1])]
        offsets += accumulate(lengths)
        start += size
    longest = max(len(row[0]) for row in rows)
    tokens, labels, kinds, places_in_space, pieces = (
        torch.stack([pad(part, (0, longest - part.shape[-1]), value=value) for part in parts], dim=-2)
        for parts, value in zip(zip(*rows), (0, -100, 0, 0, -1))
    )
    row_starts = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) * longest
    starts = (row_starts + torch.tensor(offsets)).to(tokens.device)
    places = (starts[:, None] + torch.arange(completions.shape[1], device=tokens.device)) * completion_mask.bool()
    return Packed(tokens, labels, kinds, places_in_space, _allowed(pieces), places)


def _row(prompt: torch.Tensor, kinds: torch.Tensor, positions: torch.Tensor, said: list[torch.Tensor]) -> tuple:
    """Return a packed row's tokens, labels, kinds, positions, and the number of the piece that each token is in."""
    # Each piece starts with a copy of the prompt's last token, whose output predicts the completion's first token: a
    # place has one label, and the first tokens differ.
    entered = [torch.cat([prompt[-1:], completion])[: len(completion)] for completion in said]
    # Positions continue where the prompt ends, for each piece anew, as in a row of its own.
    steps = [positions[:, -1:] + torch.arange(len(completion), device=prompt.device) for completion in said]
    lengths = torch.tensor([len(prompt) - 1, *map(len, said)], device=prompt.device)
    return (
        torch.cat([prompt[:-1], *entered]),
        torch.cat([torch.full_like(prompt[:-1], -100), *said]),
        pad(kinds[:-1], (0, int(lengths[1:].sum()))),
        torch.cat([positions[:, :-1], *steps], dim=1),
        torch.arange(len(lengths), device=prompt.device).repeat_interleave(lengths),
    )


def _allowed(pieces: torch.Tensor) -> torch.Tensor:
    """Return who sees whom, (groups, 1, T, T): each token the prompt and its own piece, as far as they precede it."""
    length = pieces.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=pieces.device).tril()
    seen = pieces[:, None, :]
    # A causal mask would let a completion see the ones before it, so the mask needs a row for each token: 4-D. Padding
    # (-1) sees itself, because the softmax of a row in which nothing is allowed is not a number.
    return (earlier & ((seen == PROMPT) | (seen == pieces[:, :, None])))[:, None]
