"""Tiny models of every family with random weights, and prompts for them, made of numbers alone."""

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    "pad_token_id": 0,
}
VISION = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
TOWERS = {
    "qwen2_vl": {"embed_dim": 16, "hidden_size": 32},
    "qwen2_5_vl": {"hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32, "fullatt_block_indexes": [1]},
    "qwen3_vl": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    },
}
IMAGE, END = 60, 2
GRIDS = ([1, 4, 6], [1, 4, 4])  # images in patches; 2 x 2 of them become a token


def tiny_model(model_type, seed=0):
    """Return a model of the family in float32, ready to answer."""
    config = AutoConfig.for_model(
        model_type,
        text_config=TEXT,
        vision_config=VISION | TOWERS[model_type],
        image_token_id=IMAGE,
        video_token_id=61,
        vision_start_token_id=62,
        vision_end_token_id=63,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config).eval()
    for weight in model.parameters():  # larger than at the start of a training, so that answers differ
        if weight.dim() > 1:
            weight.data.mul_(8)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, 0
    return model


def tiny_prompts(text_lengths=(5, 9, 7), pictured=(0, 2), seed=0):
    """Return prompts padded on the left, some about an image, as the processor would."""
    generator = torch.Generator().manual_seed(seed)
    rows, grids = [], []
    for number, length in enumerate(text_lengths):
        image = []
        if number in pictured:
            grids.append(GRIDS[len(grids) % len(GRIDS)])
            image = [IMAGE] * (grids[-1][1] * grids[-1][2] // 4)
        rows.append([5, *image, *torch.randint(6, 50, (length,), generator=generator).tolist()])
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == IMAGE).int()}
    if grids:
        grid = torch.tensor(grids)
        patches = int(grid.prod(-1).sum())
        inputs |= {"pixel_values": torch.randn(patches, 3 * 2 * 4 * 4, generator=generator), "image_grid_thw": grid}
    return inputs
