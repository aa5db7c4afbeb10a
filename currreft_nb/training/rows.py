"""Rows of training data: which sample is drawn at which place, and the row that TRL's trainers get for it.

For training with TRL or another library, a data folder as a Hugging Face data set:

    rows = grpo_dataset("outputs/notebooks/01_data_curation/data", "train", "binary", loaded.style)
    GRPOTrainer(..., train_dataset=rows, reward_funcs=[rewards.accuracy_reward, rewards.format_reward])
"""

import math
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from datasets import Dataset, Features, Image, List, Value

from currreft_nb import InputError
from currreft_nb.core.samples import STAGES, Sample
from currreft_nb.data.folder import load_samples
from currreft_nb.generation.generate import picture, prompt_text
from currreft_nb.method import prompts, rewards
from currreft_nb.method.difficulty import PassRate, draw_near, easy_first, keep
from currreft_nb.method.prompts import Style
from currreft_nb.models.load import Loaded
from currreft_nb.training.settings import GrpoSettings, SftSettings

Target = tuple[Sample, str]  # a question and the text to learn

TEXT = Value("string")
FEATURES = Features(
    {
        "prompt": List({"role": TEXT, "content": List({"type": TEXT, "text": TEXT})}),
        "images": List(Image()),
        **dict.fromkeys(("id", "task", "stage", "question", "answer", "claim", "options", "extra", "prefill"), TEXT),
        "size": List(Value("int32")),
    }
)


def grpo_dataset(
    folder: str | os.PathLike, split: str, stage: str, style: Style, tasks: Sequence[str] | None = None
) -> Dataset:
    """Return the questions of a data folder at one split and stage, of all tasks or those named.

    Columns: `prompt` (messages in the wording and coordinate frame of `style`), `images` (opened when read; [] for a
    text-only question), and the columns that the rewards read, structured values as JSON text, `prefill` among them
    (what the chat template writes at the start of the model's turn). Raises `InputError` like
    `data.folder.load_samples`.
    """
    rows = [
        {"prompt": prompts.messages(sample, style), "images": [sample.image] if sample.image else []}
        | rewards.columns(sample)
        | {"prefill": style.prefill}
        for sample in load_samples(folder, split, stage, tasks)
    ]
    return Dataset.from_list(rows, features=FEATURES)


def sft_targets(samples: Sequence[Sample], style: Style) -> list[Target]:
    """Return each sample with its ideal completion, as `method.prompts.target` writes it."""
    if prompts.END_OF_THINKING in style.prefill and (count := sum(bool(sample.thinking) for sample in samples)):
        print(f"{count} reference reasonings are left out: the chat template closes the think block in the prompt")
    return [(sample, prompts.target(sample, style)) for sample in samples]


def draws(
    samples: Sequence[Sample],
    rates: Mapping[str, PassRate],
    settings: GrpoSettings | SftSettings,
    rehearse_share: float = 0.0,
) -> tuple[list[int], dict[str, int]]:
    """Return the index of the sample that is drawn at each place of the budget, and how many are left out, by reason.

    `rehearse_share`, from 0 to below 1: the share of places for earlier forms, that is all but the latest form among
    the samples; at 0 all forms are drawn alike. Raises `InputError` without samples of an earlier form for a share
    above 0, and for a sample without a pass rate where a setting of `Difficulty` needs it.
    """
    if settings.by_difficulty and (lacking := [sample.id for sample in samples if sample.id not in rates]):
        raise InputError(
            f"sample {lacking[0]!r} has no pass rate; measure it with training.validation.measure_pass_rates first"
        )
    places = rehearsal_places(settings.budget, rehearse_share)
    latest = max((sample.stage for sample in samples), key=STAGES.index)
    earlier = [rehearse_share > 0 and sample.stage != latest for sample in samples]
    if rehearse_share and not any(earlier):
        raise InputError(
            f"rehearse_share is {rehearse_share:g}, but no sample has an earlier form than {latest}; give samples of"
            " the earlier forms too, as notebooks 03 and 04 do, or set rehearse_share to 0"
        )
    drawn, reasons = {}, Counter[str]()
    for part, seed in ((False, f"{settings.seed}"), (True, f"{settings.seed} earlier")):
        members = [index for index, is_earlier in enumerate(earlier) if is_earlier is part]
        order, left_out = _part_draws([samples[i] for i in members], rates, settings, places.count(part), seed)
        drawn[part] = iter([members[index] for index in order])
        reasons.update(left_out)
    if reasons:
        print("left out: " + ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())))
    return [next(drawn[part]) for part in places], dict(sorted(reasons.items()))


