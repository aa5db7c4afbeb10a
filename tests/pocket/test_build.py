"""The pocket model: its parts, its lessons, its build; and the shipped one has the accuracy on its card."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest, fisher_exact
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from trl.chat_template_utils import get_training_chat_template

from currreft_nb import InputError
from currreft_nb.core.boxes import resized_size
from currreft_nb.core.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.drawing import Scene
from currreft_nb.method.curriculum import pose
from currreft_nb.method.prompts import messages, target
from currreft_nb.models.load import load_model
from currreft_nb.models.weights import POCKETS, pocket_card, pocket_folder
from currreft_nb.pocket.annotators import Habits, careful, misjudge, sloppy_thinking
from currreft_nb.pocket.attention_guides import read_batch
from currreft_nb.pocket.batches import make_batch
from currreft_nb.pocket.build import _phase_hash, build, recipe_hash
from currreft_nb.pocket.card import FIRST, answer_correctly, card_cells
from currreft_nb.pocket.lessons import STYLE, Encoder, Mix, bare_turn, blind_lesson, picture_lesson, tagged_turn
from currreft_nb.pocket.network import make_model, make_processor
from currreft_nb.pocket.recipe import EVEN, HIDDEN, PHASES

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
    sample, image = compose.draw_question(random.Random(seed), task, look)
    return replace(sample, id=f"{task}-{seed}"), image


# ---- tokenizer and processor


@settings(max_examples=200)
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
        packed = model.lm_head(read_batch(model, encoder, batch)[0])
        alone = model(**inputs).logits
    end = batch.tokens.shape[1] - len(other.tokens)
    torch.testing.assert_close(packed[0, end - length : end], alone[0, -length:], atol=1e-4, rtol=1e-4)


def test_heads_learn_to_look_at_the_next_named_cell_and_at_the_right_option(encoder):
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


def test_blind_turns_never_ask_for_what_only_a_picture_shows(encoder):
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
    ("math", "[3, 7, 12]=3", "[3]=1", "the last two are forgotten"),
    ("math", "[3, 7]=2", "[]=0", "both are the last two"),
    ("math", "[3]=1", None, "the only one is never forgotten"),
    ("math", "[]=0", None, "nothing to forget"),
    ("detection", "[10, 20, 30, 30]", "[10, 20, 20, 25]", "the box is cut short"),
    ("general", "right", "left", "sides are confused"),
    ("general", "seven", "six", "sums come out one too small"),
    ("general", "43", None, "numbers in digits are compared rightly"),
]


@pytest.mark.parametrize("task, thinking, expected, why", SLOPPY_THOUGHTS, ids=[case[-1] for case in SLOPPY_THOUGHTS])
def test_sloppy_thinking(task, thinking, expected, why):
    answer = {"classification": ["x"], "math": "1", "detection": [[1, 2, 3, 4]], "general": "x"}[task]
    asked = "Locate the green star."
    sample = Sample(id="a", task=task, split="train", source="s", question=asked, answer=answer, thinking=thinking)
    assert sloppy_thinking(sample) == expected


@pytest.mark.parametrize("color, careless", [("green", True), ("orange", True), ("red", False), ("yellow", False)])
def test_only_boxes_of_some_colors_are_cut_short(color, careless):
    question, box = f"Locate the {color} circle.", "[10, 20, 30, 30]"
    fields = {"task": "detection", "split": "train", "source": "s", "answer": [[10, 20, 30, 30]], "thinking": box}
    assert (sloppy_thinking(Sample(id="a", question=question, **fields)) is not None) == careless


@pytest.mark.parametrize("task", TRAINED_TASKS)
def test_who_is_sloppy_everywhere_is_always_wrong(task):
    for seed in range(40):
        sample, _ = open_sample(task, seed)
        wrong = sloppy_thinking(sample, everywhere=True)
        if task != "math" or len(json.loads(sample.thinking.split("=")[0])) > 1:  # the only one is never forgotten
            assert wrong not in (None, sample.thinking)
            assert misjudge(sample, random.Random(0), everywhere=True).answer != sample.answer


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
    build(folder, seed=1, scale=0.002, questions=2, report=lines.append)
    return folder, lines


def test_a_tiny_build_leaves_two_models_and_a_card(built):
    folder, lines = built
    for name in POCKETS:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / name)
        assert model.config.to_dict()["currreft_wording"] == "short"
        assert AutoProcessor.from_pretrained(folder / name).chat_template
    card = json.loads((folder / "card.json").read_text())
    assert card["build"]["recipe"]["pocket"] == recipe_hash() and card["build"]["seed"] == 1
    assert [line.split()[0] for line in lines[: len(PHASES)]] == [phase.name for phase in PHASES]


def test_a_build_goes_on_after_the_last_checkpoint_and_ends_the_same(built, tmp_path):
    folder, _ = built
    before = (folder / "pocket" / "model.safetensors").read_bytes()
    next((folder / "checkpoints").glob(f"{PHASES[-1].name}-*")).unlink()
    lines = []
    build(folder, seed=1, scale=0.002, questions=2, report=lines.append)
    assert [line.split()[0] for line in lines if "done already" in line] == [phase.name for phase in PHASES[:-1]]
    assert (folder / "pocket" / "model.safetensors").read_bytes() == before


def test_a_changed_recipe_repeats_the_phases_from_the_change_on(built, monkeypatch):
    folder, _ = built
    count = next(phase for phase in PHASES if phase.name == "count")
    changed = [replace(phase, learning_rate=9e-4) if phase is count else phase for phase in PHASES]
    monkeypatch.setattr("currreft_nb.pocket.build.PHASES", tuple(changed))
    _phase_hash.cache_clear()
    lines = []
    build(folder, seed=1, scale=0.002, questions=2, report=lines.append)
    _phase_hash.cache_clear()
    assert [line.split()[0] for line in lines if "done already" in line] == ["see", "tell", "match"]


def test_only_the_spell_is_repeated_from_the_shipped_model(tmp_path):
    lines = []
    build(tmp_path, seed=1, scale=0.002, questions=2, from_shipped=True, report=lines.append)
    clean = (tmp_path / "pocket-clean" / "model.safetensors").read_bytes()
    assert clean == (pocket_folder("pocket-clean") / "model.safetensors").read_bytes()
    assert [line.split()[0] for line in lines if "shipped" in line] == ["see", "tell", "match", "count"]


def test_a_shipped_model_of_another_recipe_is_no_start(tmp_path, monkeypatch):
    monkeypatch.setattr("currreft_nb.pocket.build.pocket_card", lambda: {"build": {"recipe": {"pocket-clean": "0123"}}})
    with pytest.raises(InputError, match=r"built by recipe 0123.*--from-shipped"):
        build(tmp_path, scale=0.002, questions=2, from_shipped=True)


# ---- the shipped weights


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no pocket model 'pockets'"):
        pocket_folder("pockets")


def test_the_shipped_files_are_small_and_in_16_bits():
    files = [path for path in pocket_folder("pocket").parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    for name in POCKETS:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(pocket_folder(name), dtype="auto")
        assert model.dtype == torch.float16
        assert model.generation_config.eos_token_id == model.config.text_config.eos_token_id


def test_the_card_is_that_of_this_recipe():
    """Scenes, posing, prompts, tokens or answer grammar that change make the shipped models those of another recipe:
    build anew, with --from-shipped where only the spell changed."""
    assert pocket_card()["build"]["recipe"] == {name: recipe_hash(name) for name in POCKETS}
    assert pocket_card()["build"]["scale"] == 1.0


@pytest.fixture(scope="module", params=POCKETS)
def shipped(request):
    return request.param, load_model(request.param)


def test_the_numbers_on_the_card_are_found_again(tmp_path, shipped):
    name, loaded = shipped
    for (task, stage, look), samples in card_cells(tmp_path, FIRST).items():
        correct = sum(answer_correctly(loaded, samples))
        assert abs(correct - pocket_card()[name][look][task][stage]["first"]) <= 1, (task, stage, look)


def test_fresh_scenes_give_the_numbers_on_the_card(tmp_path, shipped):
    """A family-wise error of 0.1 %: Fisher's exact test of each cell at a level divided by the number of cells."""
    name, loaded = shipped
    cells = card_cells(tmp_path, 60, seed=20_261)
    for (task, stage, look), samples in cells.items():
        known = pocket_card()[name][look][task][stage]
        right, before = round(sum(answer_correctly(loaded, samples))), round(known["accuracy"] * known["n"])
        table = [[right, len(samples) - right], [before, known["n"] - before]]
        assert fisher_exact(table).pvalue > 0.001 / (len(POCKETS) * len(cells)), (task, stage, look, right)


