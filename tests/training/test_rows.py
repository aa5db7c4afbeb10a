"""Which question is drawn at each place: earlier forms at a share, difficulty, and both together."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.data_utils import apply_chat_template

from currreft_nb import InputError
from currreft_nb.core.samples import STAGES, Sample
from currreft_nb.generation.generate import prompt_text
from currreft_nb.method.difficulty import PassRate
from currreft_nb.method.prompts import Style, target
from currreft_nb.models.load import load_model
from currreft_nb.training.rows import check_turn, draw_order, draws, rehearsal_places, sft_row, sft_targets
from currreft_nb.training.settings import GrpoSettings, SftSettings
from currreft_nb.training.steps import reward_functions
from currreft_nb.training.train import GrpoTraining, train_sft
from tests.helpers.tiny_models import PREFILLS, write_thinking

SHORT = GrpoSettings(steps=10, prompts_per_step=4)


def question(name, stage):
    answer, extra = {"binary": (True, {"claim": "3"}), "choice": (["A"], {"options": ["3", "4"]})}.get(stage, ("3", {}))
    return Sample(
        id=f"{name}:{stage}", task="math", stage=stage, split="train", source="s", question="?", answer=answer, **extra
    )


SAMPLES = [question(name, stage) for stage in STAGES for name in "abcde"]
RATES = {sample.id: PassRate("abcde".index(sample.id[0]), 4) for sample in SAMPLES}  # a never, e always right


def forms(order, samples=SAMPLES):
    return [samples[index].stage for index in order]


@given(hundredths=st.integers(0, 99), count=st.integers(0, 300))
def test_the_share_is_reached_exactly_at_every_place_and_a_longer_run_begins_like_a_shorter(hundredths, count):
    places = rehearsal_places(count, hundredths / 100)
    assert len(places) == count
    for drawn in range(count + 1):
        assert sum(places[:drawn]) == math.floor(drawn * Fraction(hundredths, 100))
    assert rehearsal_places(count + 7, hundredths / 100)[:count] == places


class TestRehearsal:
    def test_the_share_goes_to_earlier_forms_and_the_rest_to_the_latest(self):
        drawn = forms(draws(SAMPLES, {}, SHORT, 0.25)[0])
        assert drawn.count("open") == 30 and {drawn.count("binary"), drawn.count("choice")} == {5}
        by_step = [drawn[start : start + 4] for start in range(0, 40, 4)]
        assert {step.count("open") for step in by_step} == {3}, "each step rehearses"

    def test_the_stage_of_choices_rehearses_yes_or_no(self):
        samples = SAMPLES[:10]
        drawn = forms(draws(samples, {}, SHORT, 0.5)[0], samples)
        assert drawn.count("choice") == drawn.count("binary") == 20

    @pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.9])
    def test_the_seed_decides_and_a_longer_run_begins_like_a_shorter(self, share):
        order, _ = draws(SAMPLES, {}, SHORT, share)
        assert draws(SAMPLES, {}, SHORT, share)[0] == order
        assert draws(SAMPLES, {}, replace(SHORT, steps=17), share)[0][:40] == order
        assert draws(SAMPLES, {}, replace(SHORT, seed=1), share)[0] != order

    def test_without_a_share_all_forms_are_drawn_alike(self):
        order, left_out = draws(SAMPLES, {}, SHORT)
        assert order == draw_order(15, 40, 0) and left_out == {}

    def test_latest_questions_are_drawn_in_the_order_of_a_run_that_rehearses_nothing(self):
        latest = [index for index in draws(SAMPLES, {}, SHORT, 0.25)[0] if SAMPLES[index].stage == "open"]
        assert latest == [index + 10 for index in draws(SAMPLES[10:], {}, SHORT)[0]][:30]

    @pytest.mark.parametrize("samples", [SAMPLES[:5], SAMPLES[10:]])
    def test_a_share_without_earlier_forms_is_refused(self, samples):
        with pytest.raises(InputError, match=r"rehearse_share is 0\.25, but no sample has an earlier form than"):
            draws(samples, {}, SHORT, 0.25)

    def test_each_part_leaves_out_its_own_questions_and_the_share_stays(self, capsys):
        settings = replace(SHORT, rate_completions=4, drop=["never", "always"])
        order, left_out = draws(SAMPLES, RATES, settings, 0.25)
        assert forms(order).count("open") == 30 and {SAMPLES[index].id[0] for index in order} == {"b", "c", "d"}
        assert left_out == {"math, always right": 3, "math, never right": 3}
        assert "left out: 3 math, always right, 3 math, never right" in capsys.readouterr().out

    def test_each_part_goes_from_easy_to_hard(self):
        settings = replace(SHORT, rate_completions=4, order="easy_to_hard")
        order, _ = draws(SAMPLES, RATES, settings, 0.25)
        for is_latest in (True, False):
            right = [RATES[SAMPLES[i].id].right for i in order if (SAMPLES[i].stage == "open") is is_latest]
            assert right == sorted(right, reverse=True) and len(set(right)) == 5


@pytest.mark.parametrize("kind", [GrpoSettings(steps=5), SftSettings(prompts=40)])
def test_both_ways_of_training_draw_alike(kind):
    settings = replace(kind, rate_completions=4, drop=["never"], target_rate=0.5)
    order, left_out = draws(SAMPLES[10:], RATES, settings)
    assert len(order) == 40 and 0 not in order and left_out == {"math, never right": 1}
    assert order.count(2) > order.count(4), "two of four right is nearer to the target than four of four"


REWRITTEN = (
    r"'<think>\n' + part['text'].split('</think>')[0].replace('<think>', '').strip() + '\n</think>\n\n'"
    " + part['text'].split('</think>')[-1]"
)


class TestTurns:
    """A completion to imitate is written behind the prompt, as the model would go on from it."""

    SAMPLE = replace(SAMPLES[-1], thinking="so")

    def learnt(self, loaded):
        check_turn(loaded, self.SAMPLE, target(self.SAMPLE, loaded.style))
        row = sft_row(self.SAMPLE, target(self.SAMPLE, loaded.style), loaded)
        written = apply_chat_template({name: row[name] for name in ("prompt", "completion")}, loaded.processor)
        assert written["prompt"] == prompt_text(loaded, self.SAMPLE)
        return written["completion"]

    def test_without_a_prefill_it_is_all_learnt(self):
        assert self.learnt(load_model("pocket")) == "<think>so</think><answer>3</answer><|im_end|>\n"

    @pytest.mark.parametrize("prefill", PREFILLS)
    def test_what_the_prompt_began_is_not_learnt_again(self, tmp_path, prefill):
        loaded = load_model(str(write_thinking(tmp_path / "model", prefill)))
        thinking = "" if "</think>" in prefill else "so</think>"
        assert self.learnt(loaded) == thinking + "<answer>3</answer><|im_end|>\n"

    def test_a_template_that_writes_line_breaks_of_its_own_is_fine(self, tmp_path):
        loaded = load_model(str(write_thinking(tmp_path / "model", "<think>\n", REWRITTEN)))
        assert self.learnt(loaded) == "so\n</think>\n\n<answer>3</answer><|im_end|>\n"

    @pytest.mark.parametrize("prefill", ["", "<think>\n"])
    def test_a_template_that_drops_thinking_is_refused(self, tmp_path, prefill):
        loaded = load_model(
            str(write_thinking(tmp_path / "model", prefill, "part['text'].split('</think>')[-1]")), trainable=True
        )
        with pytest.raises(InputError, match=r"where the model is to learn '<think>.*so</think>.*keeps the text"):
            train_sft(loaded, sft_targets([self.SAMPLE], loaded.style), tmp_path, SftSettings())

    def test_reasoning_that_has_no_place_is_told(self, capsys):
        sft_targets([self.SAMPLE, SAMPLES[-1]], Style(prefill=PREFILLS[2]))
        assert "1 reference reasonings are left out" in capsys.readouterr().out

    def test_rows_for_the_rewards_say_what_the_prompt_began(self, tmp_path):
        loaded = load_model(str(write_thinking(tmp_path / "model", "<think>")))
        training = GrpoTraining(loaded, tmp_path, SHORT, [], [], None, {}, None, 0, [])
        row, scored = training.make_row(self.SAMPLE, ""), []
        calls = {name: [value] for name, value in row.items()} | {"completion_ids": [[5]]}
        said = [[{"role": "assistant", "content": "so</think><answer>3</answer>"}]]
        for reward in reward_functions(loaded, SHORT, scored):
            assert reward(said, log_metric=lambda *_: None, log_extra=lambda *_: None, **calls) == [1.0]
        assert scored[0]["completion"] == "<think>so</think><answer>3</answer>" and scored[0]["format"] == 1.0
