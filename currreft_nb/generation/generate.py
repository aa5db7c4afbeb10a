"""Generate answers, greedy or sampled, and force the answer format if a model did not keep it.

Random numbers, one per token, are seeded by the sample's id, the number of the completion and the seed, never by the
batch. So a question gets the same answers alone, in any batch and after an interruption, up to rounding: a batch of
another shape may add numbers in another order, which rarely changes a token.

Checks of trained and exported models compare their log-probabilities (`log_probabilities`, `divergence`).
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from PIL import Image

import currreft_nb.models.quiet  # noqa: F401
from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.data.images import ImageProblem, read_image
from currreft_nb.generation.decode import Choose, decode, dense_layers
from currreft_nb.generation.shared_images import shared_images
from currreft_nb.method import prompts
from currreft_nb.method.prompts import END_OF_THINKING
from currreft_nb.models.load import Loaded

OPEN, CLOSE = "<answer>", "</answer>"


def generate(
    loaded: Loaded,
    samples: Sequence[Sample],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    completions: int = 1,
    seed: int = 0,
    batch_size: int = 64,
) -> list[list[Completion]]:
    """Return `completions` answers to each sample, in the order of the samples, each with the prompt's prefill.

    `temperature` 0 is greedy. `batch_size`: answers decoded at once; those of one question share its prompt. Raises
    `InputError` for an image that cannot be read.
    """
    if max_new_tokens < 1 or completions < 1 or batch_size < 1 or temperature < 0:
        raise InputError(
            f"max_new_tokens {max_new_tokens}, completions {completions} and batch_size {batch_size} must be at least"
            f" 1, temperature {temperature} at least 0"
        )
    if temperature == 0 and completions > 1:
        raise InputError(f"{completions} greedy completions of one question would be equal; give a temperature above 0")
    texts = [prompt_text(loaded, sample) for sample in samples]
    answers: list[list[Completion]] = [[] for _ in samples]
    with shared_images(loaded.model, loaded.processor), _dense_where_exact(loaded.model):
        for first in range(0, completions, batch_size):
            numbers = range(first, min(first + batch_size, completions))
            for batch in _batches(list(range(len(samples))), list(map(len, texts)), max(1, batch_size // len(numbers))):
                draws = [_draws(samples[row], number, seed, max_new_tokens) for row in batch for number in numbers]
                choose = by_draws(torch.tensor(draws), temperature) if temperature else _greedily
                inputs = encode(loaded, [samples[row] for row in batch], [texts[row] for row in batch])
                found = _decode(loaded, inputs, max_new_tokens, choose, copies=len(numbers))
                for place, completion in enumerate(found):
                    whole = replace(completion, text=loaded.style.prefill + completion.text)
                    answers[batch[place // len(numbers)]].append(whole)
    return answers


def force_format(
    loaded: Loaded,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[Completion]:
    """Return the completions, with an answer appended to those without `<answer>`.

    `</think>` (if it is missing) and `<answer>` are appended, the answer is decoded greedily up to `</answer>`, and the
    tag is closed if the model stops without it. `tokens` includes the appended tokens.
    """
    forced = list(completions)
    rows = [row for row, completion in enumerate(completions) if OPEN not in completion.text]
    starts = {row: completions[row].text + opening(completions[row].text) for row in rows}
    texts = {row: prompt_text(loaded, samples[row], starts[row]) for row in rows}
    with shared_images(loaded.model, loaded.processor), _dense_where_exact(loaded.model):
        for batch in _batches(rows, [len(texts[row]) for row in rows], batch_size):
            inputs = encode(loaded, [samples[row] for row in batch], [texts[row] for row in batch])
            answers = _decode(loaded, inputs, max_new_tokens, _greedily, stop=True)
            for row, answer in zip(batch, answers):
                start, body = starts[row], answer.text.partition(CLOSE)[0]
                extra = len(loaded.processor.tokenizer(opening(completions[row].text))["input_ids"])
                tokens = sum(count or 0 for count in (completions[row].tokens, extra, answer.tokens))
                forced[row] = Completion(start + body + CLOSE, tokens, answer.truncated)
    return forced


def _dense_where_exact(model: Any) -> AbstractContextManager:
    """Decode from dense layers in float32 only; in 16 bit, rounding would change the weights."""
    return dense_layers(model) if model.dtype == torch.float32 else nullcontext()


def opening(text: str) -> str:
    """Return the tags that are appended to a completion without an answer.

    >>> opening("<think>a cat"), opening("<think>a cat</think>")
    ('</think><answer>', '<answer>')
    """
    return OPEN if END_OF_THINKING in text else END_OF_THINKING + OPEN


def prompt_text(loaded: Loaded, sample: Sample, answer: str = "") -> str:
    """Return the conversation as one text, up to where the model goes on: behind the prefill and a given answer."""
    messages = prompts.messages(sample, loaded.style)
    text = loaded.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text + prompts.without_prefill(answer, loaded.style)


def encode(loaded: Loaded, samples: Sequence[Sample], texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the model's inputs for texts and the images of their samples, padded on the left."""
    pictures = [picture(sample) for sample in samples if sample.image]
    inputs = loaded.processor(text=list(texts), images=pictures or None, padding=True, return_tensors="pt")
    return inputs.to(loaded.device)


