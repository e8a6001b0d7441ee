"""What a daemon holds in memory as it lives: `python -m bench.memory`, one life of experiments that take no time.

In this process, without troubles (those are bench.soak's); changes of nothing, so that what proposers keep is left out.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autoresearchd import service
from autoresearchd.experiment import Concluded
from autoresearchd.report.lines import logging_to
from autoresearchd.status import Status
from bench.loop import environment, make_project

EVERY = 50


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="the disk to use")
    options = parser.parse_args()
    os.environ |= environment()
    with tempfile.TemporaryDirectory(prefix="bench-memory-", dir=options.folder) as name:
        program = make_project(Path(name, "project"), seconds=0) / "program.toml"
        program.write_text(program.read_text() + "[propose.null]\nevery = 1\n")
        init = [sys.executable, "-m", "autoresearchd", "init"]
        subprocess.run(init, cwd=program.parent, check=True, stdout=subprocess.DEVNULL)
        with Path(name, "log").open("w") as log:
            logging_to(log, readable=False)
            print(f"{'experiments':>12}{'RSS, MiB':>10}{'its own, MiB':>14}{'Python blocks':>15}")
            service.run(service.Request(program=program, experiments=options.experiments), Table())


class Table:
    """A view that prints a row every so often."""

    def __init__(self) -> None:
        self._concluded = 0

    def update(self, status: Status, recent: Sequence[Concluded]) -> None:
        del status
        before, self._concluded = self._concluded, self._concluded + len(recent)
        if before // EVERY == self._concluded // EVERY:
            return
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = dict(line.split(":\t") for line in lines if ":\t" in line)
        rss, own = (int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon"))
        print(f"{self._concluded:>12}{rss:>10.1f}{own:>14.1f}{sys.getallocatedblocks():>15}", flush=True)


if __name__ == "__main__":
    main()
