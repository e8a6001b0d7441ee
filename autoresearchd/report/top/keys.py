"""Single keys from a terminal, which is given back as it was."""

from __future__ import annotations

import os
import select
import termios
import tty
from types import TracebackType

from autoresearchd.report.top.state import DOWN, ENTER, ESCAPE, UP

NAMES = {"\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN, "\r": ENTER, "\n": ENTER, "\x1b": ESCAPE}


class Keys:
    """The keyboard while it is entered; Ctrl-C still interrupts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

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
        readable, _, _ = select.select([self._descriptor], [], [], seconds)
        if not readable:
            return ""
        read = os.read(self._descriptor, 32)
        if not read:
            raise EOFError
        text = read.decode("utf-8", "replace")
        return NAMES.get(text) or text[0]
