"""Runs that promotion needs to tell what transfers from what does not: `python -m bench.bisect`.

Kept commits with a known effect on one larger rung, in standard deviations of one run, and normal noise. The policy of
the daemon (`ladder.next_move`) is asked until all is settled, and compared with measuring every commit against the one
before it, and with halving a stack only as long as it is not better as a whole. Prints a table; the figures of record
are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autoresearchd.experiment import CommitOid, Direction, Ending, Environment, Measurement, TreeOid
from autoresearchd.judge import Rules, Seen, Spread, estimate, halves
from autoresearchd.ladder import fallen, next_move
from autoresearchd.promotion import Blocked, Climb, Commits, Ladder, Level, Note, Promotion, Runs
from autoresearchd.standing import Standing

RULES = Rules(metric="loss", direction=Direction.LOWER)
CRASH = None
Effect = float | None
"""Gain of one commit; CRASH does not train."""
Stack = frozenset[int]


@dataclass
class Slope:
    """Kept commits by place, what each gains on each rung, and everything that promotion has seen and written."""

    gains: dict[str, Sequence[Effect]]
    seed: int = 0
    sigma: float = 1.0
    needs: dict[int, int] = field(default_factory=dict)
    """Commits that conflict without another one."""
    rules: Rules = RULES
    runs: dict[tuple[Stack, Environment], list[Measurement]] = field(default_factory=dict)
    standings: dict[CommitOid, list[Standing]] = field(default_factory=dict)
    promoted: list[int] = field(default_factory=list)
    climbing: CommitOid | None = None
    broken: bool = False
    """The rungs themselves: nothing trains there."""
    blocked: str = ""

    @property
    def count(self) -> int:
        return len(next(iter(self.gains.values())))

    def ladder(self) -> Ladder:
        held = frozenset(self.promoted)
        return Ladder(
            levels=tuple(
                Level(name=name, environment=Environment(name), rules=self.rules, spread=self.spread(name))
                for name in self.gains
            ),
            now=0.0,
            tip=CommitOid("promoted"),
            base=_tree(held),
            baseline=_tree(frozenset()),
            line=tuple(_commit(place) for place in range(self.count) if place not in held),
            climbing=self.climbing,
            standings={commit: tuple(standings) for commit, standings in self.standings.items()},
            numbers={_commit(place): place + 1 for place in range(self.count)},
            stack=lambda commits: self._stack(held, commits),
            runs=lambda tree, environment: self.runs.get((_places(tree), environment), ()),
        )

    def step(self, choose: Callable[[Sequence[object]], int] = lambda wanted: 0) -> bool:
        """Do what promotion wants next, one run of those that it wants now; False when it wants nothing."""
        match next_move(self.ladder()):
            case Runs(wanted=wanted):
                run = wanted[choose(wanted)]
                self.train(run.tree, run.seed, run.scale)
            case Climb(tip=tip):
                self.climbing = tip
            case Note(standings=standings):
                for commit, standing in standings.items():
                    self.standings.setdefault(commit, []).append(standing)
            case Promotion(commits=commits):
                self.promoted += [_place(commit) for commit in commits]
            case Blocked(why=why):
                self.blocked = why
                return False
            case None:
                return False
        return True

    def train(self, tree: TreeOid, seed: int, scale: str) -> None:
        """One run; the same tree, seed and rung give the same number, whenever that is."""
        places = _places(tree)
        gains = [self.gains[scale][place] for place in sorted(places)]
        noise = random.Random(f"{self.seed} {tree} {seed} {scale}").gauss(0.0, self.sigma)
        known = [gain for gain in gains if gain is not None]
        crashed = self.broken or len(known) < len(gains)
        environment = Environment(scale)
        self.runs.setdefault((places, environment), []).append(
            Measurement(
                run=f"{tree}-{seed}-{scale}",
                tree=tree,
                seed=seed,
                environment=environment,
                device="cuda:0",
                ending=Ending.CRASH if crashed else Ending.FINISHED,
                metrics={} if crashed else {"loss": 100.0 - sum(known) + noise},
                started=float(sum(len(runs) for runs in self.runs.values())),
                train_seconds=1.0,
                wall_seconds=1.0,
            )
        )

    def trained(self) -> int:
        """Runs so far."""
        return sum(len(runs) for runs in self.runs.values())

    def fell(self, place: int) -> bool:
        """Whether a commit was found not to hold."""
        return fallen(self.standings.get(_commit(place), ()), self.ladder().levels)

    def spread(self, name: str) -> Spread:
        pools = [runs for (_, environment), runs in self.runs.items() if environment == name]
        return estimate(pools, metric=self.rules.metric)

    def _stack(self, held: Stack, commits: Commits) -> TreeOid | None:
        places = set(held)
        for commit in commits:
            place = _place(commit)
            if place in self.needs and self.needs[place] not in places:
                return None
            places.add(place)
        return _tree(frozenset(places))


def _commit(place: int) -> CommitOid:
    return CommitOid(f"c{place}")


def _place(commit: CommitOid) -> int:
    return int(commit[1:])


def _tree(places: Stack) -> TreeOid:
    return TreeOid("+".join(str(place) for place in sorted(places)) or "baseline")


def _places(tree: TreeOid) -> Stack:
    return frozenset() if tree == "baseline" else frozenset(int(place) for place in tree.split("+"))


def ours(slope: Slope) -> list[int]:
    """What the daemon promotes."""
    while slope.step():
        pass
    return slope.promoted


def every_one(slope: Slope) -> list[int]:
    """Each commit on top of those that held, one after the other."""
    found: list[int] = []
    for place in range(slope.count):
        if _is_better(slope, found, [*found, place]):
            found.append(place)
    return found


def halving(slope: Slope) -> list[int]:
    """A stack that is better as a whole is taken; any other is halved."""

    def holding(base: Sequence[int], stack: Sequence[int]) -> list[int]:
        if not stack or _is_better(slope, base, [*base, *stack]):
            return list(stack)
        if len(stack) == 1:
            return []
        first = holding(base, stack[: len(stack) // 2])
        return [*first, *holding([*base, *first], stack[len(stack) // 2 :])]

    return holding([], range(slope.count))


def _is_better(slope: Slope, without: Sequence[int], with_: Sequence[int]) -> bool:
    """Two stacks by the same boundaries, with the same seeds."""
    (name,) = slope.gains
    seen: list[Seen] = []
    for replicate in range(len(halves.designs(1, slope.rules))):
        for half, places in ((frozenset[int](), without), (frozenset({0}), with_)):
            tree = _tree(frozenset(places))
            ours = slope.runs.get((_places(tree), Environment(name)), [])
            if not any(run.seed == replicate + 1 for run in ours):
                slope.train(tree, replicate + 1, name)
                ours = slope.runs[_places(tree), Environment(name)]
            run = next(run for run in ours if run.seed == replicate + 1)
            if run.ending is Ending.CRASH:
                return False
            seen.append(Seen(half=half, replicate=replicate, number=run.metrics["loss"]))
        known = halves.effects(seen, changes=1, rules=slope.rules, spread=slope.spread(name))
        if known is not None and known[0].holds is not None:
            return known[0].holds
    return False


def night(
    strategy: Callable[[Slope], list[int]], bad: Effect, *, seed: int, commits: int, bads: int
) -> tuple[int, int, int]:
    """Runs, bad commits that were promoted, and good ones that were not."""
    places = set(random.Random(seed).sample(range(commits), bads))
    gains = [bad if place in places else 2.0 for place in range(commits)]
    slope = Slope(gains={"large": gains}, seed=seed)
    found = set(strategy(slope))
    return slope.trained(), len(found & places), len(set(range(commits)) - places - found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--commits", type=int, default=20)
    parser.add_argument("--bad", type=int, default=3, dest="bads")
    asked = parser.parse_args()
    kinds: dict[str, Effect] = {"gain nothing": 0.0, "lose 2 σ": -2.0, "do not train": CRASH}
    strategies = {"autoresearchd": ours, "every one by itself": every_one, "halving what is not better": halving}
    print(f"{asked.commits} kept commits, {asked.bads} do not transfer, the others gain 2 σ; {asked.nights} nights")
    for kind, bad in kinds.items():
        for name, strategy in strategies.items():
            nights = [
                night(strategy, bad, seed=seed, commits=asked.commits, bads=asked.bads) for seed in range(asked.nights)
            ]
            runs = [each[0] for each in nights]
            wrong = statistics.mean(each[1] for each in nights)
            lost = statistics.mean(each[2] for each in nights)
            took = f"{statistics.median(runs):5.0f} runs ({min(runs)} to {max(runs)})"
            wrongly = f"wrongly promoted {wrong:.2f} of {asked.bads}"
            print(f"{asked.bads} {kind:12} | {name:26} | {took} | {wrongly} | good ones left behind {lost:.2f}")


if __name__ == "__main__":
    main()
