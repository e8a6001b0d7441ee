"""Attention: normalised queries and keys, how sharp the softmax is, what becomes of the values, rotary wavelengths."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Block,
    Scope,
    declared,
    rewrite_blocks,
    rewrite_classes,
    rewrite_parameters,
    without,
)
from autoresearchd.propose.catalogue._syntax import assigned, assignment, code, expression, number, statement, walk
from autoresearchd.propose.catalogue._torch import attended, is_norm, mentions, names, norm_of

SHARPEN = 1.2
"""Factor on normalised queries; 1.15 on both queries and keys was among the wins of a published night of search."""


def _pairs(line: cst.BaseStatement) -> list[tuple[str, cst.BaseExpression]]:
    """Variables and what they are set to, for `q = …` as for `q, k = …, …`."""
    target, value = assignment(line) or (None, None)
    if isinstance(target, cst.Name) and value is not None:
        return [(target.value, value)]
    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple) and len(target.elements) == len(value.elements):
        named = zip(target.elements, value.elements, strict=True)
        return [(code(left.value), right.value) for left, right in named]
    return []


def _normalises(line: cst.BaseStatement, variables: Sequence[str]) -> bool:
    return any(name in variables and is_norm(value) for name, value in _pairs(line))


def _after_qk_norm(body: Block, scope: Scope) -> tuple[int, tuple[str, str, str]] | None:
    """Behind which statement of this block queries and keys are normalised, and their names."""
    found = attended(scope[-1]) if scope else None
    if found is None:
        return None
    marks = [index for index, line in enumerate(body) if _normalises(line, found[:2])]
    return (marks[-1] + 1, found) if marks else None


def _insert(body: Block, index: int, text: str) -> list[cst.BaseStatement] | None:
    """The block with one more statement; None where it says so already, wherever that is."""
    fresh = cst.ensure_type(statement(text), cst.SimpleStatementLine)
    if any(isinstance(line, cst.SimpleStatementLine) and line.body[0].deep_equals(fresh.body[0]) for line in body):
        return None
    return [*body[:index], fresh, *body[index:]]


def _is_set_before(function: cst.CSTNode, variable: str, mark: cst.BaseStatement) -> bool:
    for line in walk(function):
        if isinstance(line, cst.SimpleStatementLine):
            if line.deep_equals(mark):
                return False
            target, _ = assignment(line) or (None, None)
            if target is not None and any(
                isinstance(node, cst.Name) and node.value == variable for node in walk(target)
            ):
                return True
    return False


def _after_norm(text: str) -> Transform:
    """One more statement behind the QK-norm, from a template over q, k and v."""

    def apply(module: cst.Module) -> cst.Module | None:
        def rewrite(body: Block, scope: Scope) -> list[cst.BaseStatement] | None:
            found = _after_qk_norm(body, scope)
            if found is None:
                return None
            query, key, value = found[1]
            norm = norm_of(module, value)
            if norm is None or not _is_set_before(scope[-1], value, body[found[0] - 1]):
                return None
            return _insert(body, found[0], text.format(q=query, k=key, v=value, norm=norm))

        return rewrite_blocks(module, rewrite)

    return apply


def _add_qk_norm(module: cst.Module) -> cst.Module | None:
    def rewrite(body: Block, scope: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            found = attended(line) if scope and isinstance(line, cst.SimpleStatementLine) else None
            if found is None or mentions(scope[-1], "norm"):
                continue
            left, right = norm_of(module, found[0]), norm_of(module, found[1])
            return _insert(body, index, f"{found[0]}, {found[1]} = {left}, {right}") if left and right else None
        return None

    return rewrite_blocks(module, rewrite)


def _remove_qk_norm(module: cst.Module) -> cst.Module | None:
    """`q = norm(E)` → `q = E`; a statement that then says nothing goes."""

    def rewrite(body: Block, scope: Scope) -> list[cst.BaseStatement] | None:
        found = attended(scope[-1]) if scope else None
        marks = [index for index, line in enumerate(body) if found and _normalises(line, found[:2])]
        if not marks or found is None:
            return None
        fresh: list[cst.BaseStatement] = list(body)
        for index in reversed(marks):
            bare = _bare(fresh[index], found[:2])
            if all(name == code(value) for name, value in _pairs(bare)):
                if len(fresh) == 1:
                    return None  # all that a condition guards: the condition is the switch
                fresh = without(fresh, index)
            else:
                fresh[index] = bare
        return fresh

    return rewrite_blocks(module, rewrite)


def _bare(line: cst.BaseStatement, variables: Sequence[str]) -> cst.BaseStatement:
    """The assignment with the norms of these variables taken off."""

    def peel(name: str, value: cst.BaseExpression) -> cst.BaseExpression:
        return value.args[0].value if name in variables and is_norm(value) and isinstance(value, cst.Call) else value

    _, value = assignment(line) or (None, None)
    if not isinstance(value, cst.Tuple):
        ((name, only),) = _pairs(line)
        return assigned(line, peel(name, only))
    peeled = (peel(name, old) for name, old in _pairs(line))
    elements = [old.with_changes(value=new) for old, new in zip(value.elements, peeled, strict=True)]
    return assigned(line, value.with_changes(elements=elements))


def _learned_scale(module: cst.Module) -> cst.Module | None:
    """One learned factor on the queries of each layer, behind the QK-norm.

    Not where weights are made without values first: the new one would keep what happened to be in memory.
    """
    known = names(module)
    parameter, ones = known.local("torch.nn.Parameter"), known.local("torch.ones")
    if parameter is None or ones is None or mentions(module, "to_empty"):
        return None

    def multiply(body: Block, scope: Scope) -> list[cst.BaseStatement] | None:
        found = _after_qk_norm(body, scope)
        if found is None or scope[-1].name.value == "__init__":
            return None
        query = found[1][0]
        return _insert(body, found[0], f"{query} = {query} * self.query_scale.to({query}.dtype)")

    def rewrite(node: cst.ClassDef) -> cst.ClassDef | None:
        if mentions(node, "query_scale"):
            return None
        scaled = rewrite_blocks(node, multiply)
        if scaled is None:
            return None
        return declared(scaled, statement(f"self.query_scale = {parameter}({ones}(1))"))

    return rewrite_classes(module, rewrite)


def _rope_base(base: int) -> Transform:
    """Another wavelength for the rotary embedding, where it is a number in the signature of a function."""

    def apply(module: cst.Module) -> cst.Module | None:
        def rewrite(node: cst.Param) -> cst.Param | None:
            if node.name.value not in {"base", "theta", "rope_base", "rope_theta"} or number(node.default) != 10_000:
                return None
            return node.with_changes(default=expression(str(base)))

        return rewrite_parameters(module, rewrite)

    return apply


PATTERNS = (
    Pattern(
        name="qk-norm-add",
        title="Normalise queries and keys",
        rationale="QK-norm bounds the attention logits: higher learning rates stay stable (Henry et al., 2020).",
        category="attention",
        apply=_add_qk_norm,
    ),
    Pattern(
        name="qk-norm-remove",
        title="Take the norm off queries and keys",
        rationale="A small model on a short budget may not need QK-norm, and without it heads choose their scale.",
        category="attention",
        apply=_remove_qk_norm,
    ),
    Pattern(
        name="attention-sharpen",
        title=f"Sharpen attention by {SHARPEN} after QK-norm",
        rationale="Normalised queries and keys bound the logits by the root of the head's size; a little more range "
        "lets heads be more selective.",
        category="attention",
        apply=_after_norm(f"{{q}} = {{q}} * {SHARPEN}"),
    ),
    Pattern(
        name="attention-learned-scale",
        title="Learn the attention scale after QK-norm",
        rationale="With QK-norm no weight can set how sharp attention is; one learned number a layer can.",
        category="attention",
        apply=_learned_scale,
    ),
    Pattern(
        name="value-norm",
        title="Normalise the values as well",
        rationale="Values of one length keep single tokens from dominating what a head writes into the stream.",
        category="attention",
        apply=_after_norm("{v} = {norm}"),
    ),
    Pattern(
        name="rope-base-longer",
        title="Raise the rotary base to 100 000",
        rationale="Longer wavelengths leave more dimensions to content and fewer to position.",
        category="attention",
        apply=_rope_base(100_000),
    ),
    Pattern(
        name="rope-base-shorter",
        title="Lower the rotary base to 1 000",
        rationale="A short context never turns the slow dimensions of base 10 000; a smaller base puts them to use.",
        category="attention",
        apply=_rope_base(1_000),
    ),
)
