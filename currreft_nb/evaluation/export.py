"""Merge an adapter into its base and write a folder that other programs load: transformers, vLLM, lmms-eval.

The adapter is merged into a freshly loaded 16-bit base, never into 4-bit weights. The folder holds copies of the base's
files (configuration, tokenizer, chat template, processor, generation settings), the new weights under the old names,
and the pixel budget of the training, so any program that loads the base loads it. The written model is loaded again and
checked: its log-probabilities must be close to those of the base with the adapter attached, not of the base alone.

Its `currreft.json` records its provenance:

    {"base": "pocket", "base_hash": "1b4f0e9851971998", "adapter_hash": "7c9adca05d414020", "four_bit": true, …,
     "kl_merged": 1e-05, "kl_base": 0.31,
     "shift": {"kl_per_token": 0.0021, "changed_completions": 0.04, "changed_answers": 0.0, "questions": 24,
               "tokens": 310, "asked": "validation questions"}}
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open

from currreft_nb import InputError
from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.generation.generate import divergence, encode_answer, generate, log_probabilities
from currreft_nb.method.curriculum import pose_all
from currreft_nb.models.adapters import PROVENANCE, attach_adapter, check_adapter, read_provenance, write_provenance
from currreft_nb.models.files import hash_weights, local_folder, read_config, source_of, weight_files
from currreft_nb.models.load import Loaded, load_model, load_processor, load_weights

PROBES = ("What is in the picture?", "How many red objects are there?", "Locate the green star.")
ROUNDING = 1e-3  # nats of KL divergence per token that merging into 16 bit may cost in any case
TEXT_FILES = ["*.json", "*.jinja", "*.txt", "LICENSE*"]  # of a base, without its index of weights
SHARD = "5GB"  # per weight file, as in the released models
DRAWN = 8  # questions of each task
PLACES = 64  # tokens compared in each answer, evenly spread: with a vocabulary of 150,000 they take 40 MB
BATCH_SIZE = 8


def export_model(
    run: str | os.PathLike, output: str | os.PathLike, questions: Sequence[Sample] = (), max_new_tokens: int = 256
) -> dict[str, Any]:
    """Merge the adapter of a run folder (or an adapter folder) into its base, write it to `output`, return the checks.

    `kl_merged`: KL divergence per token between base with adapter and written model, in nats; `kl_base`: between base
    with adapter and base alone. For an adapter trained on 4-bit weights, `shift` is the difference between that policy
    and the written model (see `_shift`), on `questions` or, without any, on drawn scenes, with greedy answers of at
    most `max_new_tokens`. Raises `InputError` when `output` is not empty, the adapter does not fit the
    base, or merging lost the adapter.
    """
    adapter = Path(run) / "adapter" if (Path(run) / "adapter").is_dir() else Path(run)
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty; give a new folder")
    provenance = read_provenance(adapter)
    source = source_of(provenance["base"])
    provenance["adapter_hash"] = check_adapter(adapter, provenance["base"], hash_weights(source))
    written = output.with_name(output.name + ".partial")
    shutil.rmtree(written, ignore_errors=True)
    checks = _merge(source, adapter, written, provenance["max_pixels"])
    write_provenance(written, provenance | checks)
    if provenance["four_bit"]:
        checks["shift"] = _shift(adapter, provenance, written, questions, max_new_tokens)
        write_provenance(written, provenance | checks)
    if output.exists():
        output.rmdir()
    os.replace(written, output)
    return checks


def _merge(source: str, adapter: Path, output: Path, max_pixels: int) -> dict[str, Any]:
    """Write the merged model and return the checks on it; one model is in memory at a time."""
    processor = load_processor(source, max_pixels)
    model = load_16_bit(source)
    inputs = _probe(processor).to(model.device)
    seen = inputs["attention_mask"].bool()
    base = log_probabilities(model, inputs)[seen]
    model = attach_adapter(model, adapter)
    attached = log_probabilities(model, inputs)[seen]
    model = model.merge_and_unload(safe_merge=True)
    _write(model, source, output, dict(processor.image_processor.size))
    del model
    written = log_probabilities(load_16_bit(str(output)), inputs)[seen]
    kl_merged, kl_base = (float(divergence(attached, other).mean()) for other in (written, base))
    if kl_merged > max(ROUNDING, kl_base / 2):
        shutil.rmtree(output)
        raise InputError(
            f"merging {adapter} lost the adapter: the merged model is {kl_merged:.4f} nats from base and adapter, the"
            f" base alone {kl_base:.4f}; nothing was written; use the adapter folder itself"
        )
    return {"kl_merged": kl_merged, "kl_base": kl_base}


def load_16_bit(source: str) -> Any:
    """Load a model in the 16-bit type of its files, or in bfloat16 if they hold another type."""
    stored = read_config(source).dtype
    dtype = stored if stored in (torch.bfloat16, torch.float16) else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_weights(source, dtype=dtype, device_map={"": device}).eval()


def _probe(processor: Any) -> Any:
    """Return inputs for `PROBES` about a picture of colour gradients."""
    side = 4 * processor.image_processor.patch_size * processor.image_processor.merge_size
    ramps = (Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90))
    picture = Image.merge("RGB", ramps).resize((side, side))
    talks = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in PROBES]
    texts = processor.apply_chat_template(talks, add_generation_prompt=True, tokenize=False)
    return processor(text=texts, images=[picture] * len(texts), padding=True, return_tensors="pt")


def _write(model: Any, source: str, output: Path, size: dict) -> None:
    """Write the weights; copy the base's other files, with another type of the weights and pixel budget."""
    model.save_pretrained(str(output), max_shard_size=SHARD)
    folder = local_folder(source, [*TEXT_FILES, "*.safetensors"])
    for path in {path for pattern in TEXT_FILES for path in folder.glob(pattern)}:
        if not path.name.endswith(".index.json") and path.name != PROVENANCE:
            shutil.copyfile(path, output / path.name)
    _edit(output / "config.json", partial(_set_dtype, str(model.dtype).removeprefix("torch.")))
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (output / name).is_file():
            _edit(output / name, partial(_set_budget, size))
    _check_names(source, output, getattr(model.config, "tie_word_embeddings", False))


