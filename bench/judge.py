"""Whole nights of research, simulated: what three ways of judging keep, miss and spend. `python -m bench.judge`.

The target is a number with noise of standard deviation 1 (effects and qualities below are in that unit); the third
contestant is the judge itself, `autoresearchd.judge.decide`, seeing nothing but measurements.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import platform
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

from autoresearchd.experiment import Direction, Ending, Environment, Lines, Measurement, Outcome, TreeOid
from autoresearchd.judge import Conclude, Decision, Rules, Samples, Side, Spread, decide, decide_baseline, estimate

LOG = Path(__file__).parent.parent / "tests" / "data" / "autoresearch-mar8-results.tsv"
SEED_MOVE = 0.0007
"""What a mere change of seed moved val_bpb in the mar8 night (its experiment 889dbed)."""
UNTOUCHED = 100_000
"""The first seed of the nights of record: the judge's constants were chosen on others, below it."""
RULES = Rules(metric="score", direction=Direction.HIGHER)
NIGHT = ((0.55, 0.0), (0.10, -0.5), (0.12, -1.0), (0.18, -3.0), (0.02, 0.5), (0.01, 1.0), (0.01, 2.0), (0.01, 3.0))
"""A night as (share, effect): more than half of all ideas do nothing, two in five harm, one in twenty helps. In the
mar8 night 8 of 125 changes gained more than a change of the seed had moved the metric."""
RICH = ((0.50, 0.0), (0.10, -0.5), (0.12, -1.0), (0.18, -3.0), (0.04, 0.5), (0.03, 1.0), (0.02, 2.0), (0.01, 3.0))
"""The first hours of a project: one idea in ten helps."""
NULL = ((1.0, 0.0),)


class Noise:
    """One night's run-to-run noise; every call is one more training."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind, self.rng, self.level = kind, rng, 0.0

    def __call__(self) -> float:
        if self.kind == "heavy":  # Student's t with 3 degrees of freedom, scaled to standard deviation 1
            chi = math.fsum(self.rng.gauss(0, 1) ** 2 for _ in range(3))
            return self.rng.gauss(0, 1) / math.sqrt(chi / 3) / math.sqrt(3)
        if self.kind in ("drift", "drift+"):  # the machine itself wanders as much again, and remembers it for 50 runs
            keep = math.exp(-1 / 50)
            self.level = keep * self.level + math.sqrt(1 - keep * keep) * self.rng.gauss(0, 1)
        scale = math.sqrt(0.5) if self.kind == "drift" else 1.0
        return scale * (self.level + self.rng.gauss(0, 1))


TRAININGS = 200
EFFECTS = (0.5, 1.0, 2.0, 3.0)
NOISES = ("gaussian", "heavy", "drift", "drift+")
"""Each has standard deviation 1, but for `drift+`: there the drift comes on top, 1.41 in all."""


@dataclass(slots=True)
class Night:
    """What one night came to."""

    quality: float = 0.0
    """True quality of best; the baseline's is 0."""
    trainings: int = 0
    tried: int = 0
    kept: list[float] = field(default_factory=list)
    """True effects of what was kept."""
    offered: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    """Quality of best while each training ran."""

    def spend(self, runs: int = 1) -> None:
        for _ in range(runs):
            self.trainings += 1
            self.after.append(self.quality)

    def settle(self, effect: float, *, keep: bool) -> None:
        self.tried += 1
        self.offered.append(effect)
        if keep:
            self.kept.append(effect)
            self.quality += effect


def naive(effects: Iterator[float], noise: Noise, night: Night) -> None:
    """Keep what beats best's recorded number by a single run: karpathy/autoresearch and most of its children."""
    night.spend()
    recorded = noise()
    for effect in effects:
        night.spend()
        number = night.quality + effect + noise()
        night.settle(effect, keep=number > recorded)
        recorded = max(recorded, number)


def three_seeds(effects: Iterator[float], noise: Noise, night: Night) -> None:
    """Keep what beats best's recorded mean of three by a mean of three."""

    def measured(quality: float) -> float:
        night.spend(3)
        return statistics.fmean(quality + noise() for _ in range(3))

    recorded = measured(0.0)
    for effect in effects:
        number = measured(night.quality + effect)
        night.settle(effect, keep=number > recorded)
        recorded = max(recorded, number)


