"""Every figure is drawn from plausible data, and what a reader takes from it is checked."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from currreft_nb.core.samples import Sample
from currreft_nb.method.difficulty import PassRate
from currreft_nb.views import plot_style as parts
from currreft_nb.views import score_plots, training_plots
from currreft_nb.views.data_plots import answer_balance, answer_distribution, box_sizes, judge_totals, memory_parts
from currreft_nb.views.score_plots import pass_at_k
from currreft_nb.views.training_plots import pass_rates
from tests.helpers.made_up_results import (
    ARMS,
    data_samples,
    hand_group,
    posed_samples,
    probe_rows,
    reason_rows,
    score_rows,
    training_rows,
    verdict_rows,
)


def task_silence():
    """Return a stage's rows with the share of silent groups by task, as training logs them."""
    rows = training_rows(("open",))
    return [row | {f"zero_variance/{task}": row["zero_variance"] * scale for task, scale in SCALES} for row in rows]


def rated(counts=(3, 0, 9, 4, 12)):
    """Return questions, and pass rates of them: `counts[right]` of four answers were right."""
    samples = [sample for sample in data_samples() if sample.task == "math"][: sum(counts)]
    right = [number for number, count in enumerate(counts) for _ in range(count)]
    return samples, {sample.id: PassRate(number, 4) for sample, number in zip(samples, right)}


MEMORY = {
    "this run": {"language model": 0.001, "keys and values": 0.01, "context and allocator": 0.61},
    "3B, 16 bit": {"language model": 5.2, "keys and values": 2.8, "context and allocator": 1.8},
    "3B, 4 bit": {"language model": 1.3, "keys and values": 2.8, "context and allocator": 1.1},
}
SCALES = (("detection", 0.5), ("math", 1.5))
FIGURES = {
    "learning_curves": lambda: training_plots.learning_curves(
        training_rows(), start_line={"binary": 0.45, "choice": 0.5, "open": 0.4}
    ),
    "learning_curves_one_stage": lambda: training_plots.learning_curves(
        [{**row, "stage": "open"} for row in training_rows(("open",))], {"open": 0.62}
    ),
    "task_curves": lambda: training_plots.task_curves(training_rows(("open",))),
    "zero_variance": lambda: training_plots.zero_variance(
        {stage: training_rows([stage], seed=number) for number, stage in enumerate(("binary", "choice", "open"))}
    ),
    "zero_variance_by_task": lambda: training_plots.zero_variance({"open": task_silence()}),
    "pass_rates": lambda: pass_rates(*rated()),
    "memory_parts": lambda: memory_parts(MEMORY, card_gib=16),
    "memory_parts_without_a_card": lambda: memory_parts(MEMORY),
    "loss_curve": lambda: training_plots.loss_curve(
        [{"step": s, "loss": 2 * np.exp(-s / 15) + 0.1 * (s % 3)} for s in range(1, 90)]
    ),
    "judge_totals": lambda: judge_totals(verdict_rows(), 85),
    "pass_at_k_of_two_arms": lambda: pass_at_k([row | {"arm": arm} for arm in ("base", "rl") for row in probe_rows()]),
    "scores": lambda: score_plots.scores(score_rows()),
    "domains": lambda: score_plots.domains(score_rows()),
    "pass_at_k": lambda: pass_at_k(probe_rows()),
    "answer_distribution": lambda: answer_distribution(data_samples()),
    "box_sizes": lambda: box_sizes(data_samples()),
    "answer_balance": lambda: answer_balance(posed_samples()),
    "reward_reasons": lambda: training_plots.reward_reasons(reason_rows()),
    "group_picture": lambda: training_plots.group_picture(*hand_group()),
}


def axes_of(name):
    return FIGURES[name]().axes


def texts(axis):
    return [text.get_text() for text in axis.texts]


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_drawn_and_keeps_its_text_apart(name, tmp_path):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=80)
    assert (tmp_path / "figure.png").stat().st_size > 3_000
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axis in figure.axes:
        boxes = [text.get_window_extent(renderer).shrunk(0.9, 0.6) for text in axis.texts if text.get_text()]
        overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
        assert not overlaps, f"{len(overlaps)} labels overlap in {axis.get_title(loc='left')!r}"


