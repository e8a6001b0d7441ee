"""Promotion: which of what was kept also gains on the rungs above the first, and what to train to know it. Pure.

A commit holds on a rung if it is shown to gain there, at the judge's own level; it is not enough that a stack with
it in it gains. Some wait; the stack of all that wait is trained first, and if that fails, what breaks it is found by
halving. Then every run has another half of them, so that each tells about each (`judge.halves`). What holds must at
last, as one stack and on every rung, be better than what was promoted last. All follows from git and the filed runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from statistics import fmean

from autoresearchd.experiment import CommitOid, Direction, Ending, Measurement, TreeOid, Verdict
from autoresearchd.judge import Effect, Seen, halves, refused, value
from autoresearchd.promotion import Blocked, Climb, Commits, Ladder, Level, Move, Note, Promotion, Runs, Wanted
from autoresearchd.standing import Standing
from autoresearchd.trailers import number

TRIES = 3
"""So many runs of what was promoted may fail on a rung, one after the other, before the rung is taken for broken."""
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1800.0, 86_400.0
"""Until such a rung is tried again."""
AS_A_MACHINE = frozenset({Ending.CRASH, Ending.OUT_OF_MEMORY, Ending.TIMEOUT})
"""Endings that a broken machine gives as well as broken code."""


def next_move(ladder: Ladder) -> Move | None:
    """What promotion does next; None when nothing waits for it."""
    if ladder.trouble:
        return Blocked(scale=ladder.levels[0].name, why=f"promotion rests: {ladder.trouble}")
    waiting = tuple(commit for commit in ladder.line if not _fallen(ladder, commit))
    if ladder.tip is None or ladder.climbing is None or ladder.climbing not in ladder.line:
        return Climb(tip=waiting[: halves.MOST][-1]) if waiting else None
    reached = ladder.line[: ladder.line.index(ladder.climbing) + 1]
    chosen = tuple(commit for commit in waiting if commit in reached)[: halves.MOST]
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
    return Promotion(commits=chosen, onto=ladder.tip, evidence=evidence)


def standing_on(standings: Sequence[Standing], level: Level) -> bool | None:
    """Whether a commit holds on a rung as it is now; None where nobody knows."""
    found = [each.holds for each in standings if (each.scale, each.environment) == (level.name, level.environment)]
    return found[-1] if found else None


def fallen(standings: Sequence[Standing], levels: Sequence[Level]) -> bool:
    """Whether there is a rung on which a commit does not hold."""
    return any(standing_on(standings, level) is False for level in levels)


def _fallen(ladder: Ladder, commit: CommitOid) -> bool:
    return fallen(ladder.standings.get(commit, ()), ladder.levels)


def _unfit(ladder: Ladder, chosen: Commits) -> Note | None:
    """The first that cannot be replayed on those before it, or with which nothing is left of them."""
    for count in range(1, len(chosen) + 1):
        tree = ladder.stack(chosen[:count])
        if tree is None:
            return _fall(ladder.levels[0], chosen[count - 1], "it conflicts without what did not hold")
    if ladder.stack(chosen) == ladder.base:
        return _fall(ladder.levels[0], chosen[-1], "nothing is left of it without what did not hold")
    return None


def _fall(level: Level, commit: CommitOid, evidence: str) -> Note:
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
        if failing := list(takewhile(lambda run: run.ending is not Ending.FINISHED, reversed(self._runs(())))):
            if len(failing) >= TRIES and self._ladder.now < _rested(failing):
                return Blocked(scale=self.name, why=failing[0].why or failing[0].ending.value)
            return Runs(wanted=(self._first(()),))
        if unseen := [commits for commits in ((), self._chosen) if not self._runs(commits)]:
            return Runs(wanted=tuple(self._first(commits) for commits in unseen))
        if self._refused(self._chosen) is not None:
            return self._find_breaker()
        held = tuple(commit for commit in self._chosen if self._is_held(commit))
        groups = units(self._ladder.stack, self._chosen)
        if fresh := [group for group in groups if not all(commit in held for commit in group)]:
            told = self._tell(held, fresh)
            return told if isinstance(told, Runs) else Note(standings=dict(self._settled(fresh, told)))
        told = self._tell((), [self._chosen])
        if isinstance(told, Runs):
            return told
        if _is_shown(told[0]):
            return None
        why = f"the stack that ends with it gains too little: {_change(told[0], self._rules.direction)}"
        return _fall(self._level, self._chosen[-1], why)

    def shown(self, commit: CommitOid) -> str:
        """The evidence for one of a stack that is through: what it gains, and the number of the whole stack."""
        standing = self._standing(commit)
        assert standing is not None
        runs = self._runs(self._chosen)
        numbers = [found for run in runs if (found := value(run, self._rules.metric)) is not None]
        others = ", ".join(f"{self._ladder.numbers[other]:04d}" for other in self._chosen if other != commit)
        beside = f"; in one stack with {others}" if others else ""
        return f"{self._rules.metric}={number(fmean(numbers))} ({standing.evidence}{beside})"

    def _find_breaker(self) -> Move:
        """The first commit with which the stack fails, by halving."""
        fine, broken = 0, len(self._chosen)
        while broken - fine > 1:
            middle = (fine + broken) // 2
            if not self._runs(self._chosen[:middle]):
                return Runs(wanted=(self._first(self._chosen[:middle]),))
            fine, broken = (middle, broken) if self._refused(self._chosen[:middle]) is None else (fine, middle)
        verdict = self._refused(self._chosen[:broken])
        assert verdict is not None
        failed = [run for run in self._runs(self._chosen[:broken]) if run.ending in AS_A_MACHINE]
        if failed and not self._trains_since(failed[-1], self._chosen[:fine]):
            return Runs(wanted=(self._first(()),))
        return _fall(self._level, self._chosen[broken - 1], f"{verdict.outcome.value}: {verdict.why}")

    def _trains_since(self, failed: Measurement, fine: Commits) -> bool:
        """Whether the machine still trains what is not broken: else a failure says nothing about a commit."""
        runs = (*self._runs(()), *self._runs(fine))
        return any(run.ending is Ending.FINISHED and run.started > failed.started for run in runs)

    def _tell(self, held: Commits, groups: Sequence[Commits]) -> Runs | tuple[Effect | None, ...]:
        """What each group gains on top of what holds, or the runs that this takes: each has another half of them."""
        seen: list[Seen] = []
        known: tuple[Effect, ...] | None = None
        for replicate, design in enumerate(halves.designs(len(groups), self._rules)):
            if wanted := tuple(self._look(held, groups, replicate, design, seen)):
                return Runs(wanted=wanted)
            known = halves.effects(seen, changes=len(groups), rules=self._rules, spread=self._level.spread)
            is_told = known is not None and all(effect.holds is not None for effect in known)
            if is_told and not self._is_begun(held, groups, replicate + 1):
                break
        return known or (None,) * len(groups)

    def _look(
        self, held: Commits, groups: Sequence[Commits], replicate: int, design: Sequence[halves.Half], seen: list[Seen]
    ) -> Iterator[Wanted]:
        """What one replicate has shown goes to `seen`; the runs that it lacks."""
        for half, commits in self._stacks(held, groups, design):
            ours = [run for run in self._runs(commits) if run.seed == replicate + 1]
            numbers = [found for run in ours if (found := value(run, self._rules.metric)) is not None]
            if not ours:
                yield self._wanted(commits, replicate + 1)
            elif numbers:
                seen.append(Seen(half=half, replicate=replicate, number=numbers[0]))

    def _is_begun(self, held: Commits, groups: Sequence[Commits], replicate: int) -> bool:
        """Whether a run of this replicate was made after those of the one before it.

        Each run tells more of the noise: which of them ends first must not decide that none of them was needed.
        """

        def newest(look: int) -> float:
            designs = halves.designs(len(groups), self._rules)[look : look + 1]
            stacks = (commits for design in designs for _, commits in self._stacks(held, groups, design))
            filed = (run for commits in stacks for run in self._runs(commits) if run.seed == look + 1)
            return max((run.started for run in filed), default=0.0)

        return newest(replicate) > newest(replicate - 1)

    def _stacks(
        self, held: Commits, groups: Sequence[Commits], design: Sequence[halves.Half]
    ) -> Iterator[tuple[halves.Half, Commits]]:
        """What each run of a replicate has in it."""
        for half in design:
            inside = {*held, *(commit for place in half for commit in groups[place])}
            commits = tuple(commit for commit in self._chosen if commit in inside)
            if self._ladder.stack(commits) is not None:  # each can be left out alone, some together not
                yield half, commits

    def _settled(
        self, groups: Sequence[Commits], told: Sequence[Effect | None]
    ) -> Iterator[tuple[CommitOid, Standing]]:
        for group, effect in zip(groups, told, strict=True):
            change = _change(effect, self._rules.direction)
            if _is_shown(effect):
                yield from ((commit, _standing(self._level, change, holds=True)) for commit in group)
            else:
                yield group[-1], _standing(self._level, change, holds=False)

    def _is_held(self, commit: CommitOid) -> bool:
        return standing_on(self._ladder.standings.get(commit, ()), self._level) is True

    def _standing(self, commit: CommitOid) -> Standing | None:
        ours = (self._level.name, self._level.environment)
        found = [each for each in self._ladder.standings.get(commit, ()) if (each.scale, each.environment) == ours]
        return found[-1] if found else None

    def _refused(self, commits: Commits) -> Verdict | None:
        baseline = self._ladder.runs(self._ladder.baseline, self._level.environment) or self._runs(())
        finished = [run for run in baseline if run.ending is Ending.FINISHED]
        return refused(self._runs(commits), finished, self._rules)

    def _first(self, commits: Commits) -> Wanted:
        """The run that tells whether a stack trains at all; it counts in the first replicate."""
        used = {run.seed for run in self._runs(commits)}
        return self._wanted(commits, next(seed for seed in range(1, len(used) + 2) if seed not in used))

    def _wanted(self, commits: Commits, seed: int) -> Wanted:
        return Wanted(tree=self._tree(commits), seed=seed, scale=self.name, commits=commits)

    def _runs(self, commits: Commits) -> Sequence[Measurement]:
        """The runs of a stack, without the failures after which what was promoted failed as well."""
        runs = self._ladder.runs(self._tree(commits), self._level.environment)
        if not commits or all(run.ending not in AS_A_MACHINE for run in runs):
            return runs
        base = self._runs(())

        def is_believed(run: Measurement) -> bool:
            after = next((other for other in base if other.started > run.started), None)
            return run.ending not in AS_A_MACHINE or after is None or after.ending is Ending.FINISHED

        return [run for run in runs if is_believed(run)]

    def _tree(self, commits: Commits) -> TreeOid:
        tree = self._ladder.stack(commits) if commits else self._ladder.base
        assert tree is not None, "what waits can be replayed as far as it is chosen"
        return tree


def _rested(failing: Sequence[Measurement]) -> float:
    """When a rung is tried again (Unix time): each time after twice as long. The newest failure comes first."""
    rest = min(FIRST_REST_SECONDS * 2.0 ** (len(failing) - TRIES), LONGEST_REST_SECONDS)
    return failing[0].started + failing[0].wall_seconds + rest


def _is_shown(effect: Effect | None) -> bool:
    """Whether a change is shown to gain something; not so where too many runs failed."""
    return effect is not None and effect.holds is True


def _change(effect: Effect | None, direction: Direction) -> str:
    """`Δ -0.012000 +-0.001000, n=24`: by how much the metric itself changes."""
    if effect is None:
        return "too many runs failed to tell what it gains"
    change = round(-effect.gain if direction is Direction.LOWER else effect.gain, 12) + 0.0  # never -0
    error = f" +-{number(effect.std_error)}" if effect.noise.degrees else ""
    return f"Δ {'+' if change >= 0 else ''}{number(change)}{error}, n={effect.runs}"
