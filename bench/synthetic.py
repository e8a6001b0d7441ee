"""Big labs made up by `git fast-import`: commits, refs and runs as the ledger writes them, all packed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from autoresearchd.experiment import Environment, Lines, Outcome, Verdict
from autoresearchd.ledger import Ledger
from autoresearchd.trailers import Record, render

KEEP_EVERY = 50
NOW = 1_700_000_000
METRIC = "val_bpb"
PROGRAM = """
[program]
name = "synthetic"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb: (\\S+)$'
"""


def make(folder: Path, size: int) -> Path:
    """A lab of `size` concluded experiments in `folder`, with a run each, and a program.toml beside it."""
    project, path = folder / "project", folder / "experiments.git"
    project.mkdir(parents=True)
    (folder / "program.toml").write_text(PROGRAM)
    _git(project, "init", "-q", "-b", "main")
    (project / "train.py").write_text("RATE = 0.1\n")
    _git(project, "add", "train.py")
    _git(project, "-c", "user.name=P", "-c", "user.email=p@localhost", "commit", "-q", "-m", "Train")
    head = Ledger.init(path, project_path=project).best().commit
    _import(path, _experiments(head, size))
    oids = _marks(path)
    kept = max(number for number in range(size) if number % KEEP_EVERY == 0)
    _packed_refs(path, size, oids, oids[kept])
    trees = _git(path, "log", "--no-walk=unsorted", "--stdin", "--format=%T", given="\n".join(oids).encode()).split()
    _import(path, _runs(trees))
    _git(path, "update-ref", "-d", "refs/scratch")
    _git(path, "pack-refs", "--all")
    _git(path, "commit-graph", "write", "--reachable", "--no-progress")
    return path


def _experiments(head: str, size: int) -> Iterator[bytes]:
    best = head
    for number in range(size):
        message = render(_record(number)).encode()
        yield f"commit refs/scratch\nmark :{number + 1}\n".encode()
        yield f"author autoresearchd <autoresearchd@localhost> {NOW + number} +0000\n".encode()
        yield f"committer autoresearchd <autoresearchd@localhost> {NOW + number} +0000\n".encode()
        yield b"data %d\n%s\nfrom %s\n" % (len(message), message, best.encode())
        if number:
            text = f"RATE = {number}\n".encode()
            yield b"M 100644 inline train.py\ndata %d\n%s\n" % (len(text), text)
        if number % KEEP_EVERY == 0:
            best = f":{number + 1}"
    yield b"done\n"


def _record(number: int) -> Record:
    outcome = Outcome.BASELINE if number == 0 else Outcome.KEEP if number % KEEP_EVERY == 0 else Outcome.DISCARD
    best = max(0, number - 1) // KEEP_EVERY * KEEP_EVERY
    verdict = Verdict(
        outcome=outcome,
        why="worse than best by more than three times the noise",
        metric=_loss(number),
        baseline=_loss(best),
        std_error=0.0007,
        confidence=0.12,
        runs=1,
        seeds=(0,),
        train_seconds=300.2,
        device="cuda:0",
        peak_memory_mib=45060.2,
        throughput=512000.0,
        metrics={"tokens_per_second": 512000.0, "mfu_percent": 39.8},
        environment=Environment("NVIDIA-H100-80GB-HBM3-4f2c9a"),
    )
    return Record(
        number=number,
        title=f"Raise MATRIX_LR to {number}",
        rationale="A higher rate was better twice before; the warm-down may carry more of it.",
        proposer="space",
        category="learning-rate",
        lines=Lines(added=1, removed=1),
        reason="tried 40 times, kept 3",
        verdict=verdict,
        metric=METRIC,
    )


def _loss(number: int) -> float:
    return 1.0 - number * 1e-6


def _runs(trees: list[str]) -> Iterator[bytes]:
    yield b"commit refs/autoresearch/runs\n"
    yield f"committer autoresearchd <autoresearchd@localhost> {NOW} +0000\ndata 5\nruns\n\n".encode()
    curve = [{"step": step, "seconds": 3.0 * step, "train_loss": 4.0 - 0.01 * step} for step in range(20)]
    for number, tree in enumerate(trees):
        run = {
            "run": f"{tree}-0",
            "tree": tree,
            "seed": 0,
            "environment": "NVIDIA-H100-80GB-HBM3-4f2c9a",
            "device": "cuda:0",
            "ending": "finished",
            "metrics": {METRIC: _loss(number)},
            "curve": curve,
            "started": NOW + number,
            "train_seconds": 300.2,
            "wall_seconds": 310.0,
            "log_tail": "",
            "why": "",
        }
        text = json.dumps(run, separators=(",", ":")).encode()
        path = f"{tree[:2]}/{tree[2:]}/{run['run']}.json"
        yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(text), text)
    yield b"done\n"


def _import(path: Path, stream: Iterator[bytes]) -> None:
    command = ["git", "-C", str(path), "fast-import", "--quiet", "--force", "--done", "--export-marks=marks"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.writelines(stream)
        process.stdin.close()
    assert process.returncode == 0


def _marks(path: Path) -> list[str]:
    lines = (line.split() for line in (path / "marks").read_text().splitlines())
    return [oid for _, oid in sorted((int(mark[1:]), oid) for mark, oid in lines)]


def _packed_refs(path: Path, size: int, oids: list[str], best: str) -> None:
    refs = {f"refs/heads/exp/{number:04d}-raise-matrix-lr-to-{number}": oids[number] for number in range(size)}
    refs["refs/heads/best"] = best
    (path / "refs/heads/best").unlink()
    lines = "".join(f"{oid} {name}\n" for name, oid in sorted(refs.items()))
    (path / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{lines}")


def _git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, input=given, capture_output=True
    ).stdout.decode()