def test_accuracy_and_format_are_never_one_line():
    left, right = axes_of("learning_curves")
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == (
        "accuracy of sampled answers",
        "format of sampled answers",
    )
    rows = training_rows()
    drawn = left.lines[0].get_ydata()
    assert list(drawn) == [row["accuracy"] for row in rows[:60]]


def test_stages_follow_one_another_on_the_step_axis():
    left, _ = axes_of("learning_curves")
    starts = [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 60]
    assert starts == [1, 1, 61, 61, 121, 121]  # a thin and a thick line for each stage
    assert texts(left) == ["binary", "choice", "open"]


def test_the_forced_start_line_is_a_dashed_line_at_its_height_in_the_accuracy_panel_only():
    left, right = axes_of("learning_curves_one_stage")
    heights = [segment[0][1] for collection in left.collections for segment in collection.get_segments()]
    assert heights == [0.62]
    assert not right.collections
    assert not training_plots.learning_curves(training_rows()).axes[0].collections  # none given, none drawn


def test_each_part_of_a_chain_has_its_own_start_line_even_where_the_stage_is_the_same():
    parts = [[row | {"start_line": height} for row in training_rows(("open",))] for height in (0.3, None, 0.5)]
    left, right = training_plots.learning_curves([row for part in parts for row in part]).axes
    drawn = [segment for collection in left.collections for segment in collection.get_segments()]
    assert [line[0][1] for line in drawn] == [0.3, 0.5] and drawn[0][1][0] < drawn[1][0][0] and not right.collections


def test_the_caption_says_whether_there_was_a_start_line():
    measured, missing = "dashed: where the stage began", "no start line was measured"
    for start_line, words in (({"open": 0.6}, measured), ({}, missing), ({"binary": 0.6}, missing)):
        figure = training_plots.learning_curves(training_rows(("open",)), start_line)
        assert words in figure.get_supxlabel()


def test_validations_are_dots_at_their_steps():
    rows = training_rows(("open",), steps=20)
    for row in rows[9::10]:
        row |= {"validation_accuracy": 0.5, "validation_format": 0.75}
    left, right = training_plots.learning_curves(rows).axes
    for axis, height in ((left, 0.5), (right, 0.75)):
        (dots,) = [line for line in axis.lines if line.get_marker() == "o"]
        assert list(dots.get_xdata()) == [10, 20] and set(dots.get_ydata()) == {height}


def test_one_stage_shows_the_silence_of_each_task_and_several_do_not():
    assert texts(axes_of("zero_variance_by_task")[0])[:2] == ["detection", "math"]
    several = training_plots.zero_variance({"binary": task_silence(), "open": task_silence()}).axes[0]
    assert [text.split(",")[0] for text in texts(several)] == ["binary", "open"]


def test_pass_rates_are_counted_by_task():
    (axis,) = axes_of("pass_rates")
    heights = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in axis.patches}
    assert heights == {0.0: 3, 0.5: 9, 0.75: 4, 1.0: 12}
    assert "rate_completions is 0" in texts(pass_rates(data_samples(), {}).axes[0])[0]


def test_a_task_that_was_not_trained_has_no_line():
    rows = [{"step": 1, "accuracy/math": 0.5}, {"step": 2, "accuracy/math": 0.75}]
    (axis,) = training_plots.task_curves(rows).axes
    assert texts(axis) == ["math"]
    assert list(axis.lines[0].get_ydata()) == [0.5, 0.75]


def test_natural_marks_are_filled_and_forced_ones_hollow():
    axis = axes_of("scores")[0]
    fills = [line.get_markerfacecolor() for line in axis.lines]
    assert fills.count("white") == len(fills) / 2 == len(ARMS)


def test_scores_keep_the_domains_apart_and_show_the_numbers_of_questions():
    titles = [axis.get_title(loc="left") for axis in axes_of("scores")]
    assert titles[:2] == ["detection, in-domain (n = 100)", "detection, out-of-domain (n = 100)"]
    summary = score_rows()
    summary.loc[0, "n"] = 80
    assert score_plots.scores(summary).axes[0].get_title(loc="left") == "detection, in-domain (n = 80–100)"


