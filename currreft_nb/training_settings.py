"""The settings of the two trainers: few, flat, checked before anything is loaded; names as in the notebooks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from currreft_nb import InputError
from currreft_nb.curriculum_difficulty import DROPS, ORDERS
from currreft_nb.rewards import Rules
from currreft_nb.training_trackers import check_trackers

REHEARSE = ("auto", "always", "never")
SHORTCUTS = ("images", "prompts", "silent", "weights")

VALIDATION_ANSWERS = 4  # to each validation question
MOST_STEPS = 100_000  # of a training that goes by seconds


@dataclass(frozen=True, kw_only=True)
class GrpoSettings:
    """How reinforcement learning goes; the budget is `steps * prompts_per_step` questions.

    Raises `InputError` for values that do not go together.

    >>> GrpoSettings(steps=60).budget
    480
    """

    steps: int = 60
    """Optimiser steps; completions are generated anew for each."""
    prompts_per_step: int = 8
    """Questions per step."""
    group_size: int = 8
    """Completions per question, compared with each other; at least 2."""
    micro_batch: int = 64
    """Most completions per forward and backward pass; divides those that a process has in a step unless it is larger. A
    matter of memory: the updates are the same up to rounding."""
    num_processes: int = 1
    """Processes that train together, each with its share of a step's questions; divides `prompts_per_step`."""
    accelerate_config: str = ""
    """An Accelerate configuration file, for several machines; the settings above hold for all of them together."""
    max_new_tokens: int = 24
    """Longest completion in tokens."""
    rehearse: str = "auto"
    """Take the largest step once before the first and undo it (`memory_rehearsal`): auto (on a GPU), always, never."""
    temperature: float = 1.0
    """Sampling temperature, above 0."""
    learning_rate: float = 1e-3
    """Of AdamW for the adapter; constant after two smaller steps."""
    beta: float = 0.0
    """Weight of the KL penalty towards the policy that the stage started from."""
    format_weight: float = 0.5
    """Weight of the format reward; accuracy has weight 1."""
    detection_reward: str = "soft"
    """How open detection is paid: soft, hard or soft_above_threshold (see `rewards.Rules`)."""
    shortcuts: Sequence[str] = SHORTCUTS
    """Savings of work that leave the updates what they are, up to rounding (`training_grpo`): images, prompts, silent,
    weights. The last needs memory for a dense copy of the adapted layers, and where these are in 16 bit it samples from
    weights that are rounded to it."""
    save_every: int = 20
    """Steps between checkpoints; 0 saves at the end only."""
    report_to: Sequence[str] = ()
    """Trackers that also get the numbers (`training_trackers`); they decide nothing."""
    seed: int = 0
    """For data order and sampling."""
    rate_completions: int = 0
    """Answers sampled to each training question before training, which give its pass rate; 0 measures none. The three
    that follow need it."""
    drop: Sequence[str] = ()
    """Questions to leave out by their pass rate: never (none of the answers was right), always (all were)."""
    order: str = "shuffled"
    """shuffled, or easy_to_hard: the same draws, sorted by pass rate."""
    target_rate: float = 0.0
    """Draw questions near this pass rate more often (`curriculum_difficulty.weight`); 0 draws all alike."""
    validate_every: int = 0
    """Steps between validations; 0 never validates."""
    patience: int = 0
    """End the stage after this many validations without a better reward; 0 takes all steps."""

    def __post_init__(self):
        for name in ("drop", "report_to", "shortcuts"):  # hashable, and equal whether a list or a tuple was given
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("steps", "prompts_per_step", "micro_batch", "num_processes", "max_new_tokens"):
            _at_least(self, name, 1)
        _at_least(self, "group_size", 2)
        for name in ("beta", "format_weight", "save_every", "seed", "rate_completions", "validate_every", "patience"):
            _at_least(self, name, 0)
        for name in ("temperature", "learning_rate"):
            _above_zero(self, name)
        _shares(self.num_processes, self.prompts_per_step, "prompts_per_step")
        whole = "prompts_per_step * group_size"
        _divides(self.micro_batch, self.completions_per_process, _per_process(whole, self.num_processes))
        check_trackers(self.report_to)
        try:
            Rules(detection=self.detection_reward)
        except InputError as error:
            raise InputError(f"detection_reward: {error}") from None
        _check_words("shortcuts", self.shortcuts, SHORTCUTS)
        _check_words("rehearse", [self.rehearse], REHEARSE)
        self._check_difficulty()
        if self.patience and not self.validate_every:
            raise InputError(f"patience is {self.patience}, but validate_every is 0; say how often to validate")

    def _check_difficulty(self) -> None:
        _check_words("drop", self.drop, DROPS)
        _check_words("order", [self.order], ORDERS)
        if not 0 <= self.target_rate < 1:
            raise InputError(f"target_rate is {self.target_rate!r}, but must lie between 0 and 1; 0 draws all alike")
        if self.by_difficulty and not self.rate_completions:
            raise InputError(
                "drop, order and target_rate need pass rates; set rate_completions to the number of answers that"
                " measure them, such as 4"
            )

    @property
    def budget(self) -> int:
        return self.steps * self.prompts_per_step

    @property
    def completions_per_step(self) -> int:
        return self.prompts_per_step * self.group_size

    @property
    def completions_per_process(self) -> int:
        return self.completions_per_step // self.num_processes

    @property
    def by_difficulty(self) -> bool:
        return bool(self.drop or self.target_rate) or self.order != "shuffled"

    @classmethod
    def from_parameters(cls, parameters: SimpleNamespace | Mapping, **changes) -> "GrpoSettings":
        """Take what a notebook's parameters hold, and `changes` before them."""
        return cls(**{**_chosen(cls, parameters), **changes})


