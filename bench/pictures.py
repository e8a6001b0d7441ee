"""The pictures in docs/: `python -m bench.pictures`. Needs chromium (apt-get install chromium); takes some minutes.

A real daemon researches a toy of ten constants whose training takes seconds of sleep and no processor. While it trains,
`autoresearchd top` is run in a real terminal and `serve` in a real browser; `report` when it is over. Nothing is drawn.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parent.parent / "docs"
WIDTH, HEIGHT = 118, 36
PATIENCE_SECONDS = 1800.0
HOME = b"\x1b[H"
KEPT_BYTES, SLOTS = 100_000, 2
PROGRAM = """
[program]
name = "a toy of ten constants"
goal = "Lower the validation bits per byte of a toy within sixty steps."
editable = ["train.py"]
[train]
command = "python train.py"
cpu_steps = 60
[metric]
name = "val_bpb"
pattern = '^val_bpb:\\s+(\\S+)'
[accept]
max_repeats = 6
[devices]
use = "cpu"
cpu_slots = 2
cpu_threads = 1
"""
TRAIN = '''"""Sleeps like a training. The nearer its constants are to what nobody tells, the better it is."""
import json
import os
import random
import time

MATRIX_LR = 0.04
EMBED_LR = 0.6
WEIGHT_DECAY = 0.2
WARMUP_RATIO = 0.0
WARMDOWN_RATIO = 0.5
HEAD_DIM = 64
DEPTH = 8
BATCH = 32
LOGIT_CAP = 15.0
BETA2 = 0.95


def far(value, best, scale):
    return min(1.0, abs(value - best) / scale)


def distance():
    rates = far(MATRIX_LR, 0.08, 0.08) + far(EMBED_LR, 0.3, 0.6) + far(WEIGHT_DECAY, 0.1, 0.3)
    schedule = far(WARMUP_RATIO, 0.05, 0.2) + far(WARMDOWN_RATIO, 0.7, 0.6)
    shape = far(HEAD_DIM, 128, 192) + far(DEPTH, 10, 8) + far(BATCH, 16, 48) + far(LOGIT_CAP, 20.0, 20.0)
    return rates + schedule + shape + far(BETA2, 0.98, 0.2)


def main():
    random.seed(int(os.environ["AUTORESEARCH_SEED"]))
    final = 2.1 + 0.05 * distance()
    with open(os.environ["AUTORESEARCH_OUT"] + "/metrics.jsonl", "a") as curve:
        for step in range(1, 61):
            time.sleep(0.1)
            loss = final + 5.0 * 0.92**step + random.gauss(0, 0.004)
            curve.write(json.dumps({"step": step, "seconds": 0.1 * step, "train_loss": loss}) + "\\n")
            curve.flush()
            if step % 10 == 0:
                print(f"step {step:05d} ({step / 0.6:.1f}%) | loss: {loss:.6f} | lrm: 1.00", flush=True)
    print(f"val_bpb: {0.94 + 0.012 * distance() + random.gauss(0, 0.0005):.6f}")


main()
'''


def main() -> None:
    """Research, look, and keep what was seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("--experiments", type=int, default=60, help="Verdicts before the pictures are taken.")
    parser.add_argument("--into", type=Path, default=DOCS)
    parser.add_argument("--folder", type=Path, help="Where the lab is to stay; thrown away by default.")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pictures-") as place, _browser() as browser:
        folder = said.folder or Path(place)
        _project(folder)
        with _daemon(folder):
            _wait(folder, lambda status: status["tried"] >= said.experiments)
            _top(folder, browser, said.into / "top.png")
            _page(folder, browser, said.into)
        _report(folder, browser, said.into)


def _project(folder: Path) -> None:
    if (folder / "experiments.git").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    _run(folder, "git", "init", "-q")
    _run(folder, "git", "add", "train.py")
    _run(folder, "git", "-c", "user.name=P", "-c", "user.email=p@localhost", "commit", "-q", "-m", "Train a toy")
    (folder / "program.toml").write_text(PROGRAM)
    _run(folder, *_ours("init"))


