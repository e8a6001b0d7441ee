"""What a running daemon shows: a live view on a terminal, structured log lines elsewhere. Only shows, never acts."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoresearchd.experiment import Concluded, Direction
from autoresearchd.program import Budget, Program
from autoresearchd.report import eta
from autoresearchd.report.lines import default_logging, logging_to
from autoresearchd.report.screen import STYLES, aligned, verdict_text, words
from autoresearchd.report.status import because
from autoresearchd.report.words import counted, duration, figure, gain_figure, gain_of, number
from autoresearchd.status import DeviceStatus, Status

LOG_NAME = "daemon.log"
REDRAW_SECONDS = 0.2
"""A target that trains in milliseconds must not spend them on drawing."""
REMEMBERED = 50
WIDE = 110
"""Columns of a terminal from which on there is room for a long progress bar."""
STATE_STYLES = {"training": "green", "held": "bold yellow", "paused": "yellow", "ending": "yellow", "stopped": "yellow"}


class View(Protocol):
    """Who is told how it goes; `recent` are the conclusions since the last call."""

    def update(self, status: Status, recent: Sequence[Concluded]) -> None: ...


class Silent:
    """No view: the log lines say everything."""

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        del status, recent


class Screen:
    """The live view; it draws when it is told something, from no thread of its own."""

    def __init__(self, live: Live, budget: Budget) -> None:
        self._live, self._budget = live, budget
        self._recent: deque[Concluded] = deque(maxlen=REMEMBERED)
        self._pace: eta.Pace | None = None
        self._drawn = float("-inf")
        self._status: Status | None = None

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        self._recent.extend(recent)
        self._status = status
        if self._pace is None and status.session_opened:
            # The baseline's runs come first and say nothing about the speed of what follows.
            self._pace = eta.Pace(at=status.now, done=eta.done(status))
        if status.now - self._drawn >= REDRAW_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Show the newest state now."""
        if self._status is None:
            return
        self._drawn = self._status.now
        left = eta.seconds_left(self._status, budget=self._budget, since=self._pace)
        room = self._live.console.height - len(self._status.devices) - 6
        shown = list(self._recent)[-max(3, min(10, room)) :]
        width = self._live.console.width
        self._live.update(frame(self._status, shown, seconds_left=left, width=width), refresh=True)


@contextmanager
def view(path: Path, program: Program) -> Iterator[View]:
    """A view for the daemon of the lab at `path`, and the logging that goes with it while it is on.

    On a terminal: live, with the log lines in `autoresearchd/daemon.log` of the lab. Elsewhere, or without a lab: log
    lines on the standard error.
    """
    console = Console(stderr=True, highlight=False)
    default_logging()
    if not sys.stderr.isatty() or console.is_dumb_terminal or not path.is_dir():
        yield Silent()
        return
    with ExitStack() as stack:
        folder = path / "autoresearchd"
        folder.mkdir(exist_ok=True)
        stream = stack.enter_context((folder / LOG_NAME).open("a", encoding="utf-8", buffering=1))
        stack.callback(default_logging)
        logging_to(stream, readable=False)
        screen = Screen(stack.enter_context(_live(console)), program.budget)
        stack.callback(screen.draw)
        yield screen


@contextmanager
def _live(console: Console) -> Iterator[Live]:
    with Live(Text("starting …", style="dim"), console=console, auto_refresh=False) as live:
        yield live


def frame(
    status: Status, recent: Sequence[Concluded], *, seconds_left: float | None = None, width: int = WIDE
) -> RenderableType:
    """One picture of the lab: what it is, what is best, what each device does, what came out last."""
    bar_width = 24 if width >= WIDE else 10
    parts: list[RenderableType] = [heading(status, seconds_left), best(status), devices(status, bar_width)]
    if recent:
        parts += [Text(""), conclusions(recent, Direction(status.direction))]
    return Group(*parts)


def heading(status: Status, seconds_left: float | None) -> Text:
    """What it is and what it does, in one line."""
    line = Text.assemble(
        words(status.program, "bold"), "  ", (status.state, STATE_STYLES.get(status.state, "cyan")), no_wrap=True
    )
    line.append(because(status.why, status.until, status.now))
    line.append(f"  {duration(status.now - status.session_started)}", style="dim")
    if seconds_left is not None:
        line.append(f"  ETA {duration(seconds_left)}", style="bold")
    line.overflow = "ellipsis"
    return line


def best(status: Status) -> Text:
    """What was reached, in one line."""
    line = Text("best ", no_wrap=True, overflow="ellipsis")
    line.append(f"{number(status.best_number)} {status.metric} ", style="cyan")
    line.append(figure(status.best), style="bold green")
    if status.gain is not None:
        line.append(f" ({gain_figure(status.gain)} on the baseline)", style="green" if status.gain > 0 else "")
    line.append(f"  kept {status.kept} of {status.tried} tried", style="bold")
    if status.failed:
        line.append(f"  {status.failed} failed", style="red")
    if status.busy_share is not None:
        line.append(f"  devices busy {status.busy_share:.0%}", style="dim")
    if status.thinking:
        line.append(f"  {counted(status.thinking, 'idea')} being thought of", style="dim")
    return line


def devices(status: Status, bar_width: int) -> Table:
    """A row a device."""
    return aligned([_device(device, status.now, bar_width) for device in status.devices])


def _device(device: DeviceStatus, now: float, bar_width: int) -> tuple[RenderableType, ...]:
    name = words(device.device, "bold")
    if device.experiment is None:
        return name, "", Text(device.phase, style="dim"), "", "", words(device.model, "dim")
    bar: RenderableType = Text(device.phase, style="dim")
    percent = "" if device.started is None else duration(now - device.started)
    if device.fraction is not None and device.phase == "training":
        bar = ProgressBar(total=1.0, completed=min(1.0, device.fraction), width=bar_width)
        percent = f"{min(1.0, device.fraction):4.0%}"
    loss = f"step {device.step}" if device.step else ""
    if device.train_loss is not None:
        loss += f"  loss {device.train_loss:.4f}"
    run = Text.assemble((number(device.experiment), "cyan"), (f" seed {device.seed}", "dim"))
    return name, run, bar, Text(percent), Text(loss), words(device.title)


def conclusions(recent: Sequence[Concluded], direction: Direction) -> Table:
    """A row a verdict."""
    return aligned([_conclusion(row, direction) for row in recent], right={2, 3})


def _conclusion(row: Concluded, direction: Direction) -> tuple[RenderableType, ...]:
    verdict = row.verdict
    return (
        number(row.experiment),
        verdict_text(row),
        figure(verdict.metric),
        gain_figure(gain_of(verdict, direction), verdict.std_error),
        words(row.experiment.title, STYLES[verdict.outcome]),
    )
