"""TRL's trainers, adapted: `GroupTrainer` for reinforcement learning, `AnswerTrainer` and `TaughtTrainer` to imitate.

`GroupTrainer` makes the same updates as TRL's for less work. Each saving can be switched off:

- images: an image is prepared and encoded once for all completions of its group (`generation.shared_images`).
- prompts: a prompt is read once for its group, in decoding (`generation.decode`) and training (`training.packing`).
- silent: groups whose completions all earned the same are not sent through the model, nor are masked completions.
- weights: completions are decoded with dense copies of the adapted layers (`generation.decode`).
"""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from itertools import accumulate, groupby
from typing import Any

import torch
from trl import DistillationTrainer, GRPOTrainer, SFTTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from currreft_nb.generation.decode import decode, dense_layers, prompt_positions
from currreft_nb.training.batches import IMAGES, join_rows, select_rows
from currreft_nb.training.packing import pack

# Smaller advantages come from rounding alone. In a group's deviations a reward that differs by 1e-4 gives at least 0.3;
# in those of the batch, what is cut has less than a four-hundredth of the usual weight.
ROUNDING = {"group": 5e-3, "batch": 2.5e-3, "none": 1e-6}
IGNORED = -100  # the label of a token that the loss leaves out
BY_ROW = (*IMAGES, "num_images", "mm_token_type_ids")