@contextmanager
def _daemon(folder: Path) -> Iterator[None]:
    (folder / "experiments.git/autoresearchd/status.json").unlink(missing_ok=True)  # what is read is of this daemon
    with (folder / "daemon.jsonl").open("ab") as log:
        daemon = subprocess.Popen(_ours("run"), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def _wait(folder: Path, reached: Callable[[dict[str, Any]], bool]) -> None:
    """Until the daemon's status is like that."""
    path, deadline = folder / "experiments.git/autoresearchd/status.json", time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and reached(json.loads(path.read_text()))):
        if time.monotonic() > deadline:
            sys.exit(f"not reached: {path.read_text()}")
        time.sleep(0.2)


def _half_way(status: dict[str, Any]) -> bool:
    """Every device trains, and has done a good part of it."""
    return all((device["fraction"] or 0.0) > 0.25 for device in status["devices"])


def _top(folder: Path, browser: Any, target: Path) -> None:
    """What `top` has on a real terminal, a frame of it, as a picture."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(_ours("top"), cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    said, frame, deadline = b"", b"", time.monotonic() + PATIENCE_SECONDS
    while frame.count(b"loss") < SLOTS and time.monotonic() < deadline:  # every device trains, and says how it goes
        said = (said + _read(ours))[-KEPT_BYTES:]
        frame = said.split(HOME)[-2] if said.count(HOME) > 1 else b""
    os.write(ours, b"q")
    while process.poll() is None:
        _read(ours)
    os.close(ours)
    os.close(theirs)
    _shoot(browser, _drawn(frame.decode("utf-8", "replace")), target)


def _read(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], 1.0)
    return os.read(terminal, 65536) if ready else b""


def _drawn(frame: str) -> str:
    """One frame as it came, with its colours, as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(frame.replace("\r", "").rstrip("\n")), soft_wrap=True)
    return console.export_svg(title="autoresearchd top", theme=MONOKAI)


def _shoot(browser: Any, svg: str, target: Path) -> None:
    tab = browser.new_page(viewport={"width": 1100, "height": 1000})
    tab.set_content(f"<style>body{{margin:0}}svg{{display:block;width:1100px}}</style>{svg}")
    tab.locator("svg").screenshot(path=target)
    tab.close()


def _page(folder: Path, browser: Any, into: Path) -> None:
    with subprocess.Popen(
        _ours("serve", "--port", "0", "--control"), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        for scheme in ("light", "dark"):
            for name, width in (("desktop", 1280), ("phone", 390)):
                _wait(folder, _half_way)
                tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                _opened(tab, url)
                tab.screenshot(path=into / f"page-{name}-{scheme}.png", full_page=name == "desktop")
                tab.close()
        server.terminate()


def _opened(tab: Any, url: str) -> None:
    """The page with the newest keep opened, two curves over best's, and what one device says."""
    tab.goto(url)
    tab.locator("#rows tr").first.wait_for()
    tab.locator("#verdict").select_option("keep")
    tab.locator("#rows tr", has_text="keep").first.locator("a").click()
    tab.locator(".diff").wait_for()
    tab.locator("#verdict").select_option("")
    tab.locator("#rows tr", has_text="discard").first.wait_for()
    for box in tab.locator("#rows tr", has_text="discard").locator("input").all()[:2]:
        box.check()
    tab.locator("#devices summary").first.click()
    tab.locator("#devices .log", has_text="step").first.wait_for()
    tab.locator("#curves canvas").wait_for()
    tab.evaluate("scrollTo(0, 0)")


def _report(folder: Path, browser: Any, into: Path) -> None:
    _run(folder, *_ours("report", "-o", "report.html"))
    for scheme in ("light", "dark"):
        for name, width in (("desktop", 1200), ("phone", 390)):
            tab = browser.new_page(viewport={"width": width, "height": 1500}, color_scheme=scheme)
            tab.goto((folder / "report.html").as_uri())
            tab.screenshot(path=into / f"report-{name}-{scheme}.png")
            tab.close()


@contextmanager
def _browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


def _ours(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "autoresearchd", *arguments]


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
