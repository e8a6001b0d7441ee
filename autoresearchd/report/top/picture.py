"""One picture of the lab for a whole terminal. Pure: what was read in, what is drawn out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from autoresearchd.experiment import Concluded, CurvePoint, Direction
from autoresearchd.report import live
from autoresearchd.report.curve import against
from autoresearchd.report.screen import aligned, words
from autoresearchd.report.status import NOT_YET, model
from autoresearchd.report.top.glance import Glance
from autoresearchd.report.top.state import HELP, PAGE_HELP, State
from autoresearchd.report.words import counted, number
from autoresearchd.status import DeviceStatus, Status

QUEUED = 5
"""Rows of the queue at most; the verdicts get the rest of the screen."""
AROUND_VERDICTS = 4
"""Lines of their title, a blank above it included, and of the foot, likewise."""
CHOSEN = "underline"
LABEL = 8


def picture(seen: Glance, state: State, *, width: int, height: int) -> RenderableType:
    """The lab in at most `height` lines."""
    if seen.status is None:
        return Group(Text(NOT_YET, style="bold"), _foot(state))
    lines = [*_head(seen, seen.status), *_devices(seen, seen.status, state, width), *_queue(seen, state)]
    room = height - sum(_height(line) for line in lines) - AROUND_VERDICTS
    shown = _around(seen.recent, state.chosen, max(1, room))
    if shown:
        table = live.conclusions(shown, Direction(seen.status.direction))
        for index, row in enumerate(shown):
            if row.experiment.number == state.chosen:
                table.rows[index].style = CHOSEN
        lines += [_title("verdicts"), table]
    return Group(*lines, Text(""), _foot(state))


def page(lines: Sequence[Text], state: State, *, height: int) -> RenderableType:
    """One experiment on the whole screen, from where it was scrolled to."""
    first = min(state.scrolled, max(0, len(lines) - height + 2))
    return Group(*lines[first : first + height - 2], Text(""), Text(PAGE_HELP, style="dim"))


def _head(seen: Glance, status: Status) -> Iterator[Text]:
    if seen.is_running:
        yield live.heading(status, None)
    else:
        gone = Text.assemble(words(status.program, "bold"), "  ", ("no daemon is running", "bold yellow"))
        yield gone.append(f"; the last one was {status.state}", style="dim")
    yield live.best(status)
    if status.llm is not None:
        said = model(status.llm, status.now)
        yield Text.assemble(("model ", "dim"), said, no_wrap=True, overflow="ellipsis")


def _devices(seen: Glance, status: Status, state: State, width: int) -> Iterator[RenderableType]:
    if not seen.is_running:
        return
    yield _title("devices")
    table = live.devices(status, 24 if width >= live.WIDE else 10)
    for index, device in enumerate(status.devices):
        if device.experiment is not None and device.experiment == state.chosen:
            table.rows[index].style = CHOSEN
    yield table
    for device in status.devices:
        yield from _curves(device, seen.curves.get(device.device, ()), seen.best_curve, width)


def _curves(
    device: DeviceStatus, own: Sequence[CurvePoint], best: Sequence[CurvePoint], width: int
) -> Iterator[RenderableType]:
    """The train loss of a run above that of best, at equal training time and on one scale."""
    if not own or not best:
        return
    upper, lower = against(own, best, width=max(10, width - LABEL - 30))
    newest = own[-1]
    then = next((point.train_loss for point in best if point.seconds >= newest.seconds), None)
    line = Text.assemble((f"{number(device.experiment):<{LABEL}}", "cyan"), (upper, "cyan"), no_wrap=True)
    if then is not None and math.isfinite(newest.train_loss):
        line.append(f"  {newest.train_loss - then:+.4f} against best", style="bold")
    yield line
    yield Text.assemble((f"{'best':<{LABEL}}", "dim"), (lower, "green"), no_wrap=True)


def _queue(seen: Glance, state: State) -> Iterator[RenderableType]:
    status = seen.status
    waiting = [*seen.queue[:QUEUED]]
    said = [f"{counted(len(seen.queue), 'experiment')} open", f"{counted(len(seen.ideas), 'idea')} in the inbox"]
    if status and seen.is_running:
        said += [f"{status.ready} proposed", f"{status.thinking} being thought of"]
    yield _title("queue", "  " + ", ".join(said))
    if waiting or seen.ideas:
        rows: list[Sequence[RenderableType]] = [
            (Text(number(e), style=CHOSEN if e.number == state.chosen else ""), words(e.proposer), words(e.title))
            for e in waiting
        ]
        rows += [(Text("inbox", style="dim"), "", words(title)) for title in seen.ideas[: QUEUED - len(waiting)]]
        yield aligned(rows)


def _around(recent: Sequence[Concluded], chosen: int | None, room: int) -> Sequence[Concluded]:
    """As many as there is room for, the chosen one among them."""
    at = next((index for index, row in enumerate(recent) if row.experiment.number == chosen), 0)
    first = max(0, at - room + 1)
    return recent[first : first + room]


def _title(text: str, more: str = "") -> Text:
    return Text.assemble("\n", (text, "bold"), (more, "dim"), no_wrap=True, overflow="ellipsis")


def _foot(state: State) -> Text:
    return Text.assemble((state.said + "   ", "bold yellow") if state.said else "", (HELP, "dim"))


def _height(line: RenderableType) -> int:
    rows = getattr(line, "row_count", None)
    return int(rows) if rows is not None else str(line).count("\n") + 1
