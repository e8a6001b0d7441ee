"""What names mean in a PyTorch program: imports resolved, attention and norms recognised.

`import mlx.nn as nn` is not torch, whatever the alias says. Pure; looks at one file only.
"""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from autoresearchd.propose.catalogue._syntax import called, calls, code, dotted, statement, walk

FUNCTIONAL = "torch.nn.functional"
ATTENTION = ("scaled_dot_product_attention", "flash_attn_func", "flex_attention")


@dataclass(frozen=True, slots=True)
class Names:
    """Which local name stands for which module or member, by the imports at the top of a file."""

    pairs: tuple[tuple[str, str], ...]
    """(full name, local name)"""

    def full(self, node: cst.CSTNode) -> str:
        """`F.relu` → `torch.nn.functional.relu`; empty where it is not an imported name."""
        text = dotted(node) or ""
        head, _, rest = text.partition(".")
        return next((f"{full}.{rest}" if rest else full for full, local in self.pairs if local == head), "")

    def local(self, full: str) -> str | None:
        """`torch.nn.functional.relu` → `F.relu`, the shortest way this file has of saying it."""
        ways = [f"{local}{full[len(known) :]}" for known, local in self.pairs if f"{full}.".startswith(f"{known}.")]
        return min(ways, key=len, default=None)


def names(module: cst.Module) -> Names:
    """The imports at the top level of a file."""
    pairs: list[tuple[str, str]] = []
    for line in module.body:
        for small in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            pairs += _bound(small)
    return Names(tuple(pairs))


def _bound(small: cst.BaseSmallStatement) -> list[tuple[str, str]]:
    if isinstance(small, cst.Import):
        prefix = ""
    elif isinstance(small, cst.ImportFrom) and small.module is not None and not small.relative:
        prefix = f"{dotted(small.module)}."
    else:
        return []
    if isinstance(small.names, cst.ImportStar):
        return []
    pairs = []
    for alias in small.names:
        full = f"{prefix}{code(alias.name)}"
        if alias.asname is not None:
            pairs.append((full, code(alias.asname.name).strip()))
        else:
            pairs.append((full, full) if prefix else (full.partition(".")[0], full.partition(".")[0]))
    return [(full, local if not prefix else local.rpartition(".")[2]) for full, local in pairs]


def with_import(module: cst.Module, name: str) -> cst.Module:
    """The module with `import name` ahead of its first other import."""
    if names(module).local(name) == name:
        return module
    body = list(module.body)
    for index, line in enumerate(body):
        if isinstance(line, cst.SimpleStatementLine) and isinstance(line.body[0], cst.Import | cst.ImportFrom):
            first = line.body[0]
            if isinstance(first, cst.ImportFrom) and first.module is not None and dotted(first.module) == "__future__":
                continue
            fresh = statement(f"import {name}").with_changes(leading_lines=line.leading_lines)
            return module.with_changes(
                body=[*body[:index], fresh, line.with_changes(leading_lines=[]), *body[index + 1 :]]
            )
    return module


def root(node: cst.BaseExpression) -> str:
    """The name at the bottom of a chain of attributes, calls and subscripts: `q` of `q.transpose(1, 2)`."""
    while isinstance(node, cst.Attribute | cst.Call | cst.Subscript):
        node = node.func if isinstance(node, cst.Call) else node.value
    return node.value if isinstance(node, cst.Name) else ""


def attended(node: cst.CSTNode) -> tuple[str, str, str] | None:
    """The names of query, key and value in the first attention call inside a node."""
    for call in calls(node, *ATTENTION):
        if len(call.args) >= 3 and all(arg.keyword is None and not arg.star for arg in call.args[:3]):
            query, key, value = (root(arg.value) for arg in call.args[:3])
            if query and key and value:
                return query, key, value
    return None


def norm_of(module: cst.Module, variable: str) -> str | None:
    """How this file normalises a tensor without weights: by its own function if it has one, else by torch's RMSNorm."""
    for line in module.body:
        if isinstance(line, cst.FunctionDef) and line.name.value in {"norm", "rms_norm", "rmsnorm"}:
            return f"{line.name.value}({variable})" if len(line.params.params) == 1 else None
    rms_norm = names(module).local(f"{FUNCTIONAL}.rms_norm")
    return None if rms_norm is None else f"{rms_norm}({variable}, ({variable}.size(-1),))"


def is_norm(node: cst.CSTNode) -> bool:
    """Whether this is a call of a norm without weights (a function, no module of the model)."""
    if not isinstance(node, cst.Call) or not node.args or "norm" not in called(node).lower():
        return False
    return root(node.func) != "self"


def mentions(node: cst.CSTNode, *words: str) -> bool:
    """Whether any name in a node contains one of these words, case ignored."""
    found = (inner.value.lower() for inner in walk(node) if isinstance(inner, cst.Name))
    return any(word in name for name in found for word in words)
