"""Code transforms: the catalogue and the user's own find/replace, tried in the order in which their kind has paid.

Never writes. libcst is imported with the catalogue, on the first proposal.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from autoresearchd.experiment import Experiment, Outcome
from autoresearchd.program import CustomPattern, matches
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._misses import keeps_since, line_of_best, near_misses, short, with_edits
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._trees import Trees
from autoresearchd.propose.ablate import ablations

if TYPE_CHECKING:
    from libcst import Module

    from autoresearchd.propose.catalogue import Pattern

log = structlog.get_logger()
DEEPEST = 200
"""Levels of nesting in a file that transforms look into; people stay under 30."""
LOOKED_AT = 200
"""So many of the newest experiments of a category are compared file by file; older ones the ledger knows by tree."""
LONG_AGO = 5
"""Keeps between two tries of one transform, where the first was a near-miss."""
NO_TRIAL = frozenset({Outcome.DUPLICATE, Outcome.STALE, Outcome.SKIPPED})
"""What says nothing about the idea."""
Parse = Callable[[bytes], "Module | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idea:
    """One transform of one file, not yet applied."""

    name: str
    title: str
    rationale: str
    category: str
    path: str
    apply: Callable[[bytes], bytes | None]
    asked: bool = False
    """By the user, in program.toml."""


class Patterns:
    """Proposes the next transform that applies to best and was not tried on it."""

    name = "patterns"

    def __init__(self) -> None:
        self._results: dict[tuple[str, str, bytes], bytes | None] = {}
        """By transform, path and the file's content: most of a file's transforms outlive a change of best."""
        self._parsed: dict[bytes, Module | None] = {}
        """The syntax trees of best's files, a quarter of a MiB each."""
        self._trees = Trees()

    async def propose(self, context: Context) -> Proposal | None:
        spent = _spent(context)
        self._forget(context)
        for idea in _ordered(context, list(_ideas(context, self._parse))):
            if idea.title in spent:
                continue
            content = self._applied(idea, context.files[idea.path])
            if content is None or _is_known(context, self._trees, idea, content):
                continue
            return Proposal(
                parent=context.best,
                edits=(Edit(path=idea.path, content=content),),
                title=idea.title,
                rationale=idea.rationale,
                category=idea.category,
                proposer=self.name,
            )
        return None

    def _applied(self, idea: _Idea, before: bytes) -> bytes | None:
        key = (idea.name, idea.path, before)
        if key not in self._results:
            try:
                self._results[key] = _checked(idea.path, before, idea.apply(before))
            except Exception:
                # The files are what experiments made of them; a transform that stumbles over one must not end the rest.
                log.exception("pattern_failed", pattern=idea.name, path=idea.path)
                self._results[key] = None
        return self._results[key]

    def _forget(self, context: Context) -> None:
        """Drop what belongs to files as they no longer are, so that a long night does not pile up."""
        self._results = {key: value for key, value in self._results.items() if context.files.get(key[1]) == key[2]}
        here = set(context.files.values())
        self._parsed = {content: module for content, module in self._parsed.items() if content in here}

    def _parse(self, content: bytes) -> Module | None:
        if content not in self._parsed:
            self._parsed[content] = _parsed(content)
        return self._parsed[content]


def _checked(path: str, before: bytes, after: bytes | None) -> bytes | None:
    """A transform's result if it differs and compiles.

    Raises: SyntaxError when it does not compile.
    """
    if after is None or after == before:
        return None
    if path.endswith(".py"):
        compile(after, path, "exec", dont_inherit=True)
    return after


def _ideas(context: Context, parse: Parse) -> Iterator[_Idea]:
    """The user's own edits for the files they name, then every transform of the catalogue for every Python file."""
    from autoresearchd.propose.catalogue import PATTERNS

    settings = context.program.propose.patterns
    paths = [path for path in sorted(context.files) if context.program.may_edit(path)]
    for path in paths:
        for custom in settings.custom:
            if matches(path, custom.path) and custom.name not in settings.skip:
                yield _custom(custom, path, paths)
    for path in paths:
        for pattern in PATTERNS if path.endswith(".py") else ():
            if pattern.name not in settings.skip:
                yield _Idea(
                    name=pattern.name,
                    title=_title(pattern.title, path, paths),
                    rationale=pattern.rationale,
                    category=pattern.category,
                    path=path,
                    apply=partial(_transformed, pattern, parse),
                )


