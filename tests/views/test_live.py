"""The live figure: in place while a cell runs, one last picture in an executed notebook, nothing anywhere else."""

import base64
import io

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from currreft_nb.views import live
from currreft_nb.views.live import LiveFigure

SETUP = """
import time
from matplotlib.figure import Figure
from currreft_nb.views import live
from currreft_nb.views.live import LiveFigure
live.LEAST_S = 0
drawn = []
def draw(inches=3):
    drawn.append(time.perf_counter())
    return Figure(figsize=(len(drawn), inches))  # as many inches wide as this picture is the how-manieth
"""
CELLS = {
    "early": """
live.LEAST_S = 3
with LiveFigure(draw) as live_figure:
    live_figure()
    print(len(drawn))
live.LEAST_S = 0
drawn.clear()
""",
    "calls": """
with LiveFigure(draw) as live_figure:
    for step in range(1000):
        live_figure()
print(len(drawn))
""",
    "cost": """
began_s = time.perf_counter()
def slow():
    time.sleep(0.03)
    return draw()
before = len(drawn)
with LiveFigure(slow) as live_figure:
    while time.perf_counter() < began_s + 1:
        live_figure()
print(len(drawn) - before)
""",
    "interrupted": """
drawn.clear()
with LiveFigure(draw) as live_figure:
    live_figure()
    print("step 1")
    raise KeyboardInterrupt
""",
    "broken": """
with LiveFigure(lambda: 1 / 0) as live_figure:
    for step in range(3):
        live_figure()
    print("trained")
""",
    "nothing": """
with LiveFigure(lambda: None) as live_figure:
    live_figure()
""",
}


@pytest.fixture(scope="module")
def outputs():
    """Return the outputs of each cell, executed in one real kernel as Papermill and nbconvert do it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (SETUP, *CELLS.values())])
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    assert not notebook.cells[0].outputs, notebook.cells[0].outputs
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells[1:])))


def pictures(outputs):
    found = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_a_step_that_comes_at_once_draws_nothing_yet(outputs):
    assert printed(outputs["early"]) == "0\n"
    assert len(pictures(outputs["early"])) == 1  # from the end


def test_it_draws_first_and_last_and_not_at_each_step_between(outputs):
    assert printed(outputs["calls"]) == "2\n"


def test_an_executed_notebook_keeps_one_picture_the_last_and_no_widget(outputs):
    first, *others = outputs["calls"]
    assert first.output_type == "display_data" and set(first.data) == {"image/png", "text/plain"}
    assert [output.output_type for output in others] == ["stream"]
    (picture,) = pictures(outputs["calls"])
    assert picture.width == 2 * live.DPI


def test_drawing_takes_a_hundredth_of_the_time_at_most(outputs):
    assert printed(outputs["cost"]) == "2\n"  # a first of 30 ms, a last, and between them no second one in six seconds


def test_an_interrupted_cell_keeps_the_last_state_above_its_lines(outputs):
    assert [output.output_type for output in outputs["interrupted"]] == ["display_data", "stream", "error"]
    (picture,) = pictures(outputs["interrupted"])
    assert picture.width == 2 * live.DPI
    assert outputs["interrupted"][-1].ename == "KeyboardInterrupt"


def test_a_figure_that_cannot_be_drawn_says_so_once_and_stops_nothing(outputs):
    stopped = "the live figure has stopped: ZeroDivisionError: division by zero; the training continues"
    assert printed(outputs["broken"]) == f"{stopped}\ntrained\n"


def test_before_there_is_anything_to_draw_it_says_so(outputs):
    (output,) = outputs["nothing"]
    assert "no step is done yet" in output.data["text/html"]


def test_outside_a_notebook_nothing_is_drawn_or_printed(capsys):
    def draw():
        raise AssertionError("drawn")

    with LiveFigure(draw) as figure:
        figure()
    assert capsys.readouterr() == ("", "")
