"""Evaluation: the same questions for every arm, answered naturally and with the format forced, scored by one rule.

    {"arm": "rl", "author": "1b4f0e98 7c9adca0", "id": "scene-7", "hash": "5d41402abc4b2a76", "task": "math",
     "stage": "open", "split": "test_id", "source": "drawn", "image": "1a2b.png", "mode": "natural",
     "completion": "<think>…</think><answer>3</answer>", "tokens": 14, "truncated": false, "correct": 1.0,
     "value": 1.0, "format": 1.0, "reason": "ok", "boxes": []}

Records are appended to `records.jsonl` batch by batch; an evaluation that was killed goes on after the last whole one.
`boxes`: what a detection answer points at, in pixels of the stored image. What else a task has (`iou`, `labels` and
`gold` from which its F1 is counted), `metrics.measure` says.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from currreft_nb import InputError, curation, generation, models
from currreft_nb.boxes import Frame
from currreft_nb.generation import OPEN, Completion
from currreft_nb.journal import append_journal, read_journal
from currreft_nb.journal_answers import REMEDY, completion_fields, pair_up, question_hash, question_hashes
from currreft_nb.metrics import measure
from currreft_nb.models import Loaded
from currreft_nb.models_adapters import merged_adapter
from currreft_nb.prompts import Style
from currreft_nb.rewards import answered_boxes
from currreft_nb.samples import STAGES, TASKS, TRAINED_TASKS, Sample

RECORDS = "records.jsonl"
EVALUATED = ("val", "test_id", "test_ood")
SELECTED_ON = "val"

Answers = Sequence[str | Completion]


def evaluate(
    generate_function: Callable[[list[Sample]], Answers],
    samples: Sequence[Sample],
    arm: str,
    folder: str | os.PathLike,
    *,
    force_function: Callable[[list[Sample], list[str | Completion]], Answers] | None = None,
    frame: Frame | None = None,
    splits: Sequence[str] = EVALUATED,
    author: str = "",
    batch_size: int = 256,
) -> list[dict]:
    """Score the answers of an arm to every sample; return its records, mode natural and, if it can be forced, forced.

    `generate_function`: from samples to one answer each, a text or a `generation.Completion`; so a model, a file of
    recorded answers and a server are scored alike. `force_function` is given the samples and answers that opened no
    `<answer>`, and returns them completed. `frame`: how boxes are written; None means pixels of the stored image.
    `author`: what answers under the arm's name, such as hashes of its weights. Raises `InputError` for a sample of a
    split not among `splits`, one without a reference, and stored records of other questions or another author.
    """
    check_samples(samples, splits)
    path = Path(folder) / RECORDS
    modes = ("natural", "forced") if force_function else ("natural",)
    records = stored_records(path, samples, arm, author)
    pending = [sample for sample in samples if any((sample.id, mode) not in records for mode in modes)]
    clock = time.monotonic()
    for start in range(0, len(pending), batch_size):
        batch = pending[start : start + batch_size]
        answers = _answer(generate_function, force_function, batch)
        made = [_record(arm, author, *row, frame) for row in answers if (row[0].id, row[1]) not in records]
        append_journal(path, made)
        records |= {(record["id"], record["mode"]): record for record in made}
        done = len(samples) - len(pending) + start + len(batch)
        print(f"{arm}: {done:6d} of {len(samples)} questions  {time.monotonic() - clock:6.1f} s", flush=True)
    return [records[sample.id, mode] for mode in modes for sample in samples]


def check_samples(samples: Sequence[Sample], splits: Sequence[str] = EVALUATED) -> None:
    """Raise `InputError` for a sample that may not be scored or cannot be, before any model is loaded."""
    if unknown := [name for name in splits if name not in EVALUATED]:
        raise InputError(f"split {unknown[0]!r} is not for evaluation; use {', '.join(EVALUATED)}")
    for sample in samples:
        if sample.split not in splits:
            raise InputError(f"sample {sample.id!r} is of split {sample.split}; asked for is {', '.join(splits)}")
        if sample.answer is None:
            raise InputError(f"sample {sample.id!r} has no reference answer; leave it out, no rule can score it")


def stored_records(path: Path, samples: Sequence[Sample], arm: str, author: str) -> dict[tuple[str, str], dict]:
    """Return the arm's records in the file, by id and mode. Raises `InputError` if they answer other questions."""
    hashes = question_hashes(samples)
    records = {}
    for record in read_journal(path):
        if record["arm"] == arm and record["id"] in hashes:
            if record["hash"] != hashes[record["id"]]:
                raise InputError(f"{path} scores another question of the id {record['id']!r}; {REMEDY}")
            if record["author"] != author:
                raise InputError(f"{path}: arm {arm!r} was answered by another model ({record['author']}); {REMEDY}")
            records[record["id"], record["mode"]] = record
    return records


