"""Dropout, biases, and decoupled weight decay where they are numbers in the call that makes a layer or an optimiser."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import Above, rewrite_expressions
from autoresearchd.propose.catalogue._syntax import argument, code, number, with_argument, with_value
from autoresearchd.propose.catalogue._torch import names

_DROPOUTS = {"torch.nn.Dropout": 0, "torch.nn.functional.dropout": 1}


def _dropout(applies: Callable[[float], bool], value: str) -> Transform:
    """Another probability where one is written out."""

    def apply(module: cst.Module) -> cst.Module | None:
        known = names(module)

        def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
            position = _DROPOUTS.get(known.full(node.func)) if isinstance(node, cst.Call) else None
            if not isinstance(node, cst.Call) or position is None:
                return None
            chance = argument(node, "p", position)
            now = number(chance.value) if chance is not None else None
            return with_value(node, chance, value) if chance and now is not None and applies(now) else None

        return rewrite_expressions(module, rewrite)

    return apply


def _bias_off(module: cst.Module) -> cst.Module | None:
    known = names(module)

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call) or known.full(node.func) != "torch.nn.Linear":
            return None
        bias = argument(node, "bias", 2)
        if bias is None:
            return with_argument(node, "bias=False") if not any(arg.star for arg in node.args) else None
        return with_value(node, bias, "False") if code(bias.value) == "True" else None

    return rewrite_expressions(module, rewrite)


PATTERNS = (
    Pattern(
        name="dropout-off",
        title="Turn dropout off",
        rationale="A model that never sees a token twice has nothing to memorise; dropout only slows it.",
        category="regularisation",
        apply=_dropout(lambda now: now > 0, "0.0"),
    ),
    Pattern(
        name="dropout-on",
        title="Turn dropout of 10 % on",
        rationale="Dropout keeps a model that sees its data more than once from memorising it.",
        category="regularisation",
        apply=_dropout(lambda now: now == 0, "0.1"),
    ),
    Pattern(
        name="linear-bias-off",
        title="Take the biases off the linear layers",
        rationale="Biases ahead of a norm do nothing for the model and cost time.",
        category="regularisation",
        apply=_bias_off,
    ),
)
