"""Reads, draws, waits for a key, again and again, until the reader leaves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autoresearchd.errors import UserError
from autoresearchd.ledger import Ledger
from autoresearchd.report import show
from autoresearchd.report.screen import words
from autoresearchd.report.top.glance import glance
from autoresearchd.report.top.keys import Keys
from autoresearchd.report.top.picture import page, picture
from autoresearchd.report.top.state import Pause, Quit, Skip, State, Wish, press
from autoresearchd.report.words import skip_asked
from autoresearchd.yardstick import Metric

REFRESH_SECONDS = 1.0


def watch(ledger: Ledger, metric: Metric) -> None:
    """Show the lab until `q`.

    Raises: UserError where there is no terminal.
    """
    console = Console(highlight=False)
    if not (sys.stdin.isatty() and console.is_terminal) or console.is_dumb_terminal:
        raise UserError("top needs a terminal; `autoresearchd status` and `log` are for pipes and files")
    state, wish = State(), None
    with Keys(sys.stdin.fileno()) as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while not isinstance(wish, Quit):
            seen = glance(ledger)
            if state.opened is None:
                live.update(picture(seen, state, width=console.width, height=console.height), refresh=True)
            else:
                lines = _lines(ledger, state.opened, metric, console.width)
                state = replace(state, scrolled=min(state.scrolled, max(0, len(lines) - console.height + 2)))
                live.update(page(lines, state, height=console.height), refresh=True)
            if key := keys.wait(REFRESH_SECONDS):
                state, wish = press(state, key, seen)
                state = _carried_out(ledger, wish, state)


def _carried_out(ledger: Ledger, wish: Wish, state: State) -> State:
    match wish:
        case None | Quit():
            return state
        case Pause():
            switch = ledger.pause_switch
            if switch.exists():
                switch.unlink(missing_ok=True)
                return replace(state, said="resumed")
            switch.touch()
            return replace(state, said="paused: what trains now goes on")
        case Skip(number=number):
            try:
                ledger.skip(number)
            except UserError as error:  # it got its verdict meanwhile
                return replace(state, said=str(error))
            return replace(state, said=skip_asked(number))
        case _:
            assert_never(wish)


def _lines(ledger: Ledger, number: int, metric: Metric, width: int) -> Sequence[Text]:
    """`show` of an experiment as lines of this width."""
    found = ledger.find(number)
    if found is None:
        return [words(show.absent(ledger, number))]
    drawn = Console(highlight=False, width=width, force_terminal=True)
    with drawn.capture() as captured:
        show.page(ledger, found, metric, drawn)
    return [Text.from_ansi(line) for line in captured.get().splitlines()]
