"""What a key does: keys in, the next state and what is to be done out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoresearchd.report.top.glance import Glance
from autoresearchd.report.words import number

UP, DOWN, ENTER, ESCAPE = "up", "down", "enter", "escape"
"""The keys that are no letters."""
HELP = "p pause/resume   ↑↓ choose   o open   s skip   q quit"
PAGE_HELP = "↑↓ scroll   q back"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the reader is."""

    chosen: int | None = None
    """The experiment that keys are about."""
    asked: int | None = None
    """`s` was pressed for it once: the second time counts."""
    opened: int | None = None
    """The experiment that fills the screen."""
    scrolled: int = 0
    """Lines of it above the screen."""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the daemon, or go on."""


@dataclass(frozen=True, slots=True)
class Skip:
    """End an open experiment."""

    number: int


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave."""


Wish = Pause | Skip | Quit | None


def press(state: State, key: str, seen: Glance) -> tuple[State, Wish]:
    """The state after a key, and what it asks for."""
    if state.opened is not None:
        return _in_page(state, key), None
    quiet = replace(state, said="", asked=None)
    match key:
        case "q" | "escape":
            return quiet, Quit()
        case "p":
            return quiet, Pause()
        case "up" | "k":
            return _moved(quiet, seen, -1), None
        case "down" | "j":
            return _moved(quiet, seen, +1), None
        case "o" | "enter" if (at := _chosen(state, seen)) is not None:
            return replace(quiet, opened=at, chosen=at, scrolled=0), None
        case "s":
            return _skip(state, quiet, seen)
        case _:
            return quiet, None


def _in_page(state: State, key: str) -> State:
    match key:
        case "q" | "escape" | "o":
            return replace(state, opened=None)
        case "up" | "k":
            return replace(state, scrolled=max(0, state.scrolled - 1))
        case "down" | "j" | "enter":
            return replace(state, scrolled=state.scrolled + 1)
        case _:
            return state


def _skip(state: State, quiet: State, seen: Glance) -> tuple[State, Wish]:
    at = _chosen(state, seen)
    if at is None or at not in {experiment.number for experiment in seen.opened}:
        return replace(quiet, said="choose an open experiment to skip"), None
    if state.asked != at:
        return replace(quiet, asked=at, chosen=at, said=f"press s again to skip {number(at)}"), None
    return quiet, Skip(at)


def _moved(state: State, seen: Glance, by: int) -> State:
    numbers = seen.numbers
    if not numbers:
        return state
    at = numbers.index(state.chosen) + by if state.chosen in numbers else 0
    return replace(state, chosen=numbers[min(len(numbers) - 1, max(0, at))])


def _chosen(state: State, seen: Glance) -> int | None:
    """What was chosen, else the first that there is."""
    if state.chosen in seen.numbers:
        return state.chosen
    return next(iter(seen.numbers), None)
