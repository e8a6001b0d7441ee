"""Untrusted words made fit for a prompt: capped, no control characters, fenced so that they cannot break out. Pure."""

from __future__ import annotations

import re

from autoresearchd.scrub import scrub

_INVISIBLE = re.compile(
    r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_FENCE = re.compile(r"</?\s*untrusted", re.IGNORECASE)
_QUOTING = re.compile(r'[<>"]')
_EXTRA_TAGS = re.compile(r"[\U000e0000-\U000e007f]")


def clean(text: str, *, most: int) -> str:
    """Printable text of at most `most` characters, without keys; the middle is left out of what is longer."""
    text = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = scrub(_EXTRA_TAGS.sub("", _INVISIBLE.sub("", text)))
    if len(text) <= most:
        return text
    note = f"\n[… {len(text) - most} characters left out …]\n"
    head = max(0, (most - len(note)) // 2)
    tail = max(0, most - len(note) - head)
    return text[:head] + note + (text[-tail:] if tail else "")


def line(text: str, *, most: int = 120) -> str:
    """One line of it."""
    return " ".join(clean(text, most=4 * most).split())[:most]


def quoted(text: str, *, most: int = 1_500) -> str:
    """It as a mail quotes: each line after a mark, so that nobody takes it for the words around it."""
    return "\n".join(f"> {each}".rstrip() for each in clean(text, most=most).strip().split("\n"))


def fence(text: str, what: str, *, most: int) -> str:
    """Untrusted text between marks that it cannot contain; the rules of the prompt say what they mean."""
    body = _FENCE.sub("<un-trusted", clean(text, most=most))
    return f'<untrusted what="{_QUOTING.sub("_", line(what))}">\n{body}\n</untrusted>'
