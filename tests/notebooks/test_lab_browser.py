"""Every notebook in a real JupyterLab with a real browser: run, seen, changed, interrupted, trusted and untrusted.

One server, the notebooks in their order, each once: every test here reads what the ones before it have left.
"""

import json
import re

import pytest

from currreft_nb.running.notebook_settings import declared_by
from tests.conftest import copy_project
from tests.helpers.commands import NOTEBOOKS
from tests.helpers.jupyterlab import Lab, server
from tests.helpers.tiny_project import record

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SMALL = {
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 4,
    "micro_batch": 8,
    "save_every": 1,
    "prompts": 16,
    "batch_size": 8,
    "questions": 20,
    "samples_per_question": 2,
    "pass_questions": 2,
    "train_questions": 12,
    "val_questions": 2,
    "test_questions": 4,
    "pool_questions": 20,
}
LONG = 40  # steps of the training that is interrupted
CONTROLS = {"00_start_here": 1, "02_rl_binary": 2, "03_rl_choice": 2, "04_rl_open": 2, "05_rejection_sampling": 1}


def shrink(path):
    """Write smoke-size values into the parameters cell, as a person would in JupyterLab."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    source = "".join(cell["source"])
    for name, value in SMALL.items():
        source, found = re.subn(rf"^({name}: int = )\d[\d_]*", rf"\g<1>{value}", source, flags=re.M)
        if not found and name in declared_by(path.stem):  # a setting that the cell does not show: a line is added
            source += f"\n{name}: int = {value}"
    cell["source"] = source
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a project of smoke size, in which one training is long enough to be interrupted."""
    folder = copy_project(tmp_path_factory.mktemp("lab"))
    for name in NOTEBOOKS:
        shrink(folder / "notebooks" / f"{name}.ipynb")
    change(folder / "notebooks" / "02_rl_binary.ipynb", "steps: int = 2 ", f"steps: int = {LONG} ")
    return folder


@pytest.fixture(scope="module")
def address(place, tmp_path_factory):
    with server(place, tmp_path_factory.mktemp("jupyter")) as address:
        yield address


@pytest.fixture
def open_lab(browser, address):
    """Return what opens a notebook, or another file, in a window of its own; all are closed at the end."""
    opened = []

    def open_file(path):
        opened.append(Lab(browser, address, path))
        return opened[-1]

    yield open_file
    for lab in opened:
        lab.close()


def change(path, old, new):
    """Write another value into the parameters cell of a file."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
    source = "".join(cell["source"])
    assert old in source
    cell["source"] = source.replace(old, new)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def outputs(path):
    """Return how many pictures and pieces of HTML a saved notebook holds."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in data for data in found), sum("text/html" in data for data in found)


def check(lab, path):
    """Everything of a saved notebook is seen in the window, nothing complains, nothing is loaded from elsewhere."""
    lab.page.wait_for_function("() => [...document.images].every(image => image.complete)")
    figures, html = outputs(path)
    pictures, galleries = lab.pictures(), lab.galleries()
    assert lab.faults() == []
    assert len(galleries) == html > 0 and all(text.strip() for text in galleries)
    assert len(pictures) >= figures and 0 not in pictures
    # In a window opened later, the controls are gone with their kernel: what they showed is still there.
    assert [error for error in lab.errors if "widget model not found" not in error] == []
    assert lab.outside() == []
    return len(pictures), galleries


def look(lab, name, place):
    """Leave pictures of a window to be looked at: its top, then each place with controls."""
    folder = place / "seen"
    folder.mkdir(exist_ok=True)
    lab.cells.first.scroll_into_view_if_needed()
    lab.page.screenshot(path=folder / f"{name}.png")
    for number, controls in enumerate(lab.page.locator(".widget-hbox").all()):
        controls.scroll_into_view_if_needed()
        lab.page.screenshot(path=folder / f"{name}-controls-{number}.png")


