"""The page in a real browser on a great lab: `python -m bench.page`. Needs chromium (apt-get install chromium).

Each repeat starts the server and a browser context anew. First paint and the rest are the browser's own clock, from the
start of navigation; bytes are those on the wire; memory is what the server has resident, and the JavaScript heap.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from bench.synthetic import make

UNITS = {
    "server listens after": "s",
    "first paint": "s",
    "table filled": "s",
    "chart drawn": "s",
    "on the wire, all of it": "MB",
    "search answered after": "s",
    "next page after": "s",
    "an experiment opened after": "s",
    "longest block of the page": "s",
    "memory of the server": "MiB",
    "JavaScript heap of the page": "MiB",
}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
WATCH = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    window.longest = Math.max(window.longest, entry.duration);
  })).observe({ type: "longtask", buffered: true });
  const note = (name, found) => {
    const look = () => (found() ? (window[name] = performance.now()) : requestAnimationFrame(look));
    look();
  };
  note("filled", () => document.querySelector("#rows tr"));
  note("drawn", () => document.querySelector("#staircase canvas"));
}"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    said = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    for size in said.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-page-") as folder, sync_playwright() as playwright:
            make(Path(folder), size)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            found = [_visit(browser, Path(folder) / "program.toml") for _ in range(said.repeats)]
            browser.close()
        print(f"\n{size:,} experiments\n{'':<30} {'median':>8} {'range':>16}")
        for name, unit in UNITS.items():
            values = [measured[name] for measured in found]
            spread = f"{min(values):.2f} – {max(values):.2f}"
            print(f"{name:<30} {statistics.median(values):>8.2f} {spread:>16} {unit}")


def _visit(browser: Any, program: Path) -> dict[str, float]:
    begun = time.perf_counter()
    with _served(program) as (process, url):
        found = {"server listens after": time.perf_counter() - begun}
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        wire = _counted(context, page)
        page.add_init_script(f"({WATCH})()")
        page.goto(url)
        page.locator("#rows tr").first.wait_for()
        page.locator("#staircase canvas").wait_for()
        page.locator("#curves canvas").wait_for()
        found["first paint"] = page.evaluate(PAINT) / 1e3
        found["table filled"] = page.evaluate("window.filled") / 1e3
        found["chart drawn"] = page.evaluate("window.drawn") / 1e3
        found["on the wire, all of it"] = wire[0] / 1e6
        found["next page after"] = _timed(page, lambda: page.locator("#older").click(), "#where", "51–")
        found["search answered after"] = _timed(page, lambda: page.locator("#text").fill("to 77"), "#count", "match")
        found["an experiment opened after"] = _timed(
            page, lambda: page.locator("#rows a").first.click(), ".diff", "RATE"
        )
        found["longest block of the page"] = page.evaluate("window.longest") / 1e3
        found["memory of the server"] = _resident(process.pid)
        found["JavaScript heap of the page"] = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        context.close()
    return found


def _timed(page: Any, act: Any, selector: str, words: str) -> float:
    begun = time.perf_counter()
    act()
    page.locator(selector, has_text=words).wait_for()
    return time.perf_counter() - begun


def _counted(context: Any, page: Any) -> list[float]:
    """A sum that grows with every answer that the browser gets."""
    total = [0.0]
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: total.__setitem__(0, total[0] + event["encodedDataLength"]))
    return total


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@contextmanager
def _served(program: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "autoresearchd", "serve", "--program", str(program), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[1]
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