def _edit(path: Path, change: Any) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    change(settings)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _set_dtype(name: str, config: dict) -> None:
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        for key in {"dtype", "torch_dtype"} & part.keys():
            part[key] = name


def _set_budget(size: dict, settings: dict) -> None:
    """Set the pixel budget in the processor's settings, under the names of old and new versions of transformers."""
    images = settings.get("image_processor", settings if "image_processor_type" in settings else None)
    if images is None:
        return
    images["size"] = size
    for old, new in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        if old in images:
            images[old] = size[new]


def _check_names(source: str, output: Path, tied: bool) -> None:
    """Raise `RuntimeError` unless the written weights have the base's names and shapes.

    Qwen2-VL and Qwen2.5-VL were released with `model.layers` and `visual`; some versions of transformers save
    `model.language_model.layers` and `model.visual`. Every program reads both, so they count as equal.
    """
    before, after = (_shapes(weight_files(str(place))) for place in (source, output))
    optional = {"lm_head.weight"} if tied else set()  # tied to the embedding, it need not be stored
    wrong = {name for name in {*before, *after} - optional if before.get(name) != after.get(name)}
    if wrong:
        raise RuntimeError(f"{len(wrong)} weights were written under another name or shape, first {min(wrong)}")


def _shapes(files: Sequence[Path]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                plain = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
                found[plain] = file.get_slice(name).get_shape()
    return found


def _shift(
    adapter: Path, provenance: dict[str, Any], output: Path, questions: Sequence[Sample], max_new_tokens: int
) -> dict[str, Any]:
    """Return how far the merged model is from the policy in 4 bit: KL divergence per token, and answers that changed.

    `kl_per_token`: nats, over the tokens of the policy's greedy answers. `changed_completions`: share of questions
    whose greedy completion differs. `changed_answers`: share of questions whose text within <answer> differs.
    """
    pixels, asked = provenance["max_pixels"], "validation questions" if questions else "drawn scenes"
    with tempfile.TemporaryDirectory() as folder:
        samples = questions or drawn_questions(folder, provenance["stage"])
        print(f"asking the policy in 4 bit and the merged model {len(samples)} {asked}", flush=True)
        policy = partial(load_model, provenance["base"], adapter=adapter, four_bit=True, max_pixels=pixels)
        texts, expected = _answers(policy, samples, max_new_tokens)
        others, found = _answers(partial(load_model, str(output), max_pixels=pixels), samples, max_new_tokens, texts)
    apart = torch.cat([divergence(*pair).clamp(min=0) for pair in zip(expected, found)])  # rounding may leave -1e-8
    pairs = list(zip(texts, others))
    return {
        "kl_per_token": round(float(apart.mean()), 6),
        "changed_completions": round(sum(a != b for a, b in pairs) / len(pairs), 4),
        "changed_answers": round(sum(_answer(a) != _answer(b) for a, b in pairs) / len(pairs), 4),
        "questions": len(pairs),
        "tokens": len(apart),
        "asked": asked,
    }


def drawn_questions(folder: str | Path, stage: str) -> list[Sample]:
    """Return questions about drawn scenes at a stage ("mixed": at each), with their pictures in the folder."""
    tasks = [task for task in TRAINED_TASKS if task in compose.TASKS]
    drawn = [sample for task in tasks for sample in compose.draw_samples(folder, task, DRAWN, "id", 0, "val")]
    stages = [stage] if stage in STAGES else STAGES
    return [sample for stage in stages for sample in (drawn if stage == "open" else pose_all(drawn, stage, seed=0)[0])]


def _answers(
    load: Callable[[], Loaded], samples: Sequence[Sample], max_new_tokens: int, texts: Sequence[str] | None = None
) -> tuple[list[str], list[torch.Tensor]]:
    """Return the greedy answers, and the log-probabilities at the tokens of `texts`, by default of these answers.

    The model is loaded and leaves the memory within this call, so that there is one at a time.
    """
    loaded = load()
    drawn = generate(loaded, samples, max_new_tokens=max_new_tokens, batch_size=BATCH_SIZE)
    answers = [completion.text for (completion,) in drawn]
    return answers, [_at_tokens(loaded, *pair) for pair in zip(samples, texts or answers)]


def _at_tokens(loaded: Loaded, sample: Sample, text: str) -> torch.Tensor:
    """Return the log-probabilities that predict each token of the text, and the one after it, on the CPU."""
    inputs = encode_answer(loaded, sample, text)
    count = inputs["input_ids"].shape[1] - encode_answer(loaded, sample)["input_ids"].shape[1] + 1
    places = torch.linspace(0, count - 1, min(count, PLACES)).round().long().unique()
    return log_probabilities(loaded.model, inputs, count)[0, places.to(loaded.device)].cpu()


def _answer(text: str) -> str:
    return parse_completion(text).answer or text
