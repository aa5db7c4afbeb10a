"""Decoding shares prompts and drops finished rows, and says what the library's own decoding says, in every family."""

import pytest
import torch

from currreft_nb.generation.decode import decode, prompt_positions
from currreft_nb.models.families import FAMILIES
from tests.helpers.tiny_models import END, IMAGE, awake_model, tiny_prompts

BATCHES = {  # which of three prompts, of different lengths, are about an image
    "all": (0, 1, 2),
    "some": (0, 2),
    "none": (),
}


def best(logits, rows, step):
    return logits.argmax(dim=-1)


def library_answers(model, inputs, max_new_tokens):
    output = model.generate(
        **inputs, max_new_tokens=max_new_tokens, do_sample=False, suppress_tokens=[IMAGE], disable_compile=True
    )
    answers = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in answers]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return awake_model(request.param)


@pytest.mark.parametrize("pictured", BATCHES.values(), ids=BATCHES)
def test_greedy_answers_are_those_of_the_library(model, pictured):
    inputs = tiny_prompts(pictured=pictured)
    expected = library_answers(model, inputs, 12)
    for copies in (1, 3):
        found = decode(model, inputs, copies=copies, max_new_tokens=12, choose=best, ends=[END], banned=[IMAGE])
        assert found == [answer for answer in expected for _ in range(copies)]


def test_rows_that_end_early_leave_and_the_others_go_on_as_if_alone(model):
    inputs = tiny_prompts()
    long = library_answers(model, inputs, 10)
    ends = {long[0][2], END}  # a token that the first answer says in its third place
    sizes = []

    def noting(logits, rows, step):
        sizes.append(len(rows))
        return logits.argmax(dim=-1)

    found = decode(model, inputs, copies=2, max_new_tokens=10, choose=noting, ends=ends, banned=[IMAGE])
    for answer, whole in zip(found[::2], long):
        assert answer == whole[: len(answer)]
        assert answer[-1] in ends or len(answer) == 10
    assert found[::2] == found[1::2] and len(found[0]) <= 3
    assert sizes[0] == 6 and min(sizes) < 6
    assert sizes == [sum(len(answer) > step for answer in found) for step in range(len(sizes))]


def test_rows_keep_their_numbers_when_others_leave(model):
    """Sampling by a row's own random numbers relies on it."""
    lengths = [4, 1, 3, 2]  # row 1 ends first, then 3, then 2

    def by_row(logits, rows, step):
        return torch.tensor([END if step + 1 == lengths[row] else 200 + row for row in rows])

    inputs = tiny_prompts(text_lengths=(4, 6), pictured=(1,))
    found = decode(model, inputs, copies=2, max_new_tokens=9, choose=by_row, ends=[END])
    assert found == [[200, 200, 200, END], [END], [202, 202, END], [203, END]]


def test_banned_tokens_are_never_said(model):
    said = {token for row in library_answers(model, tiny_prompts(), 8) for token in row} - {END}
    found = decode(model, tiny_prompts(), copies=1, max_new_tokens=8, choose=best, ends=[END], banned=[IMAGE, *said])
    assert not said & {token for row in found for token in row}


def test_the_tokens_so_far_may_end_a_row(model):
    found = decode(
        model, tiny_prompts(), copies=1, max_new_tokens=9, choose=best, ends=[], is_over=lambda row: len(row) == 4
    )
    assert [len(row) for row in found] == [4, 4, 4]


def test_positions_of_padding_are_zero_and_of_text_run_on(model):
    inputs = tiny_prompts(pictured=())
    positions = prompt_positions(model, inputs)
    for row, mask in zip(positions[0], inputs["attention_mask"]):
        assert row.tolist() == [0] * int((mask == 0).sum()) + list(range(int(mask.sum())))
