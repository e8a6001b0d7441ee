"""Activations of the feed-forward layers: which non-linearity, gated or not; functions and modules of torch."""

from __future__ import annotations

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern, Transform
from autoresearchd.propose.catalogue._rewrite import (
    Above,
    Block,
    Scope,
    instead,
    rewrite_blocks,
    rewrite_classes,
    rewrite_expressions,
)
from autoresearchd.propose.catalogue._syntax import (
    assignment,
    called,
    code,
    dotted,
    expression,
    number,
    operand,
    statement,
    walk,
    with_value,
)
from autoresearchd.propose.catalogue._torch import FUNCTIONAL, Names, names

_MODULES = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}
_OF_MODULES = {f"torch.nn.{name}": kind for kind, name in _MODULES.items()}
_WRITTEN = {
    "relu": "{f}.relu({x})",
    "relu2": "{f}.relu({x}).square()",
    "gelu": "{f}.gelu({x})",
    "silu": "{f}.silu({x})",
    "leaky2": "{f}.leaky_relu({x}, 0.5).square()",
}


def activation(node: cst.CSTNode, known: Names) -> tuple[str, cst.BaseExpression] | None:
    """The kind of activation function that is applied here, and to what."""
    squared = _squared(node, known)
    if squared is not None:
        inner = activation(squared, known)
        return ("relu2", inner[1]) if inner is not None and inner[0] == "relu" else None
    if not isinstance(node, cst.Call) or not node.args or node.args[0].keyword is not None or node.args[0].star:
        return None
    full = known.full(node.func)
    kind = full.rpartition(".")[2] if full.startswith((f"{FUNCTIONAL}.", "torch.relu")) else ""
    return (kind, node.args[0].value) if kind in _MODULES else None


def _squared(node: cst.CSTNode, known: Names) -> cst.BaseExpression | None:
    """What is squared here, in any of the ways to write it."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Power) and number(node.right) == 2:
        return node.left
    if not isinstance(node, cst.Call):
        return None
    full = known.full(node.func)
    if full == "torch.square" and len(node.args) == 1:
        return node.args[0].value
    if full == "torch.pow" and len(node.args) == 2 and number(node.args[1].value) == 2:
        return node.args[0].value
    if full or not isinstance(node.func, cst.Attribute):
        return None
    power = called(node) == "pow" and len(node.args) == 1 and number(node.args[0].value) == 2
    return node.func.value if power or (called(node) == "square" and not node.args) else None


def _swap(old: str, new: str) -> Transform:
    """`old` becomes `new` wherever it is applied, or made as a module where torch has a module of both."""

    def apply(module: cst.Module) -> cst.Module | None:
        known = names(module)
        functional, modules = known.local(FUNCTIONAL), known.local("torch.nn")

        def rewrite(node: cst.BaseExpression, above: Above) -> cst.BaseExpression | None:
            if isinstance(node, cst.Call) and _OF_MODULES.get(known.full(node.func)) == old:
                return expression(f"{modules}.{_MODULES[new]}()") if modules and new in _MODULES else None
            found = activation(node, known)
            if found is None or found[0] != old or functional is None or _is_squared(node, above, known):
                return None
            return expression(_WRITTEN[new].format(f=functional, x=code(found[1])))

        return rewrite_expressions(module, rewrite)

    return apply


def _is_squared(node: cst.CSTNode, above: Above, known: Names) -> bool:
    bases = (_squared(outer, known) for outer in above[-3:])
    return any(base is not None and code(base) == code(node) for base in bases)


def _gated(module: cst.Module) -> cst.Module | None:
    """Half of the hidden units gate the other half, within the weights that are there."""
    known = names(module)
    silu = known.local(f"{FUNCTIONAL}.silu")
    return None if silu is None else rewrite_classes(module, lambda node: _gated_class(node, known, silu))


def _gated_class(node: cst.ClassDef, known: Names, silu: str) -> cst.ClassDef | None:
    linears = _two_linears(node, known)
    if linears is None or any(isinstance(inner, cst.Name) and inner.value in {"gate", "value"} for inner in walk(node)):
        return None
    rising, fall = linears

    def split(body: Block, _: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            found = _applied(line, rising, known) if isinstance(line, cst.SimpleStatementLine) else None
            if found is not None:
                applied, hidden, name = found
                halves = statement(f"gate, value = {operand(hidden)}.chunk(2, dim=-1)")
                gating = line.deep_replace(applied, expression(f"{name or silu}(gate) * value"))
                return [*body[:index], *instead(line, halves, cst.ensure_type(gating, type(line))), *body[index + 1 :]]
        return None

    def narrow(call: cst.BaseExpression, _: Above) -> cst.BaseExpression | None:
        if not isinstance(call, cst.Call) or not call.deep_equals(fall):
            return None
        return with_value(call, call.args[0], f"{operand(call.args[0].value)} // 2")

    halved = rewrite_blocks(node, split)
    return None if halved is None else rewrite_expressions(halved, narrow)


def _two_linears(node: cst.ClassDef, known: Names) -> tuple[str, cst.Call] | None:
    """Where a class is two Linear layers, one up and one down: the name of the first, the making of the second."""
    found = [
        (target, value)
        for target, value in filter(None, map(assignment, _lines(node)))
        if isinstance(value, cst.Call) and known.full(value.func) == "torch.nn.Linear" and len(value.args) >= 2
    ]
    if len(found) != 2:
        return None
    (target, rise), (_, fall) = found
    positional = rise.args[1].keyword is None and fall.args[0].keyword is None
    if not positional or rise.deep_equals(fall) or code(rise.args[1].value) != code(fall.args[0].value):
        return None
    return dotted(target) or "", fall


def _applied(
    line: cst.SimpleStatementLine, rising: str, known: Names
) -> tuple[cst.BaseExpression, cst.BaseExpression, str] | None:
    """The activation in a line, what it is applied to, and its name where the program has a function of its own."""
    for node in walk(line):
        found = activation(node, known)
        if found is not None and isinstance(node, cst.BaseExpression):
            return node, found[1], ""
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and len(node.args) == 1:
            hidden = node.args[0].value
            if isinstance(hidden, cst.Call) and dotted(hidden.func) == rising:
                return node, hidden, node.func.value
    return None


def _lines(node: cst.ClassDef) -> list[cst.BaseStatement]:
    """The statements of a class's own methods, those in deeper blocks left out."""
    return [
        line
        for method in node.body.body
        if isinstance(method, cst.FunctionDef) and isinstance(method.body, cst.IndentedBlock)
        for line in method.body.body
    ]


