"""Initialisation: how large the weights start, and which start at zero."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import Above, rewrite_expressions
from autoresearchd.propose.catalogue._syntax import argument, code, dotted, expression, number, operand, with_value
from autoresearchd.propose.catalogue._torch import Names, names

_INIT = "torch.nn.init."
_OUTPUT = {"c_proj", "o_proj", "out_proj", "down_proj", "proj", "proj_out", "wo"}
"""What the last projection of a branch is called in the models that people write."""


def _initialiser(
    module: cst.Module, rewrite: Callable[[cst.Call, str, Names], cst.BaseExpression | None]
) -> cst.Module | None:
    """Every call of torch.nn.init of a weight, with the short name of the initialiser."""
    known = names(module)

    def visit(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        full = known.full(node.func) if isinstance(node, cst.Call) and node.args else ""
        return rewrite(node, full.removeprefix(_INIT), known) if full.startswith(_INIT) else None  # type: ignore[arg-type]

    return rewrite_expressions(module, visit)


def _owner(node: cst.Call) -> str:
    """`block.attn.c_proj` of `normal_(block.attn.c_proj.weight, …)`; empty for anything else."""
    text = dotted(node.args[0].value) or ""
    return text.removesuffix(".weight") if text.endswith(".weight") else ""


def _is_output(node: cst.Call) -> bool:
    return _owner(node).rpartition(".")[2] in _OUTPUT


def _scale(factor: float, applies: Callable[[str], bool]) -> Transform:
    """Another standard deviation where it is a number written out and the owner of the weight is the right one."""

    def rewrite(node: cst.Call, kind: str, _: Names) -> cst.BaseExpression | None:
        std = argument(node, "std", 2)
        value = number(std.value) if std is not None else None
        if kind not in {"normal_", "trunc_normal_"} or std is None or not value or not applies(_owner(node).lower()):
            return None
        return with_value(node, std, f"{value * factor:.4g}")

    return lambda module: _initialiser(module, rewrite)


def _instead(node: cst.Call, name: str, known: Names, rest: str) -> cst.BaseExpression | None:
    """Another initialiser of the same weight, named the way this one is."""
    prefix = code(node.func).rpartition(".")[0]
    function = f"{prefix}.{name}" if prefix else known.local(f"{_INIT}{name}")
    return None if function is None else expression(f"{function}({code(node.args[0].value)}{rest})")


def _is_embedding(owner: str) -> bool:
    return any(word in owner for word in ("wte", "embed", "emb"))


def _is_head(owner: str) -> bool:
    return any(word in owner for word in ("head", "unembed"))


def _zero_on(node: cst.Call, kind: str, known: Names) -> cst.BaseExpression | None:
    if kind == "zeros_" or not _is_output(node):
        return None
    return _instead(node, "zeros_", known, "")


def _zero_off(node: cst.Call, kind: str, known: Names) -> cst.BaseExpression | None:
    if kind != "zeros_" or not (_is_output(node) or _owner(node) == "module"):
        return None
    return _instead(node, "normal_", known, ", mean=0.0, std=0.02")


def _uniform_to_normal(node: cst.Call, kind: str, known: Names) -> cst.BaseExpression | None:
    """The same variance: that of the uniform distribution over (-s, s) is s²/3."""
    low, high = argument(node, "a", 1), argument(node, "b", 2)
    if kind != "uniform_" or low is None or high is None:
        return None
    if code(low.value) != f"-{code(high.value)}":
        return None
    return _instead(node, "normal_", known, f", mean=0.0, std={operand(high.value)} / 3**0.5")


def _pattern(name: str, title: str, rationale: str, apply: Transform) -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category="initialisation", apply=apply)


PATTERNS = (
    _pattern(
        "embedding-init-smaller",
        "Start embeddings at half the scale",
        "Smaller embeddings let the first updates move them relatively further.",
        _scale(0.5, _is_embedding),
    ),
    _pattern(
        "embedding-init-larger",
        "Start embeddings at twice the scale",
        "Larger embeddings stay apart from each other from the first step on.",
        _scale(2.0, _is_embedding),
    ),
    _pattern(
        "head-init-larger",
        "Start the output head at three times the scale",
        "A head that starts near zero passes hardly any gradient back in the first steps.",
        _scale(3.0, _is_head),
    ),
    _pattern(
        "head-init-smaller",
        "Start the output head at a third of the scale",
        "A head near zero starts from uniform predictions, which is the best guess that knows nothing.",
        _scale(1 / 3, _is_head),
    ),
    _pattern(
        "matrix-init-smaller",
        "Start the matrices at 0.7 of the scale",
        "Smaller matrices start closer to the identity of the residual stream and learn features earlier.",
        _scale(0.7, lambda owner: not _is_embedding(owner) and not _is_head(owner)),
    ),
    _pattern(
        "zero-init-output-on",
        "Start output projections at zero",
        "Branches that add nothing at first leave the residual stream clean: deep models then train from step one.",
        lambda module: _initialiser(module, _zero_on),
    ),
    _pattern(
        "zero-init-output-off",
        "Start output projections at random",
        "A branch that starts at zero passes no gradient to the layers below its last; on a short budget that costs.",
        lambda module: _initialiser(module, _zero_off),
    ),
    _pattern(
        "uniform-to-normal-init",
        "Draw initial weights from a normal",
        "The same variance with tails: a few large weights give features to start from.",
        lambda module: _initialiser(module, _uniform_to_normal),
    ),
)