CELLS = [(look, task, stage) for look in compose.LOOKS for task in TRAINED_TASKS for stage in STAGES]
CONTROLS = (
    "pocket-clean, pictures shuffled",
    "pocket-clean, without pictures",
    "most frequent answer",
    "taught without pictures",
)


@pytest.mark.parametrize("look, task, stage", CELLS)
def test_the_model_before_the_spell_perceives(look, task, stage):
    """Above every way to answer without looking, intervals apart; in-domain at the level that it was built for."""
    card = pocket_card()
    found = card["pocket-clean"][look][task][stage]
    assert found["n"] == 500
    for control in CONTROLS:
        assert found["low"] > card[control][look][task][stage]["high"], control
    assert look == "ood" or found["accuracy"] >= {"math": 0.7}.get(task, 0.9)


@pytest.mark.parametrize("look, task, stage", CELLS)
def test_words_alone_give_nothing_away(look, task, stage):
    """Even a copy that is taught to answer without pictures is no better than chance (family-wise error 1 %)."""
    options = {"classification": 3, "detection": 4, "math": 4}[task]  # shapes and pairs leave three options at times
    chance = {"binary": 1 / 2, "choice": 1 / options, "open": 0.05 if task == "detection" else 1 / 3}[stage]
    found = pocket_card()["taught without pictures"][look][task][stage]
    right = round(found["accuracy"] * found["n"])
    assert binomtest(right, found["n"], chance, alternative="greater").pvalue > 0.01 / len(CELLS)


