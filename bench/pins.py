"""What cores of their own do for CPU slots: `python -m bench.pins`, nanogpt on two slots of one thread each.

Batches of trainings with and without `[devices] cpu_pin`, in turns, so that what else the machine does meets both. The
real executor, its warm starts and its sandbox.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoresearchd.experiment import Device, Ending, Environment, RunSpec, TreeOid
from autoresearchd.program import parse
from autoresearchd.report.lines import default_logging
from autoresearchd.run import Bench, LocalExecutor, modules_ahead
from bench.warm import PROGRAM, ROOT, checkout

SLOTS = tuple(Device(name=f"cpu:{index}", index=index) for index in range(2))
TABLE = "cpu_slots = 2\ncpu_threads = 1\ncpu_pin = {pin}\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pins", description=__doc__)
    parser.add_argument("--batches", type=int, default=4, help="of each kind")
    parser.add_argument("--runs", type=int, default=4, help="trainings of a slot in a batch")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    default_logging()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(folder / "data")]
        subprocess.run(prepare, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.batches):
            for pin in seconds:
                seconds[pin].append(batch(folder, options.runs, options.steps, pin=pin))
    print(f"load at the end {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print("| cores | a training: median | lowest batch | highest batch | batches |")
    print("|---|---|---|---|---|")
    for pin, found in seconds.items():
        figures = " | ".join(f"{each:.2f} s" for each in (statistics.median(found), min(found), max(found)))
        print(f"| {'its own' if pin else 'any'} | {figures} | {len(found)} |")


def batch(folder: Path, runs: int, steps: int, *, pin: bool) -> float:
    """Seconds of one slot for one training and its evaluation, from the end of the first, for which nothing waits."""
    program = parse(PROGRAM.format(steps=steps, warm="true") + TABLE.format(pin=str(pin).lower()))
    ahead = modules_ahead(program, SLOTS[0], [(ROOT / "nanogpt/train.py").read_bytes()])
    work = folder / str(pin) / "runs"
    executor = LocalExecutor(Bench(program=program, folder=folder, work=work, checkout=checkout, ahead=ahead))
    left, spent, since = {slot.name: runs + 1 for slot in SLOTS}, 0.0, dict.fromkeys((s.name for s in SLOTS), 0.0)
    try:
        for slot in SLOTS:
            start(executor, slot, runs)
        while any(left.values()):
            select.select([executor.fileno()], [], [], 1.0)
            for done in executor.poll(time.time()):
                assert done.ending is Ending.FINISHED, done
                now, slot = time.monotonic(), next(slot for slot in SLOTS if slot.name == done.device)
                spent += now - since[slot.name] if since[slot.name] else 0.0
                since[slot.name] = now
                left[slot.name] -= 1
                if left[slot.name]:
                    start(executor, slot, left[slot.name])
    finally:
        executor.close()
    return spent / (len(SLOTS) * runs)


def start(executor: LocalExecutor, slot: Device, number: int) -> None:
    name = f"{slot.name.replace(':', '-')}-{number}"
    tree = TreeOid("0" * 40)
    executor.start(RunSpec(run=name, tree=tree, seed=number, device=slot, environment=Environment("bench")))


if __name__ == "__main__":
    main()
