"""The optimiser: Adam's numbers, momentum, clipping, and how weight decay is applied."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Above,
    Block,
    Scope,
    rewrite_blocks,
    rewrite_expressions,
    rewrite_parameters,
    scope,
    without,
)
from autoresearchd.propose.catalogue._syntax import (
    argument,
    call_statement,
    called,
    calls,
    code,
    dotted,
    expression,
    number,
    operand,
    statement,
    walk,
    with_argument,
    with_value,
)
from autoresearchd.propose.catalogue._torch import names

CLIP = 1.0
_DEFAULT_BETAS = (0.9, 0.999)
_ADAMS = {f"torch.optim.{name}" for name in ("Adam", "AdamW", "NAdam", "RAdam")}
_MEMBERS = 'p for group in {optimizer}.param_groups for p in group["params"]'


def _adam(
    module: cst.Module, name: str, position: int | None, change: Callable[[cst.BaseExpression | None], str | None]
) -> cst.Module | None:
    """One argument of every Adam of torch and of every call that has `betas`, as a changed text; None leaves it."""
    known = names(module)

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call):
            return None
        full = known.full(node.func)
        is_adam = full in _ADAMS
        if not is_adam and (full.startswith("torch.") or argument(node, "betas") is None):
            return None
        found = argument(node, name, position if is_adam else None)
        if found is None and (not is_adam or any(arg.star for arg in node.args)):
            return None
        text = change(found.value if found else None)
        if text is None:
            return None
        return with_value(node, found, text) if found else with_argument(node, f"{name}={text}")

    return rewrite_expressions(module, rewrite)


def _beta(which: int, value: float) -> Transform:
    """One of Adam's two betas, where both are written out or left to torch."""

    def change(old: cst.BaseExpression | None) -> str | None:
        if old is None:
            written: list[float | None] = list(_DEFAULT_BETAS)
        else:
            written = [number(each.value) for each in old.elements] if isinstance(old, cst.Tuple) else []
        betas = [beta for beta in written if beta is not None]
        if len(betas) != 2 or betas[which] == value:
            return None
        betas[which] = value
        return f"({betas[0]:g}, {betas[1]:g})"

    return lambda module: _adam(module, "betas", 2, change)


def _epsilon(module: cst.Module) -> cst.Module | None:
    def change(old: cst.BaseExpression | None) -> str | None:
        value = number(old) if old is not None else 1e-8
        return "1e-10" if value is not None and value > 1e-10 else None

    return _adam(module, "eps", 3, change)


def _decay(target: float) -> Transform:
    def change(old: cst.BaseExpression | None) -> str | None:
        value = number(old) if old is not None else None
        return f"{target}" if value is not None and value != target else None

    return lambda module: _adam(module, "weight_decay", 4, change)


