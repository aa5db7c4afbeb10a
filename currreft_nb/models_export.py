"""Merge an adapter into its base and write a folder that other programs load: transformers, vLLM, lmms-eval.

The adapter is merged into a freshly loaded 16-bit base, never into 4-bit weights, and the result is checked: on a probe
it must say what the base with the adapter attached says, and not what the base says alone.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from currreft_nb import InputError, __version__, models
from currreft_nb.models_adapters import PROVENANCE, attach_adapter, check_adapter, read_provenance

PROBES = ("What is in the picture?", "How many red objects are there?", "Locate the green star.")
ROUNDING = 1e-3  # nats of KL divergence per token that merging into 16 bit may cost in any case


def export(run: str | os.PathLike, output: str | os.PathLike) -> dict:
    """Merge the adapter of a run folder (or an adapter folder) into its base, write it to `output`, return the checks.

    `kl_merged`: KL divergence per token between the attached and the merged adapter, in nats; `kl_base`: between the
    attached adapter and none. Raises `InputError` when `output` is not empty, when the adapter belongs to another base
    or does not fit it, and when merging lost the adapter. An adapter trained on 4-bit weights meets slightly other
    weights here.
    """
    adapter = Path(run) / "adapter" if (Path(run) / "adapter").is_dir() else Path(run)
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty; give a new folder")
    provenance = read_provenance(adapter)
    source = models.source_of(provenance["base"])
    adapter_hash = check_adapter(adapter, provenance["base"], models.hash_weights(source))
    processor = models.load_processor(source, provenance["max_pixels"])
    model = load_16_bit(source)
    inputs = _probe(processor).to(model.device)
    base = _log_probabilities(model, inputs)
    model = attach_adapter(model, adapter)
    attached = _log_probabilities(model, inputs)
    model = model.merge_and_unload(safe_merge=True)
    checks = {
        "kl_merged": _divergence(attached, _log_probabilities(model, inputs)),
        "kl_base": _divergence(attached, base),
    }
    if checks["kl_merged"] > max(ROUNDING, checks["kl_base"] / 2):
        raise InputError(
            f"merging {adapter} lost the adapter: {checks['kl_merged']:.4f} nats from it attached,"
            f" {checks['kl_base']:.4f} without it; nothing was written; use the adapter folder itself"
        )
    _write(model, processor, output, {**provenance, "adapter_hash": adapter_hash, **checks, "package": __version__})
    return checks


def load_16_bit(source: str) -> Any:
    """Load a model in the 16-bit type that its files are stored in, or bfloat16 if they hold another one."""
    stored = models.read_config(source).dtype
    dtype = stored if stored in (torch.bfloat16, torch.float16) else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, device_map={"": device}).eval()


def _probe(processor: Any) -> Any:
    """Return inputs for a few questions about a picture of colour gradients."""
    side = 4 * processor.image_processor.patch_size * processor.image_processor.merge_size
    ramps = (Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90))
    picture = Image.merge("RGB", ramps).resize((side, side))
    talks = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in PROBES]
    texts = processor.apply_chat_template(talks, add_generation_prompt=True, tokenize=False)
    return processor(text=texts, images=[picture] * len(texts), padding=True, return_tensors="pt")


@torch.no_grad()
def _log_probabilities(model: Any, inputs: Any) -> torch.Tensor:
    """Return the next token's log-probabilities wherever there is no padding: (tokens, vocabulary), float32."""
    logits = model(**inputs).logits.float()
    return torch.log_softmax(logits, dim=-1)[inputs["attention_mask"].bool()]


def _divergence(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.exp() * (a - b)).sum(dim=-1).mean())


def _write(model: Any, processor: Any, output: Path, provenance: dict) -> None:
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial))
    processor.save_pretrained(str(partial))
    (partial / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    if output.exists():
        output.rmdir()
    os.replace(partial, output)
