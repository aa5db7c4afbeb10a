"""Load a model in 16 or 4 bit, with or without an adapter, and save a trained adapter.

`models.adapters` describes adapter folders, `models.families` the differences between model families.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt, Params4bit
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

import currreft_nb.models.quiet  # noqa: F401
from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.method.prompts import Style
from currreft_nb.models.adapters import attach_adapter, check_adapter, merged_adapter, new_adapter, write_provenance
from currreft_nb.models.families import FAMILIES, Family, check_processor, family_of, prefill_of
from currreft_nb.models.files import first_line, hash_weights, read_config, source_of

COMPUTED = ("inv_freq", "position_ids")  # buffers in old files, which models compute by themselves
WRAPPERS = ("module.", "_orig_mod.", "base_model.model.")  # of DistributedDataParallel, torch.compile and PEFT
QUANTISED = (".absmax", ".SCB", ".qweight", ".weight_scale", ".weight_packed")  # in names of several libraries
LARGE = 1024  # width of a language model that is too large to train on a CPU; Qwen2-VL-2B has 1,536


@dataclass(frozen=True)
class Loaded:
    """A loaded model with its processor, style of prompts and hashes.

    `name`: as given to `load_model`. `base_hash`: of the base's weight files. `adapter_hash`: of the loaded adapter, or
    None. `merged_hash`: of the adapter that an export merged into the base, or None. `model` is a `PeftModel` if its
    adapter is trained or not merged.
    """

    model: Any
    processor: Any
    style: Style
    name: str
    family: Family
    base_hash: str
    adapter_hash: str | None = None
    four_bit: bool = False
    merged_hash: str | None = None

    @property
    def device(self) -> torch.device:
        return self.model.device


def load_model(
    name: str,
    *,
    adapter: str | os.PathLike | None = None,
    four_bit: bool = False,
    max_pixels: int = 0,
    trainable: bool = False,
    lora_rank: int = 16,
    lora_on: str = "language",
    seed: int = 0,
    device: str | None = None,
) -> Loaded:
    """Load a model with its processor, and attach a given adapter or, with `trainable`, a new one.

    `name`: "pocket", "pocket-clean", a local folder or a name on the Hugging Face hub. `adapter`: an adapter folder,
    whose own rank and layers are used; None with `trainable` starts a new one of `lora_rank`, initialised from `seed`.
    `lora_on`: the layers of a new adapter: "language" (the language model's; features of images can then be cached),
    "merger" (also those between vision tower and language model) or "vision" (also the tower's; the paper trains all
    weights). `four_bit`: the language model in NF4, double quantised; vision tower and output head stay in 16 bit.
    `max_pixels`: size of the largest image; 0 is that of `default_pixels`. Weights are bfloat16 on a GPU, float32 on
    the CPU. Raises `InputError` for an unknown family, a missing or unfitting processor, an unreachable hub, an adapter
    of another base, a large model to train without a GPU unless `device` is given, files that are not whole, weights
    that are stored quantised, and weights that are not exactly the model's.
    """
    source = source_of(name)
    config = read_config(source)
    family = family_of(config, name)
    if trainable and device is None:
        _check_card(config, name)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _limit_threads(config, device)
    processor = load_processor(source, max_pixels or default_pixels(config))
    found = hash_weights(source)
    model = _load_base(source, family, device, four_bit)
    adapter_hash = None
    if adapter is not None:
        adapter_hash = check_adapter(adapter, name, found)
        model = attach_adapter(model, adapter, trainable)
        if not (trainable or four_bit) and model.dtype == torch.float32:
            model = model.merge_and_unload()  # exact to float32 rounding, and a third faster on the CPU
    elif trainable:
        model = new_adapter(model, family.lora_targets(lora_on), lora_rank, seed)
    model.train(trainable)
    style, merged = style_of(config, processor), merged_adapter(source)
    return Loaded(model, processor, style, name, family, found, adapter_hash, four_bit, merged)


def _check_card(config: Any, name: str) -> None:
    if config.get_text_config().hidden_size >= LARGE and not torch.cuda.is_available():
        raise InputError(
            f"training {name!r} needs a CUDA GPU, and torch finds none here; run currreft doctor to see why, use a"
            " machine with one, set model to pocket, or give device='cpu' to train on the CPU all the same"
        )


def _limit_threads(config: Any, device: torch.device) -> None:
    """Use one thread for a pocket model: a second gains little, and costs much if it waits for a core."""
    if device.type == "cpu" and wording_of(config) == "short" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def default_pixels(config: Any) -> int:
    """Return the default size of the largest image: 4,096 pixels for a pocket model, else the paper's 512 x 28 x 28."""
    return 4096 if wording_of(config) == "short" else 401_408


def wording_of(config: Any) -> str:
    """Return the wording of prompts that config.json asks for: "short" for a pocket model, else "full"."""
    return config.to_dict().get("currreft_wording", "full")


def load_processor(source: str, max_pixels: int) -> Any:
    """Load the processor with left padding and a pixel budget. Raises `InputError` unless it fits the model."""
    try:
        processor = AutoProcessor.from_pretrained(source, padding_side="left")
        size = processor.image_processor.size
        smallest = size["shortest_edge"]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"the model {source!r} has no processor for images ({first_line(error)}); copy preprocessor_config.json,"
            " tokenizer.json and tokenizer_config.json of its base model into its folder"
        ) from None
    # "Edges" are numbers of pixels here. Options named min_pixels and max_pixels are being removed.
    processor.image_processor.size = type(size)(shortest_edge=min(smallest, max_pixels), longest_edge=max_pixels)
    if processor.chat_template is None:
        raise InputError(
            f"the model {source!r} has no chat template; copy chat_template.jinja of its base model into its folder"
        )
    processor.tokenizer.padding_side = "left"  # TRL relies on it without checking
    processor.tokenizer.response_template = None  # by it TRL would take the thinking out of completions
    check_processor(processor, read_config(source), source)
    return processor


