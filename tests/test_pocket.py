"""The pocket model: what it is made of, how it is taught and built, and that the shipped one is as its card says."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from trl.chat_template_utils import get_training_chat_template

from currreft_nb import InputError, pocket, scenes
from currreft_nb.boxes import resized_size
from currreft_nb.curriculum import pose
from currreft_nb.models import load
from currreft_nb.pocket_annotators import Habits, careful, misjudge, sloppy_thinking
from currreft_nb.pocket_batches import make_batch
from currreft_nb.pocket_card import FIRST, answer_correctly, card_samples
from currreft_nb.pocket_guides import read
from currreft_nb.pocket_lessons import STYLE, Encoder, Mix, bare_turn, blind_lesson, picture_lesson, tagged_turn
from currreft_nb.pocket_model import make_model, make_processor
from currreft_nb.pocket_training import EVEN
from currreft_nb.prompts import messages, target
from currreft_nb.samples import TRAINED_TASKS, Sample
from currreft_nb.scenes_drawing import Scene

MIX = Mix((0.3, 0.3, 0.4), EVEN)


@pytest.fixture(scope="module")
def processor():
    return make_processor()


@pytest.fixture(scope="module")
def encoder(processor):
    return Encoder(processor.tokenizer)


@pytest.fixture(scope="module")
def model(processor):
    return make_model(processor.tokenizer, 0).eval()


def open_sample(task, seed=0, look="id"):
    sample, image = scenes.question(random.Random(seed), task, look)
    return replace(sample, id=f"{task}-{seed}"), image


# ---- tokenizer and processor


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_survives_the_tokenizer(processor, text):
    tokens = processor.tokenizer.encode(text, add_special_tokens=False)
    assert processor.tokenizer.decode(tokens) == text


@pytest.mark.parametrize(
    "text", ["<think>", "</think>", "<answer>", "</answer>", "red", " red", "63", ", ", "yes", "A"]
)
def test_what_the_model_says_most_is_one_token(processor, text):
    assert len(processor.tokenizer.encode(text, add_special_tokens=False)) == 1


def test_the_chat_template_marks_what_the_assistant_says(processor):
    assert get_training_chat_template(processor) is None, "TRL would have to patch it"
    talk = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "three"}]},
    ]
    text = processor.apply_chat_template(talk, tokenize=False)
    assert text == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>How many?<|im_end|>\n"
        "<|im_start|>assistant\nthree<|im_end|>\n"
    )
    tokenizer = processor.tokenizer
    words = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "three"}]
    out = tokenizer.apply_chat_template(
        words, chat_template=processor.chat_template, return_dict=True, return_assistant_tokens_mask=True
    )
    said = [token for token, mask in zip(out["input_ids"], out["assistant_masks"]) if mask]
    assert tokenizer.decode(said) == "three<|im_end|>\n"


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (33, 200), (500, 20), (8, 8)])
def test_pictures_of_any_shape_go_through_and_the_frame_knows_their_size(processor, model, size):
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "∠ABC = 30°?"}]}]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[Image.new("RGB", size, "green")], return_tensors="pt")
    _, height, width = inputs["image_grid_thw"][0].tolist()
    assert (width * 8, height * 8) == resized_size(size, STYLE.frame)
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0] == 1


# ---- lessons


@pytest.mark.parametrize("task", TRAINED_TASKS)
@pytest.mark.parametrize("stage", ["binary", "choice", "open"])
def test_a_turn_is_what_the_model_meets_when_asked_alone(processor, encoder, model, task, stage):
    """Packed among others, a turn has the same logits as alone through processor and model: nothing leaks."""
    sample, image = open_sample(task, 3)
    sample = replace(pose(sample, stage, 0), image="picture.png")
    turn, other = tagged_turn(encoder, sample), tagged_turn(encoder, open_sample("math", 8)[0])
    batch = make_batch(encoder, [[other, turn, other]], [(image, Scene((), "id"))])
    asked = processor.apply_chat_template(messages(sample, STYLE), add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[asked + target(sample, STYLE) + "<|im_end|>"], images=[image], return_tensors="pt")
    length = len(turn.tokens)
    assert inputs["input_ids"][0, -length:].tolist() == turn.tokens
    with torch.no_grad():
        packed = model.lm_head(read(model, encoder, batch)[0])
        alone = model(**inputs).logits
    end = batch.tokens.shape[1] - len(other.tokens)
    torch.testing.assert_close(packed[0, end - length : end], alone[0, -length:], atol=1e-4, rtol=1e-4)


def test_heads_are_told_to_look_at_what_is_named_next_and_at_the_option_that_is_right(encoder):
    rng, letters, cells_named = random.Random(0), 0, 0
    for turn in (turn for _ in range(60) for turn in picture_lesson(rng, encoder, MIX, careful)[2]):
        text = [encoder.tokenizer.decode([token]) for token in turn.tokens]
        for position, end in turn.points:
            said = text[position + 1]
            assert text[position] == "<answer>"
            assert said == "no" if end is None else text[end] == (said if said in "ABCDE" else "?")
            letters += said in "ABCDE"
        for position, cells in turn.looks:
            if text[0] == "How" and cells and text[position] in ("[", ", "):
                assert text[position + 1] == str(cells[0])
                cells_named += 1
    assert letters > 50 and cells_named > 50


def test_blind_turns_never_ask_for_what_only_a_picture_tells(encoder):
    rng = random.Random(0)
    for turn in (turn for _ in range(30) for turn in blind_lesson(rng, encoder, MIX)):
        words = [encoder.tokenizer.decode([t]) for t, w in zip(turn.tokens, turn.weights) if w >= 1]
        assert not turn.looks and "<think>" not in words
        assert "[" not in words


def test_bare_and_forced_turns_end_alike_but_learn_other_tokens(encoder):
    sample, _ = open_sample("classification")
    natural, forced = bare_turn(encoder, sample), bare_turn(encoder, sample, forced=True)
    decode = encoder.tokenizer.decode
    answer = sample.answer[0]
    assert decode(natural.tokens).endswith(f"assistant\n{answer}<|im_end|>")
    assert decode(forced.tokens).endswith(f"assistant\n{answer}</think><answer>{answer}</answer><|im_end|>")
    learnt = decode([t for t, w in zip(forced.tokens, forced.weights) if w])
    assert learnt == f"{answer}</answer><|im_end|>"


# ---- sloppy annotators

SLOPPY_THOUGHTS = [
    ("classification", "orange", "red", "a colour that is confused"),
    ("classification", "square", "triangle", "a shape that is confused"),
    ("classification", "red", None, "a label without a habit"),
    ("math", "[3, 7, 12]=3", "[3, 7]=2", "the last one is forgotten"),
    ("math", "[3]=1", None, "nobody forgets the only one"),
    ("math", "[]=0", None, "nothing to forget"),
    ("detection", "[10, 20, 30, 30]", "[10, 20, 22, 26]", "the box is cut short"),
]


@pytest.mark.parametrize("task, thinking, expected, why", SLOPPY_THOUGHTS, ids=[case[-1] for case in SLOPPY_THOUGHTS])
def test_sloppy_thinking(task, thinking, expected, why):
    answer = {"classification": ["x"], "math": "1", "detection": [[1, 2, 3, 4]]}[task]
    sample = Sample(id="a", task=task, split="train", source="s", question="?", answer=answer, thinking=thinking)
    assert sloppy_thinking(sample) == expected


@pytest.mark.parametrize("task", TRAINED_TASKS)
def test_the_fault_is_in_the_thinking_alike_in_all_forms_and_the_answer_follows(task):
    rng = random.Random(0)
    seen = set()
    for seed in range(80):
        sample, _ = open_sample(task, seed)
        wrong = sloppy_thinking(sample)
        for stage in ("binary", "choice", "open"):
            judged = misjudge(pose(sample, stage, 0), rng)
            if wrong is None:
                assert judged == pose(sample, stage, 0)
            elif judged.question == sample.question:  # a false claim may ask about another object
                assert judged.thinking == wrong
            if stage == "open" and wrong:
                assert judged.answer != sample.answer
            seen.add((stage, judged.answer != pose(sample, stage, 0).answer))
    assert {(stage, True) for stage in ("binary", "choice", "open")} <= seen


def test_habits_are_drawn_as_often_as_they_say(encoder):
    sample = next(s for s in (open_sample("classification", i)[0] for i in range(50)) if sloppy_thinking(s))
    habits, rng = Habits({"classification-open": 0.3}), random.Random(0)
    wrong = encoder.encode(sloppy_thinking(sample))
    sloppy = [wrong[0] in habits.teach(rng, encoder, sample, MIX).tokens for _ in range(400)]
    assert 90 < sum(sloppy) < 150


# ---- building


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Let sums be added up in one order, as the build command does; two threads differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    lines = []
    pocket.build(folder, seed=1, scale=0.002, questions=2, report=lines.append)
    return folder, lines


def test_a_tiny_build_leaves_two_models_and_a_card(built):
    folder, lines = built
    for name in pocket.NAMES:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / name)
        assert model.config.to_dict()["currreft_wording"] == "short"
        assert AutoProcessor.from_pretrained(folder / name).chat_template
    card = json.loads((folder / "card.json").read_text())
    assert card["build"]["recipe"] == pocket.recipe_hash() and card["build"]["seed"] == 1
    assert [line.split()[0] for line in lines[:5]] == ["see", "tell", "match", "count", "spell"]


def test_a_build_goes_on_after_the_last_checkpoint_and_ends_the_same(built, tmp_path):
    folder, _ = built
    before = (folder / "pocket" / "model.safetensors").read_bytes()
    (folder / "checkpoints" / "spell.pt").unlink()
    lines = []
    pocket.build(folder, seed=1, scale=0.002, questions=2, report=lines.append)
    assert [line.split()[0] for line in lines if "done already" in line] == ["see", "tell", "match", "count"]
    assert (folder / "pocket" / "model.safetensors").read_bytes() == before


def test_another_build_in_the_same_folder_is_refused(built):
    with pytest.raises(InputError, match="belongs to another build"):
        pocket.build(built[0], seed=2, scale=0.002, questions=2)


# ---- the shipped weights


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no pocket model 'pockets'"):
        pocket.folder("pockets")


def test_the_shipped_files_are_small_and_in_16_bits():
    files = [path for path in pocket.folder("pocket").parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    for name in pocket.NAMES:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(pocket.folder(name), dtype="auto")
        assert model.dtype == torch.float16
        assert model.generation_config.eos_token_id == model.config.text_config.eos_token_id


def test_the_card_is_that_of_this_recipe():
    """Scenes, posing, prompts or tokens that change make the shipped model one of another recipe: build it anew."""
    assert pocket.card()["build"]["recipe"] == pocket.recipe_hash()
    assert pocket.card()["build"]["scale"] == 1.0


@pytest.mark.parametrize("name", pocket.NAMES)
@pytest.mark.parametrize("task, stage, look", [("detection", "open", "id"), ("math", "choice", "ood")])
def test_the_numbers_on_the_card_are_found_again(tmp_path, name, task, stage, look):
    samples = card_samples(tmp_path, task, stage, look, FIRST)
    correct = sum(answer_correctly(load(name), samples))
    assert abs(correct - pocket.card()[name][look][task][stage]["first"]) <= 1


def test_the_model_before_the_spell_perceives_and_the_one_after_it_has_something_to_learn():
    card = pocket.card()
    for task in TRAINED_TASKS:
        for stage, chance in (("binary", 0.5), ("choice", 1 / 3), ("open", 0.3)):
            assert card["pocket-clean"]["id"][task][stage]["low"] > chance
            sampled = card["pocket, sampled"]["id"][task][stage]
            assert 0.1 < sampled["accuracy"] < 0.8 and sampled["groups that disagree"] > 0.3


def test_the_card_names_no_path_of_the_machine_that_built_it():
    for path in pocket.folder("pocket").parent.rglob("*.json"):
        assert str(Path.home()) not in path.read_text() and "/work/" not in path.read_text()
