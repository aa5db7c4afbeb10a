"""Let the model answer: greedily or sampled, naturally or with the answer format forced.

Sampling draws its random numbers from the sample's id, the number of the completion and the seed, one per token, and
never from the batch. So a question gets the same answers alone and among others, today and after an interruption, up to
rounding: a batch of another shape may add numbers in another order, which in rare cases tips a token.
"""

import currreft_nb.models_messages  # noqa: F401

# isort: split
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from currreft_nb import InputError, prompts
from currreft_nb.formats.images import ImageProblem, read_image
from currreft_nb.models import Loaded
from currreft_nb.models_vision import shared_images
from currreft_nb.samples import Sample

OPEN, CLOSE, END_OF_THINKING = "<answer>", "</answer>", "</think>"


@dataclass(frozen=True)
class Completion:
    """What the model said. `tokens`: how many it took; `truncated`: it had to stop before it was done."""

    text: str
    tokens: int
    truncated: bool


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
    """Return `completions` answers to each sample, in the order of the samples.

    `temperature` 0 is greedy. `batch_size`: answers decoded at once. Raises `InputError` for an image that cannot be
    read.
    """
    if max_new_tokens < 1 or completions < 1 or batch_size < 1 or temperature < 0:
        raise InputError(
            f"max_new_tokens {max_new_tokens}, completions {completions} and batch_size {batch_size} must be at least"
            f" 1, and temperature {temperature} at least 0"
        )
    if temperature == 0 and completions > 1:
        raise InputError(f"{completions} greedy completions of one question would be equal; give a temperature above 0")
    texts = [prompt_text(loaded, sample) for sample in samples]
    answers: list[list[Completion]] = [[] for _ in samples]
    requests = [(row, number) for row in range(len(samples)) for number in range(completions)]
    with shared_images(loaded.model):
        for batch in _batches(requests, [len(texts[row]) for row, _ in requests], batch_size):
            draws = [_draws(samples[row], number, seed, max_new_tokens) for row, number in batch]
            processors = [_Inverse(torch.tensor(draws), temperature)] if temperature > 0 else []
            inputs = encode(loaded, [samples[row] for row, _ in batch], [texts[row] for row, _ in batch])
            for (row, _), completion in zip(batch, _decode(loaded, inputs, max_new_tokens, processors)):
                answers[row].append(completion)
    return answers


