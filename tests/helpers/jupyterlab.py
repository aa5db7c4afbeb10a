"""A real JupyterLab: its server, and its page as somebody sees and uses it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, Locator

from tests.helpers.browser import Watched

READY_S = 90
TALL = (1280, 1600)
SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},  # only Lab.save writes a file
    # Off screen, cells would be taken out of the page.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
OPTIONS = ("--no-browser", "--allow-root", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True")
OPTIONS += ("--LabApp.extension_manager=readonly",)  # asks no package index
STATES = """cells => cells.map(cell => cell.querySelector('.jp-InputArea-prompt').innerText)"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def server(folder: Path, settings: Path) -> Iterator[str]:
    """Start JupyterLab in a project's folder, with settings of its own; yield its address."""
    for name, values in SETTINGS.items():
        path = settings / "lab" / f"{name.replace(':', '/')}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    port = free_port()
    places = {"JUPYTERLAB_SETTINGS_DIR": "lab", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    places |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = os.environ | {name: str(settings / place) for name, place in places.items()}
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, "--ip=127.0.0.1", f"--port={port}"]
    with (settings / "server.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", running, settings / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(30)


def _wait_for(address: str, running: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            assert running.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)


class Lab(Watched):
    """One notebook, opened in JupyterLab in a window of its own."""

    def __init__(self, browser: Browser, address: str, path: str):
        super().__init__(browser, TALL)
        self.address = address
        self.page.route(lambda url: not url.startswith(address), lambda route: route.abort())
        self.page.goto(f"{address}/doc/tree/{path}")
        self.page.get_by_text("| Idle").wait_for(timeout=READY_S * 1000)  # in the status bar: the kernel answers
        self.cells = self.page.locator(".jp-CodeCell")

    def close(self) -> None:
        """Close the window and end its kernel."""
        self.page.close()
        with urlopen(f"{self.address}/api/sessions", timeout=30) as answer:
            for session in json.load(answer):
                urlopen(Request(f"{self.address}/api/sessions/{session['id']}", method="DELETE"), timeout=60).close()

    def menu(self, *names: str) -> None:
        """Choose an entry of the menu bar, as a person does."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=names[0]).first.click()
        entry = self.page.locator(".lm-Menu-itemLabel").get_by_text(names[1], exact=True)
        entry.click()

    def prompts(self) -> list[str]:
        """Return what stands before each code cell: [3]: when it was the third to run, [*]: while it is waiting."""
        return self.cells.evaluate_all(STATES)

    def cell(self, text: str) -> Locator:
        """Return the code cell whose code holds a text."""
        return self.cells.filter(has=self.page.locator(".jp-InputArea", has_text=text)).first

    def run_all(self) -> None:
        self.menu("Run", "Run All Cells")

    def run_cell(self, text: str) -> None:
        """Click into a cell and press Shift+Enter."""
        self.cell(text).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")

    def wait(self, began: int, seconds: float = 240) -> None:
        """Wait until no cell waits any more, and more than `began` had run (`count`)."""

        def done() -> bool:
            prompts = self.prompts()
            return not any("*" in prompt for prompt in prompts) and self.count(prompts) > began

        self.until(done, seconds)

    def until(self, done: Callable[[], bool], seconds: float = 240) -> None:
        """Wait until something is so, with the page alive in between."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, (self.prompts(), self.faults())
            self.page.wait_for_timeout(200)

    def count(self, prompts: list[str] | None = None) -> int:
        """Return how many executions there were so far."""
        numbers = [prompt.strip("[]: \n") for prompt in (self.prompts() if prompts is None else prompts)]
        return max((int(number) for number in numbers if number.isdigit()), default=0)

    def save(self) -> None:
        """Press Ctrl+S and wait until the server has written the file: while it writes, the file is empty."""
        with self.page.expect_request_finished(lambda request: request.method == "PUT" and "/contents/" in request.url):
            self.page.keyboard.press("Control+s")

    def faults(self) -> list[str]:
        """Return what the notebook shows as an error or as a warning."""
        kinds = ("stderr", "error")
        found = [self.page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']") for kind in kinds]
        return [text for place in found for text in place.all_inner_texts()]

    def pictures(self) -> list[int]:
        """Return the width in pixels of each picture of the outputs, 0 for a broken one."""
        script = "images => images.map(image => image.complete && image.checkVisibility() ? image.naturalWidth : 0)"
        return self.page.locator(".jp-OutputArea-output img").evaluate_all(script)

    def galleries(self) -> list[str]:
        """Return the text of each HTML output that somebody can see."""
        outputs = self.page.locator(".jp-OutputArea-output.jp-RenderedHTMLCommon")
        return [output.inner_text() for output in outputs.all() if output.is_visible()]