def _custom(custom: CustomPattern, path: str, paths: Sequence[str]) -> _Idea:
    """An edit of the user's own: by exact text, which has to be there exactly once."""
    find = custom.find.encode()
    fresh = custom.replace.encode() if custom.replace is not None else find + (custom.inject_after or "").encode()
    return _Idea(
        name=custom.name,
        title=_title(custom.name, path, paths),
        rationale="A change that program.toml asks to be tried.",
        category=custom.category,
        path=path,
        apply=lambda before: before.replace(find, fresh) if before.count(find) == 1 else None,
        asked=True,
    )


def _transformed(pattern: Pattern, parse: Parse, before: bytes) -> bytes | None:
    module = parse(before)
    after = None if module is None else pattern.apply(module)
    return None if after is None else after.bytes


def _parsed(content: bytes) -> Module | None:
    """The syntax tree; None for what Python or libcst does not read, or is nested beyond all use."""
    import libcst

    try:
        # libcst's parser recurses in C and dies of 5 000 parentheses, the process with it; Python's own says no.
        if _depth(ast.parse(content)) > DEEPEST:
            return None
        return libcst.parse_module(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError, libcst.ParserSyntaxError) as error:
        log.info("file_not_parsed", why=str(error).partition("\n")[0])
        return None


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def _title(title: str, path: str, paths: Sequence[str]) -> str:
    """The title with as much of the path as tells it from the others."""
    parts = path.split("/")
    tails = ("/".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
    tail = next(tail for tail in tails if sum(f"/{other}".endswith(f"/{tail}") for other in paths) == 1)
    return short(f"{title} in {tail}")


def _ordered(context: Context, ideas: list[_Idea]) -> list[_Idea]:
    """What the user asked for first, then by category: a draw from what is known of each category's rate of keeps.

    Thompson (1933): the better kind mostly goes first, a kind that is hardly known often enough.
    """
    kept, tried = Counter[str](), Counter[str]()
    for line in context.history.concluded():
        if line.verdict.outcome not in NO_TRIAL:
            tried[line.experiment.category] += 1
            kept[line.experiment.category] += line.verdict.outcome is Outcome.KEEP
    rng, draws = context.rng, dict[str, float]()
    for category in sorted({idea.category for idea in ideas}):
        draws[category] = rng.betavariate(1 + kept[category], 3 + tried[category] - kept[category])
    rng.shuffle(ideas)
    return sorted(ideas, key=lambda idea: (not idea.asked, -draws[idea.category]))


def _spent(context: Context) -> set[str]:
    """Titles that are waiting, were tried on this best, or were tried on another one and are no near-misses of old.

    What was kept may come again, unless it was taken out since: half the scale once more is another change.
    """
    line = line_of_best(context)
    near = {miss.experiment.number for miss, _ in near_misses(context)}
    trials = ablations(context.history.concluded())
    dead_weight = {taken.number for taken, trial in trials.items() if trial.verdict.outcome is Outcome.KEEP}
    spent: dict[str, bool] = {}
    for past in context.history.concluded():
        old = past.experiment
        if old.proposer == Patterns.name:
            fresh = past.verdict.outcome is Outcome.KEEP or (
                old.number in near and len(keeps_since(line, old.parent_tree)) >= LONG_AGO
            )
            spent[old.title] = old.parent_tree == context.best_tree or not fresh or old.number in dead_weight
    waiting = {each.title for each in context.pending}
    return waiting | {title for title, over in spent.items() if over}


def _is_known(context: Context, known: Trees, idea: _Idea, content: bytes) -> bool:
    """Whether best with this file is a tree that was tried under the same category, a former best, or waiting."""
    after = {**context.files, idea.path: content}
    same = [line for line in context.history.concluded() if line.experiment.category == idea.category][-LOOKED_AT:]
    trees = {line.experiment.tree for line in (*line_of_best(context), *same)}
    trees |= {each.tree for each in context.pending if isinstance(each, Experiment)}
    if any(known.files(context, tree) == after for tree in trees):
        return True
    proposals = [each for each in context.pending if isinstance(each, Proposal) and each.parent == context.best]
    return any(with_edits(context.files, each.edits) == after for each in proposals)
