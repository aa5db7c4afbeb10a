"""Answers: reproducible, independent of the batch, and forced only where no answer was opened."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.data.scenes import compose
from currreft_nb.generation.generate import (
    by_draws,
    encode_answer,
    force_format,
    generate,
    log_probabilities,
    opening,
    prompt_text,
)
from currreft_nb.method.prompts import target
from currreft_nb.method.rewards import score_format
from currreft_nb.models.load import load_model
from currreft_nb.training.gpu_memory import token_counts
from tests.helpers.tiny_models import PREFILLS, write_thinking


@pytest.fixture(scope="module")
def loaded():
    return load_model("pocket")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Return questions of all tasks, short and long ones in turn, some without an image."""
    folder = tmp_path_factory.mktemp("scenes")
    tasks = ("detection", "math", "classification", "general")
    return [s for row in zip(*(compose.draw_samples(folder, task, 5, "id", 0, "train") for task in tasks)) for s in row]


class TestGenerate:
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_answers_keep_the_order_and_do_not_depend_on_the_batch(self, loaded, samples, temperature):
        options = {"max_new_tokens": 16, "temperature": temperature, "seed": 3}
        together = generate(loaded, samples, **options)
        few = generate(loaded, samples[3:10], batch_size=2, **options)
        assert together[3:10] == few
        assert generate(loaded, samples[::-1], **options) == together[::-1]

    def test_seed_changes_the_sampled_answers(self, loaded, samples):
        first, second = (generate(loaded, samples, max_new_tokens=16, temperature=1.5, seed=seed) for seed in (0, 1))
        assert first != second

    def test_completions_of_one_question_differ_and_fewer_are_the_first_of_more(self, loaded, samples):
        options = {"max_new_tokens": 16, "temperature": 1.5, "batch_size": 7}
        four = generate(loaded, samples[:6], completions=4, **options)
        two = generate(loaded, samples[:6], completions=2, **options)
        assert [len(answers) for answers in four] == [4] * 6
        assert any(len({answer.text for answer in answers}) > 1 for answers in four)
        assert [answers[:2] for answers in four] == two

    def test_models_own_generation_defaults_are_not_used(self, loaded, samples, monkeypatch):
        plain = generate(loaded, samples[:4], max_new_tokens=16)
        monkeypatch.setattr(loaded.model.generation_config, "repetition_penalty", 50.0)
        monkeypatch.setattr(loaded.model.generation_config, "top_k", 1)
        monkeypatch.setattr(loaded.model.generation_config, "min_new_tokens", 16)
        assert generate(loaded, samples[:4], max_new_tokens=16) == plain

    def test_truncation_is_reported(self, loaded, samples):
        short = [answer for (answer,) in generate(loaded, samples, max_new_tokens=2)]
        assert all(answer.tokens <= 2 for answer in short)
        assert any(answer.truncated for answer in short)
        assert not any(answer.truncated for (answer,) in generate(loaded, samples[:3], max_new_tokens=60))

    def test_training_mode_is_kept(self, loaded, samples):
        loaded.model.train()
        generate(loaded, samples[:1], max_new_tokens=2)
        assert loaded.model.training
        loaded.model.eval()

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"max_new_tokens": 0}, "max_new_tokens 0"),
            ({"max_new_tokens": 4, "batch_size": 0}, "batch_size 0"),
            ({"max_new_tokens": 4, "temperature": -1.0}, "temperature -1.0"),
            ({"max_new_tokens": 4, "completions": 2}, "2 greedy completions of one question would be equal"),
        ],
    )
    def test_impossible_settings_are_refused(self, loaded, samples, options, message):
        with pytest.raises(InputError, match=message):
            generate(loaded, samples[:1], **options)

    def test_unreadable_image_names_sample_and_file(self, loaded, samples, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"not a picture")
        broken = replace(samples[0], id="b", image=str(tmp_path / "broken.png"))
        with pytest.raises(InputError, match=r"sample 'b': .*broken\.png"):
            generate(loaded, [broken], max_new_tokens=2)

    def test_no_samples_no_answers(self, loaded):
        assert generate(loaded, [], max_new_tokens=4) == []


def test_sampling_follows_the_probabilities():
    """Of 4,000 draws each token's share lies within four standard errors of its probability."""
    scores = torch.tensor([2.0, 1.0, -torch.inf, 0.0, 1.0])
    probabilities = torch.softmax(scores / 0.7, dim=-1).tolist()
    generator = torch.Generator().manual_seed(0)
    choose = by_draws(torch.rand(4000, 1, generator=generator), temperature=0.7)
    chosen = Counter(choose(scores.expand(4000, 5), list(range(4000)), 0).tolist())
    for token, probability in enumerate(probabilities):
        spread = (probability * (1 - probability) / 4000) ** 0.5
        assert abs(chosen[token] / 4000 - probability) <= 4 * spread
    assert chosen[2] == 0


