"""Models: one table of families, loading in 16 bit or 4 bit, and saving what was trained.

What an adapter folder holds is told in `models_adapters`.
"""

import currreft_nb.models_messages  # noqa: F401

# isort: split
import difflib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from currreft_nb import InputError, __version__, pocket
from currreft_nb.boxes import FRAMES, Frame
from currreft_nb.models_adapters import PROVENANCE, attach_adapter, check_adapter, new_adapter
from currreft_nb.prompts import Style

POCKETS = ("pocket", "pocket-clean")
LANGUAGE_LAYERS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


@dataclass(frozen=True)
class Family:
    """What differs between model families; a new family is one entry in `FAMILIES`.

    How it writes boxes stands in `boxes.FRAMES`. `lora_targets`: regular expression over module names, matched
    in full. `kept_16_bit`: module names that 4-bit loading leaves alone, matched from the start of the name (`visual`
    alone would match nothing; naming any replaces the default, hence `lm_head`).
    """

    model_type: str
    class_name: str
    lora_targets: str = LANGUAGE_LAYERS
    kept_16_bit: tuple[str, ...] = ("model.visual", "lm_head")


FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        Family("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
        Family("qwen3_vl", "Qwen3VLForConditionalGeneration"),
    )
}


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to use, with what goes with it.

    `name`: as given to `load`. `base_hash`: of the base's weight files. `adapter_hash`: of the adapter that was loaded,
    or None. `model` is a `PeftModel` whenever there is an adapter to train or to keep apart.
    """

    model: Any
    processor: Any
    style: Style
    name: str
    family: Family
    base_hash: str
    adapter_hash: str | None = None
    four_bit: bool = False

    @property
    def device(self) -> torch.device:
        return self.model.device


def load(
    name: str,
    *,
    adapter: str | os.PathLike | None = None,
    four_bit: bool = False,
    max_pixels: int = 0,
    trainable: bool = False,
    lora_rank: int = 16,
    seed: int = 0,
    device: str | None = None,
) -> Loaded:
    """Load a model with its processor, and an adapter if one is given or wanted.

    `name`: "pocket", "pocket-clean", a local folder or a name on the Hugging Face hub. `adapter`: an adapter folder,
    whose own rank holds; None with `trainable` starts a new one of `lora_rank`, initialised from `seed`. `four_bit`:
    the language model in NF4, double quantised; vision tower and output head stay in 16 bit. `max_pixels`: the largest
    image after resizing; 0 is 4,096 for a pocket model and 401,408 (512 x 28 x 28, the paper's) for others. Weights are
    bfloat16 on a GPU and float32 on the CPU. Raises `InputError` for an unknown family, a folder without a processor,
    an unreachable hub, and an adapter that was made for another base.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    source = source_of(name)
    config = read_config(source)
    family = family_of(config, name)
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
        model = new_adapter(model, family.lora_targets, lora_rank, seed)
    model.train(trainable)
    return Loaded(model, processor, style_of(config, processor), name, family, found, adapter_hash, four_bit)


def _limit_threads(config: Any, device: torch.device) -> None:
    """Use one thread for a pocket model: a second gains it little, and costs much where it has to wait for a core."""
    if device.type == "cpu" and wording_of(config) == "short" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def source_of(name: str) -> str:
    """Return where a model's files are: the package's folder for a pocket model, else the folder or hub name itself.

    Raises `InputError` for what is neither: names on the hub are of the form owner/name.
    """
    if name in POCKETS:
        return str(pocket.folder(name))
    if "/" not in name and not Path(name).is_dir():
        close = difflib.get_close_matches(name, POCKETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"give {', '.join(POCKETS)}, a folder or owner/name"
        raise InputError(f"model {name!r} is neither a local folder nor a name on the Hugging Face hub; {hint}")
    return name


def read_config(source: str) -> Any:
    """Return the model's configuration. Raises `InputError` where there is none or the hub does not answer."""
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        if Path(source).is_dir():
            raise InputError(f"the folder {source} holds no model that can be read ({reason})") from None
        raise InputError(
            f"model {source!r} is neither a local folder nor could it be had from the Hugging Face hub ({reason});"
            " check the name and the network, or give a folder, or use 'pocket'"
        ) from None


def family_of(config: Any, name: str) -> Family:
    """Return the entry of `FAMILIES` for a configuration. Raises `InputError` for a family that is not in the table."""
    if config.model_type not in FAMILIES:
        raise InputError(
            f"model {name!r} is of the family {config.model_type!r}, but only {', '.join(FAMILIES)} are known; add an"
            " entry to FAMILIES in currreft_nb/models.py"
        )
    return FAMILIES[config.model_type]


def default_pixels(config: Any) -> int:
    """Return the pixel budget where none was asked for: 4,096 for a pocket model, else the paper's 401,408."""
    return 4096 if wording_of(config) == "short" else 401_408


def wording_of(config: Any) -> str:
    """Return the wording that a model was made for: "short" where its config.json says so, else "full"."""
    return config.to_dict().get("currreft_wording", "full")


def load_processor(source: str, max_pixels: int) -> Any:
    """Load the processor with left padding and one pixel budget. Raises `InputError` when there is none."""
    try:
        processor = AutoProcessor.from_pretrained(source, padding_side="left")
        size = processor.image_processor.size
        smallest = size["shortest_edge"]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the model {source!r} has no processor for images ({reason}); copy the files preprocessor_config.json,"
            " tokenizer.json and tokenizer_config.json of its base model beside its weights"
        ) from None
    # "Edges" are numbers of pixels here. Options named min_pixels and max_pixels are being removed.
    processor.image_processor.size = type(size)(shortest_edge=min(smallest, max_pixels), longest_edge=max_pixels)
    if processor.chat_template is None:
        raise InputError(
            f"the model {source!r} has no chat template; copy chat_template.jinja of its base model beside it"
        )
    processor.tokenizer.padding_side = "left"  # TRL relies on it without checking
    return processor


def style_of(config: Any, processor: Any) -> Style:
    """Return how the model is spoken to: its wording, and the frame of its boxes at the processor's pixel budget."""
    images = processor.image_processor
    frame = Frame(
        kind=FRAMES[config.model_type].kind,
        factor=images.patch_size * images.merge_size,
        min_pixels=images.size["shortest_edge"],
        max_pixels=images.size["longest_edge"],
    )
    return Style(wording=wording_of(config), frame=frame)


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
    model = AutoModelForImageTextToText.from_pretrained(source, **options)
    if type(model).__name__ != family.class_name:
        raise TypeError(f"{source} was loaded as {type(model).__name__}, but the table says {family.class_name}")
    if four_bit:
        check_quantised(model)
        keep_trainable(model)
    model.requires_grad_(False)
    return model


def keep_trainable(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit layers for inference, which no gradient passes any more.

    On processors with AVX512-BF16 the first forward pass in evaluation mode does so, for good: answers sampled before a
    training would spoil it.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def sixteen_bit() -> torch.dtype:
    """Return bfloat16, or float16 on a GPU that would only imitate bfloat16 (before Ampere)."""
    imitated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if imitated else torch.bfloat16


def check_quantised(model: Any) -> int:
    """Return how many layers are in 4 bit. Raises `TypeError` unless they are all the language model's linear ones.

    4-bit loading that quantises nothing, or the vision tower too, is silent otherwise.
    """
    quantised = {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    expected = {name for name in linear if ".language_model." in f".{name}" and "lora_" not in name}
    if not expected or quantised != expected:
        wrong = sorted(quantised ^ expected)
        raise TypeError(
            f"{len(quantised)} layers are in 4 bit, {len(expected)} should be; the first wrong: {wrong[:3]}"
        )
    return len(quantised)


def save_adapter(loaded: Loaded, folder: str | os.PathLike, stage: str) -> Path:
    """Save the adapter with its provenance, replacing the folder in one move; return the folder."""
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    loaded.model.save_pretrained(str(partial), selected_adapters=["default"], save_embedding_layers=False)
    (partial / "README.md").unlink(missing_ok=True)  # a form with empty fields
    config = json.loads((partial / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = loaded.name  # and not where this machine keeps the weights
    (partial / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    provenance = {
        "base": loaded.name,
        "base_hash": loaded.base_hash,
        "parent": loaded.adapter_hash,
        "stage": stage,
        "four_bit": loaded.four_bit,
        "max_pixels": loaded.style.frame.max_pixels,
        "package": __version__,
    }
    (partial / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    former = folder.with_name(folder.name + ".former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        os.replace(folder, former)
    os.replace(partial, folder)
    shutil.rmtree(former, ignore_errors=True)
    return folder


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns="*.safetensors"))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the weights of {name!r} could not be had from the hub ({reason}); check the network"
        ) from None


def hash_weights(source: str) -> str:
    """Return a hash of a model's weight files: their sizes and 64 evenly spread samples of 4 KiB of each.

    Samples and not every byte, because 7 GB would take half a minute at each start; any training changes them all.
    """
    folder = Path(source) if Path(source).is_dir() else _download(source)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"the model {source!r} has no weights (*.safetensors); copy them beside its config.json")
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.suffix} {size} ".encode())
        with path.open("rb") as stream:
            for index in range(64):
                stream.seek(max(0, size - 4096) * index // 63)
                digest.update(stream.read(4096))
    return digest.hexdigest()[:16]
