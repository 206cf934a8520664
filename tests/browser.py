"""A real browser for tests of Prefect's UI, with nothing of the internet in reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, ViewportSize, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--no-sandbox",  # which root has none of
    "--disable-gpu",
    "--disable-gpu-rasterization",
    "--disable-software-rasterizer",  # a canvas shows the same without a 3-D library's help
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_SIZE: ViewportSize = {"width": 1200, "height": 1000}
_PATIENCE_MS = 60_000
_DRAWN_MS = 4_000
_HIDE = """home => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode())
        texts.currentNode.data = texts.currentNode.data.replace(home, "/…");
}"""

_STILL = """addEventListener("DOMContentLoaded", () => {
    const style = document.createElement("style");
    style.textContent = "*, ::before, ::after { animation: none !important; transition: none !important }";
    document.head.append(style);
})"""
"""What turns or pulses while a page waits is drawn sixty times a second, by the processor."""

PICTURES = "FACTORY_PICTURES"
"""A folder that is to keep the pictures that tests take; without it they take none."""


class Window:
    """A browser's page, and what it asked of others than the server that it is to show.

    Attributes:
        outside: addresses.
    """

    def __init__(self, context: BrowserContext, root: str) -> None:
        self.page: Page = context.new_page()
        self.outside: list[str] = []
        self._root = root
        context.on("request", lambda request: self._look(request.url))

    def open(self, path: str) -> None:
        self.page.goto(self._root + path)

    def picture(self, name: str, *, anew: bool = False, home: Path | None = None) -> None:
        """Keep what it shows beside the menu, where somebody wants it kept.

        Args:
            name: of the file, without its ending.
            anew: load it again first.
            home: whose place is nobody's business.
        """
        if folder := os.environ.get(PICTURES):
            Path(folder).mkdir(parents=True, exist_ok=True)
            if anew:
                self.page.reload()
                self.page.wait_for_timeout(_DRAWN_MS)
            if home is not None:
                self.page.evaluate(_HIDE, str(home))
            place = Path(folder) / f"{name}.png"
            self.page.locator("main").last.screenshot(path=place, animations="disabled")

    def _look(self, url: str) -> None:
        if not url.startswith((self._root, "data:", "blob:")):
            self.outside.append(url)


@contextmanager
def open_window(root: str, profile: Path) -> Generator[Window]:
    """Show what a server serves below ``root``.

    Args:
        root: like ``http://127.0.0.1:4200``.
        profile: an empty folder for what the browser keeps.
    """
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium(),
            headless=True,
            args=_OPTIONS,
            viewport=_SIZE,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(_PATIENCE_MS)
        context.add_init_script(_STILL)
        try:
            yield Window(context, root)
        finally:
            context.close()


def chromium() -> str:
    """Where the browser is.

    Raises:
        AssertionError: there is none; says what to install.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found is not None, (
        "this test needs the browser Chromium: `make system-packages` installs it on Debian,"
        " by `apt-get install chromium`"
    )
    return found