def ours(effects: Iterator[float], noise: Noise, night: Night, rules: Rules = RULES) -> None:
    """The judge, with the spread pooled over the night so far."""
    names = iter(range(1_000_000))

    def run(tree: str, quality: float, seed: int) -> Measurement:
        night.spend()
        return _measurement(tree, seed, quality + noise(), next(names))

    best: list[Measurement] = []
    while not isinstance(decision := decide_baseline(runs=best, rules=rules), Conclude):
        best.append(run("0", 0.0, decision.seed))
    baseline, pools = tuple(best), {"0": best}
    spread = estimate(pools.values(), metric=rules.metric)
    for number, effect in enumerate(effects, 1):
        candidate: list[Measurement] = []
        while not isinstance(decision := _decide(best, candidate, baseline, rules, spread), Conclude):
            if decision.side is Side.BEST:
                best.append(run(best[0].tree, night.quality, decision.seed))
            else:
                candidate.append(run(str(number), night.quality + effect, decision.seed))
        keep = decision.verdict.outcome is Outcome.KEEP
        night.settle(effect, keep=keep)
        if len(candidate) > 1:
            pools[str(number)] = candidate
            spread = estimate(pools.values(), metric=rules.metric)
        best = candidate if keep else best


def _decide(
    best: Sequence[Measurement],
    candidate: Sequence[Measurement],
    baseline: Sequence[Measurement],
    rules: Rules,
    spread: Spread,
) -> Decision:
    return decide(
        Samples(candidate=candidate, best=best, baseline=baseline),
        rules=rules,
        spread=spread,
        lines=Lines(added=1, removed=1),
    )


def _measurement(tree: str, seed: int, number: float, name: int) -> Measurement:
    return Measurement(
        run=f"r{name}",
        tree=TreeOid(tree),
        seed=seed,
        environment=Environment("simulated"),
        device="cpu:0",
        ending=Ending.FINISHED,
        metrics={RULES.metric: number},
        started=float(name),
        train_seconds=1.0,
        wall_seconds=1.0,
    )


Mix = Sequence[tuple[float, float]]
Judge = Callable[[Iterator[float], Noise, Night], None]
JUDGES: dict[str, Judge] = {"naive": naive, "3 seeds": three_seeds, "ours": ours}


def ideas(mix: Mix, rng: random.Random) -> Iterator[float]:
    """Effects of ideas, for ever."""
    shares, effects = zip(*mix, strict=True)
    while True:
        yield rng.choices(effects, shares)[0]


def in_turn(pool: Sequence[float], night: Night, rng: random.Random) -> Iterator[float]:
    """The same few ideas again and again in random order; what was kept is used up."""
    left = list(pool)
    while left:
        for effect in rng.sample(left, len(left)):
            kept = len(night.kept)
            yield effect
            if len(night.kept) > kept:
                left.remove(effect)


def simulate(
    judge: Judge,
    *,
    kind: str,
    seed: int,
    mix: Mix,
    tried: int | None = None,
    trainings: int | None = None,
    pool: int | None = None,
) -> Night:
    """One night of so many ideas, or of so many trainings. Every judge is given the same ideas in the same order."""
    night, rng = Night(), random.Random(f"ideas {seed}")
    offered: Iterator[float] = itertools.islice(ideas(mix, rng), tried if pool is None else pool)
    if pool is not None:
        offered = in_turn(list(offered), night, rng)
    if trainings is not None:
        offered = itertools.takewhile(lambda _: night.trainings < trainings, offered)
    judge(offered, Noise(kind, random.Random(f"noise {seed} {kind}")), night)
    return night


@dataclass(frozen=True, slots=True)
class Figures:
    """One judge under one noise."""

    false_keeps: float
    harmful: float
    """Keeps of what harms, in 100 nights."""
    very_harmful: float
    """Keeps of what costs at least one standard deviation, in 100 nights."""
    power: tuple[float, ...]
    extra: float
    extra_null: float
    quality: tuple[float, ...]
    """True quality of best after TRAININGS: of 100 distinct ideas; of new ideas for ever; the same in rich nights."""


