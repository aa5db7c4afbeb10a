"""A model of a real shape with random weights, for measuring where no model can be downloaded.

Time and memory depend on shapes, and hardly on what the weights are. The tokenizer is the pocket model's (the
embeddings keep the size of the real vocabulary), so the same question takes more tokens; the image processor is
Qwen2.5-VL's: 28 x 28 pixels a token. Random weights hardly ever end an answer: nearly every completion has all of its
tokens, the dearest case.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from currreft_nb.memory.shapes import SHAPES
from currreft_nb.models.weights import pocket_folder

SPECIAL = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
TINY = {  # to try the measuring itself where there is no GPU
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    },
    "vision_config": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 64},
    "tie_word_embeddings": True,
}


def write_model(folder: Path, shape: str = "Qwen/Qwen2.5-VL-3B-Instruct", seed: int = 0) -> Path:
    """Write a Qwen2.5-VL of this shape ("tiny", or a key of `SHAPES`) in bfloat16 with its processor."""
    taken = AutoConfig.from_pretrained(pocket_folder("pocket"))
    tokens = {name: getattr(taken, name) for name in SPECIAL}
    ends = {name: getattr(taken.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = TINY if shape == "tiny" else SHAPES[shape]
    sizes = sizes | {"text_config": sizes["text_config"] | ends}
    config = AutoConfig.for_model("qwen2_5_vl", **sizes, **tokens)
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config)
    torch.set_default_dtype(default)
    model.generation_config.update(**ends)
    model.save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(pocket_folder("pocket"))
    images = processor.image_processor
    images.patch_size, images.merge_size, images.temporal_patch_size = 14, 2, 2
    images.size = type(images.size)(shortest_edge=56 * 56, longest_edge=12_845_056)
    processor.save_pretrained(folder)
    return folder
