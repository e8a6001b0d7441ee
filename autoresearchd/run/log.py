"""What a process says: kept with a cap, every line looked at once as it comes. All of it is untrusted text."""

from __future__ import annotations

import re
from collections import deque

from autoresearchd.scrub import scrub

HEAD_BYTES, TAIL_BYTES = 64 * 1024, 192 * 1024
LINE_BYTES = 4096
"""Lines are looked at up to here."""
TAIL_CHARACTERS = 4096
WHY_CHARACTERS = 300
SUMMARY_NUMBERS = 64
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)", re.DOTALL)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
_PROCESS = re.compile(r"\b(pid|process)([ =:]+)\d+", re.IGNORECASE)
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Failure)(?::.*)?")
_NAMED_NUMBER = re.compile(
    r"([A-Za-z][\w .%/-]{0,63}?)\s*:\s+([-+]?[\d.][\d.,_eE+-]*|[-+]?(?:nan|inf))\s*%?", re.IGNORECASE
)


class Log:
    """Head and tail of the output, the number that `pattern` found last, and the last summary block."""

    def __init__(self, pattern: str | None = None, *, private: str = "") -> None:
        """`private` is a path that readers need not see; it is left out of sentences."""
        self._pattern = re.compile(pattern) if pattern else None
        self._private = private
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._line = b""
        self._block: dict[str, float] | None = None
        self.number: float | None = None
        """What the pattern's group said last; NaN and infinity are numbers here."""
        self.summary: dict[str, float] = {}
        """`name: number` lines after a line `---`, as karpathy/autoresearch prints them at its end."""

    def feed(self, chunk: bytes) -> None:
        """Take what was read."""
        room = HEAD_BYTES - len(self._head)
        self._head += chunk[:room]
        self._keep(chunk[room:])
        *lines, rest = re.split(rb"[\r\n]", chunk)
        if not lines:
            self._line = (self._line + rest)[:LINE_BYTES]
            return
        self._look((self._line + lines[0])[:LINE_BYTES])
        for line in lines[1:]:
            if line:
                self._look(line[:LINE_BYTES])
        self._line = rest[:LINE_BYTES]

    def end(self) -> None:
        """There is nothing more: what has no line end is a line as well."""
        line, self._line = self._line, b""
        self._look(line)

    def _keep(self, chunk: bytes) -> None:
        self._tail.append(chunk[-TAIL_BYTES:])
        self._tail_size += len(self._tail[-1])
        while self._tail_size - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_size -= len(self._tail.popleft())

    def _look(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if self._pattern is not None and (found := self._pattern.search(text)) and found[1] is not None:
            number = _number(found[1])
            self.number = number if number is not None else self.number
        if text.strip() == "---":
            self._block = {}
        elif self._block is not None and text.strip():
            self._look_into_block(text, self._block)

    def _look_into_block(self, text: str, block: dict[str, float]) -> None:
        found = _NAMED_NUMBER.fullmatch(text.strip())
        number = _number(found[2]) if found else None
        if found is None or number is None or len(block) >= SUMMARY_NUMBERS:
            self._block = None
            return
        block[found[1]] = number
        self.summary = block

    @property
    def silent(self) -> bool:
        """Nothing was said so far."""
        return not self._head

    def text(self) -> str:
        """All that was kept, fit to be shown."""
        tail = b"".join(self._tail)
        cut = self._tail_size > TAIL_BYTES or len(tail) > TAIL_BYTES
        middle = b"\n...\n" if cut else b""
        return plain((bytes(self._head) + middle + tail[-TAIL_BYTES:]).decode("utf-8", "replace"))

    def tail(self) -> str:
        """The last of it, fit to be shown and filed."""
        kept = (bytes(self._head[-TAIL_BYTES:]) + b"".join(self._tail))[-4 * TAIL_CHARACTERS :]
        return plain(kept.decode("utf-8", "replace"))[-TAIL_CHARACTERS:].strip("\n")

    def last_error(self) -> str:
        """The last line of the last traceback, else the last line at all; equal for equal causes."""
        lines = [line.rstrip() for line in self.text().splitlines()[-400:] if line.strip()]
        raised = next((line for line in reversed(lines) if _EXCEPTION.fullmatch(line)), None)
        line = raised or (lines[-1] if lines else "")
        return one_line(line.removeprefix("setpriv: "), private=self._private)


def plain(text: str) -> str:
    """Without terminal escapes, control and invisible characters, and keys; a carriage return ends a line."""
    text = scrub(_ESCAPE.sub("", text)).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def one_line(text: str, *, private: str = "") -> str:
    """One sentence on one line, without what differs between two runs of the same code: addresses and process ids."""
    if private:
        text = text.replace(private, "")
    text = " ".join(plain(text).split())
    text = _PROCESS.sub(r"\1\2N", _ADDRESS.sub("0x…", text))
    return text if len(text) <= WHY_CHARACTERS else text[: WHY_CHARACTERS - 1] + "…"


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return None
