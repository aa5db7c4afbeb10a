"""The records of a step of reinforcement learning: its completions with their scores, and its row of measures.

    {"step": 12, "stage": "open", "reward": 0.91, "accuracy": 0.55, "format": 0.72, "accuracy/math": 0.5, …,
     "zero_variance": 0.25, "zero_variance/math": 0.5, "reason/math/ok": 0.5, "reason/math/wrong": 0.375, …}

Those marked * are also given by task (`length/math`), in a run that mixes forms (its stage is then "mixed") also by
form (`length/binary`), and reasons by both (`reason/math/binary/wrong`):

- `accuracy` *, `format` *: means over the step's completions; `reward` is accuracy plus the weighted format, less
  `overlong` *, the mean penalty for length, where there is one. With `refill` all completions of the step count, also
  those of silent groups that others replaced: so `prompts` is what the budget paid.
- `zero_variance` *: the share of groups whose rewards are all equal. The trainer's own share is not used: it compares
  in single precision, in which a group of eight equal rewards, such as 0.7, can have a deviation above zero.
- `length` *: mean tokens of a completion, its end token included. `tokens`: their sum.
- `truncated` *: the share of completions that `max_new_tokens` cut off.
- `think_readable` *: the share of completions whose think block and answer can be compared (`method.thinking`).
  `contradiction` *: of those, the share in which the one excludes the other; none where none can be compared.
- `reason/<task>/<code>`: the share of the task's completions whose reward had that reason.
- `entropy` *: nats per token, over the completions that were trained on; none where all groups were silent. `kl` *:
  the estimate that the penalty uses, per token; none without penalty. For a step both are means over its forward
  passes, for a task or form means over its completions.
- `loss`: near zero for `grpo` with one pass and no penalty, because advantages add up to zero; other losses weigh
  tokens or ratios differently. Only its gradient matters.
- With several passes entropy and kl of a completion are those of the first, the others means; `loss` is their mean.
- `gradient_norm`: before clipping to 1, of the last pass. `seconds`: with the checkpoint before the step, without
  validation and figures.
- `validation_*`, after steps with a validation and the last: reward, accuracy and format, accuracy * also in parts, and
  the shares of right answers `greedy`, `correct` and `pass_4` (`validation.measure_sharpness`). The first row has these
  three as `start_*`: before the first step.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from currreft_nb.core.journal import append_journal
from currreft_nb.core.samples import STAGES, TRAINED_TASKS
from currreft_nb.generation.generate import end_tokens
from currreft_nb.method import rewards
from currreft_nb.method.thinking import contradictions
from currreft_nb.metrics.scores import advantages
from currreft_nb.models.load import Loaded
from currreft_nb.training.settings import GrpoSettings

THOUGHTS = ("think_readable", "contradiction")
MEANS = (
    "accuracy",
    "format",
    "length",
    "truncated",
    "overlong",
    *THOUGHTS,
)  # over the completions of a step that have them
# Of each task, and in a mixture of each form.
PARTS = ("accuracy", "format", "zero_variance", "length", "truncated", "entropy", "kl", "overlong", *THOUGHTS)
PART_MEASURES = tuple(f"{measure}/{part}" for measure in PARTS for part in (*TRAINED_TASKS, *STAGES))


def reward_functions(loaded: Loaded, settings: GrpoSettings, scored: list[dict]) -> list[Callable]:
    """Return the rewards, which also append each completion with its scores to `scored`.

    They are accuracy and format, and where `overlong_penalty` asks for it the penalty for length.
    """
    ends = {*end_tokens(loaded), loaded.processor.tokenizer.pad_token_id}
    options: dict[str, Any] = {"frame": loaded.style.frame, "rules": rewards.Rules(detection=settings.detection_reward)}

    def accuracy(completions: list, log_metric: Callable, log_extra: Callable, **columns: Any) -> list[float]:
        extra: dict[str, list] = {}
        values = rewards.accuracy_reward(
            completions, **columns, **options, log_extra=extra.__setitem__, log_metric=log_metric
        )
        against = contradictions(completions, loaded.style.frame, **columns)
        turns = rewards.turns_of(completions, **columns)
        for place, tokens in enumerate(columns["completion_ids"]):
            row = {name: columns[name][place] for name in ("id", "task", "stage")}
            row |= {"completion": turns[place], "accuracy": values[place]}
            row |= {"reason": extra["reason"][place], "length": len(tokens)} | thought_measures(against[place])
            scored.append(row | {"truncated": len(tokens) >= settings.max_new_tokens and tokens[-1] not in ends})
        return values

    def format(completions: list, log_metric: Callable, log_extra: Callable, **columns: Any) -> list[float]:
        values = rewards.format_reward(completions, **columns)
        for row, value in zip(scored[-len(values) :], values):
            row["format"] = value
        return values

    def overlong(completions: list, log_metric: Callable, log_extra: Callable, **columns: Any) -> list[float]:
        values = [overlong_reward(len(tokens), settings) for tokens in columns["completion_ids"]]
        for row, value in zip(scored[-len(values) :], values):
            row["overlong"] = -value
        return values

    return [accuracy, format] + [overlong] * bool(settings.overlong_penalty)


def thought_measures(against: bool | None) -> dict[str, float]:
    """Return the measures of a think block that contradicts the answer, agrees with it, or (None) says neither.

    >>> thought_measures(True), thought_measures(None)
    ({'think_readable': 1.0, 'contradiction': 1.0}, {'think_readable': 0.0})
    """
    if against is None:
        return {"think_readable": 0.0}
    return {"think_readable": 1.0, "contradiction": float(against)}


def overlong_reward(length: int, settings: GrpoSettings) -> float:
    """Return DAPO's soft overlong punishment of a completion of so many tokens, in [-1, 0] (arXiv 2503.14476, eq. 13).

    >>> settings = GrpoSettings(max_new_tokens=24, overlong_penalty=8)
    >>> [overlong_reward(length, settings) for length in (16, 18, 24)]
    [0.0, -0.25, -1.0]
    """
    return min(0.0, (settings.max_new_tokens - settings.overlong_penalty - length) / max(1, settings.overlong_penalty))


def note_measures(scored: Sequence[dict], rows: Sequence[int], measures: Mapping[str, Sequence[float]]) -> None:
    """Add what the trainer measured of the completions `rows` of a step."""
    for name, values in measures.items():
        for row, value in zip(rows, values, strict=True):
            scored[row].setdefault(name, round(value, 6))  # of the first pass, by the policy that sampled


def step_row(logs: dict, scored: Sequence[dict], stage: str, settings: GrpoSettings) -> dict:
    """Return a step's row for metrics.jsonl."""
    known = {name: [row[name] for row in scored if name in row] for name in MEANS}
    return {
        "stage": stage,
        "reward": sum(_totals(scored, settings)) / len(scored),
        **{name: sum(values) / len(values) for name, values in known.items() if values},
        "zero_variance": sum(silent(scored, settings)) / len(scored),
        **part_measures(scored, stage, settings),
        "entropy": logs.get("entropy"),
        "kl": logs.get("kl"),
        "loss": logs["loss"],
        "gradient_norm": logs["grad_norm"],
        "prompts": len(scored) // settings.group_size,
        "completions": len(scored),
        "tokens": sum(row["length"] for row in scored),
    }


