"""Schedules over the run: the shape in which the learning rate falls, and what weight decay does meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import Above, Block, Scope, rewrite_blocks, rewrite_expressions, scope
from autoresearchd.propose.catalogue._syntax import assignment, code, expression, number, operand, statement, walk
from autoresearchd.propose.catalogue._torch import mentions, with_import

_FALLING = ("warmdown", "warm_down", "cooldown", "cool_down", "decay_iters", "decay_steps")
COSINE = "0.5 - 0.5 * math.cos(math.pi * {x})"
ROOT = "1 - max(1 - {x}, 0.0) ** 0.5"
"""The 1 - sqrt shape of Hägele et al. (2024), there the best of those compared."""
SQUARE = "{x} ** 2"


def _is_line(node: cst.CSTNode) -> bool:
    """`(1 - progress) / WARMDOWN`: what is left of the run, in units of the warm-down."""
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Divide):
        return False
    left = node.left
    return (
        isinstance(left, cst.BinaryOperation)
        and isinstance(left.operator, cst.Subtract)
        and mentions(node.right, *_FALLING)
        and not mentions(node.right, "weight")
    )


def _is_shaped(node: cst.CSTNode) -> bool:
    return mentions(node, "cos", "sqrt") or any(isinstance(inner, cst.Power) for inner in walk(node))


def _bend(shape: str, *, needs_math: bool = False) -> Transform:
    """A straight warm-down gets this shape: one more statement where it has a name, in place where it is returned."""

    def apply(module: cst.Module) -> cst.Module | None:
        def named(body: Block, around: Scope) -> list[cst.BaseStatement] | None:
            if not around or _is_shaped(around[-1]):
                return None
            for index, line in enumerate(body):
                target, value = assignment(line) or (None, None)
                if isinstance(target, cst.Name) and value is not None and any(map(_is_line, walk(value))):
                    fresh = statement(f"{target.value} = {shape.format(x=target.value)}")
                    return [*body[: index + 1], fresh, *body[index + 1 :]]
            return None

        def returned(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
            around = scope(above)
            if not around or _is_shaped(around[-1]) or not isinstance(above[-1], cst.Return) or not _is_line(node):
                return None
            return expression(shape.format(x=operand(node)))

        fresh = rewrite_blocks(module, named) or rewrite_expressions(module, returned)
        return with_import(fresh, "math") if fresh is not None and needs_math else fresh

    return apply


def _straight(module: cst.Module) -> cst.Module | None:
    """`0.5 * (1 + cos(pi * ratio))` → `1 - ratio`: nanoGPT's cosine as a line."""

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.BinaryOperation) or number(node.left) != 0.5:
            return None
        raised = node.right
        if not isinstance(raised, cst.BinaryOperation) or number(raised.left) != 1:
            return None
        return _angle(raised.right) if isinstance(raised.operator, cst.Add) else None

    return rewrite_expressions(module, rewrite)


def _angle(node: cst.BaseExpression) -> cst.BaseExpression | None:
    """`1 - ratio` of `math.cos(math.pi * ratio)`."""
    if not isinstance(node, cst.Call) or code(node.func) != "math.cos" or len(node.args) != 1:
        return None
    turn = node.args[0].value
    if not isinstance(turn, cst.BinaryOperation) or code(turn.left) != "math.pi":
        return None
    return expression(f"1.0 - {operand(turn.right)}") if isinstance(turn.operator, cst.Multiply) else None


def _decay(shape: Callable[[str, str], str | None], *, needs_math: bool = False) -> Transform:
    """What a function named for the weight decay returns, from `start` and the share of the run that is over."""

    def apply(module: cst.Module) -> cst.Module | None:
        def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
            around = scope(above)
            function = around[-1] if around else None
            if not isinstance(function, cst.FunctionDef) or not isinstance(above[-1], cst.Return):
                return None
            if "weight_decay" not in function.name.value or len(function.params.params) != 1:
                return None
            start, progress = _start(node), function.params.params[0].name.value
            text = shape(operand(start), progress)
            return None if text is None or text == code(node) else expression(text)

        fresh = rewrite_expressions(module, rewrite)
        return with_import(fresh, "math") if fresh is not None and needs_math else fresh

    return apply


def _start(node: cst.BaseExpression) -> cst.BaseExpression:
    """`START` of `START * (1 - progress)`, else all of it."""
    while isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        node = node.left
    return node


def _pattern(name: str, title: str, rationale: str, apply: Transform) -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category="schedule", apply=apply)


PATTERNS = (
    _pattern(
        "warmdown-cosine",
        "Warm down along a cosine",
        "A cosine leaves the height gently and lands gently.",
        _bend(COSINE, needs_math=True),
    ),
    _pattern(
        "warmdown-root",
        "Warm down along one minus a root",
        "Falling fast first and slowly last was the best of the shapes compared by Hägele et al. (2024).",
        _bend(ROOT),
    ),
    _pattern(
        "warmdown-square",
        "Warm down along a square",
        "A square spends more of the warm-down at small learning rates.",
        _bend(SQUARE),
    ),
    _pattern(
        "cosine-to-linear",
        "Decay the learning rate along a line",
        "A line to zero does as well as a cosine or better on a fixed budget (Defazio et al., 2023).",
        _straight,
    ),
    _pattern(
        "weight-decay-constant",
        "Hold weight decay constant",
        "The warm-down already shrinks decay with the learning rate; twice may be too much.",
        _decay(lambda start, progress: start),
    ),
    _pattern(
        "weight-decay-linear",
        "Let weight decay fall to zero",
        "Decay matters while the learning rate is high; at the end it only blurs what was learned.",
        _decay(lambda start, progress: f"{start} * (1 - {progress})"),
    ),
    _pattern(
        "weight-decay-cosine",
        "Let weight decay fall along a cosine",
        "Full decay for longer than a line gives, and none at the end.",
        _decay(lambda start, progress: f"{start} * (0.5 + 0.5 * math.cos(math.pi * {progress}))", needs_math=True),
    ),
)