@dataclass(frozen=True, kw_only=True)
class SftSettings:
    """How supervised fine-tuning goes; the budget is `prompts` questions, drawn with repetition, or `seconds`.

    Raises `InputError` for values that do not go together.

    >>> SftSettings(prompts=100, batch_size=16).steps
    7
    """

    prompts: int = 1440
    """Questions drawn in all; the last step takes what is left."""
    seconds: float = 0.0
    """Train for as many seconds instead, as another run took; the step that passes them is the last. 0 goes by
    `prompts`."""
    batch_size: int = 16
    """Questions per optimiser step."""
    micro_batch: int = 16
    """Most questions per forward and backward pass; divides those that a process has in a step unless it is larger."""
    num_processes: int = 1
    """Processes that train together, each with its share of a step's questions; divides `batch_size`."""
    accelerate_config: str = ""
    """An Accelerate configuration file, for several machines; the settings above hold for all of them together."""
    rehearse: str = "auto"
    """Take the largest step once before the first and undo it (`memory_rehearsal`): auto (on a GPU), always, never."""
    learning_rate: float = 1e-3
    """Of AdamW for the adapter; constant after two smaller steps."""
    save_every: int = 20
    """Steps between checkpoints; 0 saves at the end only."""
    report_to: Sequence[str] = ()
    """Trackers that also get the numbers (`training_trackers`); they decide nothing."""
    seed: int = 0
    """For the data order."""

    def __post_init__(self):
        object.__setattr__(self, "report_to", tuple(self.report_to))
        for name in ("prompts", "batch_size", "micro_batch", "num_processes"):
            _at_least(self, name, 1)
        for name in ("save_every", "seed"):
            _at_least(self, name, 0)
        if not 0 <= self.seconds < math.inf:
            raise InputError(f"seconds is {self.seconds!r}, but must be at least 0; 0 goes by prompts")
        _above_zero(self, "learning_rate")
        _shares(self.num_processes, self.batch_size, "batch_size")
        _divides(self.micro_batch, self.questions_per_process, _per_process("batch_size", self.num_processes))
        _check_words("rehearse", [self.rehearse], REHEARSE)
        check_trackers(self.report_to)
        self._check_last_step()

    def _check_last_step(self) -> None:
        """Refuse a last step that several processes could not share evenly: some would have to repeat questions."""
        together = min(self.micro_batch, self.questions_per_process) * self.num_processes
        if self.num_processes > 1 and self.budget % together:
            raise InputError(
                f"prompts is {self.budget}, but with num_processes {self.num_processes} must be a multiple of"
                f" {together} (questions that go through the model at once); {-(-self.budget // together) * together}"
                " would, or a smaller micro_batch"
            )

    @property
    def budget(self) -> int:
        return MOST_STEPS * self.batch_size if self.seconds else self.prompts

    @property
    def steps(self) -> int:
        return math.ceil(self.budget / self.batch_size)

    @property
    def questions_per_process(self) -> int:
        return self.batch_size // self.num_processes

    @classmethod
    def from_parameters(cls, parameters: SimpleNamespace | Mapping, **changes) -> "SftSettings":
        """Take what a notebook's parameters hold, and `changes` before them."""
        return cls(**{**_chosen(cls, parameters), **changes})


def _chosen(kind: type, parameters: SimpleNamespace | Mapping) -> dict:
    values = parameters if isinstance(parameters, Mapping) else vars(parameters)
    return {field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values}


def _check_words(name: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    if unknown := [value for value in values if value not in allowed]:
        raise InputError(f"{name} is {unknown[0]!r}, but must be one of {', '.join(allowed)}")


def _at_least(settings: GrpoSettings | SftSettings, name: str, least: int) -> None:
    value = vars(settings)[name]
    if not value >= least:
        raise InputError(f"{name} is {value!r}, but must be at least {least}")


def _above_zero(settings: GrpoSettings | SftSettings, name: str) -> None:
    value = vars(settings)[name]
    if not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}, but must be above 0")


def _per_process(whole: str, num_processes: int) -> str:
    return whole if num_processes == 1 else f"{whole} / num_processes"


def _shares(num_processes: int, whole: int, what: str) -> None:
    if whole % num_processes:
        fitting = max(number for number in range(1, num_processes + 1) if whole % number == 0)
        raise InputError(f"num_processes is {num_processes}, but must divide {what}, which is {whole}; {fitting} would")


def _divides(micro_batch: int, whole: int, what: str) -> None:
    if micro_batch < whole and whole % micro_batch:
        fitting = max(number for number in range(1, micro_batch + 1) if whole % number == 0)
        raise InputError(f"micro_batch is {micro_batch}, but must divide {what}, which is {whole}; {fitting} would")
