"""The report in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.report.morning.filing import file

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
MILLISECONDS = 240_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox cannot be had by root in a container.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)]
)  # fmt: skip
def test_everybody_can_read_it_on_any_width_by_day_and_by_night(
    browser: Any, program: Path, scheme: str, width: int
) -> None:
    # The page's own policy lets no script run, axe's neither.
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    context.set_default_timeout(MILLISECONDS)
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    page = file(program).as_uri()
    tab.goto(page)
    for shut in tab.locator("summary").all():
        shut.click()
    found = axe.Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "the page has to be scrolled sideways"
    assert asked == [page], "it loads nothing else"
    assert "<script>alert(1)</script>" in tab.locator("h1").inner_text()
    context.close()
