"""Our search beside plain Optuna TPE and random search: `python -m bench.search [--seeds 5] [--experiments 20]`.

Each searches the same inferred constants of the CPU nanogpt with an equal number of trainings, one run each; what it
ends with is trained again with fresh seeds. Prints a table; the figures of record are in BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearchd.experiment import Outcome
from autoresearchd.program import Tunable
from autoresearchd.proposal import Proposal
from autoresearchd.propose._protocol import Proposer
from autoresearchd.propose.constants import Value, find, rewrite
from autoresearchd.propose.refine import Refine
from autoresearchd.propose.space import Space
from tests.propose.fakes import FakeLab, apply

ROOT = Path(__file__).resolve().parent.parent
EDITABLE = ("nanogpt/model.py", "nanogpt/optim.py", "nanogpt/train.py")
SMALL = {
    "nanogpt/evaluate.py": {b"CPU_TOKENS, CUDA_TOKENS = 2**16": b"CPU_TOKENS, CUDA_TOKENS = 2**14"},
    "nanogpt/model.py": {b"ASPECT = 64": b"ASPECT = 32"},
    "nanogpt/train.py": {b"CONTEXT = 64": b"CONTEXT = 32", b"BATCH_TOKENS = 2**8": b"BATCH_TOKENS = 2**6"},
}
"""What makes a training cheap enough for hundreds of them; the same for every search."""
SIZES = ("DEPTH", "CONTEXT", "ASPECT", "MLP_RATIO", "BATCH_TOKENS", "MICRO_TOKENS")
"""Held where they are for every search: with a budget in steps they would buy quality with compute."""
FRESH_SEEDS = (900_001, 900_002, 900_003)
METHODS = ("random", "tpe", "ours")
Measure = Callable[[Mapping[str, bytes], int], float | None]
TOML = "[propose.space.constants]\n" + "".join(f"{name} = {{fixed = true}}\n" for name in SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One search: which, with which randomness, how many trainings."""

    method: str
    seed: int
    experiments: int
    steps: int
    cache: Path
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search ended with."""

    method: str
    seed: int
    true_bpb: float
    """Of its pick, mean over fresh seeds."""
    claimed_bpb: float
    """Of its pick, as the search itself measured it."""
    failures: int
    thinking_seconds: float
    """Of the search itself, a training."""


class Trainer:
    """Trains and evaluates nanogpt in this process, as the daemon's commands do; remembers what it measured."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def run(self, files: Mapping[str, bytes], seed: int) -> float | None:
        """val_bpb; None where the training failed."""
        key = hashlib.sha256(repr((sorted(files.items()), seed, self._task.steps)).encode()).hexdigest()
        known = self._task.cache / f"{key}.json"
        if known.exists():
            found: float | None = json.loads(known.read_text())
            return found
        value = self._measure(files, seed)
        partial = known.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(value))
        partial.replace(known)
        return value

    def _measure(self, files: Mapping[str, bytes], seed: int) -> float | None:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            code = Path(folder)
            (code / "nanogpt").mkdir()
            for path in (ROOT / "nanogpt").glob("*.py"):
                (code / "nanogpt" / path.name).write_bytes(source(f"nanogpt/{path.name}"))
            for name, content in files.items():
                (code / name).write_bytes(content)
            sys.path.insert(0, folder)
            try:
                self._command("train", code, seed, data="train", out="out")
                self._command("evaluate", code, seed, data="val", out="evaluation")
                metrics = json.loads((code / "evaluation" / "result.json").read_text())["metrics"]
            except Exception as error:  # noqa: BLE001 - whatever a drawn setting breaks is a failed trial
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                return None
            finally:
                sys.path.remove(folder)
            return float(metrics["val_bpb"])

    def _command(self, module: str, code: Path, seed: int, *, data: str, out: str) -> None:
        os.environ |= {
            "AUTORESEARCH_DEVICE": "cpu:0",
            "AUTORESEARCH_THREADS": "1",
            "AUTORESEARCH_STEPS": str(self._task.steps),
            "AUTORESEARCH_SEED": str(seed),
            "AUTORESEARCH_DATA": str(self._task.data / data),
            "AUTORESEARCH_OUT": str(code / out),
            "AUTORESEARCH_MODEL": str(code / "out"),
        }
        for name in [name for name in sys.modules if name.partition(".")[0] == "nanogpt"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.argv = [module]
        getattr(importlib.import_module(f"nanogpt.{module}"), module)()


def search(task: Task) -> Found:
    """One search from beginning to end, in a process of its own."""
    trainer = Trainer(task)
    begun = time.perf_counter()
    trained = [0.0]

    def measure(files: Mapping[str, bytes], index: int) -> float | None:
        start = time.perf_counter()
        value = trainer.run(files, 1000 * task.seed + index)
        trained[0] += time.perf_counter() - start
        return value

    pick, claimed, failures = (ours if task.method == "ours" else plain)(task, measure)
    thinking = time.perf_counter() - begun - trained[0]
    fresh = [value for seed in FRESH_SEEDS if (value := trainer.run(pick, seed)) is not None]
    return Found(
        method=task.method,
        seed=task.seed,
        true_bpb=statistics.fmean(fresh) if fresh else float("nan"),
        claimed_bpb=claimed,
        failures=failures,
        thinking_seconds=thinking / task.experiments,
    )


def ours(task: Task, measure: Measure) -> tuple[Mapping[str, bytes], float, int]:
    """Space and Refine by turns; what measures better than best did becomes best, as a naive keeper has it."""
    files = sources()
    value = measure(files, 0)
    assert value is not None
    lab = FakeLab(files, value=value, toml=TOML, seed=task.seed)
    proposers: tuple[Proposer, Proposer] = (Refine(), Space())
    failures = 0
    for index in range(1, task.experiments):
        proposal = asyncio.run(following(proposers, lab, index))
        value, best = measure(apply(lab.files, proposal.edits), index), lab.value_of_best()
        assert best is not None
        failures += value is None
        outcome = Outcome.CRASH if value is None else Outcome.KEEP if value < best else Outcome.DISCARD
        lab.try_proposal(proposal, outcome, value)
    claimed = lab.value_of_best()
    assert claimed is not None
    return lab.files, claimed, failures


async def following(proposers: tuple[Proposer, Proposer], lab: FakeLab, index: int) -> Proposal:
    """Every third proposal refines where there is something to refine."""
    refine, space = proposers
    proposal = await refine.propose(lab.context()) if index % 3 == 0 else None
    proposal = proposal or await space.propose(lab.context())
    assert proposal is not None
    return proposal


def plain(task: Task, measure: Measure) -> tuple[Mapping[str, bytes], float, int]:
    """Optuna as it comes, over all the constants at once; it is told the author's values as its first trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    files = sources()
    constants = find(files, {name: Tunable(fixed=True) for name in SIZES})
    kind = optuna.samplers.TPESampler if task.method == "tpe" else optuna.samplers.RandomSampler
    study = optuna.create_study(sampler=kind(seed=task.seed))
    names = {c.key: c for c in constants}
    box: dict[str, optuna.distributions.BaseDistribution] = {
        key: optuna.distributions.FloatDistribution(*c.range.bounds)
        if c.range.is_numeric
        else optuna.distributions.CategoricalDistribution(range(len(c.range.choices)))
        for key, c in names.items()
    }
    first = {key: c.range.coordinate(c.value) for key, c in names.items()}
    study.enqueue_trial({key: place if names[key].range.is_numeric else int(place) for key, place in first.items()})
    best, claimed, failures = files, float("inf"), 0
    for index in range(task.experiments):
        trial = study.ask(box)
        values: dict[str, Value] = {key: c.range.at(float(trial.params[key])) for key, c in names.items()}
        setting = apply(files, rewrite(files, {names[key]: value for key, value in values.items()}))
        value = measure(setting, index)
        if value is None:
            failures += 1
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, value)
        if value < claimed:
            best, claimed = setting, value
    return best, claimed, failures


def sources() -> dict[str, bytes]:
    """The editable files, made small."""
    return {path: source(path) for path in EDITABLE}


def source(path: str) -> bytes:
    content = (ROOT / path).read_bytes()
    for old, new in SMALL.get(path, {}).items():
        assert content.count(old) == 1, f"{path} has no {old!r}"
        content = content.replace(old, new)
    return content


def table(found: list[Found], baseline: float) -> str:
    lines = [
        "| search | true val_bpb: mean ± std | median | range | claimed | failed trainings | thinking a training |"
    ]
    lines += ["|---|---|---|---|---|---|---|", f"| the author's values | {baseline:.4f} | | | | | |"]
    for method in METHODS:
        some = [f for f in found if f.method == method]
        if not some:
            continue
        true = [f.true_bpb for f in some]
        spread = statistics.stdev(true) if len(true) > 1 else 0.0
        claimed, thinking = (
            statistics.fmean(x) for x in zip(*((f.claimed_bpb, f.thinking_seconds) for f in some), strict=True)
        )
        cells = [method, f"{statistics.fmean(true):.4f} ± {spread:.4f}", f"{statistics.median(true):.4f}"]
        cells += [f"{min(true):.4f} to {max(true):.4f}", f"{claimed:.4f}", str(sum(f.failures for f in some))]
        lines.append("| " + " | ".join([*cells, f"{thinking:.2f} s"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--experiments", type=int, default=20, help="trainings of a search, the first one included")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    said = parser.parse_args()
    cache, data = ROOT / "build" / "search", ROOT / "build" / "search-data"
    cache.mkdir(parents=True, exist_ok=True)
    if not (data / "val" / "meta.json").exists():
        prepare = [sys.executable, "-m", "nanogpt.prepare", "--out", str(data)]
        subprocess.run(prepare, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    tasks = [
        Task(method=method, seed=seed, experiments=said.experiments, steps=said.steps, cache=cache, data=data)
        for seed in range(said.first_seed, said.first_seed + said.seeds)
        for method in said.methods
    ]
    random.Random(0).shuffle(tasks)  # so that a slow hour of the machine hits every search alike
    with multiprocessing.get_context("spawn").Pool(said.workers, maxtasksperchild=1) as pool:
        found = []
        for done in pool.imap_unordered(search, tasks):
            found.append(done)
            print(f"{done.method} {done.seed}: {done.true_bpb:.4f}", file=sys.stderr, flush=True)
    files, trainer = sources(), Trainer(tasks[0])
    baseline = statistics.fmean(v for seed in FRESH_SEEDS if (v := trainer.run(files, seed)) is not None)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {said.experiments} trainings of {said.steps} steps a search")
    print(table(found, baseline))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
