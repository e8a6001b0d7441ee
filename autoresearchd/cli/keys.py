"""Every key of program.toml, made from the tables themselves: `python -m autoresearchd.cli.keys > docs/program.md`."""

from __future__ import annotations

import ast
import enum
import inspect
import json
import textwrap
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from autoresearchd.program import Program

HEAD = """# Every key of program.toml

Made from the code by `make man`. Paths are relative to the folder of program.toml. What is not given has its default;
a mistake is one sentence that names the key, the value and what is allowed.
"""
HEADINGS: dict[Any, str] = {tuple: "[[{}]]", dict: "[{}.NAME]"}
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def reference() -> str:
    """The page in Markdown."""
    return HEAD + "".join(_tables(Program, ""))


def _tables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        table = _table(field.annotation)
        if table is not None:
            dotted = f"{prefix}{name}"
            yield _page(table, HEADINGS.get(get_origin(field.annotation), "[{}]").format(dotted))
            yield from _tables(table, f"{dotted}.")


def _page(table: type[BaseModel], heading: str) -> str:
    meanings = _meanings(table)
    keys = [
        f"| `{name}` | {_kind(field.annotation)} | {_default(field)} | {_cell(meanings.get(name, ''))} |"
        for name, field in table.model_fields.items()
        if _table(field.annotation) is None
    ]
    about = _cell(inspect.getdoc(table) or "").removeprefix(f"{heading}: ")
    lines = [f"\n## {heading}", about[:1].upper() + about[1:]]
    if keys:
        lines += ["", "| key | is | default | |", "|---|---|---|---|", *keys]
    return "\n".join(lines) + "\n"


def _table(annotation: Any) -> type[BaseModel] | None:
    """The table that a key holds; None where it holds a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_table(inner) for inner in get_args(annotation))
    return next((table for table in found if table is not None), None)


def _meanings(table: type[BaseModel]) -> dict[str, str]:
    """The sentence below each field, which only the source has."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, words in zip(body.body, body.body[1:], strict=False):
        match field, words:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _kind(annotation: Any) -> str:
    """What may be written there, in words."""
    arms = [arm for arm in get_args(annotation) if arm is not types.NoneType]
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{_toml(arm)}`" for arm in arms)
    if origin is tuple:
        return f"list of {_kind(arms[0])}"
    if origin is dict:
        return f"table of {_kind(arms[1])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{_toml(member.value)}`" for member in annotation)
    if origin in (types.UnionType, Union):
        return " or ".join(map(_kind, arms))
    return _kind(arms[0]) if arms else KINDS.get(annotation, "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default()
    return "" if value in (None, (), {}, "") else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    return json.dumps(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