def style_of(config: Any, processor: Any) -> Style:
    """Return the style of the model's prompts: wording, frame of boxes at the processor's pixel budget, prefill."""
    images = processor.image_processor
    frame = Frame(
        kind=FAMILIES[config.model_type].frame.kind,
        factor=images.patch_size * images.merge_size,
        min_pixels=images.size["shortest_edge"],
        max_pixels=images.size["longest_edge"],
    )
    return Style(wording=wording_of(config), frame=frame, prefill=prefill_of(processor))


def _load_base(source: str, family: Family, device: torch.device, four_bit: bool) -> Any:
    dtype = sixteen_bit() if device.type == "cuda" else torch.float32
    options = {"dtype": dtype, "device_map": {"": device}, "attn_implementation": "sdpa"}
    if four_bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(family.kept_16_bit),
        )
    model = load_weights(source, **options)
    if type(model).__name__ != family.class_name:
        raise TypeError(f"{source} was loaded as {type(model).__name__}, but FAMILIES names {family.class_name}")
    check_quantised(model, four_bit)
    keep_trainable(model)
    model.requires_grad_(False)
    return model


def load_weights(source: str, **options: Any) -> Any:
    """Return transformers' model with the weights of a folder or hub name.

    Raises `InputError` unless the files hold exactly the model's weights: transformers would put random numbers in
    place of missing ones and leave out unexpected ones. A head that is tied to the embedding need not be stored.
    """
    # Shapes that differ would raise an error that names no weight.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    model, found = AutoModelForImageTextToText.from_pretrained(source, **options)
    missing = sorted(found["missing_keys"])
    unexpected = sorted(name for name in found["unexpected_keys"] if not name.endswith(COMPUTED))
    other_shapes = sorted(found["mismatched_keys"]) + other_shapes_in_4_bit(model)
    shapes = [f"{name} {tuple(has)} for {tuple(needs)}" for name, has, needs in other_shapes]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if told := [f"{len(names)} {fault}, first {', '.join(names[:3])}" for fault, names in faults.items() if names]:
        raise InputError(
            f"the weights of {source!r} do not fit its config.json: {'; '.join(told)}; {_cure(unexpected)}"
        )
    return model