def test_an_arm_that_cannot_be_forced_is_shown_by_its_natural_scores_and_named():
    rows = score_rows()
    some = rows[(rows["mode"] == "natural") | (rows["arm"] != "rl")]
    assert "(cannot be forced: rl)" in score_plots.scores(some).get_supxlabel()
    assert "forced decoding (rl: natural)" in score_plots.domains(some).get_supxlabel()
    drawn = {text for axis in score_plots.domains(some).axes for text in texts(axis)}
    assert drawn == {text for axis in score_plots.domains(rows).axes for text in texts(axis)}
    assert "rl" not in score_plots.scores(rows).get_supxlabel() + score_plots.domains(rows).get_supxlabel()


def test_marks_stand_at_the_scores():
    summary = score_rows()
    cell = summary.query("task == 'detection' and split == 'test_id' and mode == 'natural' and arm == 'sft'")
    drawn = [line.get_xdata()[0] for line in score_plots.scores(summary).axes[0].lines]
    assert cell["mean"].item() in drawn


def test_an_arm_seen_in_one_domain_only_makes_no_point():
    summary = score_rows()
    summary = summary[~((summary["arm"] == "sft") & (summary["split"] == "test_ood"))]
    assert texts(score_plots.domains(summary).axes[0]) == [arm for arm in ARMS if arm != "sft"]


def test_pass_at_k_shows_only_measured_points_and_the_chance_line():
    axis = axes_of("pass_at_k")[0]
    lines = {(line.get_linestyle(), line.get_color()): list(line.get_ydata()) for line in axis.lines}
    rows = [row for row in probe_rows() if row["task"] == "detection" and row["stage"] == "binary"]
    colour = parts.STAGE_COLOURS["binary"]
    assert lines["-", colour] == [row["pass_at_k"] for row in rows]
    assert lines["--", colour] == [row["chance"] for row in rows]


def test_frequent_answers_come_first_and_the_rest_is_counted():
    samples = [
        Sample(id=f"{i}", task="math", split="train", source="s", question="?", answer=str(min(i, 12)))
        for i in range(20)
    ]
    (axis,) = answer_distribution(samples, top=3).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["12", "0", "1", "10 others"]
    assert [bar.get_width() for bar in axis.patches] == [8, 1, 1, 10]


def test_balance_marks_what_a_uniform_draw_would_give():
    options = [["cat"], ["dog"], ["cow"], ["bee"]]
    samples = [
        Sample(
            id=f"{i}", task="classification", stage="choice", split="train", source="s", question="?",
            options=options[: 4 if i else 2], answer=["A"],
        )
        for i in range(2)
    ]  # fmt: skip
    _, right = answer_balance(samples).axes
    assert [bar.get_height() for bar in right.patches] == [1, 0, 0, 0]
    marks = [segment[0][1] for segment in right.collections[0].get_segments()]
    assert marks == [0.375, 0.375, 0.125, 0.125]  # half of 1/2 and of 1/4; half of 1/4


@pytest.mark.parametrize("stage", ["binary", "choice"])
def test_one_closed_stage_alone_has_its_balance_drawn(stage):
    left, right = answer_balance([sample for sample in posed_samples() if sample.stage == stage]).axes
    assert bool(left.collections) == (stage == "binary")
    assert bool(right.patches) == (stage == "choice")


def test_reasons_are_shares_that_add_up_to_one():
    (axis,) = axes_of("reward_reasons")
    assert texts(axis)[0] == "ok" and texts(axis)[-1] == "other"
    assert len(axis.collections) == 7
    top = axis.collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1)


def test_a_bar_of_memory_is_as_long_as_its_parts_and_the_card_is_marked():
    (axis,) = axes_of("memory_parts")
    ends = [max(b.get_x() + b.get_width() for b in axis.patches if round(b.get_y()) == place) for place in range(3)]
    assert ends == pytest.approx([sum(parts.values()) for parts in MEMORY.values()])
    assert {"0.6", "9.8", "5.2", "2.8"} <= set(texts(axis)) and "0.0" not in texts(axis)
    assert [line.get_xdata()[0] for line in axis.lines] == [16]
    (bare,) = axes_of("memory_parts_without_a_card")
    assert not bare.lines


