"""The untrained pocket model: tokenizer, processor and a Qwen2.5-VL of 1.5 million parameters.

The classes are those of transformers; only sizes and vocabulary are our own. Pictures of 64 x 64 pixels become 16
tokens (patches of 8, merged two by two). Text is byte-level BPE: the words of drawn scenes and the numbers 0 to 99 are
one token each, other text is split into pieces, down to bytes.
"""

import math

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from currreft_nb.data.scenes.drawing import COLORS, SHAPES, SIDE
from currreft_nb.data.scenes.questions import NUMBER_WORDS
from currreft_nb.pocket.lessons import MERGE, PATCH, STYLE

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION_TOKENS)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_LINES = (
    "What shape is the object How many objects are there Locate color largest Is left or right of Which word does not",
    "fit larger smaller plus minus yes no A B C D E user assistant system and in a to at on with image picture number",
    "find area angle",
)
WORDS = " ".join(_LINES).split()
# tags, numbers, ", ", words with their space, line breaks, single signs: no token crosses these borders
PIECES = r"</?[a-z]+>|\d+|, | ?[A-Za-z]+|\n| ?[^\sA-Za-z\d]|\s"

WIDTH, LAYERS, HEADS = 128, 3, 4
VISION_WIDTH, VISION_LAYERS = 128, 3
SPREAD, WORD_SPREAD = 0.06, 0.15  # standard deviations of the initial weights and of the initial embeddings

# The Qwen format. The generation block marks the assistant's text, for trainers that learn from it alone.
CHAT_TEMPLATE = """{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{%- set parts = [{'type': 'text', 'text': message['content']}] -%}
{%- else -%}{%- set parts = message['content'] or [] -%}{%- endif -%}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{%- for part in parts -%}{%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endgeneration -%}
{%- else -%}
{%- for part in parts -%}
{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, built from a fixed list of words and so the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    things = [*COLORS, *SHAPES, *NUMBER_WORDS, *(shape + "s" for shape in SHAPES)]
    words = [spaced for word in [*WORDS, *things] for spaced in (word, f" {word}")]
    corpus = [*TAGS, ", ", *words, *map(str, range(100))]
    trainer = trainers.BpeTrainer(
        vocab_size=5000,  # never reached: merging stops when every word is one token
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=4096,
    )


def make_processor() -> Qwen2_5_VLProcessor:
    """Return the processor: pictures between 1,024 and 4,096 pixels, both sides multiples of 16."""
    bounds = {"shortest_edge": STYLE.frame.min_pixels, "longest_edge": STYLE.frame.max_pixels}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=bounds, patch_size=PATCH, merge_size=MERGE),
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE),
        tokenizer=make_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """Return the configuration; the kit reads `currreft_wording` for the wording of prompts."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    half = WIDTH // HEADS // 2
    sections = [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 4096,
        "initializer_range": SPREAD,
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 1000.0},
        "tie_word_embeddings": True,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": VISION_LAYERS,
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 2 * VISION_WIDTH,
        "num_heads": HEADS,
        "out_hidden_size": WIDTH,
        "window_size": SIDE,
        "fullatt_block_indexes": list(range(VISION_LAYERS)),
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "initializer_range": SPREAD,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        currreft_wording=STYLE.wording,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Return the model with initial weights; embeddings of numbers are ordered, those of "red" and " red" equal."""
    torch.manual_seed(seed)
    config = make_config(tokenizer)
    model = Qwen2_5_VLForConditionalGeneration(config)
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        setattr(model.generation_config, name, getattr(config.text_config, name))

    def token(text: str) -> int:
        return tokenizer.encode(text, add_special_tokens=False)[0]

    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table.mul_(WORD_SPREAD / SPREAD)
        numbers = torch.arange(SIDE)[:, None].float()
        waves = torch.cos(numbers * torch.randn(WIDTH) * 0.25 + torch.rand(WIDTH) * 2 * math.pi)
        table[[token(str(number)) for number in range(SIDE)]] = WORD_SPREAD * math.sqrt(2) * waves
        for word in [*COLORS, *SHAPES, *NUMBER_WORDS]:
            table[token(f" {word}")] = table[token(word)]
    return model
