"""Promotion: which of what was kept also gains on the rungs above the first, and what to train to know it. Pure.

A commit holds on a rung if it is shown to gain there, by the judge's own boundaries; it is not enough that a stack with
it in it gains. Some wait; the stack of all that wait is trained first, and if that fails, what breaks it is found by
halving. Then every run has another half of them, so that each tells about each (`judge.halves`). What holds must at
last, as one stack and on every rung, be better than what was promoted last. All follows from git and the filed runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from autoresearchd.experiment import (
    FAILED,
    CommitOid,
    Direction,
    Ending,
    Lines,
    Measurement,
    Outcome,
    TreeOid,
    Verdict,
)
from autoresearchd.judge import Conclude, Decision, Effect, Measure, Seen, Side, decide, halves, value
from autoresearchd.promotion import Blocked, Climb, Commits, Ladder, Level, Move, Note, Promotion, Runs, Wanted
from autoresearchd.standing import Standing
from autoresearchd.trailers import number

REFUSED = FAILED | {Outcome.REJECTED, Outcome.TAMPERED, Outcome.PRUNED}
"""What a stack cannot be judged by its numbers for."""
TRIES = 3
"""So many runs of what was promoted may fail on a rung before the rung itself is taken for broken."""


def next_move(ladder: Ladder) -> Move | None:
    """What promotion does next; None when nothing waits for it."""
    waiting = tuple(commit for commit in ladder.line if not _fallen(ladder, commit))
    if ladder.climbing is None or ladder.climbing not in ladder.line:
        return Climb(tip=waiting[: halves.MOST][-1]) if waiting else None
    reached = ladder.line[: ladder.line.index(ladder.climbing) + 1]
    chosen = tuple(commit for commit in waiting if commit in reached)
    if not chosen:
        later = waiting[: halves.MOST]
        return Climb(tip=later[-1]) if later else None
    if (unfit := _unfit(ladder, chosen)) is not None:
        return unfit
    for level in ladder.levels:
        if (move := _Rung(ladder, level, chosen).move()) is not None:
            return move
    rungs = [_Rung(ladder, level, chosen) for level in ladder.levels]
    evidence = {commit: {rung.name: rung.shown(commit) for rung in rungs} for commit in chosen}
    return Promotion(commits=chosen, evidence=evidence)


def fallen(standings: Sequence[Standing], levels: Sequence[Level]) -> Standing | None:
    """The rung on which a commit does not hold, as far as the rungs are what they were."""
    newest = {(standing.scale, standing.environment): standing for standing in standings}
    found = (newest.get((level.name, level.environment)) for level in levels)
    return next((standing for standing in found if standing is not None and not standing.holds), None)


def _fallen(ladder: Ladder, commit: CommitOid) -> bool:
    return fallen(ladder.standings.get(commit, ()), ladder.levels) is not None


def _unfit(ladder: Ladder, chosen: Commits) -> Note | None:
    """The first that cannot be replayed on those before it, or with which nothing is left of them."""
    for count in range(1, len(chosen) + 1):
        tree = ladder.stack(chosen[:count])
        if tree is None:
            return _fall(ladder, ladder.levels[0], chosen[count - 1], "it conflicts without what did not hold")
    if ladder.stack(chosen) == ladder.base:
        return _fall(ladder, ladder.levels[0], chosen[-1], "nothing is left of it without what did not hold")
    return None


def _fall(ladder: Ladder, level: Level, commit: CommitOid, evidence: str) -> Note:
    return Note(standings={commit: _standing(level, evidence, holds=False)})


def _standing(level: Level, evidence: str, *, holds: bool) -> Standing:
    return Standing(scale=level.name, holds=holds, environment=level.environment, evidence=evidence)


def units(stack: Callable[[Commits], TreeOid | None], chosen: Commits) -> tuple[Commits, ...]:
    """The commits in groups, each of which can be left out while all others stay: a conflict keeps them together."""
    groups: list[list[CommitOid]] = [[commit] for commit in chosen]
    at = 0
    while at < len(groups):
        rest = tuple(commit for commit in chosen if commit not in groups[at])
        bound = next((rest[n - 1] for n in range(1, len(rest) + 1) if stack(rest[:n]) is None), None)
        if bound is None:
            at += 1
            continue
        joined = next(group for group in groups if bound in group)
        groups[at] = [commit for commit in chosen if commit in groups[at] or commit in joined]
        groups.remove(joined)
        at = 0
    return tuple(sorted((tuple(group) for group in groups), key=lambda group: chosen.index(group[0])))


class _Rung:
    """The chosen commits on one rung."""

    def __init__(self, ladder: Ladder, level: Level, chosen: Commits) -> None:
        self.name = level.name
        self._ladder, self._level, self._chosen = ladder, level, chosen
        self._rules = level.rules

    def move(self) -> Move | None:
        """What is to be done here; None where the stack is through."""
        failed = self._runs(self._ladder.base)
        if len(failed) >= TRIES and all(run.ending is not Ending.FINISHED for run in failed):
            return Blocked(scale=self._level.name, why=failed[-1].why or failed[-1].ending.value)
        decision = self._decide((), self._chosen)
        if isinstance(decision, Conclude) and decision.verdict.outcome in REFUSED:
            return self._find_breaker()
        held = tuple(commit for commit in self._chosen if self._is_held(commit))
        fresh = [unit for unit in units(self._ladder.stack, self._chosen) if not all(commit in held for commit in unit)]
        if not fresh:
            return self._as_one_stack(decision)
        begun = isinstance(decision, Conclude) or bool(self._runs(self._tree(self._chosen)))
        if not begun:
            return self._measure(decision, (), self._chosen)
        return self._one(held, fresh[0]) if len(fresh) == 1 else self._many(held, fresh)

    def shown(self, commit: CommitOid) -> str:
        """The evidence for one of a stack that is through: what it gains, and the number of the whole stack."""
        decision, standing = self._decide((), self._chosen), self._standing(commit)
        assert isinstance(decision, Conclude)
        assert standing is not None
        others = ", ".join(f"{self._ladder.numbers[other]:04d}" for other in self._chosen if other != commit)
        beside = f"; in one stack with {others}" if others else ""
        return f"{self._rules.metric}={number(decision.verdict.metric or 0.0)} ({standing.evidence}{beside})"

    def _as_one_stack(self, decision: Decision) -> Move | None:
        if isinstance(decision, Measure):
            return self._measure(decision, (), self._chosen)
        if decision.verdict.outcome is Outcome.KEEP:
            return None
        why = f"the stack that ends with it is no better: {_change(decision.verdict)}"
        return _fall(self._ladder, self._level, self._chosen[-1], why)

    def _find_breaker(self) -> Move:
        """The first commit with which the stack fails, by halving."""
        fine, broken = 0, len(self._chosen)
        why = ""
        while broken - fine > 1:
            middle = (fine + broken) // 2
            decision = self._decide((), self._chosen[:middle])
            if isinstance(decision, Measure) and not self._runs(self._tree(self._chosen[:middle])):
                return self._measure(decision, (), self._chosen[:middle])
            if isinstance(decision, Conclude) and decision.verdict.outcome in REFUSED:
                broken = middle
            else:
                fine = middle
        decision = self._decide((), self._chosen[:broken])
        assert isinstance(decision, Conclude)
        why = f"{decision.verdict.outcome.value}: {decision.verdict.why}"
        return _fall(self._ladder, self._level, self._chosen[broken - 1], why)

    def _one(self, held: Commits, unit: Commits) -> Move:
        """One group on top of what holds: two trees are compared."""
        decision = self._decide(held, self._chosen)
        if isinstance(decision, Measure):
            return self._measure(decision, held, self._chosen)
        change = _change(decision.verdict)
        if decision.verdict.outcome is Outcome.KEEP:
            return Note(standings={commit: _standing(self._level, change, holds=True) for commit in unit})
        return _fall(self._ladder, self._level, unit[-1], change)

    def _many(self, held: Commits, fresh: Sequence[Commits]) -> Move:
        """Several groups: every run has another half of them."""
        seen: list[halves.Seen] = []
        known: tuple[Effect, ...] | None = None
        for replicate in range(halves.replicates(len(fresh), self._rules)):
            wanted = tuple(self._look(held, fresh, replicate, seen))
            if wanted:
                return Runs(wanted=wanted)
            known = halves.effects(seen, changes=len(fresh), direction=self._rules.direction, spread=self._level.spread)
            if known is not None and all(halves.holds(effect, self._rules) is not None for effect in known):
                break
        return Note(standings=dict(self._settled(fresh, known)))

    def _look(self, held: Commits, fresh: Sequence[Commits], replicate: int, seen: list[Seen]) -> Iterator[Wanted]:
        """What one replicate has shown goes to `seen`; the runs that it lacks."""
        for half in halves.design(len(fresh), replicate):
            inside = {*held, *(commit for place in half for commit in fresh[place])}
            commits = tuple(commit for commit in self._chosen if commit in inside)
            if (tree := self._ladder.stack(commits)) is None:
                continue  # apart each can be left out, these together not
            ours = [run for run in self._runs(tree) if run.seed == replicate + 1]
            numbers = [found for run in ours if (found := value(run, self._rules.metric)) is not None]
            if not ours:
                yield Wanted(tree=tree, seed=replicate + 1, scale=self._level.name, commits=commits)
            elif numbers:
                seen.append(Seen(half=half, replicate=replicate, number=numbers[0]))

    def _settled(
        self, fresh: Sequence[Commits], known: Sequence[Effect] | None
    ) -> Iterator[tuple[CommitOid, Standing]]:
        for place, unit in enumerate(fresh):
            effect = None if known is None else known[place]
            if effect is None:
                yield unit[-1], _standing(self._level, "too many runs of stacks failed to tell", holds=False)
                continue
            change = _effect(effect, self._rules.direction)
            if halves.holds(effect, self._rules):
                yield from ((commit, _standing(self._level, change, holds=True)) for commit in unit)
            else:
                yield unit[-1], _standing(self._level, change, holds=False)

    def _is_held(self, commit: CommitOid) -> bool:
        standing = self._standing(commit)
        return standing is not None and standing.holds

    def _standing(self, commit: CommitOid) -> Standing | None:
        ours = (self._level.name, self._level.environment)
        found = [each for each in self._ladder.standings.get(commit, ()) if (each.scale, each.environment) == ours]
        return found[-1] if found else None

    def _decide(self, without: Commits, with_: Commits) -> Decision:
        baseline = self._runs(self._ladder.baseline) or self._runs(self._ladder.base)
        return decide(
            best_runs=self._runs(self._tree(without)),
            candidate_runs=self._runs(self._tree(with_)),
            baseline_runs=[run for run in baseline if run.ending is Ending.FINISHED],
            rules=self._rules,
            spread=self._level.spread,
            lines=Lines(added=0, removed=0),
            category="",
        )

    def _measure(self, decision: Decision, without: Commits, with_: Commits) -> Runs:
        assert isinstance(decision, Measure)
        commits = with_ if decision.side is Side.CANDIDATE else without
        wanted = Wanted(tree=self._tree(commits), seed=decision.seed, scale=self._level.name, commits=commits)
        return Runs(wanted=(wanted,))

    def _runs(self, tree: TreeOid) -> Sequence[Measurement]:
        return self._ladder.runs(tree, self._level.environment)

    def _tree(self, commits: Commits) -> TreeOid:
        tree = self._ladder.stack(commits) if commits else self._ladder.base
        assert tree is not None, "what waits can be replayed as far as it is chosen"
        return tree


def _change(verdict: Verdict) -> str:
    """`Δ -0.012000 +-0.001000, n=5`: by how much the metric itself changes; without numbers, why there are none."""
    if verdict.metric is None or verdict.baseline is None:
        return verdict.why
    return _written(verdict.metric - verdict.baseline, verdict.std_error, verdict.runs)


def _effect(effect: Effect, direction: Direction) -> str:
    return _written(-effect.gain if direction is Direction.LOWER else effect.gain, effect.std_error, effect.runs)


def _written(change: float, std_error: float | None, runs: int) -> str:
    error = "" if std_error is None else f" +-{number(std_error)}"
    return f"Δ {'+' if change >= 0 else ''}{number(change)}{error}, n={runs}"
