"""One training: `python -m nanogpt.train [--depth N]`, in the environment that contract.py describes.

Trains for a budget of seconds or steps and leaves weights, curve and costs in the output folder. Does not score itself.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nanogpt import optim
from nanogpt.contract import (
    TOKENS_AT_ONCE,
    Curve,
    Order,
    WrongUse,
    peak_flops,
    read_order,
    run_as_command,
    write_result,
)
from nanogpt.data import Batches, TokenFile, open_tokens
from nanogpt.model import GPT, Config

DEPTH = 2  # the dial; on a GPU the default is four times as deep
CONTEXT = 32  # tokens of a sequence for each layer of depth
BATCH_TOKENS = 2**7  # tokens of a step, times depth cubed

Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> int:
    return run_as_command(train)


def train() -> None:
    """Order, data, model; warm-up where there is something to compile; the steps; the result."""
    order = read_order(os.environ, out="out", data="data/train")
    depth = read_depth(order)
    start_torch(order)
    file = open_tokens(order.data)
    config = Config.sized(depth=depth, vocab_size=file.vocab_size, sequence_length=CONTEXT * depth)
    model = GPT(config).to(order.device)
    loss = make_loss(model, order)
    rows = max(1, BATCH_TOKENS * depth**3 // config.sequence_length)
    if order.device.type == "cuda":
        warm_up(order, file, model, loss, rows)
    seconds, steps = run_steps(order, file, model, loss, rows)
    torch.save({"config": config.plain(), "weights": model.state_dict()}, order.out / "model.pt")
    write_result(order, costs(order, model, seconds, steps, tokens=steps * rows * config.sequence_length))
    print(f"{order.run}: {steps} steps of {rows} x {config.sequence_length} tokens in {seconds:.1f} s")


def read_depth(order: Order) -> int:
    """The dial as the command line sets it, else its default for the device."""
    parser = argparse.ArgumentParser(prog="python -m nanogpt.train", description=__doc__)
    parser.add_argument("--depth", type=int, default=4 * DEPTH if order.device.type == "cuda" else DEPTH)
    depth: int = parser.parse_args().depth
    if depth < 1:
        raise WrongUse(f"--depth is {depth}, it must be 1 or more")
    return depth


def start_torch(order: Order) -> None:
    """Seed; bitwise repeatable on a CPU, fast on a GPU."""
    torch.manual_seed(order.seed)
    if order.device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time for nothing
        return
    # Compiled kernels stay in TORCHINDUCTOR_CACHE_DIR, where later runs find them again.
    torch.set_float32_matmul_precision("high")


def make_loss(model: GPT, order: Order) -> Loss:
    """Mean cross-entropy in nats of inputs and targets, each (B, T); compiled, in bfloat16 where it pays, on a GPU."""

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = model(tokens)  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    if order.device.type == "cpu":
        return loss
    compiled: Loss = torch.compile(loss, dynamic=False)
    mixed: Loss = torch.autocast("cuda", dtype=torch.bfloat16)(compiled)
    return mixed


def warm_up(order: Order, file: TokenFile, model: GPT, loss: Loss, rows: int) -> None:
    """Take a few real steps so that everything is compiled, then put all back as it was."""
    first = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizers = optim.make_optimizers(model)
    batches = make_batches(order, file, model, rows)
    for _ in range(3):
        take_step(batches, loss, optimizers)
    model.load_state_dict(first)
    torch.manual_seed(order.seed)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()


def run_steps(order: Order, file: TokenFile, model: GPT, loss: Loss, rows: int) -> tuple[float, int]:
    """Train until the budget is used; seconds of training and steps."""
    optimizers = optim.make_optimizers(model)
    batches = make_batches(order, file, model, rows)
    curve = Curve(order, vocab_size=file.vocab_size)
    started, seconds, step, progress = time.perf_counter(), 0.0, 0, 0.0
    while progress < 1.0:
        optim.schedule(optimizers, progress)
        mean = take_step(batches, loss, optimizers)
        step += 1
        seconds = time.perf_counter() - started
        progress = order.progress(step=step, seconds=seconds)
        curve.put(mean, step=step, seconds=seconds, progress=progress)
    curve.close()
    if order.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, step


def make_batches(order: Order, file: TokenFile, model: GPT, rows: int) -> Batches:
    length = model.config.sequence_length
    return Batches(file, batch=rows, length=length, seed=order.seed, device=order.device)


def take_step(batches: Batches, loss: Loss, optimizers: optim.Optimizers) -> Tensor:
    """One batch, in as many parts as memory asks for; its mean loss, not waited for."""
    tokens, targets = batches.next()
    parts = -(-tokens.numel() // TOKENS_AT_ONCE)
    total = torch.zeros((), device=tokens.device)
    for some, wanted in zip(tokens.chunk(parts), targets.chunk(parts), strict=True):
        part = loss(some, wanted) * (len(some) / len(tokens))
        part.backward()  # type: ignore[no-untyped-call]
        total += part.detach()
    optim.step(optimizers)
    return total


def costs(order: Order, model: GPT, seconds: float, steps: int, *, tokens: int) -> dict[str, float]:
    """What the training took, for result.json; model flops utilisation only where the device's peak is known."""
    flops = model.flops_per_token() * tokens
    metrics = {
        "train_seconds": seconds,
        "steps": steps,
        "tokens_per_second": tokens / seconds,
        "parameters": model.parameter_count(),
        "train_tflops": flops / 1e12,
    }
    if order.device.type == "cpu":
        metrics["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        return metrics
    metrics["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    if peak := peak_flops(torch.cuda.get_device_name()):
        metrics["mfu"] = flops / seconds / peak
    return metrics


if __name__ == "__main__":
    sys.exit(main())