class GroupTrainer(GRPOTrainer):
    """TRL's trainer; the measured entropy is that of the completions that were trained on.

    `shortcuts`: which of the savings above are made; "images" needs the context `shared_images` around the training.
    `note`: called with the places of completions in the step and the measures of each: `entropy`, and `kl` with a
    penalty. `draw(count)` returns rows of up to `count` further questions; silent groups are replaced by theirs, in at
    most `refill` rounds a step (DAPO's dynamic sampling).
    """

    def __init__(
        self,
        *args: Any,
        shortcuts: Collection[str],
        note: Callable[[list[int], dict], None],
        refill: int = 0,
        draw: Callable[[int], list[dict]] = lambda count: [],
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.shortcuts, self.note, self.refill, self.draw = shortcuts, note, refill, draw
        self.end_tokens = list(self.eos_token_ids)
        self.groups: list[int] | None = None  # while a loss is computed: the group of each of its rows
        self.seen: Any = None  # log-probabilities and entropies of its rows
        self._buffered_inputs: Any = None

    def _tokenize_prompts(self, prompts: list) -> tuple:
        repeats = self.num_generations if "prompts" in self.shortcuts else 1
        prompt_ids, images, fields = super()._tokenize_prompts(prompts[::repeats])
        if images is not None:  # TRL gives None for a question without an image, which processors refuse in a batch
            images = [pictures or [] for pictures in images for _ in range(repeats)]
        return [ids for ids in prompt_ids for _ in range(repeats)], images, fields

    def _generate_single_turn(self, prompt_ids: list, images: Any, fields: dict, *args: Any, **kwargs: Any) -> tuple:
        with dense_layers(self.model) if "weights" in self.shortcuts else nullcontext():
            if "prompts" not in self.shortcuts:
                return super()._generate_single_turn(prompt_ids, images, fields, *args, **kwargs)
            return self._decode(prompt_ids[:: self.num_generations], fields), None

    def _decode(self, prompts: list[list[int]], fields: dict[str, Any]) -> list[list[int]]:
        """Return the completions of each prompt, `num_generations` of each side by side."""
        by_token = {"input_ids": prompts, "attention_mask": [[1] * len(ids) for ids in prompts]}
        by_token |= {name: value for name, value in fields.items() if not isinstance(value, torch.Tensor)}
        padding = {"input_ids": self._tokenizer.pad_token_id}
        inputs = fields | {
            name: pad([torch.tensor(row) for row in rows], padding.get(name, 0), padding_side="left")
            for name, rows in by_token.items()
        }
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs
        ) as model:
            return decode(
                model,
                {name: tensor.to(self.accelerator.device) for name, tensor in inputs.items()},
                copies=self.num_generations,
                max_new_tokens=self.max_completion_length,
                choose=self._choose,
                ends=self.end_tokens,
                banned=[model.config.image_token_id],
            )

    def _choose(self, logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        return torch.multinomial(torch.softmax(logits / self.temperature, dim=-1), 1)[:, 0]

    def _generate_and_score_completions(self, inputs: list) -> dict[str, Any]:
        batch, size = self._scored(inputs, 0), self.num_generations
        wanted = len(inputs) // size
        drawn = wanted
        for _ in range(self.refill):
            silent = [not any(group) for group in _teaching(batch).view(-1, size).tolist()]
            rows = self.draw(min(wanted, sum(silent))) if any(silent) else []
            if not rows:
                break
            further = self._scored([row for row in rows for _ in range(size)], drawn * size)
            drawn += len(rows)
            # The first silent groups are replaced; where a further group is silent too, it waits for the next round.
            kept = _loud_first([*silent, *(not any(g) for g in _teaching(further).view(-1, size).tolist())], wanted)
            joined = join_rows(batch, further, self._tokenizer.pad_token_id)
            batch = select_rows(joined, [group * size + place for group in kept for place in range(size)])
            batch["num_items_in_batch"] = batch["completion_mask"].sum()
        return batch

    def _scored(self, inputs: list, first_row: int) -> dict[str, Any]:
        """Return a batch of completions with advantages; its rows are numbered in the order in which they were said."""
        batch = super()._generate_and_score_completions(inputs)
        advantages = without_rounding(batch["advantages"], self.num_generations, self.scale_rewards)
        return batch | {"advantages": advantages, "row": first_row + torch.arange(len(advantages))}

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if "prompts" not in self.shortcuts:
            return super()._prepare_inputs(generation_batch)
        # Unlike in TRL the rows are not shuffled, so that groups stay together and share their prompt. An update takes
        # all completions of a generation, so their order makes no difference to it.
        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            batches = split_tensor_dict(split_pixel_values_by_grid(batch), parts)
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in batches]
        return self._buffered_inputs[self._step % parts]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self.beta != 0 or "silent" not in self.shortcuts:
            return self._loss(model, inputs)
        # In a silent group every advantage is zero, and without a KL penalty so is the gradient of its loss. Its rows
        # can skip the model, and so can completions without a token that counts.
        teaching = _teaching(inputs)
        rows = self._rows_to_train(teaching)
        if len(rows) == len(teaching):
            return self._loss(model, inputs)
        if rows:
            chosen = select_rows(inputs, rows)
            return self._loss(model, chosen) * self._share(chosen, inputs)
        # a zero with a gradient for every adapter weight, as in any other step
        return sum(weight.sum() for weight in model.parameters() if weight.requires_grad) * 0.0

    def _share(self, chosen: dict[str, Any], inputs: dict[str, Any]) -> float:
        """Return the factor that makes a loss over some rows the one over all, in which the others count as zero."""
        if self.loss_type in ("dapo", "cispo"):  # divided by the tokens of the whole step already
            return 1.0
        if self.loss_type == "bnpo":
            return float(chosen["completion_mask"].sum().clamp(min=1) / inputs["completion_mask"].sum().clamp(min=1))
        return len(chosen["advantages"]) / len(inputs["advantages"])

    def _rows_to_train(self, teaching: torch.Tensor) -> list[int]:
        rows = teaching.nonzero().flatten().tolist()
        if self.accelerator.num_processes > 1:
            # All processes exchange gradients in each pass and a measure of each row, so each must have as many rows as
            # the others, and at least one. Silent rows, whose gradient is zero, fill up.
            most = max(1, int(self.accelerator.gather(teaching.sum()).max()))
            rows = sorted(rows + (~teaching).nonzero().flatten().tolist()[: most - len(rows)])
        return rows

    def _loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        rows = inputs["row"].tolist()
        self.groups = [row // self.num_generations for row in rows]
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self.groups = None
        self._note(rows, inputs)
        return loss

    def _note(self, rows: list[int], inputs: dict[str, Any]) -> None:
        """Note the measures of the completions that had a gradient, without silent ones that filled up."""
        (log_probs, entropies), mask = self.seen, inputs["completion_mask"]
        measures = {"entropy": entropies}
        if self.beta:
            ratio = inputs["ref_per_token_logps"] - log_probs
            measures["kl"] = ratio.exp() - ratio - 1
        counts = mask.any(-1) if self.beta else _teaching(inputs)
        trained = counts.nonzero().flatten().tolist()
        means = {name: (values * mask).sum(-1) / mask.sum(-1).clamp(min=1) for name, values in measures.items()}
        found = {name: values[trained].tolist() for name, values in means.items()}
        self.note([rows[place] for place in trained], found)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **fields: Any,
    ) -> tuple:
        """Return log-probabilities and entropies, (rows, logits_to_keep), like TRL's, each prompt read once."""
        if "prompts" in self.shortcuts:
            rows = {"ids": input_ids, "mask": attention_mask, "advantages": input_ids[:, 0]}
            rows |= {name: value for name, value in fields.items() if value is not None and name in BY_ROW}
            found = *self._by_group(model, rows, logits_to_keep, batch_size or len(input_ids)), None
        else:
            found = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **fields
            )
        if compute_entropy:
            self.seen = found[0].detach(), found[1]
        return found

    def _by_group(self, model: Any, rows: dict[str, Any], completion_length: int, batch_size: int) -> tuple:
        count = len(rows["ids"])
        groups = self.groups or [row // self.num_generations for row in range(count)]
        found = []
        for start in range(0, count, batch_size):
            end = min(start + batch_size, count)
            sizes = [len(list(members)) for _, members in groupby(groups[start:end])]
            firsts = select_rows(rows, [start + place for place in accumulate([0, *sizes[:-1]])])
            completions, mask = (rows[name][start:end, -completion_length:] for name in ("ids", "mask"))
            found.append(self._packed(model, firsts, completions, mask, sizes))
        return tuple(torch.cat(parts) for parts in zip(*found))

    def _packed(
        self, model: Any, firsts: dict[str, Any], completions: torch.Tensor, mask: torch.Tensor, sizes: list[int]
    ) -> tuple:
        """Return log-probabilities and entropies of completions, both (n, C); `firsts`: a row of each group."""
        images = {name: firsts[name] for name in IMAGES if len(firsts.get(name, ()))}
        kinds = firsts.get("mm_token_type_ids", torch.zeros_like(firsts["ids"]))
        by_token = {"input_ids": firsts["ids"], "attention_mask": firsts["mask"], "mm_token_type_ids": kinds}
        prompts = {name: tensor[:, : -completions.shape[1]] for name, tensor in by_token.items()}
        positions = prompt_positions(self.accelerator.unwrap_model(model), prompts | images)
        packed = pack(prompts, positions, completions, mask, sizes)
        with self.accelerator.autocast():
            output = model(
                input_ids=packed.tokens,
                attention_mask=packed.allowed,
                position_ids=packed.positions,
                mm_token_type_ids=packed.kinds,
                shift_labels=packed.labels,
                fused_lm_head=True,
                **images,
            )
        return tuple(part.flatten()[packed.places] * mask.bool() for part in (output.log_probs, output.entropy))


def _teaching(inputs: dict[str, Any]) -> torch.Tensor:
    """Return which completions have a gradient of their own: an advantage, and a token that counts."""
    return (inputs["advantages"] != 0) & inputs["completion_mask"].any(-1)


def _loud_first(silent: list[bool], count: int) -> list[int]:
    """Return `count` groups in their order: those that are not silent, and as many others as are missing.

    >>> _loud_first([False, True, True, False, True], 3)
    [0, 1, 3]
    """
    return sorted(sorted(range(len(silent)), key=lambda group: (silent[group], group))[:count])


def without_rounding(advantages: torch.Tensor, group_size: int, scale: str = "group") -> torch.Tensor:
    """Return the advantages with 0 for groups whose rewards were equal.

    >>> without_rounding(torch.tensor([6e-4, 6e-4, 1.0, -1.0]), group_size=2).tolist()
    [0.0, 0.0, 1.0, -1.0]
    """
    # TRL computes in float32, where the mean of eight rewards of 0.7 is not quite 0.7. It divides the difference by a
    # standard deviation of almost zero, and would train on the result, advantages of about 6e-4.
    groups = advantages.view(-1, group_size)
    return groups.where(groups.abs().amax(dim=1, keepdim=True) >= ROUNDING[scale], 0.0).flatten()


class AnswerTrainer(SFTTrainer):
    """TRL's trainer; `end_tokens` are the ids of the tokens that end an answer."""

    data_collator: Any

    def __init__(self, *args: Any, end_tokens: Collection[int], **kwargs: Any):
        super().__init__(*args, **kwargs)
        # The model classes decline the number of tokens in a step, which TRL's loss takes. Without it the loss is the
        # mean of the micro-batches' means, in which a token of a short text weighs more: `micro_batch` would matter.
        self.model_accepts_loss_kwargs = True
        collate = self.data_collator

        def collate_answers(examples: list[dict]) -> dict:
            batch = collate(examples)
            # TRL also trains on what the chat template writes after the end token, usually a line break. A model never
            # writes it, because decoding stops at the end token. So it is unlikely under the model, and in a loss over
            # the model's own answers it would outweigh all other tokens.
            return {**batch, "labels": cut_behind_end(batch["labels"], end_tokens)}

        self.data_collator = collate_answers


class TaughtTrainer(DistillationTrainer):
    """TRL's trainer of a model on its own answers, one to each question, by a teacher's probabilities of each token."""

    num_generations = 1  # `training.gpu_memory` also measures the generation

    def _tokenize_prompts(self, prompts: list) -> tuple:
        prompt_ids, images, fields = super()._tokenize_prompts(prompts)
        return prompt_ids, images and [pictures or [] for pictures in images], fields  # as in `GroupTrainer`


def cut_behind_end(labels: torch.Tensor, end_tokens: Collection[int]) -> torch.Tensor:
    """Return labels, shape (rows, tokens), in which everything after a row's first end token is ignored.

    >>> cut_behind_end(torch.tensor([[-100, 5, 2, 7], [-100, 5, 6, 7]]), [2]).tolist()
    [[-100, 5, 2, -100], [-100, 5, 6, 7]]
    """
    ends = torch.isin(labels, torch.tensor(list(end_tokens), device=labels.device))
    return labels.masked_fill(ends.cumsum(dim=1) > ends.int(), IGNORED)