def _answer(generate_function: Callable, force_function: Callable | None, batch: list[Sample]) -> list[tuple]:
    """Return (sample, mode, answer); what opened an answer by itself is not decoded again."""
    natural = list(generate_function(batch))
    rows = [(sample, "natural", answer) for sample, answer in pair_up(batch, natural)]
    if force_function:
        unopened = [i for i, answer in enumerate(natural) if OPEN not in completion_fields(answer)["completion"]]
        forced = force_function([batch[i] for i in unopened], [natural[i] for i in unopened]) if unopened else []
        completed = dict(zip(unopened, forced, strict=True))
        rows += [(sample, "forced", completed.get(i, natural[i])) for i, sample in enumerate(batch)]
    return rows


def _record(arm: str, author: str, sample: Sample, mode: str, answer: str | Completion, frame: Frame | None) -> dict:
    fields = completion_fields(answer)
    return {
        "arm": arm,
        "author": author,
        "id": sample.id,
        "hash": question_hash(sample),
        **{name: getattr(sample, name) for name in ("task", "stage", "split", "source")},
        "image": Path(sample.image).name if sample.image else None,
        "mode": mode,
        **fields,
        **measure(sample, fields["completion"], frame),
        "boxes": [list(box) for box in answered_boxes(sample, fields["completion"], frame)],
    }


def answerer(loaded: Loaded, max_new_tokens: int = 256, batch_size: int = 64) -> Callable[[list[Sample]], Answers]:
    """Return the model as a function from samples to greedy answers."""

    def answer(samples: list[Sample]) -> list[Completion]:
        options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        return [found for (found,) in generation.generate(loaded, samples, **options)]

    return answer


def forcer(loaded: Loaded, max_new_tokens: int = 256, batch_size: int = 64) -> Callable[..., Answers]:
    """Return the model as a function that completes answers in which no `<answer>` was opened."""

    def force(samples: list[Sample], answers: list[Completion]) -> list[Completion]:
        options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        return generation.force_format(loaded, samples, answers, **options)

    return force


