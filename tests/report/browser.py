"""A real browser without a window, for pages on this machine."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

__all__ = ["Browser", "open_browser"]

_LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")


class Browser:
    """One tab of chromium. Each `open` starts from an empty page and empty logs."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, page: Path, width: int = 1280, dark: bool = False, scripts: bool = True, media: str = "screen"
    ) -> None:
        """Show `page` in a window of `width` pixels, for readers who prefer dark pages, or without JavaScript."""
        self.driver.get("about:blank")
        self.do("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", media=media, features=[scheme])
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri())

    def do(self, command: str, **arguments: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page, which may use what look.js holds."""
        answer = self.do(
            "Runtime.evaluate", expression=f"(() => {{{_LOOK}\nreturn {expression}}})()", returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def console(self) -> list[str]:
        """What the console shows since the page was opened."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """All addresses asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def picture_of(self, selector: str) -> Image.Image:
        """How the first element that `selector` finds looks."""
        box = self.ask(
            f"(({{x, y, width, height}}) => ({{x: x + scrollX, y: y + scrollY, width, height, scale: 1}}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        shot = self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=box)["data"]
        return Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Debian's chromium; the test skips without it."""
    webdriver = pytest.importorskip("selenium.webdriver")
    paths = [next(filter(None, map(shutil.which, names)), None) for names in (_CHROMIUM, _DRIVER)]
    if None in paths:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    # No sandbox: in a container the root user has none; the pages are our own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


_CHROMIUM, _DRIVER = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