def test_extreme_draws_stay_within_the_vocabulary_and_off_impossible_tokens():
    scores = torch.tensor([[-torch.inf, 1.0, 1.0]])
    for draw, token in ((0.0, 1), (1.0 - 1e-9, 2)):
        choose = by_draws(torch.tensor([[draw]], dtype=torch.float64), temperature=1.0)
        assert choose(scores, [0], 0).item() == token


class TestForceFormat:
    @pytest.mark.parametrize(
        "text, start",
        [
            ("square", "square</think><answer>"),  # untagged
            ("", "</think><answer>"),  # ended at once
            ("<think>[1, 2", "<think>[1, 2</think><answer>"),  # cut off while thinking
            ("<think>2</think>", "<think>2</think><answer>"),  # forgot to answer
        ],
    )
    def test_answer_is_opened_where_there_is_none(self, loaded, samples, text, start):
        (forced,) = force_format(loaded, samples[:1], [Completion(text, 3, False)], max_new_tokens=20)
        assert forced.text.startswith(start) and forced.text.endswith("</answer>")
        assert forced.text.count("<answer>") == forced.text.count("</answer>") == 1
        assert forced.text.count("</think>") == 1 and forced.tokens > 3

    @pytest.mark.parametrize("text", ["<answer>3</answer>", "<think>3</think><answer>3</answer>", "<answer>cut off"])
    def test_opened_answers_are_left_alone(self, loaded, samples, text):
        natural = Completion(text, 5, text.endswith("off"))
        assert force_format(loaded, samples[:1], [natural], max_new_tokens=8) == [natural]

    def test_what_is_forced_does_not_depend_on_the_batch(self, loaded, samples):
        untagged, tagged = Completion("square", 2, False), Completion("<answer>3</answer>", 4, False)
        natural = [untagged if index % 3 else tagged for index in range(20)]
        together = force_format(loaded, samples, natural, max_new_tokens=12)
        assert force_format(loaded, samples, natural, max_new_tokens=12, batch_size=3) == together
        assert together[0] == natural[0]

    def test_answer_that_does_not_end_is_closed_and_counts_as_truncated(self, loaded, samples):
        (forced,) = force_format(loaded, samples[:1], [Completion("x", 1, False)], max_new_tokens=1)
        assert forced.truncated and forced.text.endswith("</answer>")

    def test_opening_adds_only_what_is_missing(self):
        assert [opening(text) for text in ("", "<think>", "<think></think>", "a</think>b")] == [
            "</think><answer>",
            "</think><answer>",
            "<answer>",
            "<answer>",
        ]


class TestPrefill:
    """Of a template that begins the model's turn, answers hold the beginning, and the model goes on behind it."""

    @pytest.fixture(scope="class", params=PREFILLS, ids=["opened", "with a line break", "closed"])
    def thinking(self, request, tmp_path_factory):
        return load_model(str(write_thinking(tmp_path_factory.mktemp("model") / "thinking", request.param)))

    def test_an_answer_is_the_whole_turn(self, loaded, thinking, samples):
        prefill = thinking.style.prefill
        assert prompt_text(thinking, samples[0]) == prompt_text(loaded, samples[0]) + prefill
        (answer,) = generate(thinking, samples[:1], max_new_tokens=6)[0]
        said = answer.text.removeprefix(prefill)
        assert answer.text == prefill + said and answer.tokens == 6
        logits = log_probabilities(loaded.model, encode_answer(loaded, samples[0], prefill), 1)  # plain, behind it
        assert said.startswith(loaded.processor.tokenizer.decode(logits[0, -1].argmax()))

    def test_an_answer_is_read_behind_the_prompt_once(self, loaded, thinking, samples):
        text = target(samples[1], thinking.style)
        ours, plain = (encode_answer(one, samples[1], text)["input_ids"] for one in (thinking, loaded))
        assert torch.equal(ours, plain) and token_counts(thinking, [(samples[1], text)])[0][0] < ours.shape[1]

    def test_forcing_closes_what_the_prompt_opened(self, thinking, samples):
        prefill = thinking.style.prefill
        (forced,) = force_format(thinking, samples[1:2], [Completion(prefill + "square", 2, True)], max_new_tokens=20)
        opened = "<answer>" if "</think>" in prefill else "</think><answer>"
        assert forced.text.startswith(prefill + "square" + opened) and forced.text.endswith("</answer>")
        assert forced.text.count("<think>") == forced.text.count("</think>") == 1

    def test_the_model_can_answer_in_the_right_form(self, thinking, samples):
        answers = [found[0].text for found in generate(thinking, samples[:12], max_new_tokens=24)]
        forms = [score_format(sample, text)[0] for sample, text in zip(samples, answers)]
        assert thinking.style.prefill != "<think>" or sum(forms) >= 6  # the others are unusual for the pocket model


def test_text_only_batch_needs_no_image(loaded):
    sample = Sample(id="t", task="general", split="pool", source="s", question="two plus three?", answer="five")
    (answers,) = generate(loaded, [sample], max_new_tokens=4)
    assert answers[0].tokens >= 1
