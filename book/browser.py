"""The built book in a browser, as its readers have it: for the checks of its pages, and for printing them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Browser, BrowserType, Error, sync_playwright

ELSEWHERE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless Chromium: Playwright's own where it is installed, else the system's.

    Raises:
        FileNotFoundError: If there is neither.
    """
    with sync_playwright() as playwright:
        browser = _launch(playwright.chromium)
        try:
            yield browser
        finally:
            browser.close()


def _launch(kind: BrowserType) -> Browser:
    try:
        return kind.launch()
    except Error as failure:
        if "Executable doesn't exist" not in str(failure):
            raise
    installed = next(filter(None, map(shutil.which, ELSEWHERE)), None)
    if installed is None:
        raise FileNotFoundError("No Chromium on this machine. Install one for Playwright: playwright install chromium")
    return kind.launch(executable_path=installed)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine and yield its address; opened as files, pages may not fetch from one another."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line on the screen for each of them."""

    protocol_version = "HTTP/1.1"  # one connection for many requests

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""
