"""The settings of both trainers, of the models they load and the adapters they train; names as in the notebooks."""

import dataclasses
import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Self

from currreft_nb import InputError
from currreft_nb.core.settings import Settings, declared, defaults, setting, settings_class
from currreft_nb.method.difficulty import DROPS, ORDERS
from currreft_nb.method.rewards import Rules
from currreft_nb.models.families import LORA_ON

REHEARSE = ("auto", "always", "never")
SHORTCUTS = ("images", "prompts", "silent", "weights")
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")
SCALES = ("group", "batch", "none")
VALIDATION_ANSWERS = 4  # to each validation question
ANSWERS_AT_ONCE = 64  # sampled together where no setting says how many: the batch size of `generation.generate`
# The packages of each tracker, one of which must be installed, and the variable that says where it writes.
TRACKERS = {
    "tensorboard": (("tensorboard", "tensorboardX"), "TENSORBOARD_LOGGING_DIR"),
    "trackio": (("trackio",), None),
    "wandb": (("wandb",), "WANDB_DIR"),
}


def check_installed(trackers: Sequence[str]) -> None:
    """Raise `InputError` for a tracker that is not installed."""
    for name in trackers:
        packages, _ = TRACKERS[name]
        if not any(map(find_spec, packages)):
            raise InputError(
                f"report_to contains {name!r}, which is not installed; pip install {packages[0]}, or remove it"
            )


@settings_class
class Seeded(Settings):
    """What makes a run repeatable."""

    seed: int = setting(0, "random seed of drawing, data order, sampling and a new adapter", least=0)


@settings_class
class Pretrained(Settings):
    """The model to load."""

    model: str = setting("pocket", "pocket, pocket-clean, a Hugging Face name or a local folder")


@settings_class
class Loading(Pretrained):
    """How the model is loaded."""

    four_bit: bool = setting(False, "load the language model in 4-bit NF4 (QLoRA)")
    max_pixels: int = setting(0, "largest image; 0 is the model's own default", unit="pixels", least=0)


@settings_class
class Adapter(Settings):
    """The adapter that is trained."""

    lora_rank: int = setting(16, "rank of a new adapter; one that is continued keeps its own", least=1)
    lora_on: str = setting("language", "which layers get LoRA; the paper trains all", choices=LORA_ON)


@settings_class
class Answers(Settings):
    """How answers are sampled."""

    max_new_tokens: int = setting(24, "longest answer; 3B models take 512", unit="tokens", least=1)
    temperature: float = setting(1.0, "sampling temperature", above=0)


@settings_class
class Learning(Settings):
    """The optimiser."""

    learning_rate: float = setting(
        1e-3, "of AdamW, constant after two smaller steps; 1e-3 suits the pocket model, 1e-5 suits 3B", above=0
    )


@settings_class
class Optimising(Learning, Seeded):
    """What both trainers share."""

    micro_batch: int = setting(
        16, "most texts per forward and backward pass; divides those of a step", unit="texts", decides="cost", least=1
    )
    rehearse: str = setting(
        "auto",
        "take the largest step once before the first and undo it, to see that it fits in memory; auto: on a GPU",
        decides="cost",
        choices=REHEARSE,
    )
    save_every: int = setting(
        20, "steps between checkpoints; 0 saves at the end only", unit="steps", decides="cost", least=0
    )
    keep_checkpoints: int = setting(
        2,
        "newest checkpoints kept; 0 keeps all, for evaluation along the way",
        unit="checkpoints",
        decides="cost",
        least=0,
    )
    report_to: Sequence[str] = setting(
        (),
        "trackers that also get the numbers of metrics.jsonl",
        decides="cost",
        choices=tuple(TRACKERS),
        check=check_installed,
    )

    def at_once(self, texts: int) -> int:
        """Return how many of the texts of a step, in one process, go through the model at once."""
        return min(self.micro_batch, texts)