def rehearsal_places(count: int, share: float) -> list[bool]:
    """Return at which of `count` places an earlier form is drawn: evenly spread, the first n hold n * share of them.

    >>> rehearsal_places(8, 0.25)
    [False, False, False, True, False, False, False, True]
    """
    exact = Fraction(str(share))  # as it was written: 100 * 0.29 is below 29 in binary numbers
    return [math.floor((place + 1) * exact) > math.floor(place * exact) for place in range(count)]


def _part_draws(
    samples: Sequence[Sample],
    rates: Mapping[str, PassRate],
    settings: GrpoSettings | SftSettings,
    count: int,
    seed: str,
) -> tuple[list[int], dict[str, int]]:
    """Return which of the samples is drawn at each of `count` places, and how many are left out, by reason."""
    if not (samples and settings.by_difficulty):
        return draw_order(len(samples), count, seed), {}
    kept, left_out = keep(samples, rates, settings.drop)
    known = [rates[sample.id] for sample in kept]
    if settings.target_rate:
        order = draw_near(known, count, settings.target_rate, seed)
    else:
        order = draw_order(len(kept), count, seed)
    if settings.order == "easy_to_hard":
        order = easy_first(order, known)
    ids = {sample.id for sample in kept}
    indices = [index for index, sample in enumerate(samples) if sample.id in ids]
    return [indices[place] for place in order], left_out


def question_row(sample: Sample, loaded: Loaded) -> dict:
    """Return what both kinds of rows hold: the prompt as messages, and the image, or [] for a text-only sample."""
    return {"prompt": prompts.messages(sample, loaded.style), "images": [picture(sample)] if sample.image else []}


def sft_row(sample: Sample, text: str, loaded: Loaded) -> dict:
    """Return a row of data as SFTTrainer takes it."""
    return question_row(sample, loaded) | {"completion": _turn(prompts.with_prefill(text, loaded.style))}


def _turn(text: str) -> list[dict]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def check_turn(loaded: Loaded, sample: Sample, text: str) -> None:
    """Raise `InputError` unless the chat template writes a completion as it is decoded, behind the prompt.

    Some templates of thinking models take the thinking out of the model's turns: what is learnt would have none.
    """
    whole = prompts.with_prefill(text, loaded.style)
    talk = [*prompts.messages(sample, loaded.style), *_turn(whole)]
    said = loaded.processor.apply_chat_template(talk, tokenize=False)
    asked, learnt = prompt_text(loaded, sample), prompts.without_prefill(whole, loaded.style)
    if not said.startswith(asked) or not _dense(said[len(asked) :]).startswith(_dense(learnt)):
        raise InputError(
            f"the chat template of {loaded.name!r} ends with {said[-80:]!r} where the model is to learn {whole[:80]!r};"
            " to imitate answers, give it a chat_template.jinja that keeps the text of the model's last turn"
        )


def _dense(text: str) -> str:
    return "".join(text.split())


def draw_order(count: int, rows: int, seed: int | str) -> list[int]:
    """Return which of `count` samples is drawn for each of `rows` places: one permutation after another, each seeded.

    >>> draw_order(3, 7, seed=0)
    [1, 2, 0, 0, 2, 1, 0]
    """
    # The data loader does not shuffle: a resumed training skips the places that it has trained on, and so continues in
    # the same order, in a later pass over the data too.
    order: list[int] = []
    for number in range(math.ceil(rows / count) if rows else 0):
        order += random.Random(f"{seed} {number}").sample(range(count), count)
    return order[:rows]


class _RowMaker:
    """Makes the rows of a batch. `datasets` hashes it by its state, which must not include the model."""

    def __init__(self, make_row: Callable[[int], dict]):
        self.make_row = make_row

    def __getstate__(self) -> dict:
        return {}

    def __call__(self, batch: dict) -> dict:
        rows = [self.make_row(index) for index in batch["index"]]
        return {name: [row[name] for row in rows] for name in rows[0]}


def lazy_dataset(order: Sequence[int], make_row: Callable[[int], dict]) -> Dataset:
    """Return a data set whose rows are made when they are read, so that only the images of a batch are in memory."""
    return Dataset.from_dict({"index": list(order)}).with_transform(_RowMaker(make_row))