def other_shapes_in_4_bit(model: Any) -> list[tuple]:
    """Return name, stored shape and right shape of layers in 4 bit, which the library does not compare."""
    found = []
    for name, module in model.named_modules():
        weight = module.weight if isinstance(module, Linear4bit) else None
        if isinstance(weight, Params4bit) and weight.quant_state:  # a missing weight has none
            stored, right = tuple(weight.quant_state.shape), (module.out_features, module.in_features)
            found += [(f"{name}.weight", stored, right)] * (stored != right)
    return found


def _cure(unexpected: Sequence[str]) -> str:
    text = " ".join(unexpected)
    if wrapper := next((prefix for prefix in WRAPPERS if f" {prefix}" in f" {text}"), None):
        return f"{wrapper} is the name of a wrapper: save the model inside it"
    if "lora_" in text or ".base_layer." in text:
        return "they belong to an adapter: merge it (merge_and_unload of PEFT) before saving"
    if any(ending in text for ending in QUANTISED):
        return "they are stored quantised: give the 16-bit model that they were made from"
    return "download the model again, or copy the config.json that belongs to its weights"


def keep_trainable(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit layers for inference: no gradient passes a repacked layer.

    On processors with AVX512-BF16 the first forward pass in evaluation mode repacks them for good, so a model that was
    sampled could not be trained.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def sixteen_bit() -> torch.dtype:
    """Return bfloat16, or float16 on a GPU that emulates bfloat16 (before Ampere)."""
    emulated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if emulated else torch.bfloat16


def check_quantised(model: Any, four_bit: bool = True) -> None:
    """Raise `TypeError` unless the layers in 4 bit are the language model's linear layers, or none are and none should.

    The library does not report that it quantised nothing, or the vision tower, too.
    """
    quantised = {name for name, module in model.named_modules() if isinstance(module, Linear4bit | Linear8bitLt)}
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    language = {name for name in linear if ".language_model." in f".{name}" and "lora_" not in name}
    expected = language if four_bit else set()
    if (four_bit and not language) or quantised != expected:
        wrong = sorted(quantised ^ expected)
        raise TypeError(f"{len(quantised)} layers are in 4 bit, expected {len(expected)}; wrong are {wrong[:3]} …")


def save_adapter(loaded: Loaded, folder: str | os.PathLike, stage: str) -> Path:
    """Save the adapter with its provenance, replacing the folder at once; return the folder."""
    folder = Path(folder)
    partial, former = (folder.with_name(folder.name + end) for end in (".partial", ".former"))
    shutil.rmtree(partial, ignore_errors=True)
    loaded.model.save_pretrained(str(partial), selected_adapters=["default"], save_embedding_layers=False)
    (partial / "README.md").unlink(missing_ok=True)  # PEFT's template with empty fields
    path = partial / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = loaded.name  # instead of a local path
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    provenance = {
        "base": loaded.name,
        "base_hash": loaded.base_hash,
        "parent": loaded.adapter_hash,
        "stage": stage,
        "four_bit": loaded.four_bit,
        "max_pixels": loaded.style.frame.max_pixels,
    }
    write_provenance(partial, provenance)
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        os.replace(folder, former)
    os.replace(partial, folder)
    shutil.rmtree(former, ignore_errors=True)
    return folder


def read_style(model: str, max_pixels: int = 0) -> Style:
    """Return a model's style of prompts and boxes, from its configuration and processor alone."""
    source = source_of(model)
    config = read_config(source)
    return style_of(config, load_processor(source, max_pixels or default_pixels(config)))
