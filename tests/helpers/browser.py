"""A real Chromium, driven by Playwright: Debian's, or the one that CURRREFT_CHROMIUM names."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1280, 900), (390, 844)  # width and height of the window in pixels


def chromium_path() -> str | None:
    """Return the browser's program, or None where there is none."""
    named = os.environ.get("CURRREFT_CHROMIUM")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


class Watched:
    """A page together with what it complained of and what it asked for: console errors, faults, addresses."""

    def __init__(self, browser: Browser, size: tuple[int, int] = DESKTOP):
        self.page: Page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def outside(self) -> list[str]:
        """Return the addresses asked for that are not on this machine."""
        local = ("file:", "data:", "blob:", "about:", "http://127.0.0.1", "http://localhost", "ws://127.0.0.1")
        return [url for url in self.requests if not url.startswith(local)]
