"""The report as HTML and as Markdown: templates for each, with the same words for figures."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from autoresearchd.report import words
from autoresearchd.report.morning import chart
from autoresearchd.report.morning.document import Document

FORMAT = 1
"""Of the JSON; raised when a field changes its meaning."""
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~<>&])")


def html(document: Document) -> str:
    """One page that needs no other file and no network, and runs no script."""
    facts = document.facts
    stairs, intervals = chart.staircase(facts), chart.intervals((*facts.carried, *facts.line))
    return _template("report.html.j2").render(**_content(document), staircase=stairs, intervals=intervals)


def markdown(document: Document) -> str:
    """The same for a pull request, a wiki or a mail."""
    text = _template("report.md.j2").render(**_content(document))
    changes = _template("changes.md.j2").render(document=document)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" + changes


def as_json(document: Document) -> dict[str, Any]:
    """The same as plain data; figures that are none are null."""
    facts = asdict(document.facts)
    status = document.facts.status
    facts["status"] = status.to_json() if status else None
    found = {"format": FORMAT, **facts, **asdict(replace(document, facts=None))}  # type: ignore[arg-type]
    del found["facts"]
    plain_data: dict[str, Any] = words.finite(found)
    return plain_data


def _content(document: Document) -> dict[str, object]:
    facts, idle = document.facts, document.facts.devices.idle_seconds
    return {
        "document": document,
        "facts": facts,
        "idle": [(words.idle(why), seconds) for why, seconds in sorted(idle.items(), key=lambda each: -each[1])],
    }


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (words.plain, words.figure, words.number, words.duration, words.counted, words.minute, words.better)
    environment.filters |= {each.__name__: each for each in (*shown, words.evidence)}
    environment.filters |= {"gain": words.gain_figure, "moment": _moment, "md": _harmless_markdown, "fence": _fence}
    return environment.get_template(name)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _harmless_markdown(text: str) -> str:
    """Untrusted words as one line in which no markup works, that of HTML included."""
    return _MARKUP.sub(r"\\\1", words.plain(text))


def _fence(text: str) -> str:
    """A fence that no line of the text can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