def force_format(
    loaded: Loaded,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[Completion]:
    """Return the completions with an answer in each; where none was opened, one is opened and decoded.

    One completion per sample. `</think>` (if it is missing) and `<answer>` are appended, the answer is decoded greedily
    up to `</answer>`, and the tag is closed where the model stops without it. `tokens` counts the appended tokens, too.
    """
    forced = list(completions)
    rows = [row for row, completion in enumerate(completions) if OPEN not in completion.text]
    starts = {row: completions[row].text + opening(completions[row].text) for row in rows}
    texts = {row: prompt_text(loaded, samples[row]) + starts[row] for row in rows}
    for batch in _batches(rows, [len(texts[row]) for row in rows], batch_size):
        inputs = encode(loaded, [samples[row] for row in batch], [texts[row] for row in batch])
        answers = _decode(loaded, inputs, max_new_tokens, [], stop=True)
        for row, answer in zip(batch, answers):
            start, body = starts[row], answer.text.partition(CLOSE)[0]
            extra = len(loaded.processor.tokenizer(opening(completions[row].text))["input_ids"])
            tokens = completions[row].tokens + extra + answer.tokens
            forced[row] = Completion(start + body + CLOSE, tokens, answer.truncated)
    return forced


def opening(text: str) -> str:
    """Return what is appended to a completion without an answer, to open one.

    >>> opening("<think>a cat"), opening("<think>a cat</think>")
    ('</think><answer>', '<answer>')
    """
    return OPEN if END_OF_THINKING in text else END_OF_THINKING + OPEN


def prompt_text(loaded: Loaded, sample: Sample) -> str:
    """Return the conversation as one text, up to where the model's turn begins."""
    messages = prompts.messages(sample, loaded.style)
    return loaded.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def encode(loaded: Loaded, samples: Sequence[Sample], texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the model's inputs for texts and their samples' images, padded on the left."""
    pictures = [picture(sample) for sample in samples if sample.image]
    inputs = loaded.processor(text=list(texts), images=pictures or None, padding=True, return_tensors="pt")
    return inputs.to(loaded.device)


def picture(sample: Sample) -> Image.Image:
    """Return the sample's image in RGB. Raises `InputError` when it cannot be read or is not of the recorded size."""
    return _picture(sample.image, sample.size, sample.id)


@lru_cache(maxsize=256)
def _picture(path: str, size: tuple[int, int], sample_id: str) -> Image.Image:
    try:
        return read_image(path, size)
    except ImageProblem as problem:
        raise InputError(f"sample {sample_id!r}: {path}: {problem}; run notebook 01_data_curation again") from None


def _batches(rows: list, lengths: list[int], size: int) -> Iterator[list]:
    """Yield the rows in batches of similar length, to pad little; the longest first, for memory to fail early."""
    order = sorted(range(len(rows)), key=lambda index: -lengths[index])
    for start in range(0, len(order), size):
        yield [rows[index] for index in order[start : start + size]]


def _draws(sample: Sample, number: int, seed: int, count: int) -> list[float]:
    rng = random.Random(f"{sample.id} {number} {seed}")
    return [rng.random() for _ in range(count)]


class _Inverse(LogitsProcessor):
    """Choose each row's next token by its own number in [0, 1): the one where the cumulated probability passes it."""

    def __init__(self, draws: torch.Tensor, temperature: float):
        self.draws, self.temperature, self.step = draws, temperature, 0  # draws: (rows, tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        cumulated = torch.softmax(scores.double() / self.temperature, dim=-1).cumsum(dim=-1)  # (rows, vocabulary)
        draw = self.draws[:, self.step : self.step + 1].to(cumulated) * cumulated[:, -1:]
        self.step += 1
        chosen = torch.searchsorted(cumulated, draw, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


class _AnswerClosed(StoppingCriteria):
    """Stop the rows whose new text holds `</answer>`."""

    def __init__(self, tokenizer, prompt_length: int):
        self.tokenizer, self.prompt_length = tokenizer, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        return torch.tensor([CLOSE in text for text in texts], device=input_ids.device)


@torch.no_grad()
def _decode(
    loaded: Loaded, inputs: dict, max_new_tokens: int, processors: list, stop: bool = False
) -> list[Completion]:
    model, tokenizer = loaded.model, loaded.processor.tokenizer
    length = inputs["input_ids"].shape[1]
    training = model.training
    model.eval()
    output = model.generate(
        **inputs,
        generation_config=generation_config(loaded, max_new_tokens),
        logits_processor=LogitsProcessorList(processors),
        stopping_criteria=StoppingCriteriaList([_AnswerClosed(tokenizer, length)] if stop else []),
    )
    model.train(training)
    ends = set(end_tokens(loaded))
    return [_completion(tokenizer, row, ends, stop) for row in output[:, length:].tolist()]


def generation_config(loaded: Loaded, max_new_tokens: int) -> GenerationConfig:
    """Return greedy decoding with every value set.

    What is left open is filled from the model's own defaults, which for Qwen2.5-VL hold a repetition penalty. An image
    token in an answer would ask for an image that is not there.
    """
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        eos_token_id=end_tokens(loaded),
        pad_token_id=loaded.processor.tokenizer.pad_token_id,
        suppress_tokens=[loaded.model.config.image_token_id],
        disable_compile=True,
    )


def end_tokens(loaded: Loaded) -> list[int]:
    """Return the ids of all tokens that end a completion: the tokenizer's and those that the model declares."""
    declared = loaded.model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({loaded.processor.tokenizer.eos_token_id, *declared} - {None})


def _completion(tokenizer, ids: list[int], ends: set[int], stop: bool) -> Completion:
    count = next((place + 1 for place, token in enumerate(ids) if token in ends), None)
    text = tokenizer.decode(ids[:count], skip_special_tokens=True)
    # A row that closed its answer is padded afterwards, like one that has ended.
    closed = stop and CLOSE in text
    tokens = count if count is not None else sum(token != tokenizer.pad_token_id for token in ids)
    return Completion(text, tokens, truncated=count is None and not closed)
