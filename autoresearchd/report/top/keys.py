"""Single keys from a terminal, which is given back as it was."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from types import TracebackType

from autoresearchd.report.top.state import DOWN, ENTER, ESCAPE, UP

NAMES = {"\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN, "\r": ENTER, "\n": ENTER, "\x1b": ESCAPE}
_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
"""What one key sends: an escape sequence, or a character."""


class Keys:
    """The keyboard while it is entered; Ctrl-C still interrupts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._typed: list[str] = []

    def __enter__(self) -> Keys:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """The next key, by name where it is no letter; empty after so long without one.

        Raises: EOFError when the terminal is gone.
        """
        if self._typed:  # faster than the screen is drawn
            return self._next()
        readable, _, _ = select.select([self._descriptor], [], [], seconds)
        if not readable:
            return ""
        read = os.read(self._descriptor, 32)
        if not read:
            raise EOFError
        self._typed += _KEY.findall(read.decode("utf-8", "replace"))
        return self._next()

    def _next(self) -> str:
        key = self._typed.pop(0)
        return NAMES.get(key, key)