def _nesterov(old: str, new: str) -> Transform:
    """The switch, as an argument or as the default of a parameter."""

    def apply(module: cst.Module) -> cst.Module | None:
        def in_call(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
            found = argument(node, "nesterov") if isinstance(node, cst.Call) else None
            if found is None or not isinstance(node, cst.Call) or code(found.value) != old:
                return None
            return with_value(node, found, new)

        def in_signature(node: cst.Param) -> cst.Param | None:
            if node.name.value != "nesterov" or node.default is None or code(node.default) != old:
                return None
            return node.with_changes(default=expression(new))

        called_with = rewrite_expressions(module, in_call)
        return rewrite_parameters(called_with or module, in_signature) or called_with

    return apply


def _clip(module: cst.Module) -> cst.Module | None:
    """Ahead of `optimizer.step()`, over the optimiser's own weights, so that no other name has to be in scope."""
    clip = names(module).local("torch.nn.utils.clip_grad_norm_")
    if clip is None or any(calls(module, "clip_grad_norm_", "clip_grad_value_")) or not any(calls(module, "backward")):
        return None

    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            call = call_statement(line)
            owner = dotted(call.func) if call is not None and called(call) == "step" and not call.args else None
            if call is None or owner is None or "opt" not in owner.lower():
                continue
            optimizer = owner.removesuffix(".step")
            fresh = statement(f"{clip}([{_MEMBERS.format(optimizer=optimizer)}], {CLIP})")
            return [*body[:index], fresh, *body[index:]]
        return None

    return rewrite_blocks(module, rewrite)


def _unclip(module: cst.Module) -> cst.Module | None:
    """Not where a condition guards it: the condition is the switch then, and may be off."""
    guarded = any(isinstance(node, cst.If) and any(calls(node, "clip_grad_norm_")) for node in walk(module))

    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            call = call_statement(line)
            if not guarded and call is not None and called(call) == "clip_grad_norm_" and len(body) > 1:
                return without(body, index)
        return None

    return rewrite_blocks(module, rewrite)


def _cautious(module: cst.Module) -> cst.Module | None:
    """`p.mul_(1 - lr * wd)` decays only where that agrees with the gradient."""

    def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call) or called(node) != "mul_" or len(node.args) != 1 or not scope(above):
            return None
        owner, shrink = dotted(node.func), node.args[0].value
        if owner is None or not isinstance(shrink, cst.BinaryOperation) or number(shrink.left) != 1:
            return None
        if any(isinstance(inner, cst.Comparison) for inner in walk(shrink)):
            return None
        weight = owner.removesuffix(".mul_").removesuffix(".data")
        used = {dotted(inner) for inner in walk(scope(above)[-1]) if isinstance(inner, cst.Attribute)}
        if not isinstance(shrink.operator, cst.Subtract) or f"{weight}.grad" not in used:
            return None
        masked = f"{operand(shrink.right)} * ({weight} * {weight}.grad > 0)"
        return with_value(node, node.args[0], f"{code(shrink.left)} - {masked}")

    return rewrite_expressions(module, rewrite)


def _pattern(name: str, title: str, rationale: str, apply: Transform, category: str = "optimiser") -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category=category, apply=apply)


PATTERNS = (
    _pattern(
        "adam-beta1-lower",
        "Lower Adam's first beta to 0.8",
        "A shorter memory of the gradient follows the fast changes of a short run.",
        _beta(0, 0.8),
    ),
    _pattern(
        "adam-beta2-95",
        "Set Adam's second beta to 0.95",
        "A second moment over twenty steps instead of a thousand adapts within a short run (GPT-3).",
        _beta(1, 0.95),
    ),
    _pattern(
        "adam-beta2-99",
        "Set Adam's second beta to 0.99",
        "A second moment over a hundred steps is less noisy where batches are small.",
        _beta(1, 0.99),
    ),
    _pattern(
        "adam-epsilon-smaller",
        "Lower Adam's epsilon to 1e-10",
        "Gradients of rare tokens are so small that epsilon damps them.",
        _epsilon,
    ),
    _pattern(
        "nesterov-on",
        "Turn Nesterov momentum on",
        "Looking ahead along the momentum corrects the step before it is taken.",
        _nesterov("False", "True"),
    ),
    _pattern(
        "nesterov-off",
        "Turn Nesterov momentum off",
        "Plain momentum averages more; with noisy gradients that can be the better direction.",
        _nesterov("True", "False"),
    ),
    _pattern(
        "gradient-clipping-add",
        f"Clip gradients at norm {CLIP}",
        "A few steps with huge gradients can undo many good ones; clipping bounds what one batch may do.",
        _clip,
    ),
    _pattern(
        "gradient-clipping-remove",
        "Stop clipping gradients",
        "An optimiser that normalises its step needs no clipping, which costs time and hides large gradients.",
        _unclip,
    ),
    _pattern(
        "weight-decay-off",
        "Turn weight decay off",
        "A run of one pass over its data is too short to overfit; decay only shortens its steps.",
        _decay(0.0),
        "weight-decay",
    ),
    _pattern(
        "weight-decay-on",
        "Set weight decay to 0.1",
        "Decoupled decay keeps weights small, and with them the effective learning rate high.",
        _decay(0.1),
        "weight-decay",
    ),
    _pattern(
        "weight-decay-cautious",
        "Decay weights only along the gradient",
        "Decay that fights the gradient undoes what was just learned (cautious weight decay; Chen et al., 2025).",
        _cautious,
        "weight-decay",
    ),
)
