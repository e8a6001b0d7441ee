"""The contract with the target, as values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.experiment import Ending
from autoresearchd.run.log import Log
from autoresearchd.run.target import MOST_METRICS, Exit, argv, failure, tidy, visible_gpus


def said(text: str) -> Log:
    log = Log()
    log.feed(text.encode())
    log.end()
    return log


def test_what_the_kernel_killed_for_memory_is_out_of_memory() -> None:
    assert failure(Exit(code=-9, oom_killed=True), said("")) == (Ending.OUT_OF_MEMORY, "killed by SIGKILL")
    killed = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."
    ending = failure(Exit(code=1, oom_killed=True), said(killed))
    assert ending is not None
    assert ending[0] is Ending.OUT_OF_MEMORY
    assert failure(Exit(code=-9), said("")) == (Ending.CRASH, "killed by SIGKILL")
    assert failure(Exit(code=1, oom_killed=True), said("ValueError: x")) == (Ending.OUT_OF_MEMORY, "ValueError: x")
    assert failure(Exit(code=0, oom_killed=True), said("a worker was started again")) is None


def test_a_signal_is_named_beside_the_last_words() -> None:
    assert failure(Exit(code=-11), said("step 5")) == (Ending.CRASH, "killed by SIGSEGV; step 5")
    assert failure(Exit(code=-99), said("")) == (Ending.CRASH, "killed by signal 99")


def test_words_of_memory_mean_nothing_where_all_went_well() -> None:
    assert failure(Exit(code=0), said("CUDA out of memory, retrying with half the batch")) is None


@pytest.mark.parametrize(
    "words", ["torch.OutOfMemoryError: x", "CUDA out of memory.", "x\nMemoryError", "std::bad_alloc"]
)
def test_words_of_memory_explain_a_crash(words: str) -> None:
    ending = failure(Exit(code=1), said(words))
    assert ending is not None
    assert ending[0] is Ending.OUT_OF_MEMORY


def test_python_is_the_interpreter_of_the_daemon() -> None:
    import sys

    assert argv(("python", "-m", "x")) == (sys.executable, "-m", "x")
    assert argv(("python3",)) == (sys.executable,)
    assert argv(("uv", "run", "python")) == ("uv", "run", "python")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0,1", ("0", "1")),
        (" 3 , GPU-8f ", ("3", "GPU-8f")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
    ],
)
def test_visible_gpus_are_read_as_cuda_reads_them(text: str, shown: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": text}) == shown
    assert visible_gpus({}) is None


def test_known_names_are_translated_unless_the_program_asks_for_them() -> None:
    found = {"training_seconds": 300.1, "peak_vram_mb": 5.0}
    assert tidy(found, ["loss"]) == {"train_seconds": 300.1, "peak_memory_mib": 5.0}
    assert tidy(found, ["peak_vram_mb"]) == {"train_seconds": 300.1, "peak_vram_mb": 5.0}
    assert tidy({"peak_memory_mib": 1.0, "peak_vram_mb": 5.0}, []) == {"peak_memory_mib": 1.0}


@given(st.dictionaries(st.text(), st.floats(), max_size=100), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_finite_few_and_plainly_named(found: dict[str, float], loss: float) -> None:
    tidied = tidy({**found, "loss": loss}, ["loss"])
    assert tidied["loss"] == loss
    assert len(tidied) <= MOST_METRICS
    assert all(math.isfinite(number) and name.isidentifier() and name.isascii() for name, number in tidied.items())
