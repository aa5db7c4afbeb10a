"""Validation questions, asked before and during training: the start line, and when a stage ends early.

They come from split `val`, in the forms of the stage. Answers are sampled and scored as in training. A question's
random numbers are the same every time, so two validations differ only by the training between them. A stage ends after
its budget of steps (the paper), or after `patience` validations in a row that were no better than the best before them.
With `refill` its budget of questions may be spent earlier: when fewer are left than a step draws, none begins.

Where there are questions, start and end are measured at least. A greedy answer is asked for, too: where it gains and
pass@4 does not, training made surer what the model could do before, and taught nothing new (Yue et al. 2025, arXiv
2504.13837).
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.journal import append_journal, read_journal
from currreft_nb.core.samples import Sample, stage_of
from currreft_nb.core.stored_answers import collect_answers
from currreft_nb.generation.answerers import author_of, sampler
from currreft_nb.method.difficulty import PassRate, rate_rows
from currreft_nb.method.rewards import Rules, score
from currreft_nb.metrics.scores import measure, pass_at_k
from currreft_nb.models.load import Loaded
from currreft_nb.training.processes import ranks
from currreft_nb.training.settings import VALIDATION_ANSWERS as ANSWERS
from currreft_nb.training.settings import GrpoSettings, SftSettings
from currreft_nb.training.steps import by_part

STORED_AT_ONCE = 64  # questions whose answers are written to the file together
LEAST_GAIN = 0.01  # of the validation reward; a smaller rise counts as chance


def measure_start_line(
    loaded: Loaded, samples: Sequence[Sample], folder: str | Path, settings: GrpoSettings
) -> dict[str, float]:
    """Return the accuracy before training, in [0, 1], by stage, with the format forced; {} without samples.

    A learning curve above it has learnt more than the format. Answers are stored in the folder's passes-forced.jsonl.
    """
    if not samples:
        return {}
    answers = stored_answers(loaded, samples, Path(folder) / "passes-forced.jsonl", settings, ANSWERS, forced=True)
    return {stage_of(samples): measure_validation(samples, answers, loaded, settings)["accuracy"]}


def stored_answers(
    loaded: Loaded,
    samples: Sequence[Sample],
    path: Path,
    settings: GrpoSettings | SftSettings,
    count: int,
    forced: bool = False,
) -> list[list[str]]:
    """Return `count` answers to each sample, sampled as in training; those in the file are not sampled again.

    `count` 0 asks for one greedy answer.
    """
    sampling = _sampling(settings, count)
    draw = sampler(loaded, **sampling, forced=forced)
    author = author_of(loaded.base_hash, loaded.adapter_hash, loaded.four_bit)
    author += f" T={sampling['temperature']} seed {settings.seed}{' forced' if forced else ''}"
    texts: dict[str, list[str]] = {sample.id: [] for sample in samples}
    for row in collect_answers(draw, samples, path, author=author, batch_size=STORED_AT_ONCE):
        texts[row["id"]].append(row["completion"])
    return [texts[sample.id] for sample in samples]


def _sampling(settings: GrpoSettings | SftSettings, count: int) -> dict:
    common = {name: getattr(settings, name) for name in ("temperature", "max_new_tokens", "seed")}
    greedy = {} if count else {"temperature": 0.0}
    return common | greedy | {"completions": max(1, count), "batch_size": settings.answers_at_once}


def stopping_step(rewards: Sequence[tuple[int, float]], patience: int) -> int | None:
    """Return the step after which a stage ends, from its validations (step, reward) in order; None if it continues.

    >>> stopping_step([(0, 0.2), (10, 0.5), (20, 0.5), (30, 0.505)], patience=2)
    30
    """
    best, waited = -1.0, 0
    for step, reward in rewards:
        best, waited = (reward, 0) if reward >= best + LEAST_GAIN else (best, waited + 1)
        if patience and waited >= patience:
            return step
    return None


def spent(rows: Sequence[Mapping], settings: GrpoSettings) -> bool:
    """Return whether refills left too few questions of the budget for another step, from the rows of metrics.jsonl."""
    left = settings.budget - sum(row["prompts"] for row in rows)
    return settings.refill > 0 and left < settings.prompts_per_step


class EarlyStopping:
    """Validates a stage while it runs, and ends it when its validation reward no longer rises or its budget is spent.

    `samples` are asked before the first step, then every `validate_every` steps and after the last. All decisions are
    made from metrics.jsonl and passes-natural.jsonl, so that a resumed run decides the same.
    """

    def __init__(self, loaded: Loaded, samples: Sequence[Sample], folder: Path, settings: GrpoSettings):
        self.loaded, self.samples, self.path, self.settings = loaded, samples, folder / "metrics.jsonl", settings
        self.start: list[tuple[int, float]] = []
        self.before: dict[str, float] = {}
        if settings.validate_every and not samples:
            raise InputError(
                f"validate_every is {settings.validate_every}, but there are no validation questions; set"
                " validation_questions"
            )
        if samples:
            sampled = stored_answers(loaded, samples, folder / "passes-natural.jsonl", settings, ANSWERS)
            greedy = stored_answers(loaded, samples, folder / "passes-greedy.jsonl", settings, 0)
            self.before = measure_sharpness(samples, greedy, sampled, loaded)
            self.start = [(0, measure_validation(samples, sampled, loaded, settings)["reward"])]

    def is_over(self, row: dict) -> bool:
        """Validate if it is time, add the columns validation_* to the step's row, and say whether the stage is over."""
        if row["step"] == 1:
            row |= {f"start_{name}": value for name, value in self.before.items()}
        over = self.settings.refill > 0 and spent([*read_journal(self.path), row], self.settings)
        every = self.settings.validate_every
        due = every > 0 and row["step"] % every == 0
        if not self.samples or not (due or over or row["step"] == self.settings.steps):
            return over
        started_s = time.perf_counter()
        asked = ranks.share(self.samples)
        sampled, greedy = (
            ranks.from_all([[answer.text for answer in answers] for answers in draw(asked)])
            for draw in (sampler(self.loaded, **_sampling(self.settings, count)) for count in (ANSWERS, 0))
        )
        found = measure_validation(self.samples, sampled, self.loaded, self.settings)
        found |= measure_sharpness(self.samples, greedy, sampled, self.loaded)
        row |= {f"validation_{name}": value for name, value in found.items()}
        row["validation_seconds"] = round(time.perf_counter() - started_s, 3)
        print(f"validation after step {row['step']}: " + "  ".join(f"{name} {v:.3f}" for name, v in found.items()))
        if not due:
            return over
        history = [*ranks.from_first(self._history), (row["step"], found["reward"])]
        if waited_enough := stopping_step(history, self.settings.patience) is not None:
            waited = f"no rise of {LEAST_GAIN} in {self.settings.patience} validations"
            print(f"{waited}: the stage ends after step {row['step']}")
        return over or waited_enough

    def steps(self) -> int:
        """Return how many steps to take: those of the settings, or fewer if an earlier attempt ended the stage."""
        rows = read_journal(self.path)
        if rows and spent(rows, self.settings):
            return int(rows[-1]["step"])
        return stopping_step(self._history(), self.settings.patience) or self.settings.steps

    def record(self) -> dict:
        """Return after which step the stage ended and why, for run.json; prompts that were not drawn stay unspent."""
        history, planned, step, rows = self._history(), self.settings.steps, self.steps(), read_journal(self.path)
        why = "budget" if step == planned or spent(rows, self.settings) else "patience"
        ended: dict[str, Any] = {"why": why, "step": step, "of": planned}
        ended["unspent_prompts"] = self.settings.budget - sum(row["prompts"] for row in rows)
        if history:
            best_step, best = max(history, key=lambda pair: pair[1])
            ended |= {"best_step": best_step, "best_reward": best, "last_reward": history[-1][1]}
        return ended

    def _history(self) -> list[tuple[int, float]]:
        if not self.settings.validate_every:
            return []
        rows = read_journal(self.path)
        return self.start + [(row["step"], row["validation_reward"]) for row in rows if "validation_reward" in row]