@settings_class
class Processes(Settings):
    """Several processes. A checkpoint holds the random state of each, so another number of them begins afresh."""

    num_processes: int = setting(1, "processes that share each step, one GPU each", least=1)
    accelerate_config: str = setting(
        "", "Accelerate configuration file, for several machines; empty is one machine", decides="cost"
    )

    @property
    def per_process(self) -> str:
        return " / num_processes" if self.num_processes > 1 else ""


@settings_class
class Difficulty(Settings):
    """Which questions are asked, and in which order, by how hard they are for the starting model."""

    rate_completions: int = setting(
        0, "answers per training question that measure its pass rate; 0 measures none", unit="answers", least=0
    )
    drop: Sequence[str] = setting(
        (), "leave out questions that no answer (never) or every answer (always) got right", choices=DROPS
    )
    order: str = setting("shuffled", "shuffled, or the same draws sorted by pass rate", choices=ORDERS)
    target_rate: float = setting(
        0.0, "draw questions near this pass rate more often; 0 draws all alike", least=0, below=1
    )

    @property
    def by_difficulty(self) -> bool:
        return bool(self.drop or self.target_rate) or self.order != "shuffled"

    def check_together(self) -> None:
        super().check_together()
        if self.by_difficulty and not self.rate_completions:
            raise InputError(
                "drop, order and target_rate need pass rates; set rate_completions to the number of answers that"
                " measure them, such as 4"
            )


@settings_class
class Rehearsing(Settings):
    """How much a stage repeats of the stages before it."""

    rehearse_share: float = setting(
        0.0,
        "share of the questions drawn that are asked in earlier forms, against forgetting; 0 asks none (memory is"
        " tried out by rehearse)",
        least=0,
        below=1,
    )


@settings_class
class Validating(Settings):
    """When a stage is validated, and when that ends it."""

    validate_every: int = setting(0, "steps between validations; 0 never validates", unit="steps", least=0)
    patience: int = setting(
        0, "validations without a better reward that end the stage; 0 takes all steps", unit="validations", least=0
    )

    def check_together(self) -> None:
        super().check_together()
        if self.patience and not self.validate_every:
            raise InputError(f"patience is {self.patience}, but validate_every is 0; set validate_every above 0")


@settings_class
class Grouped(Settings):
    """The size of reinforcement learning: steps, questions per step, answers per question."""

    steps: int = setting(60, "steps; completions are generated anew for each", unit="steps", least=1)
    prompts_per_step: int = setting(8, "questions per step", unit="questions", least=1)
    group_size: int = setting(8, "completions per question, compared with each other", unit="completions", least=2)

    @property
    def budget(self) -> int:
        return self.steps * self.prompts_per_step

    @property
    def completions_per_step(self) -> int:
        return self.prompts_per_step * self.group_size


