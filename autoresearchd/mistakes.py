"""What pydantic found wrong in program.toml, as one sentence of ours: the key, the value, what is allowed. Pure."""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from autoresearchd.errors import ConfigError

_UNION_ARMS = {"bool", "int", "float", "str", "tuple"}


def config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first mistake that a person should mend; `model` is what the whole file was checked against."""
    # A mistyped key comes first: it is the cause of the key that is then missing.
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    where = first["loc"]
    key = _dotted(where) or "the file"
    if first["type"] == "extra_forbidden":
        return ConfigError(key, first["input"], _nearest(where, model))
    if first["type"] == "missing":
        return ConfigError(key, None, "it is required")
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(key, first["input"] if where else "…", allowed)


def _dotted(where: tuple[int | str, ...]) -> str:
    """`propose.patterns.custom[0].find`, without the names that pydantic gives to the arms of a union."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_\-./:]+", part) and "[" not in part and part not in _UNION_ARMS:
            text += f".{part}" if text else part
    return text


def _nearest(where: tuple[int | str, ...], model: Any) -> str:
    for part in where[:-1]:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = _section_of(model.model_fields[part].annotation) or model
    known = sorted(model.model_fields)
    close = difflib.get_close_matches(str(where[-1]), known, n=1)
    return f"no such key; did you mean `{close[0]}`?" if close else f"no such key; known here are {', '.join(known)}"


def _section_of(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _section_of(inner)) is not None:
            return found
    return None