def measure_validation(
    samples: Sequence[Sample], answers: Sequence[Sequence[str]], loaded: Loaded, settings: GrpoSettings
) -> dict[str, float]:
    """Return the mean reward, accuracy and format of the answers to the samples, scored as in training.

    Accuracy is also given by task (`accuracy/math`) and, where forms are mixed, by form.
    """
    rules, frame = Rules(detection=settings.detection_reward), loaded.style.frame
    rows: list[dict[str, Any]] = []
    for sample, texts in zip(samples, answers):
        scores = [score(sample, text, frame, rules) for text in texts]
        rows += [{"task": sample.task, "stage": sample.stage, "accuracy": s.value, "format": s.format} for s in scores]
    accuracy, format = (sum(row[name] for row in rows) / len(rows) for name in ("accuracy", "format"))
    means = {"reward": accuracy + settings.format_weight * format, "accuracy": accuracy, "format": format}
    parts = by_part(rows, ["accuracy"], stage_of(samples) == "mixed")
    return {name: round(value, 6) for name, value in means.items()} | parts


def measure_sharpness(
    samples: Sequence[Sample], greedy: Sequence[Sequence[str]], sampled: Sequence[Sequence[str]], loaded: Loaded
) -> dict[str, float]:
    """Return shares of right answers, as evaluation counts them: `greedy`, `correct` (of the sampled), `pass_4`.

    pass@4 is the share of questions to which one of four sampled answers was right.
    """
    frame = loaded.style.frame
    first, several = (
        [[measure(sample, text, frame)["correct"] for text in texts] for sample, texts in zip(samples, answers)]
        for answers in (greedy, sampled)
    )
    shares = {
        "greedy": sum(row[0] for row in first),
        "correct": sum(sum(row) / len(row) for row in several),
        f"pass_{ANSWERS}": sum(pass_at_k(len(row), int(sum(row)), ANSWERS) for row in several),
    }
    return {name: round(total / len(samples), 6) for name, total in shares.items()}


def measure_pass_rates(
    loaded: Loaded, samples: Sequence[Sample], folder: str | os.PathLike, settings: GrpoSettings | SftSettings
) -> dict[str, PassRate]:
    """Sample `rate_completions` answers to each training question as RL would; return the pass rates by id.

    An answer is right if evaluation counts it as correct. Answers are stored in the folder's passes-train.jsonl, the
    rates with their intervals in passes-rates.jsonl. Empty if `rate_completions` is 0.
    """
    folder, count = Path(folder), settings.rate_completions
    if not count:
        return {}
    answers = stored_answers(loaded, samples, folder / "passes-train.jsonl", settings, count)
    rates = {}
    for sample, texts in zip(samples, answers):
        right = sum(measure(sample, text, loaded.style.frame)["correct"] for text in texts)
        rates[sample.id] = PassRate(int(right), len(texts))
    table = folder / "passes-rates.jsonl"
    table.unlink(missing_ok=True)
    append_journal(table, rate_rows(samples, rates))
    return rates
