"""Extra losses of the pocket model's training: three kinds of supervised attention heads, and read-outs of cells.

From answers alone a model of this size learns formats and frequencies, but not to look. So heads are taught where to
look, what to collect and which option to point at, and the picture's tokens are read out through the model's own word
embeddings. The read-outs are dropped afterwards.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration as Model
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from currreft_nb.data.scenes.drawing import COLORS, SHAPES, SIDE
from currreft_nb.pocket.batches import Batch
from currreft_nb.pocket.lessons import CELLS, Encoder

COLLECTING, GROUNDED, POINTING = (0, (0, 1, 2, 3)), (1, (0, 2)), (2, (1, 3))  # (layer, heads)
COORDINATE_SPREAD = 1.5  # pixels: standard deviation of the soft labels of coordinates
HIDDEN = -1e9


class ReadOut(nn.Module):
    """Linear read-outs of every cell's colour, shape and box from the picture's tokens, by the tied embeddings."""

    def __init__(self, model: Model, encoder: Encoder) -> None:
        super().__init__()
        width = model.config.text_config.hidden_size
        self.embeddings = [model.get_input_embeddings()]  # in a list: not a parameter of this module
        self.colors = torch.tensor(encoder.single([f" {color}" for color in COLORS]))
        self.shapes = torch.tensor(encoder.single([f" {shape}" for shape in SHAPES]))
        self.numbers = torch.tensor(encoder.numbers)
        self.to_color, self.to_shape = nn.Linear(width, width), nn.Linear(width, width)
        self.to_box, self.no_color = nn.Linear(width, 4 * width), nn.Linear(width, 1)

    def forward(self, features: torch.Tensor, labels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the losses of `features` (pictures x cells x width) by name."""
        words = self.embeddings[0].weight
        full = labels["shapes"] >= 0
        color = torch.cat([self.to_color(features) @ words[self.colors].T, self.no_color(features)], -1)
        shape = self.to_shape(features[full]) @ words[self.shapes].T
        box = self.to_box(features[full]).unflatten(-1, (4, -1)) @ words[self.numbers].T
        return {
            "cell_color": functional.cross_entropy(color.flatten(0, 1), labels["colors"].flatten()),
            "cell_shape": functional.cross_entropy(shape, labels["shapes"][full]),
            "cell_box": coordinate_loss(box, labels["boxes"][full]).mean(),
        }


