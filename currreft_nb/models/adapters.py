"""Adapters, in folders that record the base model.

An adapter folder holds PEFT's two files and `currreft.json`, its provenance:

    {"base": "pocket", "base_hash": "1b4f0e9851971998", "parent": null, "stage": "binary", "four_bit": false,
     "max_pixels": 4096, "package": "0.1.0"}

`base_hash` is compared when the adapter is loaded: on another base of the same shape its weights are meaningless.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open

from currreft_nb import InputError, __version__
from currreft_nb.core.files import file_digest
from currreft_nb.models.weights import check_folder

PROVENANCE = "currreft.json"
MADE_FROM = "made_from.json"  # in the folder of a training's checkpoints: what they depend on
CHECKPOINT = re.compile(r"checkpoint-\d+")


def new_adapter(model: Any, lora_targets: str, lora_rank: int, seed: int) -> PeftModel:
    """Return the model with a new LoRA adapter on the given layers, alpha twice the rank; it changes no output yet."""
    if lora_rank < 1:
        raise InputError(f"lora_rank is {lora_rank}; it must be at least 1")
    config = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=lora_targets, task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def attach_adapter(model: Any, adapter: str | os.PathLike, trainable: bool = False) -> PeftModel:
    """Return the model with a saved adapter. Raises `InputError` for a missing or superfluous weight."""
    weights = _weights_file(adapter)
    model = PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)
    # PEFT asks the hub about this name whenever it saves; the folder that the weights were loaded from needs no hub.
    model.peft_config["default"].base_model_name_or_path = model.get_base_model().name_or_path
    with safe_open(weights, "pt") as file:
        in_file = set(file.keys())
    if wrong := sorted(in_file ^ set(get_peft_model_state_dict(model, save_embedding_layers=False))):
        raise InputError(
            f"{weights}: {len(wrong)} adapter weights do not match the model, first {wrong[0]!r}; the adapter was made"
            " with another version of the libraries or for another model; train it again"
        )
    return model


def check_adapter(adapter: str | os.PathLike, name: str, base_hash: str) -> str:
    """Return the adapter's hash. Raises `InputError` when it is incomplete or was made for other base weights."""
    weights = _weights_file(adapter)
    provenance = read_provenance(adapter)
    if provenance["base_hash"] != base_hash:
        raise InputError(
            f"the adapter {adapter} was made for the base model {provenance['base']!r} with weights"
            f" {provenance['base_hash']}, but {name!r} has {base_hash}; load it with its own base or train it again"
        )
    return file_digest(weights)


def write_provenance(folder: Path, provenance: dict[str, Any]) -> None:
    """Write an adapter's or merged model's currreft.json, with the version of this package."""
    text = json.dumps({**provenance, "package": __version__}, indent=2)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")


def read_provenance(folder: str | os.PathLike) -> dict[str, Any]:
    """Return an adapter's currreft.json, or for a training's checkpoint the made_from.json of that training.

    Raises `InputError` when the file is absent or damaged.
    """
    checkpoint = CHECKPOINT.fullmatch(Path(folder).name)
    path = Path(folder).parent / MADE_FROM if checkpoint else Path(folder) / PROVENANCE
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
        base, base_hash = "of its training" if checkpoint else provenance["base"], provenance["base_hash"]
    except FileNotFoundError:
        if not Path(folder).is_dir():
            raise InputError(f"{folder} does not exist; give the folder of a training run or of its adapter") from None
        raise InputError(f"{path} does not exist, so the base model is unknown; give a run's adapter folder") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; run the notebook that made the adapter again") from None
    return {**provenance, "base": base, "base_hash": base_hash}


def merged_adapter(source: str | os.PathLike) -> str | None:
    """Return the hash of the adapter merged into a model by `evaluation.export`; None for any other model."""
    if not (Path(source) / PROVENANCE).is_file():
        return None
    return read_provenance(source).get("adapter_hash")


def _weights_file(adapter: str | os.PathLike) -> Path:
    path = Path(adapter) / "adapter_model.safetensors"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the adapter folder of a finished training run")
    check_folder(path.parent)
    return path


def inner_model(model: Any) -> Any:
    """Return the part with vision tower and language model, without adapter and head."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).model
