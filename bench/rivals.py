"""Trainings per hour beside other ways to run them: `python -m bench.rivals`; Ray Tune needs `autoresearchd[bench]`.

A plain shell loop, plain Optuna (`n_jobs`), plain Ray Tune and our daemon - as it is, without its warm start, and
without thinking ahead - train the same script, which sleeps for its budget, with the same number of slots, one after
the other. What counts as training is what the script says itself: when its sleep began and ended.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import fleet
from bench.loop import environment, make_project

LOG = "trainings"
"""Each line the begin and the end of one training, Unix time."""
RATES = (0.001, 0.1)
DEPTHS = (2, 16)
PATIENCE_SECONDS = 300.0
END_SECONDS = 60.0
OURS = {
    "autoresearchd": ("daemon", ""),
    "autoresearchd, nothing warm": ("daemon", "warm = false\n"),
    "autoresearchd, asking only when idle": ("asking only when idle", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One measurement."""

    share: float
    """Of the slots' time in the window that was training."""
    experiments: int | None = None
    """With a verdict, where somebody judges; None where each training is an experiment."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="budget of one training")
    parser.add_argument("--minutes", type=float, default=0.33, help="length of each measurement")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=(*RIVALS, *OURS), default=[*RIVALS, *OURS])
    parser.add_argument("--as", choices=tuple(RIVALS), dest="rival", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.thinking = 0.0  # of the daemon's proposers, beyond what they need
    if options.rival:
        RIVALS[options.rival](options.slots[0])
        return
    print("| slots | way | of the ideal | trainings per hour | experiments per hour |\n|---|---|---|---|---|")
    for slots in options.slots:
        seen: dict[str, list[Seen]] = {way: [] for way in ways(options)}
        for _ in range(options.repeats):  # in turns: the load of the machine changes
            for way, found in seen.items():
                with tempfile.TemporaryDirectory() as name:
                    found.append(measure(way, Path(name) / "project", slots, options))
        for way, found in seen.items():
            report(way, slots, found, options)
    if "Ray Tune" in options.ways and not has_tune():
        print("Ray Tune is not installed (pip install 'autoresearchd[bench]'): no line of it")


def ways(options: argparse.Namespace) -> list[str]:
    return [way for way in options.ways if way != "Ray Tune" or has_tune()]


def has_tune() -> bool:
    return all(importlib.util.find_spec(module) for module in ("ray", "pyarrow", "tensorboardX"))


def measure(way: str, project: Path, slots: int, options: argparse.Namespace) -> Seen:
    how, more = OURS.get(way, ("", ""))
    program = fleet.PROGRAM.format(seconds=options.seconds, slots=slots) + more
    make_project(project, seconds=options.seconds, target=fleet.TARGET, program=program)
    if how:
        return ours(fleet.daemon(project, slots, options, idle_only=how != "daemon"))
    return theirs(way, project, slots, 60 * options.minutes)


def ours(night: fleet.Night) -> Seen:
    return Seen(share=night.trained, experiments=night.experiments)


def theirs(way: str, project: Path, slots: int, window: float) -> Seen:
    """The window begins with the first training: what it takes to start is not counted against anybody."""
    words = [sys.executable, "-m", "bench.rivals", "--as", way, "--slots", str(slots)]
    log = project / LOG
    with (project / "said").open("wb") as said:
        process = subprocess.Popen(words, cwd=project, env=environment(), stdout=said, stderr=said, process_group=0)
    try:
        until = time.monotonic() + PATIENCE_SECONDS + window
        while not (trained := logged(log)) or max(end for _, end in trained) < trained[0][0] + window:
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"{way} does not train:\n{(project / 'said').read_text('utf-8', 'replace')}")
            time.sleep(0.2)
    finally:
        end(process)
    since = trained[0][0]
    night = fleet.Night(slots=(tuple(trained),), since=since, until=since + window)
    return Seen(share=night.trained / slots)


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def logged(log: Path) -> list[tuple[float, float]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted((float(began), float(ended)) for began, ended in (line.split() for line in lines))


def report(way: str, slots: int, found: list[Seen], options: argparse.Namespace) -> None:
    ideal, hours = 3600 * slots / options.seconds, options.minutes / 60
    shares = sorted(each.share for each in found)
    middle = statistics.median(shares)
    verdicts = [each.experiments / hours for each in found if each.experiments is not None]
    tried = f"{statistics.median(verdicts):.0f} with a verdict" if verdicts else "as many; nobody judges"
    print(
        f"| {slots} | {way} | {middle:.1%} ({shares[0]:.1%} – {shares[-1]:.1%}) "
        f"| {middle * ideal:.0f} of {ideal:.0f} | {tried} |",
        flush=True,
    )


def train(folder: Path, values: Mapping[str, float | int]) -> float:
    """Train the script in `folder` with other constants, as a process of its own; its loss."""
    text = (folder / "train.py").read_text()
    for name, value in values.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as name:
        script = Path(name, "train.py")
        script.write_text(text)
        done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    with (folder / LOG).open("a") as log:
        log.writelines(f"{began} {ended}\n" for began, ended in fleet.spoken(done.stdout))
    return float(done.stdout.split("loss:")[1].split()[0])


def shell_loop(slots: int) -> None:
    """The same line again and again in each slot; what it prints is kept, nothing else is."""
    times = "awk '/^began/ {b=$2} /^ended/ {e=$2} END {printf \"%s %s\\n\", b, e}'"
    line = f'"{sys.executable}" train.py | {times} >> {LOG}'
    loops = [subprocess.Popen(["sh", "-c", f"while :; do {line}; done"]) for _ in range(slots)]
    for loop in loops:
        loop.wait()


def optuna_jobs(slots: int) -> None:
    """A study in memory, TPE, `n_jobs` threads that each train a process at a time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path.cwd()

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("LEARNING_RATE", *RATES, log=True)
        return train(folder, {"LEARNING_RATE": rate, "DEPTH": trial.suggest_int("DEPTH", *DEPTHS)})

    optuna.create_study().optimize(objective, n_jobs=slots)


def ray_tune(slots: int) -> None:
    """Random search by `Tuner`, a CPU a trial, a node that is started for it."""
    import ray
    from ray import tune

    folder, lowest, highest = Path.cwd(), *RATES

    def trainable(config: dict[str, float | int]) -> None:
        tune.report({"loss": train(folder, config)})

    ray.init(num_cpus=slots, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    tune.Tuner(
        trainable,
        param_space={"LEARNING_RATE": tune.loguniform(lowest, highest), "DEPTH": tune.randint(*DEPTHS)},
        tune_config=tune.TuneConfig(num_samples=100_000, max_concurrent_trials=slots, metric="loss", mode="min"),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()


RIVALS: Mapping[str, Callable[[int], None]] = {
    "shell loop": shell_loop,
    "Optuna": optuna_jobs,
    "Ray Tune": ray_tune,
}

if __name__ == "__main__":
    main()
