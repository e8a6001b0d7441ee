"""How often a change that gains nothing is taken for one that gains, on a rung: `python -m bench.halves`.

So many kept commits, of which one in seven gains nothing there, or all of them; the others gain two standard deviations
of one run. Runs are made look by look as promotion makes them (`judge.halves`), with normal noise. Prints a table; the
figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autoresearchd.experiment import Ending, Environment, Measurement, TreeOid
from autoresearchd.judge import Rules, Seen, estimate, halves

RULES = Rules(metric="loss")
GAIN = 2.0
SIZES = (1, 2, 3, 5, 7, 9, 10, 12, 15, 17, 18, 19, 20)


@dataclass(frozen=True, slots=True)
class Look:
    """What was told of some changes in the end."""

    held: tuple[bool, ...]
    runs: int


def told(gains: Sequence[float], rng: random.Random) -> Look:
    """What holds of changes with these gains, and the runs that it took to know."""
    seen, pools = list[Seen](), dict[halves.Half, list[Measurement]]()
    held = (False,) * len(gains)
    for replicate, design in enumerate(halves.designs(len(gains), RULES)):
        for half in design:
            number = rng.gauss() - sum(gains[place] for place in half)
            seen.append(Seen(half=half, replicate=replicate, number=number))
            pools.setdefault(half, []).append(_measurement(half, replicate + 1, number))
        spread = estimate(pools.values(), metric=RULES.metric)
        found = halves.effects(seen, changes=len(gains), rules=RULES, spread=spread)
        if found is not None:
            held = tuple(effect.holds is True for effect in found)
            if all(effect.holds is not None for effect in found):
                break
    return Look(held, len(seen))


def _measurement(half: halves.Half, seed: int, number: float) -> Measurement:
    return Measurement(
        run=f"{sorted(half)}-{seed}",
        tree=TreeOid(str(sorted(half))),
        seed=seed,
        environment=Environment("simulated"),
        device="cpu:0",
        ending=Ending.FINISHED,
        metrics={RULES.metric: number},
        started=float(seed),
        train_seconds=1.0,
        wall_seconds=1.0,
    )


def row(changes: int, nothings: int, *, cases: int) -> str:
    """One line of the table, over about so many cases of a change that gains nothing."""
    gains, rng = [0.0] * nothings + [GAIN] * (changes - nothings), random.Random(f"{changes} {nothings}")
    looks = [told(gains, rng) for _ in range(cases // nothings)]
    false = statistics.mean(sum(look.held[:nothings]) for look in looks) / nothings
    runs = [look.runs for look in looks]
    missed = "-"
    if nothings < changes:
        kept = statistics.mean(sum(look.held[nothings:]) for look in looks)
        missed = f"{100 * (1 - kept / (changes - nothings)):.1f} %"
    took = f"{statistics.mean(runs):.1f} ({min(runs)} to {max(runs)})"
    return f"| {changes} | {nothings} | {100 * false:.1f} % | {missed} | {took} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="of a change that gains nothing, in each line")
    asked = parser.parse_args()
    print("| changes | gain nothing | of these hold | of 2 σ missed | runs, mean (lowest to highest) |")
    print("|---|---|---|---|---|")
    for changes in SIZES:
        for nothings in sorted({max(1, changes // 7), changes}):
            print(row(changes, nothings, cases=asked.cases), flush=True)


if __name__ == "__main__":
    main()
