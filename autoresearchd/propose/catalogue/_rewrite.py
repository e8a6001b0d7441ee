"""Rewriting a module bottom-up: expressions, runs of statements, or classes, with the definitions around them.

Gives None where nothing changed, so that a precondition and a change are one thing. Never looks into f-strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import libcst as cst

from autoresearchd.propose.catalogue._syntax import LOOSE, parts, walk

Node = TypeVar("Node", bound=cst.CSTNode)
Block = tuple[cst.BaseStatement, ...]
Above = Sequence[cst.CSTNode]
"""Every node around the one in hand, as it was before anything was rewritten, outermost first."""
Scope = tuple[cst.FunctionDef | cst.ClassDef, ...]
"""The enclosing definitions as they were, outermost first."""
Visit = Callable[[cst.CSTNode, Above], cst.CSTNode | None]
_DELIMITED = (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Return, cst.Arg, cst.Param, cst.Expr)


def rewrite_expressions(
    root: Node, rewrite: Callable[[cst.BaseExpression, Above], cst.BaseExpression | None]
) -> Node | None:
    """Every expression for which `rewrite` has another, innermost first, parentheses added where it needs them.

    Not what an `if` over a constant guards: the constant is the switch, and as it stands that code may never run.
    """

    def visit(node: cst.CSTNode, above: Above) -> cst.CSTNode | None:
        fresh = rewrite(node, above) if isinstance(node, cst.BaseExpression) else None
        if fresh is None or _is_switched(above):
            return None
        if isinstance(node, cst.BaseExpression) and node.lpar and not fresh.lpar:
            return fresh.with_changes(lpar=node.lpar, rpar=node.rpar)
        if isinstance(fresh, LOOSE) and not fresh.lpar and not isinstance(above[-1], _DELIMITED):
            return fresh.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return fresh

    return _rewritten(root, visit)


def rewrite_blocks(root: Node, rewrite: Callable[[Block, Scope], Sequence[cst.BaseStatement] | None]) -> Node | None:
    """Every run of statements for which `rewrite` has another, innermost first; None where it never has."""

    def visit(node: cst.CSTNode, above: Above) -> cst.CSTNode | None:
        if not isinstance(node, cst.IndentedBlock | cst.Module):
            return None
        fresh = rewrite(tuple(node.body), scope(above))
        return None if fresh is None else node.with_changes(body=tuple(fresh))

    return _rewritten(root, visit)


def rewrite_classes(module: cst.Module, rewrite: Callable[[cst.ClassDef], cst.ClassDef | None]) -> cst.Module | None:
    """Every class for which `rewrite` has another; None where it never has."""
    return _rewritten(module, lambda node, _: rewrite(node) if isinstance(node, cst.ClassDef) else None)


def rewrite_parameters(root: Node, rewrite: Callable[[cst.Param], cst.Param | None]) -> Node | None:
    """Every parameter of a function for which `rewrite` has another; None where it never has."""
    return _rewritten(root, lambda node, _: rewrite(node) if isinstance(node, cst.Param) else None)


def without(body: Sequence[cst.BaseStatement], index: int) -> list[cst.BaseStatement]:
    """The statements without one; the lines above it (blanks, comments) go to the next."""
    rest = [*body[:index], *body[index + 1 :]]
    if index < len(rest):
        above = [*_leading(body[index]), *_leading(rest[index])]
        rest[index] = rest[index].with_changes(leading_lines=above)
    return rest


def instead(line: cst.BaseStatement, *fresh: cst.BaseStatement) -> list[cst.BaseStatement]:
    """Statements in the place of one; the lines above it (blanks, comments) stay above the first of them."""
    bare = [each.with_changes(leading_lines=()) for each in fresh]
    return [bare[0].with_changes(leading_lines=_leading(line)), *bare[1:]]


def declared(node: cst.ClassDef, line: cst.BaseStatement) -> cst.ClassDef | None:
    """The class with one more statement at the end of its `__init__`; None where it has none."""
    methods = list(node.body.body)
    for index, method in enumerate(methods):
        if isinstance(method, cst.FunctionDef) and method.name.value == "__init__":
            longer = method.body.with_changes(body=[*method.body.body, line])
            methods[index] = method.with_changes(body=longer)
            return node.with_changes(body=node.body.with_changes(body=methods))
    return None


def _leading(node: cst.BaseStatement) -> Sequence[cst.EmptyLine]:
    lines: Sequence[cst.EmptyLine] = getattr(node, "leading_lines", ())
    return lines


def _is_switched(above: Above) -> bool:
    guards = (node.test for node in above if isinstance(node, cst.If))
    return any(isinstance(inner, cst.Name) and inner.value.isupper() for test in guards for inner in walk(test))


def scope(above: Above) -> Scope:
    """The enclosing definitions."""
    return tuple(node for node in above if isinstance(node, cst.FunctionDef | cst.ClassDef))


def _rewritten(root: Node, visit: Visit) -> Node | None:
    fresh = _rebuilt(root, visit, [])
    return None if fresh is root or root.deep_equals(fresh) else fresh  # type: ignore[return-value]  # same kind


def _rebuilt(node: cst.CSTNode, visit: Visit, above: list[cst.CSTNode]) -> cst.CSTNode:
    """The node after its children; the same object where nothing changed in it."""
    changes: dict[str, object] = {}
    above.append(node)
    for name in parts(type(node)):
        inside = getattr(node, name)
        if isinstance(inside, cst.CSTNode):
            fresh: object = _rebuilt(inside, visit, above)
            if fresh is not inside:
                changes[name] = fresh
        elif isinstance(inside, tuple | list):
            each = [_rebuilt(child, visit, above) if isinstance(child, cst.CSTNode) else child for child in inside]
            if any(new is not old for new, old in zip(each, inside, strict=True)):
                changes[name] = tuple(each)
    above.pop()
    updated = node.with_changes(**changes) if changes else node
    fresh_node = visit(updated, above)
    return updated if fresh_node is None else fresh_node