def part_measures(scored: Sequence[dict], stage: str, settings: GrpoSettings) -> dict[str, float]:
    """Return the measures and the shares of reasons by task, and in a mixture by form, of one step's completions."""
    rows = [row | {"zero_variance": equal} for row, equal in zip(scored, silent(scored, settings))]
    mixed = stage not in STAGES
    found = by_part(rows, PARTS, mixed)
    for cell, members in _grouped(rows, lambda row: f"{row['task']}/{row['stage']}" if mixed else row["task"]).items():
        for reason, number in sorted(Counter(row["reason"] for row in members).items()):
            found[f"reason/{cell}/{reason}"] = round(number / len(members), 4)
    return found


def by_part(rows: Sequence[Mapping], measures: Sequence[str], mixed: bool) -> dict[str, float]:
    """Return means of each measure by task, and if `mixed` by form, over the rows that have it, as `measure/part`."""
    parts = _grouped(rows, lambda row: row["task"]) | (_grouped(rows, lambda row: row["stage"]) if mixed else {})
    found = {}
    for measure in measures:
        for part, members in parts.items():
            if values := [row[measure] for row in members if measure in row]:
                found[f"{measure}/{part}"] = round(sum(values) / len(values), 6)
    return found


def _grouped(rows: Iterable[Mapping], key: Callable[[Mapping], str]) -> dict[str, list[Mapping]]:
    return {name: list(group) for name, group in groupby(sorted(rows, key=key), key)}


def silent(scored: Sequence[dict], settings: GrpoSettings) -> list[bool]:
    """Return for each completion whether its whole group earned the same."""
    totals, size = _totals(scored, settings), settings.group_size
    groups = [totals[start : start + size] for start in range(0, len(totals), size)]
    return [max(group) - min(group) < 1e-6 for group in groups for _ in group]


def _totals(scored: Sequence[dict], settings: GrpoSettings) -> list[float]:
    weight = settings.format_weight
    return [row["accuracy"] + weight * row["format"] - row.get("overlong", 0.0) for row in scored]


def write_completions(folder: Path, step: int, scored: Sequence[dict], settings: GrpoSettings) -> None:
    """Write a step's completions with their rewards and advantages to completions/."""
    totals = _totals(scored, settings)
    relative = advantages(totals, settings.group_size, settings.scale)
    for place, (row, total, advantage) in enumerate(zip(scored, totals, relative)):
        row |= {"group": place // settings.group_size, "reward": round(total, 4), "advantage": round(advantage, 4)}
    path = folder / "completions" / f"step-{step:05d}.jsonl"
    path.unlink(missing_ok=True)
    append_journal(path, ({"step": step, **row} for row in scored))