def _pattern(old: str, new: str, name: str, title: str, rationale: str) -> Pattern:
    return Pattern(name=name, title=title, rationale=rationale, category="activation", apply=_swap(old, new))


PATTERNS = (
    _pattern(
        "relu2",
        "gelu",
        "relu2-to-gelu",
        "Swap ReLU² for GELU",
        "GELU passes a gradient for negative inputs, which may use a short budget better than the sparser ReLU².",
    ),
    _pattern(
        "relu2",
        "silu",
        "relu2-to-silu",
        "Swap ReLU² for SiLU",
        "SiLU is smooth and keeps a gradient below zero; units that ReLU² lets die may go on learning.",
    ),
    _pattern(
        "relu2",
        "leaky2",
        "relu2-to-leaky-relu2",
        "Swap ReLU² for leaky ReLU²",
        "Half a slope below zero keeps every hidden unit in training without giving up the square.",
    ),
    _pattern(
        "gelu",
        "relu2",
        "gelu-to-relu2",
        "Swap GELU for ReLU²",
        "ReLU² is cheaper and sparser than GELU and was the better one in a search over transformers (Primer, 2021).",
    ),
    _pattern(
        "gelu",
        "silu",
        "gelu-to-silu",
        "Swap GELU for SiLU",
        "SiLU has GELU's shape at less cost; a time budget buys more steps.",
    ),
    _pattern(
        "silu",
        "gelu",
        "silu-to-gelu",
        "Swap SiLU for GELU",
        "GELU is steeper around zero than SiLU, which may speed early learning.",
    ),
    _pattern(
        "silu",
        "relu2",
        "silu-to-relu2",
        "Swap SiLU for ReLU²",
        "ReLU² is cheaper and sparser than SiLU and was the better one in a search over transformers (Primer, 2021).",
    ),
    _pattern(
        "relu",
        "relu2",
        "relu-to-relu2",
        "Swap ReLU for ReLU²",
        "Squaring the ReLU was the largest single gain of an architecture search over transformers (Primer, 2021).",
    ),
    _pattern(
        "relu",
        "gelu",
        "relu-to-gelu",
        "Swap ReLU for GELU",
        "GELU is smooth and has no dead units, which plain ReLU collects.",
    ),
    Pattern(
        name="gated-mlp",
        title="Gate half of the hidden units",
        rationale="Gated layers (SwiGLU; Shazeer, 2020) learn more per weight; here the gate comes out of the hidden "
        "units that are there, and the layer shrinks by a quarter or more.",
        category="activation",
        apply=_gated,
    ),
)
