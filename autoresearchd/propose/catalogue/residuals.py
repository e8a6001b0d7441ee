"""The residual stream: what each branch adds, in parallel or in turn, and what comes back of the input."""

from __future__ import annotations

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Above,
    Block,
    Scope,
    instead,
    rewrite_blocks,
    rewrite_expressions,
    scope,
)
from autoresearchd.propose.catalogue._syntax import assignment, code, dotted, expression, statement, walk
from autoresearchd.propose.catalogue._torch import FUNCTIONAL, names

INPUT_SHARE = 0.1
"""Of the embedded tokens, added back before every block."""
_BRANCHES = ("attn", "att", "mlp", "ffn", "feed", "ff")


def _branch(node: cst.CSTNode) -> tuple[str, cst.Call] | None:
    """The stream and the branch in `x + self.mlp(…)`."""
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Add):
        return None
    if not isinstance(node.left, cst.Name) or not isinstance(node.right, cst.Call):
        return None
    name = dotted(node.right.func) or ""
    own = name.startswith("self.") and name.removeprefix("self.").startswith(_BRANCHES)
    return (node.left.value, node.right) if own else None


def _on_branches(template: str, *, functional: str | None = None) -> Transform:
    """Another way to add a branch, from a template over the branch and a function of torch."""

    def apply(module: cst.Module) -> cst.Module | None:
        function = names(module).local(f"{FUNCTIONAL}.{functional}") if functional else ""

        def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
            found = _branch(node)
            if found is None or function is None or not isinstance(node, cst.BinaryOperation) or not scope(above):
                return None
            return node.with_changes(right=expression(template.format(branch=code(found[1]), function=function)))

        return rewrite_expressions(module, rewrite)

    return apply


def _parallel(module: cst.Module) -> cst.Module | None:
    """`x = x + a(…x…)` then `x = x + b(…x…)` → `x = x + a(…x…) + b(…x…)`."""

    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index in range(len(body) - 1):
            target, value = assignment(body[index]) or (None, None)
            first = _branch(value) if value is not None else None
            second = _final(body, index + 1)
            found = _branch(second) if second is not None else None
            if target is None or first is None or second is None or found is None:
                continue
            if code(target) == first[0] == found[0]:
                both = expression(f"{first[0]} + {code(first[1])} + {code(found[1])}")
                merged = body[index + 1].deep_replace(second, both)
                line = instead(body[index], cst.ensure_type(merged, cst.SimpleStatementLine))
                return [*body[:index], *line, *body[index + 2 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _final(body: Block, index: int) -> cst.BaseExpression | None:
    """The value of `x = x …`, of `return …`, or of a name that is returned at once."""
    if (value := _returned(body, index)) is not None:
        return value
    target, value = assignment(body[index]) or (None, None)
    if not isinstance(target, cst.Name) or value is None:
        return None
    following = _returned(body, index + 1)
    is_returned = following is not None and code(following) == target.value
    return value if is_returned or code(value).startswith(target.value) else None


def _returned(body: Block, index: int) -> cst.BaseExpression | None:
    line = body[index] if index < len(body) else None
    if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 and isinstance(line.body[0], cst.Return):
        return line.body[0].value
    return None


def _serial(module: cst.Module) -> cst.Module | None:
    """The way back from `_parallel`."""

    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            value = _final(body, index)
            if not isinstance(value, cst.BinaryOperation) or not isinstance(value.operator, cst.Add):
                continue
            first = _branch(value.left)
            if first is None or not isinstance(value.right, cst.Call):
                continue
            second = expression(f"{first[0]} + {code(value.right)}")
            if _branch(second) is not None:
                head = statement(f"{first[0]} = {code(value.left)}")
                tail = cst.ensure_type(line.deep_replace(value, second), cst.SimpleStatementLine)
                return [*body[:index], *instead(line, head, tail), *body[index + 1 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _add_input(module: cst.Module) -> cst.Module | None:
    """`for block in …: x = block(x, …)` gets a share of what x was ahead of the loop, before every block."""

    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            stream = _stream(line) if isinstance(line, cst.For) else None
            if stream is None or not isinstance(line, cst.For) or f"{stream}0" in code(line):
                continue
            share = statement(f"{stream} = {stream} + {INPUT_SHARE} * {stream}0")
            longer = line.with_changes(body=line.body.with_changes(body=[share, *line.body.body]))
            return [*body[:index], *instead(line, statement(f"{stream}0 = {stream}"), longer), *body[index + 1 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _stream(loop: cst.For) -> str | None:
    """The variable that goes through every block of a loop over blocks."""
    blocks = {node.value for node in walk(loop.target) if isinstance(node, cst.Name)}
    for line in loop.body.body:
        target, value = assignment(line) or (None, None)
        if isinstance(target, cst.Name) and isinstance(value, cst.Call) and value.args and code(value.func) in blocks:
            return target.value if code(value.args[0].value) == target.value else None
    return None


def _pattern(name: str, title: str, rationale: str, apply: Transform) -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category="residual", apply=apply)


PATTERNS = (
    _pattern(
        "parallel-branches",
        "Run attention and feed-forward in parallel",
        "Both branches read the same stream: fewer norms and steps in a row; at PaLM's size that cost nothing (2022).",
        _parallel,
    ),
    _pattern(
        "serial-branches",
        "Run feed-forward after attention",
        "A feed-forward layer that sees what attention just wrote makes the model deeper at the same size.",
        _serial,
    ),
    _pattern(
        "branch-half",
        "Halve what each branch adds to the stream",
        "Smaller steps along the stream train more stably and let the learning rate rise.",
        _on_branches("0.5 * {branch}"),
    ),
    _pattern(
        "branch-dropout",
        "Drop 10 % of what each branch adds",
        "Dropout on the branches regularises a model that sees its data more than once.",
        _on_branches("{function}({branch}, 0.1, training=self.training)", functional="dropout"),
    ),
    _pattern(
        "input-residual",
        "Add the embedding back before every block",
        "Deep blocks that can still see the token itself need not carry it along the stream.",
        _add_input,
    ),
)
