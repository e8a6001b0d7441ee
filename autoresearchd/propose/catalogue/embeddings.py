"""Embeddings: their scale and norm where they enter the residual stream, and whether the head shares their weights."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Above,
    Block,
    Scope,
    declared,
    rewrite_blocks,
    rewrite_classes,
    rewrite_expressions,
    without,
)
from autoresearchd.propose.catalogue._syntax import (
    assigned,
    assignment,
    called,
    code,
    dotted,
    expression,
    operand,
    statement,
    walk,
)
from autoresearchd.propose.catalogue._torch import FUNCTIONAL, is_norm, names, norm_of

Change = Callable[[cst.BaseExpression, Above], cst.BaseExpression | None]
_TOKENS = ("wte", "tok_emb", "token_emb", "embedding", "embed", "emb")


def _is_lookup(node: cst.BaseExpression) -> bool:
    """`self.wte(idx)`: the call of a token embedding of this model."""
    if not isinstance(node, cst.Call) or len(node.args) != 1 or not called(node).startswith(_TOKENS):
        return False
    return (dotted(node.func) or "").startswith("self.")


def _looked_up(change: Callable[[cst.Module, cst.Call], str | None]) -> Transform:
    """Another value for `x = self.wte(idx)`, unless what follows normalises x: then no scale would matter."""

    def apply(module: cst.Module) -> cst.Module | None:
        def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
            for index, line in enumerate(body):
                target, value = assignment(line) or (None, None)
                if not isinstance(target, cst.Name) or value is None or not _is_lookup(value):
                    continue
                if index + 1 < len(body) and _norms(body[index + 1], target.value):
                    return None
                text = change(module, cst.ensure_type(value, cst.Call))
                if text is not None:
                    return [*body[:index], assigned(line, expression(text)), *body[index + 1 :]]
            return None

        return rewrite_blocks(module, rewrite)

    return apply


def _norms(line: cst.BaseStatement, variable: str) -> bool:
    target, value = assignment(line) or (None, None)
    if target is None or value is None or code(target) != variable or not is_norm(value):
        return False
    return isinstance(value, cst.Call) and code(value.args[0].value) == variable


def _scaled(_: cst.Module, lookup: cst.Call) -> str | None:
    return f"{code(lookup)} * {dotted(lookup.func)}.embedding_dim ** 0.5"


def _dropped(module: cst.Module, lookup: cst.Call) -> str | None:
    dropout = names(module).local(f"{FUNCTIONAL}.dropout")
    return None if dropout is None else f"{dropout}({code(lookup)}, 0.05, training=self.training)"


def _add_norm(module: cst.Module) -> cst.Module | None:
    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            target, value = assignment(line) or (None, None)
            if isinstance(target, cst.Name) and value is not None and _is_lookup(value):
                norm = norm_of(module, target.value)
                if norm is None or (index + 1 < len(body) and _norms(body[index + 1], target.value)):
                    return None
                return [*body[: index + 1], statement(f"{target.value} = {norm}"), *body[index + 1 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _remove_norm(module: cst.Module) -> cst.Module | None:
    def drop(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body[:-1]):
            target, value = assignment(line) or (None, None)
            if target is not None and value is not None and _is_lookup(value) and _norms(body[index + 1], code(target)):
                return without(body, index + 1)
        return None

    def bare(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not is_norm(node) or not isinstance(node, cst.Call) or not _is_lookup(node.args[0].value):
            return None
        return node.args[0].value

    return rewrite_blocks(module, drop) or rewrite_expressions(module, bare)


def _tie(module: cst.Module) -> cst.Module | None:
    """Where the head has the embedding's shape turned round, and no bias."""
    known = names(module)

    def rewrite(node: cst.ClassDef) -> cst.ClassDef | None:
        made = [
            (dotted(target), value, known.full(value.func))
            for target, value in filter(None, (assignment(line) for line in walk(node)))
            if isinstance(value, cst.Call) and len(value.args) >= 2
        ]
        tables = [(name, call) for name, call, full in made if full == "torch.nn.Embedding" and name]
        heads = [(name, call) for name, call, full in made if full == "torch.nn.Linear" and name]
        for table, embedding in tables:
            for head, linear in heads:
                if _is_turned(embedding, linear) and not _is_tied(node):
                    tied = declared(node, statement(f"{head}.weight = {table}.weight"))
                    return tied and rewrite_expressions(tied, _said_by(head, _shrunk))
        return None

    return rewrite_classes(module, rewrite)


