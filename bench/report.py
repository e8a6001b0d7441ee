"""What the views of the morning cost as a lab grows: `python -m bench.report`.

Each row is the whole command in a fresh process, start of Python included, on labs of synthetic experiments. Where
Debian's chromium and Playwright are there, the page's first paint and its memory are measured too. The figures of
record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.synthetic import make

CHROMIUM = "/usr/bin/chromium"
HEAD = f"{'':<22} {'median s':>9} {'range':>15} {'CPU s':>6} {'peak MiB':>9} {'file kB':>9}"
VIEWS = {
    "report (HTML)": ("report", "-o", "report.html"),
    "report --md": ("report", "--md", "-o", "report.md"),
    "report --json": ("report", "--json", "-o", "report.json"),
    "report --plot .png": ("report", "--plot", "plot.png"),
    "report --plot .svg": ("report", "--plot", "plot.svg"),
    "log -n 20": ("log", "-n", "20"),
    "log -n 1000 --graph": ("log", "-n", "1000", "--graph"),
    "show 50": ("show", "50"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One run of a command."""

    seconds: float
    cpu_seconds: float
    memory_mib: float
    """Peak resident memory."""


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-report-") as folder:
            home = make(Path(folder), size).parent
            print(f"\n{size:,} experiments\n{HEAD}")
            costs: dict[str, list[Cost]] = {name: [] for name in VIEWS}
            for _ in range(arguments.repeats):  # in turns, so that a busy machine is equally unkind to all
                for name, command in VIEWS.items():
                    costs[name].append(_run(home, command))
            for name, command in VIEWS.items():
                print(_row(name, costs[name], home / command[-1]), flush=True)
            print(_first_paint(home / "report.html", arguments.repeats))


def _run(home: Path, command: tuple[str, ...]) -> Cost:
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "autoresearchd", *command], cwd=home, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    seconds, cpu = time.perf_counter() - begun, used.ru_utime + used.ru_stime
    return Cost(seconds=seconds, cpu_seconds=cpu, memory_mib=used.ru_maxrss / 1024)


def _first_paint(page: Path, repeats: int) -> str:
    """Milliseconds until a fresh browser shows it, and what its scripting heap and nodes then take."""
    if not Path(CHROMIUM).exists():
        return f"no {CHROMIUM}: first paint not measured"
    from playwright.sync_api import sync_playwright

    paints, seen = [], ""
    with sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page(bypass_csp=True)  # to wait in it; the report lets no script run
            tab.goto(page.as_uri())
            tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paints.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            devtools = tab.context.new_cdp_session(tab)
            devtools.send("Performance.enable")
            found = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
            seen = f"{found['Nodes']:.0f} nodes, {found['JSHeapUsedSize'] / 2**20:.1f} MiB of script heap"
            browser.close()
    return f"first paint {statistics.median(paints):.0f} ms ({min(paints):.0f} – {max(paints):.0f}), {seen}"


def _row(name: str, costs: list[Cost], file: Path) -> str:
    seconds = [cost.seconds for cost in costs]
    spread = f"{min(seconds):.2f} – {max(seconds):.2f}"
    cpu = statistics.median(cost.cpu_seconds for cost in costs)
    written = f"{file.stat().st_size / 1000:.0f}" if file.is_file() else "-"
    memory = max(cost.memory_mib for cost in costs)
    return f"{name:<22} {statistics.median(seconds):>9.2f} {spread:>15} {cpu:>6.2f} {memory:>9.0f} {written:>9}"


if __name__ == "__main__":
    main()
