"""What a run is told and what it says: the environment in, metrics.jsonl and result.json out.

The only file that reads AUTORESEARCH_* variables. Trains nothing and measures nothing.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

WRONG_USE, UNSTABLE, DISHONEST = 2, 3, 4
"""Exit codes: a person's mistake; NaN or an exploding loss; a model that does not keep the evaluator's rules."""
CPU_STEPS, CUDA_SECONDS = 150, 300.0
"""The budget where none is given."""
TOKENS_AT_ONCE = 2**15
"""Most tokens of a step that go through the model together: bounds the memory, changes no result."""
EXPLODED = 2.0
"""A loss of this many times ln(vocabulary), what knowing nothing costs, is beyond repair."""
BF16_TFLOPS = {
    "B200": 2250, "H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121,
    "RTX 5090": 210, "RTX 4090": 165, "RTX 3090": 71, "A6000": 155, "A10": 125,
}  # fmt: skip
"""Dense bfloat16 peak by the name that the device gives itself, from the makers' data sheets."""


class WrongUse(Exception):
    """A person's mistake, in one sentence."""

    code = WRONG_USE


class Unstable(Exception):
    """The loss is not a number any more, or exploded."""

    code = UNSTABLE


class Dishonest(Exception):
    """The model does not keep the evaluator's rules: shape, finite numbers, no look at the future, no memory."""

    code = DISHONEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What this run is to do. Exactly one of `seconds` and `steps` is the budget."""

    run: str
    seed: int
    device: torch.device
    out: Path
    data: Path
    model: Path
    """Folder of the training whose weights are to be evaluated."""
    seconds: float | None
    steps: int | None

    def progress(self, *, step: int, seconds: float) -> float:
        """The used share of the budget, 0 to 1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.seconds is not None
        return min(seconds / self.seconds, 1.0)


def read_order(environment: Mapping[str, str], *, out: str, data: str) -> Order:
    """The order as the environment gives it, with `out` and `data` for a run by hand; also makes the output folder.

    Raises: WrongUse for a value that is not what it should be.
    """
    default = "cuda" if torch.cuda.is_available() else "cpu"
    name = environment.get("AUTORESEARCH_DEVICE") or default
    # The executor shows a run one GPU only, so whatever its number is outside, here it is the first.
    device = torch.device("cuda" if name.startswith("cuda") else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise WrongUse(f"AUTORESEARCH_DEVICE is {name}, but torch finds no CUDA device here")
    if "AUTORESEARCH_THREADS" in environment:
        torch.set_num_threads(int(_number(environment, "AUTORESEARCH_THREADS", 1)))
    steps = None
    if "AUTORESEARCH_STEPS" in environment or (device.type == "cpu" and "AUTORESEARCH_SECONDS" not in environment):
        steps = int(_number(environment, "AUTORESEARCH_STEPS", CPU_STEPS))
    folder = Path(environment.get("AUTORESEARCH_OUT", out))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)  # of an earlier run by hand: a stale file is no result
    return Order(
        run=environment.get("AUTORESEARCH_RUN", "by-hand"),
        seed=int(_number(environment, "AUTORESEARCH_SEED", 0, least=0)),
        device=device,
        out=folder,
        data=Path(environment.get("AUTORESEARCH_DATA", data)),
        model=Path(environment.get("AUTORESEARCH_MODEL", "out")),
        seconds=None if steps is not None else _number(environment, "AUTORESEARCH_SECONDS", CUDA_SECONDS),
        steps=steps,
    )


def _number(environment: Mapping[str, str], name: str, default: float, least: float = 1e-9) -> float:
    text = environment.get(name, str(default))
    try:
        value = float(text)
    except ValueError as error:
        raise WrongUse(f"{name} is {text!r}, which is not a number") from error
    if not (math.isfinite(value) and value >= least):
        raise WrongUse(f"{name} is {text}, it must be {'positive' if least > 0 else 'zero or more'}")
    return value


def write_result(order: Order, metrics: Mapping[str, float]) -> None:
    """Say the result: written beside and moved into place, so that a reader sees all of it or nothing."""
    path = order.out / "result.json"
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"run": order.run, "metrics": dict(metrics)}, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Curve:
    """Writes metrics.jsonl, a few tens of points of mean training loss, and ends a run whose loss went astray.

    On a GPU a loss is copied to pinned memory and read once it has arrived, so that no step waits for it.
    """

    POINTS = 40

    def __init__(self, order: Order, *, vocab_size: int) -> None:
        self._path, self._vocab_size = order.out / "metrics.jsonl", vocab_size
        self._path.write_text("")
        self._pending: deque[tuple[int, float, float, Tensor, torch.cuda.Event | None]] = deque()
        self._losses: list[float] = []
        self._written = 0

    def put(self, loss: Tensor, *, step: int, seconds: float, progress: float) -> None:
        """Take the loss of a step, at this training time and used share of the budget.

        Raises: Unstable for a loss that has arrived meanwhile.
        """
        event = None
        if loss.is_cuda:
            arriving = torch.empty((), dtype=loss.dtype, pin_memory=True)
            loss = arriving.copy_(loss.detach(), non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._pending.append((step, seconds, progress, loss, event))
        self._read(wait=False)

    def close(self) -> None:
        """Wait for the last losses.

        Raises: Unstable as `put` does.
        """
        self._read(wait=True)

    def _read(self, *, wait: bool) -> None:
        while self._pending:
            step, seconds, progress, loss, event = self._pending[0]
            if event is not None and not event.query():  # type: ignore[no-untyped-call]
                if not wait:
                    return
                event.synchronize()
            self._pending.popleft()
            self._losses.append(loss.item())
            check_stable(self._losses[-1], step=step, vocab_size=self._vocab_size)
            if progress * self.POINTS >= self._written + 1:
                self._write(step, seconds, progress)

    def _write(self, step: int, seconds: float, progress: float) -> None:
        point = {"step": step, "seconds": round(seconds, 3), "train_loss": sum(self._losses) / len(self._losses)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        self._written, self._losses = int(progress * self.POINTS), []


def check_stable(loss: float, *, step: int, vocab_size: int) -> None:
    """Raises: Unstable when training has lost its way for good."""
    if not math.isfinite(loss):
        raise Unstable(f"the loss is {loss} at step {step}")
    if loss > EXPLODED * math.log(vocab_size):
        raise Unstable(f"the loss exploded to {loss:.3g} at step {step}")


def peak_flops(name: str) -> float | None:
    """Dense bfloat16 operations a second of a device by its own name; None for one that the table does not have."""
    return next((tflops * 1e12 for known, tflops in BF16_TFLOPS.items() if known in name), None)


def run_as_command(main: Callable[[], None]) -> int:
    """The exit code of a command; what went wrong in a way that we know is one sentence on stderr."""
    try:
        main()
    except (WrongUse, Unstable, Dishonest) as error:
        print(error, file=sys.stderr)
        return error.code
    return 0
