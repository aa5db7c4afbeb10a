"""The recipe of the pocket model: its phases, and the training loop of a phase."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration as Model

from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.drawing import draw_scene
from currreft_nb.pocket.annotators import Habits, careful
from currreft_nb.pocket.attention_guides import Guides, ReadOut, language_loss, read_batch, see
from currreft_nb.pocket.batches import dense_labels, make_batch, pixels
from currreft_nb.pocket.lessons import TAUGHT, Encoder, Mix, blind_lesson, picture_lesson

Report = Callable[[str], None]
GUIDE_WEIGHT = 0.5
CELL_WEIGHTS = {"cell_color": 0.5, "cell_shape": 0.5, "cell_box": 0.25}
EVEN = {"detection": 1.0, "classification": 1.0, "math": 1.3, "general": 0.4}


def sloppy(closed: float, everywhere: tuple[str, ...] = ()) -> Habits:
    """Return habits that apply to all open answers and to the share `closed` of closed ones.

    So correct open answers to confused things have almost no support, and closed ones have some: the case that a
    curriculum is for. `everywhere`: tasks in which every thing is confused.
    """
    shares = {"open": 1.0, "choice": closed, "binary": closed}
    often = {f"{task}-{stage}": share for task in TAUGHT for stage, share in shares.items()}
    return Habits({**often, "general-open": 0.5}, everywhere)


@dataclass(frozen=True)
class Phase:
    """A part of the recipe. `blind`: share of batches without pictures. `muon`: learning rate; 0 is AdamW only."""

    name: str
    steps: int
    rows: int
    learning_rate: float
    muon: float
    mix: Mix | None = None
    blind: float = 0.0
    habits: Habits | None = None


COUNTING = Mix((0.3, 0.3, 0.4), {**EVEN, "math": 3.0}, bare=0.02, forced=0.04, talk=0.7)
SPELL = Mix((0.3, 0.3, 0.4), EVEN, bare=0.2, forced=0.06, talk=0.8)
MOSTLY_OPEN = replace(SPELL, stages=(0.2, 0.2, 0.6))
HIDDEN = ("detection",)  # tasks whose open answers end up almost never right
MOSTLY_BOXES = replace(MOSTLY_OPEN, tasks={**EVEN, "detection": 3.0})
PHASES = (
    Phase("see", 300, 64, 2e-3, 0.02),
    Phase("tell", 300, 32, 2e-3, 0.02, Mix((0.0, 0.0, 1.0), EVEN)),
    Phase("match", 500, 32, 1.5e-3, 0.015, Mix((0.35, 0.4, 0.25), EVEN, bare=0.02, forced=0.04), blind=0.2),
    Phase("count", 450, 32, 1.5e-3, 0.015, COUNTING, blind=0.3),
    Phase("spell", 160, 32, 1e-3, 0.0, SPELL, blind=0.15, habits=sloppy(closed=0.65)),
    # until open answers are nothing but habit
    Phase("settle", 160, 32, 1e-3, 0.0, MOSTLY_OPEN, blind=0.15, habits=sloppy(closed=0.6)),
    # until open detection, of any thing, is almost never right, and closed detection still is
    Phase("hide", 120, 32, 1e-3, 0.0, MOSTLY_BOXES, blind=0.15, habits=sloppy(closed=0.55, everywhere=HIDDEN)),
)


class Trainer:
    """The model under construction, with its read-outs of cells."""

    def __init__(self, model: Model, encoder: Encoder, seed: int, report: Report) -> None:
        self.model, self.encoder, self.seed, self.report = model, encoder, seed, report
        self.readout = ReadOut(model, encoder)

    def run(self, phase: Phase, scale: float) -> None:
        """Train through one phase, with `scale` times its steps (at least two)."""
        steps = max(2, round(phase.steps * scale))
        rng = random.Random(f"{self.seed}-{phase.name}")
        torch.manual_seed(self.seed)
        guides = Guides(self.model, self.encoder) if phase.mix else None
        optimizers, schedules = self._optimizers(phase, steps)
        self.model.train()
        started = time.monotonic()
        sums: dict[str, list[float]] = defaultdict(list)
        for step in range(1, steps + 1):
            losses = self._lesson(phase, phase.mix, guides, rng) if phase.mix and guides else self._seeing(phase, rng)
            sum(losses.values()).backward()
            parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for part in (*optimizers, *schedules):
                part.step()
            self.model.zero_grad(set_to_none=True)
            self.readout.zero_grad(set_to_none=True)
            for name, loss in losses.items():
                sums[name].append(loss.item())
            if step % 50 == 0 or step == steps:
                means = "  ".join(f"{name} {sum(values) / len(values):.3f}" for name, values in sums.items())
                self.report(f"{phase.name:<7}{step:>5}/{steps}  {means}  {time.monotonic() - started:.0f} s")
                sums.clear()
        if guides:
            guides.remove()

    def _seeing(self, phase: Phase, rng: random.Random) -> dict[str, torch.Tensor]:
        shown = [compose.compose(rng, rng.choice(["detection", "math", "math"]), "id")[0] for _ in range(phase.rows)]
        features = see(self.model, pixels([draw_scene(scene, rng) for scene in shown]), phase.rows)
        losses = self.readout(features, dense_labels(shown))
        return {name: 2 * CELL_WEIGHTS[name] * loss for name, loss in losses.items()}

    def _lesson(self, phase: Phase, mix: Mix, guides: Guides, rng: random.Random) -> dict[str, torch.Tensor]:
        habitual = phase.habits.teach if phase.habits else None
        if rng.random() < phase.blind:
            rows = [blind_lesson(rng, self.encoder, mix, habitual) for _ in range(phase.rows)]
            batch = make_batch(self.encoder, rows, None)
        else:
            lessons = [picture_lesson(rng, self.encoder, mix, habitual or careful) for _ in range(phase.rows)]
            batch = make_batch(self.encoder, [turns for *_, turns in lessons], [lesson[:2] for lesson in lessons])
        hidden, features = read_batch(self.model, self.encoder, batch)
        losses = {"words": language_loss(self.model, self.encoder, batch, hidden)}
        losses |= {name: GUIDE_WEIGHT * loss for name, loss in guides.losses(batch).items()}
        if features is not None and not phase.habits:
            cells = self.readout(features, batch.labels)
            losses |= {name: CELL_WEIGHTS[name] * loss for name, loss in cells.items()}
        return losses

    def _optimizers(self, phase: Phase, steps: int) -> tuple[list[Any], list[Any]]:
        """Return AdamW for tables, norms and read-outs and Muon for matrices, and their schedules.

        Without a mix only the vision tower and the embeddings learn; with sloppy annotators all but the vision tower.
        """
        named = list(self.model.named_parameters())
        if not phase.mix:
            named = [(name, p) for name, p in named if ".visual." in name or "embed_tokens" in name]
        if phase.habits:
            named = [(name, p) for name, p in named if ".visual." not in name]
        matrices = [p for name, p in named if phase.muon and p.ndim == 2 and "embed_tokens" not in name]
        known = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in known] + list(self.readout.parameters())
        optimizers = [torch.optim.AdamW(others, lr=phase.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))]
        if matrices:
            muon = dict(weight_decay=0.05, momentum=0.95, ns_steps=4, adjust_lr_fn="original")
            optimizers.append(torch.optim.Muon(matrices, lr=phase.muon, **muon))

        def share(step: int) -> float:
            return min(1.0, (step + 1) / (0.05 * steps + 1)) * min(1.0, max(0.02, (steps - step) / (0.4 * steps)))

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(optimizer, share) for optimizer in optimizers]
