"""Models of every family, with real classes and module names, tiny sizes and random weights; and prompts for them."""

import shutil

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from currreft_nb.models.weights import pocket_folder
from currreft_nb.pocket.network import CHAT_TEMPLATE, SPECIAL_TOKENS, make_tokenizer

PROCESSORS = {
    "qwen2_vl": (Qwen2VLProcessor, Qwen2VLVideoProcessor),
    "qwen2_5_vl": (Qwen2_5_VLProcessor, Qwen2VLVideoProcessor),
    "qwen3_vl": (Qwen3VLProcessor, Qwen3VLVideoProcessor),
}
ENDS = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
IMAGES = {
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
}
LANGUAGE_LAYERS = TOWER_BLOCKS = 2
DEEPSTACK = {"qwen3_vl": 1}  # mergers besides the main one
PATCH, MERGE = 8, 2
IMAGE, END = (SPECIAL_TOKENS.index(token) for token in ("<|image_pad|>", "<|im_end|>"))
WORDS = (100, 600)  # tokens with no meaning of their own
GRIDS = ([1, 4, 6], [1, 4, 4])  # images in patches; 2 x 2 of them become a token


def tiny_config(model_type, vocabulary=640, tied=True):
    """Return a configuration of the family whose models have some ten thousand weights."""
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": LANGUAGE_LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1000.0},
        **{f"{name}_token_id": SPECIAL_TOKENS.index(token) for name, token in ENDS.items()},
    }
    vision = {"depth": TOWER_BLOCKS, "num_heads": 2, "patch_size": PATCH, "spatial_merge_size": MERGE}
    vision |= {"hidden_size": 32, "intermediate_size": 64}
    vision |= {"embed_dim": 32, "mlp_ratio": 2} if model_type == "qwen2_vl" else {"out_hidden_size": 32}
    if model_type == "qwen2_5_vl":
        vision |= {"window_size": 64, "fullatt_block_indexes": [1]}
    if model_type == "qwen3_vl":
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    images = {f"{name}_token_id": SPECIAL_TOKENS.index(token) for name, token in IMAGES.items()}
    options = {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied}
    return AutoConfig.for_model(model_type, **options, **images)


def tiny_model(model_type):
    """Return a model of the family with its real module names and no weights."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(tiny_config(model_type))


def awake_model(model_type):
    """Return a model of the family in float32 whose random weights are large enough for answers to differ."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(tiny_config(model_type)).eval()
    for weight in model.parameters():
        weight.data.mul_(8 if weight.dim() > 1 else 1)
    model.generation_config.eos_token_id = END
    model.generation_config.pad_token_id = SPECIAL_TOKENS.index(ENDS["pad"])
    return model


def tiny_prompts(text_lengths=(5, 9, 7), pictured=(0, 2)):
    """Return prompts padded on the left, some about an image, as the processor would make them."""
    generator = torch.Generator().manual_seed(0)
    rows, grids = [], []
    for number, length in enumerate(text_lengths):
        image = []
        if number in pictured:
            grids.append(GRIDS[len(grids) % len(GRIDS)])
            image = [IMAGE] * (grids[-1][1] * grids[-1][2] // MERGE**2)
        rows.append([WORDS[0], *image, *torch.randint(*WORDS, (length,), generator=generator).tolist()])
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == IMAGE).int()}
    if grids:
        grid = torch.tensor(grids)
        pixels = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * PATCH**2, generator=generator)
        inputs |= {"pixel_values": pixels, "image_grid_thw": grid}
    return inputs


def write_tiny(model_type, folder, tied=True, max_shard_size="5GB"):
    """Write a model with its processor, weights in bfloat16 as released ones are; return the folder."""
    tokenizer = make_tokenizer()
    processor_class, video_class = PROCESSORS[model_type]
    processor_class(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": 1024, "longest_edge": 4096}, patch_size=PATCH, merge_size=MERGE
        ),
        video_processor=video_class(patch_size=PATCH, merge_size=MERGE),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(tiny_config(model_type, len(tokenizer), tied))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5 if weight.dim() > 1 else 1)  # answers that depend on the question
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


PREFILLS = ("<think>", "<think>\n", "<think>\n\n</think>\n\n")  # of thinking models, and of non-thinking modes


def write_thinking(folder, prefill, turn="part['text']"):
    """Write the pocket model with a chat template that begins the model's turn with `prefill`; return the folder.

    `turn`: what the template writes of a turn that is given, as an expression.
    """
    shutil.copytree(pocket_folder("pocket"), folder)
    path = folder / "chat_template.jinja"
    text, opening = path.read_text(), r"{{- '<|im_start|>assistant\n"
    assert text.count(opening) == 1
    text = text.replace(opening, opening + prefill.replace("\n", r"\n")).replace(
        "{{- part['text'] -}}", f"{{{{- {turn} -}}}}", 1
    )
    path.write_text(text)
    return folder


def write_tiny_glm4v(folder):
    """Write a model of a family that is not in the table, with its processor; return the folder."""
    marks = [f"<|{name}|>" for name in ("begin_of_image", "image", "end_of_image", "begin_of_video", "video")]
    marks.append("<|end_of_video|>")
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    template = CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "".join(marks[:3]))
    images = Glm4vImageProcessor(size={"shortest_edge": 1024, "longest_edge": 4096}, patch_size=PATCH, merge_size=MERGE)
    videos = Glm4vVideoProcessor(patch_size=PATCH, merge_size=MERGE)
    Glm4vProcessor(images, tokenizer, videos, chat_template=template).save_pretrained(folder)
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LANGUAGE_LAYERS, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 1, "vocab_size": len(tokenizer)}
    text |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1000.0, "partial_rotary_factor": 0.5}
    vision = {"depth": TOWER_BLOCKS, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 64}
    vision |= {"patch_size": PATCH, "spatial_merge_size": MERGE, "image_size": 64}
    names = ("image_start", "image", "image_end", "video_start", "video", "video_end")
    tokens = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in zip(names, marks)}
    parts = {"text_config": text | {"rope_parameters": rope}, "vision_config": vision}
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model("glm4v", **parts, **tokens))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    return folder