def interrupt(lab, place):
    """Interrupt the training in its middle from the menu, look at what is left, and run its cell again."""
    metrics = place / "outputs" / "notebooks" / "02_rl_binary" / "metrics.jsonl"
    lab.until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3)
    lab.menu("Kernel", "Interrupt Kernel")
    lab.wait(8)
    done = len(metrics.read_text().splitlines())
    assert "KeyboardInterrupt" in lab.faults()[-1]
    assert 3 <= done < LONG
    training = lab.cell("train_grpo(")
    assert training.locator("img").count() == 1  # the live figure keeps its last state
    began = lab.count()
    lab.run_cell("train_grpo(")
    lab.wait(began)
    resumed = re.search(rf"resuming after step (\d+) of {LONG}", training.inner_text())
    assert resumed and 1 <= int(resumed[1]) <= done, training.inner_text()[:2000]
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, LONG + 1))
    began = lab.count()
    lab.menu("Run", "Run Selected Cell and All Below")
    lab.wait(began)


def type_a_parameter(lab, place):
    """Type another value into the parameters cell, and run all of it once more in the same kernel."""
    lab.page.locator(".cm-line", has_text="train_questions: int = ").first.click()
    lab.page.keyboard.press("Home")
    lab.page.keyboard.press("Shift+End")
    lab.page.keyboard.type("train_questions: int = 11")
    began = lab.count()
    lab.run_all()
    lab.wait(began)
    assert record(place / "outputs" / "notebooks" / "01_data_curation")["settings"]["train_questions"] == 11
    assert "11" in lab.cell("summary(run.folder").inner_text()


def move_controls(lab, place):
    """Choose with the controls as a person does; the view below them follows."""
    browser, reward = lab.page.locator(".jp-CodeCell", has=lab.page.locator(".widget-hbox")).all()
    assert "step 2:" in browser.inner_text()
    browser.locator(".noUi-handle").press("ArrowLeft")
    lab.until(lambda: "step 1:" in browser.inner_text())
    step = browser.inner_text()
    group = browser.locator("select").nth(2)  # after task and reason
    name = group.locator("option").last.inner_text()
    group.select_option(name)
    lab.until(lambda: "1 of 1 groups" in browser.inner_text() and browser.inner_text() != step)
    assert f"\n{name.split(' · ')[-1]}\n" in browser.inner_text()
    assert "0.5 ×" in reward.inner_text() and "+ 1 ×" not in reward.inner_text()
    reward.locator(".noUi-handle").first.press("ArrowRight")
    lab.until(lambda: "+ 1 ×" in reward.inner_text())
    reward.locator("select").nth(1).select_option("hard")
    assert lab.faults() == []


THEN = {"01_data_curation": type_a_parameter, "04_rl_open": move_controls}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_and_is_seen_as_a_person_sees_it(name, place, open_lab):
    path = place / "notebooks" / f"{name}.ipynb"
    lab = open_lab(f"notebooks/{name}.ipynb")
    lab.run_all()
    if name == "02_rl_binary":
        interrupt(lab, place)
    lab.wait(1)
    assert record(place / "outputs" / "notebooks" / name)["status"] == "complete", lab.faults()
    THEN.get(name, lambda lab, place: None)(lab, place)
    lab.save()
    look(lab, name, place)
    assert lab.page.locator(".widget-hbox").count() == CONTROLS.get(name, 0)
    check(lab, path)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_notebook_is_seen_alike_trusted_and_untrusted(name, place, open_lab):
    path = place / "notebooks" / f"{name}.ipynb"
    copy = path.with_name(f"{name}_from_somebody.ipynb")
    content = json.loads(path.read_text(encoding="utf-8"))
    copy.write_text(json.dumps(content | {"metadata": content["metadata"] | {"from": "somebody"}}), encoding="utf-8")
    lab_of = {file: open_lab(f"notebooks/{file.name}") for file in (path, copy)}
    trusted, untrusted = (lab.page.locator(".jp-StatusItem-trust svg") for lab in lab_of.values())
    assert trusted.get_attribute("data-icon") != untrusted.get_attribute("data-icon")
    look(lab_of[copy], f"{name}-untrusted", place)
    assert check(lab_of[path], path) == check(lab_of[copy], copy)
