"""A real browser without a screen, for what people open: Debian's chromium and chromium-driver, driven by selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_a_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no browser here: apt install chromium chromium-driver"
)
# asks nothing of the network, which a closed one would refuse many times; --no-sandbox: root may not have one
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
)  # fmt: skip


@contextmanager
def browser(profile: Path, width: int = 1200, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A browser that knows nothing yet.

    Args:
        profile: an empty folder for what it keeps.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