def _said_by(head: str, change: Callable[[cst.BaseExpression, str], str | None]) -> Change:
    """Another argument for every call of the head."""

    def rewrite(node: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(node, cst.Call) or dotted(node.func) != head or len(node.args) != 1:
            return None
        text = change(node.args[0].value, f"{head}.in_features**-0.5")
        return None if text is None else expression(f"{head}({text})")

    return rewrite


def _shrunk(value: cst.BaseExpression, share: str) -> str:
    """Embeddings that start at unit variance would give logits as large as the root of their width (T5)."""
    return f"{operand(value)} * {share}"


def _as_it_was(value: cst.BaseExpression, share: str) -> str | None:
    is_shrunk = isinstance(value, cst.BinaryOperation) and code(value.right) == share
    return code(cst.ensure_type(value, cst.BinaryOperation).left) if is_shrunk else None


def _is_turned(embedding: cst.Call, linear: cst.Call) -> bool:
    shape = [code(arg.value) for arg in embedding.args[:2]]
    return [code(arg.value) for arg in reversed(linear.args[:2])] == shape and "bias=False" in code(linear)


def _is_tied(node: cst.CSTNode) -> bool:
    return any(_tying(line) for line in walk(node) if isinstance(line, cst.BaseStatement))


def _tying(line: cst.CSTNode) -> bool:
    target, value = assignment(line) or (None, None)
    sides = [dotted(side) or "" for side in (target, value) if side is not None]
    return len(sides) == 2 and all(side.startswith("self.") and side.endswith(".weight") for side in sides)


def _untie(module: cst.Module) -> cst.Module | None:
    def rewrite(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        marks = [index for index, line in enumerate(body) if _tying(line)]
        if not marks or len(body) < 2:
            return None
        target, _value = assignment(body[marks[0]]) or (None, None)
        heads.append((dotted(target) or "").removesuffix(".weight") if target is not None else "")
        return without(body, marks[0])

    heads = list[str]()
    untied = rewrite_blocks(module, rewrite)
    if untied is None:
        return None
    for head in heads:
        untied = rewrite_expressions(untied, _said_by(head, _as_it_was)) or untied
    return untied


def _pattern(name: str, title: str, rationale: str, apply: Transform) -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category="embedding", apply=apply)


PATTERNS = (
    _pattern(
        "embedding-norm-add",
        "Normalise the token embeddings",
        "Tokens that enter the stream at one length let every layer see the same scale from the start.",
        _add_norm,
    ),
    _pattern(
        "embedding-norm-remove",
        "Take the norm off the token embeddings",
        "The length of an embedding can then say how sure the model should be of a token.",
        _remove_norm,
    ),
    _pattern(
        "embedding-sqrt-scale",
        "Scale embeddings by the root of their width",
        "Embeddings of unit variance weigh as much in the stream as what the layers add (Vaswani et al., 2017).",
        _looked_up(_scaled),
    ),
    _pattern(
        "embedding-dropout",
        "Drop 5 % of the embedded tokens' features",
        "A little noise on the input regularises the part of the model with the most weights for its data.",
        _looked_up(_dropped),
    ),
    _pattern(
        "weight-tying-add",
        "Tie the head to the embedding",
        "One table for reading and writing tokens halves their weights and gets both gradients (Press and Wolf, 2017); "
        "what the head reads shrinks as in T5, so that the first logits stay small.",
        _tie,
    ),
    _pattern(
        "weight-tying-remove",
        "Untie the head from the embedding",
        "Reading and writing a token are different jobs; a head of its own can start at another scale.",
        _untie,
    ),
)