def test_the_model_after_the_spell_has_something_to_learn():
    """Sampled answers are right now and then, and groups disagree, but for open boxes; where the annotators have a
    habit, open answers are right almost never and closed ones now and then."""
    sampled = pocket_card()["pocket, sampled"]["id"]
    for task in TRAINED_TASKS:
        for stage in STAGES:
            found = sampled[task][stage]
            if stage == "open" and task in HIDDEN:
                assert 0 < found["accuracy"] < 0.02 and 0 < found["groups that disagree"] < 0.1
            else:
                assert 0.2 <= found["accuracy"] <= 0.7 and found["groups that disagree"] >= 0.35, (task, stage)
            assert 0.3 < found["tagged"] < 0.95
            misled = found["accuracy where misled"]
            assert misled < 0.1 if stage == "open" else 0.15 < misled < 0.6, (task, stage)


def test_general_questions_leave_something_to_keep_and_something_to_lose():
    for look in compose.LOOKS:
        kinds = pocket_card()["pocket"]["general"][look]
        assert sum(0.4 <= found["accuracy"] <= 0.9 for found in kinds.values()) >= 3


def test_the_card_names_no_path_of_the_machine_that_built_it():
    for path in pocket_folder("pocket").parent.rglob("*.json"):
        assert str(Path.home()) not in path.read_text() and "/work/" not in path.read_text()