@settings_class
class Updating(Settings):
    """What an update is made of: the loss, the scale of the advantages, and which completions count.

    All losses are -advantage times a ratio: the token's probability now over that at its sampling. In the first pass
    the ratio is 1, so losses that clip it in different ways differ above `passes` 1 only. params/README.md has a table.
    """

    loss: str = setting(
        "grpo",
        "grpo (arXiv 2402.03300): mean over each completion's tokens, then over completions;"
        " dr_grpo (2503.20783): sum of tokens over a constant, so that length has no weight, meant with scale none;"
        " dapo (2503.14476): mean over the tokens of all completions;"
        " bnpo (TRL's name, after 2506.02864): mean over the tokens of a process's completions;"
        " gspo (2507.18071): grpo with one ratio a completion, clipped more tightly;"
        " cispo (2506.13585): dapo's mean, with a capped ratio that keeps every token's gradient",
        choices=LOSSES,
    )
    scale: str = setting(
        "group",
        "advantages are divided by the deviation of rewards in the group (GRPO), in the whole batch (2508.08221), or"
        " not at all (Dr. GRPO)",
        choices=SCALES,
    )
    clip_high: float = setting(
        0.0,
        "how far a ratio may rise above 1; 0 is as far as below, 0.2 (gspo 0.0004, below 0.0003); DAPO takes 0.28;"
        " for cispo the largest ratio itself, 0 is 5",
        least=0,
    )
    passes: int = setting(1, "updates by each step's completions", unit="updates", least=1)
    mask_truncated: bool = setting(False, "leave completions that max_new_tokens cut off out of the loss (DAPO)")
    overlong_penalty: int = setting(
        0,
        "tokens before max_new_tokens over which a penalty grows from 0 to 1 (DAPO's soft overlong punishment); 0 none",
        unit="tokens",
        least=0,
    )
    refill: int = setting(
        0,
        "rounds in which silent groups of a step are replaced by further questions (DAPO's dynamic sampling), which"
        " the budget pays; 0 none; in a mixture of forms the trained ones shift to those with contrast",
        unit="rounds",
        least=0,
    )

    def check_together(self) -> None:
        super().check_together()
        if self.clip_high and self.passes == 1:
            raise InputError(
                f"clip_high is {self.clip_high}, but with passes 1 every ratio is 1 and none is clipped; set passes to"
                " 2 or more, or clip_high to 0"
            )
        if self.loss == "cispo" and 0 < self.clip_high <= 1:
            raise InputError(
                f"clip_high is {self.clip_high}, but for loss cispo it is the largest ratio itself; set it above 1,"
                " such as 5"
            )
        if self.loss == "gspo" and self.clip_high > 0.01:
            raise InputError(
                f"clip_high is {self.clip_high}, but for loss gspo ratios of whole completions stay near 1, and so high"
                " a limit clips none; set it near 0.0004"
            )
        if self.refill and self.scale == "batch":
            raise InputError(
                "scale is batch, but with refill the groups of a step come from several batches; set scale to group or"
                " none, or refill to 0"
            )


@settings_class
class GrpoSettings(Validating, Processes, Optimising, Answers, Rehearsing, Difficulty, Updating, Grouped):
    """How reinforcement learning goes; the budget is `steps * prompts_per_step` questions.

    A step samples completions once and makes `passes` updates by them. With `refill` it may draw more questions, and
    the last steps are left out when the budget is spent.

    Raises `InputError` for values that do not go together.

    >>> GrpoSettings(steps=60).budget
    480
    """

    micro_batch = 64
    beta: float = setting(0.0, "weight of the KL penalty towards the policy that the stage started from", least=0)
    format_weight: float = setting(0.5, "weight of the format reward; accuracy has weight 1", least=0)
    detection_reward: str = setting(
        "hard",
        "how open detection is paid: 1 above an IoU of one half (hard, the paper), the IoU (soft), or the IoU above it",
        choices=declared(Rules)["detection"].choices,
    )
    # They leave the updates by given completions the same up to rounding. But without `prompts` TRL samples, with other
    # random numbers, and `weights` rounds a dense copy of the adapted layers where these are in 16 bit: other samples.
    shortcuts: Sequence[str] = setting(SHORTCUTS, "savings of work in decoding and training", choices=SHORTCUTS)

    def check_together(self) -> None:
        super().check_together()
        _check_divides("num_processes", self.num_processes, "prompts_per_step", self.prompts_per_step)
        whole = "prompts_per_step * group_size" + self.per_process
        rows = self.completions_per_process
        at_once = self.at_once(rows)
        _check_divides("micro_batch", at_once, whole, rows)
        if self.loss == "bnpo" and at_once < rows:
            raise InputError(
                f"micro_batch is {at_once}, but loss bnpo takes its mean over the tokens that go through the"
                f" model at once, so micro_batch would decide the result; set it to {rows}, or loss to dapo, the mean"
                " over all tokens of the step"
            )
        if self.overlong_penalty > self.max_new_tokens:
            raise InputError(
                f"overlong_penalty is {self.overlong_penalty}, more than max_new_tokens, which is"
                f" {self.max_new_tokens}; set it to {max(1, self.max_new_tokens // 5)}, as DAPO's fifth"
            )
        self._check_refill()

    def _check_refill(self) -> None:
        if self.refill and self.num_processes > 1:
            raise InputError(
                f"refill is {self.refill}, but num_processes {self.num_processes}: processes would need different"
                " numbers of further questions; set num_processes to 1, or refill to 0"
            )
        if self.refill and self.order == "easy_to_hard":
            raise InputError(
                "order is easy_to_hard, but refill draws from the end of the order, where the hardest are; set order to"
                " shuffled, or refill to 0"
            )

    @property
    def answers_at_once(self) -> int:
        """How many answers are sampled at once, before the training too."""
        return self.completions_per_step

    @property
    def completions_per_process(self) -> int:
        return self.completions_per_step // self.num_processes

    def one_step(self) -> Self:
        """Return the settings of one rehearsed step, to measure its memory."""
        off = {**defaults(Difficulty), **defaults(Rehearsing), **defaults(Validating)}
        return dataclasses.replace(self, steps=1, save_every=0, rehearse="always", **off)


