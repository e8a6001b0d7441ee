"""Finds the tunable constants of Python source, and rewrites them in place; pure parsing, nothing is ever run.

The source is untrusted: what cannot be parsed or is unreasonably large is no constant. A seed is never tunable.
"""

from __future__ import annotations

import ast
import codecs
import hashlib
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from autoresearchd.program import Program, Tunable
from autoresearchd.proposal import Edit
from autoresearchd.propose._ranges import Kind, Range, Scale, Value, infer, is_hyperparameter, override, words
from autoresearchd.propose._spelling import is_power_of_two, number, respell

__all__ = ["Constant", "Kind", "Range", "Scale", "Value", "find", "nothing_to_search", "rewrite", "skeleton"]

log = structlog.get_logger()
LARGEST_FILE = 2**20
_PLUMBING = """
version path dir folder file url host port name device dtype eval val print verbose debug log interval workers threads
timeout eps epsilon vocab flops budget seconds compile profile checkpoint
"""
_BUDGETS = "steps max_steps num_steps total_steps train_steps iterations num_iterations max_iters num_iters epochs"
UNTOUCHABLE = frozenset(_PLUMBING.split())
"""Words of names that hold no idea: changing them changes what is measured, or nothing. program.toml can ask."""
BUDGETS = frozenset(_BUDGETS.split())
"""Whole names of what the program's budget decides."""
_ALL_CAPS = re.compile(r"[A-Z][A-Z0-9_]+")
_LOWER = re.compile(r"[a-z][a-z0-9_]+")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A value in the source that a search may change; `start` and `end` are byte offsets of its expression."""

    path: str
    name: str
    """`MATRIX_LR`, `BETAS[0]`, `Config.width` or `--depth`."""
    value: Value
    range: Range
    start: int
    end: int

    @property
    def key(self) -> str:
        """Unique among the constants of a tree, and the same from tree to tree."""
        return f"{self.path}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    name: str
    node: ast.expr
    declared: tuple[Value, ...] = ()
    as_float: bool = False


def find(files: Mapping[str, bytes], tunables: Mapping[str, Tunable] | None = None) -> tuple[Constant, ...]:
    """Every tunable constant of the `.py` files, by path and position.

    `tunables` are the overrides of program.toml, by `NAME` or `path:NAME`.
    """
    modules = {path: module for path, content in sorted(files.items()) if (module := _parse(path, content)) is not None}
    passed = _passed(modules.values())
    constants: list[Constant] = []
    for path, module in modules.items():
        found = [*_assignments(module), *_fields(module, passed), *_arguments(module)]
        times = Counter(item.name for item in found)
        offsets = _offsets(files[path])
        # What is assigned twice is not a constant: nobody can say which of the two counts.
        single = (_constant(path, item, offsets, tunables or {}) for item in found if times[item.name] == 1)
        constants.extend(constant for constant in single if constant is not None)
    return tuple(sorted(constants, key=lambda constant: (constant.path, constant.start)))


def nothing_to_search(files: Mapping[str, bytes], program: Program) -> str:
    """Why the numeric search has nothing to say of these files, where it is asked; empty where it has."""
    space = program.propose.space
    if not space.enabled or find(files, space.constants):
        return ""
    return "no constant is found in what may be edited, so `space` and `refine` have nothing to search over"


def rewrite(files: Mapping[str, bytes], values: Mapping[Constant, Value]) -> tuple[Edit, ...]:
    """Edits that give the constants (found in these very files) new values, each spelled as the old one was."""
    edits = []
    for path in sorted({constant.path for constant in values}):
        content = files[path]
        for constant in sorted((c for c in values if c.path == path), key=lambda c: -c.start):
            spelled = respell(content[constant.start : constant.end], values[constant])
            content = content[: constant.start] + spelled + content[constant.end :]
        if content != files[path]:
            edits.append(Edit(path=path, content=content))
    return tuple(edits)


def skeleton(files: Mapping[str, bytes], constants: Iterable[Constant]) -> str:
    """A digest of everything but the constants' values: equal where two trees differ in nothing else."""
    spans: dict[str, list[Constant]] = defaultdict(list)
    for constant in constants:
        spans[constant.path].append(constant)
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"\0{path}\0".encode())
        last = 0
        for constant in spans[path]:
            digest.update(content[last : constant.start] + f"\0{constant.name}\0".encode())
            last = constant.end
        digest.update(content[last:])
    return digest.hexdigest()


