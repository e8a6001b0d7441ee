"""What caring for a lab costs as it grows: fsck, a backup, packing, and the room it takes: `python -m bench.care`.

Makes labs of synthetic experiments, adds some as the daemon writes them, prints a table and leaves nothing behind. The
figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from autoresearchd.ledger import Ledger, back_up
from bench.ledger import Lab
from bench.synthetic import make

ROUNDS = 64
"""Of two experiments each, a discard and a keep, written and synced one by one: what is loose between two packings."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="the disk to use")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-care-", dir=arguments.folder) as folder:
            path = make(Path(folder), size)
            print(f"\n{size:,} experiments: {_room(path)}", flush=True)
            ledger = Ledger(path)
            _timed("our invariants", ledger.verify, arguments.repeats)
            _timed("fsck, git's own included", ledger.fsck, arguments.repeats)
            copy = Path(folder, "copy.git")
            _timed("backup, the first", lambda: back_up(path, copy), 1)  # noqa: B023 - called here and now
            lab = Lab(path)
            for serial in range(ROUNDS):
                lab.work(serial)
            print(f"  {2 * ROUNDS} more, loose: {_room(path)}")
            _timed("backup, what is new", lambda: back_up(path, copy), 1)  # noqa: B023
            _timed("pack, beside the daemon", ledger.pack, 1)
            print(f"  {2 * ROUNDS} more, packed: {_room(path)}", flush=True)
            assert ledger.verify() == ()


def _timed(what: str, act: Callable[[], object], repeats: int) -> None:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    times.sort()
    print(f"  {what:<28} {times[len(times) // 2]:>7.2f} s   {times[0]:.2f} - {times[-1]:.2f}", flush=True)


def _room(path: Path) -> str:
    """Refs and objects, and what they take on the disk."""
    said = subprocess.run(["git", "-C", str(path), "count-objects", "-v"], check=True, capture_output=True, text=True)
    counts = dict(line.split(": ") for line in said.stdout.splitlines())
    loose = sum(1 for file in (path / "refs").rglob("*") if file.is_file())
    packed, graph = path / "packed-refs", path / "objects" / "info" / "commit-graph"
    return (
        f"{loose} loose refs, {counts['count']} loose objects ({int(counts['size']) / 1024:.1f} MiB); "
        f"{counts['in-pack']} packed ({int(counts['size-pack']) / 1024:.1f} MiB in {counts['packs']} packs), "
        f"packed-refs {packed.stat().st_size / 2**20:.1f} MiB, commit-graph {graph.stat().st_size / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
