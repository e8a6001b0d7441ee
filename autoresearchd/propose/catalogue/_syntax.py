"""Reading Python as a syntax tree that keeps its formatting, and making small pieces of it.

Pure, and knows nothing of models or optimisers. f-strings are left alone like any other string.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache

import libcst as cst

_EMPTY = cst.Module(body=[])
LOOSE = (cst.BinaryOperation, cst.UnaryOperation, cst.Comparison, cst.BooleanOperation, cst.IfExp)

_LAYOUT = {"lpar", "rpar", "leading_lines", "lines_after_decorators", "header", "footer", "comma", "equal", "semicolon"}


def code(node: cst.CSTNode) -> str:
    """The source text of a node, as it was written."""
    return _EMPTY.code_for_node(node)


def expression(text: str) -> cst.BaseExpression:
    return cst.parse_expression(text)


def statement(text: str) -> cst.BaseStatement:
    return cst.parse_statement(text)


def operand(node: cst.BaseExpression) -> str:
    """The text of an expression, in parentheses where it could not stand beside an operator."""
    return f"({code(node)})" if isinstance(node, (*LOOSE, cst.Tuple, cst.Lambda)) and not node.lpar else code(node)


def dotted(node: cst.CSTNode) -> str | None:
    """`a.b.c` where that is all there is; None for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute) and (left := dotted(node.value)) is not None:
        return f"{left}.{node.attr.value}"
    return None


def number(node: cst.CSTNode | None) -> float | None:
    """The value of a number written out, with its sign."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = number(node.expression)
        return None if value is None else -value
    return float(node.evaluated_value) if isinstance(node, cst.Integer | cst.Float) else None


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and everything in it, without layout and what is inside f-strings."""
    yield node
    for name in parts(type(node)):
        inside = getattr(node, name)
        for child in inside if isinstance(inside, tuple | list) else (inside,):
            if isinstance(child, cst.CSTNode):
                yield from walk(child)


@cache
def parts(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The fields of a kind of node that hold code. libcst's own traversal visits every blank: ten times the time."""
    if issubclass(kind, cst.FormattedString):
        return ()
    names = (field.name for field in fields(kind))
    return tuple(name for name in names if name not in _LAYOUT and not name.startswith("whitespace"))


def calls(node: cst.CSTNode, *last: str) -> Iterator[cst.Call]:
    """The calls of `….name(…)` or `name(…)` for one of these last names."""
    for inner in walk(node):
        if isinstance(inner, cst.Call) and called(inner) in last:
            yield inner


def called(call: cst.Call) -> str:
    """The last part of the name that is called; empty for anything stranger."""
    if isinstance(call.func, cst.Attribute):
        return call.func.attr.value
    return call.func.value if isinstance(call.func, cst.Name) else ""


def argument(call: cst.Call, name: str, position: int | None = None) -> cst.Arg | None:
    """The argument with this keyword, or at this position where none before it is starred."""
    for index, arg in enumerate(call.args):
        if arg.keyword is not None and arg.keyword.value == name:
            return arg
        if index == position and arg.keyword is None and not any(a.star for a in call.args[: index + 1]):
            return arg
    return None


def with_value(call: cst.Call, old: cst.Arg, value: str) -> cst.Call:
    """The call with one argument's value replaced."""
    fresh = old.with_changes(value=expression(value))
    return call.with_changes(args=[fresh if arg is old else arg for arg in call.args])


def with_argument(call: cst.Call, text: str) -> cst.Call:
    """The call with one more argument, ahead of a trailing comma or `**rest`."""
    fresh = cst.ensure_type(expression(f"f({text})"), cst.Call).args[0]
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    args = list(call.args)
    at = next((index for index, arg in enumerate(args) if arg.star == "**"), len(args))
    if at < len(args):
        args.insert(at, fresh.with_changes(comma=comma))
    elif args and isinstance(args[-1].comma, cst.Comma):
        between = args[-2].comma if len(args) > 1 else comma
        args = [*args[:-1], args[-1].with_changes(comma=between), fresh.with_changes(comma=args[-1].comma)]
    else:
        args = [*args[:-1], args[-1].with_changes(comma=comma), fresh] if args else [fresh]
    return call.with_changes(args=args)


def without_argument(call: cst.Call, name: str) -> cst.Call:
    """The call without this keyword argument."""
    args = [arg for arg in call.args if arg.keyword is None or arg.keyword.value != name]
    if args and len(args) < len(call.args):
        args[-1] = args[-1].with_changes(comma=call.args[-1].comma)
    return call.with_changes(args=args)


def assignment(node: cst.CSTNode) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
    """Target and value of a statement that is one assignment to one target, annotated or not."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1:
        return None
    match node.body[0]:
        case cst.Assign(targets=[only], value=value):
            return only.target, value
        case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
            return target, value
    return None


def call_statement(node: cst.CSTNode) -> cst.Call | None:
    """The call of a statement that is nothing else."""
    if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 and isinstance(node.body[0], cst.Expr):
        value = node.body[0].value
        return value if isinstance(value, cst.Call) else None
    return None


def assigned(node: cst.BaseStatement, value: cst.BaseExpression) -> cst.BaseStatement:
    """An assignment (see `assignment`) with another value."""
    line = cst.ensure_type(node, cst.SimpleStatementLine)
    return line.with_changes(body=[line.body[0].with_changes(value=value)])