def _parse(path: str, content: bytes) -> ast.Module | None:
    if not path.endswith(".py") or len(content) > LARGEST_FILE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in their strings is no business of ours
            return ast.parse(content.decode("utf-8-sig"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        log.info("source_not_parsed", path=path, why=str(error))
        return None


def _constant(path: str, item: _Found, offsets: list[int], tunables: Mapping[str, Tunable]) -> Constant | None:
    value = _value(item.node)
    asked = tunables.get(f"{path}:{item.name}", tunables.get(item.name))
    if value is None or "seed" in item.name.lower() or (asked is None and _untouchable(item.name)):
        return None
    if item.as_float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    span = infer(item.name, value, declared=item.declared, power=is_power_of_two(item.node))
    if asked is not None:
        span = override(span, value, asked)
    if span is None:
        return None
    node = item.node
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    start, end = offsets[node.lineno - 1] + node.col_offset, offsets[node.end_lineno - 1] + node.end_col_offset
    return Constant(path=path, name=item.name, value=value, range=span, start=start, end=end)


def _untouchable(name: str) -> bool:
    return bool(words(name) & UNTOUCHABLE) or name.rpartition(".")[2].lstrip("-").replace("-", "_").lower() in BUDGETS


def _value(node: ast.expr) -> Value | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | str):
        return node.value
    return number(node)


def _offsets(content: bytes) -> list[int]:
    """Byte offset at which each line's columns begin to count."""
    offsets, total = [], 0
    for line in content.splitlines(keepends=True):
        offsets.append(total)
        total += len(line)
    if offsets and content.startswith(codecs.BOM_UTF8):
        offsets[0] = len(codecs.BOM_UTF8)
    return offsets or [0]


def _assignments(module: ast.Module) -> Iterator[_Found]:
    """NAME = value at the top of a module, alone or annotated; tuples of numbers by element.

    A name in small letters is a constant where it is a hyperparameter's and nothing else writes to it.
    """
    writes = _writes(module)
    for statement in module.body:
        note: ast.expr | None = None
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=node):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=note, value=ast.expr() as node):
                pass
            case _:
                continue
        if _ALL_CAPS.fullmatch(name) or (_LOWER.fullmatch(name) and is_hyperparameter(name) and writes[name] == 1):
            yield from _elements(name, node, note)


def _writes(module: ast.Module) -> Counter[str]:
    """How often each of a module's names is written to, or claimed by a function that may write to it."""
    found = Counter(name for node in ast.walk(module) if isinstance(node, ast.Global) for name in node.names)
    waiting: list[ast.AST] = [*module.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        if not isinstance(node, _SCOPES):  # whose names are their own
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _fields(module: ast.Module, passed: Mapping[str, list[set[str | None]]]) -> Iterator[_Found]:
    """Defaults of dataclass fields, but for those that every construction in sight overrides."""
    for owner in ast.walk(module):
        if not isinstance(owner, ast.ClassDef) or not any(map(_is_dataclass, owner.decorator_list)):
            continue
        calls = passed.get(owner.name, [])
        for statement in owner.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=note, value=ast.expr() as node):
                    if calls and all(name in call for call in calls):
                        continue
                    yield from _elements(f"{owner.name}.{name}", _keyword(node, "default") or node, note)


def _arguments(module: ast.Module) -> Iterator[_Found]:
    """`default=` of argparse options."""
    for call in ast.walk(module):
        match call:
            case ast.Call(func=ast.Attribute(attr="add_argument")):
                names = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                node, choices = _keyword(call, "default"), _keyword(call, "choices")
                name = next((n for n in names if n.startswith("--")), names[0] if names else "")
                if node is not None and name.startswith("-"):
                    kind = _keyword(call, "type")
                    as_float = isinstance(kind, ast.Name) and kind.id == "float"
                    yield _Found(name=name, node=node, declared=_literals(choices), as_float=as_float)


def _elements(name: str, node: ast.expr, note: ast.expr | None = None) -> Iterator[_Found]:
    declared, as_float = _declared(note), isinstance(note, ast.Name) and note.id == "float"
    if isinstance(node, ast.Tuple) and all(number(element) is not None for element in node.elts):
        for index, element in enumerate(node.elts):
            yield _Found(name=f"{name}[{index}]", node=element)
    else:
        yield _Found(name=name, node=node, declared=declared, as_float=as_float)


def _declared(note: ast.expr | None) -> tuple[Value, ...]:
    """The values of a Literal annotation, also inside Final[...]."""
    for node in ast.walk(note) if note is not None else ():
        match node:
            case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"), slice=inner):
                return _literals(inner)
    return ()


def _literals(node: ast.expr | None) -> tuple[Value, ...]:
    elements = node.elts if isinstance(node, ast.Tuple | ast.List) else [] if node is None else [node]
    values = tuple(value for element in elements if (value := _value(element)) is not None)
    return values if len(values) == len(elements) else ()


def _keyword(node: ast.expr, name: str) -> ast.expr | None:
    if not isinstance(node, ast.Call):
        return None
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _is_dataclass(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(func=inner):
            return _is_dataclass(inner)
        case ast.Name(id="dataclass") | ast.Attribute(attr="dataclass"):
            return True
    return False


def _passed(modules: Iterable[ast.Module]) -> dict[str, list[set[str | None]]]:
    """For each name that is called: the keywords of every call."""
    calls: dict[str, list[set[str | None]]] = defaultdict(list)
    for module in modules:
        for node in ast.walk(module):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), keywords=keywords):
                    calls[name].append({keyword.arg for keyword in keywords})
    return calls