def figures(judge: Judge, kind: str, seeds: range) -> Figures:
    """Play a night for each seed."""
    nulls = [simulate(judge, kind=kind, seed=seed, mix=NULL, tried=100) for seed in seeds]
    mixed = [simulate(judge, kind=kind, seed=seed, mix=NIGHT, tried=100) for seed in seeds]
    rich = [simulate(judge, kind=kind, seed=seed, mix=RICH, tried=100) for seed in seeds]
    equal = [
        [simulate(judge, kind=kind, seed=seed, mix=mix, trainings=TRAININGS, pool=pool) for seed in seeds]
        for mix, pool in ((NIGHT, 100), (NIGHT, None), (RICH, None))
    ]
    return Figures(
        false_keeps=_mean(len(night.kept) for night in nulls),
        harmful=100 * _mean(sum(effect < 0 for effect in night.kept) for night in mixed),
        very_harmful=100 * _mean(sum(effect <= -1 for effect in night.kept) for night in mixed),
        power=tuple(_power([*mixed, *rich], effect) for effect in EFFECTS),
        extra=_mean(night.trainings / night.tried - 1 for night in mixed),
        extra_null=_mean(night.trainings / night.tried - 1 for night in nulls),
        quality=tuple(_mean(night.after[TRAININGS - 1] for night in nights_) for nights_ in equal),
    )


def _power(nights: Sequence[Night], effect: float) -> float:
    return sum(night.kept.count(effect) for night in nights) / sum(night.offered.count(effect) for night in nights)


def _mean(numbers: Iterable[float]) -> float:
    return statistics.fmean(numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=300)
    parser.add_argument("--first", type=int, default=UNTOUCHED, help="the first night's seed")
    args = parser.parse_args()
    began = time.perf_counter()
    print(f"{args.nights} nights of 100 ideas; Python {platform.python_version()}, {platform.machine()}\n")
    print("                   false keeps     harmful keeps  found of               extra runs an idea  best after 200")
    print("noise     judge     in 100 nulls     in 100 nights  0.5 / 1 / 2 / 3 σ      mixed     nulls     trainings")
    for kind in NOISES:
        for name, judge in JUDGES.items():
            print(_row(kind, name, figures(judge, kind, range(args.first, args.first + args.nights))), flush=True)
        print()
    print(replayed(LOG.read_text("utf-8")))
    print(f"\n{time.perf_counter() - began:.0f} s")


def _row(kind: str, name: str, found: Figures) -> str:
    power = " ".join(f"{100 * share:4.0f} %" for share in found.power)
    quality = " / ".join(f"{number:.2f}" for number in found.quality)
    harmful = f"{found.harmful:.0f} ({found.very_harmful:.0f} of ≥ 1 σ)"
    return (
        f"{kind:9s} {name:8s} {found.false_keeps:10.2f} {harmful:>17s}  {power}"
        f" {found.extra:9.2f} {found.extra_null:9.2f}     {quality}"
    )


def replayed(log: str) -> str:
    """Which keeps of the mar8 night stand at the noise that the night itself shows.

    The one change of a seed moved the metric by SEED_MOVE; that is one draw of a difference of two single runs, and the
    only one the log has, so it stands for the standard deviation of such a difference.
    """
    rows = [row for row in csv.DictReader(log.splitlines(), delimiter="\t") if float(row["val_bpb"]) > 0]
    best, steps = float(rows[0]["val_bpb"]), list[tuple[float, str]]()
    screened = Counter[str]()
    for row in rows[1:]:
        number = float(row["val_bpb"])
        screened[f"{row['status']} {_first_look(best, number)}"] += 1
        if row["status"] == "keep":
            steps.append((best - number, row["description"]))
            best = number
    sure = NormalDist().inv_cdf(RULES.confidence) * SEED_MOVE
    stand = [f"  {gain:.4f}  {words}" for gain, words in sorted(steps, reverse=True) if gain > sure]
    first = (
        f"After the first run of each our judge would have discarded {screened['keep discard']} of the keeps and given "
        f"{screened['keep more']} more runs; of the discards it would have given {screened['discard more']} more runs."
    )
    lines = [
        f"mar8 log: {len(rows) - 1} changes that gave a number, {len(steps)} kept.",
        f"{sum(gain > SEED_MOVE for gain, _ in steps)} keeps gained more than a change of the seed ({SEED_MOVE}).",
        f"{len(stand)} stand at {RULES.confidence:.0%}, one run against one (gain above {sure:.4f}):",
    ]
    return "\n".join([*lines, *stand, first])


def _first_look(best: float, number: float) -> str:
    """What our judge says to one run against a best that is known as well as it makes sure itself."""
    rules = Rules(metric=RULES.metric)
    runs = [_measurement("best", seed, best, seed) for seed in range(6)]
    spread = Spread(std_dev=SEED_MOVE / math.sqrt(2), degrees=30)
    decision = _decide(runs, [_measurement("new", 0, number, 9)], runs, rules, spread)
    return "discard" if isinstance(decision, Conclude) else "more"


if __name__ == "__main__":
    main()
