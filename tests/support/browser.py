"""Chromium without a window, as a person of some width and taste sees a page."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--hide-scrollbars")  # fmt: skip


def find_browser() -> tuple[str, str] | None:
    """Chromium and its driver; None where one is missing."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return None if browser is None or driver is None else (browser, driver)


@contextmanager
def chromium(profile: Path) -> "Iterator[Chrome]":
    """A browser with a profile of its own."""
    from selenium import webdriver

    paths = find_browser()
    assert paths is not None
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (*_QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: "Chrome", path: Path, *, width: int = 1100, scheme: str = "light") -> None:
    """Open a report and wait until its figures are drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.resolve().as_uri())
    end = time.monotonic() + 60
    while run(browser, "document.documentElement.dataset.drawn") is None:
        assert time.monotonic() < end, browser.get_log("browser")
        time.sleep(0.05)


def run(browser: "Chrome", expression: str) -> Any:
    """The value of an expression of JavaScript."""
    return browser.execute_script(f"return {expression}")