def picture(sample: Sample) -> Image.Image:
    """Return the sample's image in RGB. Raises `InputError` when it is unreadable or not of the recorded size."""
    return _picture(sample.image, sample.size, sample.id)


@lru_cache(maxsize=256)
def _picture(path: str, size: tuple[int, int], sample_id: str) -> Image.Image:
    try:
        return read_image(path, size)
    except ImageProblem as problem:
        raise InputError(f"sample {sample_id!r}: {path}: {problem}; run notebook 01_data_curation again") from None


def _batches(rows: list[int], lengths: list[int], size: int) -> Iterator[list[int]]:
    """Yield the rows in batches of similar length, the longest first so that memory runs out early."""
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    for start in range(0, len(order), size):
        yield [rows[index] for index in order[start : start + size]]


def _draws(sample: Sample, number: int, seed: int, count: int) -> list[float]:
    rng = random.Random(f"{sample.id} {number} {seed}")
    return [rng.random() for _ in range(count)]


def _greedily(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
    return logits.argmax(dim=-1)


def by_draws(draws: torch.Tensor, temperature: float) -> Choose:
    """Choose each row's token by its own number in [0, 1): the first whose cumulated probability exceeds it.

    `draws`: (rows, steps).
    """

    def choose(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        cumulated = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)  # (rows, vocabulary)
        draw = draws[rows, step, None].to(cumulated) * cumulated[:, -1:]
        return torch.searchsorted(cumulated, draw, right=True).clamp(max=logits.shape[-1] - 1)[:, 0]

    return choose


def _decode(
    loaded: Loaded,
    inputs: dict[str, torch.Tensor],
    max_new_tokens: int,
    choose: Choose,
    copies: int = 1,
    stop: bool = False,
) -> list[Completion]:
    tokenizer, training = loaded.processor.tokenizer, loaded.model.training
    loaded.model.eval()
    found = decode(
        loaded.model,
        inputs,
        copies=copies,
        max_new_tokens=max_new_tokens,
        choose=choose,
        ends=(ends := end_tokens(loaded)),
        banned=[loaded.model.config.image_token_id],  # the model would look for an image's features
        is_over=lambda tokens: stop and CLOSE in tokenizer.decode(tokens[-len(CLOSE) :]),
    )
    loaded.model.train(training)
    return [_completion(tokenizer, tokens, ends, stop) for tokens in found]


def end_tokens(loaded: Loaded) -> list[int]:
    """Return the ids of the tokens that end a completion: the tokenizer's and the model's."""
    declared = loaded.model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({loaded.processor.tokenizer.eos_token_id, *declared} - {None})


def _completion(tokenizer: Any, tokens: list[int], ends: list[int], stop: bool) -> Completion:
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return Completion(text, len(tokens), truncated=tokens[-1] not in ends and not (stop and CLOSE in text))


def encode_answer(loaded: Loaded, sample: Sample, answer: str = "") -> dict[str, torch.Tensor]:
    """Return the model's inputs for a question followed by an answer; one row."""
    return encode(loaded, [sample], [prompt_text(loaded, sample, answer)])


@torch.no_grad()
def log_probabilities(model: Any, inputs: Any, positions: int = 0) -> torch.Tensor:
    """Return the next token's log-probabilities: (rows, tokens, vocabulary), float32.

    `positions`: the number of last tokens after which to predict; 0 is all.
    """
    logits = model(**inputs, logits_to_keep=positions).logits[:, -positions:]
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence of the second from the first at each token, in nats."""
    return (first.exp() * (first - second)).sum(dim=-1)
