"""The figures of a training: drawn from rows as they are logged, and what a reader takes from them is checked."""

import pytest
from matplotlib.figure import Figure

from currreft_nb.views.training_plots import lengths, progress, task_reasons, unseen
from tests.helpers.made_up_results import training_rows

ROWS = [
    {
        **row,
        "length": 20 + row["step"],
        "length/math": 30 + row["step"],
        "length/detection": 10.0,
        "truncated/math": 0.25,
        "truncated/detection": 0.0,
        "reason/math/ok": 0.5,
        "reason/math/wrong": 0.25,
        "reason/math/not_parsed": 0.25,
        **({"reason/detection/ok": 1.0} if row["step"] % 2 else {}),
        **({"validation_accuracy": 0.4} if row["step"] % 10 == 0 else {}),
    }
    for row in training_rows(("open",))
]
TUNED = [{"step": step, "stage": "open", "loss": 2 / step, "token_accuracy": 1 - 1 / (step + 1)} for step in (1, 2, 3)]


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def stacks(axis):
    """Return the colour and the height at the right end of each layer of a stack, from below."""
    layers = []
    for layer in axis.collections:
        points = layer.get_paths()[0].vertices
        right = points[points[:, 0] == points[:, 0].max(), 1]
        layers.append(round(float(right.max() - right.min()), 6))
    return layers


class TestProgress:
    def test_each_measure_has_a_panel_and_its_last_value(self):
        figure = progress(ROWS)
        names = ("accuracy", "format", "silent groups", "tokens an answer")
        last = [ROWS[-1][column] for column in ("accuracy", "format", "zero_variance", "length")]
        assert titles(figure) == [f"{name}  {value:.3g}" for name, value in zip(names, last)]
        thin = figure.axes[0].lines[0]
        assert list(thin.get_ydata()) == [row["accuracy"] for row in ROWS]

    def test_dots_are_validations(self):
        dots = progress(ROWS).axes[0].lines[2]
        known = [x for x, y in zip(dots.get_xdata(), dots.get_ydata()) if y == y]
        assert known == [10, 20, 30, 40, 50, 60] and len(progress(ROWS).axes[1].lines) == 2

    def test_fine_tuning_has_its_own_measures(self):
        assert titles(progress(TUNED)) == ["loss  0.667", "tokens right  0.75"]

    def test_one_step_is_a_visible_point(self, recwarn):
        figure = progress(ROWS[:1])
        assert figure.axes[0].lines[1].get_marker() == "o" and figure.axes[0].get_xlim()[0] == 0
        figure.canvas.draw()
        assert not recwarn.list


class TestLengths:
    def test_a_line_for_each_task_with_its_name_at_its_end(self):
        length, cut = lengths(ROWS).axes
        assert {text.get_text() for text in length.texts} == {"math", "detection"}
        assert length.get_ylim()[1] > 90 and cut.get_ylim() == (-0.02, 1.02)
        (place,) = [text.xy[1] for text in length.texts if text.get_text() == "math"]
        assert 80 < place < 95  # at the height of its line

    def test_short_answers_do_not_fill_the_panel_by_chance(self):
        assert lengths([{"step": 1, "length/math": 0.0}]).axes[0].get_ylim()[1] == pytest.approx(1.02)


class TestReasons:
    def test_a_panel_for_each_task_whose_layers_are_the_shares(self):
        detection, math = task_reasons(ROWS).axes
        assert titles(task_reasons(ROWS)) == ["detection", "math"]
        assert sorted(stacks(math)) == [0, 0.25, 0.25, 0.5]  # the first is "other"
        assert stacks(detection)[0] == 1  # in the steps that asked for it, whatever share those were

    def test_rare_reasons_are_gathered_so_that_all_is_one(self):
        _, math = task_reasons(ROWS, top=1).axes
        assert stacks(math) == [0.5, 0.5]
        (legend,) = task_reasons(ROWS, top=1).legends
        assert [text.get_text() for text in legend.get_texts()] == ["ok", "other"]

    def test_a_mixture_has_a_panel_for_each_form_of_a_task(self):
        rows = [{"step": 1, "reason/math/open/ok": 1.0, "reason/math/binary/wrong": 1.0}]
        assert titles(task_reasons(rows)) == ["math/binary", "math/open"]

    def test_without_reasons_it_says_so(self):
        figure = task_reasons(TUNED)
        assert isinstance(figure, Figure) and figure.axes[0].texts[0].get_text() == "no reasons were logged"


VALIDATED = {"validation_greedy": 0.7, "validation_correct": 0.6, "validation_pass_4": 0.65}
LOGGED = [
    {**row, "entropy": 1 / row["step"], "think_readable": 0.5}
    | ({"contradiction/math": 0.25} if row["step"] > 30 else {})
    | ({"start_greedy": 0.3, "start_correct": 0.2, "start_pass_4": 0.6} if row["step"] == 1 else {})
    | (VALIDATED if row["step"] == 60 else {})
    for row in ROWS
]


class TestUnseen:
    def test_each_failure_has_a_panel(self):
        figure = unseen(LOGGED)
        names = ["answers against their reasons", "tokens of an answer", "entropy, nats a token", "right on validation"]
        assert titles(figure) == names
        assert list(figure.axes[2].lines[0].get_ydata()) == [row["entropy"] for row in LOGGED]
        assert "gives a value (50%)" in figure.get_supxlabel()

    def test_contradictions_are_drawn_where_thoughts_could_be_read(self):
        steps = unseen(LOGGED).axes[0].lines[0].get_xdata()
        assert min(steps) > 30

    def test_validation_begins_before_the_first_step(self):
        axis = unseen(LOGGED).axes[3]
        points = {line.get_color(): list(zip(line.get_xdata(), line.get_ydata())) for line in axis.lines}
        assert sorted(points.values()) == [[(0, 0.2), (60, 0.6)], [(0, 0.3), (60, 0.7)], [(0, 0.6), (60, 0.65)]]
        assert {text.get_text() for text in axis.texts} == {"pass@4", "greedy", "sampled"}

    def test_what_was_not_measured_is_named(self):
        figure = unseen([{"step": 1, "length": 3.0}])
        assert "(0%)" in figure.get_supxlabel() and "no validation questions were asked" in figure.get_supxlabel()