def sampler(
    loaded: Loaded,
    *,
    completions: int,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 64,
    forced: bool = False,
) -> Callable[[list[Sample]], list[list[Completion]]]:
    """Return the model as a function from samples to several sampled answers to each; `forced` completes the format."""

    def answer(samples: list[Sample]) -> list[list[Completion]]:
        common = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        drawn = generation.generate(
            loaded, samples, **common, temperature=temperature, completions=completions, seed=seed
        )
        if not forced:
            return drawn
        flat = [(sample, found) for sample, answers in zip(samples, drawn) for found in answers]
        alone = common | {"batch_size": max(1, batch_size // completions)}  # each has a prompt of its own to read
        closed = generation.force_format(loaded, *map(list, zip(*flat)), **alone)
        return [closed[start : start + completions] for start in range(0, len(closed), completions)]

    return answer


def evaluate_model(
    loaded: Loaded,
    samples: Sequence[Sample],
    arm: str,
    folder: str | os.PathLike,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    forced: bool = True,
) -> list[dict]:
    """Score a loaded model; see `evaluate`."""
    return evaluate(
        answerer(loaded, max_new_tokens, batch_size),
        samples,
        arm,
        folder,
        force_function=forcer(loaded, max_new_tokens, batch_size) if forced else None,
        frame=loaded.style.frame,
        author=author_of(loaded.base_hash, loaded.adapter_hash, loaded.four_bit, loaded.merged_hash),
    )


def author_of(base_hash: str, adapter_hash: str | None, four_bit: bool, merged_hash: str | None = None) -> str:
    """Return which weights answer: a text that changes when they do.

    So an adapter attached to its base, in 16 or in 4 bit, and the same adapter merged into it are told apart.

    >>> author_of("1b4f", "7c9a", True), author_of("d2e8", None, False, merged_hash="7c9a")
    ('1b4f 7c9a 4-bit', 'd2e8 merged 7c9a')
    """
    adapter = adapter_hash or (f"merged {merged_hash}" if merged_hash else "bare")
    return f"{base_hash} {adapter}{' 4-bit' if four_bit else ''}"


def evaluate_arms(
    arms: Mapping[str, str | os.PathLike | None],
    samples: Sequence[Sample],
    folder: str | os.PathLike,
    *,
    model: str = "pocket",
    four_bit: bool = False,
    max_pixels: int = 0,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    forced: bool = True,
) -> list[dict]:
    """Score one base model with several adapters, by arm, None being the bare model; return the records of all.

    All adapters are checked before the first model is loaded, and a model is loaded only if records are missing.
    """
    check_samples(samples)
    source = models.source_of(model)
    base_hash, merged = models.hash_weights(source), merged_adapter(source)
    hashes = {arm: models.check_adapter(path, model, base_hash) if path else None for arm, path in arms.items()}
    modes = ("natural", "forced") if forced else ("natural",)
    records = []
    for arm, adapter in arms.items():
        author = author_of(base_hash, hashes[arm], four_bit, merged)
        stored = stored_records(Path(folder) / RECORDS, samples, arm, author)
        found = [stored.get((sample.id, mode)) for mode in modes for sample in samples]
        if None in found:
            # The model has no name here, so that it is gone from memory before the next arm's is loaded.
            found = evaluate_model(
                models.load(model, adapter=adapter, four_bit=four_bit, max_pixels=max_pixels),
                samples,
                arm,
                folder,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                forced=forced,
            )
        records += found
    return records


def questions(
    folder: str | os.PathLike,
    splits: Sequence[str],
    count: int,
    stages: Sequence[str] = STAGES,
    tasks: Sequence[str] = TASKS,
) -> list[Sample]:
    """Return the first `count` samples of each task, stage and split of a data folder that have a reference answer."""
    chosen = []
    for split in splits if count else ():
        for stage in stages:
            found = curation.load(folder, split, stage)
            for task in tasks:
                chosen += [s for s in found if s.task == task and s.answer is not None][:count]
    return chosen


def style(model: str, max_pixels: int = 0) -> Style:
    """Return how a model is spoken to, from its configuration and processor alone."""
    config = models.read_config(models.source_of(model))
    processor = models.load_processor(models.source_of(model), max_pixels or models.default_pixels(config))
    return models.style_of(config, processor)


def headline(summary: pd.DataFrame, measure: str = "correct") -> dict[str, float]:
    """Return the mean open score over the trained tasks, by "arm, mode, split": a few numbers for run.json."""
    rows = summary[(summary["measure"] == measure) & (summary["stage"] == "open") & summary["task"].isin(TRAINED_TASKS)]
    means = rows.groupby(["arm", "mode", "split"], sort=False)["mean"].mean()
    return {", ".join(cell): round(float(mean), 4) for cell, mean in means.items()}


def choose(records: Iterable[Mapping], measure: str = "correct", mode: str = "natural") -> str:
    """Return the arm (or checkpoint) with the best validation score, a mean over tasks and stages; the first in a tie.

    Raises `InputError` if any record is of another split: what is chosen on a test split can no longer be tested on it.
    """
    frame = pd.DataFrame([record for record in records if record["mode"] == mode])
    if frame.empty:
        raise InputError(f"there is no {mode} record to choose by; evaluate on split {SELECTED_ON} first")
    if others := sorted(set(frame["split"]) - {SELECTED_ON}):
        raise InputError(f"a choice by split {others[0]} is refused; choose by {SELECTED_ON}, then test the chosen one")
    cells = frame.groupby(["arm", "task", "stage"], sort=False)[measure].mean()
    return str(cells.groupby("arm", sort=False).mean().idxmax())