def coordinate_loss(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence from a bell curve around each true coordinate; `logits`: (..., 64 numbers)."""
    distance = torch.arange(SIDE) - values[..., None]
    wanted = torch.exp(-0.5 * (distance / COORDINATE_SPREAD) ** 2)
    wanted = wanted / wanted.sum(-1, keepdim=True)
    return (wanted * (torch.log(wanted + 1e-9) - logits.log_softmax(-1))).sum(-1)


class Heads:
    """Some attention heads of one layer; keeps the layer's input to compute their attention afterwards."""

    def __init__(self, model: Model, layer: int, heads: tuple[int, ...]) -> None:
        self.attention = model.model.language_model.layers[layer].self_attn
        self.heads = heads
        self.hidden: Any = None
        self.rotation: Any = None
        self.handle = self.attention.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.hidden = kwargs.get("hidden_states", args[0] if args else None)
        self.rotation = kwargs["position_embeddings"]

    def log_attention(self, rows: torch.Tensor, at: torch.Tensor, allowed: torch.Tensor) -> list[torch.Tensor]:
        """Return for each head the log attention (n x T) of the queries at (rows, at)."""
        size = self.attention.head_dim
        shared = self.attention.num_key_value_groups
        cosine, sine = (part.unsqueeze(2) for part in self.rotation)
        queries = self.attention.q_proj(self.hidden).unflatten(-1, (-1, size))
        keys = self.attention.k_proj(self.hidden).unflatten(-1, (-1, size))
        queries, keys = (x * cosine + rotate_half(x) * sine for x in (queries, keys))
        visible = allowed[rows, at]
        found = []
        for head in self.heads:
            scores = torch.einsum("nd,ntd->nt", queries[rows, at, head], keys[rows, :, head // shared])
            found.append((scores * self.attention.scaling).masked_fill(~visible, HIDDEN).log_softmax(-1))
        return found


class Guides:
    """The supervised heads of a model and their losses."""

    def __init__(self, model: Model, encoder: Encoder) -> None:
        self.model, self.encoder = model, encoder
        self.heads = [Heads(model, *kind) for kind in (COLLECTING, GROUNDED, POINTING)]
        self.collecting, self.grounded, self.pointing = self.heads
        self.letters = torch.tensor(encoder.letters)

    def remove(self) -> None:
        for heads in self.heads:
            heads.handle.remove()

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the losses of the last forward pass by name."""
        found = {}
        if len(batch.look_at) and batch.pixels is not None:
            found["look"] = self._look(batch)
        if len(batch.collects):
            found["collect"] = self._collect(batch)
        if len(batch.points):
            found["point"] = self._point(batch)
        return found

    def _look(self, batch: Batch) -> torch.Tensor:
        rows, at = batch.look_at.T
        start = len(self.encoder.before_image)
        spread = batch.look_targets * torch.log(batch.look_targets + 1e-9)
        total = 0.0
        for attention in self.grounded.log_attention(rows, at, batch.allowed):
            seen = torch.cat([attention[:, start : start + CELLS], attention[:, :1]], 1)
            total = total + (spread - batch.look_targets * seen).sum(1).mean()
        return total / len(self.grounded.heads)

    def _collect(self, batch: Batch) -> torch.Tensor:
        rows, at = batch.collects[:, 0], batch.collects[:, 1]
        total = 0.0
        for head, attention in enumerate(self.collecting.log_attention(rows, at, batch.allowed)):
            wanted = batch.collects[:, 2 + head]
            known = wanted >= 0
            total = total - attention[known].gather(1, wanted[known][:, None]).mean() if known.any() else total
        return total / len(self.collecting.heads)

    def _point(self, batch: Batch) -> torch.Tensor:
        rows, at, wanted = batch.points.T
        attention = self.pointing.log_attention(rows, at, batch.allowed)
        loss = -sum(each.gather(1, wanted[:, None]).mean() for each in attention) / len(attention)
        return loss + self._read_letter(batch)

    def _read_letter(self, batch: Batch) -> torch.Tensor:
        """Return the loss of the letter when the pointing heads attend perfectly."""
        rows, at, wanted = batch.points.T
        answers = batch.tokens[rows, at + 1]
        lettered = torch.isin(answers, self.letters)
        if not lettered.any():
            return torch.zeros(())
        attention, rows, wanted = self.pointing.attention, rows[lettered], wanted[lettered]
        values = attention.v_proj(self.pointing.hidden[rows, wanted]).unflatten(-1, (-1, attention.head_dim))
        count = attention.q_proj.out_features // attention.head_dim
        nothing = torch.zeros_like(values[:, 0])
        shared, pointing = attention.num_key_value_groups, self.pointing.heads
        mixed = [values[:, head // shared] if head in pointing else nothing for head in range(count)]
        out = attention.o_proj(torch.stack(mixed, 1).flatten(1))
        logits = self.model.lm_head(self.model.model.language_model.norm(out))[:, self.letters]
        return functional.cross_entropy(logits, (answers[lettered][:, None] == self.letters).float().argmax(1))


def read_batch(model: Model, encoder: Encoder, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the last hidden states (rows x T x width) and the pictures' tokens (rows x cells x width) or None."""
    embedded, features = model.get_input_embeddings()(batch.tokens), None
    rows = len(batch.tokens)
    if batch.pixels is not None:
        features = see(model, batch.pixels, rows)
        start = len(encoder.before_image)
        embedded = torch.cat([embedded[:, :start], features, embedded[:, start + CELLS :]], 1)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.allowed[:, None]},
        use_cache=False,
    ).last_hidden_state
    return hidden, features


def see(model: Model, pixels: torch.Tensor, pictures: int) -> torch.Tensor:
    """Return the picture's tokens (pictures x cells x width)."""
    side = 2 * math.isqrt(CELLS)
    grid = torch.tensor([[1, side, side]]).repeat(pictures, 1)
    return model.model.visual(pixels, grid_thw=grid).pooler_output.view(pictures, CELLS, -1)


def language_loss(model: Model, encoder: Encoder, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
    """Return the weighted loss of the next tokens, soft for coordinates."""
    weights = batch.weights[:, 1:]
    scored = weights > 0
    logits = model.lm_head(hidden[:, :-1][scored])
    labels, soft = batch.tokens[:, 1:][scored], batch.soft[:, 1:][scored]
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if soft.any():
        numbers = torch.tensor(encoder.numbers)
        values = (labels[soft][:, None] == numbers).float().argmax(1)
        # the bell curve asks for the right number; the log-normaliser over all tokens asks for any number
        log_numbers = logits[soft].log_softmax(-1)[:, numbers]
        kept = coordinate_loss(log_numbers, values) - log_numbers.logsumexp(-1)
        losses = losses.masked_scatter(soft, kept)
    return (losses * weights[scored]).sum() / weights[scored].sum()