@settings_class
class Imitating(Optimising):
    """Supervised fine-tuning, except its length."""

    batch_size: int = setting(16, "questions per optimiser step", unit="questions", least=1)


@settings_class
class SftSettings(Processes, Imitating, Answers, Difficulty):
    """How supervised fine-tuning goes; the budget is `prompts` questions. Answers are sampled only for pass rates.

    Raises `InputError` for values that do not go together.

    >>> SftSettings(prompts=100, batch_size=16).steps
    7
    """

    prompts: int = setting(
        1440, "questions drawn in all, with repetition; the last step takes what is left", unit="questions", least=1
    )
    teacher: str = setting(
        "",
        "model whose word-by-word judgement of the run's own answers is imitated in place of given answers, such as"
        " pocket-clean; it must be of the same kind and have the same tokens",
    )

    def check_together(self) -> None:
        super().check_together()
        _check_divides("num_processes", self.num_processes, "batch_size", self.batch_size)
        at_once, whole = self.at_once(self.questions_per_process), "batch_size" + self.per_process
        _check_divides("micro_batch", at_once, whole, self.questions_per_process)
        if self.teacher and (self.num_processes > 1 or self.prompts % self.batch_size):
            raise InputError(
                f"a teacher needs num_processes 1, which is {self.num_processes}, and whole steps: prompts is"
                f" {self.prompts}; set it to a multiple of batch_size, {self.batch_size}"
            )
        together = at_once * self.num_processes
        if self.num_processes > 1 and self.budget % together:  # some processes would have to repeat questions
            raise InputError(
                f"prompts is {self.budget}, but with num_processes {self.num_processes} must be a multiple of"
                f" {together}, the questions that go through the model at once; set it to"
                f" {-(-self.budget // together) * together}, or lower micro_batch"
            )

    @property
    def budget(self) -> int:
        return self.prompts

    @property
    def steps(self) -> int:
        return math.ceil(self.budget / self.batch_size)

    @property
    def answers_at_once(self) -> int:
        """How many answers are sampled at once, before the training."""
        return ANSWERS_AT_ONCE

    @property
    def questions_per_process(self) -> int:
        return self.batch_size // self.num_processes

    def one_step(self) -> Self:
        """Return the settings of one rehearsed step, to measure its memory."""
        return dataclasses.replace(
            self, prompts=self.batch_size, save_every=0, rehearse="always", **defaults(Difficulty)
        )


def _check_divides(name: str, value: int, whole_name: str, whole: int) -> None:
    if whole % value:
        fits = max(number for number in range(1, value + 1) if whole % number == 0)
        raise InputError(f"{name} is {value}, but must divide {whole_name}, which is {whole}; set it to {fits}")
