"""TRL's GRPO trainer with two changes: no work for silent groups, and batches of which only a part has images.

Where all completions of a question earned the same, there is nothing to learn: their advantage is zero, and so is their
gradient as long as there is no KL penalty. The plain trainer sends them through the model forward and backward all the
same; in a run that goes well that is most of the work. Here they are left out, and the others keep their weight: the
loss stays the mean over all completions, those of silent groups counted as zero.
"""

from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid


class GroupTrainer(GRPOTrainer):
    """TRL's trainer, for `loss_type="grpo"`; the measured entropy is that of the completions that were trained on."""

    def _tokenize_prompts(self, prompts: list) -> tuple:
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        if images is not None:  # TRL says None for a question without an image, which processors refuse among others
            images = [pictures or [] for pictures in images]
        return prompt_ids, images, fields

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        heard = inputs["advantages"] != 0
        if self.beta != 0 or heard.all():
            return super()._compute_loss(model, inputs)
        if not heard.any():  # a zero that every adapter weight has a gradient of, as after any other step
            return sum(weight.sum() for weight in model.parameters() if weight.requires_grad) * 0.0
        loss = super()._compute_loss(model, select_rows(inputs, heard.nonzero().flatten().tolist()))
        return loss * heard.float().mean()


def select_rows(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Return the rows of a training batch; pixels, which are stored image after image, go with their rows."""
    count = len(inputs["advantages"])
    by_row = split_pixel_values_by_grid(inputs)
    chosen = {}
    for name, value in by_row.items():
        if isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == count:
            chosen[name] = value[rows]
        elif isinstance(value, (list, tuple)) and len(value) == count:
            chosen[name] = [value[row] for row in rows]
        else:
            chosen[name] = value
    return unsplit_pixel_values_by_grid(chosen)
