"""Batches are windows of the file, decided by the seed, and cover all of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from nanogpt.contract import WrongUse
from nanogpt.data import Batches, TokenFile, open_tokens
from tests.nanogpt.fixtures import Bench

CPU = torch.device("cpu")


def numbered(count: int) -> TokenFile:
    return TokenFile(
        tokens=np.arange(count, dtype=np.uint16),
        starts=np.array([0, count]),
        raw_bytes=np.array([count]),
        vocab_size=2**16,
        sha256="",
    )


def test_targets_are_the_inputs_one_token_later() -> None:
    inputs, targets = Batches(numbered(1000), batch=5, length=7, seed=0, device=CPU).next()
    assert inputs.shape == targets.shape == (5, 7)
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(7))


def test_the_seed_decides_the_batches_and_nothing_else_does() -> None:
    def first_three(seed: int) -> list[list[int]]:
        batches = Batches(numbered(1000), batch=4, length=3, seed=seed, device=CPU)
        return [batches.next()[0][:, 0].tolist() for _ in range(3)]

    assert first_three(1) == first_three(1)
    assert first_three(1) != first_three(2)


def test_every_token_is_drawn_sooner_or_later_the_last_ones_too() -> None:
    batches = Batches(numbered(40), batch=3, length=4, seed=0, device=CPU)
    seen = {token for _ in range(300) for token in batches.next()[1].flatten().tolist()}
    assert seen == set(range(1, 40))


def test_data_that_is_shorter_than_a_window_is_a_clear_mistake() -> None:
    with pytest.raises(WrongUse, match="a window needs more than 64"):
        Batches(numbered(64), batch=1, length=64, seed=0, device=CPU)


def test_missing_data_names_the_command_that_makes_it(bench: Bench) -> None:
    shutil.rmtree(bench.data / "train")
    with pytest.raises(WrongUse, match=r"python -m nanogpt\.prepare"):
        open_tokens(bench.data / "train")


def test_a_truncated_token_file_is_refused(bench: Bench) -> None:
    path = bench.data / "train" / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WrongUse, match="damaged"):
        open_tokens(bench.data / "train")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_same_batches_as_a_cpu_however_far_the_host_runs_ahead() -> None:
    cuda = torch.device("cuda")
    ours = Batches(numbered(60_000), batch=64, length=256, seed=3, device=cuda)
    plain = Batches(numbered(60_000), batch=64, length=256, seed=3, device=CPU)
    ballast = torch.randn(4096, 4096, device=cuda)
    seen = []
    for _ in range(30):
        inputs, _ = ours.next()
        ballast = (ballast @ ballast).clamp(-1, 1)  # the device falls behind
        seen.append(inputs.clone())
    assert all(torch.equal(found.cpu(), plain.next()[0]) for found in seen)
