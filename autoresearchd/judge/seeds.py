"""Which seed a run gets: the seed says what the run was for, so that no clock and no list is needed to know it later.

0 is every tree's first run, the other seeds of block 0 are planned runs (the baseline's). A candidate's repeats take
the block of seeds above the one that its parent was kept in, and best is re-measured on the same seeds; once the
candidate has won, its reported value comes from one block higher. So of a tree that was kept, the lowest block after 0
is what it was selected by, and everything above is honest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

SELECTING_SEED = 0
"""Whether a tree is measured again depends on the run with this seed, so of a tree with repeats it is a lucky one."""
BLOCK = 10_000
"""More seeds than one best is ever measured with."""


def is_planned(seeds: Collection[int]) -> bool:
    """Whether a tree was measured by plan, as a baseline is, and not because its first run was promising."""
    return sum(SELECTING_SEED < seed < BLOCK for seed in seeds) > 1


def selected_by(seeds: Collection[int]) -> frozenset[int]:
    """Of the seeds of a tree that was kept: those that it was kept for."""
    kept_in = _lowest(seeds)
    return frozenset(seed for seed in seeds if seed == SELECTING_SEED or seed // BLOCK == kept_in)


def repeats_in(best: Collection[int], *, planned: bool) -> int:
    """The block in which best and its candidates are measured against each other."""
    return max(1, max(best, default=0) // BLOCK) if planned else (_lowest(best) or 0) + 1


def end_of(block: int) -> int:
    """The first seed above a block."""
    return (block + 1) * BLOCK


def next_seed(seeds: Collection[int], *, block: int) -> int:
    """The smallest seed above all of these, from a block's first on: what shares it is of the same age."""
    return max(block * BLOCK, 1 + max(seeds, default=0))


def unselected_seed(used: Collection[int], *, planned: bool) -> int:
    """For a run of a best that has had these seeds, made for no comparison: as honest as those made for one."""
    return next_seed(used, block=repeats_in(used, planned=planned or is_planned(used)))


def without_luck(numbers: Mapping[int, float]) -> dict[int, float]:
    """The numbers of a tree without that of its first run, if that one decided that there are others."""
    planned = is_planned(numbers)
    return {seed: number for seed, number in numbers.items() if planned or seed != SELECTING_SEED}


def _lowest(seeds: Collection[int]) -> int | None:
    return min((seed // BLOCK for seed in seeds if seed >= BLOCK), default=None)