def test_the_group_picture_colours_what_is_encouraged_and_what_is_not():
    _, right = axes_of("group_picture")
    colours = [to_hex(bar.get_facecolor()).upper() for bar in right.patches]
    assert colours == [parts.GREEN, parts.RED, parts.RED, parts.GREEN]
    assert texts(right) == ["+1.33", "-0.77", "-0.77", "+0.21"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: score_plots.scores(score_rows().head(0)),
        lambda: score_plots.domains(score_rows(), stage="binary"),
        lambda: answer_distribution([]),
        lambda: box_sizes([]),
        lambda: answer_balance(data_samples(3)),
        lambda: judge_totals([{"total": None}], 85),
        lambda: pass_at_k(pd.DataFrame(probe_rows()).head(0)),
    ],
)
def test_nothing_to_draw_is_said_and_not_an_error(draw):
    (axis,) = draw().axes
    assert texts(axis)[0].startswith(("no", "nothing"))


@pytest.mark.parametrize(
    ("rows", "message"), [([], "no rows at all"), ([{"step": 1}], "no column 'accuracy' among step")]
)
def test_rows_without_a_needed_column_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        training_plots.learning_curves(rows)


def test_rows_without_a_value_are_passed_over():
    rows = [*training_rows(("open",)), {"step": 61, "stage": "open", "accuracy": None, "format": None}]
    assert training_plots.learning_curves(rows).axes[0].lines[0].get_xdata()[-1] == 60


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_labels_keep_their_order_and_their_distance(values):
    places = parts.spread(values, 0.1)
    assert max(places) <= 1
    ordered = [place for _, place in sorted(zip(values, places))]
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(ordered))


def test_a_notebook_shows_each_figure_once(tmp_path):
    """A real kernel: the figure is displayed as the value of its cell and not a second time by pyplot."""
    import nbformat
    from nbclient import NotebookClient

    source = "from currreft_nb.views.training_plots import loss_curve\n"
    source += "loss_curve([{'step': 1, 'loss': 2.0}, {'step': 2, 'loss': 1.0}])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute(cwd=tmp_path)
    pictures = [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1, json.dumps(notebook.cells[0].outputs)[:500]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "first", "why"),
    [
        ("Agg", "", "as many shells set it: no figure was shown"),
        ("svg", "", "another backend without a window"),
        ("TkAgg", "", "a window, which a kernel does not have"),
        ("no-such-backend", "", "matplotlib could not even be imported"),
        ("Agg", "import matplotlib.pyplot\n", "matplotlib was imported before the kit"),
    ],
)
def test_a_notebook_shows_its_figures_whatever_backend_the_shell_names(monkeypatch, tmp_path, backend, first, why):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("MPLBACKEND", backend)
    source = (
        first + "from currreft_nb.running.run import Run\nfrom currreft_nb.views.training_plots import loss_curve\n"
    )
    source += "loss_curve([{'step': 1, 'loss': 2.0}, {'step': 2, 'loss': 1.0}])"
    own = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (source, own)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute(cwd=tmp_path)
    for cell in notebook.cells:
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(pictures) == 1, (why, json.dumps(cell.outputs)[:500])


def test_figures_need_no_latex_whatever_matplotlibrc_says(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: serif\n")
    code = "from currreft_nb.views.training_plots import loss_curve\n"
    code += "loss_curve([{'step': 1, 'loss': 2.0}, {'step': 2, 'loss': 1.0}]).savefig('a.png')\n"
    code += "import matplotlib; print(matplotlib.rcParams['font.family'])"
    environment = os.environ | {"PATH": "/nowhere", "MATPLOTLIBRC": str(tmp_path)}  # no latex, wherever it is
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == "['serif']", answer.stderr  # the file was read
    assert (tmp_path / "a.png").exists()


def test_figures_are_drawn_without_a_display(tmp_path):
    code = "from currreft_nb.views.data_plots import box_sizes\nbox_sizes([]).savefig('a.png')\n"
    code += "import matplotlib.pyplot as plt\nprint(plt.get_fignums())"
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path)}  # neither DISPLAY nor MPLBACKEND
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr  # nothing stays open in pyplot's memory
    assert (tmp_path / "a.png").exists()


def test_a_report_without_sampled_answers_says_so_instead_of_failing():
    figure = pass_at_k([])
    assert "nothing was sampled" in " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
