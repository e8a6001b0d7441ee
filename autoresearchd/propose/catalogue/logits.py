"""What becomes of the logits: softcap, and the loss where the training program computes one."""

from __future__ import annotations

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Above,
    Block,
    Scope,
    rewrite_blocks,
    rewrite_expressions,
    scope,
    without,
)
from autoresearchd.propose.catalogue._syntax import (
    argument,
    assigned,
    assignment,
    called,
    code,
    expression,
    number,
    operand,
    statement,
    walk,
    with_argument,
    with_value,
    without_argument,
)
from autoresearchd.propose.catalogue._torch import FUNCTIONAL, Names, mentions, names

CAP = 15
_CAPS = {"softcap", "logit_softcap", "logits_softcap"}
Z_WEIGHT = 1e-4
"""Of the z-loss, as in PaLM (Chowdhery et al., 2022)."""


def _capped(node: cst.CSTNode) -> tuple[cst.BaseExpression, cst.BaseExpression, cst.Call] | None:
    """Cap, logits and the call of tanh in `cap * tanh(logits / cap)`, either way round."""
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Multiply):
        return None
    for cap, tanh in ((node.left, node.right), (node.right, node.left)):
        if isinstance(tanh, cst.Call) and called(tanh) == "tanh" and len(tanh.args) == 1:
            inside = tanh.args[0].value
            divided = isinstance(inside, cst.BinaryOperation) and isinstance(inside.operator, cst.Divide)
            if divided and isinstance(inside, cst.BinaryOperation) and code(inside.right) == code(cap):
                return cap, inside.left, tanh
    return None


def _remove_softcap(module: cst.Module) -> cst.Module | None:
    """`x = cap * tanh(y / cap)` → `x = y`; a statement that then says nothing goes."""

    def drop(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            target, value = assignment(line) or (None, None)
            found = _capped(value) if value is not None else None
            if target is not None and found is not None and code(target) == code(found[1]) and len(body) > 1:
                return without(body, index)
        return None

    def bare(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        found = _capped(node)
        return None if found is None else found[1]

    dropped = rewrite_blocks(module, drop)
    return rewrite_expressions(dropped or module, bare) or dropped


def _add_softcap(module: cst.Module) -> cst.Module | None:
    tanh = names(module).local("torch.tanh")

    def rewrite(body: Block, around: Scope) -> list[cst.BaseStatement] | None:
        if tanh is None or not around or mentions(around[-1], "tanh"):
            return None
        for index, line in enumerate(body):
            target, value = assignment(line) or (None, None)
            if not isinstance(target, cst.Name) or "logits" not in target.value or value is None:
                continue
            if any("head" in called(call) for call in walk(value) if isinstance(call, cst.Call)):
                name = target.value
                fresh = statement(f"{name} = {CAP} * {tanh}({name} / {CAP})")
                return [*body[: index + 1], fresh, *body[index + 1 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _move_softcap(factor: float) -> Transform:
    """Another cap, where it is a number in place or in a lower-case variable; a constant is a parameter, not code."""

    def apply(module: cst.Module) -> cst.Module | None:
        def in_place(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
            found = _capped(node)
            cap = number(found[0]) if found is not None else None
            if found is None or not cap:
                return None
            fresh = f"{cap * factor:g}"
            return expression(f"{fresh} * {code(found[2].func)}({code(found[1])} / {fresh})")

        def in_variable(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
            for index, line in enumerate(body):
                target, value = assignment(line) or (None, None)
                cap = number(value)
                if isinstance(target, cst.Name) and target.value in _CAPS and cap:
                    return [*body[:index], assigned(line, expression(f"{cap * factor:g}")), *body[index + 1 :]]
            return None

        return rewrite_expressions(module, in_place) or rewrite_blocks(module, in_variable)

    return apply


def _loss_call(node: cst.CSTNode, known: Names) -> cst.Call | None:
    """A mean cross-entropy; one that keeps every token's loss measures something and is left alone."""
    if not isinstance(node, cst.Call) or known.full(node.func) != f"{FUNCTIONAL}.cross_entropy" or len(node.args) < 2:
        return None
    reduction = argument(node, "reduction")
    return node if reduction is None or code(reduction.value) in {'"mean"', "'mean'"} else None


def _in_method(around: Scope) -> bool:
    return len(around) > 1 and isinstance(around[-1], cst.FunctionDef) and isinstance(around[-2], cst.ClassDef)


def _smooth(module: cst.Module) -> cst.Module | None:
    known = names(module)

    def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
        call = _loss_call(node, known)
        smoothing = argument(call, "label_smoothing") if call is not None else None
        if call is None or (smoothing is not None and number(smoothing.value) != 0):
            return None
        value = "0.1 if self.training else 0.0" if _in_method(scope(above)) else "0.1"
        return with_value(call, smoothing, value) if smoothing else with_argument(call, f"label_smoothing={value}")

    return rewrite_expressions(module, rewrite)


def _unsmooth(module: cst.Module) -> cst.Module | None:
    known = names(module)

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        call = _loss_call(node, known)
        if call is None or argument(call, "label_smoothing") is None:
            return None
        return without_argument(call, "label_smoothing")

    return rewrite_expressions(module, rewrite)


def _z_loss(module: cst.Module) -> cst.Module | None:
    """A penalty on the squared log of the softmax's normaliser, while training only."""
    known = names(module)

    def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
        call = _loss_call(node, known)
        if call is None or call.args[0].keyword is not None or any(mentions(outer, "logsumexp") for outer in above[1:]):
            return None
        weight = f"({Z_WEIGHT} if self.training else 0.0)" if _in_method(scope(above)) else f"{Z_WEIGHT}"
        logits = operand(call.args[0].value)
        return expression(f"{code(call)} + {weight} * {logits}.logsumexp(dim=-1).square().mean()")

    return rewrite_expressions(module, rewrite)


PATTERNS = (
    Pattern(
        name="softcap-remove",
        title="Remove the logit softcap",
        rationale="Without a cap the model can be as sure as the data lets it be, and the head is cheaper.",
        category="logits",
        apply=_remove_softcap,
    ),
    Pattern(
        name="softcap-add",
        title=f"Cap the logits softly at {CAP}",
        rationale="A soft cap on the logits damps over-confidence early in training (Gemma 2).",
        category="logits",
        apply=_add_softcap,
    ),
    Pattern(
        name="softcap-higher",
        title="Double the logit softcap",
        rationale="A higher cap costs rare tokens less and still bounds the logits.",
        category="logits",
        apply=_move_softcap(2.0),
    ),
    Pattern(
        name="softcap-lower",
        title="Lower the logit softcap to two thirds",
        rationale="A tighter cap regularises; short budgets with few tokens may gain.",
        category="logits",
        apply=_move_softcap(2 / 3),
    ),
    Pattern(
        name="label-smoothing-add",
        title="Smooth the training labels by 0.1",
        rationale="Smoothed labels regularise a model that sees its data more than once.",
        category="loss",
        apply=_smooth,
    ),
    Pattern(
        name="label-smoothing-remove",
        title="Train on hard labels",
        rationale="Smoothing the labels biases the probabilities that are measured.",
        category="loss",
        apply=_unsmooth,
    ),
    Pattern(
        name="z-loss",
        title="Add a z-loss",
        rationale="Keeping the softmax normaliser near one keeps the logits from drifting (PaLM).",
        category="loss",
        apply=_z_loss,
    ),
)
