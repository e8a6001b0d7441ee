"""Normalisation: which kind, and where it sits around the branches of a residual stream."""

from __future__ import annotations

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern
from autoresearchd.propose.catalogue._rewrite import Above, rewrite_expressions
from autoresearchd.propose.catalogue._syntax import (
    argument,
    called,
    code,
    dotted,
    expression,
    with_argument,
    without_argument,
)
from autoresearchd.propose.catalogue._torch import FUNCTIONAL, is_norm, names, root


def _to_rms(module: cst.Module) -> cst.Module | None:
    known = names(module)

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call):
            return None
        match known.full(node.func):
            case "torch.nn.LayerNorm":
                return _called_as(without_argument(node, "bias"), known.local("torch.nn.RMSNorm"))
            case "torch.nn.functional.layer_norm":
                return _functional_rms(node, known.local(f"{FUNCTIONAL}.rms_norm"))
        return None

    return rewrite_expressions(module, rewrite)


def _functional_rms(node: cst.Call, name: str | None) -> cst.Call | None:
    """`layer_norm(x, shape, weight, bias, eps)` has a bias between weight and eps, `rms_norm` has not."""
    weight, eps = argument(node, "weight", 2), argument(node, "eps", 4)
    positional = [arg for arg in node.args[:3] if arg.keyword is None]
    fresh = node.with_changes(args=[*positional[:-1], positional[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)])
    if weight is not None and weight.keyword is not None:
        fresh = with_argument(fresh, f"weight={code(weight.value)}")
    if eps is not None:
        fresh = with_argument(fresh, f"eps={code(eps.value)}")
    return _called_as(fresh, name)


def _to_layer(module: cst.Module) -> cst.Module | None:
    known = names(module)

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call):
            return None
        match known.full(node.func):
            case "torch.nn.RMSNorm":
                return _called_as(node, known.local("torch.nn.LayerNorm"))
            case "torch.nn.functional.rms_norm" if (
                argument(node, "eps", 3) is None or argument(node, "eps") is not None
            ):
                return _called_as(node, known.local(f"{FUNCTIONAL}.layer_norm"))
        return None

    return rewrite_expressions(module, rewrite)


def _called_as(node: cst.Call, name: str | None) -> cst.Call | None:
    return None if name is None else node.with_changes(func=expression(name))


def _sandwich(module: cst.Module) -> cst.Module | None:
    """`x + f(norm(x))` → `x + norm(f(norm(x)))`, with the norm that is there."""

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Add):
            return None
        stream, branch = dotted(node.left), node.right
        if stream is None or not isinstance(branch, cst.Call) or not branch.args or is_norm(branch):
            return None
        inner = branch.args[0].value
        if not is_norm(inner) or not isinstance(inner, cst.Call) or len(inner.args) != 1 or root(inner) == "torch":
            return None
        if not isinstance(inner.func, cst.Name) or code(inner.args[0].value) != stream:
            return None
        return node.with_changes(right=expression(f"{called(inner)}({code(branch)})"))

    return rewrite_expressions(module, rewrite)


PATTERNS = (
    Pattern(
        name="layernorm-to-rmsnorm",
        title="Swap LayerNorm for RMSNorm",
        rationale="RMSNorm leaves out the mean and the bias: the same quality at less cost (Zhang and Sennrich, 2019).",
        category="norm",
        apply=_to_rms,
    ),
    Pattern(
        name="rmsnorm-to-layernorm",
        title="Swap RMSNorm for LayerNorm",
        rationale="Taking the mean out may help where activations drift to one side, as they do early in training.",
        category="norm",
        apply=_to_layer,
    ),
    Pattern(
        name="sandwich-norm",
        title="Normalise the output of each branch too",
        rationale="A norm after each branch bounds what it adds to the residual stream, so that larger learning rates "
        "stay stable (CogView, Gemma 2).",
        category="norm",
        apply=_sandwich,
    ),
)
