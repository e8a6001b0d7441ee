"""The tools that a model has, as it is told of them: read the code and the history, edit a draft, check it, submit it.

Descriptions and bounds only; `desk.py` is what answers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from autoresearchd.propose._strangers import MOST_BYTES

MOST_ANSWER = 24_000
"""Characters of one answer; a model that wants more asks again."""
MOST_ROWS = 40
Text = Annotated[str, Field(max_length=MOST_BYTES)]


class ToolError(Exception):
    """The model did something that cannot be done; the sentence tells it what."""


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReadFile(Input):
    """Read a file of your draft, with line numbers. Only editable files can be read."""

    path: str
    first_line: int = 1
    last_line: int | None = None


class SearchCode(Input):
    """Find a literal text in the files of your draft."""

    text: Annotated[str, Field(min_length=1, max_length=200)]


class ListExperiments(Input):
    """List past experiments, newest first: one line each. Filters are combined."""

    category: str | None = None
    verdict: str | None = None
    symbol: Annotated[str | None, Field(description="only experiments whose diff contains this text")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 20


class ShowExperiment(Input):
    """Show one experiment: hypothesis, verdict, metrics, learning curve, diff, and the log's end if it failed."""

    number: int


class EditFile(Input):
    """Replace a text that occurs exactly once in a file of your draft. An empty old_text makes a new file."""

    path: str
    old_text: Text
    new_text: Text


class Check(Input):
    """Check that your draft parses, and passes the program's own cheap check."""


class Submit(Input):
    """Submit your draft as the next experiment. This ends the conversation."""

    title: Annotated[str, Field(min_length=4, max_length=120, description="imperative, at most 60 characters")]
    hypothesis: Annotated[str, Field(min_length=10, max_length=4000, description="why it should help")]
    category: Annotated[str, Field(min_length=2, max_length=40, description="one or two words, as in the digest")]
    expected_effect: Annotated[str, Field(min_length=1, max_length=400, description="on the metric, with a number")]


class Decline(Input):
    """Only where your task is a wish: say why it cannot be made an experiment. This ends the conversation."""

    reason: Annotated[str, Field(min_length=10, max_length=400, description="one sentence for who wished")]


TOOLS: Mapping[str, type[Input]] = {
    "read_file": ReadFile,
    "search_code": SearchCode,
    "list_experiments": ListExperiments,
    "show_experiment": ShowExperiment,
    "edit_file": EditFile,
    "check": Check,
    "submit": Submit,
    "decline": Decline,
}


def schemas() -> list[dict[str, Any]]:
    """The tools as the API wants them; always the same text, for it is the head of every cached prompt."""
    return [
        {
            "name": name,
            "description": kind.__doc__,
            "input_schema": {key: value for key, value in kind.model_json_schema().items() if key != "description"},
        }
        for name, kind in TOOLS.items()
    ]
